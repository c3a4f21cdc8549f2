"""Tensors and plans as HTML, which notebooks show in place of text. Everything is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from numbatorch.graph import Node
from numbatorch.tensor import printing
from numbatorch.tensor.base import host_array, is_leaf

LONGEST = 12  # a longer dimension shows its ends
EDGE = 5
MORE = "\u22ef"


def tensor_html(node: Node) -> str:
    """Shape, dtype, device and values; realizes the node.

    One or two dimensions are a table, of which long ones show their ends; the rest is as in text.
    """
    words = [f"Tensor {node.shape} {node.dtype.name} on {node.device}"]
    if node.requires_grad:
        words.append("requires grad" if is_leaf(node) else f"gradient by {node.op.name}")
    caption = ", ".join(words)
    if node.dtype.kind == "q" or len(node.shape) not in (1, 2) or 0 in node.shape:
        return f"<div>{escape(caption)}<pre>{escape(printing.text(node))}</pre></div>"
    matrix = printing.printable(host_array(node)).reshape(-1, node.shape[-1])
    rows, columns = (_ends(size) for size in matrix.shape)
    ends = matrix[np.ix_(rows, columns)]
    one, _ = printing.formatter(ends)
    names = [str(row) for row in rows] if len(node.shape) == 2 else [""]
    cells = [
        [name, *(one(value).strip() for value in row)]
        for name, row in zip(names, ends.tolist(), strict=True)
    ]
    if len(rows) < matrix.shape[0]:
        cells.insert(EDGE, [MORE] * (1 + len(columns)))
    header = ["", *map(str, columns)]
    if len(columns) < matrix.shape[1]:
        for line in (header, *cells):
            line.insert(1 + EDGE, MORE)
    return table(caption, header, cells)


def table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "right"
) -> str:
    """A table of texts, with styles of its own and no colours, for any theme."""
    cell = f'style="text-align:{align};padding:0 0.6em;font-family:monospace;white-space:nowrap"'
    head = "".join(f"<th {cell}>{escape(text)}</th>" for text in header)
    body = (
        "<tr>" + "".join(f"<td {cell}>{escape(text)}</td>" for text in row) + "</tr>"
        for row in rows
    )
    return (
        f'<table><caption style="text-align:left">{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _ends(size: int) -> list[int]:
    """The indices that are shown of a dimension."""
    if size <= LONGEST:
        return [*range(size)]
    return [*range(EDGE), *range(size - EDGE, size)]
