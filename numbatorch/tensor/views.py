"""What a tensor shares with the views of it, so that all follow when one is changed in place.

A view keeps its base and the operators that it was taken by. Changing it is a slice update of the
base. When the base holds another value, its views let go of theirs, and take it again when read.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from numbatorch.errors import GradientError, message
from numbatorch.graph import Node, grad_enabled
from numbatorch.layout import Layout
from numbatorch.ops.operands import describe
from numbatorch.ops.view import detach
from numbatorch.ops.write_through import Step, layout_through

if TYPE_CHECKING:
    from numbatorch.tensor.base import Handle
    from numbatorch.tensor.core import Tensor

# Where the value of a node went when its tensor was updated, for functions that captured the node.
moved: weakref.WeakKeyDictionary[Node, weakref.ref[Handle]] = weakref.WeakKeyDictionary()
numbers = itertools.count(1)


class Clock:
    """Counts updates of tensors, so that a replay need not look at each.

    Attributes:
        last: number of the last one.
    """

    last = 0


def moves() -> int:
    """Number of the last update of a tensor; equal ones mean that no tensor changed between."""
    return Clock.last


def moved_to(node: Node) -> Node:
    """The node that the tensor which held `node` holds now."""
    reference = moved.get(node)
    handle = None if reference is None else reference()
    return node if handle is None else handle.node


class Updates:
    """What happens to tensors while a function is traced: updates, and gradients that are touched.

    It does not hold the tensors: one that nobody holds in the end was a value on the way.

    Attributes:
        read: nodes from outside whose values were read.
        before: what is called before each replay.
        after: what is called when the trace is over, the last first, maybe more than once.
    """

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[Handle], Node]] = {}
        self._gradients: dict[int, tuple[weakref.ref[Handle], Tensor | None, bool]] = {}
        self.read: list[Node] = []
        self.before: list[Callable[[], None]] = []
        self.after: list[Callable[[], None]] = []

    def note(self, handle: Handle) -> None:
        """Note what `handle` holds, unless it was noted before."""
        known = self._found.get(id(handle))
        if known is None or known[0]() is None:  # another tensor may get the id of one that went
            self._found[id(handle)] = weakref.ref(handle), handle.node

    def held(self) -> list[tuple[Handle, Node]]:
        """The tensors that somebody holds, each with the node that it held before."""
        found = ((reference(), node) for reference, node in self._found.values())
        return [(handle, node) for handle, node in found if handle is not None]

    def note_gradient(self, handle: Handle, read: bool) -> None:
        """Note the `.grad` of `handle`, which is read or else set, unless it was noted before."""
        known = self._gradients.get(id(handle))
        if known is None or known[0]() is None:
            self._gradients[id(handle)] = weakref.ref(handle), handle._grad, read

    def gradients(self) -> list[tuple[Handle, Tensor | None, bool]]:
        """The tensors that somebody holds, each with its `.grad` before, and whether it was read.

        It was not if it was set first, as by `zero_grad`.
        """
        noted = self._gradients.values()
        found = ((reference(), before, read) for reference, before, read in noted)
        return [(handle, before, read) for handle, before, read in found if handle is not None]

    def take_back(self) -> None:
        """Have the tensors hold again what they held before; may be called again.

        Raises:
            Exception: the first of what calls of `after` raise, when all were called.
        """
        for handle, node in self.held():
            handle.node = node
            handle.let_views_go()
        for handle, gradient, _read in self.gradients():
            handle._grad = gradient
        failed: list[Exception] = []
        try:
            for call in reversed(self.after):
                try:
                    call()
                except Exception as error:
                    failed.append(error)
        finally:
            Clock.last = next(numbers)  # another thread may have seen what they held
        if failed:
            for other in failed[1:]:
                failed[0].add_note(f"and then: {other}")
            raise failed[0]


@dataclass(eq=False, repr=False, slots=True)
class Memory:
    """What PyTorch calls a storage: a tensor and the views of it share one.

    Attributes:
        owner: the tensor whose node is the value.
        layout: how PyTorch would have its elements lie; it decides which reshapes are copies.
        fresh: views that hold a node of the owner's present value.
        leaving: views that are about to let go of theirs.
        room: how long `fresh` grows before the references that died leave it.
        kept: the owner where no user can hold it any more.
    """

    owner: weakref.ref[Handle]
    layout: Layout
    fresh: list[weakref.ref[Handle]]
    leaving: list[weakref.ref[Handle]] = field(default_factory=list)
    room: int = 8
    kept: Handle | None = None

    def add(self, view: Handle) -> None:
        """Note that `view` holds a node of the present value."""
        if len(self.fresh) >= self.room:
            self.fresh = [reference for reference in self.fresh if reference() is not None]
            self.room = 8 + 2 * len(self.fresh)
        self.fresh.append(weakref.ref(view))

    def let_go(self) -> None:
        """Have the views take their values again when they are read.

        May be called again after an interrupt.
        """
        base = self.owner()
        # No other thread or interrupt comes in between: no view is in neither list.
        self.leaving, self.fresh = [*self.leaving, *self.fresh], []
        leaving = self.leaving
        while leaving:
            view = leaving[-1]()
            alias = None if view is None else alias_of(view)
            if view is not None and alias is not None:
                alias.base = base
                self.drop(view)
            leaving.pop()
        Clock.last = next(numbers)

    def drop(self, view: Handle) -> None:
        """Have one view take its value again when it is read."""
        with suppress(AttributeError):  # dropped already, by another thread or before an interrupt
            node = object.__getattribute__(view, "node")
            moved[node] = weakref.ref(view)
            if isinstance(view._place, Alias) and view._place.leaf:
                view._place.left = node
            del view.node


@dataclass(eq=False, repr=False, slots=True)
class Alias:
    """The place of a view in a memory.

    Attributes:
        memory: that of the tensor it is a view of.
        steps: the operators that make it of the owner's value.
        recorded: whether gradients were recorded when it was taken.
        base: the owner, which several views hold; one alone becomes a value of its own instead.
        leaf: whether it is a leaf of the gradient.
        left: the leaf that was let go of, whose hooks the next one has.
    """

    memory: Memory
    steps: tuple[Step, ...]
    recorded: bool
    base: Handle | None = None
    leaf: bool = False
    left: Node | None = None
    _from: tuple[Layout, tuple[Step, ...]] | None = None  # the view it was taken of, if of one
    _layout: Layout | None = None

    @property
    def layout(self) -> Layout | None:
        """Of its elements in the memory; None if no strides express it, so that it is a copy.

        Most views are only read, so it is worked out when it is asked for.
        """
        if self._layout is None:
            start, steps = self._from or (self.memory.layout, self.steps)
            self._layout = layout_through(start, steps)
        return self._layout

    @property
    def detached(self) -> bool:
        """Whether no gradient flows between the view and the owner."""
        return any(op is detach for op, _attrs in self.steps)

    @property
    def repeats(self) -> bool:
        """Whether several elements lie at one place."""
        layout = self.layout
        assert layout is not None
        return layout.overlaps


def alias_of(handle: Handle) -> Alias | None:
    """The place of a tensor that views another; None where it is a value of its own.

    So are a reshape that no strides express, which is a copy in PyTorch, and the last view of a
    tensor that nobody holds any more.
    """
    place = handle._place
    if not isinstance(place, Alias):
        return None
    layout = place.layout
    if layout is None:
        handle._place = None
        return None
    if place.base is None and place.memory.owner() is None:
        handle._place = Memory(weakref.ref(handle), layout, [])
        return None
    return place


def enter_view(parent: Handle, view: Handle, steps: tuple[Step, ...]) -> None:
    """Make `view`, which holds the node that `steps` make of that of `parent`, a view of it."""
    alias = alias_of(parent)
    recorded = grad_enabled()
    whence = None
    if alias is not None:
        assert alias.layout is not None
        whence = alias.layout, steps
        memory, steps = alias.memory, _joined(alias.steps, steps)
        recorded = recorded and alias.recorded
    else:
        if parent._place is None:
            whole = Layout.contiguous(parent.node.shape)
            parent._place = Memory(weakref.ref(parent), whole, [])
        assert isinstance(parent._place, Memory)
        memory = parent._place
    found = Alias(memory, steps, recorded, _from=whence)
    if memory.fresh:
        found.base = memory.owner()
        if len(memory.fresh) == 1:
            first = memory.fresh[0]()
            if first is not None and isinstance(first._place, Alias):
                first._place.base = found.base
    view._place = found
    memory.add(view)


def _joined(before: tuple[Step, ...], steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Views after others, two of a kind as one where their operator knows how."""
    found = list(before)
    for op, attrs in steps:
        if found and found[-1][0] is op and op is detach:
            continue
        if found and found[-1][0] is op and op.merge is not None:
            attrs = op.merge(found.pop()[1], attrs)
        found.append((op, attrs))
    return tuple(found)


