"""Images and volumes in other sizes: a map by bands along each dimension, in every mode."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.arithmetic import clamp, div
from numbatorch.ops.averaging import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from numbatorch.ops.bands import Band, along, along_all, band
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, numel, sizes_of

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Scale = float | None

RANKS = {"linear": (1,), "bilinear": (2,), "bicubic": (2,), "trilinear": (3,), "lanczos": (2,)}
KINDS = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}
SMOOTHING = ("bilinear", "bicubic", "lanczos")
BYTES = ("nearest", "nearest-exact", "bilinear", "bicubic")
AREAS = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


def _triangle(x: Array) -> Array:
    return np.asarray(np.maximum(1 - abs(x), 0))


def _cubic(x: Array, a: float = -0.75) -> Array:
    """The kernel of convolution by cubic polynomials: https://doi.org/10.1109/TASSP.1981.1163711"""
    x = abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(x: Array) -> Array:
    return np.where(abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


# The weight at a distance, in pixels of the coarser of the two images, and how far it reaches.
SMOOTH = {
    "linear": (_triangle, 1.0),
    "cubic": (lambda x: _cubic(x, -0.5), 2.0),
    "lanczos": (_lanczos, 3.0),
}


def _step(size: int, outs: int, scale: Scale, align_corners: bool) -> float:
    """Pixels of the input from one pixel of the result to the next."""
    if align_corners:
        return (size - 1) / (outs - 1) if outs > 1 else 0.0
    return 1 / scale if scale else size / outs


@cache
def nearest(size: int, outs: int, scale: Scale, centred: bool) -> Band:
    """One pixel each: that at i * step in float32, as in PyTorch, or the one at its centre."""
    step = np.float32(1 / scale) if scale else np.float32(size) / np.float32(outs)
    places = np.arange(outs, dtype=np.float32) + np.float32(0.5 if centred else 0)
    starts = np.minimum(np.floor(places * step).astype(np.int64), size - 1)
    return band(starts, np.ones(outs, np.int64), np.ones((outs, 1)), size)


@cache
def interpolating(size: int, outs: int, kind: str, scale: Scale, align_corners: bool) -> Band:
    """Weights of the 2 or 4 pixels around each place; those beyond the edge count for the last."""
    step = _step(size, outs, scale, align_corners)
    numbers = np.arange(outs, dtype=np.longdouble)  # a place is rounded once
    places = numbers * step if align_corners else (numbers + 0.5) * step - 0.5
    places = places.astype(np.float64)
    if kind == "linear":
        places = np.clip(places, 0, size - 1)
    reach = 1 if kind == "linear" else 2
    first = np.floor(places)
    weigh = _triangle if kind == "linear" else _cubic
    return _within(places, first - (reach - 1), 2 * reach, weigh, size)


def _within(places: Array, first: Array, taps: int, weigh: Any, size: int) -> Band:
    """Weights of `taps` pixels from `first` on, each of which counts for the nearest that is."""
    steps = first[:, None] + np.arange(taps)
    weights = weigh(steps - places[:, None])
    columns = np.clip(steps, 0, size - 1).astype(np.int64)
    starts = columns[:, 0]
    found = np.zeros((len(places), min(taps, size)))
    np.add.at(found, (np.arange(len(places))[:, None], columns - starts[:, None]), weights)
    counts = columns[:, -1] - starts + 1
    if taps == 2:  # where a pixel is met, its neighbour does not count, not even as 0 * inf
        counts = np.where(weights[:, -1] == 0, 1, counts)
    return band(starts, counts, found, size)


@cache
def smoothing(size: int, outs: int, kind: str, scale: Scale, align_corners: bool) -> Band:
    """Weights of all pixels that one of the result covers: no finer pattern comes through."""
    step = _step(size, outs, scale, align_corners)
    weigh, reach = SMOOTH[kind]
    wide = max(step, 1.0)
    centres = (np.arange(outs) + 0.5) * step
    starts = np.maximum((centres - reach * wide + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + reach * wide + 0.5).astype(np.int64), size)
    counts = np.maximum(ends - starts, 0)
    steps = np.arange(int(counts.max(initial=1)))
    weights = weigh((starts[:, None] + steps - centres[:, None] + 0.5) / wide)
    weights = np.where(steps < counts[:, None], weights, 0)
    total = weights.sum(-1, keepdims=True)
    return band(starts, counts, weights / np.where(total == 0, 1, total), size)


def _asked(
    operator: str, input: Node, size: Any, scale_factor: Any, recompute: bool | None, least: int
) -> tuple[Shape, tuple[Scale, ...]]:
    """Sizes of the result, and the factors that coordinates are computed with."""
    shape = input.shape[2:]
    if (size is None) == (scale_factor is None):
        raise ShapeError(message(operator, "needs one of size and scale_factor"))
    given = size if scale_factor is None else scale_factor
    each = tuple(given) if isinstance(given, Sequence) else (given,) * len(shape)
    if len(each) != len(shape):
        name = "size" if scale_factor is None else "scale_factor"
        problem = f"{name} {given} is not one number, nor one for each of {shape}"
        raise ShapeError(message(operator, problem, f"input {describe(input)}"))
    if scale_factor is None:
        if recompute:
            raise ShapeError(message(operator, "recompute_scale_factor needs scale_factor"))
        outs, scales = sizes_of(operator, each), (None,) * len(shape)
    else:
        outs = tuple(int(n * factor) for n, factor in zip(shape, each, strict=True))
        scales = (None,) * len(shape) if recompute else each
    if not numel(input.shape[1:]) or min(outs) < least:
        problem = f"sizes must be positive: {shape} to {outs}"
        raise ShapeError(message(operator, problem, f"input {describe(input)}"))
    return outs, scales


def _table(
    mode: str, size: int, outs: int, scale: Scale, align_corners: bool, antialias: bool
) -> Band:
    if mode.startswith("nearest"):
        return nearest(size, outs, scale, mode == "nearest-exact")
    kind = KINDS.get(mode, mode)
    made = smoothing if antialias else interpolating
    return made(size, outs, kind, scale, align_corners)


def _check(mode: str, input: Node, align_corners: bool | None, antialias: bool) -> None:
    rank = len(input.shape) - 2
    shown = f"input {describe(input)}"
    if rank not in RANKS.get(mode, (1, 2, 3)):
        wanted = " or ".join(str(n + 2) for n in RANKS.get(mode, (1, 2, 3)))
        raise ShapeError(message("interpolate", f"{mode} needs {wanted} dimensions", shown))
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ShapeError(message("interpolate", f"align_corners has no meaning for {mode}"))
    if antialias and mode not in SMOOTHING:
        raise ShapeError(message("interpolate", f"antialias has no meaning for {mode}", shown))
    if mode == "lanczos" and (align_corners or not antialias):
        problem = "lanczos needs antialias=True, and no align_corners"
        raise ShapeError(message("interpolate", problem))
    if input.dtype.kind != "f" and not (input.dtype is dt.uint8 and mode in BYTES):
        raise DTypeError(message("interpolate", f"{mode} takes floats", shown))


def resized(
    operator: str,
    input: Node,
    size: Any,
    scale_factor: Any,
    mode: str,
    align_corners: bool = False,
    recompute: bool | None = None,
    antialias: bool = False,
) -> Node:
    """`input` in another size, for arguments that fit together."""
    area = mode == "area"
    recompute = recompute or (area and size is None)
    outs, scales = _asked(operator, input, size, scale_factor, recompute, 0 if area else 1)
    if area:
        return AREAS[len(outs)](input, outs)
    stays = antialias or KINDS.get(mode, mode) == "linear"  # a dimension that keeps its size
    tables = {
        dim: _table(mode, *each, align_corners, antialias)
        for dim, each in enumerate(zip(input.shape[2:], outs, scales, strict=True), 2)
        if not (stays and each[0] == each[1])
    }
    if input.dtype is dt.uint8 and not mode.startswith("nearest"):
        return _bytes(input, tables)
    return as_node(along_all(input, tables), input.dtype, input.device)


def _bytes(x: Node, tables: dict[int, Band]) -> Node:
    """The last dimension first, by whole numbers, and rounded after each: as PyTorch and Pillow."""
    for dim, made in reversed(tables.items()):
        largest = abs(made.weights).max(initial=1e-9)
        bits = max(b for b in range(23) if int(0.5 + largest * (1 << b)) < 1 << 15)
        fixed = [(np.trunc(w * (1 << bits) + np.copysign(0.5, w))) for w in made[1::2]]
        total = along(x, dim, Band(made.spans, fixed[0], made.back_spans, fixed[1]))
        half = 1 << (bits - 1)
        shifted = div(total + half, 1 << bits, rounding_mode="floor")
        x = as_node(clamp(shifted, 0, 255), dt.uint8, x.device)
    return x


def _reference(x: Array, *, size: Any, mode: str, align_corners: bool | None = None) -> Array:
    """Weights of all pixels by their distance, one dimension after the other."""
    for axis, outs in enumerate(size, 2):
        length = x.shape[axis]
        places = (np.arange(outs) + 0.5) * length / outs - 0.5
        if align_corners:
            places = np.linspace(0, length - 1, outs)
        if mode != "bicubic":
            places = np.clip(places, 0, length - 1)
        beyond = np.arange(-3, length + 3)
        far = abs(beyond - places[:, None])
        weights = np.maximum(1 - far, 0)
        if mode == "bicubic":
            near = 1.25 * far**3 - 2.25 * far**2 + 1
            cubic = -0.75 * (far**3 - 5 * far**2 + 8 * far - 4)
            weights = np.where(far <= 1, near, np.where(far < 2, cubic, 0))
        if mode == "nearest-exact":
            weights = beyond == np.floor((np.arange(outs) + 0.5) * length / outs)[:, None]
        matrix = np.zeros((outs, length))
        np.add.at(matrix.T, np.clip(beyond, 0, length - 1), np.float64(weights).T)
        x = np.moveaxis(np.tensordot(matrix.astype(x.dtype), x, (1, axis)), 0, axis)
    return x


def _sample(rng: Draw) -> Any:
    mode = ("linear", "bilinear", "bicubic", "trilinear", "nearest-exact")[int(rng.integers(5))]
    rank = RANKS.get(mode, (2,))[0]
    shape = rng.dims((0, 1, *[1] * rank), (3, 3, *[8] * rank), most=259)
    attrs: dict[str, Any] = {"mode": mode, "size": tuple(int(n) for n in rng.integers(1, 9, rank))}
    if mode != "nearest-exact" and rng.random() < 0.5:
        attrs["align_corners"] = True
    return [rng.standard_normal(shape)], attrs


@composed(numpy=_reference, sample=_sample, hides=True, peer="torch.nn.functional.interpolate")
@public("nn.functional")
def interpolate(
    input: Node,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: Literal[
        "nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact", "lanczos"
    ] = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Node:
    """The input in another size, interpolated between its pixels.

    Args:
        input: (N, C, ...) with one to three more dimensions; floats, or uint8 in some modes.
        size, scale_factor: of the result, or how often it is larger; one of them, for each of the
            more dimensions or for all.
        mode: nearest and area take any input, linear three dimensions, bilinear, bicubic and
            lanczos four, trilinear five. nearest-exact takes the pixel at the centre.
        align_corners: the centres of the corner pixels meet, and not their outer corners.
        recompute_scale_factor: compute coordinates with the sizes, not with scale_factor.
        antialias: smooth before a size gets smaller, as Pillow does; for bilinear, bicubic and
            lanczos.
    Where we differ from PyTorch: a place that meets a pixel does not see its neighbours, so no NaN
    comes of 0 * inf.
    Source: https://pytorch.org/docs/stable/generated/torch.nn.functional.interpolate.html

    >>> interpolate(tensor([[[1.0, 3.0]]]), scale_factor=2.0, mode="linear")
    tensor([[[1.0000, 1.5000, 2.5000, 3.0000]]])
    """
    _check(mode, input, align_corners, antialias)
    align, recompute = bool(align_corners), recompute_scale_factor
    return resized("interpolate", input, size, scale_factor, mode, align, recompute, antialias)


@public("nn.functional")
def upsample(
    input: Node,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: Literal[
        "nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact", "lanczos"
    ] = "nearest",
    align_corners: bool | None = None,
) -> Node:
    """As `interpolate`.

    >>> upsample(tensor([[[1.0, 3.0]]]), size=4, mode="linear")
    tensor([[[1.0000, 1.5000, 2.5000, 3.0000]]])
    """
    return interpolate(input, size, scale_factor, mode, align_corners)


@public("nn.functional")
def upsample_nearest(
    input: Node,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Node:
    """As `interpolate` with mode nearest.

    >>> upsample_nearest(tensor([[[1.0, 3.0]]]), scale_factor=2)
    tensor([[[1., 1., 3., 3.]]])
    """
    return interpolate(input, size, scale_factor)


@public("nn.functional")
def upsample_bilinear(
    input: Node,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Node:
    """As `interpolate` with mode bilinear and align_corners.

    Args:
        input: (N, C, H, W).

    >>> upsample_bilinear(nt.arange(4.0).reshape(1, 1, 2, 2), size=3)[0, 0].tolist()
    [[0.0, 0.5, 1.0], [1.0, 1.5, 2.0], [2.0, 2.5, 3.0]]
    """
    return interpolate(input, size, scale_factor, "bilinear", True)
