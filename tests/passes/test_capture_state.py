"""numbatorch.compile follows state: what a trace read and is another by now means a new trace."""

import dataclasses
import functools
import importlib
import itertools
import random
import types
import warnings
import weakref
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn
from numbatorch.tensor.reachable import guards_of
from tests.compare import assert_close

SCALE = 2.0
TENSOR = nt.tensor([1.0, 2.0], device="cpu")


def ones(*shape: int) -> Any:
    return nt.ones(*shape, device="cpu")


class Box:
    """An object with attributes, one of them of the class."""

    shared = 2.0

    def __init__(self, scale: float = 2.0) -> None:
        self.scale = scale

    @property
    def doubled(self) -> float:
        return 2 * self.scale

    def times(self, x: Any) -> Any:
        return x * self.scale


class Slotted:
    __slots__ = ("scale",)

    def __init__(self) -> None:
        self.scale = 2.0


def by_global(x: Any) -> Any:
    return x * SCALE


def by_a_helper(x: Any) -> Any:
    return by_global(x) + TENSOR[:1]


def cases() -> Any:
    """Functions of a tensor, each with a change that has to be seen in its next call."""
    box, slotted = Box(), Slotted()
    yield "attribute", lambda x: x * box.scale, lambda: setattr(box, "scale", 3.0)
    yield "property", lambda x: x * box.doubled, lambda: setattr(box, "scale", 4.0)
    yield "method", box.times, lambda: setattr(box, "scale", 5.0)
    yield "class attribute", lambda x: x * box.shared, lambda: setattr(box, "shared", 3.0)
    other = Box()
    yield (
        "attribute by a computed name",
        lambda x: x * getattr(other, "sc" + "ale"),
        (lambda: setattr(other, "scale", 7.0)),
    )
    absent = Box()
    yield (
        "attribute that was not there",
        lambda x: x * getattr(absent, "factor", 1.0),
        (lambda: setattr(absent, "factor", 7.0)),
    )
    yield "slot", lambda x: x * slotted.scale, lambda: setattr(slotted, "scale", 3.0)
    space = types.SimpleNamespace(scale=2.0)
    yield "namespace", lambda x: x * space.scale, lambda: setattr(space, "scale", 3.0)
    options = {"scale": 2.0, "deep": {"list": [1.0, (2.0, [3.0])]}}
    yield "entry", lambda x: x * options["scale"], lambda: options.update(scale=3.0)
    yield (
        "deep entry",
        lambda x: x * options["deep"]["list"][1][1][0],  # type: ignore[index]
        lambda: (
            options["deep"]["list"][1][1].append(0.0)  # type: ignore[index, func-returns-value]
            or options["deep"]["list"][1][1].reverse()
        ),  # type: ignore[index]
    )
    numbers = deque([2.0, 3.0])
    yield "deque", lambda x: x * numbers[0], lambda: numbers.rotate(1)
    flags = {"a"}
    yield "set", lambda x: x * 2 if "a" in flags else x, flags.clear
    array = np.array([2.0, 3.0], np.float32)
    yield "array", lambda x: x * nt.tensor(array, device="cpu"), lambda: array.fill(5)
    tensor = nt.tensor(2.0, device="cpu")
    yield "value of a tensor", lambda x: x * tensor.item(), lambda: tensor.fill_(3.0)
    yield (
        "partial",
        functools.partial(lambda b, x: x * b.scale, box),
        (lambda: setattr(box, "scale", 9.0)),
    )
    compiled = nt.compile(lambda x: x * box.scale)
    yield "nested", lambda x: compiled(x) + 1, lambda: setattr(box, "scale", 11.0)
    yield "gradient", nt.grad(lambda x: (x * box.scale).sum()), lambda: setattr(box, "scale", 13.0)
    base, derived = type("Base", (), {"scale": 2.0}), Box()
    heir = type("Heir", (base,), {})
    yield "inherited", lambda x: x * heir.scale, lambda: setattr(heir, "scale", 15.0)
    reference = weakref.ref(derived)
    yield (
        "weak reference",
        lambda x: x * reference().scale,
        (  # type: ignore[union-attr]
            lambda: setattr(derived, "scale", 17.0)
        ),
    )
    tagged = nn.Parameter(nt.ones(2, device="cpu"))
    yield (
        "attribute of a tensor",
        lambda x: x * getattr(tagged, "tag", 1.0),
        (lambda: setattr(tagged, "tag", 19.0)),
    )
    layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
    yield "list of modules", lambda x: layers[1](layers[0](x)), lambda: layers.reverse()


CASES = {name: (function, change) for name, function, change in cases()}


