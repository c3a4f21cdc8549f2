"""Small launches that need nothing new stand side by side, and wait for nobody's memory."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.backends.cpu.loop import BARRIER, FLAGS
from numbatorch.backends.cpu.program import CPUProgram
from numbatorch.nn import functional as F
from numbatorch.passes.planner import make_plan
from tests.compare import assert_close, tolerance

RNG = np.random.default_rng(0)


def weights(count: int, size: int) -> list[nt.Tensor]:
    made = [RNG.standard_normal((size, size), dtype=np.float32) for _ in range(count)]
    return [nt.quantize(nt.tensor(w, device="cpu"), "Q8_0").realize() for w in made]


def attention_like(x: nt.Tensor, q: nt.Tensor, k: nt.Tensor, v: nt.Tensor) -> nt.Tensor:
    """Each product is followed by what needs it, as the graph is built."""
    return (F.linear(x, q).softmax(-1) + F.linear(x, k).softmax(-1)) * F.linear(x, v).softmax(-1)


def names(result: nt.Tensor, parts: int) -> list[str]:
    return [x.spec.name.split("_")[0] for x in make_plan([result.node], "cpu", parts).launches]


def test_products_of_the_same_value_come_before_what_waits_for_them() -> None:
    x = nt.tensor(RNG.standard_normal((1, 256), dtype=np.float32), device="cpu")
    result = attention_like(x, *weights(3, 256))
    found = names(result, 2)
    assert found[:3] == ["quant", "quant", "quant"]
    assert sorted(found) == sorted(names(result, 1))


def test_they_do_not_take_turns_in_the_same_memory() -> None:
    x = nt.tensor(RNG.standard_normal((1, 256), dtype=np.float32), device="cpu")
    plan = make_plan([attention_like(x, *weights(3, 256)).node], "cpu", 2)
    flags = CPUProgram(plan).rows[:, FLAGS]
    assert not (flags[:3] & BARRIER).any()
    assert flags[3] & BARRIER


def test_large_results_are_computed_when_they_are_needed() -> None:
    """Side by side they would need their memory at the same time."""
    x = nt.tensor(RNG.standard_normal((256, 256), dtype=np.float32), device="cpu")
    result = attention_like(x, *weights(3, 256))
    assert names(result, 2) == names(result, 1)


def rounded_away(x: Any, matrix: Any) -> Any:
    """How far `x @ matrix.T` may be off where x has 8 bits, and a scale for each 32 numbers."""
    steps = np.abs(x.reshape(-1, 32)).max(axis=1).repeat(32).reshape(x.shape) / 127
    return steps / 2 @ np.abs(matrix).T + tolerance("float32", "matmul").absolute


@pytest.mark.parametrize("depth", [1, 20])
def test_the_order_changes_no_result(depth: int) -> None:
    x = nt.tensor(RNG.standard_normal((1, 64), dtype=np.float32), device="cpu")
    chosen = weights(3, 64)

    def run(value: nt.Tensor) -> nt.Tensor:
        for _ in range(depth):
            value = attention_like(value, *chosen) * 10
        return value

    found = nt.compile(run)(x).numpy()
    with nt.debug.no_fuse():
        expected = run(x).numpy()
    assert_close(found, expected, kind="composite")


def test_a_slice_that_is_written_is_read_before_by_those_that_came_before() -> None:
    """What overwrites stays where it is, whatever small products pass it."""
    memory = nt.zeros(4, 64, device="cpu").realize()
    x = nt.tensor(RNG.standard_normal((1, 64), dtype=np.float32) / 8, device="cpu")
    first, second, third = weights(3, 64)

    @nt.compile
    def step(value: nt.Tensor, row: int) -> tuple[nt.Tensor, nt.Tensor]:
        before = F.linear(memory[0:1], first)
        memory[0:1] = F.linear(value, second).softmax(-1)
        return before, F.linear(memory[0:1], third)

    matrices = [w.dequantize().numpy() for w in (first, second, third)]
    scores = x.numpy() @ matrices[1].T
    powers = np.exp(scores - scores.max())
    written = powers / powers.sum()
    # Each score may be off, and what they are divided by too.
    off = np.expm1(2 * rounded_away(x.numpy(), matrices[1]).max())
    for _ in range(3):
        held = memory.numpy()[0:1].copy()
        before, after = step(x, 0)
        assert_close(before, held @ matrices[0].T, absolute=rounded_away(held, matrices[0]))
        held = memory.numpy()[0:1]
        assert_close(held, written, absolute=off * written)
        assert_close(after, held @ matrices[2].T, absolute=rounded_away(held, matrices[2]))
