"""Compiled functions give what a call gives after every kind of change."""

import collections
import dataclasses
import enum
import functools
import operator
import os
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn
from tests.passes.change_cases import CODE, OBJECTS
from tests.passes.hidden_change_cases import HIDDEN

TOOLS = (
    *(collections, dataclasses, enum, functools, operator, os, sys, threading, types, weakref),
    *(np, nt, nn),
)
NAMES = {"numpy": "np", "numbatorch": "nt", "numbatorch.nn": "nn"}

BOX = """
class Box:
    scale = 1.0
    def __init__(self, scale=2.0): self.scale = scale
    def times(self, x): return x * self.scale
def ones(*shape): return nt.ones(*shape, device="cpu")
"""


@pytest.fixture(autouse=True)
def settings_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    for variable in ("NUMBATORCH_DEVICE", "A"):
        monkeypatch.setenv(variable, "")  # so that it will be as it was
        monkeypatch.delenv(variable)
    name = "module_of_cases"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    yield
    nt.use_deterministic_algorithms(False)
    nt.set_default_dtype(nt.float32)


def program(text: str, expression: str) -> dict[str, Any]:
    """Names of a program with a `function` of `x`."""
    scope = {NAMES.get(tool.__name__, tool.__name__): tool for tool in TOOLS}
    scope |= {"__name__": "program", "dataclass": dataclasses.dataclass}
    exec(f"{BOX}\n{text}\ndef function(x): return {expression}", scope)
    return scope


@pytest.mark.filterwarnings("ignore:compile. .* is traced:RuntimeWarning")
@pytest.mark.parametrize("name", [*CODE, *OBJECTS, *HIDDEN])
def test_a_change_is_seen(name: str) -> None:
    text, expression, change = (CODE | OBJECTS | HIDDEN)[name]
    scope, again = program(text, expression), program(text, expression)
    x = nt.tensor([1.0, -2.0], device="cpu")
    compiled = nt.compile(scope["function"])
    before = [compiled(x).tolist() for _ in range(5)]  # the last ones on the short way
    assert before == [again["function"](x).tolist() for _ in range(5)]
    exec(change, scope)
    exec(change, again)
    after = [compiled(x).tolist() for _ in range(5)]
    assert after == [again["function"](x).tolist() for _ in range(5)]
    assert after[0] != before[0]


def test_defaults_of_the_function_itself_are_seen() -> None:
    def scaled(x: Any, scale: Any = 2.0, *, shift: float = 0.0) -> Any:
        return x * scale + shift

    x, partial = nt.ones(2, device="cpu"), functools.partial(scaled, shift=1.0)
    compiled, of_partial = nt.compile(scaled), nt.compile(partial)

    def both() -> list[float]:
        return [compiled(x)[0].item(), of_partial(x)[0].item()]

    for _ in range(5):
        assert both() == [2.0, 3.0]
    scaled.__defaults__ = (3.0,)
    partial.keywords["shift"] = 2.0
    for _ in range(5):
        assert both() == [3.0, 5.0]
    scaled.__kwdefaults__["shift"] = 5.0  # type: ignore[index]
    for _ in range(5):
        assert both() == [8.0, 5.0]
    scaled.__code__ = (lambda y: y * 7).__code__  # which has one argument
    scaled.__defaults__ = scaled.__kwdefaults__ = None
    for _ in range(5):
        assert compiled(x)[0].item() == 7.0
    scaled.__code__ = (lambda y, z: y * z).__code__
    for _ in range(5):
        assert compiled(x, 9.0)[0].item() == 9.0
    with pytest.raises(TypeError, match="missing a required argument"):
        compiled(x)


class Number(float):
    scale: float


class Named(NamedTuple):
    scale: float


@dataclasses.dataclass(frozen=True)
class Frozen:
    name: Any
    scale: Any = dataclasses.field(default=1.0, compare=False)


def number(value: float, scale: float) -> Number:
    found = Number(value)
    found.scale = scale
    return found


# Arguments that compare equal, and what a function reads of them.
ALIKE = {
    "types in a dataclass": (lambda a: a.name, [Frozen(1), Frozen(1.0), Frozen(True)]),
    "types in a tuple": (lambda a: a.name[0], [Frozen((1,)), Frozen((1.0,))]),
    "signs in a dataclass": (lambda a: 1 / a.name, [Frozen(np.float64(1.0)), Frozen(1.0)]),
    "field that is not compared": (lambda a: a.scale, [Frozen("a", 2.0), Frozen("a", 3.0)]),
    "types in a set": (lambda a: max(a), [frozenset({1}), frozenset({1.0})]),
    "types of keys": (lambda a: max(a), [{1: 0}, {1.0: 0}, {True: 0}]),
    "types in keys": (lambda a: max(a)[0], [{(1,): 0}, {(1.0,): 0}]),
    "signs of keys": (lambda a: np.copysign(1.0, max(a)), [{0.0: 0}, {-0.0: 0}]),
    "order of keys": (lambda a: next(iter(a.values())), [{"a": 1, "b": 2}, {"b": 2, "a": 1}]),
    "signs of NumPy's numbers": (
        lambda a: np.copysign(1.0, a),
        [np.float32(0.0), np.float32(-0.0), np.float16(-0.0)],
    ),
    "signs of decimal numbers": (lambda a: a.is_signed() + 1, [Decimal("0"), Decimal("-0")]),
    "attributes of numbers": (lambda a: a.scale, [number(1.0, 2.0), number(1.0, 3.0)]),
    "named tuples": (lambda a: a.scale, [Named(2.0), Named(3.0)]),
    "enclosed numbers": (lambda a: a[0], [[1], [1.0], [True]]),
}


@pytest.mark.parametrize("name", ALIKE)
def test_arguments_that_compare_equal_are_told_apart(name: str) -> None:
    read, arguments = ALIKE[name]
    x = nt.tensor([1, 2], device="cpu")

    def scaled(x: Any, argument: Any) -> Any:
        return x * read(argument)

    compiled = nt.compile(scaled)
    for _ in range(4):
        for argument in arguments:
            found, wanted = compiled(x, argument), scaled(x, argument)
            assert (found.dtype, found.tolist()) == (wanted.dtype, wanted.tolist())


def test_a_list_in_a_frozen_argument_is_followed() -> None:
    @dataclasses.dataclass(frozen=True)
    class Sizes:
        name: str
        scales: list[float] = dataclasses.field(hash=False)

    compiled = nt.compile(lambda x, sizes: x * sizes.scales[0])
    one, other, x = Sizes("a", [2.0]), Sizes("a", [2.0]), nt.ones(1)
    for _ in range(4):
        assert compiled(x, one).item() == compiled(x, other).item() == 2.0
    other.scales[0] = 3.0
    for _ in range(4):
        assert (compiled(x, one).item(), compiled(x, other).item()) == (2.0, 3.0)
