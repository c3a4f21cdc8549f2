"""What operators are applied to: leaves of the graph, numbers, dtypes that meet, one device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import numpy_ignores_errors
from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.errors import (
    DeviceError,
    DivisionByZero,
    DTypeError,
    OutOfRange,
    message,
    out_of_memory,
)
from numbatorch.graph import PART, Node, Op, elementary, register, thread_mode, toposort
from numbatorch.ops import caller
from numbatorch.shape import Shape, list_shape, numel
from numbatorch.variable import is_variable

_MODE = thread_mode()


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


def _example(batch: Any, **_attrs: Any) -> NoReturn:
    """One example of a batch, which stands for each of them."""
    problem = "a value that depends on the example is read when the function has ended"
    hint = "the function gives back what it computes, and writes it to no tensor from outside"
    example = f"example {list_shape(batch.shape[1:])} {getattr(batch.dtype, 'name', batch.dtype)}"
    raise RuntimeError(message("vmap", problem, example, hint=hint))


# attrs: level, a number of its own for each call of vmap. Its input is the batch.
EXAMPLE = Op("example", _example)
EXAMPLE.rewrite = lambda node: _example(node.inputs[0])


def is_view(node: Node) -> bool:
    """Whether a node shows its operand through a layout: its operator is a `registry.View`.

    That class stands in a layer above this one, so it is told by what it alone has.
    """
    return hasattr(node.op, "layout")


LARGEST = 1 << 61  # bytes of a value; sizes and work of larger ones leave int64


def refuse_too_large(order: Sequence[Node], roots: Sequence[Node]) -> None:
    """Raise OutOfMemory where a value, no view of one, has more bytes than a memory can have."""
    large = [x for x in order if numel(x.shape) * x.dtype.itemsize // x.dtype.block > LARGEST]
    if not large:
        return
    large = [x for x in large if not is_view(x)]
    for node in sorted(large, key=lambda x: isinstance(x.op, Leaf)):
        named = node if node.inputs else roots[0]
        name, out = shown_result(named)
        rows = [f"operand {describe(x)}" for x in named.inputs]
        requested = numel(node.shape) * node.dtype.itemsize // node.dtype.block
        error = out_of_memory(str(node.device), requested, 0, 0)
        raise error.within(name, out, *rows)


def example(batch: Node, level: int) -> Node:
    """What stands for each of the examples, which lie along dimension 0 of a node."""
    attrs = {"level": level}
    return Node(EXAMPLE, (batch,), attrs, batch.shape[1:], batch.dtype, batch.device)


def refuse_of_example(operator: str, *nodes: Node) -> None:
    """Raise RuntimeError where a value depends on an example, and so cannot be read.

    Args:
        operator: who reads it, where it is no public function.
    """
    for node in nodes if _MODE.maps else ():
        if not is_of_example(node):
            continue
        called = caller.current()
        reader = operator or (called.name if called else "the function")
        problem = f"{reader} reads a value that depends on the example"
        raise RuntimeError(message("vmap", problem, f"value {describe(node)} of each example"))


def is_of_example(node: Node) -> bool:
    """Whether a value depends on an example, so that it cannot be read."""
    return node.buffer is None and any(x.op is EXAMPLE for x in toposort([node]))


COMPILED = _leaf("compiled", "A result of a compiled function without a gradient; attrs: refusal.")


EMPTY = _leaf("empty", "Memory whose values are not defined, to be written by slice_update.")


def settle(node: Node, buffer: Any) -> None:
    """Give a node its value, and let go what it was computed from unless a gradient walks there."""
    node.buffer = buffer
    if node.inputs and (node.ends_gradient or not node.requires_grad):
        node.op, node.inputs, node.attrs = BUFFER, (), {}


def const(value: Any, dtype: DType, device: Device, shape: Shape = ()) -> Node:
    """`value`, as `dtype` holds it, everywhere in `shape`."""
    if dtype.compute is not dtype:
        value = rounded(value, dtype)
    return Node(CONST, (), {"value": value}, shape, dtype, device)


def rounded(value: Any, dtype: DType) -> Any:
    """A number as a half type holds it, for arithmetic that is done in float32."""
    if is_variable(value):
        return value
    with numpy_ignores_errors():
        return float(np.asarray(value).astype(dtype.numpy))


def repeated(node: Node, shape: Shape) -> Node:
    """A constant in another shape."""
    return Node(CONST, (), node.attrs, shape, node.dtype, node.device)


def made_by(node: Node) -> tuple[str, tuple[Node, ...]]:
    """The name of the operator that gave a value, and its operands, as users see them."""
    whole = node.inputs[0] if node.op is PART else node
    told = whole.op.told
    return (whole.op.name, whole.inputs) if told is None else told(whole)


def shown_result(node: Node) -> tuple[str, str]:
    """The operator of a value and the value itself, as errors of its memory show them: what is
    computed from nothing is a tensor, however it came about."""
    if not isinstance(node.op, Leaf):
        return made_by(node)[0], f"out {describe(node)}"
    filled = ""
    if node.op is CONST:
        filled = f", {node.attrs['value']} everywhere"
    elif node.op is IOTA:
        filled = ", its elements count from 0"
    return "tensor", f"out {describe(node)}{filled}"


def zeros_like(x: Node) -> Node:
    """The cotangent where a gradient is zero everywhere."""
    return const(0.0, x.dtype, x.device, x.shape)


def is_constant(node: Node, value: float) -> bool:
    """Whether a node is `value` everywhere, in every run of a plan."""
    found = node.attrs.get("value")
    return node.op is CONST and not is_variable(found) and found == value


def scalar_dtype(value: Any) -> DType:
    """The dtype that a Python number has by itself: bool, int64, or the default of floats."""
    if isinstance(value, bool):
        return dt.bool_
    if isinstance(value, int):
        return dt.int64
    if isinstance(value, float):
        return dt.default_dtype()
    if isinstance(value, complex):
        return dt.default_dtype().complex
    raise DTypeError(f"{value!r} is neither a tensor nor a number")


_CATEGORY = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def result_type(operands: Sequence[Any]) -> DType:
    """The dtype in which nodes and Python numbers meet, as in PyTorch.

    A number, and a 0-d node beside others, counts only if it is of a higher category (bool,
    integer, float, complex) than every node with dimensions.
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
        if best is None or _CATEGORY.get(group.kind, 4) > _CATEGORY.get(best.kind, 4):
            # A complex number makes floats complex, and no wider than they are.
            meets_float = best is not None and best.kind == "f" and group.kind == "c"
            best = best.complex if best is not None and meets_float else group
    assert best is not None
    return best


