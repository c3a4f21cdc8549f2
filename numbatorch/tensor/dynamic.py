"""Results whose shape depends on values: find them all, read how many, take that many.

A compiled function, whose plan has fixed shapes, refuses them.
"""

from __future__ import annotations

from typing import Any

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.create import iota
from numbatorch.ops.operands import const, describe, expanded, refuse_of_example
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat, narrow, reshape, stack
from numbatorch.shape import Shape, broadcast, contiguous_strides, numel
from numbatorch.tensor.base import Array, host_array, is_tracing


def counted(operator: str, count: Node, *found: Node) -> list[Node]:
    """The first `count` rows of each node: reads the count."""
    refuse_traced(operator, found[0])
    size = int(host_array(count, operator))
    return [narrow(node, 0, 0, size) for node in found]


def mask_on_host(mask: Node) -> Array:
    """The elements of a mask among other indices, of which the host makes positions."""
    refuse_traced("indexing", mask)
    return host_array(mask, "indexing")


def refuse_traced(operator: str, node: Node) -> None:
    """Raise ShapeError where the shape of a result would be part of a trace."""
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
    refuse_of_example(operator, mask)
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
    found = _along_each(flat, input.shape)
    if as_tuple:
        return tuple(found) if found else (flat,)
    if not found:
        return const(0, dt.int64, input.device, (*flat.shape, 0))
    return stack(found, 1)


def _along_each(flat: Node, shape: Shape) -> list[Node]:
    """Row-major positions in a shape as positions along each dimension.

    A remainder is what is left of the quotients of two neighbours: a division for each is enough.
    """
    found: list[Node] = []
    outer: Node | None = None
    for size, stride in zip(shape, contiguous_strides(shape), strict=True):
        along = flat if stride == 1 else find("floor_divide").apply(flat, stride)
        found.append(along if outer is None else along - outer * size)
        outer = along
    return found


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
def nonzero_static(input: Node, *, size: int, fill_value: int = -1) -> Node:
    """The first `size` positions of elements that are not zero, then `fill_value`.

    Its shape does not depend on values, so a compiled function takes it.

    Returns:
        int64 (size, rank).
    Raises:
        OutOfRange: `size` is negative.

    >>> from numbatorch import tensor
    >>> nonzero_static(tensor([0, 3, 5]), size=3).tolist()
    [[1], [2], [-1]]
    """
    if size < 0:
        raise OutOfRange(message("nonzero_static", f"size is {size}, not 0 or more"))
    mask = input if input.dtype is dt.bool_ else find("ne").apply(input, 0)
    compact: Any = find("compact")
    flat, count = compact.parts(reshape.apply(mask, shape=(numel(mask.shape),)))
    taken = min(size, flat.shape[0])
    flat = cat([narrow(flat, 0, 0, taken), const(0, dt.int64, input.device, (size - taken,))])
    there = find("lt").apply(iota(size, input.device), count)
    found = [
        find("where").apply(there, along, fill_value) for along in _along_each(flat, input.shape)
    ]
    return stack(found, 1) if found else const(0, dt.int64, input.device, (size, 0))


@public()
def masked_select(input: Node, mask: Node) -> Node:
    """The elements where the mask is True, in one dimension; both are broadcast together.

    >>> from numbatorch import tensor
    >>> masked_select(tensor([1, 2, 3]), tensor([True, False, True])).tolist()
    [1, 3]
    """
    shape = broadcast("masked_select", input.shape, mask.shape)
    return selected("masked_select", expanded(input, shape), expanded(mask, shape))
