"""Records behind results whose shape depends on values: as much room as there may be, and a count.

`tensor/dynamic.py` reads the count and takes that many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import PLAIN, DType, bool_, float64, int64
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.create import iota
from numbatorch.ops.index import scatter_add
from numbatorch.ops.operands import const, describe
from numbatorch.ops.structured import structured
from numbatorch.ops.view import reject_blocks
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Outputs = list[tuple[Shape, DType]]


@structured(dtypes=(bool_,), differentiable=False)
def compact(mask: Array) -> tuple[Array, Array]:
    """Where True stands in `mask` (N,), in order, then zeros up to N; and how often it does."""
    found = np.flatnonzero(mask)
    return np.concatenate([found, np.zeros(mask.size - found.size, np.int64)]), np.array(found.size)


@compact.infer
def _(mask: Node) -> Outputs:
    if len(mask.shape) != 1 or mask.dtype is not bool_:
        raise ShapeError(message("compact", "mask must be (N,) bool", f"mask {describe(mask)}"))
    return [(mask.shape, int64), ((), int64)]


@compact.samples
def _(rng: Draw) -> Any:
    size = int(rng.choice([1, 5, 700, 2048, 5000]))
    return [rng.random(size) < rng.choice([0.0, 0.1, 0.7, 1.0])], {}


@structured(dtypes=PLAIN)
def run_starts(x: Array) -> tuple[Array, Array, Array]:
    """The first of each run of equal elements of x (N,), in order, then zeros up to N.

    Then where they stand, then zeros; and how many they are. NaN equals nothing.
    """
    new = np.ones(x.shape, np.bool_)
    new[1:] = x[1:] != x[:-1]
    found = np.flatnonzero(new)
    values, places = np.zeros(x.shape, x.dtype), np.zeros(x.shape, np.int64)
    values[: found.size], places[: found.size] = x[found], found
    return values, places, np.array(found.size)


@run_starts.infer
def _(x: Node) -> Outputs:
    if len(x.shape) != 1:
        raise ShapeError(message("run_starts", "x must be (N,)", f"x {describe(x)}"))
    if x.dtype.kind not in "fiub":
        raise DTypeError(message("run_starts", f"has no meaning for {describe(x)}"))
    return [(x.shape, x.dtype), (x.shape, int64), ((), int64)]


@run_starts.vjp
def _(g: tuple[Node, None, None], y: tuple[Node, ...], x: Node) -> Node:
    """What is behind the values was never among the elements."""
    within = find("lt").apply(iota(x.shape[0], x.device), y[2])
    cotangent = find("where").apply(within, g[0], 0.0)
    return scatter_add.apply(const(0.0, x.dtype, x.device, x.shape), y[1], cotangent)


@run_starts.samples
def _(rng: Draw) -> Any:
    size = int(rng.choice([0, 1, 5, 700, 2048, 5000]))
    # A gradient jumps at equal elements.
    often = 1 if rng.dtype is float64 else rng.integers(1, 4, size)
    return [np.repeat(rng.permutation(size) / 2, often)], {}


@structured(dtypes=PLAIN, differentiable=False)
def unique_rows(x: Array) -> tuple[Array, Array, Array, Array]:
    """The distinct elements of x (R,), or rows of x (R, C), ascending, then zeros up to R.

    Then for each row of x the number of its like among them, how often each occurs, then zeros;
    and how many they are. Each NaN is distinct from all others.
    """
    values, inverse, counts = np.unique(
        x, return_inverse=True, return_counts=True, axis=0, equal_nan=False
    )
    spare = len(x) - len(values)
    values = np.concatenate([values, np.zeros((spare, *x.shape[1:]), x.dtype)])
    counts = np.concatenate([counts, np.zeros(spare, np.int64)])
    return values, inverse.reshape(-1), counts, np.array(len(x) - spare)


@unique_rows.infer
def _(x: Node) -> Outputs:
    reject_blocks("unique", x)
    if len(x.shape) not in (1, 2):
        raise ShapeError(message("unique", "x must be (R,) or (R, C)", f"x {describe(x)}"))
    if x.dtype.kind not in "fiub":
        raise DTypeError(message("unique", f"has no order for {describe(x)}"))
    rows = x.shape[:1]
    return [(x.shape, x.dtype), (rows, int64), (rows, int64), ((), int64)]


@unique_rows.samples
def _(rng: Draw) -> Any:
    R, C = rng.dims((1, 0), (30, 3))
    return [rng.integers(-2, 2, (R, C) if C else R) / 2], {}
