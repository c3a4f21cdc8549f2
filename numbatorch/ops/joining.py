"""Public functions that join tensors: cat, stack and their kin, and what broadcasts several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import view as views
from numbatorch.ops.operands import as_node, common_device, const, describe, expanded, result_type
from numbatorch.ops.shaping import reshape, transpose
from numbatorch.ops.surface import public
from numbatorch.shape import broadcast, normalize_dim


def _require_tensors(operator: str, tensors: Sequence[Any]) -> None:
    if not len(tensors):
        raise ShapeError(message(operator, "there is nothing to join"))
    for number, item in enumerate(tensors):
        if not isinstance(item, Node):
            shown = item if item is None else type(item).__name__
            raise TypeError(message(operator, f"tensors[{number}] is {shown}, not a tensor"))


def _listed(operator: str, tensors: Sequence[Any]) -> Sequence[Node]:
    """Tensors given one by one, or as one list of them."""
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        tensors = tensors[0]
    _require_tensors(operator, tensors)
    return tensors


@public("nt", aliases=("concat", "concatenate"), remembered=True)
def cat(tensors: Sequence[Node], dim: int = 0) -> Node:
    """Join along `dim`; the other dimensions must agree.

    >>> cat([tensor([1, 2]), tensor([3])])
    tensor([1, 2, 3])
    """
    _require_tensors("cat", tensors)
    whole = [node for node in tensors if node.shape != (0,)]
    if not whole or len(whole) == len(tensors):
        return views.cat(tensors, dim)
    # One of shape (0,) joins any others: it counts for the dtype alone.
    shape = list(whole[0].shape)
    if shape:
        shape[normalize_dim("cat", dim, len(shape))] = 0
    return views.cat([x if x.shape != (0,) else reshape(x, shape) for x in tensors], dim)


@public("nt", remembered=True)
def stack(tensors: Sequence[Node], dim: int = 0) -> Node:
    """Join along a new dimension; all shapes must agree.

    Raises:
        ShapeError: the shapes differ, or there are no tensors.

    >>> stack([tensor([1, 2]), tensor([3, 4])], dim=1).tolist()
    [[1, 3], [2, 4]]
    """
    _require_tensors("stack", tensors)
    shapes = {node.shape for node in tensors}
    if len(shapes) > 1:
        rows = [f"operand {number} {describe(node)}" for number, node in enumerate(tensors)]
        raise ShapeError(message("stack", "shapes differ", *rows))
    return views.stack(tensors, dim)


def _at_least(node: Node, rank: int) -> Node:
    """`rank` dimensions at least, as NumPy puts them: a row in front, a third one behind."""
    shape = node.shape
    if len(shape) >= rank:
        return node
    row = shape or (1,)
    if rank > 1 and len(row) == 1:
        row = (1, *row)
    return reshape(node, (*row, *(1,) * (rank - len(row))))


def _each_at_least(operator: str, tensors: Sequence[Any], rank: int) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], Node):
        return _at_least(tensors[0], rank)
    return tuple([_at_least(node, rank) for node in _listed(operator, tensors)])


@public("nt")
def atleast_1d(*tensors: Node | Sequence[Node]) -> Any:
    """A view with one dimension at least, or a tuple of those of several tensors.

    >>> atleast_1d(tensor(5)), atleast_1d(tensor([1]), tensor(2))
    (tensor([5]), (tensor([1]), tensor([2])))
    """
    return _each_at_least("atleast_1d", tensors, 1)


@public("nt")
def atleast_2d(*tensors: Node | Sequence[Node]) -> Any:
    """A view with two dimensions at least; a vector is a row.

    >>> atleast_2d(tensor([1, 2])).tolist()
    [[1, 2]]
    """
    return _each_at_least("atleast_2d", tensors, 2)


@public("nt")
def atleast_3d(*tensors: Node | Sequence[Node]) -> Any:
    """A view with three dimensions at least: (N,) as (1, N, 1), and (M, N) as (M, N, 1).

    >>> atleast_3d(nt.ones(2)).shape, atleast_3d(nt.ones(2, 3)).shape
    ((1, 2, 1), (2, 3, 1))
    """
    return _each_at_least("atleast_3d", tensors, 3)


@public("nt", remembered=True)
def hstack(tensors: Sequence[Node]) -> Node:
    """Join along dimension 1, or 0 of vectors.

    >>> hstack([tensor([1, 2]), tensor(3)]).tolist()
    [1, 2, 3]
    """
    _require_tensors("hstack", tensors)
    rows = [_at_least(node, 1) for node in tensors]
    return views.cat(rows, 0 if len(rows[0].shape) == 1 else 1)


@public("nt", aliases=("row_stack",), remembered=True)
def vstack(tensors: Sequence[Node]) -> Node:
    """Join along dimension 0; vectors are rows.

    >>> vstack([tensor([1, 2]), tensor([[3, 4]])]).tolist()
    [[1, 2], [3, 4]]
    """
    _require_tensors("vstack", tensors)
    return views.cat([_at_least(node, 2) for node in tensors], 0)


@public("nt", remembered=True)
def dstack(tensors: Sequence[Node]) -> Node:
    """Join along dimension 2; matrices and rows have one element there.

    >>> dstack([tensor([1, 2]), tensor([3, 4])]).tolist()
    [[[1, 3], [2, 4]]]
    """
    _require_tensors("dstack", tensors)
    return views.cat([_at_least(node, 3) for node in tensors], 2)


@public("nt", remembered=True)
def column_stack(tensors: Sequence[Node]) -> Node:
    """Join along dimension 1; vectors are columns.

    >>> column_stack([tensor([1, 2]), tensor([3, 4])]).tolist()
    [[1, 3], [2, 4]]
    """
    _require_tensors("column_stack", tensors)
    found = []
    for node in tensors:
        size = node.shape[0] if node.shape else 1
        found.append(node if len(node.shape) > 1 else reshape(node, (size, 1)))
    return views.cat(found, 1)


@public("nt", remembered=True)
def block_diag(*tensors: Node) -> Node:
    """The matrix with matrices along its diagonal, in order, and zeros elsewhere.

    Args:
        tensors: of two dimensions at most; vectors are rows.
    Raises:
        ShapeError: a tensor has more than two dimensions.

    >>> block_diag(tensor([1, 2]), tensor([[3], [4]])).tolist()
    [[1, 2, 0], [0, 0, 3], [0, 0, 4]]
    """
    _require_tensors("block_diag", tensors)
    common_device("block_diag", tensors)
    for number, node in enumerate(tensors):
        if len(node.shape) > 2:
            problem = f"operand {number} has more than two dimensions"
            raise ShapeError(message("block_diag", problem, describe(node)))
    blocks = [_at_least(node, 2) for node in tensors]
    dtype = result_type(blocks)
    shape = tuple([sum(node.shape[i] for node in blocks) for i in range(2)])
    out = const(0, dtype, blocks[0].device, shape)
    row = column = 0
    for node in blocks:
        value = as_node(node, dtype, node.device)
        out = views.written(out, value, (row, column), (1, 1))
        row, column = row + node.shape[0], column + node.shape[1]
    return out


@public("nt")
def broadcast_tensors(*tensors: Node | Sequence[Node]) -> Any:
    """Views of tensors in the one shape that all of them expand to.

    >>> [x.shape for x in broadcast_tensors(nt.ones(2, 1), nt.ones(3))]
    [(2, 3), (2, 3)]
    """
    nodes = _listed("broadcast_tensors", tensors)
    shape = broadcast("broadcast_tensors", *[node.shape for node in nodes])
    return tuple([expanded(node, shape) for node in nodes])


@public("nt", remembered=True)
def meshgrid(*tensors: Node | Sequence[Node], indexing: str | None = None) -> Any:
    """Views of vectors, each along a dimension of its own, in the grid of all of them.

    Args:
        tensors: 1-d or 0-d, of one dtype.
        indexing: "ij", the default, or "xy": the first two dimensions of the grid are exchanged.
    Raises:
        ShapeError: a tensor has more than one dimension.

    >>> [axis.tolist() for axis in meshgrid(tensor([1, 2]), tensor([3, 4, 5]))]
    [[[1, 1, 1], [2, 2, 2]], [[3, 4, 5], [3, 4, 5]]]
    """
    nodes = _listed("meshgrid", tensors)
    if indexing not in (None, "ij", "xy"):
        raise ValueError(message("meshgrid", f"indexing is {indexing!r}, not 'ij' or 'xy'"))
    common_device("meshgrid", nodes)
    for number, node in enumerate(nodes):
        if len(node.shape) > 1 or node.dtype is not nodes[0].dtype:
            rows = (f"operand 0 {describe(nodes[0])}", f"operand {number} {describe(node)}")
            kind = ShapeError if len(node.shape) > 1 else TypeError
            raise kind(message("meshgrid", "needs vectors of one dtype", *rows))
    sizes = tuple([node.shape[0] if node.shape else 1 for node in nodes])
    rank = len(nodes)
    found = []
    for i, node in enumerate(nodes):
        along = tuple([size if j == i else 1 for j, size in enumerate(sizes)])
        grid = expanded(views.reshape.known(node, {"shape": along}, along), sizes)
        found.append(transpose(grid, 0, 1) if indexing == "xy" and rank > 1 else grid)
    return tuple(found)


@public("nt")
def cartesian_prod(*tensors: Node) -> Node:
    """Every choice of an element of each vector, a row each: the last one changes fastest.

    Raises:
        ShapeError: a tensor is no vector.

    >>> cartesian_prod(tensor([1, 2]), tensor([3, 4])).tolist()
    [[1, 3], [1, 4], [2, 3], [2, 4]]
    """
    nodes = _listed("cartesian_prod", tensors)
    for number, node in enumerate(nodes):
        if len(node.shape) != 1:
            problem = f"operand {number} is no vector"
            raise ShapeError(message("cartesian_prod", problem, describe(node)))
    if len(nodes) == 1:
        return nodes[0]
    grid = meshgrid(*nodes)
    return reshape(views.stack(grid, len(nodes)), (-1, len(nodes)))
