"""Public functions that change the shape: views, which move nothing, and what is made of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node, elementary
from numbatorch.ops import view as views
from numbatorch.ops.operands import describe, expanded
from numbatorch.ops.surface import public
from numbatorch.shape import infer_reshape, normalize_dim, normalize_dims, numel, sizes_of

Dims = int | Sequence[int] | None
Sizes = int | Sequence[int]


@public()
def reshape(input: Node, shape: Sizes) -> Node:
    """The elements in row-major order under another shape; one size may be -1.

    >>> reshape(tensor([1, 2, 3, 4]), (2, -1))
    tensor([[1, 2],
            [3, 4]])
    """
    asked = infer_reshape(input.shape, sizes_of("reshape", shape))
    return input if asked == input.shape else views.reshape.apply(input, shape=asked)


@public("Tensor")
def reshape_as(input: Node, other: Node) -> Node:
    """The elements under the shape of `other`."""
    return reshape(input, other.shape)


@public()
def flatten(input: Node, start_dim: int = 0, end_dim: int = -1) -> Node:
    """Dimensions `start_dim` to `end_dim` as one."""
    shape = input.shape
    first = normalize_dim("flatten", start_dim, len(shape))
    last = normalize_dim("flatten", end_dim, len(shape))
    if first > last:
        raise ShapeError(message("flatten", f"start_dim {start_dim} is after {end_dim}"))
    if not shape:
        return reshape(input, (1,))
    middle = numel(shape[first : last + 1])
    return reshape(input, (*shape[:first], middle, *shape[last + 1 :]))


@public()
def ravel(input: Node) -> Node:
    """All dimensions as one."""
    return flatten(input)


@public()
def unflatten(input: Node, dim: int, sizes: Sequence[int]) -> Node:
    """Dimension `dim` as several, of `sizes`; one may be -1."""
    axis = normalize_dim("unflatten", dim, len(input.shape))
    filled = infer_reshape(input.shape[axis : axis + 1], sizes_of("unflatten", sizes))
    return reshape(input, (*input.shape[:axis], *filled, *input.shape[axis + 1 :]))


@public()
def transpose(input: Node, dim0: int, dim1: int) -> Node:
    """Exchange two dimensions."""
    return views.transpose(input, dim0, dim1)


@public()
def swapaxes(input: Node, axis0: int, axis1: int) -> Node:
    """As `transpose`."""
    return views.transpose(input, axis0, axis1)


@public()
def swapdims(input: Node, dim0: int, dim1: int) -> Node:
    """As `transpose`."""
    return views.transpose(input, dim0, dim1)


@public(aliases=("moveaxis",))
def movedim(input: Node, source: Sizes, destination: Sizes) -> Node:
    """Dimension source[i] stands at destination[i]; the others keep their order."""
    rank = len(input.shape)
    taken, places = (
        [normalize_dim("movedim", d, rank) for d in sizes_of("movedim", x)]
        for x in (source, destination)
    )
    if not len(taken) == len(places) == len(set(taken)) == len(set(places)):
        raise ShapeError(message("movedim", f"{source} to {destination} is no order"))
    order = [d for d in range(rank) if d not in taken]
    for place, dim in sorted(zip(places, taken, strict=True)):
        order.insert(place, dim)
    return permute(input, order)


@public()
def t(input: Node) -> Node:
    """Exchange the dimensions of a matrix; a vector stays."""
    if len(input.shape) > 2:
        raise ShapeError(message("t", "needs two dimensions at most", describe(input)))
    return views.transpose(input, 0, 1) if len(input.shape) == 2 else input


@public()
def permute(input: Node, dims: Sizes) -> Node:
    """Dimension i of the result is dimension dims[i]."""
    rank = len(input.shape)
    asked = sizes_of("permute", dims)
    if len(asked) != rank:
        raise ShapeError(message("permute", f"{asked} is no order of {rank} dimensions"))
    order = tuple([normalize_dim("permute", d, rank) for d in asked])
    return input if order == tuple(range(rank)) else views.permute.apply(input, dims=order)


@public("Tensor")
def expand(input: Node, size: Sizes) -> Node:
    """Repeat dimensions of size 1, and new leading ones, without a copy; -1 keeps a size."""
    asked = sizes_of("expand", size)
    lead = len(asked) - len(input.shape)
    shape = tuple(
        input.shape[i - lead] if size == -1 and i >= lead else size for i, size in enumerate(asked)
    )
    if any(size < 0 for size in shape):
        raise ShapeError(message("expand", f"{asked} is not a shape"))
    return input if shape == input.shape else elementary().expand().apply(input, shape=shape)


@public()
def broadcast_to(input: Node, size: Sizes) -> Node:
    """As `Tensor.expand`."""
    return expand(input, size)


@public("Tensor")
def expand_as(input: Node, other: Node) -> Node:
    """Expand to the shape of `other`."""
    return expand(input, other.shape)


@public()
def squeeze(input: Node, dim: Dims = None) -> Node:
    """Drop dimensions of size 1, all of them or those named."""
    asked = normalize_dims("squeeze", dim, len(input.shape))
    shape = tuple(n for i, n in enumerate(input.shape) if i not in asked or n != 1)
    return reshape(input, shape)


@public()
def unsqueeze(input: Node, dim: int) -> Node:
    """Insert a dimension of size 1."""
    return views.unsqueeze(input, dim)


@public()
def narrow(input: Node, dim: int, start: int, length: int) -> Node:
    """`length` elements of dimension `dim` from `start`."""
    size = input.shape[normalize_dim("narrow", dim, len(input.shape))] if input.shape else 0
    first = start + size if start < 0 else start
    if length < 0 or first < 0 or first + length > size:
        raise OutOfRange(
            message(
                "narrow",
                f"{length} elements from {start} are not in a dimension of {size}",
                f"input {describe(input)}, dim {dim}",
            )
        )
    return views.narrow(input, dim, first, length)


@public()
def select(input: Node, dim: int, index: int) -> Node:
    """Element `index` of dimension `dim`, which goes."""
    axis = normalize_dim("select", dim, len(input.shape))
    size = input.shape[axis] if input.shape else 0
    if not -size <= index < size:
        raise OutOfRange(message("select", f"index {index} of a dimension of {size}"))
    return views.element(input, axis, index % size)


@public()
def split(tensor: Node, split_size_or_sections: Sizes, dim: int = 0) -> tuple[Node, ...]:
    """Parts of one size along `dim`, the last one what is left; or parts of the sizes given.

    >>> [part.tolist() for part in split(tensor([1, 2, 3]), 2)]
    [[1, 2], [3]]
    """
    axis = normalize_dim("split", dim, len(tensor.shape))
    total, wanted = tensor.shape[axis], split_size_or_sections
    if isinstance(wanted, int):
        if wanted <= 0:
            raise ShapeError(message("split", f"parts of size {wanted}"))
        starts = range(0, max(total, 1), wanted)
        sizes = [min(wanted, total - start) for start in starts]
    else:
        sizes = list(wanted)
        if sum(sizes) != total or any(size < 0 for size in sizes):
            raise ShapeError(message("split", f"{sizes} do not add up to {total}"))
    first = itertools.accumulate(sizes, initial=0)
    return tuple([narrow(tensor, axis, start, n) for start, n in zip(first, sizes, strict=False)])


@public()
def chunk(input: Node, chunks: int, dim: int = 0) -> tuple[Node, ...]:
    """At most `chunks` parts along `dim`, of equal size but for the last."""
    if chunks <= 0:
        raise ShapeError(message("chunk", f"{chunks} parts"))
    total = input.shape[normalize_dim("chunk", dim, len(input.shape))]
    return split(input, max(1, -(-total // chunks)), dim)


@public()
def unbind(input: Node, dim: int = 0) -> tuple[Node, ...]:
    """Every element of dimension `dim`, without that dimension."""
    axis = normalize_dim("unbind", dim, len(input.shape))
    if not input.shape:
        raise OutOfRange(message("unbind", "a 0-d tensor has no dimensions"))
    return tuple([views.element(input, axis, i) for i in range(input.shape[axis])])


@public("Tensor")
def repeat(input: Node, repeats: Sizes) -> Node:
    """Copies side by side, repeats[i] of them along dimension i."""
    counts = sizes_of("repeat", repeats)
    lead = len(counts) - len(input.shape)
    if lead < 0 or any(count < 0 for count in counts):
        raise ShapeError(message("repeat", f"{counts} does not fit", f"input {describe(input)}"))
    shape = (1,) * lead + input.shape
    paired = [size for n in shape for size in (1, n)]
    wide = [size for n, count in zip(shape, counts, strict=True) for size in (count, n)]
    out = expanded(reshape(input, paired), tuple(wide))
    out = reshape(out, [n * count for n, count in zip(shape, counts, strict=True)])
    return views.clone.apply(out)


@public()
def repeat_interleave(input: Node, repeats: int, dim: int | None = None) -> Node:
    """Each element of dimension `dim` `repeats` times in a row; of all elements if dim is None.

    >>> repeat_interleave(tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    x = flatten(input) if dim is None else input
    axis = normalize_dim("repeat_interleave", 0 if dim is None else dim, len(x.shape))
    before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    wide = expanded(views.unsqueeze(x, axis + 1), (*before, size, repeats, *after))
    return views.clone.apply(reshape(wide, (*before, size * repeats, *after)))


@public()
def flip(input: Node, dims: Sizes) -> Node:
    """A copy in reverse order along `dims`."""
    shape = input.shape
    axes = {normalize_dim("flip", d, len(shape)) for d in sizes_of("flip", dims)}
    out = views.slice_.apply(
        input,
        starts=tuple(n - 1 if i in axes and n else 0 for i, n in enumerate(shape)),
        sizes=shape,
        steps=tuple(-1 if i in axes else 1 for i in range(len(shape))),
    )
    return views.clone.apply(out)


def _require_tensors(operator: str, tensors: Sequence[Any]) -> None:
    for number, item in enumerate(tensors):
        if not isinstance(item, Node):
            shown = item if item is None else type(item).__name__
            raise TypeError(message(operator, f"tensors[{number}] is {shown}, not a tensor"))


@public("nt", aliases=("concat", "concatenate"))
def cat(tensors: Sequence[Node], dim: int = 0) -> Node:
    """Join along `dim`; the other dimensions must agree.

    >>> cat([tensor([1, 2]), tensor([3])])
    tensor([1, 2, 3])
    """
    _require_tensors("cat", tensors)
    whole = [node for node in tensors if node.shape != (0,)]
    return views.cat(whole or tensors, dim)


@public("nt")
def stack(tensors: Sequence[Node], dim: int = 0) -> Node:
    """Join along a new dimension; all shapes must agree."""
    _require_tensors("stack", tensors)
    shapes = {node.shape for node in tensors}
    if len(shapes) > 1:
        raise ShapeError(message("stack", f"shapes differ: {sorted(shapes)}"))
    return views.stack(tensors, dim)
