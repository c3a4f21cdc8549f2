"""numbatorch.compile: replays equal calls, state is kept, plan variables move, errors rise."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import errors
from tests.compare import assert_close


def rand(*shape: int) -> Any:
    data = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    return nt.tensor(data, device="cpu")


def test_replay_equals_a_call_and_traces_once_per_signature() -> None:
    compiled = nt.compile(lambda x, y: {"sum": (x @ y).tanh(), "parts": [x + 1, y * 2]})
    for size in (3, 5, 3, 5):
        x, y = rand(size, 4), rand(4, size)
        got = compiled(x, y)
        assert_close(got["sum"], np.tanh(x.numpy() @ y.numpy()), kind="matmul")
        assert_close(got["parts"][1], y.numpy() * 2)
    assert compiled.traces == 2


def test_results_of_earlier_replays_keep_their_values() -> None:
    compiled = nt.compile(lambda x: x * 2)
    first = compiled(nt.full((4,), 1.0, device="cpu"))
    second = compiled(nt.full((4,), 5.0, device="cpu"))
    assert first.tolist() == [2.0] * 4
    assert second.tolist() == [10.0] * 4


def test_captured_tensor_is_read_at_each_call() -> None:
    weight = rand(3)
    compiled = nt.compile(lambda x: x * weight)
    x = nt.ones(3, device="cpu")
    assert compiled(x).tolist() == weight.tolist()
    weight[...] = 7.0
    assert compiled(x).tolist() == [7.0] * 3
    assert compiled.traces == 1


def test_position_is_a_variable_of_one_plan() -> None:
    cache = nt.zeros(2, 8, 3, device="cpu").realize()

    def write(row: Any, position: int) -> Any:
        cache[:, position : position + 2] = row
        return cache.sum()

    compiled = nt.compile(write, dynamic=("position",))
    expected = np.zeros((2, 8, 3), np.float32)
    for position in (0, 2, 5, 6, 1):
        row = nt.full((2, 2, 3), position + 1.0, device="cpu")
        expected[:, position : position + 2] = position + 1
        assert compiled(row, position=position).item() == expected.sum()
    assert_close(cache, expected, kind="exact")
    assert compiled.traces == 1
    with pytest.raises(errors.OutOfRange, match="7"):
        compiled(row, position=7)
    assert_close(cache, expected, kind="exact")


def test_state_that_is_seen_elsewhere_is_not_overwritten() -> None:
    state = nt.zeros(4, device="cpu").realize()

    def step(x: Any) -> Any:
        state[...] = state + x
        return state * 1

    compiled = nt.compile(step)
    one = nt.ones(4, device="cpu")
    compiled(one)
    kept = state.detach()
    array = state.numpy()
    pending = state * 10
    compiled(one)
    assert state.tolist() == [2.0] * 4
    assert kept.tolist() == [1.0] * 4
    assert array.tolist() == [1.0] * 4
    assert pending.tolist() == [10.0] * 4


def test_arithmetic_that_would_freeze_a_variable_is_an_error() -> None:
    compiled = nt.compile(lambda x, n: x * (n * 2), dynamic=("n",))
    with pytest.raises(TypeError, match="freeze"):
        compiled(nt.ones(2, device="cpu"), n=3)


def test_reading_a_value_while_tracing_is_an_error() -> None:
    compiled = nt.compile(lambda x: x + float(x.sum()))
    with pytest.raises(RuntimeError, match="traced"):
        compiled(nt.ones(2, device="cpu"))


def test_an_error_in_the_function_leaves_state_as_it_was() -> None:
    state = nt.zeros(2, device="cpu").realize()

    def step(x: Any) -> Any:
        state[...] = x
        return state @ rand(3, 3)

    with pytest.raises(errors.ShapeError):
        nt.compile(step)(nt.ones(2, device="cpu"))
    assert state.tolist() == [0.0, 0.0]


def test_index_out_of_range_in_a_replay_raises_and_the_plan_stays_usable() -> None:
    table = rand(5, 3)
    compiled = nt.compile(lambda ids: table[ids])
    assert_close(compiled(nt.tensor([1, 4], device="cpu")), table.numpy()[[1, 4]], kind="exact")
    with pytest.raises(errors.OutOfRange, match="5"):
        compiled(nt.tensor([1, 5], device="cpu"))
    assert_close(compiled(nt.tensor([0, 2], device="cpu")), table.numpy()[[0, 2]], kind="exact")


def test_unknown_dynamic_name_is_an_error() -> None:
    with pytest.raises(TypeError, match="length"):
        nt.compile(lambda x: x, dynamic=("length",))
