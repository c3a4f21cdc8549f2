"""numbatorch.compile: replays equal calls, state is kept, plan variables move, errors rise."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import errors, nn
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
    kept, seen = state.clone(), state.detach()
    array = state.numpy()
    pending = state * 10
    compiled(one)
    assert state.tolist() == [2.0] * 4
    assert kept.tolist() == [1.0] * 4
    assert seen.tolist() == [2.0] * 4
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


def test_no_history_is_cut_by_a_change_in_place() -> None:
    leaf = rand(3).requires_grad_()
    for recorded in (True, False):
        hidden = (leaf * 2).exp()

        def scale(factor: Any, hidden: Any = hidden, recorded: bool = recorded) -> None:
            with nt.set_grad_enabled(recorded):
                hidden.mul_(factor)

        with pytest.raises(errors.GradientError, match="in place"):
            nt.compile(lambda x, scale=scale: scale(x))(rand(3))
        assert_close(hidden.detach(), np.exp(2 * leaf.detach().numpy()))
    total = nt.zeros(3, device="cpu")
    add = nt.compile(lambda x: total.add_(x))
    with pytest.raises(errors.GradientError, match="in place"):
        nt.compile(lambda: total.add_(leaf))()
    add(rand(3))
    total += leaf
    with pytest.raises(errors.GradientError, match="in place"):
        add(rand(3))


def test_gradient_inside_of_a_compiled_function() -> None:
    gradient = nt.compile(nt.grad(lambda x: (x * x).sum()))
    assert gradient(nt.tensor([1.0, 2.0], device="cpu")).tolist() == [2.0, 4.0]


def test_unevaluated_captured_tensor_is_read_at_each_call() -> None:
    for weight in (nt.zeros(2, device="cpu"), nt.zeros(2, device="cpu") + nt.tensor([1.0, 1.0])):
        compiled = nt.compile(lambda x, weight=weight: x + weight)
        before = compiled(nt.ones(2, device="cpu"), weight=weight).tolist()
        captured = nt.compile(lambda x: x + weight)  # noqa: B023
        assert captured(nt.ones(2, device="cpu")).tolist() == before
        weight += 2
        assert captured(nt.ones(2, device="cpu")).tolist() == [value + 2 for value in before]


def test_what_a_function_makes_and_changes_is_no_state() -> None:
    outside = rand(2, 3)
    values: list[Any] = [
        lambda x: x * 2,
        lambda x: nt.zeros(6, device="cpu"),
        lambda x: nt.tensor([1.0] * 6, device="cpu"),
        lambda x: outside.T.reshape(-1),
        lambda x: outside.clone().view(-1),
        lambda x: (x * 2).view(2, 3).T[:, :1].expand(3, 2).reshape(6),
    ]
    for make in values:

        def change(x: Any, make: Any = make) -> Any:
            value = make(x)
            value += x
            value[1:].mul_(2)
            return value, value[0] * 3

        compiled = nt.compile(lambda x, change=change: change(x))
        for size in (1, 2):
            x = nt.full((6,), float(size), device="cpu")
            for found, expected in zip(compiled(x), change(x), strict=True):
                assert_close(found, expected.numpy())


def test_what_a_function_makes_and_leaves_behind_is_state() -> None:
    kept: dict[str, Any] = {}

    def total(x: Any) -> Any:
        if "sum" not in kept:
            kept["sum"] = nt.zeros(3, device="cpu")
        kept["sum"] += x
        return kept["sum"]

    compiled = nt.compile(total)
    for call in range(1, 4):
        assert compiled(nt.ones(3, device="cpu")).tolist() == [float(call)] * 3
        assert kept["sum"].tolist() == [float(call)] * 3


def test_argument_changed_in_place_is_an_error() -> None:
    def add(total: Any, x: Any) -> Any:
        total += x
        return total

    with pytest.raises(TypeError, match="argument"):
        nt.compile(add)(nt.ones(2, device="cpu"), nt.ones(2, device="cpu"))


def test_variable_meets_floats() -> None:
    compiled = nt.compile(lambda x, p: x * p + p, dynamic=("p",))
    for value in (1, 5, 7):
        assert compiled(nt.full((2,), 2.0, device="cpu"), p=value).tolist() == [3.0 * value] * 2


def test_branch_on_a_variable_is_an_error() -> None:
    with pytest.raises(TypeError, match="freeze"):
        branch = nt.compile(lambda x, p: x if p > 3 else -x, dynamic=("p",))
        branch(nt.ones(4, device="cpu"), p=1)
    with pytest.raises(errors.ShapeError, match="changes between replays"):
        nt.compile(lambda x, p: x[:p], dynamic=("p",))(nt.ones(4, device="cpu"), p=1)


def test_minus_zero_is_another_signature() -> None:
    compiled = nt.compile(lambda x, c: nt.full((1,), c, device="cpu") * x)
    one = nt.ones(1, device="cpu")
    assert str(compiled(one, 0.0).item()) == "0.0"
    assert str(compiled(one, -0.0).item()) == "-0.0"
    assert compiled.traces == 2


def test_two_positions_of_one_assignment_move_apart() -> None:
    grid = nt.zeros(5, 7, device="cpu").realize()

    def write(value: Any, row: int, column: int) -> Any:
        grid[row : row + 2, column : column + 3] = value
        return grid.sum()

    compiled = nt.compile(write, dynamic=("row", "column"))
    expected = np.zeros((5, 7), np.float32)
    for number, (row, column) in enumerate([(0, 0), (3, 4), (1, 2), (2, 0)]):
        expected[row : row + 2, column : column + 3] = number + 1
        compiled(nt.full((2, 3), number + 1.0, device="cpu"), row=row, column=column)
        assert_close(grid, expected, kind="exact")
    assert compiled.traces == 1


def test_compiled_functions_nest() -> None:
    inner = nt.compile(lambda x: x + 1)
    outer = nt.compile(lambda x: inner(x) * 2)
    assert outer(nt.ones(2, device="cpu")).tolist() == [4.0, 4.0]


def test_index_out_of_range_leaves_state_as_it_was() -> None:
    state, table = nt.zeros(2, device="cpu").realize(), rand(5, 2)

    def step(ids: Any) -> Any:
        state[...] = state + 1
        return table[ids] + state

    compiled = nt.compile(step)
    compiled(nt.tensor([1], device="cpu"))
    with pytest.raises(errors.OutOfRange):
        compiled(nt.tensor([9], device="cpu"))
    assert state.tolist() == [1.0, 1.0]


def test_number_of_threads_may_change_between_replays() -> None:
    from numbatorch.backends.cpu import threads

    before = threads.num_threads()
    compiled = nt.compile(lambda x: (x @ x).softmax(0).sum(0))
    x = rand(200, 200)
    expected = compiled(x).numpy().copy()
    try:
        for count in (1, 4, 2, 3):
            threads.set_num_threads(count)
            assert_close(compiled(x), expected, kind="composite")
            assert_close((x @ x).softmax(0).sum(0), expected, kind="composite")
    finally:
        threads.set_num_threads(before)


def test_readers_in_other_threads_see_whole_values() -> None:
    import threading

    state = nt.zeros(50_000, device="cpu").realize()

    def step() -> Any:
        state[...] = state + 1
        return state[0] * 1

    compiled = nt.compile(step)
    torn = []

    def read() -> None:
        while not done.is_set():
            values = state.numpy()
            if values.min() != values.max():
                torn.append((values.min(), values.max()))

    done = threading.Event()
    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(300):
        compiled()
    done.set()
    reader.join()
    assert not torn


def test_unknown_dynamic_name_is_an_error() -> None:
    with pytest.raises(TypeError, match="length"):
        nt.compile(lambda x: x, dynamic=("length",))


def test_weights_that_move_to_another_device(metal: None) -> None:
    linear = nt.nn.Linear(3, 2)
    step = nt.compile(lambda x: linear(x))
    x = nt.ones(1, 3)
    expected = step(x).detach().numpy()
    linear.to("numpy")
    with pytest.raises(nt.DeviceError, match=r"(?s)different devices.*on cpu.*on numpy"):
        step(x)
    linear.to("metal")
    with pytest.raises(nt.DeviceError, match=r"(?s)different devices.*on cpu.*on metal"):
        step(x)
    assert_close(step(x.to("metal")), expected, kind="composite")
    linear.to("cpu")
    assert_close(step(x), expected, kind="exact")


def test_state_that_moves_to_another_device(metal: None) -> None:
    state = nt.zeros(2)

    @nt.compile
    def count() -> nt.Tensor:
        state[...] = state + 1
        return state * 2

    assert count().tolist() == [2, 2]
    state.hold(state.to("metal").node)
    assert count().tolist() == [4, 4]
    assert state.device.kind == "metal" and count().device.kind == "metal"
    assert state.tolist() == [3, 3]


def test_a_function_over_several_devices_runs_eagerly() -> None:
    calls = []

    @nt.compile
    def both(x: nt.Tensor) -> Any:
        calls.append(x)
        return x + 1, nt.ones(2, device="numpy") + 1

    for _ in range(3):
        first, second = both(nt.zeros(2))
        assert first.tolist() == [1, 1] and second.device.kind == "numpy"
    assert len(calls) == 4  # once more, to find out


def test_a_compiled_method_is_one() -> None:
    class Scale:
        factor = 2.0

        @nt.compile
        def times(self, x: Any) -> Any:
            return x * self.factor

        inverse = nt.compile(lambda self, x: x / self.factor)

    class Layer(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(3, 3)

        @nt.compile
        def forward(self, x: Any) -> Any:
            return self.linear(x)

    one, other, x = Scale(), Scale(), nt.ones(3)
    other.factor = 3.0
    for _ in range(4):
        assert one.times(x).tolist() == [2.0] * 3 and other.times(x).tolist() == [3.0] * 3
        assert Scale.times(other, x).tolist() == [3.0] * 3
        assert one.inverse(x).tolist() == [0.5] * 3
    one.factor = 5.0
    assert one.times(x).tolist() == [5.0] * 3
    layer = Layer()
    for _ in range(4):
        assert_close(layer(x).detach(), layer.linear(x).detach().numpy(), kind="composite")
    Scale.layer = nt.compile(layer)  # type: ignore[attr-defined]
    assert one.layer(x).shape == (3,)  # type: ignore[attr-defined]


def test_what_calls_cannot_share_is_no_result() -> None:
    def generator(x: Any) -> Any:
        yield x * 2

    shared: list[Any] = [generator, lambda x: map(abs, [x])]
    shared += [lambda x: [{x * 2}], lambda x: (x, np.zeros(2)), lambda x: SimpleNamespace(x=x)]
    for function in shared:
        for _ in range(2):
            with pytest.raises(TypeError, match=r"compile: the function returns a \w+, which all"):
                nt.compile(function)(nt.ones(2))
    assert nt.compile(lambda x: (x, None, "text", x.dtype))(nt.ones(2))[1:] == (
        *(None, "text", nt.float32),
    )
