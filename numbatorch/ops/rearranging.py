"""Public functions that copy elements into another order, or several times."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import view as views
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import describe, expanded
from numbatorch.ops.runs import Run, written_in_runs
from numbatorch.ops.shaping import flatten, reshape
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, normalize_dim, numel, sizes_of

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Sizes = int | Sequence[int]
Array = np.ndarray[Any, Any]
ANY = dt.PLAIN + dt.COMPLEX


def _of_three(**attrs: Any) -> Any:
    """Samples of three dimensions with these attributes."""

    def sample(rng: Draw) -> Any:
        return [rng.standard_normal(rng.dims((0, 0, 0), (4, 5, 6)))], attrs

    return sample


def _flipped(x: Node, axes: set[int]) -> Node:
    """A view in reverse order along some dimensions."""
    starts, steps = [0] * len(x.shape), [1] * len(x.shape)
    for axis in axes:
        starts[axis], steps[axis] = max(x.shape[axis] - 1, 0), -1
    return views.part(x, tuple(starts), x.shape, tuple(steps))


@composed(numpy=lambda x, *, dims: np.flip(x, dims), sample=_of_three(dims=(0, 2)), dtypes=ANY)
@public(remembered=True)
def flip(input: Node, dims: Sizes) -> Node:
    """A copy in reverse order along `dims`.

    Raises:
        ShapeError: a dimension appears twice.

    >>> flip(tensor([[1, 2], [3, 4]]), (0, 1)).tolist()
    [[4, 3], [2, 1]]
    """
    asked = sizes_of("flip", dims)
    axes = {normalize_dim("flip", d, len(input.shape)) for d in asked}
    if len(axes) != len(asked):
        raise ShapeError(message("flip", f"a dimension appears twice in {asked}"))
    return views.clone.apply(_flipped(input, axes) if input.shape else input)


@public(remembered=True)
def fliplr(input: Node) -> Node:
    """A copy in reverse order along dimension 1.

    >>> fliplr(tensor([[1, 2], [3, 4]])).tolist()
    [[2, 1], [4, 3]]
    """
    return flip(_with_rank("fliplr", input, 2), 1)


@public(remembered=True)
def flipud(input: Node) -> Node:
    """A copy in reverse order along dimension 0.

    >>> flipud(tensor([[1, 2], [3, 4]])).tolist()
    [[3, 4], [1, 2]]
    """
    return flip(_with_rank("flipud", input, 1), 0)


def _with_rank(operator: str, input: Node, rank: int) -> Node:
    if len(input.shape) < rank:
        raise ShapeError(message(operator, f"needs {rank} dimensions", f"input {describe(input)}"))
    return input


def _rolled(x: Node, shifts: dict[int, int]) -> Node:
    """Each dimension of these moved by its shift."""
    along = []
    for axis, size in enumerate(x.shape):
        first = shifts.get(axis, 0) % size if size else 0
        moved = [Run(size - first, 1, first), Run(0, 1, size - first)]
        along.append([run for run in moved if run.size])
    if all(len(runs) <= 1 for runs in along):
        return views.clone.apply(x)
    return written_in_runs(x, x.shape, along)


@composed(
    numpy=lambda x, *, shifts, dims: np.roll(x, shifts, dims),
    sample=_of_three(shifts=(2, -1), dims=(0, 2)),
    dtypes=ANY,
)
@public(remembered=True)
def roll(input: Node, shifts: Sizes, dims: Sizes = ()) -> Node:
    """Elements moved by shifts[i] along dims[i], those beyond the end to the front.

    Args:
        dims: all elements in row-major order are moved as one dimension if there are none.
    Raises:
        ShapeError: `shifts` and `dims` differ in number.

    >>> roll(tensor([1, 2, 3]), 1).tolist()
    [3, 1, 2]
    """
    moved, along = sizes_of("roll", shifts), sizes_of("roll", dims)
    if not moved:
        raise ShapeError(message("roll", "there are no shifts"))
    if not along and len(moved) == 1:
        return reshape(_rolled(flatten(input), {0: moved[0]}), input.shape)
    if len(moved) != len(along):
        raise ShapeError(message("roll", f"shifts {moved} and dims {along} differ in number"))
    total: dict[int, int] = {}
    for shift, dim in zip(moved, along, strict=True):
        if not input.shape:
            raise OutOfRange(message("roll", f"a 0-d tensor has no dimension {dim}"))
        axis = normalize_dim("roll", dim, len(input.shape))
        total[axis] = total.get(axis, 0) + shift
    return _rolled(input, total)


@composed(
    numpy=lambda x, *, k, dims: np.rot90(x, k, dims), sample=_of_three(k=3, dims=(2, 0)), dtypes=ANY
)
@public(remembered=True)
def rot90(input: Node, k: int = 1, dims: Sequence[int] = (0, 1)) -> Node:
    """A copy turned k times by a quarter in the plane of two dimensions, the first to the second.

    >>> rot90(tensor([[1, 2], [3, 4]])).tolist()
    [[2, 4], [1, 3]]
    """
    rank = len(input.shape)
    first, second = _plane(rank, dims)
    x = input
    if k % 2:
        x = views.transpose(x, first, second)
    turned = {1: {first}, 2: {first, second}, 3: {second}}.get(k % 4, set())
    return views.clone.apply(_flipped(x, turned))


def _plane(rank: int, dims: Sequence[int]) -> Sequence[int]:
    axes = [normalize_dim("rot90", d, rank) for d in dims]
    if len(axes) != 2 or rank < 2 or axes[0] == axes[1]:
        problem = f"a plane has two dimensions, not {tuple(dims)} of {rank}"
        raise ShapeError(message("rot90", problem))
    return axes


def _repeats_sample(rng: Draw) -> Any:
    x = rng.standard_normal(rng.dims((0, 0), (4, 5), most=4000))
    return [x], {"repeats": (2, int(rng.integers(0, 4)), 3)}


@composed(
    numpy=lambda x, *, repeats: np.tile(x, repeats),
    sample=_repeats_sample,
    dtypes=ANY,
    peer="torch.Tensor.repeat",
)
@public("Tensor", remembered=True)
def repeat(input: Node, repeats: Sizes) -> Node:
    """Copies side by side, repeats[i] of them along dimension i; new dimensions come first.

    Raises:
        ShapeError: there are fewer numbers than dimensions, or one is negative.

    >>> repeat(tensor([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    counts = sizes_of("repeat", repeats)
    lead = len(counts) - len(input.shape)
    if lead < 0 or any(count < 0 for count in counts):
        raise ShapeError(message("repeat", f"{counts} does not fit", f"input {describe(input)}"))
    shape = (1,) * lead + input.shape
    paired, wide = [], []
    for n, count in zip(shape, counts, strict=True):
        if count != 1:
            paired.append(1)
            wide.append(count)
        paired.append(n)
        wide.append(n)
    out = _written(expanded(reshape(input, paired), tuple(wide)))
    return reshape(out, [n * count for n, count in zip(shape, counts, strict=True)])


@public(remembered=True)
def tile(input: Node, dims: Sizes) -> Node:
    """As `Tensor.repeat`, once along the leading dimensions that `dims` does not name.

    >>> tile(tensor([[1], [2]]), (2,)).tolist()
    [[1, 1], [2, 2]]
    """
    counts = sizes_of("tile", dims)
    return repeat(input, (1,) * (len(input.shape) - len(counts)) + counts)


SHORT = 16  # elements in a row that are copied by loops of their own


def interleaved(input: Node, repeats: int, axis: int) -> Node:
    """Each element of dimension `axis` `repeats` times in a row."""
    before, size, after = input.shape[:axis], input.shape[axis], input.shape[axis + 1 :]
    shape = (*before, size * repeats, *after)
    if 1 < repeats <= SHORT and numel(after) < SHORT:
        out = views.empty(shape, input.dtype, input)
        steps = tuple([repeats if i == axis else 1 for i in range(len(shape))])
        for first in range(repeats):
            starts = tuple([first if i == axis else 0 for i in range(len(shape))])
            out = views.written(out, input, starts, steps)
        return out
    wide = expanded(views.unsqueeze(input, axis + 1), (*before, size, repeats, *after))
    return reshape(_written(wide), shape)


def _written(x: Node) -> Node:
    """x in row-major order: where no strides reshape it, it is copied once and not twice."""
    rank = len(x.shape)
    return views.written(views.empty(x.shape, x.dtype, x), x, (0,) * rank, (1,) * rank)


def _shuffled(x: Array, *, upscale_factor: int) -> Array:
    *lead, C, H, W = x.shape
    r = upscale_factor
    out = np.zeros((*lead, C // r**2, H * r, W * r), x.dtype)
    for i, j in itertools.product(range(r), range(r)):
        out[..., i::r, j::r] = x[..., i * r + j :: r * r, :, :]
    return out


def _shuffle_sample(rng: Draw) -> Any:
    B, C, H, W = rng.dims((0, 1, 0, 0), (3, 3, 4, 5), most=4000)
    return [rng.standard_normal((B, C * 4, H, W))], {"upscale_factor": 2}


@composed(numpy=_shuffled, sample=_shuffle_sample, dtypes=ANY)
@public("nt", "nn.functional", remembered=True)
def pixel_shuffle(input: Node, upscale_factor: int) -> Node:
    """(..., C * r * r, H, W) as (..., C, H * r, W * r): channels become pixels, r the factor.

    Raises:
        ShapeError: the channels are no multiple of r * r.
    Source: https://arxiv.org/abs/1609.05158

    >>> pixel_shuffle(nt.arange(4).reshape(4, 1, 1), 2).tolist()
    [[[0, 1], [2, 3]]]
    """
    *lead, C, H, W = _image("pixel_shuffle", input, upscale_factor)
    r = upscale_factor
    if C % r**2:
        problem = f"{C} channels are not a multiple of {r} * {r}"
        raise ShapeError(message("pixel_shuffle", problem, f"input {describe(input)}"))
    parts = reshape(input, (*lead, C // r**2, r, r, H, W))
    n = len(lead)
    shape = (*lead, C // r**2, H * r, W * r)
    if r > SHORT or not numel(shape):
        order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
        return reshape(_own(views.permute.apply(parts, dims=order)), shape)
    out = views.empty(shape, input.dtype, input)
    for i, j in itertools.product(range(r), range(r)):
        part = views.element(views.element(parts, n + 1, i), n + 1, j)
        starts, steps = (*(0,) * (n + 1), i, j), (*(1,) * (n + 1), r, r)
        out = views.slice_update.apply(out, part, starts=starts, steps=steps)
    return out


@public("nt", "nn.functional", remembered=True)
def pixel_unshuffle(input: Node, downscale_factor: int) -> Node:
    """(..., C, H * r, W * r) as (..., C * r * r, H, W), what undoes `pixel_shuffle`.

    Raises:
        ShapeError: r does not divide the height and the width.

    >>> pixel_unshuffle(nt.arange(4).reshape(1, 2, 2), 2).shape
    (4, 1, 1)
    """
    *lead, C, H, W = _image("pixel_unshuffle", input, downscale_factor)
    r = downscale_factor
    if H % r or W % r:
        problem = f"{H} x {W} pixels are not whole squares of {r} x {r}"
        raise ShapeError(message("pixel_unshuffle", problem, f"input {describe(input)}"))
    parts = reshape(input, (*lead, C, H // r, r, W // r, r))
    n = len(lead)
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return reshape(_own(views.permute.apply(parts, dims=order)), (*lead, C * r**2, H // r, W // r))


def _image(operator: str, input: Node, factor: int) -> Shape:
    if len(input.shape) < 3 or factor <= 0:
        problem = f"needs (..., C, H, W) and a factor above 0, not {factor}"
        raise ShapeError(message(operator, problem, f"input {describe(input)}"))
    return input.shape


def _own(x: Node) -> Node:
    """A value that is no view of the input, which `reshape` might be."""
    return views.clone.apply(x)
