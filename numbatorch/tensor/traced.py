"""What a trace is made of: what its function did with stand-ins for its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.errors import message
from numbatorch.graph import Node, toposort
from numbatorch.ops.operands import BUFFER, describe
from numbatorch.shape import Shape, list_shape
from numbatorch.tensor.base import Handle, is_leaf, realize_nodes
from numbatorch.tensor.draws import Draw
from numbatorch.tensor.guards import ATTRIBUTES, Guards, same
from numbatorch.variable import FloatVariable, Variable

STAYS, LEAVES_NONE = -1, -2

Kind = tuple[Device, DType, Shape, bool]


def kind_of(node: Node) -> Kind:
    """Device, dtype, shape, and whether a gradient is required: a trace is right for these."""
    return node.device, node.dtype, node.shape, node.requires_grad


def shown_kind(kind: Kind) -> str:
    """A kind in words, for errors and warnings."""
    where, dtype, shape, required = kind
    return f"{list_shape(shape)} {dtype.name} on {where}{', with a gradient' if required else ''}"


class Gradient(NamedTuple):
    """The `.grad` of a tensor that a function reads or changes.

    Attributes:
        of: the tensor, or the number of the argument.
        before: what the gradient before the trace was, or None; whatever it was where the
            function sets it first.
        changed: whether that is changed in place.
        after: number of the result that is left there; -1 where the gradient stays, or -2 where
            None is left.
    """

    of: Handle | int
    before: Kind | Literal["any"] | None
    changed: bool
    after: int

    def owner(self, tensors: Sequence[Any]) -> Handle:
        """The tensor whose gradient it is."""
        found: Handle = tensors[self.of] if isinstance(self.of, int) else self.of
        return found

    def buffer(self, tensors: Sequence[Any]) -> Any:
        """Where the gradient lies."""
        found = self.owner(tensors)._grad
        assert found is not None
        realize_nodes([found.node])
        return found.node.buffer

    def fits(self, tensors: Sequence[Any]) -> bool:
        """Whether there is a gradient where there was one before the trace, and of its kind."""
        if self.before == "any":
            return True
        found = self.owner(tensors)._grad
        return (None if found is None else kind_of(found.node)) == self.before


class Outside(NamedTuple):
    """Tensors from outside that are read, as they were at one moment; replaced as a whole.

    Attributes:
        seen: number of the last update of a tensor then.
        nodes, buffers: by number of the leaf.
    """

    seen: int
    nodes: list[Any]
    buffers: list[Any]


@dataclass(eq=False)
class Traced:
    """What a function did with stand-ins for its arguments.

    Attributes:
        number: of the trace.
        inputs: nodes of the stand-ins.
        variables: plan variables that it was given.
        build: makes what it returns out of nodes.
        returned: the nodes that it returned.
        changed: tensors that it changes, with the nodes that they held before and after.
        gradients: what it does with gradients.
        found: node of each of these before the trace, or None.
        left: nodes that it leaves there.
        draws: what it takes from generators of random numbers.
        before: what is called before each replay.
        single: whether it returned one tensor, and not a nest.
    """

    number: int
    inputs: list[Node]
    variables: dict[str, Variable | FloatVariable]
    build: Callable[[list[Node]], Any]
    returned: list[Node]
    changed: list[tuple[Handle, Node, Node]]
    gradients: list[Gradient]
    found: list[Node | None]
    left: list[Node]
    draws: list[Draw]
    before: list[Callable[[], None]]
    single: bool


class Changed(Exception):
    """A trace does not hold any more: something has changed since it was chosen.

    Attributes:
        reason: what, in words.
        before: what stood there before, if that is a tensor.
    """

    def __init__(self, reason: str, before: Any = None) -> None:
        super().__init__(reason)
        self.reason, self.before = reason, before


def refuse_changed(
    changed: list[tuple[Handle, Node, Node]], stand_ins: list[Any], nests: list[str]
) -> None:
    """Raise if the function changed arguments, or by Python what replays would not change.

    Args:
        changed: tensors that it changed, with their nodes before and after.
        nests: names of arguments in which a list or dict is not as it was.
    """
    if nests:
        problem = "a list or dict among the arguments is changed: return what it should be"
        raise TypeError(message("compile", problem, f"argument {', '.join(nests)}"))
    for handle, old, new in changed:
        if any(handle is given for given in stand_ins):
            problem = "an argument is changed in place: return its new value"
            raise TypeError(message("compile", problem, describe(old)))
        if is_leaf(old) is not is_leaf(new):
            problem = "requires_grad of a tensor from outside is changed: set it outside"
            raise TypeError(message("compile", problem, f"tensor {describe(old)}"))


def refuse_kept(guards: Guards, trace: int) -> None:
    """Raise if the function bound a value that depends on its arguments where it may read it.

    That has to be state, which has a place of its own.
    """
    for place in guards.all():
        found = place.read()
        if not same(found, place.expected):
            values = found if isinstance(found, tuple) else (found,)
            if place.kind == ATTRIBUTES:
                values = tuple(vars(place.owner).values())
            for value in values:
                if isinstance(value, Handle) and _depends_on_arguments(value.node, trace):
                    place.restore()
                    problem = f"{place} is bound to a value of the traced function"
                    hint = "return it, or change a tensor in place: kept[...] = value"
                    row = f"tensor {describe(value.node)}"
                    raise RuntimeError(message("compile", problem, row, hint=hint))


def _depends_on_arguments(node: Node, trace: int) -> bool:
    if node.trace != trace:
        return False
    return any(x.op is BUFFER and x.buffer is None for x in toposort([node]))
