"""What is wrong with a body is an error where it is defined, or where an operand is given."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.graph import find, forget
from numbatorch.ops.activation import leaky_relu_
from numbatorch.ops.registry import elementwise
from numbatorch.ops.unary import sqrt
from numbatorch.testing import check_op


def loops(x: Any) -> Any:
    for _ in range(3):
        x = x * x
    return x


def calls_python(x: Any) -> Any:
    return math.sin(x)


def knows_no_such_name(x: Any) -> Any:
    return x + beyond  # noqa: F821


def is_endless(x: Any) -> Any:
    while x < 3:
        x = x + 1
    return x


def gives_nothing(x: Any) -> Any:
    x + 1


def takes_no_such_attribute(x: Any, *, scale: float) -> Any:
    return leaky_relu_(x, scale=scale)


def joins_bits(x: Any) -> Any:
    return x | 1


WRONG = [
    (loops, ValueError),
    (calls_python, ValueError),
    (knows_no_such_name, ValueError),
    (is_endless, ValueError),
    (gives_nothing, ValueError),
    (takes_no_such_attribute, ValueError),
    (joins_bits, nt.DTypeError),
]


@pytest.mark.parametrize(("body", "kind"), WRONG, ids=lambda value: value.__name__)
def test_a_wrong_body_is_refused_where_it_is_defined(body: Callable[..., Any], kind: Any) -> None:
    with pytest.raises(kind, match=rf"{body.__name__}: .*\n  .*{__file__}:\d+"):
        elementwise(numpy=lambda x, **_: x, dtypes=dt.FLOATS)(body)
    with pytest.raises(KeyError):
        find(body.__name__)


def test_a_dtype_without_a_meaning_is_refused_of_every_operand() -> None:
    @elementwise(numpy=lambda x: np.sqrt(x + 1))
    def root_of_next(x: Any) -> Any:
        """sqrt(x + 1), of any dtype, says its record."""
        return sqrt(x + 1)

    try:
        assert root_of_next(nt.ones(2)).tolist() == pytest.approx([2**0.5] * 2)
        operands = [nt.ones(2, dtype=nt.int32), nt.tensor([3, 4], dtype=nt.int32)]
        for x in operands:
            with pytest.raises(nt.DTypeError, match=r"root_of_next: .*int32"):
                root_of_next(x)
        with pytest.raises((nt.DTypeError, AssertionError)):
            check_op(root_of_next)
    finally:
        forget("root_of_next")
