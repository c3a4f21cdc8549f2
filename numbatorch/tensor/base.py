"""What every tensor handle holds, and how nodes are realized and become leaves of the gradient.

Methods of Tensor are public functions (methods.py) but for those about handles; core.py joins them.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import numbatorch.ops.families  # noqa: F401  (loads operators that are asked for)
from numbatorch.apart import handlers_waiting
from numbatorch.backends.base import backend
from numbatorch.backends.outcome import note_finished
from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.gradients import Hooks
from numbatorch.graph import (
    DEPTH_LIMIT,
    GradMode,
    Node,
    Op,
    current_trace,
    grad_enabled,
    runs,
    thread_mode,
    toposort,
)
from numbatorch.locks import Lock
from numbatorch.ops.known_calls import not_alone
from numbatorch.ops.operands import BUFFER, describe, refuse_of_example
from numbatorch.ops.registry import View
from numbatorch.ops.view import detach
from numbatorch.ops.write_through import Step, overwritten, steps_between, with_history, written
from numbatorch.shape import Shape
from numbatorch.tensor.host import not_made, read_as_view, viewed_value
from numbatorch.tensor.keep import (
    detached_later,
    forget_detached,
    pending,
    pending_leaves,
    refuse_traced,
    results_to_keep,
    settle_detached,
)
from numbatorch.tensor.views import (
    Alias,
    Clock,
    Memory,
    Updates,
    alias_of,
    check_leaf,
    check_write,
    enter_view,
    moved,
    numbers,
)

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor

Array = np.ndarray[Any, Any]

# Held while values are computed, overwritten in place, or made readable.
running = Lock()

_MODE = thread_mode()


class _Limit(threading.local):
    depth = DEPTH_LIMIT
    updates: Updates | None = None


_limit = _Limit()


@contextmanager
def tracing() -> Iterator[Updates]:
    """Within a block, for this thread, nothing is realized by itself and updates are noted.

    After the block the tensors hold again what they held before.

    Yields:
        the tensors updated in the block, with the node and the `.grad` that each held before.
    """
    outer, updates = _limit.updates, Updates()
    _limit.updates = updates
    try:
        with any_depth():
            yield updates
    finally:
        _limit.updates = outer
        late: BaseException | None = None
        done = undisturbed = False
        while not done:  # what a signal's handler raises waits until it is
            try:
                with nullcontext() if late is None else handlers_waiting():
                    undisturbed = late is not None
                    updates.take_back()
                    done = True
            except BaseException as err:
                if undisturbed and not done:
                    raise
                late = err
        if late is not None:
            raise late


@contextmanager
def untraced() -> Iterator[None]:
    """Within a block, for this thread, no function is traced, also where one is around it."""
    updates, depth = _limit.updates, _limit.depth
    _limit.updates, _limit.depth = None, DEPTH_LIMIT
    try:
        yield
    finally:
        _limit.updates, _limit.depth = updates, depth


@contextmanager
def any_depth() -> Iterator[None]:
    """Within a block, for this thread, deep graphs are not realized by themselves."""
    before, _limit.depth = _limit.depth, 2**62
    try:
        yield
    finally:
        _limit.depth = before


def depth_is_limited() -> bool:
    """Whether graphs may be realized by themselves here; not so while a plan is traced."""
    return _limit.depth == DEPTH_LIMIT


def is_tracing() -> bool:
    """Whether this thread traces a compiled function."""
    return _limit.updates is not None


def noted_updates() -> Updates | None:
    """What is noted of the compiled function that this thread traces, if it traces one."""
    return _limit.updates


def touches_gradient(handle: Handle, read: bool) -> None:
    """Note, while a function is traced, that the `.grad` of a tensor is read or else set."""
    if _limit.updates is not None:
        _limit.updates.note_gradient(handle, read)


def before_replays(call: Callable[[], None]) -> None:
    """While a function is traced: have `call()` made before each replay of it."""
    if _limit.updates is not None:
        _limit.updates.before.append(call)


def realize_one(node: Node) -> None:
    """What `realize_nodes` does for one node."""
    if node.buffer is None and not _known(node):
        _realize([node])


def _known(node: Node) -> bool:
    """Whether a short way has computed a graph that was seen before."""
    if _limit.updates is not None or runs:
        return False
    device = backend(node.device)
    if not device.realize_small(node, known=True):
        with running:
            if runs or not device.realize_small(node):
                return False
    if detached_later:
        settle_detached()
    return True


def realize_nodes(nodes: Iterable[Node]) -> None:
    """Give every node a buffer, those of one device in one plan, and forget finished history.

    What was costly on the way and may be read again gets a buffer too. A realized node that no
    gradient flows through drops its inputs.
    """
    wanted = [node for node in dict.fromkeys(nodes) if node.buffer is None]
    if wanted and not (len(wanted) == 1 and _known(wanted[0])):
        _realize(wanted)


def _realize(wanted: list[Node]) -> None:
    """Plan, and run."""
    refuse_of_example("", *wanted)
    if _limit.updates is not None:
        refuse_traced(wanted)
    with running:
        if runs:
            note_finished()
        wanted += pending_leaves(wanted)
        roots = [node for node in wanted if node.buffer is None]
        order = toposort(roots)
        kept = results_to_keep(roots, order)
        groups: dict[Device, list[Node]] = {}
        for node in [*roots, *kept]:
            if node.buffer is None:
                groups.setdefault(node.device, []).append(node)
        alone = len(groups) == 1 and not kept
        for device, group in groups.items():
            backend(device).realize(group, order if alone else None)
        if pending:
            pending.difference_update(wanted)
        settle_detached()


class LeafNode(Node):
    """A leaf of the gradient: a value with `requires_grad`, and the tensor that gets its `.grad`.

    Its only input, if any, is a value that it detaches from.
    """

    __slots__ = ("owner",)

    ends_gradient = True
    owner: weakref.ref[Handle]


def is_leaf(node: Node) -> bool:
    """Whether gradients end at this node."""
    return node.ends_gradient


def has_history(node: Node) -> bool:
    """Whether gradients flow through this node to what it was computed from."""
    return node.requires_grad and not node.ends_gradient


def detached(node: Node) -> Node:
    """The value of `node`, through which no gradient flows; shares its buffer.

    While a function is traced it stays tied to `node`, whose tensor may hold another value at the
    next call.
    """
    if node.buffer is None or is_tracing():
        found = detach.apply(node)
        if depth_is_limited():  # a traced graph stays as it was written
            detached_later[weakref.ref(found, forget_detached)] = None
        return found
    return buffer_node(node.buffer, node.shape, node.dtype, node.device)


def buffer_node(buffer: Any, shape: Shape, dtype: DType, device: Device) -> Node:
    """A node that is realized already."""
    node = Node(BUFFER, (), {}, shape, dtype, device)
    node.buffer = buffer
    return node


def host_node(array: Array, dtype: DType, device: Device, shape: Shape | None = None) -> Node:
    """A node on the elements of a NumPy array, which are not copied if they are in row-major order.

    Args:
        shape: of the value, for packed blocks.
    """
    buffer = backend(device).from_numpy(array, dtype)
    return buffer_node(buffer, tuple(array.shape) if shape is None else shape, dtype, device)


def host_array(node: Node, operator: str = "") -> Array:
    """The realized elements, read-only where they may share memory; `operator` reads them."""
    not_alone()
    refuse_of_example(operator, node)
    note_finished()
    if _limit.updates is not None and node.trace != current_trace():
        _limit.updates.read.append(node)
    with running:
        array = None
        if node.buffer is None and not is_tracing():
            source = viewed_value(node)
            if source is not None:
                realize_nodes([source])
            array = read_as_view(node)
        if array is None:
            realize_nodes([node])
            array = backend(node.device).to_numpy(node.buffer, node).view()
    array.flags.writeable = False
    return array


_new = object.__new__


class Handle:
    """A handle on a node of the graph.

    Attributes:
        node: the value. Updating a tensor in place puts another node here; a view of it has none
            until it is read.
    """

    __slots__ = ("__weakref__", "_grad", "_place", "node")

    node: Node
    _grad: Tensor | None
    _place: Memory | Alias | None  # what it shares with its views, or where it is a view

    _tensor: ClassVar[type[Tensor]]

    def __init__(self, node: Any = None, *rest: Any) -> None:
        if rest or not isinstance(node, Node):
            raise not_made(node, *rest)
        self.node = node
        self._grad = None
        self._place = None
        if node.buffer is None and node.depth > _limit.depth:
            realize_nodes([node])

    def _of(self, node: Node) -> Tensor:
        """A tensor on `node`: this one if it holds that, a view if it views what this holds."""
        if node is self.node:
            return self  # type: ignore[return-value]
        steps = steps_between(node, self.node) if isinstance(node.op, View) else None
        return self._tensor(node) if steps is None else self._view(node, steps)

    @classmethod
    def _wrap(cls, node: Node, held: Sequence[Handle]) -> Handle:
        """A tensor on the result of a function of the tensors `held`: one of them, or a view."""
        for given in held:
            if given.node is node:
                return given
        if isinstance(node.op, View):
            for given in held:
                steps = steps_between(node, given.node)
                if steps is not None:
                    return given._view(node, steps)
        return cls._tensor(node)

    @staticmethod
    def _fresh(node: Node) -> Tensor:
        """A tensor on a node that is neither deep nor a view."""
        made = _new(Handle._tensor)
        made.node = node
        made._grad = None
        made._place = None
        return made

    def _view(self, node: Node, steps: tuple[Step, ...]) -> Tensor:
        """A tensor on `node`, which `steps` make of this one's, as a view of it."""
        if node.buffer is None and node.depth > _limit.depth:
            realize_nodes([node])
        view = self._fresh(node)
        enter_view(self, view, steps)
        return view

    def _apply(self, op: Op, **attrs: Any) -> Tensor:
        """`op` of this tensor."""
        return self._of(op.apply(self._noted(), **attrs))

    def _become_leaf(self, node: Node, instead: Node | None = None) -> None:
        """Hold the value of `node` as a leaf of the gradient, with the hooks of the old."""
        if node.dtype.kind not in "fc":
            problem = f"only floats and complex numbers have gradients, not {describe(node)}"
            raise DTypeError(message("requires_grad_", problem))
        leaf = self._leaf(node)
        Hooks.move(self.node, leaf)
        self._put(leaf, instead)

    def _leaf(self, node: Node) -> LeafNode:
        realized = node.buffer is not None and not is_tracing()
        leaf = LeafNode(
            BUFFER if realized else detach,
            () if realized else (node,),
            {},
            node.shape,
            node.dtype,
            node.device,
        )
        if realized:
            leaf.buffer = node.buffer
        leaf.requires_grad = True
        leaf.owner = weakref.ref(self)
        if not realized:
            pending.add(leaf)
        if isinstance(self._place, Alias):
            self._place.leaf = True
        return leaf

    def _update(self, operator: str, node: Node) -> None:
        """Hold another value from now on, as an operator in place does."""
        if self.node.requires_grad:
            check_leaf(operator, self.node, (f"tensor {describe(self.node)}",))
        alias = alias_of(self)
        if alias is not None:
            check_write(operator, alias, self.node, node)
        self.hold(node, operator=operator)

    def hold(self, node: Node, instead: Node | None = None, operator: str = "") -> None:
        """Hold another value from now on: a leaf if it was one, and through what it is a view of.

        Where gradients are not recorded they go on to flow as they did through the old value.
        A value of another dtype or on another device becomes its own; views keep the old one.

        Args:
            instead: of which node; where this tensor does not hold that any more, it stays.
            operator: the function in place, if it is one.
        """
        old = self.node
        alias = alias_of(self)
        if node.dtype is not old.dtype or node.device != old.device:
            self._leave_views()
        elif alias is not None:
            base = alias.memory.owner()
            assert base is not None
            with GradMode(grad_enabled() and not alias.detached):
                whole = written(base.node, alias.steps, node, operator)
                base.hold(whole, operator=operator)
            return
        elif has_history(old) and node is not old:
            if not grad_enabled():
                node = with_history(old, node)
            elif not node.requires_grad:
                node = overwritten(old, node, operator)
        if is_leaf(old):
            self._become_leaf(node, instead)
        else:
            self._put(node, instead)

    def _put(self, node: Node, instead: Node | None = None) -> None:
        """Hold another node, and let views and compiled functions know, which go on from it."""
        for mapping in _MODE.maps:
            mapping.check(self, node)
        if _limit.updates is not None:
            _limit.updates.note(self)
        self.let_views_go()  # before an interrupt may come, and so that their memory is free
        moved[self.node] = weakref.ref(self)
        number = next(numbers)
        # Nothing comes in between these. The number is stored last, and never again: who has read
        # it finds the node.
        if instead is None or self.node is instead:
            self.node = node
            Clock.last = number
        self.let_views_go()  # of those that another thread has taken again meanwhile
        if node.buffer is None and node.depth > _limit.depth:
            realize_nodes([node])

    def let_views_go(self) -> None:
        """Have the views of this tensor take their values again when they are read."""
        memory = self._place
        if isinstance(memory, Memory) and (memory.fresh or memory.leaving):
            memory.let_go()

    def _leave_views(self) -> None:
        """Become a value of its own. Views of this tensor go on sharing what it held."""
        memory = self._place
        if isinstance(memory, Memory):
            owner = self._tensor(self.node)
            owner._place = memory
            memory.kept, memory.owner = owner, weakref.ref(owner)
        self._place = None

    def _taken_again(self) -> Node:
        """The node of a view whose base has changed since it was read."""
        alias = self._place
        assert isinstance(alias, Alias)
        while True:
            base = alias.memory.owner()
            assert base is not None
            source = base.node
            with GradMode(alias.recorded):
                node = source
                for op, attrs in alias.steps:
                    node = detached(node) if op is detach else op.apply(node, **attrs)
            if alias.leaf:
                node = self._leaf(node)
                if alias.left is not None:
                    Hooks.move(alias.left, node)
            alias.memory.add(self)  # before an interrupt may come
            self.node = node
            alias.memory.add(self)  # another thread may have let go of it in between
            if alias.memory.owner() is base and base.node is source:
                return node

    _note = staticmethod(note_finished)

    def _noted(self) -> Node:
        """The node, with the value that a run gave it or this tensor which this comes within."""
        if runs:
            note_finished()
        return self.node

    def _take_here(self) -> None:
        """Before a change: hold what was made so far, and within a trace what the base is there."""
        note_finished()
        alias = alias_of(self) if is_tracing() else None
        if alias is not None and self.node.trace != current_trace():
            alias.memory.drop(self)
