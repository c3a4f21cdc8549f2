"""Print what a reduction's record does to its state, over words that stand under given names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.language.keys import digest, value_digest
from numbatorch.ops.reduction import Reduction, State
from numbatorch.ops.scalar_combine import CHAINS
from numbatorch.ops.scalar_program import Value, print_numba, reachable
from numbatorch.ops.scalar_reader import Builder
from numbatorch.passes.emit_program import is_number, scalar_argument, scalar_word
from numbatorch.passes.target import Target


@cache
def _digest(state: State) -> str:
    return digest(*(value_digest(f) for f in (state.merge, state.step, state.finish)))


class StateText:
    """The text of a record's functions for one node.

    Args:
        state: instead of the record's own.
        stem: of its variables, which tells them from those of other states.

    Attributes:
        words: dtypes of the state.
    """

    def __init__(
        self, target: Target, core: Node, state: State | None = None, stem: str = ""
    ) -> None:
        assert isinstance(core.op, Reduction)
        self.target = target
        self.core = core
        self.op = core.op
        self.state = state or core.op.state
        self._stem = stem
        self.element = core.inputs[0].dtype
        self.words = self.state.words(self.element)
        self._attrs = {k: v for k, v in core.attrs.items() if k != "dims"}
        self._numbers = {k: v for k, v in self._attrs.items() if is_number(v)}

    def names(self, stem: str) -> list[str]:
        """A name for each word."""
        return [f"{stem}{i}" for i in range(len(self.words))]

    def parameters(self) -> list[str]:
        """Text of the parameters that hold attributes."""
        return [f"at_{k}: {scalar_word(self._dtype(v))}" for k, v in self._numbers.items()]

    def signature(self) -> list[str]:
        """Words of the parameters."""
        return [scalar_word(self._dtype(v)) for v in self._numbers.values()]

    def arguments(self) -> list[Any]:
        """Values of the parameters."""
        return [scalar_argument(v, self._dtype(v)) for v in self._numbers.values()]

    def key(self) -> str:
        """All that the text depends on."""
        attrs = {k: "" if k in self._numbers else repr(v) for k, v in self._attrs.items()}
        state = self.state
        words = ",".join(word.name for word in self.words)
        begun = [value.name for value in state.begun(Builder(), self.element)]
        kinds = [self._dtype(v).name for v in self._numbers.values()]
        extreme = "" if state.extreme is None else _digest(state.extreme)
        narrow = repr(state.narrow(self.element))
        return digest(_digest(state), words, *map(repr, (begun, attrs, kinds)), extreme, narrow)

    def _dtype(self, value: Any) -> DType:
        return self.target.real if isinstance(value, float) else dt.int64

    def _builder(self, prefix: str) -> tuple[Builder, dict[str, Any]]:
        builder = Builder(self.target.scalars, prefix=self._stem + prefix)
        attrs = dict(self._attrs)
        for key, value in self._numbers.items():
            attrs[key] = builder.input(f"at_{key}", self._dtype(value))
        return builder, attrs

    def _inputs(self, builder: Builder, names: Sequence[str]) -> list[Value]:
        return [builder.input(n, word) for n, word in zip(names, self.words, strict=True)]

    def begin(self, names: Sequence[str]) -> list[str]:
        """Statements that make the words a state of nothing."""
        begun = self.state.begun(Builder(), self.element)
        return [f"{n} = {value.name}" for n, value in zip(names, begun, strict=True)]

    def _stepped(self, names: Sequence[str]) -> tuple[Builder, list[Value], list[Value]]:
        builder, attrs = self._builder("sv")
        state = self._inputs(builder, names)
        x = builder.input("x", self.element.compute)
        index = builder.input("position", dt.int64)
        return builder, state, self.state.stepped(builder, state, x, index, attrs)

    def step(self, names: Sequence[str], x: str, position: str, ordered: bool = False) -> list[str]:
        """Statements that take the element `x` in, whose row-major number is `position`.

        Args:
            ordered: whether elements are taken in one after the other, in sums as well.
        """
        builder, state, results = self._stepped(names)
        lines = [f"x = {x}"]
        if self.needs_position():
            lines.append(f"position = {position}")
        return [*lines, *_assigned(builder, state, results, ordered)]

    def extreme(self) -> StateText:
        """The text of the state that finds the extreme, of elements as this one's."""
        state = self.state.extreme
        assert state is not None
        return StateText(self.target, self.core, state, "t")

    def narrow(self) -> tuple[StateText, int] | None:
        """The text of the state of a few elements whose word is narrower, and how many they are."""
        found = self.state.narrow(self.element)
        if found is None:
            return None
        state = replace(self.state, words=lambda dtype: (found[0],))
        return StateText(self.target, self.core, state, "n"), found[1]

    def value(self, names: Sequence[str]) -> tuple[list[str], str]:
        """Statements that finish the words of an extreme, and the text of what it is."""
        builder, attrs = self._builder("wv")
        state = self._inputs(builder, names)
        found = self.state.finished(builder, state, builder.const(0, dt.int64), attrs)[0]
        return print_numba(builder, [found]), found.name

    def equals(self, name: str, x: str) -> tuple[list[str], str, str]:
        """Statements that name the element `x` a word, and the tests whether it is a given one.

        The second test is for a given NaN.
        """
        builder, _attrs = self._builder("ev")
        value = builder.cast(builder.input("x", self.element.compute), self.words[0])
        lines = [f"x = {x}", *print_numba(builder, [value]), f"word = {value.name}"]
        return lines, f"word == {name}", "word != word"

    def needs_position(self) -> bool:
        """Whether the step looks at the number of its element."""
        builder, _state, results = self._stepped(self.names("best"))
        used = {a.name for v in reachable(builder.instructions, results) for a in v.args}
        return "position" in used | {r.name for r in results}

    def is_chain(self) -> bool:
        """Whether a loop over steps is one that LLVM makes vector code of by itself.

        That is where each word is combined with something else by one associative word.
        """
        builder, state, results = self._stepped(self.names("best"))
        words = {id(value) for value in state}
        for before, after in zip(state, results, strict=True):
            chained = after.op in CHAINS or (after.op in ("add", "mul") and after.dtype.kind != "f")
            rest = [a for a in after.args if a is not before]
            if not chained or len(rest) != 1:
                return False
            steps = reachable(builder.instructions, rest)
            if any(id(a) in words for a in (*rest, *(a for v in steps for a in v.args))):
                return False
        return True

    def merge(
        self, into: Sequence[str], other: Sequence[str], before: Sequence[str] | None = None
    ) -> list[str]:
        """Statements that merge `other` into `into`, or `before` and `other`."""
        builder, attrs = self._builder("mv")
        target = self._inputs(builder, into)
        state = target if before is None else self._inputs(builder, before)
        results = self.state.merged(builder, state, self._inputs(builder, other), attrs)
        return _assigned(builder, target, results)

    def finish(self, names: Sequence[str], count: str) -> tuple[list[str], list[str]]:
        """Statements that finish the words, and the text of each result."""
        builder, attrs = self._builder("fv")
        state = self._inputs(builder, names)
        number = builder.input(count, dt.int64)
        results = self.op.finished(builder, state, number, self.element, attrs)
        return print_numba(builder, results), [result.name for result in results]

    def load(self, names: Sequence[str], places: Sequence[str]) -> list[str]:
        """Statements that read the words from memory."""
        return [f"{name} = {place}" for name, place in zip(names, places, strict=True)]

    def store(self, places: Sequence[str], names: Sequence[str]) -> list[str]:
        """Statements that write the words to memory."""
        return [f"{place} = {name}" for name, place in zip(names, places, strict=True)]


def _assigned(
    builder: Builder, state: Sequence[Value], results: Sequence[Value], ordered: bool = False
) -> list[str]:
    """The program that computes `results`, then gives them the names of `state`."""
    lines = print_numba(builder, results, ordered)
    moved = [r.op == "input" and r is not s for r, s in zip(results, state, strict=True)]
    names = [r.name for r in results]
    if len(state) > 1 and any(moved):  # a word that takes the place of another one
        names = [f"{s.name}_next" for s in state]
        lines += [f"{n} = {r.name}" for n, r in zip(names, results, strict=True)]
    return lines + [f"{s.name} = {n}" for s, n in zip(state, names, strict=True) if s.name != n]