@pytest.mark.parametrize("name", CASES)
def test_a_change_of_what_is_read_is_seen(name: str) -> None:
    function, change = CASES[name]
    compiled = nt.compile(function)
    x = nt.tensor([1.0, -2.0], device="cpu")
    before = function(x).detach().numpy().copy()
    for _ in range(2):
        assert_close(compiled(x).detach(), before, kind="composite")
    assert compiled.traces == 1
    change()
    after = function(x).detach().numpy().copy()
    assert not np.array_equal(before, after)
    for _ in range(2):
        assert_close(compiled(x).detach(), after, kind="composite")
    assert compiled.traces == 2


def test_globals_of_functions_that_are_called_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = nt.compile(by_a_helper)
    assert compiled(ones(2)).tolist() == [3.0, 3.0]
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    assert compiled(ones(2)).tolist() == [6.0, 6.0]
    monkeypatch.setitem(globals(), "TENSOR", nt.tensor([3.0, 2.0], device="cpu"))
    assert compiled(ones(2)).tolist() == [8.0, 8.0]
    monkeypatch.setitem(globals(), "by_global", lambda x: x)
    assert compiled(ones(2)).tolist() == [4.0, 4.0]


def test_globals_of_code_without_a_module_are_seen() -> None:
    for body in ("x * c", "x * globals()['c']"):
        scope: dict[str, Any] = {"c": 2.0}
        exec(f"def function(x): return {body}", scope)
        compiled = nt.compile(scope["function"])
        assert compiled(ones(1)).tolist() == [2.0]
        scope["c"] = 3.0
        assert compiled(ones(1)).tolist() == [3.0]


def test_variables_of_enclosing_functions_are_seen() -> None:
    factor, weight = 2.0, nt.tensor([1.0, 2.0], device="cpu")

    def inner(x: Any) -> Any:
        return x * factor

    compiled = nt.compile(lambda x: inner(x) + weight)
    assert compiled(ones(2)).tolist() == [3.0, 4.0]
    factor = 3.0
    assert compiled(ones(2)).tolist() == [4.0, 5.0]
    weight = nt.tensor([5.0, 5.0], device="cpu")
    assert compiled(ones(2)).tolist() == [8.0, 8.0]
    factor = 3.0 * 1  # the same number again is no change
    compiled(ones(2))
    assert compiled.traces == 1  # no trace of a tensor that was rebound is kept


def model() -> Any:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def test_eval_and_train_are_seen_and_both_traces_kept() -> None:
    drop = nn.Dropout(0.5)
    compiled = nt.compile(drop)
    x = ones(1000)
    for _ in range(3):
        drop.train()
        zeros = 1000 - int(compiled(x).count_nonzero())
        assert 400 < zeros < 600
        drop.eval()
        assert compiled(x).tolist() == x.tolist()
    assert compiled.traces == 2
    compiled.train()
    assert drop.training
    drop.p = 0.0
    assert compiled(x).tolist() == x.tolist()
    with pytest.raises(AttributeError, match="missing"):
        compiled.missing  # noqa: B018


def test_replaced_parameters_and_modules_are_seen() -> None:
    net = model().eval()
    compiled = nt.compile(lambda x: net(x))
    x = nt.tensor(np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32))

    def check() -> None:
        with nt.no_grad():
            assert_close(compiled(x), net(x).numpy(), kind="composite")

    check()
    net[0].weight = nn.Parameter(ones(8, 4))
    check()
    net[0].bias = None
    check()
    setattr(net, "1", nn.Tanh())
    check()
    net.append(nn.Linear(2, 2))
    check()
    net[0].forward = lambda x: x @ ones(4, 8)
    check()
    del net[0].forward
    check()
    net.half()
    with nt.no_grad():
        y = x.half()
        assert compiled(y).dtype is nt.float16
        assert_close(compiled(y), net(y).numpy(), kind="composite")


def test_tensors_that_begin_to_require_a_gradient_are_seen() -> None:
    weight = nt.tensor([1.0, 2.0], device="cpu")
    compiled = nt.compile(lambda x: (x * weight).sum())
    assert not compiled(ones(2)).requires_grad
    weight.requires_grad_()
    compiled(ones(2)).backward()
    assert weight.grad is not None and weight.grad.tolist() == [1.0, 1.0]
    weight.requires_grad_(False)
    assert not compiled(ones(2)).requires_grad


def test_attributes_of_arguments_are_seen() -> None:
    compiled = nt.compile(lambda box, x: x * box.scale)
    box = Box()
    assert compiled(box, ones(1)).tolist() == [2.0]
    box.scale = 3.0
    assert compiled(box, ones(1)).tolist() == [3.0]

    @dataclasses.dataclass(unsafe_hash=True)
    class Named:
        name: str
        scale: float = dataclasses.field(compare=False)

    named = nt.compile(lambda box, x: x * box.scale)
    assert named(Named("a", 2.0), ones(1)).tolist() == [2.0]
    assert named(Named("a", 3.0), ones(1)).tolist() == [3.0]

    @dataclasses.dataclass(frozen=True)
    class Frozen:
        scale: float

    frozen = nt.compile(lambda box, x: x * box.scale)
    assert [frozen(Frozen(s), ones(1)).item() for s in (2.0, 3.0, 2.0)] == [2.0, 3.0, 2.0]
    assert frozen.traces == 2


