"""Reverse-mode gradients as graph expressions: they fuse, plan, print and differentiate again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from numbatorch.apart import import_module
from numbatorch.errors import GradientError, ShapeError, message
from numbatorch.graph import GradMode, Node, TupleNode
from numbatorch.ops.caller import applied
from numbatorch.ops.operands import COMPILED, as_node, const, describe
from numbatorch.ops.structured import Structured
from numbatorch.ops.view import reshape, slice_update
from numbatorch.settings import note_question

Hook = Callable[[Any], Any]


class Hooks:
    """What programs have asked to see, or to change, of the gradients of a node.

    They stand on the node, and so go with it, also where they hold it.

    Attributes:
        before: called with the cotangent, and give what is to stand for it.
        after: called with the tensor of a leaf whose `.grad` was added to.
        changes: how often any were added or removed; compiled functions are traced anew then.
    """

    changes = 0

    def __init__(self) -> None:
        self.before: dict[object, Hook] = {}
        self.after: dict[object, Hook] = {}

    @classmethod
    def of(cls, node: Node) -> Hooks | None:
        """The hooks of a node, or None."""
        return getattr(node, "hooks", None) if cls.changes else None

    @classmethod
    def add(cls, node: Node, kind: str, hook: Hook) -> Callable[[], None]:
        """Add a hook of a kind, "before" or "after"; returns what removes it."""
        found = cls.of(node)
        if found is None:
            found = node.hooks = Hooks()
        hooks: dict[object, Hook] = getattr(found, kind)
        key = object()
        hooks[key] = hook
        cls.changes += 1

        def remove() -> None:
            if hooks.pop(key, None) is not None:
                cls.changes += 1

        return remove

    @classmethod
    def move(cls, old: Node, new: Node) -> None:
        """The hooks of a leaf are those of the node that takes its place."""
        found = cls.of(old)
        if found is not None:
            new.hooks = found

    @classmethod
    def run(cls, node: Node, cotangent: Node) -> Node:
        """What the hooks of a node make of its cotangent, in the order in which they were added."""
        found = cls.of(node)
        for hook in list(found.before.values()) if found is not None else ():
            cotangent = hook(cotangent)
        return cotangent


Cotangent = Node | tuple[Node | None, ...]  # of a node, or of each output of one that has several


def gradients(
    outputs: Sequence[Node],
    cotangents: Sequence[Node],
    wrt: Sequence[Node],
    order: list[Node] | None = None,
) -> list[Node | None]:
    """Cotangent of every node in `wrt`, for cotangents of `outputs`; None where none flows.

    Args:
        outputs: nodes to differentiate.
        cotangents: one per output, of its shape and dtype.
        wrt: nodes that `outputs` depend on.
        order: what `recorded` gives, if that is known.
    Raises:
        GradientError: an operator on the way has no gradient.
    """
    found: dict[Node, Node] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent.shape != output.shape:
            raise ShapeError(
                message(
                    "backward",
                    "the cotangent has another shape",
                    describe(output),
                    describe(cotangent),
                )
            )
        _accumulate(found, output, cotangent)
    targets = set(wrt)
    if order is None:
        order = recorded(outputs, targets)
    _refuse_compiled(order)
    needed = _between(order, targets)
    note_question()
    collected: dict[Node, list[Node | None]] = {}  # cotangents of the outputs of a node
    for node in reversed(order):
        if Hooks.changes and node in found:
            found[node] = Hooks.run(node, found[node])
        if node not in needed or not node.inputs:
            continue
        if node in collected:
            _follow(found, needed, node, tuple(collected.pop(node)))
        elif node in found:
            cotangent = found[node] if node in targets else found.pop(node)
            whole = node.inputs[0]
            if isinstance(whole, TupleNode):
                reached = collected.setdefault(whole, [None for _ in whole.outputs])
                reached[node.attrs["index"]] = cotangent
            else:
                _follow(found, needed, node, cotangent)
    return [found.get(node) for node in wrt]


def _follow(found: dict[Node, Node], needed: set[Node], node: Node, cotangent: Cotangent) -> None:
    """Add what a node's cotangent gives to the cotangents of its inputs."""
    parts = _vjp(node, cotangent)
    if len(parts) != len(node.inputs):
        given, taken = counted(len(parts), "cotangent"), counted(len(node.inputs), "operand")
        problem = f"its gradient gives {given} for {taken}"
        rows = (f"operand {i} {describe(x)}" for i, x in enumerate(node.inputs))
        raise GradientError(message(node.op.name, problem, *rows))
    for number, (operand, part) in enumerate(zip(node.inputs, parts, strict=True)):
        if part is not None and operand in needed:
            check_cotangent(node.op.name, f"operand {number}", part, operand)
            _accumulate(found, operand, part)


