"""Public functions that read elements by index or by place: gather, take."""

from __future__ import annotations

from typing import Any

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import index as indexing
from numbatorch.ops import scatter_reference as given
from numbatorch.ops import view as views
from numbatorch.ops.composed import composed
from numbatorch.ops.create import from_end
from numbatorch.ops.operands import describe, expanded
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, broadcast, normalize_dim, numel


def with_dim(function: Any, operands: tuple[Node, ...], attrs: dict[str, Any]) -> Any:
    """A call of a function whose second argument is the dimension."""
    rest = dict(attrs)
    return function(operands[0], rest.pop("dim"), *operands[1:], **rest)


@composed(
    numpy=given.index_select,
    sample=given.draw_taken,
    dtypes=dt.PLAIN + dt.COMPLEX,
    call=with_dim,
)
@public(remembered=True)
def index_select(input: Node, dim: int, index: Node) -> Node:
    """The elements of dimension `dim` that a 1-d tensor of integers lists.

    Raises:
        ShapeError: the index is no vector.
        OutOfRange: an index is not in the dimension.

    >>> index_select(tensor([[1, 2], [3, 4]]), 1, tensor([1])).tolist()
    [[2], [4]]
    """
    axis, x = axis_of("index_select", input, dim)
    if len(index.shape) > 1:
        raise ShapeError(message("index_select", "index must be 1-d", f"index {describe(index)}"))
    rows = flat(checked_index("index_select", index))
    if not input.shape and rows.shape != (1,):
        problem = "of a 0-d tensor one element can be taken"
        raise ShapeError(message("index_select", problem, f"index {describe(index)}"))
    if axis == 0:
        taken = indexing.take.apply(x, rows)
        return taken if input.shape else views.reshape.apply(taken, shape=())
    outer, inner = x.shape[:axis], x.shape[axis + 1 :]
    blocks = views.reshape.apply(x, shape=(numel(outer), x.shape[axis], numel(inner)))
    shape = (*outer, *rows.shape, *inner)
    return views.reshape.apply(indexing.take_within.apply(blocks, rows), shape=shape)


@public(remembered=True)
def gather(input: Node, dim: int, index: Node, *, sparse_grad: bool = False) -> Node:
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and so on for the others.

    Args:
        sparse_grad: changes nothing: gradients are dense.

    >>> gather(tensor([[1, 2], [3, 4]]), 1, tensor([[1], [0]]))
    tensor([[2],
            [3]])
    """
    axis, x = axis_of("gather", input, dim)
    where = checked_index("gather", index)
    if numel(where.shape) == 0:
        return _nothing(input, where.shape)
    where = where if where.shape else flat(where)
    check_sizes("gather", x.shape, where.shape, axis)
    taken = indexing.gather.apply(to_back(cut(x, where.shape, axis), axis), to_back(where, axis))
    return views.reshape.apply(to_back(taken, axis), shape=index.shape)


@public(remembered=True)
def take(input: Node, index: Node) -> Node:
    """The elements at `index` of the input as if it had one dimension; -1 is the last.

    >>> take(tensor([[1, 2], [3, 4]]), tensor([3, -2]))
    tensor([4, 3])
    """
    checked_index("take", index)
    if not numel(index.shape):
        return _nothing(input, index.shape)
    block = views.reshape.apply(input, shape=(1, numel(input.shape), 1))
    taken = indexing.take_within.apply(block, flat(index), from_end=True)
    return views.reshape.apply(taken, shape=index.shape)


@composed(numpy=given.take_along_dim, sample=given.draw_along, dtypes=dt.PLAIN + dt.COMPLEX)
@public(remembered=True)
def take_along_dim(input: Node, indices: Node, dim: int | None = None) -> Node:
    """As `gather`, with the other dimensions broadcast; of all elements in a row without `dim`.

    Index -1 is the last.

    Raises:
        ShapeError: the two do not broadcast beside `dim`.

    >>> take_along_dim(tensor([[1, 2], [3, 4]]), tensor([[1]]), 1).tolist()
    [[2], [4]]
    """
    checked_index("take_along_dim", indices)
    if dim is None:
        return gather(flat(input), 0, from_end(flat(indices), numel(input.shape)))
    axis, x = axis_of("take_along_dim", input, dim)
    if len(x.shape) != len(indices.shape):
        problem = "input and indices must have as many dimensions"
        about = (f"input {describe(input)}", f"indices {describe(indices)}")
        raise ShapeError(message("take_along_dim", problem, *about))
    shapes = (_without(x.shape, axis), _without(indices.shape, axis))
    kept = broadcast("take_along_dim", *shapes)
    wide, where = (
        expanded(node, (*kept[:axis], node.shape[axis], *kept[axis + 1 :])) for node in (x, indices)
    )
    return gather(wide, axis, from_end(where, x.shape[axis]))


def _nothing(input: Node, shape: Shape) -> Node:
    """None of the elements of the input, in a shape that holds none."""
    return views.reshape.apply(views.narrow(flat(input), 0, 0, 0), shape=shape)


def _without(shape: Shape, axis: int) -> Shape:
    """A shape with 1 for one of its dimensions."""
    return (*shape[:axis], 1, *shape[axis + 1 :])


def axis_of(operator: str, input: Node, dim: int) -> tuple[int, Node]:
    """The number of a dimension, and the input with at least one: a 0-d one is of one element."""
    axis = normalize_dim(operator, dim, len(input.shape))
    return axis, input if input.shape else flat(input)


def flat(node: Node) -> Node:
    """The elements in one dimension."""
    shape = (numel(node.shape),)
    return node if node.shape == shape else views.reshape.apply(node, shape=shape)


def checked_index(operator: str, index: Node) -> Node:
    """`index`, whose elements must be integers."""
    if index.dtype.kind not in "iu":
        problem = f"indices must be integers, not {index.dtype.name}"
        raise DTypeError(message(operator, problem, f"index {describe(index)}"))
    return index


def require_places(operator: str, size: int, index: Node) -> None:
    """Raise OutOfRange where indices name places of a dimension that has none."""
    if size == 0 and numel(index.shape):
        problem = "there is nothing to write to in a dimension of size 0"
        raise OutOfRange(message(operator, problem, f"index {describe(index)}"))


def cut(node: Node, sizes: Shape, axis: int | None) -> Node:
    """The leading elements of every dimension but `axis`, as many as `sizes` says."""
    for i, size in enumerate(sizes):
        if i != axis and size != node.shape[i]:
            node = views.narrow(node, i, 0, size)
    return node


def check_sizes(operator: str, shape: Shape, index: Shape, axis: int | None) -> None:
    """Raise ShapeError unless an index stays within a tensor along all dimensions but `axis`."""
    fits = len(shape) == len(index) and all(
        i == axis or size <= n for i, (n, size) in enumerate(zip(shape, index, strict=True))
    )
    if not fits:
        problem = "the index is not within the tensor"
        raise ShapeError(message(operator, problem, f"tensor {shape}", f"index {index}"))


def to_back(node: Node, axis: int) -> Node:
    """`axis` and the last dimension exchanged."""
    return node if axis == len(node.shape) - 1 else views.transpose(node, axis, -1)


def to_front(node: Node, axis: int) -> tuple[Node, Shape]:
    """`axis` in front of the other dimensions, and the order that puts it back."""
    order = (axis, *(i for i in range(len(node.shape)) if i != axis))
    back = tuple(sorted(range(len(order)), key=order.__getitem__))
    return node if axis == 0 else views.permute.apply(node, dims=order), back
