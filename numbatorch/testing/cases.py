"""Operands for an operator, drawn from its record: domain, dtypes, samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import device as device_of
from numbatorch.dtype import DType
from numbatorch.graph import Node, Op
from numbatorch.ops import reduce
from numbatorch.ops import view as views
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.registry import Elementwise, View
from numbatorch.ops.structured import Structured
from numbatorch.shape import Shape
from numbatorch.tensor.base import Array, host_array, host_node

# Structured operators that move or add whole elements, and so work on any dtype.
_HALVES = (dt.float16, dt.bfloat16)


@dataclass(frozen=True)
class Case:
    """Arguments of an operator.

    Attributes:
        operands: NumPy arrays in the dtypes of `dtypes`.
        attrs: attributes of the operator.
        output: which of several outputs is looked at.
    """

    op: Op
    operands: tuple[Array, ...]
    dtypes: tuple[DType, ...]
    attrs: dict[str, Any]
    output: int = 0

    def nodes(self, where: str) -> list[Node]:
        """The operands on a device."""
        return [
            host_node(array, dtype, device_of(where))
            for array, dtype in zip(self.operands, self.dtypes, strict=True)
        ]

    def apply(self, nodes: list[Node]) -> Node:
        """The operator on operands given as nodes."""
        if isinstance(self.op, Structured | Reduction):
            return self.op.parts(*nodes, **self.attrs)[self.output]
        return self.op.apply(*nodes, **self.attrs)

    def each_output(self) -> list[Case]:
        """A case for each of the outputs."""
        if not isinstance(self.op, Structured | Reduction):
            return [self]
        count = len(self.op.parts(*self.nodes("numpy"), **self.attrs))
        return [replace(self, output=i) for i in range(count)]

    def chosen(self, outputs: Any) -> Any:
        """The output of the case among what a reference or a fallback gives."""
        return outputs[self.output] if isinstance(outputs, tuple) else outputs

    def run(self, where: str) -> Array:
        """The result on a device."""
        return host_array(self.apply(self.nodes(where)))

    def widened(self) -> Case:
        """The same with floats in float64, and complex numbers in complex128."""
        wide = {"f": dt.float64, "c": dt.complex128}
        dtypes = tuple(wide.get(d.kind, d) for d in self.dtypes)
        arrays = tuple(
            a.astype(d.numpy) if d.kind in wide else a
            for a, d in zip(self.operands, dtypes, strict=True)
        )
        return replace(self, operands=arrays, dtypes=dtypes)


def dtypes_of(op: Op) -> tuple[DType, ...]:
    """The dtypes that tests of `op` draw operands in."""
    if op.sample is None and isinstance(op, Elementwise):
        return op.dtypes
    if isinstance(op, Elementwise):
        return (dt.float64, dt.float32)
    if isinstance(op, View):
        return (dt.float64, dt.float32, dt.bfloat16, dt.complex64, dt.int8, dt.bool_)
    if isinstance(op, Reduction):
        return (dt.float64, dt.float32, *_HALVES, dt.int32, dt.uint8)
    return (dt.float32, dt.float64, *_HALVES)


def draw(op: Op, rng: np.random.Generator, dtype: DType, smooth: bool = False) -> Case | None:
    """A case with operands of `dtype`, or None for an operator without samples.

    Args:
        smooth: keep away from whole numbers and zero, where gradients may jump.
    """
    if op.sample is not None:
        arrays, attrs = op.sample(rng)
        pairs = [_typed(np.asarray(array), dtype) for array in arrays]
        attrs = {**getattr(op, "defaults", {}), **attrs}
        return Case(op, tuple(a for a, _ in pairs), tuple(d for _, d in pairs), attrs)
    if not isinstance(op, Elementwise):
        return None
    shapes = broadcast_shapes(rng, op.arity)
    dtypes = tuple(op.fixed.get(i, dtype) for i in range(op.arity))
    arrays = [
        values(rng, shape, d, op.domain, smooth) for shape, d in zip(shapes, dtypes, strict=True)
    ]
    return Case(op, tuple(arrays), dtypes, dict(op.defaults))


def _typed(array: Array, dtype: DType) -> tuple[Array, DType]:
    """Floats of a sample in the dtype that is tested; indices and masks as they are."""
    if array.dtype.kind != "f":
        return array, dt.from_numpy(array.dtype)
    if dtype.is_complex:
        array = array + 1j * np.flip(array)
    if dtype.kind in "iub":
        array = np.abs(array * 3) if dtype.kind == "u" else array * 3
        array = np.rint(array) if dtype.kind != "b" else array > 0
    return array.astype(dtype.numpy), dtype


def broadcast_shapes(rng: np.random.Generator, count: int) -> list[Shape]:
    """Shapes that broadcast together: some with dimensions of size 1, some of lower rank."""
    rank = int(rng.integers(0, 4))
    whole = [
        int(n) for n in rng.choice([0, 1, 2, 3, 5, 8], rank, p=[0.05, 0.1, 0.2, 0.3, 0.2, 0.15])
    ]
    shapes = []
    for _ in range(count):
        shape = [1 if rng.random() < 0.2 else n for n in whole]
        drop = int(rng.integers(0, rank + 1)) if rng.random() < 0.3 else 0
        shapes.append(tuple(shape[drop:]))
    return shapes


def values(
    rng: np.random.Generator,
    shape: Shape,
    dtype: DType,
    domain: tuple[float, float],
    smooth: bool = False,
) -> Array:
    """Numbers inside `domain`, in `dtype`; some of them whole, so that ties and zeros occur.

    Args:
        smooth: none of them whole or near zero.
    """
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.is_complex:
        parts = (values(rng, shape, dtype.part, domain, smooth) for _ in range(2))
        return np.asarray(next(parts) + 1j * next(parts)).astype(dtype.numpy)
    low, high = domain
    if dtype.kind in "iu":
        bottom = 0 if dtype.kind == "u" else max(int(low) - 1, -9)
        top = max(bottom + 2, min(int(high) + 3, 9))
        return rng.integers(bottom, top, shape).astype(dtype.numpy)
    drawn = rng.uniform(low, high, shape)
    if smooth:
        whole = np.rint(drawn)
        beside = whole + np.where(whole + 0.25 < high, 0.25, -0.25)
        return np.where(np.abs(drawn - whole) < 0.1, beside, drawn).astype(dtype.numpy)
    whole = np.clip(np.rint(drawn), np.ceil(low), np.floor(high))
    if np.ceil(low) <= np.floor(high):
        drawn = np.where(rng.random(shape) < 0.2, whole, drawn)
    return drawn.astype(dtype.numpy)


def strided(node: Node, rng: np.random.Generator) -> Node:
    """The same value as a view of other memory: permuted, every other element, or reversed."""
    array = host_array(node)
    rank = array.ndim
    if rank == 0 or node.dtype.kind == "q":
        return node
    way = int(rng.integers(3))
    if way == 0:
        order = [int(i) for i in rng.permutation(rank)]
        inverse = tuple(order.index(i) for i in range(rank))
        base = host_node(np.ascontiguousarray(array.transpose(order)), node.dtype, node.device)
        return views.permute.apply(base, dims=inverse)
    axis = int(rng.integers(rank))
    if way == 1:
        wide = np.repeat(array, 2, axis)
    else:
        wide = np.flip(array, axis)
    base = host_node(np.ascontiguousarray(wide), node.dtype, node.device)
    size = array.shape[axis]
    step = 2 if way == 1 else -1
    return views.slice_.apply(
        base,
        starts=tuple(size - 1 if i == axis and way == 2 and size else 0 for i in range(rank)),
        sizes=array.shape,
        steps=tuple(step if i == axis else 1 for i in range(rank)),
    )


def repeated(case: Case, where: str, rng: np.random.Generator) -> tuple[list[Node], list[Node]]:
    """The operands, a dimension of one of them repeated: as an expanded view, and as memory."""
    nodes = case.nodes(where)
    picks = [i for i, a in enumerate(case.operands) if a.ndim and a.size and a.dtype.kind in "fc"]
    if not picks:
        return nodes, nodes
    number = picks[int(rng.integers(len(picks)))]
    array = case.operands[number]
    axis = int(rng.integers(array.ndim))
    one = np.ascontiguousarray(np.take(array, [0], axis))
    small = host_node(one, case.dtypes[number], nodes[number].device)
    view = reduce.expand.apply(small, shape=array.shape)
    memory = host_node(
        np.ascontiguousarray(np.broadcast_to(one, array.shape)),
        case.dtypes[number],
        nodes[number].device,
    )
    return (
        [view if i == number else n for i, n in enumerate(nodes)],
        [memory if i == number else n for i, n in enumerate(nodes)],
    )


def kind_of(op: Op) -> str:
    """Row of the table of tolerances for results of `op`."""
    if isinstance(op, Elementwise):
        return "elementwise"
    if isinstance(op, View):
        return "exact"
    if isinstance(op, Reduction):
        return "reduction"
    assert isinstance(op, Structured)
    return "matmul" if op.family == "matmul" else "composite"
