"""Device "numpy": runs a graph node by node through the references. Slow, never wrong."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import import_module, numpy_ignores_errors
from numbatorch.dtype import DType
from numbatorch.errors import DivisionByZero, LinAlgError, OutOfMemory, OutOfRange, message
from numbatorch.graph import PART, Node, TupleNode, toposort
from numbatorch.layout import Layout
from numbatorch.ops.caller import Outside, arguments, of_node, out_of_range, reported
from numbatorch.ops.operands import (
    BUFFER,
    CONST,
    EMPTY,
    IOTA,
    describe,
    refuse_too_large,
    settle,
    shown_result,
)
from numbatorch.ops.registry import View
from numbatorch.shape import Shape
from numbatorch.variable import NO_VALUES, Values, current

Array = np.ndarray[Any, Any]


class ReferenceBackend:
    """Buffers are NumPy arrays; block types are arrays of bytes, one row of blocks a row."""

    def realize(self, nodes: Sequence[Node], order: list[Node] | None = None) -> None:
        """Compute every node that `nodes` need, once, in order."""
        values: dict[Node, Any] = {}
        order = order or toposort(nodes)
        refuse_too_large(order, nodes)
        for node in order:
            with memory_for(node):
                values[node] = evaluate(node, [values[x] for x in node.inputs if x in values])
        for node in nodes:
            if node.buffer is None:
                with memory_for(node):
                    settle(node, np.ascontiguousarray(values[node]).reshape(node.shape))

    def realize_small(self, root: Node, known: bool = False) -> bool:
        """There is no short way."""
        return False

    def view_to_numpy(self, buffer: Array, dtype: DType, layout: Layout) -> Array | None:
        """It takes a plan."""
        return None

    def from_numpy(self, array: Array, dtype: DType) -> Array:
        """The array itself, row-major."""
        return np.ascontiguousarray(array).reshape(array.shape)

    def zeros(self, shape: Shape, dtype: DType) -> Array:
        """NumPy's own."""
        return np.zeros(shape, dtype.numpy)

    def to_numpy(self, buffer: Array, node: Node) -> Array:
        """The array itself."""
        return buffer

    def empty_cache(self) -> None:
        """NumPy keeps nothing."""


@contextmanager
def memory_for(node: Node) -> Iterator[None]:
    """NumPy's want of memory within the block becomes the operator's, with its sizes."""
    try:
        yield
    except OutOfMemory:
        raise
    except MemoryError as err:
        name, out = shown_result(node)
        rows = (out, *operands(node), str(err))
        raise OutOfMemory(message(name, f"out of memory on device {node.device}", *rows)) from err


def evaluate(node: Node, inputs: Sequence[Any], values: Values = NO_VALUES) -> Any:
    """The value of `node` by its NumPy reference; a tuple if it has several outputs.

    Half types are computed in float32 and block types decoded first, as on every device.

    Args:
        values: of plan variables.
    """
    if node.buffer is not None:
        held: Array = node.buffer
        return held
    if node.op is CONST:
        return np.broadcast_to(_number(node.attrs["value"], node.dtype), node.shape)
    if node.op is IOTA:
        return np.arange(node.shape[0], dtype=np.int64)
    if node.op is EMPTY:
        return np.zeros(node.shape, node.dtype.numpy)
    assert node.op is not BUFFER
    if node.op is PART:
        return node.op.reference(*inputs, **node.attrs)
    if isinstance(node.op, View):
        if node.dtype.block > 1:  # of which there are the bytes, and views by whole rows alone
            *rows, columns = node.shape
            packed: Array = inputs[0].reshape(*rows, node.dtype.nbytes(columns))
            return packed
        viewed: Array = node.op.reference(*inputs, **node.attrs)
        return viewed
    wide = [widen(x, operand) for x, operand in zip(inputs, node.inputs, strict=True)]
    with numpy_ignores_errors():
        try:
            attrs = {name: current(value, values) for name, value in arguments(node).items()}
            out = node.op.reference(*wide, **attrs)
        except (IndexError, ZeroDivisionError, np.linalg.LinAlgError) as err:
            raise _reported(node, err) from err
        except Exception as err:
            problem = "its NumPy function raised this"
            err.add_note(message(node.op.name, problem, *operands(node)))
            raise
        if isinstance(node, TupleNode):
            pairs = zip(out, node.outputs, strict=True)
            return tuple(np.asarray(x).astype(d.numpy, copy=False) for x, (_shape, d) in pairs)
        return np.asarray(out).astype(node.dtype.numpy, copy=False)


def _reported(node: Node, error: Exception) -> Exception:
    """What a NumPy function finds wrong with its operands, told of who called for the node."""
    name, called, problem = node.op.name, of_node(node), str(error)
    if isinstance(error, Outside):
        return out_of_range(name, called, error.index, error.bound, error.least)
    if isinstance(error, np.linalg.LinAlgError):
        return reported(LinAlgError, name, called, problem.lower(), operands(node))
    kind = OutOfRange if isinstance(error, IndexError) else DivisionByZero
    return reported(kind, name, called, problem)


def operands(node: Node) -> list[str]:
    """A row of an error for each input."""
    return [f"operand {describe(x)}" for x in node.inputs]


def _number(value: Any, dtype: DType) -> Array:
    """A number in a dtype; in float32 if it is one that a half type does not hold, unrounded."""
    with numpy_ignores_errors():
        found = np.asarray(value).astype(dtype.compute.numpy)
        narrow = found.astype(dtype.numpy)
        same = narrow.astype(found.dtype) == found
    return narrow if same or found != found else found


def widen(array: Array, node: Node) -> Array:
    """`array` in the dtype that arithmetic on the node's dtype is done in."""
    if node.dtype.is_storage:
        return array
    if node.dtype.kind == "q":
        import_module("numbatorch.ops.blocks")
        from numbatorch.ops.blocks import dequantize

        return dequantize(array, node.dtype, node.shape)
    if node.dtype.compute is node.dtype:
        return array
    return array.astype(dt.float32.numpy)
