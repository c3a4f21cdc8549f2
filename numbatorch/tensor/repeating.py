"""Public functions of shape that read how often or where from tensors, or make tables of places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.composed import composed
from numbatorch.ops.create import iota
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.rearranging import interleaved
from numbatorch.ops.splitting import axis_of, sections
from numbatorch.ops.surface import public
from numbatorch.ops.view import clone, permute, reshape
from numbatorch.ops.view import narrow as narrowed
from numbatorch.shape import Shape, contiguous_strides, normalize_dim, numel
from numbatorch.tensor.base import Array, host_array, host_node

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Sizes = int | Sequence[int]


@public()
def tensor_split(
    input: Node, indices_or_sections: int | Sequence[int] | Node, dim: int = 0
) -> tuple[Node, ...]:
    """So many parts along `dim`, the first ones larger by 1; or parts cut before indices.

    Args:
        indices_or_sections: a number or indices, or a tensor of them, which is read.

    >>> [part.tolist() for part in tensor_split(tensor([1, 2, 3]), 2)]
    [[1, 2], [3]]
    """
    wanted = indices_or_sections
    if isinstance(wanted, Node):
        if wanted.dtype is not dt.int64 or len(wanted.shape) > 1:
            problem = "indices or sections are one or several int64"
            raise DTypeError(message("tensor_split", problem, describe(wanted)))
        wanted = host_array(wanted).tolist()
    return sections("tensor_split", input, wanted, dim)


@public()
def narrow(input: Node, dim: int, start: int | Node, length: int) -> Node:
    """`length` elements of dimension `dim` from `start`, which a 0-d tensor may say: a view.

    Raises:
        OutOfRange: the elements are not in the dimension.

    >>> narrow(tensor([1, 2, 3, 4]), 0, -3, 2)
    tensor([2, 3])
    """
    axis = axis_of("narrow", input, dim)
    if isinstance(start, Node):
        if start.dtype.kind not in "iu" or start.shape:
            problem = "start is an integer or a 0-d tensor of one"
            raise TypeError(message("narrow", problem, f"start {describe(start)}"))
        start = int(host_array(start))
    size = input.shape[axis]
    first = start + size if start < 0 else start
    if length < 0 or first < 0 or first + length > size:
        raise OutOfRange(
            message(
                "narrow",
                f"{length} elements from {start} are not in a dimension of {size}",
                f"input {describe(input)}, dim {dim}",
            )
        )
    return narrowed(input, axis, first, length)


@public()
def narrow_copy(input: Node, dim: int, start: int, length: int) -> Node:
    """As `narrow`, as a value of its own.

    >>> narrow_copy(tensor([1, 2, 3]), 0, 1, 2)
    tensor([2, 3])
    """
    return clone.apply(narrow(input, dim, start, length))


def _interleave_sample(rng: Draw) -> Any:
    x = rng.standard_normal(rng.dims((1, 1), (4, 5), most=4000))
    repeats = rng.integers(0, 4, x.shape[1])
    return [x, repeats], {"dim": 1, "output_size": int(repeats.sum())}


def _repeated(x: Array, repeats: Array, *, dim: int, output_size: int) -> Array:
    return np.repeat(x, repeats, dim)


@composed(
    numpy=_repeated,
    sample=_interleave_sample,
    dtypes=dt.PLAIN + dt.COMPLEX,
)
@public(remembered=True)
def repeat_interleave(
    input: Node,
    repeats: int | Node | None = None,
    dim: int | None = None,
    *,
    output_size: int | None = None,
) -> Node:
    """Each element of dimension `dim` several times in a row; of all elements if dim is None.

    With one tensor alone: each number i as often as its element i says.

    Args:
        repeats: how often; a tensor says it for each element of the dimension.
        output_size: the sum of `repeats`, which is read where it is not given.
    Raises:
        ShapeError: `repeats` is negative, or not one for each element.

    >>> repeat_interleave(tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    if repeats is None:
        if len(input.shape) != 1:
            problem = "how often each number occurs is a vector"
            raise ShapeError(message("repeat_interleave", problem, f"repeats {describe(input)}"))
        where = iota(input.shape[0], input.device)
        return _taken_often(where, input, 0, output_size)
    x = reshape.apply(input, shape=(numel(input.shape),)) if dim is None else input
    axis = normalize_dim("repeat_interleave", 0 if dim is None else dim, len(x.shape))
    if not x.shape:
        x = reshape.apply(x, shape=(1,))
    if isinstance(repeats, Node):
        if len(repeats.shape) > 1 or repeats.shape not in ((), (1,), (x.shape[axis],)):
            problem = f"repeats are a number or one for each of {x.shape[axis]} elements"
            raise ShapeError(message("repeat_interleave", problem, f"repeats {describe(repeats)}"))
        return _taken_often(x, expanded(repeats, (x.shape[axis],)), axis, output_size)
    if repeats < 0:
        raise ShapeError(message("repeat_interleave", f"repeats {repeats} is negative"))
    if output_size is not None and output_size != repeats * x.shape[axis]:
        raise _wrong_size(output_size, repeats * x.shape[axis])
    return interleaved(x, repeats, axis)


def _wrong_size(given: int, right: int) -> ShapeError:
    return ShapeError(message("repeat_interleave", f"output_size is {given}, not {right}"))


def _taken_often(x: Node, repeats: Node, axis: int, size: int | None) -> Node:
    """Element i of a dimension repeats[i] times; which one stands where is counted in steps."""
    if repeats.dtype not in (dt.int32, dt.int64):
        problem = "repeats must be int32 or int64"
        raise DTypeError(message("repeat_interleave", problem, f"repeats {describe(repeats)}"))
    (count,) = repeats.shape
    wide = as_node(repeats, dt.int64, repeats.device)
    if size is None:
        counts = host_array(wide)
        if counts.size and counts.min() < 0:
            raise OutOfRange(message("repeat_interleave", f"repeats {counts.min()} is negative"))
        size = int(counts.sum())
    ends = find("cumsum").apply(wide, dims=(0,)) if count else wide
    # The number of parts that have ended before a place is the number of the part it is in.
    ended = find("index_add").apply(
        expanded(iota(1, x.device), (size + 1,)), ends, expanded(iota(1, x.device) + 1, (count,))
    )
    part = find("cumsum").apply(ended, dims=(0,))
    part = find("slice").apply(part, starts=(0,), sizes=(size,), steps=(1,))
    order = (axis, *(i for i in range(len(x.shape)) if i != axis))
    taken = find("take").apply(permute.apply(x, dims=order), part)
    return permute.apply(taken, dims=tuple(sorted(range(len(order)), key=order.__getitem__)))


@public("nt")
def combinations(input: Node, r: int = 2, with_replacement: bool = False) -> Node:
    """Every choice of r elements of a vector, a row each, in order of their places.

    Raises:
        ShapeError: `input` is no vector.

    >>> combinations(tensor([1, 2, 3])).tolist()
    [[1, 2], [1, 3], [2, 3]]
    """
    if len(input.shape) != 1:
        raise ShapeError(message("combinations", "needs a vector", f"input {describe(input)}"))
    if r < 0:
        raise ShapeError(message("combinations", f"{r} elements cannot be chosen"))
    if r == 0:
        return reshape.apply(
            find("slice").apply(input, starts=(0,), sizes=(0,), steps=(1,)), shape=(0,)
        )
    places = _chosen(input.shape[0], r, with_replacement)
    return find("take").apply(input, host_node(places, dt.int64, input.device))


def _chosen(size: int, r: int, repeated: bool) -> Array:
    """Every choice of r of the numbers below `size`: int64 (n, r)."""
    if r == 2:
        return np.stack(np.triu_indices(size, 0 if repeated else 1), 1).astype(np.int64)
    choose: Any = itertools.combinations_with_replacement if repeated else itertools.combinations
    count = math.comb(size + r - 1, r) if repeated and size else math.comb(size, r)
    flat = itertools.chain.from_iterable(choose(range(size), r))
    return np.fromiter(flat, np.int64, count * r).reshape(count, r)


@public("nt")
def unravel_index(indices: Node, shape: Sizes) -> tuple[Node, ...]:
    """The position in each dimension of `shape` of row-major positions.

    Raises:
        DTypeError: the indices are no integers.

    >>> [axis.tolist() for axis in unravel_index(tensor([5, 2]), (2, 3))]
    [[1, 0], [2, 2]]
    """
    sizes: Shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if indices.dtype.kind not in "iu":
        raise DTypeError(message("unravel_index", f"indices are integers, not {describe(indices)}"))
    if any(size < 0 for size in sizes) or (numel(indices.shape) and not numel(sizes)):
        raise ShapeError(message("unravel_index", f"{sizes} has no positions"))
    divide, remainder = find("floor_divide"), find("remainder")
    pairs = zip(contiguous_strides(sizes), sizes, strict=True)
    return tuple([remainder.apply(divide.apply(indices, n), size) for n, size in pairs])
