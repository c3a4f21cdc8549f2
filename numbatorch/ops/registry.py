"""Operator records by kind, and the decorators that make them. One operator, one place.

View operators change a Layout; elementwise ones fuse; reductions take elementwise work along;
structured ones have kernels of their own and a fallback in the others.
"""

from __future__ import annotations

import inspect
import operator as python
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch import graph
from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.errors import DeviceError, DTypeError, OutOfRange, message
from numbatorch.graph import Node, Op, find, register, registered
from numbatorch.layout import Layout
from numbatorch.shape import Shape, broadcast, list_shape
from numbatorch.variable import Variable, is_variable

ELEMENTWISE_PROMOTES = dt.float32


def all_ops() -> tuple[Op, ...]:
    """Every registered operator, a user's own among them."""
    import numbatorch.ops  # noqa: F401  (registers the operators of the library)

    return registered()


def describe(node: Node) -> str:
    """`(2, 3) float32`, as errors show an operand."""
    return f"{list_shape(node.shape)} {node.dtype.name}"


def common_device(op: str, nodes: Sequence[Node]) -> Device:
    """The one device of `nodes`."""
    first = nodes[0].device
    for node in nodes:
        if node.device is not first and node.device != first:
            raise DeviceError(
                message(
                    op,
                    "operands are on different devices",
                    *(f"operand {i} {describe(n)} on {n.device}" for i, n in enumerate(nodes)),
                )
            )
    return first


class Leaf(Op):
    """A value that is computed from nothing: a realized buffer, a constant, an index."""


def _leaf(name: str, doc: str) -> Leaf:
    def reference() -> None:
        raise TypeError(f"{name} has no reference of its own")

    reference.__doc__ = doc
    return register(Leaf(name, reference))


BUFFER = _leaf("buffer", "A value that lies in memory.")
CONST = _leaf("const", "One number everywhere; attrs: value.")
IOTA = _leaf("iota", "0, 1, 2, ... in int64 along one dimension.")
COMPILED = _leaf("compiled", "A result of a compiled function, through which no gradient flows.")
EMPTY = _leaf("empty", "Memory whose values are not defined, to be written by slice_update.")


def const(value: Any, dtype: DType, device: Device, shape: Shape = ()) -> Node:
    """`value` everywhere in `shape`."""
    return Node(CONST, (), {"value": value}, shape, dtype, device)


def is_constant(node: Node, value: float) -> bool:
    """Whether a node is `value` everywhere, in every run of a plan."""
    found = node.attrs.get("value")
    return node.op is CONST and not is_variable(found) and found == value


def scalar_dtype(value: Any) -> DType:
    """The dtype that a Python number has by itself: bool, int64 or float32."""
    if isinstance(value, bool):
        return dt.bool_
    if isinstance(value, int):
        return dt.int64
    if isinstance(value, float):
        return dt.float32
    raise DTypeError(f"{value!r} is neither a tensor nor a number")


_CATEGORY = {"b": 0, "i": 1, "u": 1, "f": 2}


def result_type(operands: Sequence[Any]) -> DType:
    """The dtype in which nodes and Python numbers meet, as in PyTorch.

    A number, and a 0-d node beside others, counts only if it is of a higher category (bool,
    integer, float) than every node with dimensions.
    """
    ranks: list[list[DType]] = [[], [], []]
    for operand in operands:
        if isinstance(operand, Node):
            ranks[0 if operand.shape else 1].append(operand.dtype)
        else:
            ranks[2].append(scalar_dtype(operand))
    best: DType | None = None
    for found in ranks:
        for dtype in found:
            if dtype.kind == "q" and best is None:
                best = dtype
        if not found:
            continue
        group = found[0]
        for dtype in found[1:]:
            group = dt.promote(group, dtype)
        if best is None or _CATEGORY.get(group.kind, 3) > _CATEGORY.get(best.kind, 3):
            best = group
    assert best is not None
    return best


def as_node(value: Any, dtype: DType, device: Device) -> Node:
    """`value` as a node of `dtype`: a number becomes a constant, a node is cast."""
    if isinstance(value, Node):
        return value if value.dtype is dtype else find("cast").apply(value, dtype=dtype)
    return const(value, dtype, device)


