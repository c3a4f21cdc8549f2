"""Adding an operator over complex numbers, with its gradient, is one function in one file."""

from collections.abc import Iterator

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import graph
from numbatorch.dtype import COMPLEX, DType
from numbatorch.graph import Node
from numbatorch.ops import scalar_math
from numbatorch.ops.parts import conjugated
from numbatorch.ops.registry import Elementwise, elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.structured import structured
from numbatorch.shape import Shape
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


def test_gradients_flow_through_complex_parts(device: str) -> None:
    """2 x and 3 x, on the host: the cotangent of each part counts."""

    @structured(dtypes=COMPLEX)
    def places_multiples(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """2 x and 3 x."""
        return 2 * x, 3 * x

    @places_multiples.infer
    def _(x: Node) -> list[tuple[Shape, DType]]:
        return [(x.shape, x.dtype)] * 2

    @places_multiples.vjp
    def _(g: tuple[Node | None, ...], y: tuple[Node, ...], x: Node) -> Node:
        found = [part * factor for part, factor in zip(g, (2, 3), strict=True) if part is not None]
        return found[0] if len(found) == 1 else found[0] + found[1]

    try:
        for weights in ((1, 0), (0, 1), (1, 1)):
            x = nt.tensor(X, device=device, requires_grad=True)
            parts = [nt.Tensor(node) for node in places_multiples.parts(x.node)]
            assert all(part.requires_grad for part in parts)
            read = [part for part, weight in zip(parts, weights, strict=True) if weight]
            sum(nt.view_as_real(part).sum() for part in read).backward()
            factor = 2 * weights[0] + 3 * weights[1]
            assert_close(x.grad, np.full(4, factor * (1 + 1j), np.complex64), "gradient")
    finally:
        graph.forget("places_multiples")
