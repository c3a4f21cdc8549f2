"""The record of a reduction or a scan: a state, in functions of the scalar language."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, Op, TupleNode, register
from numbatorch.ops.operands import describe
from numbatorch.ops.scalar import Form, ScalarFunction
from numbatorch.ops.scalar_program import Operand, Program, Value
from numbatorch.ops.signature import Parameters, defaults_of
from numbatorch.ops.surface import on_tensors
from numbatorch.shape import Shape

Function = Callable[..., Any]
Results = DType | tuple[DType, ...]


class ValuesAndIndices(NamedTuple):
    """Elements that were chosen along a dimension, and where they stood."""

    values: Node
    indices: Node


def word_of(dtype: DType) -> DType:
    """The dtype of a word of a state that holds elements of `dtype`: bool as 0 or 1."""
    return dt.uint8 if dtype is dt.bool_ else dtype.compute


def lowest(dtype: DType) -> float:
    """The number of `dtype` that none is below."""
    if dtype.kind in "iu":
        return int(np.iinfo(dtype.numpy).min)
    return False if dtype.kind == "b" else -highest(dtype)


def highest(dtype: DType) -> float:
    """The number of `dtype` that none is above."""
    if dtype.kind in "iu":
        return int(np.iinfo(dtype.numpy).max)
    if dtype.kind == "b":
        return True
    return 448.0 if dtype is dt.float8_e4m3fn else np.inf  # it has no infinities


def _alone(dtype: DType) -> tuple[DType, ...]:
    return (word_of(dtype),)


@dataclass(frozen=True)
class State:
    """How a reduction goes over its elements: a tuple of words, and functions from words to words.

    The functions are bodies of the scalar language; their keyword-only parameters are attributes
    of the operator. An element is given in the dtype that its arithmetic is done in, bool as uint8.

    Attributes:
        merge: (*state, *state) -> state of both parts together. In a scan the first part stands
            before the second; in a reduction they may lie between each other.
        init: dtype of the first word -> the number that each word of a state of nothing is; those
            beyond the words do not count.
        words: dtype of the elements -> dtypes of the words.
        step: (*state, x, index) -> state with the element x, whose row-major number is index. By
            default (x,), or (x, index) if that is two words, is a state, and merged.
        finish: (*state, count) -> the result of count elements, or a tuple of results; by default
            the words. The count is of the dtype of the first word.
        extreme: the state of a largest or a smallest element where the words are that of all
            elements, and the place of the first that equals it: what stands before it need not be
            looked at one by one.
        narrow: dtype of the elements -> a dtype in which the merged word of a few elements is
            exact, and of how many; None where it is no narrower.
    """

    merge: Function
    init: Callable[[DType], tuple[float, ...]]
    words: Callable[[DType], tuple[DType, ...]] = _alone
    step: Function | None = None
    finish: Function | None = None
    extreme: State | None = None
    narrow: Callable[[DType], tuple[DType, int] | None] = lambda dtype: None

    @property
    def plain(self) -> bool:
        """Whether the result of one element is that element."""
        return self.step is None and self.finish is None

    def begun(self, builder: Program, dtype: DType) -> list[Value]:
        """The state of nothing, of elements of `dtype`."""
        words = self.words(dtype)
        numbers = self.init(words[0])
        return [builder.const(n, word) for n, word in zip(numbers, words, strict=False)]

    def stepped(
        self,
        builder: Program,
        state: Sequence[Value],
        x: Value,
        index: Value,
        attrs: dict[str, Any],
    ) -> list[Value]:
        """`state` with the element `x`."""
        if self.step is None:
            other = [builder.cast(x, state[0].dtype), index][: len(state)]
            return self.merged(builder, state, other, attrs)
        x = builder.cast(x, word_of(x.dtype)) if x.dtype is dt.bool_ else x
        return _expanded(builder, self.step, [*state, x, index], attrs, state)

    def merged(
        self,
        builder: Program,
        state: Sequence[Value],
        other: Sequence[Value],
        attrs: dict[str, Any],
    ) -> list[Value]:
        """The state of both parts."""
        return _expanded(builder, self.merge, [*state, *other], attrs, state)

    def finished(
        self, builder: Program, state: Sequence[Value], count: Value, attrs: dict[str, Any]
    ) -> tuple[Operand, ...]:
        """The results over `count` elements, in whatever dtypes they come; or else the words."""
        if self.finish is None:
            return tuple(state)
        number = builder.cast(count, state[0].dtype)
        found = _call(builder, self.finish, [*state, number], attrs)
        return found if isinstance(found, tuple) else (found,)


def _call(
    builder: Program, function: Function, args: Sequence[Operand], attrs: dict[str, Any]
) -> Operand:
    """Expand a body with those of `attrs` that it has parameters for."""
    if isinstance(function, Form):
        return builder.expand(function, list(args), {})
    scalar = function if isinstance(function, ScalarFunction) else ScalarFunction(function, None)
    first = next(iter(scalar.bodies.values()))
    parameters = inspect.signature(first).parameters.values()
    named = {p.name: attrs[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}
    return builder.expand(scalar, list(args), named)


def _expanded(
    builder: Program,
    function: Function,
    args: Sequence[Operand],
    attrs: dict[str, Any],
    state: Sequence[Value],
) -> list[Value]:
    """The state that a body gives, each word of the dtype that it had."""
    found = _call(builder, function, args, attrs)
    words = found if isinstance(found, tuple) else (found,)
    name = getattr(function, "__name__", "merge")
    if len(words) != len(state):
        problem = f"gives {len(words)} words for a state of {len(state)}"
        raise ValueError(message(name, problem))
    values = []
    for number, (word, before) in enumerate(zip(words, state, strict=True)):
        value = word if isinstance(word, Value) else builder.const(word, before.dtype)
        if value.dtype is not before.dtype:
            problem = f"word {number} of the state is {before.dtype.name}"
            raise DTypeError(message(name, f"{problem}, not {value.dtype.name}"))
        values.append(value)
    return values


class Reduction(Op):
    """out[i] = the finished state of all x[i, j]; `dims` stay, with size 1.

    Attributes:
        state: how it goes over the elements.
        result: dtype of x -> dtype of the result, or a tuple for several results.
        empty: whether a reduction over no elements has a value.
        by_parts: whether complex numbers are reduced by their parts, each by itself.
        scans: whether the result is that of each element and all before it, in place of one.
    """

    scans = False
    costly = True

    def __init__(self, reference: Function, state: State, result: Callable[[DType], Results]):
        super().__init__(reference.__name__, reference)
        self.state = state
        self.result = result
        self.empty = True
        self.by_parts = False
        self.defaults = defaults_of(reference)

    @cached_property
    def attributes(self) -> Parameters:
        """What its attributes may be."""
        return Parameters(self.reference, attributes=True)

    @cached_property
    def _on_tensors(self) -> Callable[..., Any]:
        def function(*operands: Any, **attrs: Any) -> Any:
            self.attributes.check_all(self.name, attrs)
            parts = self.parts(*operands, **attrs)
            return parts[0] if len(parts) == 1 else parts

        return on_tensors(function, self.name)

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        """Apply to a node, or to a tensor: then the result is a tensor; a tuple of several."""
        return self._on_tensors(*operands, **attrs)

    def apply(self, *operands: Any, **attrs: Any) -> Node:
        """The node of an operator of one result; `dims` must be sorted dimension numbers."""
        (node,) = self.parts(*operands, **attrs)
        return node

    def parts(self, *operands: Any, **attrs: Any) -> tuple[Node, ...]:
        """The nodes of the results."""
        (x,) = operands
        dims = attrs["dims"]
        if x.dtype.is_complex and self.by_parts:
            import_module("numbatorch.ops.parts")
            from numbatorch.ops.parts import part_by_part

            return (part_by_part(lambda part: self.apply(part, **attrs), x),)
        if x.dtype not in self.dtypes:
            raise DTypeError(message(self.name, f"has no meaning for {x.dtype.name}"))
        if not self.empty and any(x.shape[d] == 0 for d in dims):
            problem = "a reduction over no elements has no value"
            raise ShapeError(message(self.name, problem, f"input {describe(x)}, dims {dims}"))
        attrs = {**self.defaults, **attrs}
        shape = self.shape(x.shape, dims)
        result = self.result(x.dtype)
        if isinstance(result, DType):
            return (Node(self, (x,), attrs, shape, result, x.device),)
        outputs = [(shape, dtype) for dtype in result]
        return TupleNode(self, (x,), attrs, outputs, x.device).parts()

    def shape(self, shape: Shape, dims: Shape) -> Shape:
        """Of the result."""
        return tuple([1 if i in dims else size for i, size in enumerate(shape)])

    def finished(
        self,
        builder: Program,
        state: Sequence[Value],
        count: Value,
        dtype: DType,
        attrs: dict[str, Any],
    ) -> list[Value]:
        """The results over `count` elements of `dtype`, each rounded to its own dtype."""
        result = self.result(dtype)
        dtypes = (result,) if isinstance(result, DType) else result
        values = self.state.finished(builder, state, count, attrs)[: len(dtypes)]
        return [
            builder.cast(v if isinstance(v, Value) else builder.const(v, d.compute), d)
            for v, d in zip(values, dtypes, strict=True)
        ]

    def of_nothing(self, dtype: DType, attrs: dict[str, Any]) -> float:
        """The result over no elements of `dtype`."""
        import_module("numbatorch.ops.scalar_reader")
        from numbatorch.ops.scalar_reader import Builder

        builder = Builder()  # it computes with literals
        numbers = {k: v for k, v in attrs.items() if k != "dims"}
        begun = self.state.begun(builder, dtype)
        (found,) = self.finished(builder, begun, builder.const(0, dt.int64), dtype, numbers)
        assert found.op == "const", self
        value: float = found.payload.item()
        return value


class Scan(Reduction):
    """out[i, j] = the finished state of x[i, 0] to x[i, j], along the one dimension in `dims`."""

    scans = True

    def shape(self, shape: Shape, dims: Shape) -> Shape:
        """That of x."""
        return shape


def _same(dtype: DType) -> DType:
    return dtype


def reduction(
    state: State,
    *,
    result: Callable[[DType], Results] = _same,
    dtypes: tuple[DType, ...] = dt.PLAIN,
    empty: bool = True,
    by_parts: bool = False,
    differentiable: bool = True,
) -> Callable[[Function], Reduction]:
    """Decorator: register a NumPy reduction, (x, *, dims, ...) with dims kept, as an operator.

    Args:
        state: how kernels compute it.
        result: dtype of x -> dtype of the result, that of x by default; a tuple for several.
        dtypes: of x.
        empty: False if a reduction over no elements is an error.
        by_parts: whether of complex numbers each part is reduced by itself, as for a sum.
        differentiable: False if no gradient flows through it.
    """

    def decorate(reference: Function) -> Reduction:
        op = Reduction(reference, state, result)
        op.dtypes = (*dtypes, *dt.COMPLEX) if by_parts else dtypes
        op.empty, op.by_parts, op.differentiable = empty, by_parts, differentiable
        return register(op)

    return decorate


def scan(
    state: State,
    *,
    result: Callable[[DType], Results] = _same,
    dtypes: tuple[DType, ...] = dt.PLAIN,
    by_parts: bool = False,
    differentiable: bool = True,
) -> Callable[[Function], Scan]:
    """Decorator: register a NumPy scan along the dimension dims[0], (x, *, dims), as an operator.

    Arguments as of `reduction`.
    """

    def decorate(reference: Function) -> Scan:
        op = Scan(reference, state, result)
        op.dtypes = (*dtypes, *dt.COMPLEX) if by_parts else dtypes
        op.by_parts, op.differentiable = by_parts, differentiable
        return register(op)

    return decorate
