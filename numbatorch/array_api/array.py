"""The array of the namespace: a tensor whose operators promote as the standard says."""

from __future__ import annotations

from typing import Any

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.tensor import Tensor
from numbatorch.tensor.base import Handle
from numbatorch.tensor.interchange import VERSIONS

VERSION = VERSIONS[-1]


def lift(value: Any) -> Array:
    """A tensor as an array of the namespace."""
    if type(value) is Array:
        return value
    made = object.__new__(Array)
    Handle.__init__(made, value._noted())
    return made


def lifted(values: Any) -> tuple[Array, ...]:
    """Tensors as arrays of the namespace."""
    return tuple(map(lift, values))


def meet(operator: str, *operands: Any) -> list[Tensor]:
    """Operands in the dtype where they meet; numbers take the dtype of the arrays.

    Raises:
        DTypeError: a float beside integers, or dtypes that do not meet.
    """
    arrays = [x for x in operands if isinstance(x, Tensor)]
    if not arrays:
        raise TypeError(message(operator, "needs an array"))
    kind = arrays[0].dtype
    for x in arrays[1:]:
        kind = dt.promote(kind, x.dtype)
    for x in operands:
        if not isinstance(x, Tensor):
            kind = _with_number(operator, kind, x)
    where = arrays[0].device
    return [
        x.to(kind) if isinstance(x, Tensor) else nt.full((), x, dtype=kind, device=where)
        for x in operands
    ]


def _with_number(operator: str, kind: DType, number: Any) -> DType:
    """The dtype in which arrays of `kind` meet a number of Python's."""
    fits = {
        bool: "b",
        int: "iufc",
        float: "fc",
        complex: "fc",
    }.get(type(number))
    if fits is None or kind.kind not in fits:
        raise DTypeError(message(operator, f"{number!r} meets no array of {kind.name}"))
    return kind.complex if type(number) is complex else kind


class Array(Tensor):
    """A tensor whose operators promote as the standard of array APIs says."""

    __slots__ = ()

    @property
    def size(self) -> int:  # type: ignore[override]
        """Number of elements."""
        return self.numel()

    @property
    def T(self) -> Array:
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ShapeError(message("T", f"needs two dimensions, not {self.ndim}"))
        return self.mT

    @property
    def mT(self) -> Array:
        """The last two dimensions exchanged."""
        if self.ndim < 2:
            raise ShapeError(message("mT", f"needs two dimensions, not {self.ndim}"))
        return lift(self.transpose(-1, -2))

    def to_device(self, device: Any, /, *, stream: Any = None) -> Array:
        """The array on another device."""
        return lift(self.to(device=device))

    def _key(self, key: Any) -> Any:
        """The key, a mask of no elements as one of this shape without True."""
        if not isinstance(key, Tensor) or key.dtype is not dt.bool_ or key.numel():
            return key
        covered = self.shape[: key.ndim]
        fits = all(size in (0, own) for size, own in zip(key.shape, covered, strict=False))
        if key.ndim > self.ndim or not fits:
            return key
        return nt.zeros(covered, dtype=dt.bool_, device=self.device)

    def __getitem__(self, key: Any) -> Array:
        return lift(super().__getitem__(self._key(key)))

    def __setitem__(self, key: Any, value: Any) -> None:
        key = self._key(key)
        if isinstance(value, Tensor):
            if dt.promote(self.dtype, value.dtype) is not self.dtype:
                problem = f"{value.dtype.name} does not become {self.dtype.name} by itself"
                raise DTypeError(message("setitem", problem, hint="astype(value, dtype) converts"))
            value = value.to(self.dtype)
        super().__setitem__(key, value)

    __hash__ = Tensor.__hash__
