"""Results whose shape depends on values: find them all, read how many, take that many.

A compiled function, whose plan has fixed shapes, refuses them.
"""

from __future__ import annotations

from typing import Any

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.operands import const, describe, expanded
from numbatorch.ops.surface import public
from numbatorch.ops.view import narrow, permute, reshape, stack
from numbatorch.shape import Shape, broadcast, contiguous_strides, normalize_dim, numel
from numbatorch.tensor.base import Array, host_array, is_tracing


def counted(operator: str, count: Node, *found: Node) -> list[Node]:
    """The first `count` rows of each node: reads the count."""
    _refuse_traced(operator, found[0])
    size = int(host_array(count))
    return [narrow(node, 0, 0, size) for node in found]


def mask_on_host(mask: Node) -> Array:
    """The elements of a mask among other indices, of which the host makes positions."""
    _refuse_traced("index", mask)
    return host_array(mask)


def _refuse_traced(operator: str, node: Node) -> None:
    if is_tracing():
        raise ShapeError(
            message(
                "compile",
                f"the shape of {operator}'s result depends on values, which change between calls",
                describe(node),
                hint="where(mask, x, other) has a fixed shape; or call it outside of the function",
            )
        )


def positions(operator: str, mask: Node) -> Node:
    """The row-major positions of True in a mask of any shape: int64, in order."""
    if mask.dtype is not dt.bool_:
        raise DTypeError(message(operator, "the mask must be bool", f"mask {describe(mask)}"))
    flat = reshape.apply(mask, shape=(numel(mask.shape),))
    import_module("numbatorch.ops.compact")
    from numbatorch.ops.compact import compact  # indexing imports this file, and not that one

    found, count = compact.parts(flat)
    return counted(operator, count, found)[0]


def selected(operator: str, x: Node, mask: Node) -> Node:
    """x[mask], where the mask covers the leading dimensions of x: (n, ...)."""
    kept = x.shape[len(mask.shape) :]
    rows = reshape.apply(x, shape=(numel(mask.shape), *kept))
    return find("take").apply(rows, positions(operator, mask))


@public()
def nonzero(input: Node, *, as_tuple: bool = False) -> Any:
    """The positions of elements that are not zero, in row-major order.

    Args:
        as_tuple: give an int64 tensor (n,) for each dimension.
    Returns:
        int64 (n, rank) unless `as_tuple`.

    >>> from numbatorch import tensor
    >>> nonzero(tensor([[0, 3], [5, 0]])).tolist()
    [[0, 1], [1, 0]]
    """
    mask = input if input.dtype is dt.bool_ else find("ne").apply(input, 0)
    flat = positions("nonzero", mask)
    found = []
    for size, stride in zip(input.shape, contiguous_strides(input.shape), strict=True):
        along = find("floor_divide").apply(flat, stride)
        found.append(find("remainder").apply(along, size))
    if as_tuple:
        return tuple(found) if found else (flat,)
    if not found:
        return const(0, dt.int64, input.device, (*flat.shape, 0))
    return stack(found, 1)


@public()
def argwhere(input: Node) -> Node:
    """The positions of elements that are not zero: int64 (n, rank).

    >>> from numbatorch import tensor
    >>> argwhere(tensor([0, 3, 5])).tolist()
    [[1], [2]]
    """
    found: Node = nonzero(input)
    return found


@public()
def masked_select(input: Node, mask: Node) -> Node:
    """The elements where the mask is True, in one dimension; both are broadcast together.

    >>> from numbatorch import tensor
    >>> masked_select(tensor([1, 2, 3]), tensor([True, False, True])).tolist()
    [1, 3]
    """
    shape = broadcast("masked_select", input.shape, mask.shape)
    return selected("masked_select", expanded(input, shape), expanded(mask, shape))


@public()
def unique(
    input: Node,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements in ascending order; each NaN is distinct from all others.

    Args:
        sorted: the order is ascending in any case.
        return_inverse: give for each element of the input the position of its like, too.
        return_counts: give how often each occurs, too.
        dim: look for distinct slices along this dimension, ordered by their elements.
    Returns:
        (n,), or slices along `dim`; with what was asked for a tuple, inverse before counts, both
        int64. No gradient flows.

    >>> from numbatorch import tensor
    >>> [part.tolist() for part in unique(tensor([3, 1, 3]), return_counts=True)]
    [[1, 3], [1, 2]]
    """
    order: Shape = ()
    kept: Shape = ()
    if dim is None:
        rows, whole = reshape.apply(input, shape=(numel(input.shape),)), input.shape
    else:
        axis = normalize_dim("unique", dim, len(input.shape))
        order = (axis, *(i for i in range(len(input.shape)) if i != axis))
        turned = permute.apply(input, dims=order)
        whole, kept = turned.shape[:1], turned.shape[1:]
        rows = reshape.apply(turned, shape=(*whole, numel(kept)))
    import_module("numbatorch.ops.compact")
    from numbatorch.ops.compact import unique_rows

    found, inverse, counts, count = unique_rows.parts(rows)
    found, counts = counted("unique", count, found, counts)
    if dim is not None:
        found = reshape.apply(found, shape=(*found.shape[:1], *kept))
        back = tuple(order.index(i) for i in range(len(order)))
        found = permute.apply(found, dims=back)
    asked = [found]
    if return_inverse:
        asked.append(reshape.apply(inverse, shape=whole))
    if return_counts:
        asked.append(counts)
    return found if len(asked) == 1 else tuple(asked)