def require_in_range(operator: str, number: int, dtype: DType) -> None:
    """Raise OutOfRange unless the integer `dtype` holds `number`."""
    bits = 8 * dtype.itemsize
    low, end = (0, 1 << bits) if dtype.kind == "u" else (-1 << bits - 1, 1 << bits - 1)
    if not low <= number < end:
        problem = f"{number} does not fit {dtype.name}"
        raise OutOfRange(message(operator, problem, _range_of(dtype)))


def _range_of(dtype: DType) -> str:
    limits = np.iinfo(dtype.numpy)
    return f"{dtype.name} goes from {limits.min} to {limits.max}"


def expanded(node: Node, shape: Shape) -> Node:
    """`node` broadcast to `shape`."""
    if node.shape == shape:
        return node
    if node.op is CONST:
        return const(node.attrs["value"], node.dtype, node.device, shape)
    return find("expand").apply(node, shape=shape)


class Elementwise(Op):
    """out[i] = body(a[i], b[i], ...). The body is in the scalar language and is never called.

    Attributes:
        body: the scalar function; its keyword-only parameters are attributes.
        dtypes: what the body can be computed in.
        result: "same", "bool", or (dtype, attrs) -> dtype of the result.
        fixed: operand number -> the dtype it must have, outside of promotion.
        domain: (low, high) of sensible float operands, for tests.
    """

    def __init__(self, body: Callable[..., Any], reference: Callable[..., Any], source: str):
        super().__init__(body.__name__, reference, source)
        self.__doc__ = body.__doc__
        self.body = body
        assert isinstance(body, FunctionType), body
        self.function = body
        self.dtypes: tuple[DType, ...] = dt.PLAIN
        self.result: str | Callable[[DType, dict[str, Any]], DType] = "same"
        self.fixed: dict[int, DType] = {}
        self.domain: tuple[float, float] = (-4.0, 4.0)
        parameters = inspect.signature(body).parameters.values()
        self.arity = sum(p.kind is not p.KEYWORD_ONLY for p in parameters)
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def compute_dtype(self, dtype: DType) -> DType:
        """The dtype operands are cast to before the body sees them."""
        if dtype in self.dtypes:
            return dtype
        promotes = "iu" if dt.int64 in self.dtypes else "iub"  # arithmetic on bool is an error
        if ELEMENTWISE_PROMOTES in self.dtypes and dtype.kind in promotes:
            return ELEMENTWISE_PROMOTES
        hint = "dequantize it first" if dtype.kind == "q" else None
        raise DTypeError(message(self.name, f"has no meaning for {dtype.name}", hint=hint))

    def result_dtype(self, dtype: DType, attrs: dict[str, Any]) -> DType:
        """The dtype of the result when operands meet in `dtype`."""
        if callable(self.result):
            return self.result(dtype, attrs)
        return dt.bool_ if self.result == "bool" else dtype

    def apply(self, *operands: Any, **attrs: Any) -> Node:
        """Promote, broadcast, infer."""
        if len(operands) != self.arity:
            raise TypeError(f"{self.name} takes {self.arity} operands, not {len(operands)}")
        nodes = [x for x in operands if isinstance(x, Node)]
        if not nodes:
            raise TypeError(f"{self.name} needs at least one tensor operand")
        device = common_device(self.name, nodes)
        for i, wanted in self.fixed.items():
            operand = operands[i]
            found = operand.dtype if isinstance(operand, Node) else scalar_dtype(operand)
            if found is not wanted:
                raise DTypeError(
                    message(self.name, f"operand {i} must be {wanted.name}, not {found.name}")
                )
        free = [x for i, x in enumerate(operands) if i not in self.fixed]
        dtype = self.compute_dtype(result_type(free)) if free else dt.bool_
        shape = broadcast(self.name, *(x.shape for x in nodes))
        if len(nodes) < len(operands):
            known = self._with_numbers(operands, dtype)
            if known is not None:
                return const(known, dt.bool_, device, shape)
        inputs = tuple(
            expanded(as_node(x, self.fixed.get(i, dtype), device), shape)
            for i, x in enumerate(operands)
        )
        attrs = {**self.defaults, **attrs}
        return Node(self, inputs, attrs, shape, self.result_dtype(dtype, attrs), device)

    def _with_numbers(self, operands: Sequence[Any], dtype: DType) -> bool | None:
        """Check that `dtype` holds the numbers among the operands.

        Returns:
            the answer of a comparison with a number that no element reaches, otherwise None.
        Raises:
            OutOfRange: an integer does not fit.
        """
        for i, number in enumerate(operands):
            if isinstance(number, Node | float | Variable) or i in self.fixed:
                continue
            try:
                if dtype.kind in "iu":
                    require_in_range(self.name, number, dtype)
                else:
                    float(number)
            except (OutOfRange, OverflowError):
                if dtype.kind in "iu" and self.name in _COMPARISONS:
                    sides = (0 if isinstance(x, Node) else x for x in operands)
                    return bool(getattr(python, self.name)(*sides))
                raise self._unfit(number, dtype, operands) from None
        return None

    def _unfit(self, number: int, dtype: DType, operands: Sequence[Any]) -> OutOfRange:
        shown = str(number) if abs(number) < 2**70 else f"an integer of {number.bit_length()} bits"
        rows = [f"operand {i} {describe(x)}" for i, x in enumerate(operands) if isinstance(x, Node)]
        if dtype.kind in "iu":
            rows.append(_range_of(dtype))
        return OutOfRange(message(self.name, f"{shown} does not fit {dtype.name}", *rows))


