"""A user's operator whose gradient is wrong: the error names the operator and what it gave."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.dtype import FLOATS
from numbatorch.errors import GradientError
from numbatorch.graph import Op, forget
from numbatorch.ops.cast import cast
from numbatorch.ops.registry import elementwise
from numbatorch.ops.structured import structured
from numbatorch.ops.view import reshape


def scaled_product(x: Any, y: Any) -> Any:
    """x * y."""
    return x * y


def made(kind: str) -> Op:
    if kind == "elementwise":
        return elementwise(numpy=lambda x, y: x * y, dtypes=FLOATS, places=())(scaled_product)
    op = structured()(scaled_product)
    op.infer(lambda x, _y: (x.shape, x.dtype))
    return op


@pytest.fixture(params=["elementwise", "structured"])
def op(request: pytest.FixtureRequest) -> Iterator[Op]:
    yield made(request.param)
    forget("scaled_product")


COUNT = "its gradient gives {} for 2 operands\n  operand 0 \\(2, 3\\) float32\n  operand 1 "
WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (lambda g: g, COUNT.format("1 cotangent")),
    (lambda g: (g,), COUNT.format("1 cotangent")),
    (lambda g: [g, g, None], COUNT.format("3 cotangents")),
    (lambda g: None, COUNT.format("1 cotangent")),
    (
        lambda g: (g, reshape.apply(g, shape=(3, 2))),
        "not the shape of operand 1\n  gradient \\(3, 2\\) float32\n  operand 1 \\(2, 3\\) float32",
    ),
    (
        lambda g: (cast.apply(g, dtype=nt.int32), g),
        "not the dtype of operand 0\n  gradient \\(2, 3\\) int32\n  operand 0 \\(2, 3\\) float32",
    ),
    (lambda g: (g, cast.apply(g, dtype=nt.complex64)), "not the dtype of operand 1"),
    (lambda g: (g, 1.0), "gives float for operand 1, not a node"),
    (lambda g: (g, nt.ones(2, 3)), "gives Tensor for operand 1, not a node"),
    (lambda g: (np.ones((2, 3)), g), "gives ndarray for operand 0, not a node"),
]


def gradient_of(call: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    x, y = (nt.ones(2, 3, requires_grad=True) for _ in range(2))
    nt.autograd.backward(call(x, y).sum())
    return x.grad, y.grad


@pytest.mark.parametrize(("wrong", "problem"), WRONG)
def test_a_wrong_gradient_of_a_record_is_told(op: Op, wrong: Any, problem: str) -> None:
    op.vjp(lambda g, _z, _x, _y: wrong(g))
    with pytest.raises(GradientError, match=f"scaled_product: .*{problem}"):
        gradient_of(lambda x, y: x._tensor(op.apply(x.node, y.node)))


def test_a_wider_gradient_is_rounded_and_none_may_be_left_out(op: Op) -> None:
    op.vjp(lambda g, _z, _x, _y: (cast.apply(g, dtype=nt.float64), None))
    x_grad, y_grad = gradient_of(lambda x, y: x._tensor(op.apply(x.node, y.node)))
    assert x_grad.dtype is nt.float32 and x_grad.tolist() == [[1.0] * 3] * 2
    assert y_grad is None


BACKWARD: list[tuple[Callable[[Any], Any], str]] = [
    (lambda g: g, "backward gives 1 gradient for 2 arguments"),
    (lambda g: (g, g, None), "backward gives 3 gradients for 2 arguments"),
    (lambda g: (g, g.T), "shape of argument 1\n  gradient \\(3, 2\\) float32\n  argument 1 "),
    (lambda g: (g.int(), g), "dtype of argument 0\n  gradient \\(2, 3\\) int32\n  argument 0 "),
    (lambda g: (g, 0.0), "backward gives float for argument 1, not a tensor or None"),
    (lambda g: None, "backward gives 1 gradient for 2 arguments"),
]


@pytest.mark.parametrize(("wrong", "problem"), BACKWARD)
def test_a_wrong_gradient_of_a_function_is_told(wrong: Any, problem: str) -> None:
    class Product(nt.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            return x * y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return wrong(g)

    with pytest.raises(GradientError, match=f"Product: .*{problem}"):
        gradient_of(Product.apply)
