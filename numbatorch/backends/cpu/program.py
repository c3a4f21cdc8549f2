"""A plan made ready for the CPU: kernel addresses, argument blocks, barriers; bound and run."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch import debugging
from numbatorch.backends.cpu import pack, threads
from numbatorch.backends.cpu.memory import POOL, Buffer, array_of
from numbatorch.compile.memory import Memory, overlap
from numbatorch.compile.plan import EPILOGUE, Launch, Place, Plan
from numbatorch.errors import OutOfRange, message
from numbatorch.graph import Node
from numbatorch.locks import Lock
from numbatorch.variable import Variable

SERIAL, BARRIER = 1, 2


class Program:
    """One plan with its argument blocks; `run` binds memory and walks it.

    Calls from several threads take turns, for the argument blocks are shared.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._lock = Lock()
        self._number = {m: i for i, m in enumerate(plan.memories)}
        self._words: list[int] = []
        self._moves: list[tuple[int, Place]] = []
        self._variables: list[tuple[int, Variable]] = []
        self._float_variables: list[tuple[int, Variable]] = []
        self.parts = plan.parts
        self._blocks: list[tuple[int, int]] = []  # word to patch, word that begins the block
        specs = [launch.spec for launch in plan.launches]
        specs += [launch.epilogue.spec for launch in plan.launches if launch.epilogue]
        self._addresses = pack.addresses(specs) if specs else {}
        starts = [self._block(launch) for launch in plan.launches]
        self.words = np.array(self._words or [0], np.int64)
        base = self.words.__array_interface__["data"][0]
        for word, start in self._blocks:
            self.words[word] = base + 8 * start
        flags = self._flags()
        rows = [
            (self._addresses[launch.spec.key], base + 8 * start, flag, 0)
            for launch, start, flag in zip(plan.launches, starts, flags, strict=True)
        ]
        self.program = np.array(rows, np.int64).reshape(-1, 4)
        self._fix_moves()
        self._zeroed = {
            m: np.zeros(max(m.nbytes, 64), np.uint8) for m in plan.memories if m.kind == "zeroed"
        }
        self._status = self._zeroed[plan.memories[0]].view(np.int64)
        self.bases = np.zeros(len(plan.memories), np.int64)
        for memory, array in self._zeroed.items():
            self.bases[self._number[memory]] = array.__array_interface__["data"][0]
        self.leaf_order: list[int] = []
        self._bound: list[int] = []
        self._leaf_numbers = self._numbers("leaf")
        self._output_memories = [m for m in plan.memories if m.kind == "output"]
        self._temporaries = [m for m in plan.memories if m.kind == "temporary"]
        self._temporary_numbers = np.array([self._number[m] for m in self._temporaries], np.int64)
        self._temporary_offsets = np.array([m.offset for m in self._temporaries], np.int64)

    def _numbers(self, kind: str) -> Any:
        found = [m for m in self.plan.memories if m.kind == kind]
        return np.array([self._number[m] for m in sorted(found, key=lambda m: m.index)], np.int64)

    def _block(self, launch: Launch) -> int:
        """Append the argument block of a launch; returns its first word's number."""
        called = launch.epilogue
        nested = self._block(called) if called is not None else 0
        start = len(self._words)
        second = False
        for kind, argument in zip(launch.spec.signature, launch.arguments, strict=True):
            word = len(self._words)
            if argument is EPILOGUE:
                assert called is not None
                self._words.append(0 if second else self._addresses[called.spec.key])
                if second:
                    self._blocks.append((word, nested))
                second = True
            elif isinstance(argument, Place):
                self._words.append(0)
                self._moves.append((word, argument))
            elif isinstance(argument, Variable):
                self._words.append(0)
                if kind == "float":
                    self._float_variables.append((word, argument))
                else:
                    self._variables.append((word, argument))
            elif kind == "float":
                self._words.append(_float_word(float(argument)))
            else:
                self._words.append(_signed(int(argument)))
        return start

    def _fix_moves(self) -> None:
        still = [(w, p) for w, p in self._moves if not p.moving]
        self._moving = [(w, p) for w, p in self._moves if p.moving]
        self._move_words = np.array([w for w, _p in still], np.int64)
        self._move_bases = np.array([self._number[p.memory] for _w, p in still], np.int64)
        self._move_offsets = np.array([p.offset for _w, p in still], np.int64)

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
            flags.append(SERIAL * launch.serial | BARRIER * barrier)
        return flags

    def run(self, leaves: Sequence[Buffer]) -> list[Buffer]:
        """Run once; returns a buffer per root.

        Args:
            leaves: where the plan's leaves lie, in the plan's order.
        """
        with self._lock:
            addresses = [leaf.address for leaf in leaves]
            if addresses != self._bound:
                self.bases[self._leaf_numbers] = addresses
                self._bound = addresses
            arena = POOL.allocate(self.plan.arena) if self.plan.arena else None
            if arena is not None:
                self.bases[self._temporary_numbers] = arena.address + self._temporary_offsets
            made: dict[Memory, Buffer] = {}
            for memory in self._output_memories:
                made[memory] = POOL.allocate(memory.nbytes)
                self.bases[self._number[memory]] = made[memory].address
            self._patch()
            if debugging.watched():
                self._keep = [*leaves, *made.values(), arena]
                debugging.run(self, lambda row: threads.run(self.program[row : row + 1]))
            else:
                self._walk()
            self._check_status()
            return [made[m] if m.kind == "output" else leaves[m.index] for m in self.plan.outputs]

    def _walk(self) -> None:
        """Run the program; what checks indices runs, and is asked, before memory is overwritten."""
        if threads.num_threads() > self.parts:
            raise RuntimeError(
                message(
                    "plan",
                    "the number of threads changed between planning and running",
                    f"planned for {self.parts}, now {threads.num_threads()}",
                )
            )
        first = self.plan.checkpoint
        if first:
            threads.run(self.program[:first])
            self._check_status()
        if first < len(self.program):
            threads.run(self.program[first:])

    @property
    def where(self) -> dict[Node, Memory]:
        """The memory of each node of the plan."""
        return self.plan.where

    def value(self, node: Node) -> Any:
        """The elements of a node as they now lie in memory; for the debug tools."""
        memory = self.plan.where[node]
        address = int(self.bases[self._number[memory]])
        owner = np.empty(0, np.uint8)
        return array_of(Buffer(owner, address, memory.nbytes), node).copy()

    def _patch(self) -> None:
        self.words[self._move_words] = self.bases[self._move_bases] + self._move_offsets
        for word, place in self._moving:
            base = int(self.bases[self._number[place.memory]]) + place.offset
            self.words[word] = base + sum(v.current * scale for v, scale in place.moving)
        for word, variable in self._variables:
            self.words[word] = variable.current
        for word, variable in self._float_variables:
            self.words[word] = _float_word(float(variable.current))

    def _check_status(self) -> None:
        if not self.plan.statuses or not self._status.any():
            return
        for status in self.plan.statuses:
            if self._status[status.position]:
                index = int(self._status[status.position + 1])
                self._status[:] = 0
                raise OutOfRange(
                    message(
                        status.op,
                        f"index {index} is out of range",
                        f"it must be in [0, {status.bound})",
                    )
                )


def _touch(some: Sequence[Memory], others: Sequence[Memory]) -> bool:
    return any(overlap(a, b) for a in some for b in others)


def _float_word(value: float) -> int:
    found: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
