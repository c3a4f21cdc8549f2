"""Kernels for processors with narrower vectors than this one's, which it runs as well.

Tiles, panels and networks are of the width that a processor has. So what only one width takes is
found here, and not first by those who have another.
"""

import os
import platform
import subprocess
import sys

import pytest

from numbatorch.language import processor

# Settings of NUMBATORCH_CPU, and a feature that tells who runs it.
NARROWER = {"x86-64-v3": "avx2", "x86-64-v2": "sse4.2"}
NAMES = [
    *("convolution", "conv2d", "conv_transpose2d", "max_pool2d", "matmul"),
    *("attention", "softmax", "layer_norm", "sort", "topk", "unique_rows"),
    *("sum", "cumsum", "max_with_index", "aminmax", "gather", "slice_update", "gelu", "where"),
]
SCRIPT = """
import sys
from numbatorch import dtype as dt
from numbatorch.ops.families import all_ops
from numbatorch.testing import check_op
from numbatorch.testing.cases import dtypes_of
from numbatorch.testing.properties import equals_reference
known = {op.name: op for op in all_ops()}
for name in sys.argv[1].split():
    assert dt.float32 in dtypes_of(known[name])
    check_op(known[name], properties=(equals_reference,), dtypes=(dt.float32,), examples=1)
    print(name, flush=True)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other vectors")
@pytest.mark.parametrize("name", NARROWER)
def test_kernels_are_right_in_narrower_vectors(
    name: str, seed: int, request: pytest.FixtureRequest
) -> None:
    """By default each operator on one of them, which `--seed` changes."""
    host = processor.host()
    if not host.has(NARROWER[name]):
        pytest.skip(f"this processor has no {NARROWER[name]}")
    if name == "x86-64-v3" and not host.has("avx512f"):
        pytest.skip("this processor's vectors are no wider")
    slow = request.config.getoption("--slow")
    names = NAMES if slow else NAMES[(seed + [*NARROWER].index(name)) % 2 :: 2]
    command = [sys.executable, "-c", SCRIPT, " ".join(names)]
    environment = {**os.environ, "NUMBATORCH_CPU": name}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert not done.returncode, f"after {done.stdout.split()[-1:]}\n{done.stderr[-3000:]}"
    assert done.stdout.split() == names
