"""Kernels for processors with narrower vectors than this one's, which it runs as well.

Tiles, panels and networks are of the width that a processor has. So what only one width takes is
found here, and not first by those who have another.
"""

import platform
import subprocess
import sys

import pytest

from numbatorch.language import processor

# LLVM's names and features, from the widest vectors on, and the feature that tells who runs it.
NARROWER = {
    "haswell": ("+avx2,+fma,+f16c", "avx2"),
    "nehalem": ("+sse4.2", "sse4.2"),
}
NAMES = [
    *("convolution", "conv2d", "conv_transpose2d", "max_pool2d", "matmul"),
    *("attention", "softmax", "layer_norm", "sort", "topk", "unique_rows"),
    *("sum", "cumsum", "max_with_index", "aminmax", "gather", "slice_update", "gelu", "where"),
]
SCRIPT = """
import sys
from numbatorch.language import processor
found = processor.CPU(processor.host().triple, sys.argv[1], sys.argv[2])
processor.host = lambda: found
from numbatorch import dtype as dt
from numbatorch.ops.families import all_ops
from numbatorch.testing import check_op
from numbatorch.testing.cases import dtypes_of
from numbatorch.testing.properties import equals_reference
known = {op.name: op for op in all_ops()}
for name in sys.argv[3].split():
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
    features, needed = NARROWER[name]
    host = processor.host()
    if not host.has(needed):
        pytest.skip(f"this processor has no {needed}")
    if name == "haswell" and not host.has("avx512f"):
        pytest.skip("this processor's vectors are no wider")
    slow = request.config.getoption("--slow")
    names = NAMES if slow else NAMES[(seed + [*NARROWER].index(name)) % 2 :: 2]
    command = [sys.executable, "-c", SCRIPT, name, features, " ".join(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, f"after {done.stdout.split()[-1:]}\n{done.stderr[-3000:]}"
    assert done.stdout.split() == names
