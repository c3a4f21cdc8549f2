"""What `x @ w.T` multiplies with where `w` is packed in blocks, whose columns no strides reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numbatorch.apart import import_module
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node
from numbatorch.shape import list_shape

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor


def in_blocks(node: Node) -> bool:
    """Whether a value is packed in blocks of several elements."""
    return node.dtype.kind == "q" and not node.dtype.is_storage


class Turned:
    """A weight in blocks as the right side of a product.

    Attributes:
        weight: (..., N, K); the product is with (..., K, N).
    """

    __slots__ = ("weight",)

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weight with the last two sizes exchanged."""
        *rest, rows, columns = self.weight.shape
        return (*rest, columns, rows)

    @property
    def T(self) -> Tensor:
        """The weight."""
        return self.weight

    def __rmatmul__(self, x: Tensor) -> Tensor:
        linear: Any = import_module("numbatorch.ops.linear").linear
        return self.weight._tensor(linear(x._noted(), self.weight._noted()))

    def __matmul__(self, x: object) -> Tensor:
        problem = "packed weights are the right side of a product: x @ w.T"
        row = f"lhs {list_shape(self.shape)} {self.weight.node.dtype.name}, turned"
        hint = "w.dequantize().T has floats"
        raise DTypeError(message("matmul", problem, row, hint=hint))

    def __repr__(self) -> str:
        return f"{self.weight!r}.T"
