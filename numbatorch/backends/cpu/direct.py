"""The short way of a program: one call of compiled code patches all words, and runs short launches.

What it does the long way does too, in `Program.run`, for debug tools and steps on the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from numbatorch.backends.cpu import native
from numbatorch.backends.cpu.loop import ROW
from numbatorch.passes.plan import Plan
from numbatorch.variable import Values

if TYPE_CHECKING:
    from numbatorch.backends.cpu.program import CPUFrame, CPUProgram

SHORT_BYTES = (
    1 << 18
)  # what a program touches, and computes, that runs under the interpreter's lock
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


class Way:
    """What a call of a program passes, in order: addresses of leaves, of outputs, of the arena,
    then numbers.

    Attributes:
        short: whether the call runs the launches, too.
    """

    def __init__(self, program: CPUProgram) -> None:
        plan = program.plan
        self.short = is_short(plan)
        self.checked = plan.checkpoint if self.short else 0
        kinds = ("leaf", "output")
        ordered = [
            memory
            for kind in kinds
            for memory in sorted(
                (m for m in plan.memories if m.kind == kind),
                key=lambda m: m.index if kind == "leaf" else 0,
            )
        ]
        self._number = {memory: 1 + i for i, memory in enumerate(ordered)}
        self._arena = 1 + len(ordered)
        self._first_number = self._arena + bool(plan.arena)
        arguments = program.arguments
        self._real = [real for _word, _variable, real in arguments.variables]
        self._numbers = [variable for _word, variable, _real in arguments.variables]
        self._moving = [v for _word, place in arguments.places for v, _scale in place.moving]
        self._word = arguments.float_word

    def numbers(self, values: Values) -> list[int]:
        """What a call passes for plan variables."""
        found = []
        for variable, real in zip(self._numbers, self._real, strict=True):
            value = variable.at(values)
            found.append(self._word(float(value)) if real else int(value))
        return found + [int(variable.at(values)) for variable in self._moving]

    def moves(self, program: CPUProgram, frame: CPUFrame) -> np.ndarray:
        """What native.py does with the numbers that a call passes, in the words of a frame."""
        base = frame.words.__array_interface__["data"][0]
        rows = []
        moving = self._first_number + len(self._numbers)
        for word, place in program.arguments.places:
            memory, offset = place.memory, place.offset
            at = base + 8 * word
            if memory.kind == "zeroed":
                rows.append((0, at, 0, frame.zeroed[memory].address + offset, 0))
            elif memory.kind == "temporary":
                rows.append((self._arena, at, 1, memory.offset + offset, 0))
            else:
                rows.append((self._number[memory], at, 1, offset, 0))
            for _v, scale in place.moving:
                rows.append((moving, at, scale, 0, 1))
                moving += 1
        for i, (word, _variable, _real) in enumerate(program.arguments.variables):
            rows.append((self._first_number + i, base + 8 * word, 1, 0, 0))
        return np.array(rows, np.int64).reshape(-1, native.MOVE)

    def headers(self, frame: CPUFrame, moves: np.ndarray, statuses: int) -> np.ndarray:
        """Two: what can fail, with all the patching, and the rest."""
        found = np.zeros((2, native.HEADER), np.int64)
        rows = frame.rows.__array_interface__["data"][0]
        found[:, native.CHECKED] = -1
        found[0, native.MOVES] = len(moves)
        found[0, native.MOVES_AT] = moves.__array_interface__["data"][0]
        found[:, native.ROWS] = rows
        if not self.short:
            return found
        if self.checked:
            found[0, native.COUNT] = found[0, native.CHECKED] = self.checked
            found[0, native.STATUS] = frame.status.address
            found[0, native.STATUS_WORDS] = 2 * statuses
            found[1, native.ROWS] = rows + 8 * ROW * self.checked
        last = 1 if self.checked else 0
        found[last, native.COUNT] = len(frame.rows) - self.checked
        return found
