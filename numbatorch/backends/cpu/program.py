"""A plan made ready for the CPU: kernel addresses, argument blocks, barriers."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from numbatorch.backends.arguments import float64_word
from numbatorch.backends.cpu import native, pack, threads
from numbatorch.backends.cpu.direct import Way
from numbatorch.backends.cpu.loop import BARRIER, ROW, ROW_BITS, SERIAL, WORK
from numbatorch.backends.cpu.memory import POOL
from numbatorch.backends.cpu.native import DONE
from numbatorch.backends.memory import Buffer
from numbatorch.backends.outcome import Outcome, Stale
from numbatorch.backends.program import Array, Frame, Program
from numbatorch.backends.watched import is_watched
from numbatorch.errors import OutOfMemory
from numbatorch.passes.memory import Memory, overlap
from numbatorch.passes.plan import EPILOGUE, HostStep, Launch, Plan
from numbatorch.variable import Values

MOST_WORK = 1 << 62  # a row holds int64, and more than this would leave it


class CPUFrame(Frame):
    """With the rows that the loop walks, and what a call of compiled code reads.

    The loop notes in the rows how long that takes (`loop.ROW`).

    Attributes:
        headers: addresses of what is passed for the launches that can fail, for the rest, and for
            all at once.
    """

    def __init__(self, program: CPUProgram) -> None:
        super().__init__(program)
        base = self.words.__array_interface__["data"][0]
        for word, start in program.nested:
            self.words[word] = base + 8 * start
        self.rows = program.rows.copy()
        self.rows[:, 1] = base + 8 * self.rows[:, 1]
        self._moves = program.way.moves(self.words, self.zeroed)
        self._headers = program.way.headers(self._moves, self.rows, self.status)
        first, step = int(self._headers.ctypes.data), self._headers.strides[0]
        self.headers = first, first + step, first + 2 * step
        self._team: threads.Team | None = None

    def on_team(self, team: threads.Team) -> int:
        """What is passed for all launches at once on a team."""
        if team is not self._team:
            self._headers[2, native.TEAM] = team.function
            self._headers[2, native.STATE] = team.block
            self._team = team
        return self.headers[2]


class CPUProgram(Program[CPUFrame]):
    """An array of (function, argument block, flags) that a compiled loop walks on the team.

    Attributes:
        rows: of a frame, with the number of its first word in place of a block's address.
        nested: words that point to an argument block, and the number of its first word.
        results: of each, whether a run allocates it, and its number among that or among leaves.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, POOL, float64_word)
        self.parts = plan.parts
        self.nested: list[tuple[int, int]] = []
        launches = [x for x in plan.launches if not isinstance(x.spec, HostStep)]
        specs = [launch.spec for launch in launches]
        specs += [launch.epilogue.spec for launch in launches if launch.epilogue]
        self._addresses = pack.addresses(specs) if specs else {}
        starts = {launch: self._block(launch) for launch in launches}
        self.arguments.finish()
        assert len(plan.launches) < 1 << ROW_BITS
        self.rows = np.zeros((len(plan.launches), ROW), np.int64)
        for row, launch, flags in zip(self.rows, plan.launches, self._flags(), strict=True):
            if launch in starts:
                address = self._addresses[launch.spec.key]
                row[: WORK + 1] = address, starts[launch], flags, min(int(launch.work), MOST_WORK)

        self.way = Way(plan, self.arguments)
        self.run_native = None if plan.host_steps else native.runner()
        arena = [plan.arena] if plan.arena else []
        self._sizes = [memory.nbytes for memory in self._output_memories] + arena
        self.results = [
            (m.kind == "output", self._output_memories.index(m) if m.kind == "output" else m.index)
            for m in plan.outputs
        ]

    def frame(self) -> CPUFrame:
        """A frame that no run has."""
        return CPUFrame(self)

    def _run(
        self, frame: CPUFrame, leaves: Sequence[Buffer], outcome: Outcome, values: Values
    ) -> None:
        """By the short way, unless a debug tool watches."""
        run = self.run_native
        if run is None or is_watched():
            super()._run(frame, leaves, outcome, values)
            return
        made = [self.memory(i) for i in range(len(self._sizes))]
        words = [leaf.address for leaf in leaves]
        words += [buffer.address for buffer in made]
        words += self.way.numbers(values)
        outcome.buffers = [made[i] if new else leaves[i] for new, i in self.results]
        self.call(frame, words, [*made, *leaves], outcome)

    def call(
        self, frame: CPUFrame, words: list[int], held: Sequence[Buffer], outcome: Outcome
    ) -> None:
        """Patch and run, given the addresses and numbers of a run."""
        run, way = self.run_native, self.way
        assert run is not None
        first, last, _all = frame.headers
        if not way.short and not self.plan.checkpoint:
            with threads.lock:
                header = frame.on_team(threads.chosen(self.parts))
                # No other code runs between this and the launches, and nothing is allocated.
                if outcome.clock.last != outcome.seen:
                    raise Stale
                outcome.final = True
                run(header, *words)
            return
        if way.checked or not way.short:
            if run(first, *words) != DONE:
                self.check_status(frame)
            if not way.short:
                if way.checked:
                    self.walk(frame, way.checked, len(self.rows), held, outcome)
                else:
                    self._walk_all(frame, held, outcome)
                outcome.final = True
                return
            arguments: tuple[int, ...] = (last,)
        else:
            arguments = (first, *words)
        # No other code runs between this and the launches, and nothing is allocated.
        if outcome.clock.last != outcome.seen:
            raise Stale
        outcome.final = True
        run(*arguments)

    def run_at_once(self, leaves: Sequence[Buffer]) -> list[Buffer]:
        """Run all launches, then look at statuses; for a run that overwrites no leaf.

        A frame that an exception leaves behind is not used again.
        """
        run = self.run_native
        if run is None:
            outcome = Outcome()
            self.run(leaves, outcome)
            return outcome.buffers
        words = [leaf.address for leaf in leaves]
        made = []
        for i in range(len(self._sizes)):
            buffer = self.memory(i)
            words.append(buffer.address)
            made.append(buffer)
        frame = self.taken()
        if self.way.short:
            done = run(frame.headers[2], *words)
        else:
            with threads.lock:
                done = run(frame.on_team(threads.chosen(self.parts)), *words)
        if done != DONE:
            self.check_status(frame)
        self.frames.append(frame)
        return [made[i] if new else leaves[i] for new, i in self.results]

    def sizes(self) -> list[int]:
        """Bytes of the outputs, and of the arena if there is one: what a run allocates."""
        return self._sizes

    def memory(self, i: int) -> Buffer:
        """Memory of one of these sizes."""
        try:
            return self.pool.allocate(self._sizes[i])
        except OutOfMemory as err:
            raise self._named(err) from err

    def _block(self, launch: Launch) -> int:
        """Append the argument block of a launch; returns its first word's number.

        An epilogue is two words: its function, and its own argument block.
        """
        called = launch.epilogue
        nested = self._block(called) if called is not None else 0
        start = self.arguments.begin()
        second = False
        for kind, argument in zip(launch.spec.signature, launch.arguments, strict=True):
            if argument is not EPILOGUE:
                self.arguments.append(kind, argument)
                continue
            assert called is not None
            if second:
                self.nested.append((self.arguments.begin(), nested))
            self.arguments.append(kind, 0 if second else self._addresses[called.spec.key])
            second = True
        return start

    def _flags(self) -> list[int]:
        """Serial and barrier bits; a barrier stands before a launch that depends on one since."""
        flags = []
        read: list[Memory] = []
        written: list[Memory] = []
        serial_only = True
        for launch in self.plan.launches:
            needs = _touch(launch.writes, read) or _touch(launch.writes, written)
            needs = needs or _touch(launch.reads, written)
            barrier = needs and not (launch.serial and serial_only)
            if barrier:
                read, written, serial_only = [], [], True
            read.extend(launch.reads)
            written.extend(launch.writes)
            serial_only = serial_only and launch.serial
            if isinstance(launch.spec, HostStep):  # all launches before it are over
                read, written, serial_only = [], [], True
            flags.append(SERIAL * launch.serial | BARRIER * barrier)
        return flags

    def clear(self, buffer: Buffer) -> None:
        """Fill a buffer with zeros."""
        ctypes.memset(buffer.address, 0, buffer.nbytes)

    def read(self, buffer: Buffer, nbytes: int, offset: int = 0) -> Array:
        """Bytes of a buffer, in its memory."""
        memory = (ctypes.c_uint8 * nbytes).from_address(buffer.address + offset)
        return np.ndarray(nbytes, np.uint8, memoryview(memory))  # np.ctypeslib loads when named

    def write(self, buffer: Buffer, data: Array, offset: int = 0) -> None:
        """Put bytes into a buffer."""
        ctypes.memmove(buffer.address + offset, data.ctypes.data, data.nbytes)

    def walk(
        self, frame: CPUFrame, first: int, last: int, held: Sequence[Buffer], outcome: Outcome
    ) -> None:
        """Run launches on the team."""
        threads.run(frame.rows[first:last], outcome, self.parts)


def _touch(some: Sequence[Memory], others: Sequence[Memory]) -> bool:
    return any(overlap(a, b) for a in some for b in others)
