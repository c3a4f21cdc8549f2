"""Tensors made from ranges: numbers at equal distances or ratios, identities, triangles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import device as as_device
from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, host_out_of_memory, message
from numbatorch.graph import Node, find
from numbatorch.ops import create
from numbatorch.ops.numbers import converted, fitting
from numbatorch.ops.operands import as_node
from numbatorch.ops.surface import names_itself
from numbatorch.ops.view import reshape, slice_update, stack
from numbatorch.tensor.base import Array, host_node
from numbatorch.tensor.constants import asked, shape_of
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.creation import Where, finished


@names_itself
def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... up to but without `end`; int64 for integers, else the default.

    Raises:
        ShapeError: the step is 0, or leads away from the end.

    >>> arange(1, 4)
    tensor([1, 2, 3])
    """
    start, end, step = (_number("arange", x) for x in (start, end, step))
    first, last = (0, start) if end is None else (start, end)
    if step == 0 or not all(map(math.isfinite, (first, last, step))):
        raise ShapeError(message("arange", f"no range from {first} to {last} by {step}"))
    whole = all(isinstance(number, int) for number in (first, last, step))
    target = asked("arange", dtype) or (dt.int64 if whole else dt.default_dtype())
    if target.kind in "iub" and not whole:
        first, last, step = (math.trunc(number) for number in (first, last, step))
        whole = True
    if (last - first) * step < 0 or step == 0:
        raise ShapeError(message("arange", f"the step {step} leads from {first} away from {last}"))
    size = -((first - last) // step) if whole else math.ceil((last - first) / step)
    if target.kind in "iub":
        for number in (first, first + (int(size) - 1) * step) if size else ():
            fitting("arange", number, target)
    shape_of("arange", (int(size),))
    where = as_device(device)
    if target.kind == "f" and not where.has_float64:  # in float32 the last would be far off
        array = (first + step * np.arange(int(size), dtype=np.float64)).astype(target.numpy)
        return finished(host_node(array, target, where), requires_grad)
    return finished(create.arange(first, step, int(size), target, where), requires_grad)


def _number(operator: str, value: Any) -> Any:
    """A number, also out of a 0-d tensor."""
    if not isinstance(value, Tensor):
        return value
    if value.shape:
        raise ShapeError(message(operator, f"takes numbers, not a tensor of shape {value.shape}"))
    return value.item()


def _between(operator: str, start: Any, end: Any, steps: int, target: DType) -> Array:
    """`steps` numbers at equal distances; for integers the ends are cut, and not yet the rest."""
    if target.kind in "iub":
        start, end = math.trunc(start), math.trunc(end)
        for number in (start, end):
            fitting(operator, number, target)
    (steps,) = shape_of(operator, (steps,))
    return np.linspace(start, end, steps)


def _kind(operator: str, dtype: dt.Like | None, *numbers: Any) -> DType:
    """The dtype asked for; else the default, or its complex numbers where a number is complex."""
    is_complex = any(isinstance(number, complex) for number in numbers)
    default = dt.default_dtype()
    return asked(operator, dtype) or (default.complex if is_complex else default)


def _cut(array: Array, target: DType) -> Array:
    """Numbers that may have fractions, as integers if the dtype is of such."""
    return np.trunc(array) if target.kind in "iub" else array


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers at equal distances from `start` to `end`, both of them among it.

    Args:
        start, end: numbers, or 0-d tensors of one, which are read.
        dtype: of integers: what lies between them is cut.

    >>> linspace(0, 1, 5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    start, end = _number("linspace", start), _number("linspace", end)
    target, where = _kind("linspace", dtype, start, end), as_device(device)
    (steps,) = shape_of("linspace", (steps,))
    real = not isinstance(start, complex) and not isinstance(end, complex)
    if real and target in (dt.float32, dt.float64) and where.has_float64 and steps > 1:
        step = (float(end) - float(start)) / (steps - 1)
        if step:  # which a distance of subnormal numbers rounds to 0
            values = create.arange(float(start), step, steps, dt.float64, where)
            last = find("eq").apply(create.iota(steps, where), steps - 1)
            values = find("where").apply(last, float(end), values)
            return finished(as_node(values, target, where), requires_grad)
    try:
        found = _between("linspace", start, end, steps, target)
        array = converted("linspace", _cut(found, target), target)
    except MemoryError as err:
        raise host_out_of_memory("linspace", err) from err
    return finished(host_node(array, target, where), requires_grad)


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """base to the power of `linspace(start, end, steps)`.

    >>> logspace(0, 2, 3).tolist()
    [1.0, 10.0, 100.0]
    """
    start, end = _number("logspace", start), _number("logspace", end)
    target = _kind("logspace", dtype, start, end, base)
    try:
        powers = _between("logspace", start, end, steps, target)
        with np.errstate(all="ignore"):
            wide = np.complex128 if target.is_complex else np.float64
            found = np.power(np.asarray(base, wide), powers)
        array = converted("logspace", _cut(found, target), target)
    except MemoryError as err:
        raise host_out_of_memory("logspace", err) from err
    return finished(host_node(array, target, as_device(device)), requires_grad)


@names_itself
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """1 on the diagonal of an (n, m) matrix, 0 elsewhere; m is n unless given.

    >>> eye(2, 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    where = as_device(device)
    rows, columns = shape_of("eye", (n, n if m is None else m))
    kind = asked("eye", dtype) or dt.default_dtype()
    node, count = create.full((rows * columns,), 0, kind, where), min(rows, columns)
    if count:
        ones = create.full((count,), 1, kind, where)
        step = columns + 1 if count > 1 else 1
        node = slice_update.apply(node, ones, starts=(0,), steps=(step,))
    return finished(reshape.apply(node, shape=(rows, columns)), requires_grad)


@names_itself
def tri(
    n: int,
    m: int | None = None,
    k: int = 0,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """1 on a diagonal of an (n, m) matrix and below it, 0 above; as NumPy's.

    >>> tri(2, 3).tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    """
    where = as_device(device)
    rows, columns = shape_of("tri", (n, n if m is None else m))
    down = reshape.apply(create.iota(rows, where) + k, shape=(rows, 1))
    node = find("ge").apply(down, create.iota(columns, where))
    return finished(
        find("cast").apply(node, dtype=asked("tri", dtype) or dt.float32), requires_grad
    )


@names_itself
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: dt.Like | None = None, device: Where = None
) -> Tensor:
    """(2, n): rows and columns of a (row, col) matrix up to a diagonal, in row-major order.

    >>> tril_indices(2, 2).tolist()
    [[0, 1, 1], [0, 0, 1]]
    """
    return _triangle("tril_indices", (row, col), offset, dtype, device, False)


@names_itself
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: dt.Like | None = None, device: Where = None
) -> Tensor:
    """(2, n): rows and columns of a (row, col) matrix from a diagonal on, in row-major order.

    >>> triu_indices(2, 2).tolist()
    [[0, 0, 1], [0, 1, 1]]
    """
    return _triangle("triu_indices", (row, col), offset, dtype, device, True)


def _triangle(
    operator: str,
    size: Any,
    offset: int,
    dtype: dt.Like | None,
    device: Where,
    upper: bool,
) -> Tensor:
    """Rows and columns of a triangle, each computed from the number of the element.

    The upper triangle is the lower one of the matrix turned around, from the last element on.
    """
    M, N = shape_of(operator, size)
    target, where = asked(operator, dtype) or dt.int64, as_device(device)
    first = min(max(-(N - M - offset if upper else offset), 0), M)
    below = first + (N - M - offset if upper else offset) + 1
    shortest = min(max(below, 0), N)
    growing = min(M - first, N - shortest + 1)  # rows of one element more each, up to N
    inside = growing * shortest + growing * (growing - 1) // 2
    total = inside + (M - first - growing) * N
    last = (min(M, N - offset) - 1, N - 1) if upper else (M - 1, min(N, M + offset) - 1)
    for most in last if total else ():
        fitting(operator, most, target)
    if not total or not where.has_float64:
        places = _places(M, N, offset, upper)
        return Tensor(host_node(converted(operator, places, target), target, where))
    number = create.iota(total, where)
    number = (total - 1) - number if upper else number
    row, column = _in_growing_rows(number, shortest)
    if inside < total:
        beyond, here = number - inside, find("lt").apply(number, inside)
        wide = as_node(beyond, dt.float64, where)
        quotient = as_node(find("floor").apply(wide / N), dt.int64, where)
        row = find("where").apply(here, row, quotient + growing)
        column = find("where").apply(here, column, beyond - quotient * N)
    row = row + first
    if upper:
        row, column = (M - 1) - row, (N - 1) - column
    return Tensor(stack([as_node(x, target, where) for x in (row, column)]))


def _in_growing_rows(number: Node, shortest: int) -> tuple[Node, Node]:
    """Row and column of an element, where row i has i elements more than the first.

    Before row i stand i * shortest + i * (i - 1) / 2 elements. The root of that is a float64,
    which is one off at most.
    """
    slope = 2 * shortest - 1

    def twice_before(row: Node) -> Node:
        return row * (row + slope)

    wide = as_node(number, dt.float64, number.device)
    root = find("sqrt").apply(wide * 8.0 + float(slope) ** 2)
    row = as_node(find("floor").apply((root - float(slope)) * 0.5), dt.int64, number.device)
    twice = number * 2
    high = find("gt").apply(twice_before(row), twice)
    row = row - as_node(high, dt.int64, number.device)
    low = find("le").apply(twice_before(row + 1), twice)
    row = row + as_node(low, dt.int64, number.device)
    before = find("bitwise_right_shift").apply(twice_before(row), 1)
    return row, number - before


def _places(M: int, N: int, offset: int, upper: bool) -> Array:
    """As `_triangle`, by NumPy."""
    diagonal = np.clip(np.arange(M) + offset + (not upper), 0, N)
    starts, ends = (diagonal, N) if upper else (0, diagonal)
    sizes = np.asarray(ends - starts)
    before = np.cumsum(sizes) - sizes
    columns = np.arange(int(sizes.sum())) - np.repeat(before - starts, sizes)
    return np.stack([np.repeat(np.arange(M), sizes), columns])
