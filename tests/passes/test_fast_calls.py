"""Calls that take the short way give what the long way gives, and leave it when state changes."""

import copy
import math
import pickle
import re
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.backends.base import backend
from numbatorch.backends.cpu import native
from numbatorch.backends.cpu.backend import CPUBackend
from tests.compare import assert_close

scale = 2.0


class Model:
    def __init__(self) -> None:
        self.bias = 1.0
        self.weights = [nt.tensor([1.0, 2.0, 3.0])]

    def __call__(self, x: Any) -> Any:
        return (x * self.weights[0] + self.bias) * scale


def quick(function: Callable[..., Any], *args: Any) -> Any:
    """The function compiled, after calls that let it take the short way."""
    compiled = nt.compile(function)
    for _ in range(4):
        compiled(*args)
    assert takes_the_short_way(compiled, *args)
    return compiled


def takes_the_short_way(compiled: Any, *args: Any, **named: Any) -> bool:
    known = compiled._fast.get((len(args), *named) if named else len(args), [])
    given = (*args, *named.values())
    return any(fast(*given) is not NotImplemented for _trace, fast in known)


def test_the_function_of_native_code_is_there() -> None:
    assert native.runner() is not None


def rebind_global(model: Model) -> None:
    global scale
    scale = 3.0 if scale == 2.0 else 2.0


def change_attribute(model: Model) -> None:
    model.bias = 5.0


def change_element(model: Model) -> None:
    model.weights[0] = nt.tensor([0.0, 1.0, 0.5])


def add_element(model: Model) -> None:
    model.weights.append(nt.ones(3))


def change_in_place(model: Model) -> None:
    model.weights[0].mul_(2)


def change_through_a_view(model: Model) -> None:
    model.weights[0][1:].add_(1)


def add_attribute(model: Model) -> None:
    model.extra = 1  # type: ignore[attr-defined]


CHANGES = (
    *(rebind_global, change_attribute, change_element, add_element, change_in_place),
    *(change_through_a_view, add_attribute),
)


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(change: Callable[[Model], None]) -> None:
    model, x = Model(), nt.tensor([1.0, 2.0, 3.0])
    compiled = quick(model, x)
    for _ in range(2):
        change(model)
        for _ in range(4):
            assert compiled(x).tolist() == model(x).tolist()


@pytest.mark.parametrize(
    "x",
    [
        nt.tensor([1.0, 2.0]),
        nt.tensor([[1.0, 2.0, 3.0]]),
        nt.tensor([1, 2, 3]),
        nt.tensor([1.0, 2.0, 3.0], dtype=nt.float64),
        nt.tensor([1.0, 2.0, 3.0], device="numpy"),
        nt.tensor([5.0, 1.0, 3.0]) + 1,
        nt.arange(6.0)[::2],
    ],
    ids=str,
)
def test_other_arguments_are_right(x: nt.Tensor) -> None:
    def function(x: nt.Tensor) -> nt.Tensor:
        return x * 2 + 1

    compiled = quick(function, nt.tensor([1.0, 2.0, 3.0]))
    for _ in range(4):
        assert compiled(x).tolist() == function(x).tolist()
        assert compiled(x).dtype is function(x).dtype


def test_gradients_are_recorded_where_they_are_wanted() -> None:
    compiled = quick(lambda x: x * x, nt.tensor([3.0]))
    x = nt.tensor([3.0], requires_grad=True)
    for _ in range(4):
        x.grad = None
        compiled(x).sum().backward()
        assert x.grad is not None and x.grad.tolist() == [6.0]
        with nt.no_grad():
            assert not compiled(x).requires_grad
        assert not compiled(x.detach()).requires_grad


def test_debug_tools_see_each_launch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    x = nt.ones(3)
    compiled = quick(lambda x: x * 2 + 1, x)
    monkeypatch.setenv("NUMBATORCH_DEBUG", "1")
    compiled(x)
    assert "cpu" in capsys.readouterr().err
    monkeypatch.delenv("NUMBATORCH_DEBUG")
    with debug.validate():
        assert not takes_the_short_way(compiled, x)
    with debug.no_fuse():
        assert not takes_the_short_way(compiled, x)
        assert compiled(x).tolist() == [3.0] * 3
    assert takes_the_short_way(compiled, x)


