"""NumPy's definitions of what reads and writes at places, and samples: loops over single places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
MERGES: dict[str, Any] = {
    "sum": np.add.reduce,
    "prod": np.multiply.reduce,
    "mean": np.add.reduce,
    "amax": np.maximum.reduce,
    "amin": np.minimum.reduce,
}


def merged(old: Any, news: list[Any], reduce: str, include_self: bool) -> Any:
    """One place with all that comes to it."""
    parts = np.array([old, *news] if include_self else news)
    found = MERGES[reduce](parts, dtype=parts.dtype)
    if reduce != "mean":
        return found
    return found // len(parts) if parts.dtype.kind in "iu" else found / len(parts)


def scatter_reduce(
    x: Array, index: Array, src: Array, *, dim: int, reduce: str, include_self: bool
) -> Array:
    """Each place with the list of what comes to it."""
    lists: dict[tuple[int, ...], list[Any]] = {}
    for place in np.ndindex(index.shape):
        to = (*place[:dim], int(index[place]), *place[dim + 1 :])
        lists.setdefault(to, []).append(src[place])
    out = x.copy()
    for to, news in lists.items():
        out[to] = merged(x[to], news, reduce, include_self)
    return out


def index_reduce(
    x: Array, index: Array, source: Array, *, dim: int, reduce: str, include_self: bool
) -> Array:
    """The same with one index for a whole slice."""
    shape = [1] * x.ndim
    shape[dim] = index.size
    wide = np.broadcast_to(index.reshape(shape), source.shape)
    return scatter_reduce(x, wide, source, dim=dim, reduce=reduce, include_self=include_self)


def index_copy(x: Array, index: Array, source: Array, *, dim: int) -> Array:
    """Slice by slice."""
    out = x.copy()
    for number, row in enumerate(index):
        np.moveaxis(out, dim, 0)[int(row)] = np.moveaxis(source, dim, 0)[number]
    return out


def index_fill(x: Array, index: Array, *, dim: int, value: float) -> Array:
    """Slice by slice."""
    out = x.copy()
    np.moveaxis(out, dim, 0)[index.astype(np.int64)] = value
    return out


def put(x: Array, index: Array, source: Array, *, accumulate: bool) -> Array:
    """One place after the other."""
    out = x.copy()
    for place, new in zip(index.reshape(-1), source.reshape(-1), strict=True):
        old = out.flat[int(place)] if accumulate else 0
        out.flat[int(place)] = old + new
    return out


def masked_scatter(x: Array, mask: Array, source: Array) -> Array:
    """As NumPy assigns through a mask."""
    out = x.copy()
    out[mask] = source.reshape(-1)[: mask.sum()]
    return out


def diagonal_scatter(x: Array, src: Array, *, offset: int) -> Array:
    """Element by element."""
    out = x.copy()
    for number, value in enumerate(src):
        out[number + max(-offset, 0), number + max(offset, 0)] = value
    return out


def select_scatter(x: Array, src: Array, *, dim: int, index: int) -> Array:
    """As NumPy assigns."""
    out = x.copy()
    np.moveaxis(out, dim, 0)[index] = src
    return out


def slice_scatter(x: Array, src: Array, *, dim: int, start: int, end: int, step: int) -> Array:
    """As NumPy assigns."""
    out = x.copy()
    np.moveaxis(out, dim, 0)[start:end:step] = np.moveaxis(src, dim, 0)
    return out


def index_put(x: Array, rows: Array, cols: Array, values: Array, *, accumulate: bool) -> Array:
    """One place after the other, of a matrix."""
    out = x.copy()
    for row, col, new in zip(rows, cols, values, strict=True):
        out[row, col] = new + (out[row, col] if accumulate else 0)
    return out


def index_select(x: Array, index: Array, *, dim: int) -> Array:
    """As NumPy's take."""
    return np.take(x, index, dim)


def take_along_dim(x: Array, index: Array, *, dim: int) -> Array:
    """As NumPy's take_along_axis."""
    return np.take_along_axis(x, index.astype(np.int64), dim)


def embedding_bag(index: Array, weight: Array, *, mode: str, padding_idx: int | None) -> Array:
    """Bag after bag."""
    ways: dict[str, Any] = {"sum": np.sum, "mean": np.mean, "max": np.max}
    out = np.zeros((len(index), weight.shape[1]), weight.dtype)
    for number, bag in enumerate(index):
        kept = [int(i) for i in bag if i != padding_idx]
        if kept:
            out[number] = ways[mode](weight[kept], 0)
    return out


