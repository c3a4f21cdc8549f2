"""What calls of a public function build is remembered: calls alike build graphs alike.

A composed function asks the rules of each operator that it is made of, which takes longer than many
a kernel. A function that is marked (`surface.public(remembered=True)`) depends on its arguments
alone: on shapes, dtypes and devices of tensors, and on other arguments by value. So from the second
such call on, of values in memory and views of them through which no gradient is recorded, its nodes
are made at once. It may not draw random numbers or look at who holds a node. A call that warns, by
`warn`, or reads values is not remembered.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numbatorch.dtype import DType, default_dtype
from numbatorch.graph import PART, Node, Op, TupleNode, thread_mode, toposort
from numbatorch.ops.operands import BUFFER, CONST, EMPTY, IOTA, is_view
from numbatorch.shape import Shape
from numbatorch.variable import attribute_key

KEPT = 256  # calls of each function
MOST = 32  # values of a call: of more than that the rules are asked again
_MODE = thread_mode()
_new = object.__new__
_PLAIN = frozenset((int, bool, str, type(None)))
_VALUES = (CONST, EMPTY, IOTA)  # what steps without operands may be

Key = tuple[Any, ...]


class Step(NamedTuple):
    """How a node is made: its operands by number, operands of the call first."""

    op: Op
    operands: tuple[int, ...]
    attrs: dict[str, Any]
    shape: Shape
    dtype: DType
    depth: int
    outputs: Sequence[tuple[Shape, DType]] | None


@dataclass(eq=False)
class Recipe:
    """How the results of a call are made.

    Attributes:
        results: their numbers.
        build: what the call gives, of the results.
        whole: whether its last step makes all that it gives.
        programs: what backends know of the graphs that it makes.
    """

    steps: list[Step]
    results: list[int]
    build: Callable[[list[Node]], Any]
    whole: bool
    programs: dict[Any, Any] = field(default_factory=dict)

    def make(self, operands: list[Node]) -> Any:
        """What the call gives for these operands."""
        made = list(operands)
        trace = _MODE.trace
        device = operands[0].device
        for op, places, attrs, shape, dtype, depth, outputs in self.steps:
            inputs = tuple([made[i] for i in places])
            if outputs is not None:
                made.append(TupleNode(op, inputs, attrs, outputs, device))
                continue
            if op is PART:
                made.append(inputs[0].part(attrs["index"]))  # type: ignore[attr-defined]
                continue
            node = _new(Node)
            node.op = op
            node.inputs = inputs
            node.attrs = attrs
            node.shape = shape
            node.dtype = dtype
            node.device = device
            node.buffer = None
            node.trace = trace
            node.requires_grad = False
            node.depth = depth
            made.append(node)
        if self.whole:
            made[-1].recipe = self
        return self.build([made[i] for i in self.results])


_all: list[KnownCalls] = []


def not_alone() -> None:
    """What is being built depends on more than its arguments, or does more than to build."""
    _MODE.beyond += 1


def warn(text: str, stacklevel: int) -> None:
    """Warn at each call alike: what a call builds that warns is not remembered."""
    not_alone()
    warnings.warn(text, UserWarning, stacklevel=stacklevel + 1)


def forget() -> None:
    """Build every graph anew, as tests that change an operator need."""
    for known in _all:
        known.recipes.clear()


class Asked(NamedTuple):
    """A call that may be remembered.

    Attributes:
        nodes: of its tensors, each once.
        held: its tensors.
        recipe: None if it was not made before.
        beyond: what `not_alone` had counted in this thread before it.
    """

    key: Key
    nodes: list[Node]
    held: list[Any]
    recipe: Recipe | None
    beyond: int


class KnownCalls:
    """Recipes of a function, by its arguments.

    Attributes:
        recipes: None for a call whose graph no recipe can say.
    """

    def __init__(self) -> None:
        self.recipes: dict[Key, Recipe | None] = {}
        _all.append(self)

    def ask(
        self, arguments: tuple[Any, ...], options: dict[str, Any], handles: type
    ) -> Asked | None:
        """What is known of a call; None if it is none that is remembered.

        Args:
            handles: the class of tensors.
        """
        if _MODE.trace:
            return None
        key: list[Any] = [default_dtype()]
        caller = _MODE.caller
        if caller is not None:
            if caller.__class__ is not str:
                return None
            key.append(caller)
        nodes: list[Node] = []
        held: list[Any] = []
        for value in arguments:
            if not _append(value, handles, key, nodes, held):
                return None
        for name, value in options.items():
            key.append(name)
            if not _append(value, handles, key, nodes, held):
                return None
        if not nodes:
            return None
        found = tuple(key)
        return Asked(found, nodes, held, self.recipes.get(found), _MODE.beyond)

    def note(self, asked: Asked, out: Any) -> None:
        """Remember what the function has built, if a recipe can say it."""
        if asked.key in self.recipes or asked.beyond != _MODE.beyond:
            return
        if len(self.recipes) >= KEPT:
            self.recipes.clear()
        self.recipes[asked.key] = _recipe(asked.nodes, out)


def _append(value: Any, handles: type, key: list[Any], nodes: list[Node], held: list[Any]) -> bool:
    """Append what a call depends on in an argument; False where the call is not remembered."""
    kind = value.__class__
    if isinstance(value, handles):
        held.append(value)
        return _append_node(value.node, key, nodes)  # type: ignore[attr-defined]
    if kind in _PLAIN:
        key.append(kind)
        key.append(value)
    elif kind is float:
        key.append(repr(value))  # 0.0 equals -0.0, and NaN nothing
    elif kind is tuple or kind is list:
        key.append(kind)
        key.append(len(value))
        for item in value:
            if not _append(item, handles, key, nodes, held):
                return False
    else:
        return False
    return True


def _append_node(node: Node, key: list[Any], nodes: list[Node]) -> bool:
    """Append a value that lies in memory, or a view of one, which is built into views of that."""
    if (node.requires_grad and _MODE.grad) or len(nodes) >= MOST:
        return False
    if node in nodes:
        key.append(nodes.index(node))
        return True
    if node.inputs:
        if node.buffer is not None or not is_view(node) or node.depth > MOST:
            return False
        key.append(node.op)
        key.append(attribute_key(tuple(node.attrs.items())))
        if not _append_node(node.inputs[0], key, nodes):
            return False
    elif node.op is not BUFFER:
        if node.buffer is None and node.op is not CONST:
            return False
        key.append(node.op)  # a constant, which rules may look at, perhaps one that has got memory
        key.append(attribute_key(tuple(node.attrs.items())))
    nodes.append(node)
    key.append(node.shape)
    key.append(node.dtype)
    key.append(node.device)
    return True


def _recipe(operands: list[Node], out: Any) -> Recipe | None:
    """How `out` is made of the operands of a call; None where that cannot be said."""
    results: list[Node] = [x for x in out if x is not None] if isinstance(out, tuple) else [out]
    if not results or not all(isinstance(x, Node) for x in results):
        return None
    device = operands[0].device
    number = {node: i for i, node in enumerate(operands)}
    steps = []
    for node in toposort(results):
        if node in number:
            continue
        foreign = node.buffer is not None or not (node.inputs or node.op in _VALUES)
        marked = node.requires_grad or hasattr(node, "hooks") or node.trace
        if foreign or marked or type(node) not in (Node, TupleNode) or node.device != device:
            return None
        outputs = node.outputs if isinstance(node, TupleNode) else None
        places = tuple(number[x] for x in node.inputs)
        steps.append(Step(node.op, places, node.attrs, node.shape, node.dtype, node.depth, outputs))
        number[node] = len(number)
    made = {step.op for step in steps}
    whole = len(results) == 1 and bool(steps) and PART not in made
    return Recipe(steps, [number[node] for node in results], _builder(out), whole)


def _builder(out: Any) -> Callable[[list[Node]], Any]:
    """What makes of results what `out` is of its own."""
    if isinstance(out, Node):
        return _only
    kind = type(out)
    if None in out:
        given = [x is not None for x in out]
        return lambda made: _with_gaps(kind, given, iter(made))
    return (lambda made: kind(*made)) if hasattr(kind, "_fields") else tuple


def _with_gaps(kind: type, given: list[bool], made: Iterator[Node]) -> Any:
    """A tuple whose elements are None where nothing is given."""
    values = [next(made) if there else None for there in given]
    return kind(*values) if hasattr(kind, "_fields") else tuple(values)


def _only(made: list[Node]) -> Node:
    return made[0]
