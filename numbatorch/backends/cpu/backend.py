"""Device "cpu": plans are walked by a team of threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch.backends.cpu import threads
from numbatorch.backends.cpu.again import KnownGraphs
from numbatorch.backends.cpu.memory import POOL, ZEROED, array_of, copied, wrap
from numbatorch.backends.cpu.program import CPUProgram
from numbatorch.backends.cpu.small import SmallGraphs
from numbatorch.backends.memory import Buffer
from numbatorch.backends.planned import Array, PlanBackend, placeholder_graph
from numbatorch.backends.program import Program
from numbatorch.backends.watched import is_watched
from numbatorch.debugging import thread_flags
from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.layout import Layout
from numbatorch.ops.operands import settle
from numbatorch.passes.plan import Plan
from numbatorch.shape import Shape, numel
from numbatorch.variable import FloatVariable

_FLAGS = thread_flags()


class CPUBackend(PlanBackend):
    """Buffers lie in host memory; block types are bytes, one row of blocks a row."""

    target = "cpu"
    sharing = threads.sharing

    def __init__(self) -> None:
        super().__init__()
        self._small = SmallGraphs(self._make_small)
        self._graphs = KnownGraphs()

    def realize_small(self, root: Node, known: bool = False) -> bool:
        """Compute a small elementwise graph, or with the lock of runs one that is known.

        False, and nothing done, for any other.
        """
        if is_watched():
            return False
        parts = self.sharing.parts or self.parts()
        buffer = self._small.buffer(root, parts, _FLAGS.fuse, not known)
        if buffer is None:
            return not known and self._graphs.run(root, (parts, _FLAGS.fuse))
        if root.buffer is None:
            root.buffer = buffer  # at once: another thread may have computed it too
            settle(root, buffer)
        return True

    def forget_programs(self) -> None:
        """Plan every graph anew, small ones too."""
        super().forget_programs()
        self._small.clear()
        self._graphs.clear()

    def note(self, roots: Sequence[Node], leaves: Sequence[Node], program: Program[Any]) -> None:
        """The next time the graph is known."""
        assert isinstance(program, CPUProgram)
        self._graphs.note(roots, leaves, program)

    def _make_small(
        self, order: list[Node], root: Node, leaves: set[Node], constants: list[Node]
    ) -> CPUProgram:
        copies, placeholders = placeholder_graph(order, leaves)
        for i, node in enumerate(constants):
            copies[node].attrs = {"value": FloatVariable(str(i), [node.attrs["value"]])}
        program = self._make((copies, placeholders), [root], frozenset())
        assert isinstance(program, CPUProgram)
        return program

    def parts(self) -> int:
        """Threads of the team."""
        return threads.num_threads()

    def program(self, plan: Plan) -> CPUProgram:
        """The plan with its kernels compiled."""
        return CPUProgram(plan)

    def from_numpy(self, array: Array, dtype: DType) -> Buffer:
        """A buffer over the array's memory, or over a row-major copy of it."""
        return wrap(np.ascontiguousarray(array))

    def zeros(self, shape: Shape, dtype: DType) -> Buffer:
        """A buffer of zeros, whose pages take memory once they are written to."""
        return ZEROED.allocate(dtype.nbytes(numel(shape)))

    def to_numpy(self, buffer: Buffer, node: Node) -> Array:
        """A read-only array over the buffer's memory, which it keeps alive."""
        return array_of(buffer, node)

    def view_to_numpy(self, buffer: Buffer, dtype: DType, layout: Layout) -> Array:
        """A copy of the elements of a buffer that a layout names, which are some."""
        return copied(buffer, dtype, layout)

    def copy(self, buffer: Buffer) -> Buffer:
        """A buffer of the pool with the same bytes."""
        fresh = POOL.allocate(buffer.nbytes)
        ctypes.memmove(fresh.address, buffer.address, buffer.nbytes)
        return fresh

    def empty_cache(self) -> None:
        """Memory that waits goes back."""
        POOL.clear()
