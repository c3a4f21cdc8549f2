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

BLOCKS = """
import numpy as np
from tests.tile_machine import install
machine = install()
import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.nn import functional as F
from tests.ops import test_quant_pairs as pairs
nt.set_num_threads(1)  # the machine has the tiles of one thread
random = np.random.default_rng(0)
x, data = random.standard_normal((97, 288)).astype(np.float32), pairs.weights(dt.Q8_0, 66, 288)
for M, N, parts in ((70, 65, 1), (97, 66, 2)):
    expected, bound = pairs.expectation(x[:M], data[:N], dt.Q8_0)
    assert (abs(pairs.product(dt.Q8_0, x[:M], data[:N], parts) - expected) <= bound).all()
weight, plain = pairs.blocks_tensor(dt.Q8_0, data, 288), pairs.decoded(data, dt.Q8_0, 288)
out = F.linear(nt.tensor(x), weight)
assert pairs.launched(out)[-1] == "quant_pairs_Q8_0"
pairs.near(out.numpy(), x, plain)
assert pairs.launched(F.linear(nt.tensor(x[:63]), weight))[-1] == "quant_rows_Q8_0"
index = random.permutation(np.repeat([0, 1], [30, 98]))
x = random.standard_normal((128, 288)).astype(np.float32)
rows, experts = nt.tensor(x), nt.tensor(index)
out = F.expert_linear(rows, weight, experts, 2)
assert "grouped_quant_pairs_Q8_0" in pairs.launched(out)
pairs.of_experts(x, plain, index, out.numpy())
rounded = nt.tensor(plain.astype(np.float32)).to(nt.bfloat16).realize()
out = F.expert_linear(rows, rounded, experts, 2, compute="bfloat16")
assert "grouped_pairs_bfloat16" in pairs.launched(out)
pairs.of_experts(x, rounded.to(nt.float32).numpy().astype(float), index, out.numpy())
assert not machine.ready
print(machine.counts["tdpbf16ps"] > 100)
"""


def run(script: str, *arguments: str, setting: str, cache: Path) -> list[str]:
    """The words that a script prints in a process of its own.

    So is its cache: what is compiled calls into the process that compiled it.
    """
    environment = {**os.environ, "NUMBATORCH_CACHE": str(cache), "NUMBATORCH_CPU": setting}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert not done.returncode, done.stderr[-3000:]
    return done.stdout.split()


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
    found = run(SCRIPT, repr(cases), setting=setting, cache=tmp_path)
    assert found == [str(len(cases)), "products", str(tiled)]


@pytest.mark.skipif(not processor.host().has("avx512bw"), reason="tiles come with AVX-512")
def test_weights_in_blocks_and_experts_by_tiles(tmp_path: Path) -> None:
    """Which kernels run is what a processor with tiles is given, with nothing said in the test."""
    assert run(BLOCKS, setting="native", cache=tmp_path) == ["True"]
