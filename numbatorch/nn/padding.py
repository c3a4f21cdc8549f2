"""Padding layers over 1, 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from numbatorch.errors import message
from numbatorch.nn import functional as F
from numbatorch.nn.applied import Applied

Mode = Literal["constant", "reflect", "replicate", "circular"]


class _Padded(Applied):
    """Padding of the last dimensions, from the last one backwards: before it, after it, ..."""

    padding: int | Sequence[int]

    dims: ClassVar[int]
    mode: ClassVar[Mode] = "constant"

    def __init_subclass__(cls, dims: int = 0, mode: Mode | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if dims:
            cls.dims = dims
        if mode:
            cls.mode = mode

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.padding
        both = (given,) * (2 * self.dims) if isinstance(given, int) else tuple(given)
        if len(both) != 2 * self.dims:
            problem = f"padding of {self.dims} dimensions is {2 * self.dims} numbers, not {both}"
            raise ValueError(message(type(self).__name__, problem))
        self.padding = both

    def forward(self, input: Any) -> Any:
        """The padded dimensions grow by both of their numbers."""
        return F.pad(input, self.padding, self.mode, getattr(self, "value", None))  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """The numbers."""
        return f"{self.padding}"


class _Constant(_Padded):
    value: float

    def extra_repr(self) -> str:
        """The numbers."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_Constant, dims=1):
    """Rows of a constant around (C, L), batched or not.

    >>> ConstantPad1d(1, 9.0)(tensor([[1.0, 2.0, 3.0]]))
    tensor([[9., 1., 2., 3., 9.]])
    """


class ConstantPad2d(_Constant, dims=2):
    """Rows of a constant around (C, H, W), batched or not.

    >>> ConstantPad2d(1, 9.0)(nt.ones(1, 2, 2)).shape
    (1, 4, 4)
    """


class ConstantPad3d(_Constant, dims=3):
    """Rows of a constant around (C, D, H, W), batched or not.

    >>> ConstantPad3d(1, 9.0)(nt.ones(1, 2, 2, 2)).shape
    (1, 4, 4, 4)
    """


class ZeroPad1d(_Padded, dims=1):
    """Zeros around (C, L), batched or not.

    >>> ZeroPad1d(1)(tensor([[1.0, 2.0, 3.0]]))
    tensor([[0., 1., 2., 3., 0.]])
    """


class ZeroPad2d(_Padded, dims=2):
    """Zeros around (C, H, W), batched or not.

    >>> ZeroPad2d(1)(nt.ones(1, 2, 2)).shape
    (1, 4, 4)
    """


class ZeroPad3d(_Padded, dims=3):
    """Zeros around (C, D, H, W), batched or not.

    >>> ZeroPad3d(1)(nt.ones(1, 2, 2, 2)).shape
    (1, 4, 4, 4)
    """


class ReflectionPad1d(_Padded, dims=1, mode="reflect"):
    """The elements of (C, L) mirrored at its borders, which are not repeated.

    >>> ReflectionPad1d(1)(tensor([[1.0, 2.0, 3.0]]))
    tensor([[2., 1., 2., 3., 2.]])
    """


class ReflectionPad2d(_Padded, dims=2, mode="reflect"):
    """The elements of (C, H, W) mirrored at its borders, which are not repeated.

    >>> ReflectionPad2d(1)(nt.ones(1, 2, 2)).shape
    (1, 4, 4)
    """


class ReflectionPad3d(_Padded, dims=3, mode="reflect"):
    """The elements of (C, D, H, W) mirrored at its borders, which are not repeated.

    >>> ReflectionPad3d(1)(nt.ones(1, 2, 2, 2)).shape
    (1, 4, 4, 4)
    """


class ReplicationPad1d(_Padded, dims=1, mode="replicate"):
    """The border elements of (C, L) repeated around it.

    >>> ReplicationPad1d(1)(tensor([[1.0, 2.0, 3.0]]))
    tensor([[1., 1., 2., 3., 3.]])
    """


class ReplicationPad2d(_Padded, dims=2, mode="replicate"):
    """The border elements of (C, H, W) repeated around it.

    >>> ReplicationPad2d(1)(nt.ones(1, 2, 2)).shape
    (1, 4, 4)
    """


class ReplicationPad3d(_Padded, dims=3, mode="replicate"):
    """The border elements of (C, D, H, W) repeated around it.

    >>> ReplicationPad3d(1)(nt.ones(1, 2, 2, 2)).shape
    (1, 4, 4, 4)
    """


class CircularPad1d(_Padded, dims=1, mode="circular"):
    """(C, L) continued by its other end.

    >>> CircularPad1d(1)(tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 1., 2., 3., 1.]])
    """


class CircularPad2d(_Padded, dims=2, mode="circular"):
    """(C, H, W) continued by its other end.

    >>> CircularPad2d(1)(nt.ones(1, 2, 2)).shape
    (1, 4, 4)
    """


class CircularPad3d(_Padded, dims=3, mode="circular"):
    """(C, D, H, W) continued by its other end.

    >>> CircularPad3d(1)(nt.ones(1, 2, 2, 2)).shape
    (1, 4, 4, 4)
    """
