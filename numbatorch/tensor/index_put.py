"""The public function index_put: index assignment that gives a value, and can add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import scatter_reference as given
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import describe
from numbatorch.ops.scattering import or_rows
from numbatorch.ops.surface import public
from numbatorch.tensor.index import fit, normalized_node, put_at_picks, read_items


def _at_places(function: Any, operands: tuple[Node, ...], attrs: dict[str, Any]) -> Any:
    """A call of index_put with one index for each dimension."""
    return function(operands[0], operands[1:-1], operands[-1], **attrs)


@composed(numpy=given.index_put, sample=given.draw_placed, dtypes=dt.PLAIN, call=_at_places)
@public()
def index_put(
    input: Node,
    indices: Sequence[Node | None],
    values: Node,
    accumulate: bool = False,
) -> Node:
    """input with `values`, broadcast, at input[indices]; of equal places the last counts.

    Args:
        indices: tensors of integers, or masks, for the leading dimensions; None takes one whole.
        accumulate: add instead.
    Raises:
        DTypeError: the values have another dtype.

    >>> from numbatorch import tensor
    >>> index_put(tensor([1, 1, 1]), (tensor([2, 0]),), tensor([5, 7])).tolist()
    [7, 1, 5]
    """
    if values.dtype is not input.dtype:
        about = (f"input {describe(input)}", f"values {describe(values)}")
        raise DTypeError(message("index_put", "the values have another dtype", *about))
    chosen = read_items(input, [_indexing(index) for index in indices])
    if not chosen.picks:
        return fit(values, input.shape)
    write = None
    if accumulate:
        write = or_rows if input.dtype is dt.bool_ else find("index_add").apply
    return put_at_picks(input, chosen, values, write, "index_put")


def _indexing(index: Node | None) -> Any:
    """One item of `index_put`: a slice for None."""
    if index is None:
        return slice(None)
    found = normalized_node(index)
    return np.asarray(found) if isinstance(found, int) else found