_COMPARISONS = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))


def elementwise(
    *,
    numpy: Callable[..., Any],
    dtypes: tuple[DType, ...] = dt.PLAIN,
    source: str = "",
    result: str | Callable[[DType, dict[str, Any]], DType] = "same",
    fixed: dict[int, DType] | None = None,
    domain: tuple[float, float] = (-4.0, 4.0),
    differentiable: bool = True,
) -> Callable[[Callable[..., Any]], Elementwise]:
    """Decorator: register a scalar body as an elementwise operator.

    Args:
        numpy: the reference, on arrays; it gets attributes as keywords.
        dtypes: what the body is computed in; integers are cast to float32 if only floats are.
        source: where the maths comes from.
        result: "same", "bool", or (dtype, attrs) -> dtype.
        fixed: operand number -> dtype it must have (the condition of `where` is bool).
        domain: (low, high) from which tests draw float operands.
        differentiable: False for comparisons and the like.
    """

    def decorate(body: Callable[..., Any]) -> Elementwise:
        op = Elementwise(body, numpy, source)
        op.dtypes = dtypes
        op.result = result
        op.fixed = fixed or {}
        op.domain = domain
        op.differentiable = differentiable
        return register(op)

    return decorate


class Inferred(Op):
    """An operator whose shape rule is a function of its operands' nodes and attributes."""

    def __init__(self, reference: Callable[..., Any], source: str):
        super().__init__(reference.__name__, reference, source)
        self.rule: Callable[..., tuple[Shape, DType]] | None = None
        self.defaults = {
            p.name: p.default
            for p in inspect.signature(reference).parameters.values()
            if p.default is not p.empty
        }

    def infer(self, function: Callable[..., tuple[Shape, DType]]) -> Inferred:
        """Decorator: `function(*nodes, **attrs)` checks them and gives (shape, dtype)."""
        self.rule = function
        return self

    def apply(self, *operands: Any, **attrs: Any) -> Node:
        """Infer by the operator's own rule."""
        assert self.rule is not None, self.name
        attrs = {**self.defaults, **attrs}
        shape, dtype = self.rule(*operands, **attrs)
        return Node(self, operands, attrs, shape, dtype, common_device(self.name, operands))


class View(Inferred):
    """Changes a Layout and never runs; the reference is the same view in NumPy.

    Attributes:
        layout: (layout, **attrs) -> layout, or None where no strides express the view.
        keeps_order: whether elements keep their row-major order, so that memory is shared.
        merge: (inner attrs, outer attrs) -> attrs of one view for two in a row, or None.
    """

    layout: Callable[..., Layout | None]
    keeps_order = False
    merge: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] | None = None

    def changes_nothing(self, node: Node) -> bool:
        """Whether the result is the input, element by element."""
        whole = Layout.contiguous(node.inputs[0].shape)
        return node.shape == whole.shape and self.layout(whole, **node.attrs) == whole


def view(
    layout: Callable[..., Layout | None],
    keeps_order: bool = False,
    merge: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] | None = None,
) -> Callable[[Callable[..., Any]], View]:
    """Decorator: register a NumPy view function as a view operator; arguments as in `View`."""

    def decorate(reference: Callable[..., Any]) -> View:
        op = View(reference, "")
        op.layout = layout
        op.keeps_order = keeps_order
        op.merge = merge
        return register(op)

    return decorate