def test_what_is_not_read_makes_no_trace() -> None:
    box, calls, net = Box(), [], model().eval()
    counts = {"calls": 0}
    calls_of_global = 0

    def step(x: Any) -> Any:
        nonlocal calls_of_global
        calls.append(x.shape)
        counts["calls"] += 1
        calls_of_global += 1
        box.calls = 1
        named = {"a": "b"}.copy()
        return net(x) * box.scale * len(named["a"].replace("b", "c"))

    compiled = nt.compile(step)
    for number in range(5):
        compiled(ones(3, 4))
        box.step, net.step = number, number  # type: ignore[attr-defined]
        Box.made = number  # type: ignore[attr-defined]
    # An attribute that comes into being is looked at once, for code may ask whether it is there.
    assert len(calls) == counts["calls"] == calls_of_global <= 2
    assert compiled.traces == 1


def test_state_that_a_function_changes_itself_is_traced_until_it_stays() -> None:
    box = Box()
    box.ready = False  # type: ignore[attr-defined]
    box.t = 0  # type: ignore[attr-defined]

    def lazily(x: Any) -> Any:
        if not box.ready:  # type: ignore[attr-defined]
            box.ready = True  # type: ignore[attr-defined]
            return x * 0
        return x * box.scale

    compiled = nt.compile(lazily)
    assert [compiled(ones(1)).item() for _ in range(4)] == [0.0, 2.0, 2.0, 2.0]
    assert compiled.traces == 1  # the first holds no more when it is made

    def counted(x: Any) -> Any:
        box.t += 1  # type: ignore[attr-defined]
        return x * box.t  # type: ignore[attr-defined]

    compiled = nt.compile(counted)
    assert [compiled(ones(1)).item() for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]


def test_iterators_and_random_numbers_of_others_are_read_at_each_call() -> None:
    numbers, own = itertools.count(1), np.random.default_rng(0)
    functions: list[Any] = [
        lambda x: x * next(numbers),
        lambda x: x * float(own.random()),
        lambda x: x * random.random(),
        lambda x: x * float(np.random.rand()),
        lambda x: x * float(legacy.rand()),
    ]
    legacy = np.random.RandomState(0)
    for function in functions:
        compiled = nt.compile(function)
        assert len({compiled(ones(1)).item() for _ in range(4)}) == 4


def test_a_value_of_the_arguments_that_is_kept_is_an_error() -> None:
    box = Box()
    box.h = ones(2)  # type: ignore[attr-defined]
    before = box.h  # type: ignore[attr-defined]

    def step(x: Any) -> Any:
        box.h = box.h * 0.5 + x  # type: ignore[attr-defined]
        return box.h  # type: ignore[attr-defined]

    with pytest.raises(RuntimeError, match=r"compile: attribute h of Box is bound to a value"):
        nt.compile(step)(ones(2))
    assert box.h is before  # type: ignore[attr-defined]


