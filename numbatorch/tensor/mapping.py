"""What a function under vmap may change in place: what it makes, and its mapped arguments.

Those are changed when it has ended, so nothing else that it reads may share their memory.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from numbatorch.errors import message
from numbatorch.graph import Node, current_trace, thread_mode, toposort, trace_mode
from numbatorch.ops import caller
from numbatorch.ops.operands import EXAMPLE, describe, example
from numbatorch.shape import normalize_dim
from numbatorch.tensor.base import Handle, is_tracing
from numbatorch.tensor.views import held_nodes, share_memory

_MODE = thread_mode()
_HINT = "the function gives back what it computes, and writes it to no tensor from outside"
_CLONE = "clone() one of them before the call"


def values_are_known() -> bool:
    """Whether values can be read here: not in a function that is compiled, nor under vmap."""
    return not (is_tracing() or _MODE.maps)


class Mapped(int):
    """The number of a trace as nodes carry it which one call of a function makes.

    Attributes:
        around: what nodes carry around that call.
    """

    around: int

    @classmethod
    def now(cls) -> Mapped:
        """A new one, for a call at this place."""
        found = cls(current_trace())
        found.around = current_trace()
        return found

    def has_made(self, node: Node) -> bool:
        """Whether a node was made within the call."""
        trace = node.trace
        while isinstance(trace, Mapped) and trace is not self:
            trace = trace.around
        return trace is self

    def reads(self, roots: Sequence[Node]) -> set[Node]:
        """These results of the call, and what of outside its nodes are made of."""
        read = {*roots}
        for x in toposort(roots):
            if x.op is not EXAMPLE and self.has_made(x):
                read.update(x.inputs)
        return read


class Mapping:
    """One call of a mapped function, while it lasts.

    Args:
        level: of its examples.
    """

    def __init__(self, level: int) -> None:
        self._level = level
        self._trace = Mapped.now()
        self._mapped: list[tuple[Handle, Handle, Node]] = []  # outside, within, and its first node
        self._shared: list[Handle] = []  # arguments that all examples share
        self._changed: dict[int, weakref.ref[Handle]] = {}  # from outside, by id

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Let this thread know, within the block, that tensors may stand for examples."""
        before = _MODE.maps
        _MODE.maps = (*before, self)
        try:
            with trace_mode(self._trace):
                yield
        finally:
            _MODE.maps = before

    def examples(
        self, arguments: Sequence[Any], inputs: Sequence[Any], dims: Sequence[int | None]
    ) -> list[Any]:
        """What the function is called with: one example for each tensor and dimension.

        Args:
            inputs: nodes of the mapped arguments, examples in front.
        """
        known: dict[tuple[int, int], Handle] = {}
        found: list[Any] = []
        for outer, batch, dim in zip(arguments, inputs, dims, strict=True):
            if dim is None:
                found.append(outer)
                if isinstance(outer, Handle):
                    self._shared.append(outer)
                continue
            key = id(outer), normalize_dim("vmap", dim, len(batch.shape))
            if key not in known:
                node = example(batch, self._level)
                known[key] = Handle._tensor(node)
                self._mapped.append((outer, known[key], node))
            found.append(known[key])
        return found

    def check(self, handle: Handle, node: Node) -> None:
        """Before a tensor holds another node: refuse what cannot be so for each example."""
        if not self._is_from_outside(handle):
            return
        rows = (f"tensor {describe(handle.node)}",)
        if any(x.op is EXAMPLE and x.attrs["level"] == self._level for x in toposort([node])):
            shared = any(share_memory(handle, x) for x in self._shared)
            which = "an argument that all examples share" if shared else "a tensor from outside"
            problem = f"{_writer()} changes {which} by a value that depends on the example"
            raise RuntimeError(message("vmap", problem, *rows, hint=_HINT))
        if any(share_memory(handle, outer) for outer, _inner, _node in self._mapped):
            problem = f"{_writer()} changes a tensor that shares memory with a mapped argument"
            raise RuntimeError(message("vmap", problem, *rows, hint=_CLONE))
        self._changed[id(handle)] = weakref.ref(handle)

    def _is_from_outside(self, handle: Handle) -> bool:
        if not self._trace.has_made(handle.node):
            return True
        known = self._changed.get(id(handle))
        return known is not None and known() is handle

    def refuse_shared(self, results: Sequence[Node]) -> None:
        """Refuse that a mapped argument was changed which the function may read otherwise too."""
        changed = [(x, inner) for x, inner, node in self._mapped if inner._noted() is not node]
        if not changed:
            return
        read = self._trace.reads([*results, *(inner.node for _, inner in changed)])
        for outer, inner in changed:
            others = [x for x, other, _ in self._mapped if other is not inner] + self._shared
            rows = (f"argument {describe(outer.node)}",)
            if any(share_memory(outer, x) for x in others):
                problem = "the function changes an argument in place that is of another's memory"
                raise RuntimeError(message("vmap", problem, *rows, hint=_CLONE))
            if not read.isdisjoint(held_nodes(outer)):
                problem = "the function changes an argument in place that it reads from outside too"
                raise RuntimeError(message("vmap", problem, *rows, hint=_CLONE))


def _writer() -> str:
    called = caller.current()
    return called.name if called else "the function"
