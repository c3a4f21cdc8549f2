"""The record of a public function that is made of other operators: what tests and documents need.

Its nodes are those of its parts; a node of its own it has none.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from numbatorch.dtype import FLOATS, DType
from numbatorch.graph import Node, Op, register

Function = TypeVar("Function", bound=Callable[..., Any])
Call = Callable[..., Any]


class Composed(Op):
    """A public function over other operators.

    Attributes:
        function: the function, of nodes.
        call: (function, nodes, attrs) -> what it gives, where operands are not its first arguments.
        reads: whether the shape of what it gives depends on values, which `vmap` refuses.
    """

    def __init__(self, name: str, function: Callable[..., Any], reference: Callable[..., Any]):
        super().__init__(name, reference)
        self.function = inspect.unwrap(function)
        self.__doc__ = function.__doc__
        self.public: Callable[..., Any] = function
        self.call: Call | None = None
        self.reads = False

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        """Its public function."""
        return self.public(*operands, **attrs)

    def parts(self, *operands: Any, **attrs: Any) -> tuple[Node, ...]:
        """The nodes of what the function gives."""
        found: Any
        if self.call is None:
            found = self.function(*operands, **attrs)
        else:
            found = self.call(self.function, operands, attrs)
        return tuple(found) if isinstance(found, tuple | list) else (found,)

    def apply(self, *operands: Any, **attrs: Any) -> Node:
        """The node of the one tensor that the function gives."""
        (found,) = self.parts(*operands, **attrs)
        return found


def _through_its_parts(*_args: Any, **_attrs: Any) -> NoReturn:
    raise TypeError("the gradient of a composed operator is that of its parts")


def composed(
    *,
    numpy: Callable[..., Any],
    sample: Callable[..., Any],
    dtypes: tuple[DType, ...] = FLOATS,
    name: str = "",
    source: str = "",
    differentiable: bool = True,
    hides: bool = False,
    peer: str | None = None,
    call: Call | None = None,
    reads: bool = False,
) -> Callable[[Function], Function]:
    """Decorator: a public function over other operators gets a record; it stays what it is.

    Stands above `@public`. So the function is property-tested against NumPy on every device,
    gradient-checked, compared with PyTorch and documented as any other operator.

    Args:
        numpy: the reference, on arrays; it gets what `sample` gives, and is not our formula again.
        sample: (random generator) -> (arrays, keywords), as `Op.samples` takes.
        dtypes: of the operands, of all that are no indices or masks.
        name: of the record, unless it is that of the function.
        source: where the maths comes from.
        differentiable: False where the result does not depend smoothly on any operand.
        hides: whether it can be told to leave elements out; NaN among those may reach the result.
        peer: what it is tested beside, torch.<name> unless given.
        call: (function, nodes, keywords) -> its result, where operands are not its first arguments.
        reads: whether the shape of its result depends on values.
    """

    def decorate(function: Function) -> Function:
        op = Composed(name or function.__name__.rstrip("_"), function, numpy)
        op.sample = sample
        op.dtypes = dtypes
        op.source = source
        op.differentiable = differentiable
        op.gradient = _through_its_parts if differentiable else None
        op.hides = hides
        op.call = call
        op.reads = reads
        op.peer = peer or op.peer
        register(op)
        return function

    return decorate
