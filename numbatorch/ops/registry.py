"""Operator records by kind, and the decorators that make them. One operator, one place.

View operators change a Layout; elementwise ones fuse. Reductions and structured operators, whose
records stand in files of their own, take elementwise work along or have kernels of their own.
"""

from __future__ import annotations

import math
import operator as python
from collections.abc import Callable, Sequence
from functools import cached_property
from types import FunctionType
from typing import Any, NoReturn

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, message
from numbatorch.graph import DEPTH_LIMIT, Node, Op, check_name, register, thread_mode
from numbatorch.layout import Layout
from numbatorch.ops import caller, surface
from numbatorch.ops.operands import (
    CONST,
    as_divisor,
    as_node,
    common_device,
    const,
    describe,
    expanded,
    range_of,
    require_in_range,
    result_type,
    scalar_dtype,
)
from numbatorch.ops.signature import Parameters, defaults_of
from numbatorch.shape import Shape, broadcast
from numbatorch.variable import Variable

ELEMENTWISE_PROMOTES = dt.float32


class Elementwise(Op):
    """out[i] = body(a[i], b[i], ...). The body is in the scalar language and is never called.

    Attributes:
        body: the scalar function; its keyword-only parameters are attributes.
        dtypes: what the body is computed in; others are promoted to one of them, or refused.
        result: "same", "bool", or (dtype, attrs) -> dtype of the result.
        fixed: operand number -> the dtype it must have, outside of promotion.
        domain: (low, high) of sensible float operands, for tests.
        largest: size of float operands from which on the body is not accurate any more.
        places: where users find its public function, of `surface.PLACES`.
        numbers: how many of the last operands may be numbers in that function.
        truths: what bool is computed in, where that is no dtype of the body.
        divides: whether the second operand divides: no integer by 0.
        refused: the dtypes among them that the body means nothing for, with the error.
    """

    def __init__(self, body: Callable[..., Any], reference: Callable[..., Any], source: str):
        super().__init__(body.__name__, reference, source)
        self.__doc__ = body.__doc__
        self.body = body
        assert isinstance(body, FunctionType), body
        self.function = body
        self.result: str | Callable[[DType, dict[str, Any]], DType] = "same"
        self.fixed: dict[int, DType] = {}
        self.domain: tuple[float, float] = (-4.0, 4.0)
        self.largest = math.inf
        self.places: tuple[str, ...] = surface.EVERYWHERE
        self.truths: DType | None = None
        self.divides = False
        self.refused: dict[DType, str] = {}
        names, count = body.__code__.co_varnames, body.__code__.co_argcount
        operands = names[:count]
        self.arity = len(operands)
        self.numbers = self.arity - 1
        named = self.arity > 2 or operands[0] == "input"
        self.operands = operands if named else ("input", "other")[: self.arity]
        self.attribute_names = names[count : count + body.__code__.co_kwonlyargcount]
        self.defaults: dict[str, Any] = dict(body.__kwdefaults__ or {})
        self._last: Node | None = None  # of `_constant`

    @cached_property
    def attributes(self) -> Parameters:
        """What its attributes may be."""
        return Parameters(self.body, attributes=True)

    @cached_property
    def public(self) -> Callable[..., Any]:
        """The public function that it has unless one is written: operands, then attributes."""
        place = self.places[0] if self.places else "nt"  # an operator of ours alone
        short = self.of_one if self.arity == 1 else None
        return surface.function_of(self, self.operands, self.attributes, place, short, self.numbers)

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        """Its public function."""
        return self.public(*operands, **attrs)

    def compute_dtype(self, dtype: DType) -> DType:
        """The dtype operands are cast to before the body sees them."""
        if dtype in self.dtypes:
            if dtype in self.refused:
                raise DTypeError(self.refused[dtype])
            return dtype
        if dtype.kind == "b" and self.truths is not None:
            return self.truths
        promotes = "iu" if dt.int64 in self.dtypes else "iub"  # arithmetic on bool is an error
        if ELEMENTWISE_PROMOTES in self.dtypes and dtype.kind in promotes:
            default = dt.default_dtype()
            return default if default in self.dtypes else ELEMENTWISE_PROMOTES
        hint = "convert it to floats first" if dtype.kind == "q" else None
        raise DTypeError(message(self.name, f"has no meaning for {dtype.name}", hint=hint))

    def result_dtype(self, dtype: DType, attrs: dict[str, Any]) -> DType:
        """The dtype of the result when operands meet in `dtype`."""
        if callable(self.result):
            return self.result(dtype, attrs)
        return dt.bool_ if self.result == "bool" else dtype

    def alike(self, a: Node, b: Node) -> Node | None:
        """What `promoted(a, b)` gives for two operands of one dtype, shape and device.

        None where it takes more to tell that, and where the graph gets so deep that it may have to
        be computed.
        """
        dtype = a.dtype
        found = self.quick.get(dtype)
        if (
            found is None
            or b.dtype is not dtype
            or (b.shape is not a.shape and b.shape != a.shape)
            or (b.device is not a.device and b.device != a.device)
        ):
            return None
        depth = 0 if a.buffer is not None else a.depth
        if b.buffer is None and b.depth > depth:
            depth = b.depth
        if depth > DEEP:
            return None
        required = (a.requires_grad or b.requires_grad) and self._records(dtype)
        node = _node(self, (a, b), NO_ATTRIBUTES, a, depth + 1, required)
        return node if found is dtype else _as(node, found)

    def of_one(self, a: Node) -> Node | None:
        """What `promoted(a)` gives; None as above."""
        dtype = a.dtype
        found = self.quick.get(dtype)
        depth = 0 if a.buffer is not None else a.depth
        if found is None or depth > DEEP:
            return None
        required = a.requires_grad and self._records(dtype)
        node = _node(self, (a,), NO_ATTRIBUTES, a, depth + 1, required)
        return node if found is dtype else _as(node, found)

    def with_number(self, a: Node, number: Any, first: bool = False) -> Node | None:
        """What `promoted(a, number)` gives, the number first if it comes so; None as above.

        The numbers are those that a float type holds for certain, rounded.
        """
        dtype = a.dtype
        found = self.quick.get(dtype)
        plain = number.__class__ is float or (number.__class__ is int and -SURE < number < SURE)
        depth = 1 if a.buffer is not None else a.depth
        if dtype.kind != "f" or found is None or not plain or depth > DEEP:
            return None
        other = self._constant(number, a)
        inputs = (other, a) if first else (a, other)
        required = a.requires_grad and self._records(dtype)
        node = _node(self, inputs, NO_ATTRIBUTES, a, depth + 1, required)
        return node if found is dtype else _as(node, found)

    def _constant(self, number: Any, like: Node) -> Node:
        """`number` in the shape, dtype and device of a node; in a loop one node for the same."""
        last = self._last
        if (
            last is not None
            and last.buffer is None
            and last.attrs["value"] is number
            and last.dtype is like.dtype
            and last.shape == like.shape
            and last.device is like.device
            and last.trace == _MODE.trace
        ):
            return last
        self._last = found = _node(CONST, (), {"value": number}, like, 1, False)
        return found

    def _records(self, dtype: DType) -> bool:
        """Whether a gradient flows to operands that require one."""
        return _MODE.grad and self.differentiable and dtype.kind in "fc"

    @cached_property
    def quick(self) -> dict[DType, DType]:
        """The dtype of the result, by that of operands which need no promotion."""
        if self.fixed or self.attribute_names:
            return {}
        known = (d for d in self.dtypes if d not in self.refused)
        plain = [d for d in known if not self.divides or d.kind == "f"]
        return {dtype: self.result_dtype(dtype, {}) for dtype in plain}

    def apply(self, *operands: Any, **attrs: Any) -> Node:
        """Promote, broadcast, infer."""
        node = None if attrs else self._short(operands)
        return self.promoted(*operands, **attrs) if node is None else node

    def _short(self, operands: tuple[Any, ...]) -> Node | None:
        """What `promoted` gives, where a short way gives it too."""
        if len(operands) != self.arity:
            return None
        a = operands[0]
        if self.arity == 1:
            return self.of_one(a) if isinstance(a, Node) else None
        if self.arity > 2:
            return None
        b = operands[1]
        if not isinstance(a, Node):
            return self.with_number(b, a, first=True) if isinstance(b, Node) else None
        return self.alike(a, b) if isinstance(b, Node) else self.with_number(a, b)

    def promoted(self, *operands: Any, **attrs: Any) -> Node:
        """What `apply` gives, by the long way."""
        if len(operands) != self.arity:
            raise TypeError(f"{self.name} takes {self.arity} operands, not {len(operands)}")
        if attrs or self.attribute_names:
            attrs = {**self.defaults, **attrs}
            self.attributes.check_all(self.name, attrs)
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
        shape = broadcast(self.name, *[x.shape for x in nodes], operands=nodes)
        if len(nodes) < len(operands):
            known = self._with_numbers(operands, dtype)
            if known is not None:
                return const(known, dt.bool_, device, shape)
        inputs = [as_node(x, self.fixed.get(i, dtype), device) for i, x in enumerate(operands)]
        if self.divides and dtype.kind in "iu" and 0 not in shape:
            inputs[1] = as_divisor(self.name, inputs[1], zip(self.operands, operands, strict=True))
        inputs = [expanded(x, shape) for x in inputs]
        return Node(self, tuple(inputs), attrs, shape, self.result_dtype(dtype, attrs), device)

    def _with_numbers(self, operands: Sequence[Any], dtype: DType) -> bool | None:
        """Check that `dtype` holds the numbers among the operands.

        Returns:
            the answer of a comparison with a number that no element reaches, otherwise None.
        Raises:
            OutOfRange: an integer does not fit.
        """
        for i, number in enumerate(operands):
            if isinstance(number, Node | float | complex | Variable) or i in self.fixed:
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
            rows.append(range_of(dtype))
        return OutOfRange(message(self.name, f"{shown} does not fit {dtype.name}", *rows))


