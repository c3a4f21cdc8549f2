"""Rows that are looked up in a table, and sums of them by bags: `tensor/tables.py` on nodes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import compare
from numbatorch.ops import index as indexing
from numbatorch.ops import scatter_reference as given
from numbatorch.ops.bags import sum_bags
from numbatorch.ops.composed import composed
from numbatorch.ops.create import iota
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduction import lowest
from numbatorch.ops.scattering import index_copy, scatter_reduce
from numbatorch.ops.selecting import flat
from numbatorch.ops.view import narrow, reshape
from numbatorch.ops.write_through import straight_through


def embedding(
    input: Node,
    weight: Node,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
) -> Node:
    """The public function on nodes: `max_norm` holds for what is read, as blocks need it."""
    _check_table("embedding", input, weight)
    pad = _padding("embedding", padding_idx, weight)
    packed = weight.dtype.kind == "q"
    value = history = (find("quant_take") if packed else indexing.take).apply(weight, input)
    if max_norm is not None:
        value = _at_most(value, max_norm, norm_type)
    if packed:
        return value
    if scale_grad_by_freq:
        times = _times(input, weight.shape[0])
        history = history / as_node(_beside(times), history.dtype, history.device)
    if pad is not None:
        history = compare.where.apply(_beside(compare.eq.apply(input, pad)), 0.0, history)
    return value if value is history else straight_through(history, value)


@composed(
    numpy=given.embedding_bag,
    sample=given.draw_bags,
    peer="torch.nn.functional.embedding_bag",
)
def embedding_bag(
    input: Node,
    weight: Node,
    offsets: Node | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: Literal["sum", "mean", "max"] = "mean",
    sparse: bool = False,
    per_sample_weights: Node | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Node:
    """The public function on nodes; `max_norm` as there."""
    _check_table("embedding_bag", input, weight)
    scaled = max_norm is not None or scale_grad_by_freq or per_sample_weights is not None
    if len(input.shape) == 2 and offsets is None and padding_idx is None and not scaled:
        if mode != "max" and weight.dtype in (dt.float32, dt.float64):
            return sum_bags.apply(weight, input, mean=mode == "mean")
    bags, bag = _bags(input, offsets, include_last_offset)
    places = flat(input)
    if per_sample_weights is not None:
        _check_factors(input, weight, per_sample_weights, mode)
    rows = embedding(places, weight, None, max_norm, norm_type, scale_grad_by_freq)
    pad = _padding("embedding_bag", padding_idx, weight)
    kept = None if pad is None else compare.ne.apply(places, pad)
    if mode == "max":
        return _largest(rows, bag, bags, kept)
    dtype, wide, where = rows.dtype, rows.dtype.compute, rows.device
    if mode == "mean" or per_sample_weights is not None:
        rows = as_node(rows, wide, where)
    if per_sample_weights is not None:
        rows = rows * _beside(flat(as_node(per_sample_weights, wide, where)))
    if kept is not None:
        rows = compare.where.apply(_beside(kept), rows, 0.0)
    zeros = const(0.0, rows.dtype, where, (bags, weight.shape[1]))
    total = indexing.index_add.apply(zeros, bag, rows)
    if mode == "mean":
        sizes = find("maximum").apply(_sizes(bag, bags, kept), 1)
        total = total / as_node(_beside(sizes), wide, where)
    return as_node(total, dtype, where)


def limited(operator: str, input: Node, weight: Node, largest: float, p: float) -> Node:
    """The table, whose rows that the input lists have a norm of `largest` at most."""
    _check_table(operator, input, weight)
    places = flat(input)
    rows = _at_most(indexing.take.apply(weight, places), largest, p)
    return index_copy(weight, 0, places, rows)


def _check_table(op: str, input: Node, weight: Node) -> None:
    about = (f"input {describe(input)}", f"weight {describe(weight)}")
    if len(weight.shape) != 2:
        raise ShapeError(message(op, "weight must be (V, C)", *about))
    if input.dtype.kind not in "iu":
        raise DTypeError(message(op, f"indices must be integers, not {input.dtype.name}", *about))


def _padding(op: str, padding_idx: int | None, weight: Node) -> int | None:
    size = weight.shape[0]
    if padding_idx is None:
        return None
    if not -size <= padding_idx < size:
        raise OutOfRange(message(op, f"padding_idx is {padding_idx}, not in [{-size}, {size})"))
    return padding_idx % size


def _beside(x: Node) -> Node:
    """(..., 1): one number for each row."""
    return reshape.apply(x, shape=(*x.shape, 1))


def _times(input: Node, rows: int) -> Node:
    """How often each number occurs in the input, at each of its places."""
    return indexing.take.apply(indexing.count_numbers.apply(flat(input), size=rows), input)


def _at_most(rows: Node, largest: float, p: float) -> Node:
    """Rows scaled down to a norm, in float32 for half types."""
    wide = as_node(rows, rows.dtype.compute, rows.device)
    last = (len(rows.shape) - 1,)
    size = find("abs").apply(wide)
    if np.isinf(p):
        norm = find("max").apply(size, dims=last)
    else:
        norm = find("sum").apply(size**p, dims=last) ** (1 / p)
    scaled = wide * (largest / (norm + 1e-7))
    return as_node(
        compare.where.apply(compare.gt.apply(norm, largest), scaled, wide), rows.dtype, rows.device
    )


def _bags(input: Node, offsets: Node | None, last: bool) -> tuple[int, Node]:
    """How many bags there are, and the bag of each element of the input."""
    if len(input.shape) == 2:
        if offsets is not None:
            raise ShapeError(message("embedding_bag", "offsets go with an input of one dimension"))
        B, N = input.shape
        return B, find("floor_divide").apply(iota(B * N, input.device), max(N, 1))
    if len(input.shape) != 1 or offsets is None or len(offsets.shape) != 1:
        problem = "input must be (B, N), or (L,) with offsets (B,)"
        about = [describe(x) for x in (input, offsets) if x is not None]
        raise ShapeError(message("embedding_bag", problem, *about))
    if offsets.dtype.kind not in "iu":
        raise DTypeError(
            message("embedding_bag", f"offsets must be integers, not {offsets.dtype.name}")
        )
    bags = offsets.shape[0] - int(last)
    if bags < 0:
        problem = "include_last_offset needs an offset"
        raise ShapeError(message("embedding_bag", problem, f"offsets {describe(offsets)}"))
    begins = as_node(narrow(offsets, 0, 0, bags), dt.int64, input.device)
    begins = indexing.take.apply(iota(input.shape[0] + 1, input.device), begins)  # none beyond it
    lines, places = (
        reshape.apply(x, shape=(1, x.shape[0]))
        for x in (begins, iota(input.shape[0], input.device))
    )
    found = find("search_rows").apply(lines, places, right=True)
    return bags, flat(found) - 1


def _check_factors(input: Node, weight: Node, factors: Node, mode: str) -> None:
    about = (f"input {describe(input)}", f"per_sample_weights {describe(factors)}")
    if mode != "sum":
        problem = f"per_sample_weights go with mode sum, not {mode}"
        raise ValueError(message("embedding_bag", problem, *about))
    if factors.shape != input.shape:
        raise ShapeError(message("embedding_bag", "one weight for each element", *about))
    if factors.dtype is not weight.dtype:
        raise DTypeError(message("embedding_bag", "weights of another dtype than rows", *about))


def _sizes(bag: Node, bags: int, kept: Node | None) -> Node:
    """How many elements each bag has: (bags,) int64."""
    held = bag if kept is None else compare.where.apply(kept, bag, -1)
    return indexing.count_numbers.apply(held, size=bags)


def _largest(rows: Node, bag: Node, bags: int, kept: Node | None) -> Node:
    """The largest elements of the rows of each bag, 0 of none."""
    low = lowest(rows.dtype)
    base = const(low, rows.dtype, rows.device, (bags, rows.shape[1]))
    if kept is not None:
        rows = compare.where.apply(_beside(kept), rows, low)
    index = expanded(_beside(bag), rows.shape)
    found = scatter_reduce(base, 0, index, rows, "amax")
    empty = compare.eq.apply(_sizes(bag, bags, kept), 0)
    return compare.where.apply(_beside(empty), 0.0, found)
