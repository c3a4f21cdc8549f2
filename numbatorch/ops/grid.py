"""Images and volumes seen at any places: grid_sample, and the grids of affine maps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.composed import composed
from numbatorch.ops.create import iota, leaf
from numbatorch.ops.matmul import matmul_
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.points import sum_points
from numbatorch.ops.shaping import reshape, select
from numbatorch.ops.surface import public
from numbatorch.ops.view import transpose
from numbatorch.shape import Shape, numel, sizes_of

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
NAME = "grid_sample"


def _apply(name: str, *operands: Any) -> Node:
    found: Node = find(name).apply(*operands)
    return found


def _clipped(x: Node, size: int) -> Node:
    """x in [0, size - 1], with slope 0 from the ends on."""
    low = _apply("where", _apply("gt", x, 0.0), x, 0.0)
    return _apply("where", _apply("lt", low, float(size - 1)), low, float(size - 1))


def _reflected(x: Node, size: int, align_corners: bool) -> Node:
    """x mirrored at the centres, or the outer corners, of the first and last pixel."""
    low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
    span = high - low
    if span == 0:
        return x * 0.0
    apart = _apply("abs", x - low)
    times = _apply("floor", apart / span)
    rest = apart - times * span
    odd = _apply("ne", times - _apply("floor", times * 0.5) * 2.0, 0.0)
    return _apply("where", odd, span - rest, rest) + low


def _placed(x: Node, size: int, padding_mode: str, align_corners: bool) -> Node:
    """Places beyond the edge as padding_mode has them; zeros leaves them where they are."""
    if padding_mode == "reflection":
        x = _reflected(x, size, align_corners)
    return x if padding_mode == "zeros" else _clipped(x, size)


def _cubic(t: Node, steps: Node) -> Node:
    """Weights of the pixels -1, 0, 1 and 2 beside that before a place, which is t after it."""
    a = -0.75
    before = _apply("le", steps, 0.0)
    far = _apply("where", before, t - steps, steps - t)  # abs has no second derivative at a pixel
    inner = ((a + 2) * far - (a + 3)) * far * far + 1.0
    outer = ((far - 5.0) * far + 8.0) * far * a - 4 * a
    return _apply("where", _apply("eq", steps * (steps - 1.0), 0.0), inner, outer)


def _taps(
    x: Node, size: int, mode: str, padding_mode: str, align_corners: bool
) -> tuple[Node, Node]:
    """(pixels, weights) (N, P, K) of those along a dimension that count at x (N, P, 1)."""
    if mode != "bicubic":
        x = _placed(x, size, padding_mode, align_corners)
    if mode == "nearest":
        return _apply("round", x), _apply("where", _apply("ne", x, x), x, 1.0)
    count = 4 if mode == "bicubic" else 2
    shape = (*x.shape[:-1], count)
    steps = expanded(as_node(iota(count, x.device), x.dtype, x.device), shape)
    first = _apply("floor", x)
    part, before = expanded(x - first, shape), expanded(first, shape)
    if mode == "bilinear":
        return before + steps, 1.0 - steps + (2.0 * steps - 1.0) * part
    steps = steps - 1.0
    places = _placed(before + steps, size, padding_mode, align_corners)
    return places, _cubic(part, steps)


def _joined(axes: Sequence[tuple[Node, Node]], shape: Shape) -> tuple[Node, Node]:
    """Places in row-major order, -1 beyond the edge, and weights, both (N, P, product of K)."""
    counts = tuple(pixels.shape[2] for pixels, _ in axes)
    whole = (*axes[0][0].shape[:2], *counts)
    place: Any = 0
    inside: Any = None
    weight: Any = None
    for number, ((pixels, weights), size) in enumerate(zip(axes, shape, strict=True)):
        tall = (*whole[:2], *(n if i == number else 1 for i, n in enumerate(counts)))
        pixel, factor = (expanded(reshape(node, tall), whole) for node in (pixels, weights))
        seen = _apply("logical_and", _apply("ge", pixel, 0.0), _apply("le", pixel, size - 1.0))
        place = place * size + as_node(_apply("where", seen, pixel, 0.0), dt.int64, pixel.device)
        inside = seen if inside is None else _apply("logical_and", inside, seen)
        weight = factor if weight is None else weight * factor
    flat = (*whole[:2], numel(counts))
    return reshape(_apply("where", inside, place, -1), flat), reshape(weight, flat)


def _check(input: Node, grid: Node, mode: str) -> None:
    shown = (f"input {describe(input)}", f"grid {describe(grid)}")
    rank = len(input.shape) - 2
    if rank not in (2, 3) or len(grid.shape) != rank + 2 or grid.shape[-1] != rank:
        wanted = "input must be (N, C, H, W) and grid (N, ., ., 2), or both of a dimension more"
        raise ShapeError(message(NAME, wanted, *shown))
    if input.shape[0] != grid.shape[0] or not numel(input.shape[2:]):
        problem = "input and grid must have as many images, and the input pixels"
        raise ShapeError(message(NAME, problem, *shown))
    if input.dtype.kind != "f" or input.dtype is not grid.dtype:
        raise DTypeError(message(NAME, "input and grid must be floats of one dtype", *shown))
    if mode == "bicubic" and rank != 2:
        raise ShapeError(message(NAME, "bicubic needs 4 dimensions", *shown))


def _reference(
    x: Array, grid: Array, *, mode: str, padding_mode: str, align_corners: bool
) -> Array:
    """Pixel by pixel, each weighted by its distances."""
    shape = x.shape[2:]
    out = np.zeros((*x.shape[:2], *grid.shape[1:-1]), x.dtype)
    for where in np.ndindex(*grid.shape[:-1]):
        axes = []
        for size, at in zip(shape, grid[where][::-1], strict=True):
            place = (at + 1) / 2 * (size - 1) if align_corners else ((at + 1) * size - 1) / 2

            def padded(place: Any, size: int = size) -> Any:
                low, span = (0, size - 1) if align_corners else (-0.5, size)
                if padding_mode == "reflection":
                    turned = (place - low) % (2 * span) if span else 0.0
                    place = low + min(turned, 2 * span - turned)
                return place if padding_mode == "zeros" else np.clip(place, 0, size - 1)

            if mode == "bicubic":
                around = np.floor(place) + np.arange(-1, 3)
                far = abs(around - place)
                near = 1.25 * far**3 - 2.25 * far**2 + 1
                weights = np.where(far <= 1, near, -0.75 * (far**3 - 5 * far**2 + 8 * far - 4))
                around = [padded(n) for n in around]
            else:
                place = padded(place)
                around = np.floor(place) + np.arange(2)
                weights = 1 - abs(around - place)
                if mode == "nearest":
                    around, weights = np.round([place]), np.ones(1)
            axes.append(list(zip(around, weights, strict=True)))
        for taps in product(*axes):
            if all(0 <= at < size for (at, _), size in zip(taps, shape, strict=True)):
                pixel = x[(where[0], slice(None), *(int(at) for at, _ in taps))]
                out[(where[0], slice(None), *where[1:])] += pixel * np.prod([w for _, w in taps])
    return out


def _sample(rng: Draw) -> Any:
    N, C, H, W, P, Q = rng.dims((0, 1, 1, 1, 0, 1), (3, 4, 6, 6, 4, 4), most=67)
    chosen = (("bilinear", "zeros"), ("bicubic", "reflection"), ("nearest", "border"))
    mode, padding_mode = chosen[int(rng.integers(3))]
    attrs = {"mode": mode, "padding_mode": padding_mode, "align_corners": mode == "bicubic"}
    x, grid = rng.standard_normal((N, C, H, W)), rng.uniform(-1.5, 1.5, (N, P, Q, 2))
    return [x, grid], attrs


@composed(
    numpy=_reference,
    sample=_sample,
    hides=True,
    peer="torch.nn.functional.grid_sample",
    dtypes=(dt.float64, dt.float32),
)
@public("nn.functional", remembered=True)
def grid_sample(
    input: Node,
    grid: Node,
    mode: Literal["bilinear", "nearest", "bicubic"] = "bilinear",
    padding_mode: Literal["zeros", "border", "reflection"] = "zeros",
    align_corners: bool | None = None,
) -> Node:
    """The input at the places that a grid names, interpolated between its pixels.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W).
        grid: (N, P, Q, 2) or (N, P, Q, R, 3) of places (x, y) or (x, y, z): -1 is one edge, 1 the
            other.
        padding_mode: beyond the edges are zeros, the nearest pixels, or the image in a mirror.
        align_corners: edges are the centres of the corner pixels, and not their outer corners.
    Returns:
        (N, C, P, Q) or (N, C, P, Q, R).
    Source: https://arxiv.org/abs/1506.02025

    >>> grid_sample(tensor([[[[1.0, 3.0]]]]), tensor([[[[0.0, 0.0]]]])).item()
    2.0
    """
    _check(input, grid, mode)
    N, shape = input.shape[0], input.shape[2:]
    wide = as_node(grid, grid.dtype.compute, grid.device)
    aligned = bool(align_corners)
    points = numel(grid.shape[1:-1])
    axes = []
    for number, size in enumerate(shape):
        x = reshape(select(wide, -1, len(shape) - 1 - number), (N, points, 1))
        place = (x + 1.0) * ((size - 1) / 2) if aligned else ((x + 1.0) * size - 1.0) * 0.5
        axes.append(_taps(place, size, mode, padding_mode, aligned))
    index, weights = _joined(axes, shape)
    pixels = reshape(input, (N, input.shape[1], numel(shape)))
    out = reshape(sum_points.apply(pixels, weights, index), (*input.shape[:2], *grid.shape[1:-1]))
    return as_node(out, input.dtype, input.device)


@cache
def _places(shape: Shape, align_corners: bool) -> Array:
    """(P, rank + 1): x, y, (z,) 1 of each pixel; -1 to 1 from edge to edge."""
    lines = []
    for n in shape:
        steps = np.arange(n) * 2.0 - (n - 1)
        lines.append(steps / max(n - 1 if align_corners else n, 1))
    axes = reversed(np.meshgrid(*lines, indexing="ij"))
    return np.stack([*(axis.ravel() for axis in axes), np.ones(numel(shape))], -1)


def _affine(theta: Array, *, size: Any, align_corners: bool) -> Array:
    lines = []
    for n in size[2:]:
        ends = 1 if align_corners else (n - 1) / n
        lines.append(np.linspace(-ends, ends, n) if n > 1 else np.zeros(1))
    axes = reversed(np.meshgrid(*lines, indexing="ij"))
    grid = np.stack([*axes, np.ones(size[2:])], -1).astype(theta.dtype)
    return np.asarray(np.einsum("...j,nij->n...i", grid, theta))


def _affine_sample(rng: Draw) -> Any:
    rank = int(rng.integers(2, 4))
    N, *sizes = rng.dims((1,) + (2,) * rank, (4,) * (rank + 1), most=259)
    attrs = {"size": (N, 1, *sizes), "align_corners": bool(rng.random() < 0.5)}
    return [rng.standard_normal((N, rank, rank + 1))], attrs


@composed(numpy=_affine, sample=_affine_sample, peer="torch.nn.functional.affine_grid")
@public("nn.functional")
def affine_grid(theta: Node, size: Sequence[int], align_corners: bool | None = None) -> Node:
    """The grid by which `grid_sample` sees an image through an affine map.

    Args:
        theta: (N, 2, 3) or (N, 3, 4).
        size: (N, C, H, W) or (N, C, D, H, W) of the result of grid_sample.
        align_corners: as of grid_sample.
    Returns:
        (N, H, W, 2) or (N, D, H, W, 3).
    Raises:
        ShapeError: `theta` is not in the shape that `size` asks for.

    >>> affine_grid(tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2))
    tensor([[[[-0.5000,  0.0000],
              [ 0.5000,  0.0000]]]])
    """
    asked = sizes_of("affine_grid", size)
    rank = len(asked) - 2
    shown = f"theta {describe(theta)}, size {asked}"
    if theta.dtype.kind != "f":
        raise DTypeError(message("affine_grid", "theta must be floats", shown))
    if rank not in (2, 3) or theta.shape != (asked[0], rank, rank + 1):
        wanted = "theta must be (N, 2, 3) for (N, C, H, W), or (N, 3, 4) for (N, C, D, H, W)"
        raise ShapeError(message("affine_grid", wanted, shown))
    if min(asked) < 1:
        raise ShapeError(message("affine_grid", "sizes must be positive", shown))
    wide = theta.dtype.compute
    places = leaf(_places(asked[2:], bool(align_corners)), wide, theta.device)
    maps = transpose(as_node(theta, wide, theta.device), 1, 2)
    places = expanded(places, (asked[0], *places.shape))
    out = reshape(matmul_.apply(places, maps), (asked[0], *asked[2:], rank))
    return as_node(out, theta.dtype, theta.device)