class _Unchanged(dict[str, Any]):
    """Attributes that nodes share, and so do not change."""

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError("nodes that are there do not change their attributes")

    __setitem__ = setdefault = update = __ior__ = _refuse


NO_ATTRIBUTES = _Unchanged()  # of all nodes without any; proxies make slower calls with `**`
SURE = 1 << 15  # numbers below it are in the range of every float type that computes
DEEP = DEPTH_LIMIT - 1  # beyond it the long way decides what is computed
_new = object.__new__
_MODE = thread_mode()


def _node(
    op: Op,
    inputs: tuple[Node, ...],
    attrs: dict[str, Any],
    like: Node,
    depth: int,
    requires_grad: bool,
) -> Node:
    """A node of the shape, dtype and device of another."""
    node = _new(Node)
    node.op = op
    node.inputs = inputs
    node.attrs = attrs
    node.shape = like.shape
    node.dtype = like.dtype
    node.device = like.device
    node.buffer = None
    node.trace = _MODE.trace
    node.requires_grad = requires_grad
    node.depth = depth
    return node


def _as(node: Node, dtype: DType) -> Node:
    """A new node, with elements of another dtype."""
    node.dtype = dtype
    node.requires_grad = node.requires_grad and dtype.kind in "fc"
    return node


_COMPARISONS = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))


