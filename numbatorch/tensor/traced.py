"""What a trace is made of: what its function did with stand-ins for its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.shape import Shape, list_shape
from numbatorch.tensor.base import Handle, realize_nodes
from numbatorch.tensor.random import Draw
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