def draw_elements(rng: Draw) -> Any:
    """For scatter_reduce along the first dimension."""
    C, R, N = rng.dims((1, 0, 0), (6, 4, 5), 300)
    reduce = ("sum", "prod", "mean", "amax", "amin")[int(rng.integers(5))]
    attrs = {"dim": 0, "reduce": reduce, "include_self": bool(rng.random() < 0.5)}
    return [rng.standard_normal((C, R)), rng.indices(C, (N, R)), rng.standard_normal((N, R))], attrs


def draw_slices(rng: Draw) -> Any:
    """For index_reduce along the last dimension."""
    C, R, N = rng.dims((1, 0, 0), (6, 4, 5), 300)
    attrs = {"dim": 1, "reduce": ("prod", "mean", "amax", "amin")[int(rng.integers(4))]}
    operands = [rng.standard_normal((R, C)), rng.indices(C, (N,)), rng.standard_normal((R, N))]
    return operands, {**attrs, "include_self": bool(rng.random() < 0.5)}


def draw_copied(rng: Draw) -> Any:
    """For index_copy along the last dimension."""
    operands, _ = draw_slices(rng)
    return operands, {"dim": 1}


def draw_filled(rng: Draw) -> Any:
    """For index_fill."""
    operands, _ = draw_slices(rng)
    return operands[:2], {"dim": 1, "value": 1}


def draw_flat(rng: Draw) -> Any:
    """For put."""
    R, C, N = rng.dims((1, 1, 0), (4, 4, 5), 300)
    index = rng.integers(-R * C, R * C, N)
    attrs = {"accumulate": bool(rng.random() < 0.5)}
    return [rng.standard_normal((R, C)), index, rng.standard_normal(N)], attrs


def draw_masked(rng: Draw) -> Any:
    """For masked_scatter."""
    shape = rng.dims((0, 0), (4, 5))
    mask = rng.random(shape) < 0.5
    return [rng.standard_normal(shape), mask, rng.standard_normal(int(mask.sum()) + 1)], {}


def draw_diagonal(rng: Draw) -> Any:
    """For diagonal_scatter."""
    M, N = rng.dims((1, 1), (5, 5), 300)
    offset = int(rng.integers(1 - M, N))
    count = min(M - max(-offset, 0), N - max(offset, 0))
    return [rng.standard_normal((M, N)), rng.standard_normal(count)], {"offset": offset}


def draw_selected(rng: Draw) -> Any:
    """For select_scatter along the last dimension."""
    R, C = rng.dims((0, 1), (4, 5))
    attrs = {"dim": 1, "index": int(rng.integers(-C, C))}
    return [rng.standard_normal((R, C)), rng.standard_normal(R)], attrs


def draw_sliced(rng: Draw) -> Any:
    """For slice_scatter along the first dimension."""
    R, C = rng.dims((1, 0), (6, 5))
    start, end = sorted(int(n) for n in rng.integers(0, R + 1, 2))
    step = int(rng.integers(1, 3))
    attrs = {"dim": 0, "start": start, "end": end, "step": step}
    count = len(range(R)[start:end:step])
    return [rng.standard_normal((R, C)), rng.standard_normal((count, C))], attrs


def draw_placed(rng: Draw) -> Any:
    """For index_put in both dimensions of a matrix; -1 is the last row or column."""
    R, C, N = rng.dims((1, 1, 0), (4, 4, 5), 300)
    places = [rng.integers(-size, size, N) for size in (R, C)]
    attrs = {"accumulate": bool(rng.random() < 0.5)}
    return [rng.standard_normal((R, C)), *places, rng.standard_normal(N)], attrs


def draw_taken(rng: Draw) -> Any:
    """For index_select."""
    V, C, N = rng.dims((1, 0, 0), (6, 4, 5))
    dim = int(rng.integers(2))
    shape = (V, C) if dim == 0 else (C, V)
    return [rng.standard_normal(shape), rng.indices(V, (N,))], {"dim": dim}


def draw_along(rng: Draw) -> Any:
    """For take_along_dim along the last dimension, the other broadcast."""
    R, C, N = rng.dims((1, 1, 0), (4, 6, 4))
    return [rng.standard_normal((R, C)), rng.indices(C, (1, N))], {"dim": 1}


def draw_bags(rng: Draw) -> Any:
    """For embedding_bag of rows of a matrix."""
    V, C, B, N = rng.dims((1, 0, 0, 0), (6, 4, 4, 5), 300)
    attrs = {
        "mode": ("sum", "mean", "max")[int(rng.integers(3))],
        "padding_idx": None if rng.random() < 0.5 else int(rng.integers(V)),
    }
    return [rng.indices(V, (B, N)), rng.standard_normal((V, C))], attrs