def counted(number: int, name: str) -> str:
    """`1 operand`, `2 operands`."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def check_cotangent(operator: str, name: str, part: Any, operand: Node) -> None:
    """Raise unless `part` is a cotangent of `operand`: its shape, and its dtype but for digits."""
    if not isinstance(part, Node):
        problem = f"its gradient gives {type(part).__name__} for {name}, not a node"
        raise GradientError(message(operator, problem, f"{name} {describe(operand)}"))
    problem = ""
    if part.shape != operand.shape:
        problem = f"its gradient has not the shape of {name}"
    elif part.dtype.kind not in "fc" or (part.dtype.is_complex and not operand.dtype.is_complex):
        problem = f"its gradient has not the dtype of {name}"
    if problem:
        rows = (f"gradient {describe(part)}", f"{name} {describe(operand)}")
        raise GradientError(message(operator, problem, *rows))


def recorded(outputs: Sequence[Node], targets: Collection[Node] = ()) -> list[Node]:
    """The nodes through which gradients of `outputs` can flow, inputs before users.

    What needs no gradient, and all that lies behind it, is left out unless it is in `targets`.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    stack = [(node, False) for node in outputs]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if node.requires_grad:
                wanted = (x for x in node.inputs if x.requires_grad or x in targets)
                stack.extend((x, False) for x in wanted if x not in seen)
    return order


def _refuse_compiled(order: Sequence[Node]) -> None:
    for node in order:
        if node.op is COMPILED and node.requires_grad:
            hint = "compile the function that takes the gradient too, or detach() the result"
            rows = (*node.attrs["refusal"], f"result {describe(node)}")
            raise GradientError(message("compile", *rows, hint=hint))


def _between(order: list[Node], targets: set[Node]) -> set[Node]:
    """The nodes through which a gradient flows from the outputs to `targets`."""
    needed: set[Node] = set()
    for node in order:
        if node in targets or (
            node.requires_grad and any(operand in needed for operand in node.inputs)
        ):
            needed.add(node)
    return needed


def _vjp(node: Node, cotangent: Cotangent) -> Sequence[Node | None]:
    op = node.op
    if op.gradient is None:
        if isinstance(op, Structured) and op.decomposition is not None:
            return _through_fallback(node, cotangent)
        raise GradientError(
            message(op.name, "has no gradient", *(f"operand {describe(x)}" for x in node.inputs))
        )
    y = node.parts() if isinstance(node, TupleNode) else node
    parts = applied(op.gradient, node, cotangent, y, *node.inputs)
    return tuple(parts) if isinstance(parts, Iterable) else (parts,)


def _through_fallback(node: Node, cotangent: Cotangent) -> Sequence[Node | None]:
    """Differentiate a structured operator as the primitives that it falls back to."""
    assert isinstance(node.op, Structured)
    assert node.op.decomposition is not None
    with GradMode(True):  # what the gradient is made of depends on the inputs in any mode
        # An operand may occur twice, or depend on another one: each gets an alias of its own.
        operands = [reshape.apply(x, shape=x.shape) for x in node.inputs]
        found = applied(node.op.decomposition, node, *operands)
    outputs = found if isinstance(found, tuple) else (found,)
    given = cotangent if isinstance(cotangent, tuple) else (cotangent,)
    reached = [(y, g) for y, g in zip(outputs, given, strict=True) if g is not None]
    wanted = [x for x in operands if x.requires_grad]
    cotangents = gradients([y for y, _g in reached], [g for _y, g in reached], wanted)
    parts = dict(zip(wanted, cotangents, strict=True))
    return [parts.get(x) for x in operands]


def _accumulate(found: dict[Node, Node], node: Node, part: Node) -> None:
    part = as_node(part, node.dtype, node.device)
    before = found.get(node)
    if before is not None and slice_update in (before.op, part.op):
        import_module("numbatorch.ops.beside")
        from numbatorch.ops.beside import added  # for gradients of parts alone

        part = added(before, part)
    elif before is not None:
        part = before + part
    found[node] = part


def ones_like(node: Node) -> Node:
    """The cotangent that `backward` starts from."""
    return const(1.0, node.dtype, node.device, node.shape)
