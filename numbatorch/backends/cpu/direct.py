"""The short way of a program: one call of compiled code patches all words, and runs short launches.

What it does the long way does too, in `Program.run`, for debug tools and steps on the host.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from numbatorch.backends.arguments import Arguments, Array
from numbatorch.backends.cpu import native
from numbatorch.backends.cpu.loop import ROW
from numbatorch.backends.memory import Buffer
from numbatorch.passes.memory import Memory
from numbatorch.passes.plan import Plan
from numbatorch.variable import FloatVariable, Values, Variable

# What a program touches and computes at most that runs under the interpreter's lock.
SHORT_BYTES = 1 << 18
SHORT_WORK = 1 << 20
FEW = 64  # launches


def is_short(plan: Plan) -> bool:
    """Whether one thread runs the whole plan, sooner than others would ask for the interpreter."""
    launches = plan.launches
    return (
        len(launches) <= FEW
        and not plan.host_steps
        and (plan.parts == 1 or all(launch.serial for launch in launches))
        and sum(launch.nbytes for launch in launches) <= SHORT_BYTES
        and sum(launch.work for launch in launches) <= SHORT_WORK
    )


def checks_are_short(plan: Plan) -> bool:
    """Whether one thread is soon done with the launches that can fail, whatever comes after."""
    first = plan.launches[: plan.checkpoint]
    return len(first) <= FEW and not plan.host_steps and all(launch.serial for launch in first)


class Way:
    """What a call of a program passes, in order: addresses of leaves, of outputs, of the arena,
    then numbers.

    Attributes:
        short: whether the call runs the launches, too.
        checked: how many launches it runs before it looks at statuses.
        variables: plan variables that a call passes, and whether as the bits of a float.
    """

    def __init__(self, plan: Plan, arguments: Arguments) -> None:
        self.short = is_short(plan)
        self.checked = plan.checkpoint if self.short or checks_are_short(plan) else 0
        leaves = [memory for memory in plan.memories if memory.kind == "leaf"]
        leaves.sort(key=lambda memory: memory.index)
        ordered = [*leaves, *(memory for memory in plan.memories if memory.kind == "output")]
        self._number = {memory: 1 + i for i, memory in enumerate(ordered)}
        self._arena = 1 + len(ordered)
        self._first_number = self._arena + bool(plan.arena)
        self._arguments = arguments
        found = [(variable, real) for _word, variable, real in arguments.variables]
        moving = [v for _word, place in arguments.places for v, _scale in place.moving]
        self.variables: list[tuple[Variable | FloatVariable, bool]] = [
            *found,
            *((variable, False) for variable in moving),
        ]
        self._statuses = len(plan.statuses)

    def numbers(self, values: Values) -> list[int]:
        """What a call passes for plan variables, all of them: compiled code reads each."""
        word = self._arguments.float_word
        found = [(variable.at(values), real) for variable, real in self.variables]
        return [word(float(value)) if real else int(value) for value, real in found]

    def moves(self, words: Array, zeroed: Mapping[Memory, Buffer]) -> Array:
        """What native.py does with the numbers that a call passes, in the words of a frame."""
        base = words.__array_interface__["data"][0]
        rows = []
        moving = self._first_number + len(self._arguments.variables)
        for word, place in self._arguments.places:
            memory, offset = place.memory, place.offset
            at = base + 8 * word
            if memory.kind == "zeroed":
                rows.append((0, at, 0, zeroed[memory].address + offset, 0))
            elif memory.kind == "temporary":
                rows.append((self._arena, at, 1, memory.offset + offset, 0))
            else:
                rows.append((self._number[memory], at, 1, offset, 0))
            for _v, scale in place.moving:
                rows.append((moving, at, scale, 0, 1))
                moving += 1
        for i, (word, _variable, _real) in enumerate(self._arguments.variables):
            rows.append((self._first_number + i, base + 8 * word, 1, 0, 0))
        return np.array(rows, np.int64).reshape(-1, native.MOVE)

    def headers(self, moves: Array, rows: Array, status: Buffer) -> Array:
        """Three: for what can fail, with all the patching; for the rest if that is short; for all
        at once, which needs a team if it is not short.
        """
        found = np.zeros((3, native.HEADER), np.int64)
        rows_at = rows.__array_interface__["data"][0]
        found[:, native.CHECKED] = -1
        found[::2, native.MOVES] = len(moves)
        found[::2, native.MOVES_AT] = moves.__array_interface__["data"][0]
        found[:, native.ROWS] = rows_at
        if self.checked:
            found[0, native.COUNT] = found[0, native.CHECKED] = self.checked
            found[0, native.STATUS] = status.address
            found[0, native.STATUS_WORDS] = 2 * self._statuses
            found[1, native.ROWS] = rows_at + 8 * ROW * self.checked
        if self.short:
            last = 1 if self.checked else 0
            found[last, native.COUNT] = len(rows) - self.checked
        found[2, native.STATUS] = status.address
        found[2, native.STATUS_WORDS] = 2 * self._statuses
        if self.short:
            found[2, native.COUNT] = len(rows)
            found[2, native.CHECKED] = self.checked or -1
        else:
            found[2, native.TEAM_COUNT] = len(rows)
        return found
