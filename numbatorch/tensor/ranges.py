"""Tensors made from ranges: numbers at equal distances or ratios, identities, triangles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import device as as_device
from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, host_out_of_memory, message
from numbatorch.graph import find
from numbatorch.ops import create
from numbatorch.ops.numbers import converted, fitting
from numbatorch.ops.operands import as_node
from numbatorch.ops.view import reshape
from numbatorch.tensor.base import Array, host_node
from numbatorch.tensor.constants import asked, shape_of
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.creation import Where, finished


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
    if target in (dt.float32, dt.float64) and where.has_float64 and steps > 1:
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


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """1 on the diagonal of an (n, m) matrix, 0 elsewhere; m is n unless given."""
    where = as_device(device)
    rows, columns = shape_of("eye", (n, n if m is None else m))
    down = reshape.apply(create.iota(rows, where), shape=(rows, 1))
    node = find("eq").apply(down, create.iota(columns, where))
    return finished(
        find("cast").apply(node, dtype=asked("eye", dtype) or dt.default_dtype()), requires_grad
    )


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


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: dt.Like | None = None, device: Where = None
) -> Tensor:
    """(2, n): rows and columns of a (row, col) matrix up to a diagonal, in row-major order.

    >>> tril_indices(2, 2).tolist()
    [[0, 1, 1], [0, 0, 1]]
    """
    M, N = shape_of("tril_indices", (row, col))
    ends = np.clip(np.arange(M) + offset + 1, 0, N)
    return _indices("tril_indices", np.zeros(M, np.int64), ends, dtype, device)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: dt.Like | None = None, device: Where = None
) -> Tensor:
    """(2, n): rows and columns of a (row, col) matrix from a diagonal on, in row-major order.

    >>> triu_indices(2, 2).tolist()
    [[0, 0, 1], [0, 1, 1]]
    """
    M, N = shape_of("triu_indices", (row, col))
    starts = np.clip(np.arange(M) + offset, 0, N)
    return _indices("triu_indices", starts, np.full(M, N), dtype, device)


def _indices(
    operator: str, starts: Array, ends: Array, dtype: dt.Like | None, device: Where
) -> Tensor:
    """The places of rows whose elements from `starts` to `ends` count."""
    target = asked(operator, dtype) or dt.int64
    sizes = ends - starts
    before = np.cumsum(sizes) - sizes
    total = int(sizes.sum())
    places = np.empty((2, total), np.int64)
    places[0] = np.repeat(np.arange(len(sizes)), sizes)
    np.subtract(np.arange(total), np.repeat(before - starts, sizes), out=places[1])
    found = converted(operator, places, target)
    return Tensor(host_node(found, target, as_device(device)))
