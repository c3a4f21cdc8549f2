"""Copies that exchange two dimensions have a kernel of the CPU that is written by hand."""

from __future__ import annotations

from typing import Any

from numbatorch.apart import import_module
from numbatorch.language.kernel import BoundKernel
from numbatorch.passes.emit_program import Program
from numbatorch.passes.groups import Load

SHORT = 16  # elements of a dimension from which squares of it pay


def transposing(program: Program) -> tuple[BoundKernel, list[Any]] | None:
    """The kernel and its arguments where a program only copies, along another dimension.

    That is one whose rows are consecutive, and another dimension of what is read is.
    """
    sizes = program.sizes
    rank = len(sizes)
    if not 2 <= rank <= 4 or sizes[-1] < SHORT or len(program.writes) != 1:
        return None
    (root,), (write,) = program.roots, program.writes
    read = program.reads.get(id(root)) if isinstance(root, Load) else None
    if read is None or read.iota or read is write or read.words != 1 or write.kind != "c":
        return None
    assert isinstance(root, Load)
    if root.dtype is not root.node.dtype or read.dtype is not write.dtype:
        return None  # bytes read as another dtype may be no values of it
    dim = next((i for i, step in enumerate(read.strides[:-1]) if abs(step) == 1), None)
    if dim is None or sizes[dim] < SHORT or abs(read.strides[-1]) < SHORT:
        return None
    import_module("numbatorch.ops.cpu.transposed")
    from numbatorch.ops.cpu.transposed import BITS, transposed

    out, x, row = write.operand, read.operand, write.strides[dim]
    if read.strides[dim] < 0:  # the last row first
        last = sizes[dim] - 1
        out, x, row = _moved(out, last * row), _moved(x, -last), -row
    others = [i for i in range(rank - 1) if i != dim]
    images = [sizes[i] for i in others]
    steps = [[access.strides[i] for i in others] for access in (write, read)]
    for missing in (*steps, images):
        missing[:0] = [int(missing is images)] * (2 - len(others))
    kernel = transposed(T=BITS[write.dtype.itemsize])
    sides = [sizes[dim], sizes[-1]]
    return kernel, [out, x, *images, *sides, *steps[0], row, *steps[1], read.strides[-1]]


def _moved(operand: Any, distance: int) -> Any:
    layout = operand.layout
    return operand._replace(layout=layout._replace(offset=layout.offset + distance))
