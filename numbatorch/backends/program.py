"""A plan made ready for a device: memory is bound, words are patched, launches run, checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from numbatorch.backends.arguments import Arguments
from numbatorch.backends.memory import PAGE, Buffer, Pool
from numbatorch.backends.outcome import Outcome
from numbatorch.backends.reference import evaluate, memory_for
from numbatorch.backends.reference import operands as rows_of
from numbatorch.backends.watched import is_watched, run_watched
from numbatorch.errors import KernelError, OutOfMemory, message
from numbatorch.graph import Node
from numbatorch.ops.lowering import Operand
from numbatorch.ops.operands import shown_result
from numbatorch.passes.memory import Memory
from numbatorch.passes.plan import Plan
from numbatorch.shape import numel
from numbatorch.variable import NO_VALUES, Values

Array = np.ndarray[Any, Any]


class Frame:
    """What one run of a program has for itself. No two runs share one while they last.

    Attributes:
        words: the argument blocks of all launches.
        bases: address of each memory of the plan, in the plan's order.
        zeroed: memory that is kept from run to run, by the plan's memory.
        leaves: addresses that stand in `bases`.
        values: of the variables in this run.
        lies: the buffer of each memory, while the run is watched or on the host.
        unasked: whether an exception left statuses that nobody has asked for or cleared.
    """

    def __init__(self, program: Program[Any]) -> None:
        plan, number = program.plan, program.arguments.number
        self.words = program.arguments.words.copy()
        self.bases = np.zeros(len(plan.memories), np.int64)
        self.zeroed: dict[Memory, Buffer] = {}
        self.leaves: list[int] = []
        self.values: Values = NO_VALUES
        self.lies: dict[Memory, Buffer] = {}
        self.unasked = False
        for memory in plan.memories:
            if memory.kind == "zeroed":
                buffer = self.zeroed[memory] = program.allocate_state(memory)
                program.clear(buffer)
                self.bases[number[memory]] = buffer.address
        self.status = self.zeroed[plan.memories[0]]


AnyFrame = TypeVar("AnyFrame", bound=Frame)


class Program(Generic[AnyFrame]):
    """One plan with its argument blocks; `run` binds memory and walks it.

    A run may begin while another one lasts: in another thread, or in a finalizer or a handler of a
    signal that comes in between. So what a run changes is a frame, which it takes and gives back. A
    device's own program says how launches run and how memory is read.

    Attributes:
        device: its name, for people.
        leaf_order: the number, among the realized nodes of the graph, of each leaf of the plan.
    """

    device = "cpu"

    def __init__(self, plan: Plan, pool: Pool, float_word: Callable[[float], int]) -> None:
        self.plan = plan
        self.pool = pool
        self.arguments = Arguments(plan, float_word)
        self.leaf_order: list[int] = []
        self.frames: list[AnyFrame] = []
        number = self.arguments.number
        leaves = sorted((m for m in plan.memories if m.kind == "leaf"), key=lambda m: m.index)
        self._leaf_memories = leaves
        self._leaf_numbers = np.array([number[m] for m in leaves], np.int64)
        self._output_memories = [m for m in plan.memories if m.kind == "output"]
        temporaries = [m for m in plan.memories if m.kind == "temporary"]
        self._temporary_numbers = np.array([number[m] for m in temporaries], np.int64)
        self._temporary_offsets = np.array([m.offset for m in temporaries], np.int64)

    def frame(self) -> AnyFrame:
        """A frame that no run has."""
        raise NotImplementedError

    def allocate_state(self, memory: Memory) -> Buffer:
        """Memory that launches share and that a frame keeps."""
        try:
            return self.pool.allocate(memory.nbytes)
        except OutOfMemory as err:
            launches = self.plan.launches
            users = [x.spec.name for x in launches if any(m is memory for m in x.writes)]
            users += [x.spec.name for x in launches]  # of what all share, such as a status
            raise err.within(users[0] if users else "plan") from err

    def clear(self, buffer: Buffer) -> None:
        """Fill a buffer with zeros."""
        raise NotImplementedError

    def read(self, buffer: Buffer, nbytes: int, offset: int = 0) -> Array:
        """Bytes of a buffer after all launches so far; may share its memory."""
        raise NotImplementedError

    def write(self, buffer: Buffer, data: Array, offset: int = 0) -> None:
        """Put bytes into a buffer after all launches so far; they may change when this returns."""
        raise NotImplementedError

    def walk(
        self, frame: AnyFrame, first: int, last: int, held: Sequence[Buffer], outcome: Outcome
    ) -> None:
        """Run launches `first` to `last`; the outcome becomes final when they are made.

        Args:
            held: the memory that they touch, but for what the frame keeps.
        """
        raise NotImplementedError

    def step(self, frame: AnyFrame, row: int, held: Sequence[Buffer]) -> None:
        """Run one launch, which is over when this returns; for the debug tools."""
        self.walk(frame, row, row + 1, held, Outcome())

    def run(self, leaves: Sequence[Buffer], outcome: Outcome, values: Values = NO_VALUES) -> None:
        """Run once.

        Args:
            leaves: where the plan's leaves lie, in the plan's order.
            outcome: filled; if it is final when an exception comes, the buffers are the results.
            values: of the plan's variables.
        """
        self.with_frame(self._run, leaves, outcome, values)

    def with_frame(self, run: Callable[..., None], *args: Any) -> None:
        """`run(frame, *args)` with a frame that no other run has."""
        frame = self.taken()
        try:
            run(frame, *args)
        except BaseException:
            frame.unasked = True
            raise
        finally:
            self.frames.append(frame)

    def taken(self) -> AnyFrame:
        """A frame that no run has, its statuses clear; whoever takes it puts it back."""
        try:
            frame = self.frames.pop()
        except IndexError:
            return self.frame()
        if frame.unasked:
            try:
                self.clear(frame.status)
            except BaseException:
                self.frames.append(frame)
                raise
            frame.unasked = False
        return frame

    def _run(
        self, frame: AnyFrame, leaves: Sequence[Buffer], outcome: Outcome, values: Values
    ) -> None:
        try:
            held = self._bind(frame, leaves)
        except OutOfMemory as err:
            raise self._named(err) from err
        frame.values = values
        self.arguments.patch(frame.words, frame.bases, values)
        found = {m: held[i] for i, m in enumerate(self._output_memories)}
        outcome.buffers = [
            found[m] if m.kind == "output" else leaves[m.index] for m in self.plan.outputs
        ]
        if is_watched():
            frame.lies = self._where_all_lies(frame, held)
            run_watched(self, frame, lambda row: self._run_row(frame, row, held))
            frame.lies = {}
            self.check_status(frame)
        else:
            self._walk_all(frame, held, outcome)
        outcome.final = True

    def _bind(self, frame: AnyFrame, leaves: Sequence[Buffer]) -> list[Buffer]:
        """Give every memory of the plan an address; returns outputs, the arena and leaves."""
        bases, number = frame.bases, self.arguments.number
        addresses = [leaf.address for leaf in leaves]
        if addresses != frame.leaves:
            bases[self._leaf_numbers] = addresses
            frame.leaves = addresses
        held = []
        for memory in self._output_memories:
            held.append(self.pool.allocate(memory.nbytes))
            bases[number[memory]] = held[-1].address
        if self.plan.arena:
            arena = self.pool.allocate(self.plan.arena)
            bases[self._temporary_numbers] = arena.address + self._temporary_offsets
            held.append(arena)
        held += leaves
        return held

    def _named(self, error: OutOfMemory) -> OutOfMemory:
        """The error with the operator whose result is the largest of what did not fit."""
        beyond = error.requested - self.plan.arena  # sizes are rounded up
        kind = "temporary" if self.plan.arena and 0 <= beyond < PAGE else "output"
        some = {node: m.nbytes for node, m in self.plan.where.items() if m.kind == kind}
        fitting = [node for node, nbytes in some.items() if nbytes <= error.requested]
        if not fitting:
            return error.within("plan")
        node = max(fitting, key=lambda node: some[node])
        name, out = shown_result(node)
        return error.within(name, out, *rows_of(node))

    def value(self, frame: AnyFrame, node: Node) -> Array:
        """A copy of the elements of a node as they now lie in memory; for the debug tools."""
        memory = self.plan.where[node]
        buffer = frame.lies[memory]
        return as_elements(self.read(buffer, memory.nbytes, memory.offset).copy(), node)

    def _where_all_lies(self, frame: AnyFrame, held: Sequence[Buffer]) -> dict[Memory, Buffer]:
        """The buffer of each memory, by what `_bind` returned."""
        rest = iter(held)
        found = {memory: next(rest) for memory in self._output_memories}
        if self.plan.arena:
            arena = next(rest)
            found |= {m: arena for m in self.plan.memories if m.kind == "temporary"}
        found |= {memory: next(rest) for memory in self._leaf_memories}
        return found | frame.zeroed

    def _walk_all(self, frame: AnyFrame, held: Sequence[Buffer], outcome: Outcome) -> None:
        """What can fail runs, and is asked, before memory is overwritten."""
        first, count = self.plan.checkpoint, len(self.plan.launches)
        done = 0
        for row in self.plan.host_steps:
            if done < row:
                self.walk(frame, done, row, held, Outcome())
                self.check_status(frame)  # an index out of range left values undefined
            self._run_on_host(frame, row, held)
            done = row + 1
        if done < first:
            self.walk(frame, done, first, held, Outcome())
            self.check_status(frame)
        if first < count:
            self.walk(frame, first, count, held, outcome)

    def _run_row(self, frame: AnyFrame, row: int, held: Sequence[Buffer]) -> None:
        if row == self.plan.checkpoint or row in self.plan.host_steps:
            self.check_status(frame)
        if row in self.plan.host_steps:
            self._run_on_host(frame, row, held)
        else:
            self.step(frame, row, held)

    def _run_on_host(self, frame: AnyFrame, row: int, held: Sequence[Buffer]) -> None:
        """Call the NumPy function of a launch, between copies from the device and to it."""
        step = self.plan.launches[row].spec
        lies = self._where_all_lies(frame, held)

        def place(operand: Operand) -> tuple[Buffer, int]:
            memory, elements = operand.buffer, operand.layout.offset // operand.dtype.block
            return lies[memory], memory.offset + elements * operand.dtype.itemsize

        operands = []
        for operand, node in zip(step.operands, step.node.inputs, strict=True):
            nbytes, data = operand.dtype.nbytes(numel(operand.shape)), np.empty(0, np.uint8)
            if nbytes:  # what is empty lies nowhere
                buffer, offset = place(operand)
                data = self.read(buffer, nbytes, offset)
            operands.append(as_elements(data, node))
            operands[-1].flags.writeable = False
        with memory_for(step.node):
            found = evaluate(step.node, operands, frame.values)
        outputs = found if isinstance(found, tuple) else (found,)
        for out, array in zip(step.outs, outputs, strict=True):
            if array.shape != out.shape:
                problem = f"gives shape {array.shape} where its rule says {out.shape}"
                raise KernelError(message(step.name, problem, f"source {step.path()}"))
            if array.size:
                buffer, offset = place(out)
                self.write(buffer, np.ascontiguousarray(array).reshape(-1).view(np.uint8), offset)

    @property
    def where(self) -> dict[Node, Any]:
        """The memory of each node of the plan."""
        return self.plan.where

    def check_status(self, frame: AnyFrame) -> None:
        """Raise if a launch of the run found something wrong."""
        if not self.plan.statuses:
            return
        words = self.read(frame.status, 16 * len(self.plan.statuses)).view(np.int64)
        if not words.any():
            return
        for status in self.plan.statuses:
            if words[status.position]:
                raise status.raised(int(words[status.position + 1]))


def as_elements(data: Array, node: Node) -> Array:
    """Bytes as the elements of a node; those of block types stay bytes."""
    if node.dtype.kind == "q" and not node.dtype.is_storage:
        return data.reshape(*node.shape[:-1], node.dtype.nbytes(node.shape[-1]))
    return (
        data[: node.dtype.nbytes(int(np.prod(node.shape)))]
        .view(node.dtype.numpy)
        .reshape(node.shape)
    )
