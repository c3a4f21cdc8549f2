"""The record of an operator with kernels of its own, and the decorator that makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbatorch.apart import import_module
from numbatorch.dtype import COMPLEX, FLOATS, DType
from numbatorch.graph import Node, TupleNode, register
from numbatorch.ops import caller
from numbatorch.ops.operands import common_device
from numbatorch.ops.registry import Inferred


class Structured(Inferred):
    """An operator with kernels of its own, and perhaps with several outputs.

    Those of several outputs have a rule that gives a list of (shape, dtype); their reference, their
    fallback and `parts` give a tuple, and their lowerings take the tuple of operands to write.

    Attributes:
        family: stem of the kernel files, `ops/cpu/<family>.py`.
        fallback: the same in primitives, for backends without the kernel.
        epilogue: whether its kernels apply elementwise work to each finished tile of the result.
        strided: operands (by number) that its kernels read through any strides.
        inplace: operand whose buffer the result may take over, or None.
        by_parts: whether of complex operands each part is computed by itself.
        products: how many multiplications with an addition a node takes, where that is its work.
        emitted: whether the passes print its kernel, for every backend.
    """

    emitted = False
    costly = True

    def __init__(self, reference: Callable[..., Any], source: str, family: str):
        super().__init__(reference, source)
        self.family = family
        self.decomposition: Callable[..., Any] | None = None
        self.epilogue = False
        self.strided: tuple[int, ...] = ()
        self.inplace: int | None = None
        self.by_parts = False
        self.products: Callable[[Node], int] = _none

    def parts(self, *operands: Any, **attrs: Any) -> tuple[Node, ...]:
        """The nodes of the outputs; `apply` gives the node of an operator that has one."""
        assert self.rule is not None, self.name
        attrs = {**self.defaults, **attrs}
        if attrs:
            self.attributes.check_all(self.name, attrs)
        found = self.rule(*operands, **attrs)
        if self.by_parts and any(x.dtype.is_complex for x in operands):
            import_module("numbatorch.ops.parts")
            from numbatorch.ops.parts import part_by_part

            return (part_by_part(lambda *nodes: self.apply(*nodes, **attrs), *operands),)
        device = common_device(self.name, operands)
        if self.reports:
            caller.note(attrs)
        if isinstance(found, list):
            return TupleNode(self, operands, attrs, found, device).parts()
        shape, dtype = found
        return (Node(self, operands, attrs, shape, dtype, device),)

    def known(self, operands: tuple[Node, ...], attrs: dict[str, Any]) -> Node:
        """What `apply` gives for operands and attributes that fit, in shape and dtype the first."""
        first = operands[0]
        return Node(self, operands, attrs, first.shape, first.dtype, first.device)

    def multiplies(self, function: Callable[[Node], int]) -> Callable[[Node], int]:
        """Decorator: `function(node)` is how many multiplications with an addition it takes."""
        self.products = function
        return function

    def fallback(self, function: Callable[..., Any]) -> Structured:
        """Decorator: `function(*nodes, **attrs)` gives the same value in other operators."""
        self.decomposition = function
        return self


def _none(_node: Node) -> int:
    return 0


def structured(
    *,
    dtypes: tuple[DType, ...] = FLOATS,
    source: str = "",
    epilogue: bool = False,
    strided: tuple[int, ...] = (),
    inplace: int | None = None,
    by_parts: bool = False,
    differentiable: bool = True,
    reports: bool = False,
) -> Callable[[Callable[..., Any]], Structured]:
    """Decorator: register a NumPy function as an operator with kernels of its own.

    Where it has neither a kernel nor a fallback, the NumPy function itself runs, on the host.

    The kernels stand in `cpu/<stem>.py` and the like, where <stem> is the file of the decorated
    function; see `ops/lowering.py`.

    Args:
        dtypes: of the operands, of all that are no indices or masks.
    """

    def decorate(reference: Callable[..., Any]) -> Structured:
        op = Structured(reference, source, reference.__module__.rpartition(".")[2])
        op.dtypes = dtypes + COMPLEX if by_parts else dtypes
        op.epilogue = epilogue
        op.strided = strided
        op.inplace = inplace
        op.by_parts = by_parts
        op.differentiable = differentiable
        op.reports = reports
        return register(op)

    return decorate