def as_node(value: Any, dtype: DType, device: Device) -> Node:
    """`value` as an operand of `dtype`: a node is cast, a number becomes a constant.

    A number that meets a half type is not rounded to it: as on PyTorch's GPUs, arithmetic is done
    with both in float32, and its result is rounded.
    """
    if isinstance(value, Node):
        return value if value.dtype is dtype else elementary().cast().apply(value, dtype=dtype)
    return Node(CONST, (), {"value": value}, (), dtype, device)


def difference(lhs: Node, rhs: Node, dtype: DType) -> Node:
    """lhs - rhs in `dtype`; that of integers is exact before it is rounded."""
    if all(x.dtype.kind in "iu" for x in (lhs, rhs)):
        lhs, rhs = (
            x if x.dtype.itemsize == 8 else as_node(x, dt.int64, x.device) for x in (lhs, rhs)
        )
    elif all(x.dtype.kind != "b" for x in (lhs, rhs)):
        lhs, rhs = (as_node(x, dtype, x.device) for x in (lhs, rhs))
    return as_node(lhs - rhs, dtype, lhs.device)


def require_in_range(operator: str, number: int, dtype: DType) -> None:
    """Raise OutOfRange unless the integer `dtype` holds `number`."""
    bits = 8 * dtype.itemsize
    low, end = (0, 1 << bits) if dtype.kind == "u" else (-1 << bits - 1, 1 << bits - 1)
    if not low <= number < end:
        problem = f"{number} does not fit {dtype.name}"
        raise OutOfRange(message(operator, problem, range_of(dtype)))


BY_ZERO = "an integer is divided by 0"


def as_divisor(operator: str, x: Node, operands: Iterable[tuple[str, Any]]) -> Node:
    """The divisor x of integers, of which a run finds that no element is 0."""
    called = caller.of_operands(operator, operands)
    value = x.attrs.get("value")
    if x.op is not CONST or is_variable(value):
        checked: Node = caller.called_for(called, elementary().divisor().apply, x)
        return checked
    if value == 0:
        raise DivisionByZero(message(called.name, BY_ZERO, *called.rows))
    return x


def range_of(dtype: DType) -> str:
    """What an integer dtype holds, in words for an error."""
    limits = np.iinfo(dtype.numpy)
    return f"{dtype.name} goes from {limits.min} to {limits.max}"


def expanded(node: Node, shape: Shape) -> Node:
    """`node` broadcast to `shape`."""
    if node.shape == shape:
        return node
    if node.op is CONST and not node.shape:
        return repeated(node, shape)
    return elementary().expand().apply(node, shape=shape)