class LeafArgument(Node):
    """What stands for a leaf of the gradient within a function, and is changed as that may be."""

    __slots__ = ()


def check_leaf(operator: str, node: Node, rows: tuple[str, ...], view: bool = False) -> None:
    """Refuse to change in place, where gradients are recorded, a leaf or a view of one."""
    if grad_enabled() and _is_of_leaf(node):
        kind = "a view of a leaf" if view else "a leaf"
        problem = f"{kind} that requires a gradient is changed in place"
        hint = "update it within nt.no_grad()"
        raise GradientError(message(operator, problem, *rows, hint=hint))


def _is_of_leaf(node: Node) -> bool:
    return node.ends_gradient or isinstance(node, LeafArgument)


def check_write(operator: str, alias: Alias, view: Node, value: Node) -> None:
    """Refuse to change a view in place where that has no meaning, or would cut a gradient."""
    base = alias.memory.owner()
    assert base is not None
    rows = (f"view {describe(view)}", f"of {describe(base.node)}")
    if alias.repeats:
        problem = "several elements of the view are one element of what it views"
        raise RuntimeError(message(operator, problem, *rows, hint=_CLONE))
    if not alias.detached:
        check_leaf(operator, base.node, rows, view=True)
    recorded = grad_enabled()
    problem = ""
    if alias.detached:
        if base.node.requires_grad and not _is_of_leaf(base.node):
            problem = "a detached view is changed in place, and a gradient needs the old value"
        elif recorded and value.requires_grad:
            problem = "no gradient flows through a detached view that is changed in place"
    elif recorded and not alias.recorded and (base.node.requires_grad or value.requires_grad):
        problem = "a view that was taken within no_grad is changed where gradients are recorded"
    elif recorded and base.node.requires_grad and not view.requires_grad:
        problem = "no gradient flows through the bytes that a view reads as another dtype"
    if problem:
        raise GradientError(message(operator, problem, *rows, hint=_CLONE))


