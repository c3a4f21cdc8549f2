"""The lazy graph: immutable nodes that say what to compute, made by calls and read by `compile`.

A node's shape and dtype are known when it is made, so errors rise at the caller's line.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ContextDecorator, contextmanager
from typing import Any, NamedTuple, TypeVar

from numbatorch.device import Device
from numbatorch.dtype import PLAIN, DType, float64
from numbatorch.errors import DTypeError, message
from numbatorch.shape import Shape

# A graph deeper than this is realized when a tensor is made of it, so that a sum that is kept in
# a loop and never read stays flat in memory.
DEPTH_LIMIT = 2000

Batch = Callable[["Node", tuple["Node", ...]], "Node | dict[str, Any] | None"]


class Op:
    """What a node applies: shape rule, NumPy reference, gradient and source in one record.

    Attributes:
        name: lowercase verb or name from maths, unique; a trailing underscore is dropped.
        reference: (*arrays, **attrs) -> array, in NumPy; the definition of the operator.
        gradient: (g, y, *inputs, **attrs) -> cotangents of the inputs, as graph expressions. For
            an operator with several outputs g and y are tuples; g holds None for an output that
            no cotangent reaches.
        differentiable: False where the result does not depend smoothly on any input.
        dtypes: what operands may be; tests draw them in every one.
        source: where the maths comes from.
        peer: the function of another library that it is tested beside: PyTorch's of its name
            unless the record says otherwise; None if there is none.
        sample: (random generator) -> (arrays, attrs), drawn by the property tests.
        rewrite: (node) -> a simpler node of the same value, or None.
        costly: whether its result, where it may be read again, is worth a buffer.
        batch: (node, operands) -> the node of a batch for that of one example, where each operand
            has one more dimension in front; or its attributes, if no more than those change; or
            None where it has no such form. `vmap` knows it of elementwise work and reductions.
        shared: operands (by number) that stay as they are beside batches of the others: weights.
        hides: whether it can be told to leave elements out; NaN among those may reach the result.
        told: (node) -> the name and the operands that users see, where they are not the record's.
    """

    costly = False
    hides = False
    told: Callable[[Node], tuple[str, tuple[Node, ...]]] | None = None
    shared: tuple[int, ...] = ()

    def __init__(self, name: str, reference: Callable[..., Any], source: str = "") -> None:
        self.name = name.rstrip("_")
        self.reference = reference
        self.source = source
        self.peer: str | None = f"torch.{self.name}"
        self.gradient: Callable[..., Any] | None = None
        self.differentiable = True
        self.dtypes: tuple[DType, ...] = PLAIN
        self.sample: Callable[..., Any] | None = None
        self.rewrite: Callable[[Node], Node | None] | None = None
        self.batch: Batch | None = None
        self.__doc__ = reference.__doc__

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    def vjp(self, function: Callable[..., Any]) -> Op:
        """Decorator: `function(g, y, *inputs, **attrs)` gives the cotangents of the inputs."""
        self.gradient = function
        return self

    def simplify(self, function: Callable[[Node], Node | None]) -> Op:
        """Decorator: `function(node)` gives a simpler node of the same value, or None."""
        self.rewrite = function
        return self

    def samples(self, function: Callable[..., Any]) -> Op:
        """Decorator: `function(rng)` draws `(arrays, attrs)` for the property tests."""
        self.sample = function
        return self

    def batches(self, function: Batch, shared: tuple[int, ...] = ()) -> Op:
        """Say how it is applied to batches: `batch` and `shared`."""
        self.batch, self.shared = function, shared
        return self

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        """`apply`; operators that users make take tensors here as well."""
        return self.apply(*operands, **attrs)

    def apply(self, *operands: Any, **attrs: Any) -> Node:
        """The node that applies this operator; checks operands and infers shape and dtype."""
        raise TypeError(f"{self.name} is not applied by a call")


class Node:
    """One value of the graph, which it stays: others see it and count on that.

    Attributes:
        op, inputs, attrs: what it computes and from what. Who makes a node may mark it before
            others see it; after that one function writes here, `ops.operands.settle`: a
            node that gets its buffer becomes a leaf, unless a gradient has to walk through it.
        shape, dtype, device: known before anything runs.
        requires_grad: whether a gradient may flow through it.
        buffer: memory with the value in row-major order, once it is realized; set by `settle`.
        depth: longest way to a realized node when it was made.
        trace: number of the trace of a compiled function that made it, or 0; see tensor/mapping.py.
        hooks: what is called with its gradients, if anything is (`gradients.Hooks`).
        recipe: what made it and all on the way to its operands, if one did (`ops/known_calls.py`).
        ends_gradient: whether it is a leaf of the gradient, whose inputs are cut off.
    """

    ends_gradient = False
    hooks: Any
    recipe: Any

    __slots__ = (
        "__weakref__",
        "attrs",
        "buffer",
        "depth",
        "device",
        "dtype",
        "hooks",
        "inputs",
        "op",
        "recipe",
        "requires_grad",
        "shape",
        "trace",
    )

    def __init__(
        self,
        op: Op,
        inputs: tuple[Node, ...],
        attrs: dict[str, Any],
        shape: Shape,
        dtype: DType,
        device: Device,
    ) -> None:
        if dtype.part is float64 and not device.has_float64:
            narrow = "complex64" if dtype.is_complex else "float32"
            hint = f"use {narrow}, or device cpu for {dtype.name}"
            about = op.name if inputs else "device"  # leaves are not what was called
            raise DTypeError(message(about, f"device {device} has no {dtype.name}", hint=hint))
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.shape = shape
        self.dtype = dtype
        self.device = device
        self.buffer: Any = None
        self.trace = _mode.trace
        depth, reached = 0, False
        for x in inputs:
            if x.buffer is None and x.depth > depth:
                depth = x.depth
            reached = reached or x.requires_grad
        self.requires_grad: bool = (
            reached and dtype.kind in "fc" and _mode.grad and op.differentiable
        )
        self.depth: int = depth + 1

    def __repr__(self) -> str:
        return f"Node({self.op.name}, {self.shape}, {self.dtype.name})"

    def over(self, inputs: tuple[Node, ...]) -> Node:
        """The same operator on other inputs of the same shapes and dtypes."""
        if self.op is PART:
            whole: Any = inputs[0]
            part: Node = whole.part(self.attrs["index"])
            return part
        return Node(self.op, inputs, self.attrs, self.shape, self.dtype, self.device)

    def __add__(self, other: Any) -> Node:
        return _elementary.arithmetic().add.apply(self, other)

    def __radd__(self, other: Any) -> Node:
        return _elementary.arithmetic().add.apply(other, self)

    def __sub__(self, other: Any) -> Node:
        return _elementary.arithmetic().sub.apply(self, other)

    def __rsub__(self, other: Any) -> Node:
        return _elementary.arithmetic().sub.apply(other, self)

    def __mul__(self, other: Any) -> Node:
        return _elementary.arithmetic().mul.apply(self, other)

    def __rmul__(self, other: Any) -> Node:
        return _elementary.arithmetic().mul.apply(other, self)

    def __truediv__(self, other: Any) -> Node:
        return _elementary.arithmetic().div.apply(self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return _elementary.arithmetic().div.apply(other, self)

    def __pow__(self, other: Any) -> Node:
        return _elementary.arithmetic().pow.apply(self, other)

    def __neg__(self) -> Node:
        return _elementary.arithmetic().neg.apply(self)


class Arithmetic(NamedTuple):
    """The operators that `x + y` and its like make of nodes."""

    add: Op
    sub: Op
    mul: Op
    div: Op
    pow: Op
    neg: Op


class Elementary(NamedTuple):
    """The operators that any graph is built with, each given by a function that loads it.

    Attributes:
        arithmetic: what arithmetic on nodes makes.
        cast, expand: how operands of other dtypes and shapes meet.
        divisor: what looks that no integer is divided by 0.
    """

    arithmetic: Callable[[], Arithmetic]
    cast: Callable[[], Op]
    expand: Callable[[], Op]
    divisor: Callable[[], Op]


_elementary: Elementary


def elementary() -> Elementary:
    """The operators that any graph is built with."""
    return _elementary


def builds_with(operators: Elementary) -> None:
    """Let graphs be built with `operators`, which stand in the layer above (ops/families.py)."""
    global _elementary
    _elementary = operators


class TupleNode(Node):
    """A node with several outputs, each of which is read through a node of the operator `part`.

    It has no value of its own; its shape and dtype are those of the first output. It knows its
    parts as long as something else holds them, so that there is one node for each output.

    Attributes:
        outputs: shape and dtype of each.
    """

    __slots__ = ("_parts", "outputs")

    def __init__(
        self,
        op: Op,
        inputs: tuple[Node, ...],
        attrs: dict[str, Any],
        outputs: Sequence[tuple[Shape, DType]],
        device: Device,
    ) -> None:
        super().__init__(op, inputs, attrs, *outputs[0], device)
        self.outputs = tuple(outputs)
        self._parts: dict[int, weakref.ref[Node]] = {}
        self.requires_grad = (
            _mode.grad
            and op.differentiable
            and any(dtype.kind in "fc" for _shape, dtype in outputs)
            and any(x.requires_grad for x in inputs)
        )

    def over(self, inputs: tuple[Node, ...]) -> Node:
        """The same operator on other inputs of the same shapes and dtypes."""
        return TupleNode(self.op, inputs, self.attrs, self.outputs, self.device)

    def part(self, index: int) -> Node:
        """The node that reads output number `index`."""
        known = self._parts.get(index)
        found = None if known is None else known()
        if found is None:
            shape, dtype = self.outputs[index]
            found = Node(PART, (self,), {"index": index}, shape, dtype, self.device)
            found.requires_grad = self.requires_grad and dtype.kind in "fc"  # in any mode
            found.trace = self.trace
            self._parts[index] = weakref.ref(found)
        return found

    def parts(self) -> tuple[Node, ...]:
        """The nodes that read the outputs, in order."""
        return tuple(map(self.part, range(len(self.outputs))))

    def held_parts(self) -> list[Node]:
        """Those of the parts that something holds."""
        found = (reference() for reference in list(self._parts.values()))
        return [node for node in found if node is not None]


class _Mode(threading.local):
    grad = True
    trace = 0
    maps: tuple[Any, ...] = ()
    caller: Any = None
    beyond = 0


# Runs that have begun, in any thread. What comes within one, as a finalizer or a signal's handler
# does, has its results noted before it looks at what a tensor holds (backends/outcome.py).
runs: list[Any] = []

_traces = itertools.count(1)


_mode = _Mode()


def thread_mode() -> _Mode:
    """For each thread: what new nodes record, `grad` and `trace`; `maps`, the calls of vmap.

    And `caller`, the public function that is called (ops/caller.py); `beyond`, how often a call did
    what is more than building a graph (ops/known_calls.py).
    """
    return _mode


def grad_enabled() -> bool:
    """Whether new nodes record that a gradient may flow through them.

    >>> with nt.no_grad():
    ...     nt.is_grad_enabled()
    False
    """
    return _mode.grad


class GradMode(ContextDecorator):
    """Sets `grad_enabled()` within a block or a function, for this thread; None leaves it."""

    def __init__(self, enabled: bool | None) -> None:
        self._enabled = enabled
        self._before: list[bool] = []  # a mode may be entered within itself

    def __enter__(self) -> None:
        self._before.append(_mode.grad)
        if self._enabled is not None:
            _mode.grad = self._enabled

    def __exit__(self, *raised: object) -> None:
        _mode.grad = self._before.pop()

    def _recreate_cm(self) -> Any:
        """What a decorated function enters: one for each call, as calls may be of many threads."""
        return type(self)(self._enabled)


@contextmanager
def trace_mode(number: int | None = None) -> Iterator[int]:
    """Within a block, nodes that this thread makes carry the number of a trace; yields it.

    Args:
        number: a new one unless given; 0 is no trace.
    """
    before = _mode.trace
    _mode.trace = next(_traces) if number is None else number
    try:
        yield _mode.trace
    finally:
        _mode.trace = before


def current_trace() -> int:
    """Number of the trace that this thread makes nodes for, or 0."""
    return _mode.trace


_OPS: dict[str, Op] = {}

AnyOp = TypeVar("AnyOp", bound=Op)


def _load_nothing(*_names: str) -> None:
    """What `find` calls before ops/families.py says how to load an operator."""


_load: Callable[[str], None] = _load_nothing
_load_own: Callable[[str, str], None] = _load_nothing


def check_name(op: Op) -> None:
    """Fail unless the name of `op` is new: the library's own counts, loaded or not."""
    load_own("records", op.name, getattr(op, "function", op.reference))
    if op.name in _OPS:
        hint = "graph.forget(name) removes one, to define it anew"
        raise ValueError(message(op.name, "an operator of this name is registered", hint=hint))


