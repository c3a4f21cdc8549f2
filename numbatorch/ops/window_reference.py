"""Pooling in NumPy, window by window, and what tests draw: see averaging.py and pooling.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Sizes = int | tuple[int, ...] | None


def _each(given: Sizes, rank: int, other: Sizes = None) -> tuple[int, ...]:
    found = other if given is None else given
    assert found is not None
    return (found,) * rank if isinstance(found, int) else tuple(found)


def _windows(x: Array, starts: list[Array], ends: list[Array]) -> Any:
    """(place in the result, window) for each product of the ranges of the last dimensions."""
    for place in np.ndindex(*map(len, starts)):
        parts = [slice(s[i], e[i]) for s, e, i in zip(starts, ends, place, strict=True)]
        where: Any = (..., *parts)
        yield place, x[where]


def _regular(
    x: Array, rank: int, kernel_size: Sizes, stride: Sizes, padding: Sizes, ceil_mode: bool
) -> tuple[Array, list[Array], list[Array]]:
    """The input between zeros, where windows start in it, and where they end."""
    kernel = _each(kernel_size, rank)
    pads, steps = _each(padding, rank), _each(stride, rank, kernel)
    starts, ends = [], []
    for size, k, step, pad in zip(x.shape[-rank:], kernel, steps, pads, strict=True):
        last = size + 2 * pad - k + (step - 1 if ceil_mode else 0)
        first = np.arange(0, last + 1, step)
        first = first[first < size + pad]
        starts.append(first)
        ends.append(np.minimum(first + k, size + 2 * pad))
    sides = [(0, 0)] * (x.ndim - rank) + [(pad, pad) for pad in pads]
    return np.pad(x, sides), starts, ends


def average(
    x: Array,
    *,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The sum of each window over the number of its elements."""
    rank = x.ndim - 2
    padded, starts, ends = _regular(x, rank, kernel_size, stride, padding, ceil_mode)
    inside = _regular(np.ones_like(x), rank, kernel_size, stride, padding, ceil_mode)[0]
    out = np.empty((*x.shape[:2], *map(len, starts)), x.dtype)
    axes = tuple(range(-rank, 0))
    for place, window in _windows(padded, starts, ends):
        out[(..., *place)] = window.sum(axes) / (divisor_override or np.prod(window.shape[2:]))
    if not count_include_pad and divisor_override is None:
        for place, window in _windows(inside, starts, ends):
            count = window.sum(axes)
            out[(..., *place)] *= np.prod(window.shape[2:]) / np.where(count == 0, 1, count)
    return out


def _adaptive(x: Array, output_size: Any) -> tuple[list[Array], list[Array]]:
    asked = _each(output_size, x.ndim - 2)
    starts, ends = [], []
    for size, out in zip(x.shape[2:], asked, strict=True):
        places = np.arange(out)
        starts.append(places * size // out)
        ends.append(-((-(places + 1) * size) // out))
    return starts, ends


def adaptive_average(x: Array, *, output_size: Any) -> Array:
    """The mean of each of `output_size` windows."""
    starts, ends = _adaptive(x, output_size)
    out = np.empty((*x.shape[:2], *map(len, starts)), x.dtype)
    for place, window in _windows(x, starts, ends):
        out[(..., *place)] = window.mean(tuple(range(2, x.ndim)))
    return out


def power_average(x: Array, *, norm_type: float, kernel_size: Sizes, stride: Sizes = None) -> Array:
    """The norm of each window."""
    rank = x.ndim - 2
    axes = tuple(range(-rank, 0))
    padded, starts, ends = _regular(x, rank, kernel_size, stride, 0, False)
    out = np.empty((*x.shape[:2], *map(len, starts)), x.dtype)
    for place, window in _windows(padded, starts, ends):
        out[(..., *place)] = (window**norm_type).sum(axes) ** (1 / norm_type)
    return out


def largest(
    x: Array,
    *,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Array:
    """The largest element of each window."""
    rank = x.ndim - 2
    kernel, steps = _each(kernel_size, rank), _each(stride, rank, kernel_size)
    pads, apart = _each(padding, rank), _each(dilation, rank)
    axes = []
    for size, k, step, pad, gap in zip(x.shape[2:], kernel, steps, pads, apart, strict=True):
        last = size + 2 * pad - gap * (k - 1) - 1 + (step - 1 if ceil_mode else 0)
        first = np.arange(0, last + 1, step)
        first = first[first < size + pad] - pad
        axes.append([np.arange(n, n + gap * k, gap) for n in first])
        axes[-1] = [n[(n >= 0) & (n < size)] for n in axes[-1]]
    return _largest_at(x, axes)


def _largest_at(x: Array, axes: list[list[Array]]) -> Array:
    out = np.empty((*x.shape[:2], *map(len, axes)), x.dtype)
    for place in np.ndindex(*map(len, axes)):
        picks = [axis[i] for axis, i in zip(axes, place, strict=True)]
        window = x[(slice(None), slice(None), *np.ix_(*picks))]
        out[(..., *place)] = window.max(tuple(range(2, x.ndim)))
    return out


def adaptive_largest(x: Array, *, output_size: Any) -> Array:
    """The largest element of each of `output_size` windows."""
    pairs = zip(*_adaptive(x, output_size), strict=True)
    return _largest_at(x, [[np.arange(a, b) for a, b in zip(s, e, strict=True)] for s, e in pairs])


def _image(rng: Draw, rank: int, distinct: bool = False) -> Array:
    N, C, *shape = rng.dims((0, 1, *[5] * rank), (3, 3, *[9] * rank), most=259)
    if distinct:  # no ties, near which a difference of a largest element says nothing
        size = int(N * C * np.prod(shape))
        return rng.permutation(size).reshape(N, C, *shape) / 4
    return rng.standard_normal((N, C, *shape))


def pooled(rank: int, average: bool) -> Callable[[Draw], Any]:
    """What `average` or `largest` takes."""

    def sample(rng: Draw) -> Any:
        kernel, stride = (tuple(int(n) for n in rng.integers(1, 4, rank)) for _ in range(2))
        attrs: dict[str, Any] = {"kernel_size": kernel, "stride": stride}
        attrs["padding"] = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        attrs["ceil_mode"] = bool(rng.random() < 0.5)
        if average:
            attrs["count_include_pad"] = bool(rng.random() < 0.5)
        else:
            attrs["dilation"] = int(rng.integers(1, 3))
        return [_image(rng, rank, not average)], attrs

    return sample


def adapted(rank: int, distinct: bool = False) -> Callable[[Draw], Any]:
    """What `adaptive_average` or `adaptive_largest` takes."""

    def sample(rng: Draw) -> Any:
        outs = tuple(int(n) for n in rng.integers(1, 7, rank))
        return [_image(rng, rank, distinct)], {"output_size": outs}

    return sample


def powered(rank: int) -> Callable[[Draw], Any]:
    """What `power_average` takes."""

    def sample(rng: Draw) -> Any:
        kernel: Any = tuple(int(n) for n in rng.integers(1, 4, rank))
        kernel = kernel if rank > 1 else kernel[0]
        attrs = {"norm_type": float(rng.integers(1, 4)), "kernel_size": kernel}
        return [abs(_image(rng, rank)) + 0.5], attrs

    return sample