_CLONE = "clone() it first, which is a value of its own"


def same_place(a: Handle, b: Handle) -> bool:
    """Whether two tensors are one, or views of the same elements of one."""
    if a is b:
        return True
    first, second = alias_of(a), alias_of(b)
    if first is None or second is None or first.memory is not second.memory:
        return False
    return (first.layout, first.detached, first.recorded) == (
        second.layout,
        second.detached,
        second.recorded,
    )


def share_memory(a: Handle, b: Handle) -> bool:
    """Whether changing one of two tensors may change the other."""
    return a is b or (memory_of(a) is not None and memory_of(a) is memory_of(b))


def memory_of(handle: Handle) -> Memory | None:
    """What a tensor shares with others, or None if it never did."""
    alias = alias_of(handle)
    if alias is not None:
        return alias.memory
    assert not isinstance(handle._place, Alias)
    return handle._place


def layout_of(handle: Handle) -> Layout:
    """How PyTorch would have the elements of a tensor lie."""
    alias, memory = alias_of(handle), memory_of(handle)
    found = alias.layout if alias is not None else None if memory is None else memory.layout
    return Layout.contiguous(handle.node.shape) if found is None else found


def held_nodes(handle: Handle) -> set[Node]:
    """The nodes of a tensor and of those that share memory with it, as far as they have any."""
    found = {handle.node}
    memory = memory_of(handle)
    if memory is not None:
        sharing = [memory.owner, *memory.fresh]
        found.update(x.node for x in (reference() for reference in sharing) if x is not None)
    return found
