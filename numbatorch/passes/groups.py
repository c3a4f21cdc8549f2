"""Groups: what `fuse` makes of a graph, each to become one launch, and the terms they compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.layout import Layout
from numbatorch.ops.operands import IOTA
from numbatorch.shape import Shape


@dataclass(eq=False)
class Load:
    """A value read through a layout over the group's space; iota computes instead of reading.

    Attributes:
        dtype: what the bytes in memory are read as; that of the node unless a view says another.
    """

    node: Node
    layout: Layout
    dtype: DType

    @property
    def computes(self) -> bool:
        """Whether nothing is read: the elements are their places."""
        return self.node.op is IOTA and self.node.buffer is None and self.dtype is self.node.dtype


@dataclass(eq=False)
class Apply:
    """An elementwise operator on other terms."""

    node: Node
    terms: tuple[Term, ...]


@dataclass(eq=False)
class Number:
    """A constant."""

    node: Node


Term = Load | Apply | Number


@dataclass(eq=False)
class Group:
    """What one launch computes.

    Attributes:
        outputs: nodes that get a buffer, the first gives the iteration space. Those of a core with
            several outputs are its parts.
        core: reduction or structured node that the elementwise work stands on, or None.
        results: the term of each output; empty if the core alone is the output.
        prologue: term that a reduction reads, over the space of its input.
        update: slice_update node that this group writes, or None; its value is the result.
        earlier: slice_updates below it whose parts the group writes too: the results before.
        operands: what a structured core, or an update, reads as whole buffers.
        fused_count: elementwise operators taken in so far.
    """

    outputs: list[Node]
    core: Node | None = None
    results: list[Term] = field(default_factory=list)
    prologue: Term | None = None
    update: Node | None = None
    earlier: list[Node] = field(default_factory=list)
    operands: list[Load] = field(default_factory=list)
    fused_count: int = 0

    @property
    def space(self) -> Shape:
        """Shape that the elementwise work runs over."""
        return self.update.inputs[1].shape if self.update is not None else self.outputs[0].shape

    def terms(self) -> list[Term]:
        """Every distinct term, inputs before users."""
        roots = [*self.results] if self.prologue is None else [self.prologue, *self.results]
        return sorted_terms(roots)

    def reads(self) -> Iterator[Node]:
        """Nodes whose buffers the launch reads."""
        for term in self.terms():
            if isinstance(term, Load) and not term.computes and term.node is not self.core:
                yield term.node
        for load in self.operands:
            yield load.node

    def fused(self) -> list[Node]:
        """The nodes that the launch computes, for headers and debugging."""
        nodes = [t.node for t in self.terms() if isinstance(t, Apply)]
        extra = [n for n in (self.core, self.update, *self.earlier) if n is not None]
        return [*extra, *nodes]


def sorted_terms(roots: Sequence[Term]) -> list[Term]:
    """Distinct terms under `roots`, inputs before users."""
    order: dict[int, Term] = {}
    entered: list[Apply] = []  # terms whose inputs come first, and None in the stack below these
    stack: list[Term | None] = [*reversed(roots)]
    while stack:
        term = stack.pop()
        if term is None:
            last = entered.pop()
            order[id(last)] = last
        elif id(term) in order:
            continue
        elif isinstance(term, Apply):
            entered.append(term)
            stack.append(None)
            stack += reversed(term.terms)
        else:
            order[id(term)] = term
    return list(order.values())