def test_indices_out_of_range_are_found_and_harm_no_later_call() -> None:
    table = nt.arange(6.0).reshape(3, 2)
    compiled = quick(lambda i: nt.nn.functional.embedding(i, table) * 2, nt.tensor([0]))
    for number in (2, 3, 1, -1, 0):
        if 0 <= number < 3:
            wanted = (np.arange(6.0).reshape(3, 2)[[number]] * 2).tolist()
            assert compiled(nt.tensor([number])).tolist() == wanted
        else:
            with pytest.raises(nt.OutOfRange, match=f"index {number} is out of range"):
                compiled(nt.tensor([number]))


def test_threads_call_one_function() -> None:
    compiled = quick(lambda x: x * 2 + 1, nt.ones(64))
    wrong: list[float] = []

    def work(number: int) -> None:
        x = nt.full((64,), float(number))
        for _ in range(500):
            if compiled(x).tolist() != [2.0 * number + 1] * 64:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def put(x: Any, start: int = 1) -> Any:
    out = nt.zeros(6)
    out[start : start + 1] = x
    return out


def scaled(x: Any, by: float = 2.0) -> Any:
    return x * by


WEIGHT = nt.tensor([1.0, 2.0, 3.0])


def weighted(x: Any, weight: Any = WEIGHT) -> Any:
    return x * weight + 1


def of_all(*xs: Any, by: float = 2.0) -> Any:
    return [x * by for x in xs]