def test_many_traces_warn_once_and_the_least_recently_used_go() -> None:
    compiled = nt.compile(lambda x, c: x * c)
    x = ones(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(7):
            compiled(x, float(number))
    with pytest.warns(RuntimeWarning, match=r"(?s)<lambda> is traced for the 8th time.*c=7\.0"):
        compiled(x, 7.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(8, 64):
            compiled(x, float(number))
        assert compiled.traces == 64
        compiled(x, 0.0)
        compiled(x, 64.0)
        assert compiled.traces == 64
        made = compiled._made
        assert compiled(x, 0.0).tolist() == [0.0] and compiled._made == made
        assert compiled(x, 1.0).tolist() == [1.0] and compiled._made == made + 1
        for _ in range(5):
            compiled(x, 5.0)  # on a short way in the end, which does not note its use
        for number in range(65, 135):
            compiled(x, float(number))
        made = compiled._made
        assert compiled(x, 5.0).tolist() == [5.0] and compiled._made == made
        assert compiled(x, 6.0).tolist() == [6.0] and compiled._made == made + 1


def test_a_warning_says_what_changed() -> None:
    box = Box(0.0)
    compiled = nt.compile(lambda x: x * box.scale)
    with pytest.warns(RuntimeWarning, match=r"attribute scale of Box was \d\.0 and is 7\.0"):
        for number in range(8):
            box.scale = float(number)
            assert compiled(ones(1)).item() == number
    box.scale = ones(1)  # type: ignore[assignment]
    replaced = nt.compile(lambda x: x * box.scale)
    with pytest.warns(RuntimeWarning, match=r"attribute scale of Box was a Tensor and is another"):
        for number in range(8):
            box.scale = ones(1) * number
            replaced(ones(1))


def test_a_function_of_ours_is_walked_in_few_places() -> None:
    net = model()
    net[0].register_buffer("mean", ones(4))
    guards = guards_of(lambda x: net(x.to("cpu")), [])
    kinds = [(place.kind, place.key) for place in guards.places]
    # Of modules nothing is looked at before one changes.
    assert kinds == [("member", "__code__"), ("variable", "net")]
    assert {type(place.owner) for place in guards.tracked} == {type(m) for m in net.modules()}


def test_state_of_installed_libraries_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "library_of_layers.py").write_text(
        "import numbatorch as nt\n"
        "COUNTS = [0]\n"
        "def doubled(x):\n"
        "    COUNTS[0] = COUNTS[0] * 2 + 1\n"
        "    return x * 2\n"
        "class Scale(nt.nn.Module):\n"
        "    def __init__(self, factor):\n"
        "        self.factor = factor\n"
        "    def forward(self, x):\n"
        "        return x * self.factor\n"
    )
    monkeypatch.syspath_prepend(folder)
    library = importlib.import_module("library_of_layers")
    compiled = nt.compile(lambda x: library.doubled(x))
    assert [compiled(ones(1)).item() for _ in range(3)] == [2.0] * 3
    assert compiled.traces == 1
    layer = library.Scale(2.0)
    scaled = nt.compile(lambda x: layer(x))
    assert scaled(ones(1)).item() == 2.0
    layer.factor = 3.0
    assert scaled(ones(1)).item() == 3.0


class Changeable(nn.Module):
    """A module whose result depends on state of every kind."""

    def __init__(self) -> None:
        self.first, self.layers = nn.Linear(3, 3), [nn.Linear(3, 3), nn.Tanh()]
        self.by_name = {"scale": 2.0, "shift": nt.tensor([1.0, 2.0, 3.0], device="cpu")}
        self.gain, self.box, self.activation = 1.5, Box(), nt.relu
        self.weight = nn.Parameter(ones(3))
        self.flags = {"twice"}

    def forward(self, x: Any) -> Any:
        x = self.activation(self.first(x)) * self.gain
        for layer in self.layers:
            x = layer(x)
        if "twice" in self.flags:
            x = x * 2
        x = x * self.by_name["scale"] + self.by_name["shift"]
        return self.box.times(x) * self.weight if self.training else x * SCALE


def random_change(net: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change one thing that the forward pass reads, or may set it to what it was."""
    number = float(rng.integers(1, 4))
    vector = nt.full((3,), number, device="cpu")
    changes: list[Any] = [
        lambda: net.train(bool(rng.integers(2))),
        lambda: setattr(net, "gain", number),
        lambda: setattr(net.box, "scale", number),
        lambda: setattr(net, "activation", [nt.relu, nt.tanh, nt.exp][int(number) - 1]),
        lambda: setattr(net, "weight", nn.Parameter(vector)),
        lambda: net.weight.data.mul_(number),
        lambda: net.by_name.update(scale=number),
        lambda: net.by_name.update(shift=vector),
        lambda: net.by_name["shift"].mul_(number),
        lambda: net.layers.reverse(),
        lambda: net.layers.__setitem__(0, nn.Linear(3, 3)),
        lambda: net.layers.append(nn.Sigmoid()) if len(net.layers) < 4 else net.layers.pop(),
        lambda: net.flags.symmetric_difference_update({"twice"}),
        lambda: setattr(net.first, "bias", None if number > 2 else nn.Parameter(vector)),
        lambda: net.load_state_dict(net.state_dict()),
        lambda: setattr(net, "box", Box(number)),
        lambda: monkeypatch.setitem(globals(), "SCALE", number),
        lambda: monkeypatch.setattr(Box, "times", lambda self, x: x + self.scale * number),
        lambda: net.requires_grad_(bool(rng.integers(2))),
    ]
    changes[rng.integers(len(changes))]()


@pytest.mark.drawn(2)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.filterwarnings("ignore:compile. .* is traced:RuntimeWarning")
def test_random_changes_are_all_seen(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    net, x = Changeable(), nt.tensor(rng.standard_normal((2, 3)).astype(np.float32), device="cpu")
    compiled = nt.compile(net)
    for _ in range(40):
        random_change(net, rng, monkeypatch)
        for _ in range(int(rng.integers(1, 5))):  # the third of a trace takes a short way
            assert_close(compiled(x).detach(), net(x).detach().numpy(), kind="model")
