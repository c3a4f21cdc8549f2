"""Adding an operator over complex numbers, with its gradient, is one function in one file."""

from collections.abc import Iterator

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import graph
from numbatorch.dtype import COMPLEX
from numbatorch.graph import Node
from numbatorch.ops import scalar_math
from numbatorch.ops.parts import conjugated
from numbatorch.ops.registry import Elementwise, elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.testing import assert_close, check_op

X = np.array([1 + 2j, -0.5 + 0.25j, 3j, -2], np.complex64)


@pytest.fixture(scope="module", autouse=True)
def op() -> Iterator[Elementwise]:
    """The operator, which is all that is written for it."""

    @elementwise(numpy=lambda x: x * x + np.exp(x), dtypes=COMPLEX, domain=(-1.5, 1.5))
    def places_curve(x: Scalar) -> Scalar:
        """x^2 + exp(x)."""
        return x * x + scalar_math.exp(x)

    @places_curve.vjp
    def _(g: Node, y: Node, x: Node) -> Node:
        return g * conjugated(y - x * x + x * 2)

    yield places_curve
    graph.forget("places_curve")


def test_it_has_every_property(op: Elementwise, device: str) -> None:
    assert check_op(op, device, examples=1) > 0


def test_users_find_it_and_compile_it(device: str) -> None:
    x = nt.tensor(X, device=device)
    expected = X.astype(np.complex128) ** 2 + np.exp(X.astype(np.complex128))
    assert_close(x.places_curve(), expected, "elementwise")

    @nt.compile
    def twice(x: nt.Tensor) -> nt.Tensor:
        return nt.places_curve(x) * 2

    assert_close(twice(x), expected * 2, "elementwise")
