"""numbatorch.compile: what it takes, and what the errors say of anything else."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import DTypeError


@dataclass
class Pair:
    first: Any
    second: Any = None


@dataclass(frozen=True)
class Frozen:
    first: Any


@dataclass(eq=False)
class AsItself:
    first: Any


@pytest.mark.parametrize("dynamic", [True, False, None, 5, 1.5, (1,), {"x": 1}])
def test_dynamic_is_names_of_arguments(dynamic: Any) -> None:
    with pytest.raises(TypeError, match=r"compile: dynamic is .*, not names of int and float arg"):
        nt.compile(lambda x: x, dynamic=dynamic)
    with pytest.raises(TypeError, match="not names of int and float arguments"):
        nt.compile(dynamic=dynamic)


@pytest.mark.parametrize("dynamic", ["n", ["n"], ("n",), {"n"}])
def test_dynamic_is_one_name_or_several(dynamic: Any) -> None:
    compiled = nt.compile(lambda x, n: x * n, dynamic=dynamic)
    assert [compiled(nt.ones(1, device="cpu"), n).item() for n in (2, 3, 4)] == [2, 3, 4]
    assert compiled.traces == 1


@pytest.mark.parametrize("value", [nt.tensor(2.5), nt.ones(2), "a", True, None, np.ones(2)])
def test_a_dynamic_argument_is_one_number(value: Any) -> None:
    compiled = nt.compile(lambda x, n: x * n, dynamic="n")
    with pytest.raises(DTypeError, match="dynamic argument n must be an int or a float"):
        compiled(nt.ones(1), value)


def test_what_is_compiled_is_a_function() -> None:
    with pytest.raises(TypeError, match="compile: takes a function, not int"):
        nt.compile(5)  # type: ignore[arg-type]


ARRAY = "of type ndarray, .*\n  hint: nt.from_numpy"


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        (np.ones(3), f"batch is {ARRAY}"),
        ({"a": [np.ones(3)]}, f"batch holds a value {ARRAY}"),
        (Frozen(np.ones(3)), f"batch holds a value {ARRAY}"),
        (Pair(1), r"batch is of type Pair, .*\n  hint: @dataclass\(frozen=True\)"),
        ((3, Pair(1)), r"batch holds a value of type Pair, .*\n  hint: @dataclass\(frozen=True\)"),
        (Frozen([1]), "batch holds a value of type list, .*\n  hint: a tuple has one"),
        ({1, 2}, "batch is of type set, .*\n  hint: frozenset has one"),
        (bytearray(b"a"), "batch is of type bytearray, .*\n  hint: bytes has one"),
    ],
)
def test_an_argument_that_may_change_is_named(argument: Any, problem: str) -> None:
    compiled = nt.compile(lambda x, batch=None: x)
    for call in (lambda: compiled(nt.ones(3), argument), lambda: compiled(1, batch=argument)):
        with pytest.raises(TypeError, match=f"compile: argument {problem}") as caught:
            call()
        assert not isinstance(caught.value, DTypeError)


@pytest.mark.parametrize("kind", [Frozen, AsItself])
def test_what_the_hints_say_is_taken(kind: Any) -> None:
    compiled = nt.compile(lambda batch: batch.first * 2)
    for number in (1.0, 2.0, 3.0):
        assert compiled(kind(nt.full((2,), number))).tolist() == [2 * number] * 2
