"""Public functions that pick elements by index or by place: gather, scatter, triangles."""

from __future__ import annotations

from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import compare
from numbatorch.ops import index as indexing
from numbatorch.ops import view as views
from numbatorch.ops.create import iota
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, normalize_dim, numel


@public()
def tril(input: Node, diagonal: int = 0) -> Node:
    """Zeros above a diagonal of the last two dimensions, counted upwards from the main one."""
    return compare.where.apply(_below("tril", input, diagonal), input, 0)


@public()
def triu(input: Node, diagonal: int = 0) -> Node:
    """Zeros below a diagonal of the last two dimensions, counted upwards from the main one."""
    return compare.where.apply(_below("triu", input, diagonal - 1), 0, input)


def _below(operator: str, input: Node, diagonal: int) -> Node:
    """(M, N) bool: whether a place is on a diagonal or below it."""
    if len(input.shape) < 2:
        raise ShapeError(message(operator, "needs two dimensions", describe(input)))
    M, N = input.shape[-2:]
    rows = views.reshape.apply(iota(M, input.device) + diagonal, shape=(M, 1))
    return compare.ge.apply(rows, iota(N, input.device))


@public()
def index_select(input: Node, dim: int, index: Node) -> Node:
    """The elements of dimension `dim` that a 1-d tensor of integers lists."""
    axis = normalize_dim("index_select", dim, len(input.shape))
    if len(index.shape) > 1:
        raise ShapeError(message("index_select", "index must be 1-d", f"index {describe(index)}"))
    rows = views.reshape.apply(index, shape=(numel(index.shape),))
    order = (axis, *(i for i in range(len(input.shape)) if i != axis))
    moved = input if axis == 0 else views.permute.apply(input, dims=order)
    taken = indexing.take.apply(moved, rows)
    back = tuple(sorted(range(len(order)), key=order.__getitem__))
    return taken if axis == 0 else views.permute.apply(taken, dims=back)


@public()
def gather(input: Node, dim: int, index: Node) -> Node:
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and so on for the others.

    >>> gather(tensor([[1, 2], [3, 4]]), 1, tensor([[1], [0]]))
    tensor([[2],
            [3]])
    """
    axis = _axis("gather", input, dim)
    _check_sizes("gather", input.shape, index.shape, axis)
    x = _cut(input, index.shape, axis)
    return _to_back(indexing.gather.apply(_to_back(x, axis), _to_back(index, axis)), axis)


@public()
def scatter_add(input: Node, dim: int, index: Node, src: Node) -> Node:
    """input with src[i][j][k] added at [index[i][j][k]][j][k] for dim 0, and so on."""
    axis = _axis("scatter_add", input, dim)
    value = as_node(src, input.dtype, input.device)
    _check_sizes("scatter_add", input.shape, index.shape, axis)
    _check_sizes("scatter_add", value.shape, index.shape, None)
    part = _cut(input, index.shape, axis)
    operands = (part, index, _cut(value, index.shape, None))
    found = indexing.scatter_add.apply(*(_to_back(node, axis) for node in operands))
    out = _to_back(found, axis)
    if part is input:
        return out
    rank = len(input.shape)
    return views.slice_update.apply(input, out, starts=(0,) * rank, steps=(1,) * rank)


def _axis(operator: str, input: Node, dim: int) -> int:
    if not input.shape:
        raise ShapeError(message(operator, "needs a dimension", describe(input)))
    return normalize_dim(operator, dim, len(input.shape))


def _cut(node: Node, sizes: Shape, axis: int | None) -> Node:
    """The leading elements of every dimension but `axis`, as many as `sizes` says."""
    for i, size in enumerate(sizes):
        if i != axis and size != node.shape[i]:
            node = views.narrow(node, i, 0, size)
    return node


def _check_sizes(operator: str, shape: Shape, index: Shape, axis: int | None) -> None:
    fits = len(shape) == len(index) and all(
        i == axis or size <= n for i, (n, size) in enumerate(zip(shape, index, strict=True))
    )
    if not fits:
        problem = "the index is not within the tensor"
        raise ShapeError(message(operator, problem, f"tensor {shape}", f"index {index}"))


def _to_back(node: Node, axis: int) -> Node:
    return node if axis == len(node.shape) - 1 else views.transpose(node, axis, -1)