class Reduction(Op):
    """out[i] = combine over j of x[i, j]; `dims` stay, with size 1.

    Attributes:
        combine: text of the scalar step, with {acc} and {x}, in primitives of the backend.
        identity: dtype -> value of an empty reduction, or None if there is none.
        accumulator: dtype of x -> dtype of the result.
        selects: True for argmax and argmin, whose result is an index; combine says "better".
    """

    def __init__(self, reference: Callable[..., Any]):
        super().__init__(reference.__name__, reference)
        self.combine = ""
        self.identity: Callable[[DType], Any] = lambda dtype: None
        self.accumulator: Callable[[DType], DType] = lambda dtype: dtype
        self.selects = False

    def apply(self, *operands: Any, **attrs: Any) -> Node:
        """`dims` must be sorted dimension numbers."""
        (x,) = operands
        dims = attrs["dims"]
        if x.dtype.kind == "q":
            raise DTypeError(message(self.name, f"has no meaning for {x.dtype.name}"))
        shape = tuple(1 if i in dims else size for i, size in enumerate(x.shape))
        if self.identity(x.dtype) is None and any(x.shape[d] == 0 for d in dims):
            raise graph_shape_error(self.name, x, dims)
        return Node(self, (x,), {"dims": dims}, shape, self.accumulator(x.dtype), x.device)


def graph_shape_error(op: str, x: Node, dims: Shape) -> Exception:
    """The error of a reduction over nothing that has no identity."""
    from numbatorch.errors import ShapeError

    return ShapeError(
        message(
            op, "a reduction over no elements has no value", f"input {describe(x)}, dims {dims}"
        )
    )


def reduction(
    *,
    combine: str,
    identity: Callable[[DType], Any],
    accumulator: Callable[[DType], DType] = lambda dtype: dtype,
    selects: bool = False,
) -> Callable[[Callable[..., Any]], Reduction]:
    """Decorator: register a NumPy reduction, (x, *, dims) with dims kept, as an operator."""

    def decorate(reference: Callable[..., Any]) -> Reduction:
        op = Reduction(reference)
        op.combine = combine
        op.identity = identity
        op.accumulator = accumulator
        op.selects = selects
        op.differentiable = not selects
        return register(op)

    return decorate


class Structured(Inferred):
    """An operator with kernels of its own.

    Attributes:
        family: stem of the kernel files, `ops/cpu/<family>.py`.
        fallback: the same in primitives, for backends without the kernel.
        epilogue: whether its kernels apply elementwise work to each finished tile of the result.
        strided: operands (by number) that its kernels read through any strides.
        inplace: operand whose buffer the result may take over, or None.
        emitted: whether `compile` itself prints its kernel, for every backend.
    """

    emitted = False

    def __init__(self, reference: Callable[..., Any], source: str, family: str):
        super().__init__(reference, source)
        self.family = family
        self.decomposition: Callable[..., Node] | None = None
        self.epilogue = False
        self.strided: tuple[int, ...] = ()
        self.inplace: int | None = None

    def fallback(self, function: Callable[..., Node]) -> Structured:
        """Decorator: `function(*nodes, **attrs)` gives the same value in other operators."""
        self.decomposition = function
        return self


def structured(
    *,
    source: str = "",
    epilogue: bool = False,
    strided: tuple[int, ...] = (),
    inplace: int | None = None,
    differentiable: bool = True,
) -> Callable[[Callable[..., Any]], Structured]:
    """Decorator: register a NumPy function as an operator with kernels of its own.

    The kernels stand in `ops/cpu/<stem>.py`, where <stem> is the file of the decorated function.
    """

    def decorate(reference: Callable[..., Any]) -> Structured:
        op = Structured(reference, source, reference.__module__.rpartition(".")[2])
        op.epilogue = epilogue
        op.strided = strided
        op.inplace = inplace
        op.differentiable = differentiable
        return register(op)

    return decorate


def lifted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for a composite: positional nodes in, node out; takes tensors just as well."""

    def wrapper(*operands: Any, **attrs: Any) -> Any:
        return graph.lift(lambda *nodes: function(*nodes, **attrs), operands)

    wrapper.__name__ = function.__name__
    wrapper.__doc__ = function.__doc__
    wrapper.__wrapped__ = function  # type: ignore[attr-defined]
    return wrapper
