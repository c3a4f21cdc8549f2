"""Argument blocks: the words that the launches of a plan read, patched before each run."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from numbatorch.passes.plan import Place, Plan
from numbatorch.variable import FloatVariable, Values, Variable, is_variable

Array = np.ndarray[Any, Any]


def float64_word(value: float) -> int:
    """The bits of a float64 as a word."""
    found: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return found


def float32_word(value: float) -> int:
    """The bits of a float32 in the lower half of a word."""
    found: int = struct.unpack("<q", struct.pack("<f4x", np.float32(value)))[0]
    return found


class Arguments:
    """The words of all argument blocks of a plan, one after the other, as they are before a run.

    A run has its own copy of `words`, and puts into it what differs from run to run.

    Attributes:
        words: int64; valid after `finish`.
        number: of each memory of the plan, among the bases.
    """

    def __init__(self, plan: Plan, float_word: Callable[[float], int]) -> None:
        self.number = {m: i for i, m in enumerate(plan.memories)}
        self.float_word = float_word
        self._words: list[int] = []
        self.places: list[tuple[int, Place]] = []
        # and whether the word is a float
        self.variables: list[tuple[int, Variable | FloatVariable, bool]] = []

    def begin(self) -> int:
        """The number of the word that comes next."""
        return len(self._words)

    def append(self, kind: str, argument: Any) -> None:
        """Add one word.

        Args:
            kind: "pointer", "int" or "float".
            argument: a Place, a number or a plan variable.
        """
        word = len(self._words)
        if isinstance(argument, Place):
            self._words.append(0)
            self.places.append((word, argument))
        elif is_variable(argument):
            self._words.append(0)
            self.variables.append((word, argument, kind == "float"))
        elif kind == "float":
            self._words.append(self.float_word(float(argument)))
        else:
            self._words.append(_signed(int(argument)))

    def extend(self, kinds: Iterable[str], arguments: Iterable[Any]) -> None:
        """Add words."""
        for kind, argument in zip(kinds, arguments, strict=True):
            self.append(kind, argument)

    def finish(self) -> None:
        """Make the array of words; nothing is added after it."""
        self.words = np.array(self._words or [0], np.int64)
        still = [(w, p) for w, p in self.places if not p.moving]
        self._moving = [(w, p) for w, p in self.places if p.moving]
        self._move_words = np.array([w for w, _p in still], np.int64)
        self._move_bases = np.array([self.number[p.memory] for _w, p in still], np.int64)
        self._move_offsets = np.array([p.offset for _w, p in still], np.int64)

    def patch(self, words: Array, bases: Array, values: Values) -> None:
        """Put addresses and the values of plan variables into their words.

        Args:
            words: of a run.
            bases: address of each memory of the plan.
            values: of the variables, by name.
        """
        words[self._move_words] = bases[self._move_bases] + self._move_offsets
        for word, place in self._moving:
            base = int(bases[self.number[place.memory]]) + place.offset
            words[word] = base + sum(v.at(values) * scale for v, scale in place.moving)
        for word, variable, real in self.variables:
            value = variable.at(values)
            words[word] = self.float_word(float(value)) if real else value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