@pytest.mark.parametrize(
    ("function", "dynamic", "calls"),
    [
        (put, ["start"], [(nt.ones(1),), (nt.ones(1), 3), (nt.ones(1), 0)]),
        (scaled, ["by"], [(nt.ones(3),), (nt.ones(3), 0.5), (nt.ones(3), -1.5)]),
        (weighted, [], [(nt.ones(3),), (nt.ones(3), nt.arange(3.0))]),
        (of_all, [], [(nt.ones(3), nt.arange(2.0)), (nt.ones(3),)]),
        (nt.nn.Linear(3, 2), [], [(nt.ones(4, 3),), (nt.ones(1, 3),)]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_arguments_that_are_left_out_or_gathered(
    function: Callable[..., Any], dynamic: list[str], calls: list[tuple[Any, ...]]
) -> None:
    compiled = nt.compile(function, dynamic=dynamic)
    for _ in range(5):
        for args in calls:
            found, wanted = compiled(*args), function(*args)
            found, wanted = (x if isinstance(x, list) else [x] for x in (found, wanted))
            for one, other in zip(found, wanted, strict=True):
                assert_close(one, other)


class Point(NamedTuple):
    x: Any
    y: Any


class State:
    """What the functions below read and change: two of these are used alike."""

    def __init__(self) -> None:
        self.table = nt.arange(12.0).reshape(4, 3).realize()
        self.total = nt.zeros(3)
        self.weight = nt.tensor([0.5, -1.0, 2.0], requires_grad=True)
        self.parameter = nt.nn.Parameter(nt.tensor([1.0, 2.0, 3.0]))
        self.generator = nt.Generator(7)
        self.optimizer = nt.optim.SGD([self.weight], lr=0.1)
        self.model = Model()

    def values(self) -> list[Any]:
        gradient = self.weight.grad
        found = [self.table, self.total, self.weight, *([] if gradient is None else [gradient])]
        return [x.tolist() for x in found]


def step(state: State, x: Any) -> Any:
    loss = (state.weight * x).square().sum()
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    return loss


def write(state: State, x: Any, position: int) -> None:
    state.table[position : position + 1] = x


X = nt.tensor([1.0, 2.0, 3.0])
EVERY_KIND: dict[str, tuple[Callable[..., Any], Callable[[State], list[Any]], dict[str, Any]]] = {
    "state": (lambda s, x: s.total.add_(x) * 2, lambda s: [X], {}),
    "state at a position": (write, lambda s: [X], {"position": 2}),
    "number by its name": (lambda s, x, by: x * by, lambda s: [X], {"by": 0.5}),
    "indices": (lambda s, i: s.table[i], lambda s: [nt.tensor([3, 0])], {}),
    "random numbers": (lambda s, x: x + nt.rand(3, generator=s.generator), lambda s: [X], {}),
    "list": (lambda s, xs: [x * 2 for x in xs], lambda s: [[X, X + 1]], {}),
    "empty list": (lambda s, xs, x: [x * 2, *xs], lambda s: [[], X], {}),
    "dict": (lambda s, xs: {k: x * 2 for k, x in xs.items()}, lambda s: [{"a": X, "b": 2}], {}),
    "named tuple": (lambda s, p: Point(p.x * p.y, p.x), lambda s: [Point(X, 3)], {}),
    "nest": (lambda s, xs: xs[1]["k"][0] + xs[0], lambda s: [(X, {"k": [X]})], {}),
    "parameter": (lambda s, w: w * 2, lambda s: [s.parameter], {}),
    "object": (lambda s, m, x: m(x), lambda s: [s.model, X], {}),
    "dtype and shape": (lambda s, x, d, n: x.to(d).reshape(n), lambda s: [X, nt.int32, (3, 1)], {}),
    "gradient of a result": (lambda s, x: s.weight * x, lambda s: [X], {}),
    "training step": (step, lambda s: [X], {}),
    "large": (lambda s, x: (x @ x).sum(0), lambda s: [nt.ones(300, 300)], {}),
    "given back": (lambda s, x: (x, x * 2), lambda s: [X], {}),
    "no tensor": (lambda s, n: s.total * n, lambda s: [3], {}),
}


def shown(result: Any) -> str:
    """A nest of results as text, but for the operators that made them."""
    return re.sub("grad_fn=<.*?>", "grad_fn", repr(result))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_of_call_takes_the_short_way(kind: str) -> None:
    function, given, named = EVERY_KIND[kind]
    state, other = State(), State()
    dynamic = [name for name in named if name in ("position", "by")]
    compiled = nt.compile(partial(function, state), dynamic=dynamic)

    def call() -> None:
        found, wanted = compiled(*given(state), **named), function(other, *given(other), **named)
        assert shown(found) == shown(wanted)
        assert state.values() == other.values()

    for _ in range(5):
        call()
    assert takes_the_short_way(compiled, *given(state), **named)
    function(other, *given(other), **named)
    for _ in range(3):
        call()


def test_an_argument_may_be_what_the_function_changes() -> None:
    def function(state: State, x: Any) -> Any:
        state.total.add_(1)
        return x * 2

    state, other = State(), State()
    compiled = nt.compile(partial(function, state))
    for _ in range(4):
        compiled(X)
        function(other, X)
    for choose in (
        lambda s: s.total,
        lambda s: s.total[1:],
        lambda s: X,
        lambda s: s.total.view(3),
    ):
        for _ in range(4):
            found, wanted = compiled(choose(state)), function(other, choose(other))
            assert found.tolist() == wanted.tolist()
            assert state.values() == other.values()


@pytest.mark.parametrize("number", [300, -1, 2**40, 2**63, 2**70, -(2**70)])
@pytest.mark.parametrize("dtype", [nt.int8, nt.uint8, nt.int32, nt.int64, nt.float32])
@pytest.mark.parametrize("name", ["add", "lt", "where", "floor_divide"])
def test_dynamic_integers_are_never_cut(name: str, dtype: nt.DType, number: int) -> None:
    def function(x: Any, number: int) -> Any:
        return nt.where(x > 0, x, number) if name == "where" else getattr(nt, name)(x, number)

    x, holds = nt.tensor([1, 0]).to(dtype), dtype.kind == "f"
    if not holds:
        limits = np.iinfo(dtype.numpy)
        holds = limits.min <= number <= limits.max
    compiled = nt.compile(function, dynamic=["number"])
    for _ in range(4):
        assert repr(compiled(x, 3)) == repr(function(x, 3))
        if holds:
            assert repr(compiled(x, number)) == repr(function(x, number))
        else:
            with pytest.raises(nt.OutOfRange, match=f"{number} does not fit {dtype.name}"):
                compiled(x, number)


def test_the_function_itself_draws_random_numbers_once() -> None:
    """Also where its trace finds that it has to be called: an argument is what it changes."""

    def function(state: State, x: Any) -> Any:
        state.total.add_(nt.rand(3, generator=state.generator))
        return x + nt.rand(3, generator=state.generator)

    state, other = State(), State()
    compiled = nt.compile(partial(function, state))
    for choose in (lambda s: s.total, lambda s: X, lambda s: s.total):
        for _ in range(4):
            found, wanted = compiled(choose(state)), function(other, choose(other))
            assert found.tolist() == wanted.tolist()
            assert state.values() == other.values()


def test_tracebacks_show_the_generated_function() -> None:
    table = nt.arange(6.0).reshape(3, 2)
    compiled = quick(lambda i: table[i], nt.tensor([0]))
    with pytest.raises(nt.OutOfRange) as caught:
        compiled(nt.tensor([5]))
    assert "PROGRAM.check_status(frame)" in "".join(traceback.format_exception(caught.value))


def test_a_keyword_first_does_not_spoil_the_short_way() -> None:
    compiled = nt.compile(lambda x: x * 2)
    for _ in range(4):
        compiled(x=nt.ones(3))
    for _ in range(3):
        compiled(nt.ones(3))
    assert takes_the_short_way(compiled, nt.ones(3))


def test_an_attribute_of_its_own_shadows_that_of_the_class() -> None:
    class Kept:
        factor = 2.0

    kept = Kept()
    compiled = nt.compile(lambda x: x * kept.factor)
    for _ in range(4):
        assert compiled(nt.ones(2)).tolist() == [2.0, 2.0]
    kept.factor = 5.0
    assert compiled(nt.ones(2)).tolist() == [5.0, 5.0]


def test_constants_of_complex_zeros_keep_their_signs() -> None:
    x = nt.tensor([complex(-0.0, -0.0)])
    for constant in (complex(-0.0, -0.0), complex(0.0, 0.0), complex(-0.0, 0.0)):
        found = (x + constant).item()
        wanted = np.complex64(complex(-0.0, -0.0)) + np.complex64(constant)
        assert str(np.complex64(found)) == str(wanted)


def test_arrays_of_views_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        nt.arange(6.0).realize()[::2].numpy()[0] = 9.0


def test_a_parameter_is_one_within_the_function() -> None:
    def function(x: Any) -> Any:
        return x * (3 if isinstance(x, nt.nn.Parameter) else 2)

    compiled = nt.compile(function)
    for _ in range(4):
        for x in (nt.nn.Parameter(nt.ones(2)), nt.ones(2, requires_grad=True), nt.ones(2)):
            assert compiled(x).tolist() == function(x).tolist()


def test_copies_of_a_compiled_function_trace_for_themselves() -> None:
    layer = nt.nn.Linear(2, 2)
    compiled = quick(layer, nt.ones(1, 2))
    for other in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        assert other.traces == 0
        with nt.no_grad():
            layer.weight.mul_(2)
        assert other(nt.ones(1, 2)).tolist() != compiled(nt.ones(1, 2)).tolist()


NUMBERS = (
    0.1,
    3,
    7.25,
    -0.0,
    0.0,
    1.0,
    2,
    1e-45,
    3e38,
    1e300,
    math.inf,
    -math.inf,
    math.nan,
    10**6,
)


@pytest.mark.parametrize("dtype", [nt.float16, nt.bfloat16, nt.float32, nt.float64])
def test_numbers_beside_floats_share_a_program(dtype: nt.DType) -> None:
    """And give what they give as part of a plan, which graphs of many elements have."""

    def function(x: Any, c: float) -> Any:
        return (x * c - 0.3).tanh() / (x * x + c)

    few = nt.tensor([-2.0, 0.5, 3.0], dtype=dtype).realize()
    many = nt.tensor([-2.0, 0.5, 3.0] * 40_000, dtype=dtype).realize()
    runner = backend(few.device)
    assert isinstance(runner, CPUBackend)
    known = runner._small._known
    function(few, 5.5).realize()
    before = len(known)
    for c in (0.7, 11, -4.25):
        function(few, c).realize()
    assert len(known) == before
    for c in NUMBERS:
        found, wanted = function(few, c), function(many, c)[:3]
        assert repr(found.realize()) == repr(wanted.realize())