def register(op: AnyOp) -> AnyOp:
    """Enter `op` under its name, which must be new."""
    check_name(op)
    _OPS[op.name] = op
    return op


def forget(name: str) -> None:
    """Remove the operator called `name`, so that another can have the name."""
    del _OPS[name]


def find(name: str) -> Op:
    """The operator called `name`, loaded if need be; KeyError if there is none."""
    try:
        return _OPS[name]
    except KeyError:
        _load(name)
        return _OPS[name]


def loads_unknown(load: Callable[[str], None], own: Callable[[str, str], None]) -> None:
    """Let `find` call `load(name)`, which may register it, for a name that is unknown.

    Args:
        own: (place, name) -> loads what the library itself has there under that name.
    """
    global _load, _load_own
    _load, _load_own = load, own


def load_own(place: str, name: str, function: Callable[..., Any]) -> None:
    """Load what the library itself has at a place under a name, before a user's function is there.

    Args:
        function: that would have the name.
    """
    if not str(getattr(function, "__module__", "")).startswith("numbatorch."):
        _load_own(place, name)


def registered() -> tuple[Op, ...]:
    """Every operator registered so far, in order of registration."""
    return tuple(_OPS.values())


def _part(outputs: tuple[Any, ...], *, index: int) -> Any:
    """One output of a node that has several."""
    return outputs[index]


PART = Op("part", _part)


def toposort(
    roots: Iterable[Node], through_realized: bool = False, stop: Collection[Node] = ()
) -> list[Node]:
    """Every node that `roots` need, inputs before users.

    Args:
        roots: where to start.
        through_realized: whether the inputs of realized nodes count; else these are leaves.
        stop: nodes that count as leaves.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    entered: list[Node] = []  # nodes whose inputs come first, and None in the stack below these
    stack: list[Node | None] = [*roots]
    stack.reverse()
    while stack:
        node = stack.pop()
        if node is None:
            order.append(entered.pop())
        elif node not in seen:
            seen.add(node)
            inputs = node.inputs
            if not inputs or (node.buffer is not None and not through_realized) or node in stop:
                order.append(node)
                continue
            entered.append(node)
            stack.append(None)
            for x in reversed(inputs):
                if x not in seen:
                    stack.append(x)
    return order


def verify(roots: Iterable[Node]) -> None:
    """Check the invariants of a graph; a pass that breaks one is a defect of ours."""
    for node in toposort(roots):
        assert all(isinstance(size, int) and size >= 0 for size in node.shape), node
        for operand in node.inputs:
            assert operand.device == node.device, (node, operand)
