"""Products by AMX's tiles, on any processor with AVX-512: tests/tile_machine.py has the tiles."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from numbatorch.language import processor

SIZES = [
    (1, 1, 1), (32, 64, 32), (33, 65, 31), (96, 64, 64), (97, 130, 70), (200, 70, 33),
    (64, 3, 2080), (5, 64, 0), (130, 200, 96),
]  # fmt: skip
SCRIPT = """
import sys
import numpy as np
from tests.tile_machine import install
machine = install()
from tests.ops.test_matmul_kernels import check, product
pairs = [("bfloat16", "bfloat16"), ("float32", "float32"), ("float32", "bfloat16")]
orders = ["rows", "columns", "neither"]
cases = eval(sys.argv[1])
for i, sizes in enumerate(cases):
    how = {"lhs": orders[i % 3], "rhs": orders[i // 3 % 3], "multiplied": "bfloat16"}
    how["batches"] = [((1, 1), (1, 1)), ((1, 2), (1, 1))][i % 2]
    check(product("matmul", pairs[(i + i // 3) % 3], sizes, **how), 1 + i % 3)
one = product("matmul", ("float32", "float32"), (40, 33, 41), multiplied="bfloat16")
one.lhs[..., 2, 5], one.lhs[..., 6, 40] = np.nan, np.inf
with np.errstate(invalid="ignore"):
    found, wanted = one.run(1), one.expected()
assert (np.isfinite(found) == np.isfinite(wanted)).all()
assert not machine.ready
from benchmarks.peaks import multiply_tiles
from tests.run_kernel import run_kernel
run_kernel(multiply_tiles(T="int32"), np.zeros(16, np.int32), 3)
assert not machine.ready and machine.counts.get("tdpbssd", 0) in (0, 12)
print(len(cases), "products", machine.counts.get("tdpbf16ps", 0) > 100)
"""


@pytest.mark.skipif(not processor.host().has("avx512bw"), reason="tiles come with AVX-512")
@pytest.mark.parametrize(
    ("setting", "cases", "tiled"),
    [
        ("native", SIZES, True),
        ("native,-avx512bw", SIZES[:3], False),
        ("native,-avx512vl", SIZES[:3], False),
    ],
)
def test_products_by_tiles(
    setting: str, cases: list[tuple[int, int, int]], tiled: bool, tmp_path: Path
) -> None:
    """Panels of narrower vectors hold no squares: there is no tile then."""
    # A cache of its own: what is compiled calls into the process that compiled it.
    environment = {**os.environ, "NUMBATORCH_CACHE": str(tmp_path), "NUMBATORCH_CPU": setting}
    command = [sys.executable, "-c", SCRIPT, repr(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert not done.returncode, done.stderr[-3000:]
    assert done.stdout.split() == [str(len(cases)), "products", str(tiled)]
