"""Fuse: split a graph into groups, each of which becomes one launch.

A group computes one iteration space: elementwise work over it, perhaps on top of a core (a
reduction with its prologue, or a structured operator whose kernels take an epilogue). Views
vanish into the layouts through which a group loads its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numbatorch.dtype import DType
from numbatorch.graph import PART, Node, TupleNode, toposort
from numbatorch.layout import Layout
from numbatorch.ops.operands import BUFFER, CONST, EMPTY, IOTA
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.registry import Elementwise, View
from numbatorch.ops.structured import Structured
from numbatorch.ops.view import slice_update
from numbatorch.passes.groups import Apply, Group, Load, Number, Term
from numbatorch.passes.join import join
from numbatorch.shape import numel

Views = tuple[Node, ...]

# Elementwise operators that one group takes in. Compiling is superlinear in their number, and a sum
# that is kept in a loop, cut into equal groups, compiles one kernel.
MOST_FUSED = 128


@dataclass(eq=False)
class _Place:
    """Where a node is inlined: the elementwise part of a group, or its prologue."""

    group: Group
    prologue: bool


@dataclass
class _Use:
    """One reading of a value: by which node (None: a copy of the value), through which views."""

    consumer: Node
    operand: int
    views: Views


def chain(node: Node) -> tuple[Node, Views]:
    """The producer below a run of unrealized views, and the views from it outwards."""
    views = []
    while isinstance(node.op, View) and node.buffer is None:
        views.append(node)
        node = node.inputs[0]
    return node, tuple(reversed(views))


def stored(root: Node) -> Node:
    """The value whose memory is that of a result: what it shows in the same order, if it does."""
    while isinstance(root.op, View) and root.op.keeps_order and root.buffer is None:
        root = root.inputs[0]
    return root


def keep_order(views: Views) -> bool:
    """Whether the views leave memory as it is, in row-major order, as reshape does."""
    return all(isinstance(view.op, View) and view.op.keeps_order for view in views)


def reinterpret(views: Views) -> bool:
    """Whether one of the views reads bytes as elements of another dtype."""
    return any(isinstance(view.op, View) and view.op.reinterprets for view in views)


def read_as(dtype: DType, views: Views) -> DType:
    """What the bytes of elements of `dtype` are read as through `views`."""
    found = [view.dtype for view in views if reinterpret((view,))]
    return found[-1] if found else dtype


def apply_views(layout: Layout, views: Views) -> Layout | None:
    """`layout` seen through `views`, or None where no strides express it."""
    for node in views:
        assert isinstance(node.op, View)
        step = node.op.layout(layout, **node.attrs)
        if step is None:
            return None
        layout = step
    return layout


class Fusion:
    """State of the pass over one graph; `fuse` runs it."""

    def __init__(self, roots: Sequence[Node], fusing: bool) -> None:
        self.fusing = fusing
        self.order = toposort(roots)
        self.roots = list(roots)
        self.wanted = set(roots)
        self.uses: dict[Node, list[_Use]] = {node: [] for node in self.order}
        self.groups: dict[Node, Group] = {}  # by output
        self.places: dict[Node, tuple[_Place, Views]] = {}  # inlined nodes
        self.placeless: set[Node] = set()  # computed from constants only: inlined everywhere
        self.reviewed: set[Node] = set()  # inlined, and seen through other views in their group too
        self.copies: dict[Any, Node] = {}
        self.memo: dict[Any, Term] = {}

    def run(self) -> list[Group]:
        """Decide for every node, consumers first, then build each group's terms."""
        self._collect_uses()
        for node in reversed(self.order):
            if isinstance(node, TupleNode):
                self._own_group(node)
            elif not _is_leaf(node) and not isinstance(node.op, View) and node.op is not PART:
                self._decide(node)
        for root in self.roots:
            self._materialize(root)
        built: set[int] = set()
        while len(built) < len(self.groups):
            for node, group in list(self.groups.items()):
                if id(node) not in built and node is group.outputs[0] and not group.results:
                    self._build(group)
                built.add(id(node))
        order = self._sorted()
        return join(order, self.wanted) if self.fusing else order

    def _collect_uses(self) -> None:
        for node in self.order:
            if _is_leaf(node) or isinstance(node.op, View):
                continue
            for i, operand in enumerate(node.inputs):
                producer, views = chain(operand)
                self.uses[producer].append(_Use(node, i, views))
            if isinstance(node.op, Elementwise) and all(
                x.op in (CONST, IOTA) or x in self.placeless
                for x, _views in map(chain, node.inputs)
            ):
                self.placeless.add(node)
        for node in dict.fromkeys(map(stored, self.roots)):
            self.wanted.add(node)
            if isinstance(node.op, View) and node.buffer is None:
                producer, views = chain(node)
                self.uses[producer].append(_Use(node, 0, views))
                self.groups[node] = Group([node])

    def _decide(self, node: Node) -> None:
        if node in self.placeless and node not in self.wanted and self.fusing:
            return
        found = [self._position(use) for use in self.uses[node]]
        places = {
            (id(p[0].group), p[0].prologue, tuple(map(id, p[1]))): p for p in found if p is not None
        }
        alone = len(places) == 1 and None not in found and node not in self.wanted
        again = any(use.consumer in self.reviewed for use in self.uses[node])
        if self.fusing and alone and (isinstance(node.op, Elementwise) or not again):
            place, views = next(iter(places.values()))
            if self._inline(node, place, views):
                if again:
                    self.reviewed.add(node)
                return
        if self.fusing and isinstance(node.op, Elementwise):
            # Bytes are there once the launch that computes them is over.
            later = {id(place.group) for place, views in places.values() if reinterpret(views)}
            for place, views in places.values():
                if not views and id(place.group) not in later and self._may_join(node, place):
                    place.group.outputs.append(node)
                    place.group.fused_count += 1
                    self.groups[node] = place.group
                    self.places[node] = (place, ())
                    if again or any(v for p, v in places.values() if p.group is place.group):
                        self.reviewed.add(node)
                    return
        self._own_group(node)

    def _position(self, use: _Use) -> tuple[_Place, Views] | None:
        """Place and pending views under which a use could take its producer in."""
        node = use.consumer
        if isinstance(node.op, Elementwise):
            if node in self.places:
                place, views = self.places[node]
                return place, use.views + views
            group = self.groups.get(node)
            return None if group is None else (_Place(group, False), use.views)
        if isinstance(node.op, View):
            return _Place(self.groups[node], False), use.views
        if isinstance(node.op, Reduction):
            return _Place(self._group_of_core(node), True), use.views
        if node.op is slice_update and use.operand == 1:
            return _Place(self.groups[node], False), use.views
        return None

    def _group_of_core(self, node: Node) -> Group:
        if node in self.groups:
            return self.groups[node]
        return self.places[node][0].group

    def _inline(self, node: Node, place: _Place, views: Views) -> bool:
        if isinstance(node.op, Elementwise):
            full = place.group.fused_count >= MOST_FUSED
            if full or (views and not self._expressible(node, views)):
                return False
            place.group.fused_count += 1
            self.places[node] = (place, views)
            return True
        takes = isinstance(node.op, Reduction) or (
            isinstance(node.op, Structured) and node.op.epilogue
        )
        group = place.group
        if not takes or place.prologue or group.core is not None or group.update is not None:
            return False
        plain = keep_order(views) and not reinterpret(views)
        if not plain or numel(group.space) != numel(node.shape):
            return False
        if isinstance(node.op, Structured) and any(
            x.dtype is not node.dtype for x in group.outputs
        ):
            return False
        if isinstance(group.outputs[0].op, View):
            return False
        group.core = node
        self.places[node] = (place, views)
        return True

    def _expressible(self, node: Node, views: Views) -> bool:
        if reinterpret(views):
            return False
        for operand in node.inputs:
            producer, inner = chain(operand)
            if producer.op is CONST:
                continue
            if apply_views(Layout.contiguous(producer.shape), inner + views) is None:
                return False
        return True

    def _may_join(self, node: Node, place: _Place) -> bool:
        """Whether `node` can be one more output of a group that reads it element by element."""
        group = place.group
        if place.prologue or group.update is not None or group.space != node.shape:
            return False
        if group.fused_count >= MOST_FUSED:
            return False
        if isinstance(group.core, Node) and isinstance(group.core.op, Structured):
            return False
        if isinstance(group.outputs[0].op, View):
            return False
        return not self._reaches(node, group)

    def _reaches(self, node: Node, group: Group) -> bool:
        """Whether a way leads from `node` out of `group` and back into it."""
        stack = [use.consumer for use in self.uses[node]]
        seen: set[int] = set()
        while stack:
            consumer = stack.pop()
            owners = self._owners(consumer)
            if any(owner is group for owner in owners):
                continue
            for owner in owners:
                if id(owner) in seen:
                    continue
                seen.add(id(owner))
                for output in owner.outputs:
                    for use in self.uses.get(output, []):
                        if any(o is group for o in self._owners(use.consumer)):
                            return True
                        stack.append(use.consumer)
        return False

    def _owners(self, node: Node) -> list[Group]:
        if node in self.groups:
            return [self.groups[node]]
        if node in self.places:
            return [self.places[node][0].group]
        return []

    def _own_group(self, node: Node) -> Group:
        group = Group(list(node.parts()) if isinstance(node, TupleNode) else [node])
        self.groups[node] = group
        for output in group.outputs:
            self.groups[output] = group
        if node.op is slice_update:
            group.update = node
        elif not isinstance(node.op, Elementwise):
            group.core = node
        return group

    def _materialize(self, node: Node) -> None:
        """See to it that `node`, after fusion, has a buffer of its own or a realized one."""
        node = stored(node)
        if node.buffer is not None or node in self.groups:
            return
        if node.op not in (BUFFER, EMPTY):
            self.groups[node] = Group([node])

    def _build(self, group: Group) -> None:
        core, update = group.core, group.update
        if core is not None and isinstance(core.op, Reduction):
            group.prologue = self._term(core.inputs[0], (), group)
        elif core is not None:
            strided = core.op.strided if isinstance(core.op, Structured) else ()
            group.operands = [self._buffer(x, i in strided) for i, x in enumerate(core.inputs)]
        if update is not None:
            group.results = [self._term(update.inputs[1], (), group)]
            group.operands = [self._buffer(update.inputs[0], False)]
        elif core is None or (core is not group.outputs[0] and not isinstance(core, TupleNode)):
            group.results = [self._result(x, group) for x in group.outputs]

    def _result(self, node: Node, group: Group) -> Term:
        if isinstance(node.op, View):
            producer, views = chain(node)
            return self._value(producer, views, group)
        if isinstance(node.op, Elementwise):
            return self._apply(node, (), group)
        return self._term(node, (), group)

    def _apply(self, node: Node, views: Views, group: Group) -> Term:
        key = ("apply", id(group), node, tuple(map(id, views)))
        found = self.memo.get(key)
        if found is None:
            terms = tuple(self._term(x, views, group) for x in node.inputs)
            found = self.memo[key] = Apply(node, terms)
        return found

    def _term(self, operand: Node, views: Views, group: Group) -> Term:
        producer, inner = chain(operand)
        return self._value(producer, inner + views, group)

    def _value(self, producer: Node, views: Views, group: Group) -> Term:
        if reinterpret(views):
            self._materialize(producer)  # what is computed has no bytes
        elif producer.op is CONST and producer.buffer is None:
            key: Any = ("number", id(group), producer)
            return self.memo.setdefault(key, Number(producer))
        elif self._is_inlined(producer, group):
            return self._apply(producer, views, group)
        key = ("load", id(group), producer, tuple(map(id, views)))
        found = self.memo.get(key)
        if found is None:
            found = self.memo[key] = self._load(producer, views)
        return found

    def _is_inlined(self, node: Node, group: Group) -> bool:
        if not isinstance(node.op, Elementwise) or node.buffer is not None:
            return False
        if node in self.places:
            return self.places[node][0].group is group
        return node in self.placeless and node not in self.groups

    def _load(self, producer: Node, views: Views) -> Load:
        """Read `producer` through `views`; a part that no strides express is copied first."""
        layout = Layout.contiguous(producer.shape)
        node = producer
        for i, view in enumerate(views):
            assert isinstance(view.op, View)
            step = view.op.layout(layout, **view.attrs)
            if step is None:
                node = self._copy(node, views[:i])
                return self._load(node, views[i:])
            layout = step
        return Load(node, layout, read_as(node.dtype, views))

    def _copy(self, producer: Node, views: Views) -> Node:
        """A group of its own that stores `producer`, seen through `views`, in row-major order."""
        key = (producer, tuple(map(id, views)))
        if key not in self.copies:
            node = producer
            for view in views:
                assert isinstance(view.op, View)
                shape, dtype = view.op.rule(node, **view.attrs)  # type: ignore[misc]
                node = Node(view.op, (node,), view.attrs, shape, dtype, view.device)
            self.copies[key] = node
            group = self.groups[node] = Group([node])
            layout = apply_views(Layout.contiguous(producer.shape), views)
            assert layout is not None
            group.results = [Load(producer, layout, node.dtype)]
        return self.copies[key]

    def _buffer(self, operand: Node, strided: bool) -> Load:
        """An operand that a kernel reads as it lies in memory."""
        producer, views = chain(operand)
        if producer.op in (CONST, IOTA) or producer in self.placeless:
            self._materialize(producer)
        load = self._load(producer, views)
        if strided or load.layout.is_contiguous:
            return load
        copy = self._copy(load.node, self._views_of(load, views))
        return Load(copy, Layout.contiguous(copy.shape), copy.dtype)

    def _views_of(self, load: Load, views: Views) -> Views:
        """The last of `views`, those that lead from the load's node to its layout."""
        for i in range(len(views) + 1):
            if apply_views(Layout.contiguous(load.node.shape), views[i:]) == load.layout:
                return views[i:]
        raise AssertionError("a load without its views")

    def _sorted(self) -> list[Group]:
        """Groups in an order in which each runs after those whose results it reads."""
        order: list[Group] = []
        state: dict[int, bool] = {}
        for start in list(dict.fromkeys(self.groups.values())):
            stack = [(start, False)]
            while stack:
                group, done = stack.pop()
                if done:
                    order.append(group)
                    state[id(group)] = True
                elif id(group) not in state:
                    state[id(group)] = False
                    stack.append((group, True))
                    owners = [self.groups[n] for n in group.reads() if n in self.groups]
                    stack.extend((g, False) for g in reversed(owners) if id(g) not in state)
        return order


def _is_leaf(node: Node) -> bool:
    return node.buffer is not None or not node.inputs


def fuse(roots: Sequence[Node], fusing: bool = True) -> list[Group]:
    """Groups in order of execution; `fusing=False` gives every operator its own launch."""
    return Fusion(roots, fusing).run()
