"""Elementwise functions that NumPy or SciPy compute on the host: rare ones, without kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node
from numbatorch.ops.operands import as_node, common_device, describe, expanded, result_type
from numbatorch.ops.structured import Structured, structured
from numbatorch.ops.surface import EVERYWHERE, MODULES, enter, on_tensors
from numbatorch.shape import Shape, broadcast

Array = Any
Number = int | float


class Hosted:
    """A record of such a function, and what applies it to operands that broadcast and promote."""

    def __init__(self, op: Structured) -> None:
        self.op = op

    def vjp(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: as that of the record."""
        self.op.vjp(function)
        return function

    def apply(self, *operands: Node | Number) -> Node:
        """Of nodes and numbers."""
        name, nodes = self.op.name, [x for x in operands if isinstance(x, Node)]
        if not nodes:
            raise TypeError(message(name, "needs at least one tensor operand"))
        device, dtype = common_device(name, nodes), result_type(operands)
        if dtype not in self.op.dtypes:
            if dtype.kind not in "iub" or dt.float32 not in self.op.dtypes:
                rows = [f"operand {describe(x)}" for x in nodes]
                raise DTypeError(message(name, f"has no meaning for {dtype.name}", *rows))
            default = dt.default_dtype()
            dtype = default if default in self.op.dtypes else dt.float32
        shape = broadcast(name, *(x.shape for x in nodes))
        found = (expanded(as_node(x, dtype, device), shape) for x in operands)
        return self.op.apply(*found)


def _alike(*operands: Node) -> tuple[Shape, DType]:
    return operands[0].shape, operands[0].dtype


def hosted(
    *,
    domain: tuple[tuple[float, float], ...],
    places: tuple[str, ...] = EVERYWHERE,
    dtypes: tuple[DType, ...] = dt.FLOATS,
    aliases: tuple[str, ...] = (),
    numbers: bool = False,
    peer: str | None = None,
    differentiable: bool = True,
) -> Callable[[Callable[..., Array]], Hosted]:
    """Decorator: a function of arrays of one shape and dtype, of one or two operands.

    Half types are computed in float32.

    Args:
        domain: (low, high) for each operand, from which tests draw.
        places: where users find its public function, whose operands broadcast and promote.
        aliases: names of that function in torch.special.
        numbers: whether its operands may be numbers.
        peer: what it is tested beside, torch.<name> unless given.
    """

    def decorate(function: Callable[..., Array]) -> Hosted:
        @functools.wraps(function)
        def computed(*arrays: Array) -> Array:
            wide = [
                x.astype(np.result_type(x.dtype, np.float32)) if _is_half(x) else x for x in arrays
            ]
            with np.errstate(all="ignore"):
                return np.asarray(function(*wide)).astype(arrays[0].dtype)

        op = structured(dtypes=dtypes, differentiable=differentiable)(computed)
        op.infer(_alike)
        op.samples(lambda rng: _sample(rng, domain))
        op.peer = peer or op.peer
        made = Hosted(op)
        call = _function(made, function, len(domain), numbers)
        home = "nt" if "nt" in places else "special"
        call.__module__ = MODULES[home]  # by which it is pickled
        enter(call, op.name, places)
        for alias in aliases:
            enter(call, alias, ("special",))
        return made

    return decorate


def _is_half(x: Array) -> bool:
    return x.dtype.kind not in "iub" and x.dtype.itemsize < 4


def _sample(rng: Any, domain: tuple[tuple[float, float], ...]) -> Any:
    shape = rng.dims((0, 1), (4, 5))
    return [rng.uniform(low, high, shape) for low, high in domain], {}


def _function(
    made: Hosted, function: Callable[..., Array], operands: int, numbers: bool
) -> Callable[..., Any]:
    """The public function."""

    def of_one(input: Node) -> Node:
        return made.apply(input)

    def of_two(input: Node, other: Node) -> Node:
        return made.apply(input, other)

    def with_numbers(input: Node | Number, other: Node | Number) -> Node:
        return made.apply(input, other)

    chosen: Any = of_one if operands == 1 else (with_numbers if numbers else of_two)
    chosen.__name__ = chosen.__qualname__ = made.op.name
    chosen.__doc__, chosen.__module__ = function.__doc__, function.__module__
    found: Callable[..., Any] = on_tensors(chosen, made.op.name)
    return found