def elementwise(
    *,
    numpy: Callable[..., Any],
    dtypes: tuple[DType, ...] = dt.PLAIN,
    source: str = "",
    result: str | Callable[[DType, dict[str, Any]], DType] = "same",
    fixed: dict[int, DType] | None = None,
    domain: tuple[float, float] = (-4.0, 4.0),
    largest: float = math.inf,
    differentiable: bool = True,
    places: tuple[str, ...] = surface.EVERYWHERE,
    aliases: tuple[str, ...] = (),
    numbers: int | None = None,
    truths: DType | None = None,
    divides: bool = False,
    peer: str | None = None,
) -> Callable[[Callable[..., Any]], Elementwise]:
    """Decorator: register a scalar body as an elementwise operator.

    Args:
        numpy: the reference, on arrays; it gets attributes as keywords.
        dtypes: what the body is computed in; integers are cast to float32 if only floats are.
        source: where the maths comes from.
        result: "same", "bool", or (dtype, attrs) -> dtype.
        fixed: operand number -> dtype it must have (the condition of `where` is bool).
        domain: (low, high) from which tests draw float operands.
        largest: size of float operands from which on the body is not accurate any more.
        differentiable: False for comparisons and the like.
        places: where users find the function that is made of it, of `surface.PLACES`: nt.f and
            Tensor.f unless given. One written with `surface.public` takes its place.
        aliases: other names of that function.
        numbers: how many of the last operands may be numbers in it: all but the first unless given.
        truths: what bool is computed in, an error unless it is one of `dtypes`.
        divides: whether an integer among the second operands that is 0 is an error.
        peer: what it is tested beside, torch.<name> unless given.
    """

    def decorate(body: Callable[..., Any]) -> Elementwise:
        op = Elementwise(body, numpy, source)
        op.dtypes = dtypes
        op.result = result
        op.fixed = fixed or {}
        op.domain = domain
        op.largest = largest
        op.differentiable = differentiable
        op.places = places
        op.numbers = op.arity - 1 if numbers is None else numbers
        op.truths = truths
        op.divides = divides
        op.peer = peer or op.peer
        if not body.__module__.startswith("numbatorch."):  # those of ours have their tests
            check_name(op)
            import_module("numbatorch.ops.checked_body").check_body(op)
        for alias in aliases:
            surface.enter(op.public, alias, places)
        return register(op)

    return decorate


class Inferred(Op):
    """An operator whose shape rule is a function of its operands' nodes and attributes.

    Attributes:
        reports: whether a run may find an operand wrong, and then names who called.
    """

    reports = False

    def __init__(self, reference: Callable[..., Any], source: str):
        super().__init__(reference.__name__, reference, source)
        self.rule: Callable[..., Any] | None = None
        self.defaults = defaults_of(reference)

    @cached_property
    def attributes(self) -> Parameters:
        """What its attributes may be."""
        return Parameters(self.reference, attributes=True)

    @cached_property
    def _on_tensors(self) -> Callable[..., Any]:
        def function(*operands: Any, **attrs: Any) -> Node:
            return self.apply(*operands, **attrs)

        return surface.on_tensors(function, self.name)

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        """Apply to nodes, or to tensors: then the result is a tensor."""
        return self._on_tensors(*operands, **attrs)

    def infer(self, function: Callable[..., Any]) -> Inferred:
        """Decorator: `function(*nodes, **attrs)` checks them and gives (shape, dtype)."""
        self.rule = function
        return self

    def apply(self, *operands: Any, **attrs: Any) -> Node:
        """Infer by the operator's own rule."""
        assert self.rule is not None, self.name
        attrs = {**self.defaults, **attrs}
        if attrs:
            self.attributes.check_all(self.name, attrs)
        shape, dtype = self.rule(*operands, **attrs)
        if self.reports:
            caller.note(attrs)
        return Node(self, operands, attrs, shape, dtype, common_device(self.name, operands))


def over_last_dimensions(node: Node, _operands: tuple[Node, ...]) -> dict[str, Any]:
    """`Op.batch` of an operator over the last dimensions: any may stand in front of them."""
    return node.attrs


class View(Inferred):
    """Changes a Layout and never runs; the reference is the same view in NumPy.

    Attributes:
        layout: (layout, **attrs) -> layout, or None where no strides express the view.
        keeps_order: whether row-major elements lie as before, so that memory is shared.
        reinterprets: whether it reads the bytes in memory as elements of another dtype.
        merge: (inner attrs, outer attrs) -> attrs of one view for two in a row, or None.
        write: (input, value, **attrs) -> the input with `value` as its view; None where the result
            is a value of its own, which is changed without changing the input.
    """

    layout: Callable[..., Layout | None]
    write: Callable[..., Node] | None = None
    keeps_order = False
    reinterprets = False
    merge: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] | None = None

    def writes(self, function: Callable[..., Node]) -> View:
        """Decorator: `function(input, value, **attrs)` is the input with `value` as its view."""
        self.write = function
        return self

    def known(self, x: Node, attrs: dict[str, Any], shape: Shape) -> Node:
        """What `apply` gives for attributes that are known to fit, and then have this shape."""
        depth = 0 if x.buffer is not None else x.depth
        required = x.requires_grad and _MODE.grad and self.differentiable
        node = _node(self, (x,), attrs, x, depth + 1, required)
        node.shape = shape
        return node

    def changes_nothing(self, node: Node) -> bool:
        """Whether the result is the input, element by element."""
        whole = Layout.contiguous(node.inputs[0].shape)
        if node.shape != whole.shape or node.dtype is not node.inputs[0].dtype:
            return False
        return self.layout(whole, **node.attrs) == whole


def view(
    layout: Callable[..., Layout | None],
    keeps_order: bool = False,
    merge: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] | None = None,
    reinterprets: bool = False,
) -> Callable[[Callable[..., Any]], View]:
    """Decorator: register a NumPy view function as a view operator; arguments as in `View`."""

    def decorate(reference: Callable[..., Any]) -> View:
        op = View(reference, "")
        op.layout = layout
        op.dtypes = dt.PLAIN + dt.COMPLEX
        op.keeps_order = keeps_order
        op.reinterprets = reinterprets
        op.merge = merge
        return register(op)

    return decorate
