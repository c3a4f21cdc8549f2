"""Operands for an operator, drawn from its record: domain, dtypes, samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.backends.base import backend
from numbatorch.backends.planned import PlanBackend
from numbatorch.device import device as device_of
from numbatorch.dtype import DType
from numbatorch.graph import Node, Op
from numbatorch.ops import reduce
from numbatorch.ops import view as views
from numbatorch.ops.composed import Composed
from numbatorch.ops.drawing import LONG, Draw
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.registry import Elementwise, View
from numbatorch.ops.structured import Structured
from numbatorch.shape import Shape, numel
from numbatorch.tensor.base import Array, host_array, host_node

WHOLE_AT_MOST = 9  # size of most of the whole numbers that are drawn
EXTREMES = 0.05  # part of the integers that are the ends of their dtype


@dataclass(frozen=True)
class Case:
    """Arguments of an operator.

    Attributes:
        operands: NumPy arrays in the dtypes of `dtypes`.
        attrs: attributes of the operator.
    """

    op: Op
    operands: tuple[Array, ...]
    dtypes: tuple[DType, ...]
    attrs: dict[str, Any]

    def nodes(self, where: str) -> list[Node]:
        """The operands on a device."""
        return [
            host_node(array, dtype, device_of(where))
            for array, dtype in zip(self.operands, self.dtypes, strict=True)
        ]

    def apply(self, nodes: list[Node]) -> tuple[Node, ...]:
        """The operator on operands given as nodes: the node of each result."""
        if isinstance(self.op, Structured | Reduction | Composed):
            return self.op.parts(*nodes, **self.attrs)
        return (self.op.apply(*nodes, **self.attrs),)

    def run(self, where: str) -> list[Array]:
        """The results on a device, in memory that held something else."""
        nodes = self.apply(self.nodes(where))
        _spoil(nodes)
        return [host_array(node) for node in nodes]

    def expected(self, computed: DType = dt.float64) -> list[Array]:
        """What the NumPy reference gives for floats in `computed`."""
        wide = self.widened(computed)
        with np.errstate(all="ignore"):
            found = self.op.reference(*wide.operands, **wide.attrs)
        return [np.asarray(x) for x in (found if isinstance(found, tuple | list) else (found,))]

    def widened(self, computed: DType = dt.float64) -> Case:
        """The same with floats, and integers that the operator takes as floats, in `computed`."""
        dtypes = tuple(self._wide(i, dtype, computed) for i, dtype in enumerate(self.dtypes))
        arrays = tuple(
            a.astype(d.numpy, copy=False) for a, d in zip(self.operands, dtypes, strict=True)
        )
        return Case(self.op, arrays, dtypes, self.attrs)

    def _wide(self, number: int, dtype: DType, computed: DType) -> DType:
        if dtype.is_complex:
            return dt.complex128
        promoted = isinstance(self.op, Elementwise) and number not in self.op.fixed
        promoted = promoted and dtype not in self.op.dtypes
        return computed if dtype.kind == "f" or promoted else dtype


def _spoil(nodes: Sequence[Node]) -> None:
    """Leave bytes of no use in the memory that results will get: what no kernel writes is seen."""
    kept = []
    for node in nodes:
        where = backend(node.device)
        if isinstance(where, PlanBackend):
            size = node.dtype.nbytes(numel(node.shape))
            kept.append(where.copy(where.from_numpy(np.full(size, 0x7F, np.uint8), dt.uint8)))


def dtypes_of(op: Op) -> tuple[DType, ...]:
    """The dtypes that tests of `op` draw operands in: all that its record declares."""
    fixed = isinstance(op, Elementwise) and len(op.fixed) == op.arity
    return op.dtypes[:1] if fixed else op.dtypes


def draw(op: Op, rng: Draw, dtype: DType, smooth: bool = False) -> Case | None:
    """A case with operands of `dtype`, or None for an operator without samples.

    Args:
        smooth: keep away from whole numbers and zero, where gradients may jump.
    """
    if op.sample is not None:
        rng.dtype = dtype
        arrays, attrs = op.sample(rng)
        pairs = [_typed(np.asarray(array), dtype, rng) for array in arrays]
        attrs = {**getattr(op, "defaults", {}), **attrs}
        return Case(op, tuple(a for a, _ in pairs), tuple(d for _, d in pairs), attrs)
    if not isinstance(op, Elementwise):
        return None
    shapes = broadcast_shapes(rng, op.arity)
    dtypes = tuple(op.fixed.get(i, dtype) for i in range(op.arity))
    arrays = [
        values(rng, shape, d, op.domain, smooth) for shape, d in zip(shapes, dtypes, strict=True)
    ]
    if dtype in op.dtypes:
        arrays = [_with_extremes(a, d, rng) for a, d in zip(arrays, dtypes, strict=True)]
    return elementwise_case(op, arrays, dtypes)


def elementwise_case(op: Elementwise, arrays: list[Array], dtypes: tuple[DType, ...]) -> Case:
    """A case of these operands; no integer is divided by 0, which is an error."""
    if op.divides and dtypes[1].kind in "iu":
        arrays[1] = np.where(arrays[1] == 0, np.asarray(3, arrays[1].dtype), arrays[1])
    return Case(op, tuple(arrays), dtypes, dict(op.defaults))


def _typed(array: Array, dtype: DType, rng: Draw) -> tuple[Array, DType]:
    """Floats of a sample in the dtype that is tested; indices and masks as they are."""
    if array.dtype.kind != "f":
        return array, dt.from_numpy(array.dtype)
    if dtype.kind == "b":
        return array > 0, dtype
    if dtype.kind in "iu":
        whole = np.rint(array * 3)
        whole = np.abs(whole) if dtype.kind == "u" else whole
        return _with_extremes(whole.astype(dtype.numpy), dtype, rng), dtype
    if dtype.is_complex:
        array = array + 1j * np.flip(array)
    with np.errstate(over="ignore"):  # the ends of float32 are infinite in narrower types
        return array.astype(dtype.numpy), dtype


def _with_extremes(array: Array, dtype: DType, rng: Draw) -> Array:
    """Some of the integers replaced by the ends of their dtype."""
    if dtype.kind not in "iu":
        return array
    ends = np.iinfo(dtype.numpy)
    chosen = rng.random(array.shape)
    array = np.where(chosen < EXTREMES / 2, np.asarray(ends.min, array.dtype), array)
    return np.where(chosen > 1 - EXTREMES / 2, np.asarray(ends.max, array.dtype), array)


def broadcast_shapes(rng: Draw, count: int) -> list[Shape]:
    """Shapes that broadcast together: some with dimensions of size 1, some of lower rank."""
    rank = int(rng.integers(0, 4))
    whole = [
        int(n) for n in rng.choice([0, 1, 2, 3, 5, 8], rank, p=[0.05, 0.1, 0.2, 0.3, 0.2, 0.15])
    ]
    if rng.reach:
        rank = max(rank, 1)
        whole = list(rng.dims((1,) * rank, (5,) * rank, most=8 * LONG + LONG))
    shapes = []
    for _ in range(count):
        shape = [1 if rng.random() < 0.2 else n for n in whole]
        drop = int(rng.integers(0, rank + 1)) if rng.random() < 0.3 else 0
        shapes.append(tuple(shape[drop:]))
    if rng.reach:
        shapes[int(rng.integers(count))] = tuple(whole)
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
        bottom = 0 if dtype.kind == "u" else max(int(low) - 1, -WHOLE_AT_MOST)
        top = max(bottom + 2, min(int(high) + 3, WHOLE_AT_MOST))
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


def special_values(dtype: DType, largest: float) -> Array:
    """NaN, infinities, signed zeros, the smallest numbers, and a large one up to a size."""
    import ml_dtypes

    ends: Any = ml_dtypes.finfo(dtype.numpy)  # type: ignore[no-untyped-call]
    least = ends.smallest_subnormal
    found = [np.nan, np.inf, -np.inf, 0.0, -0.0, least, -least, ends.tiny / 2, 1.0, -1.0]
    top = min(math.sqrt(float(ends.max)) / 4, largest)  # a body may take squares
    found += [top, -top]
    return np.array([float(x) for x in found]).astype(dtype.numpy)


def with_special_values(case: Case, rng: np.random.Generator) -> Case:
    """A third of the numbers of each float operand replaced by special ones.

    Of complex numbers it is a third of the parts, for elementwise operators only: what infinite
    parts make of a sum of products depends on the order of its terms. Subnormal parts and large
    ones are left out, of which NumPy's quotients and powers are not right.

    Numbers so large that squares of them overflow are left to operators that take no squares.
    """
    largest = 2.0 if not isinstance(case.op, View) else math.inf
    if isinstance(case.op, Elementwise):
        largest = case.op.largest
    operands = []
    for array, dtype in zip(case.operands, case.dtypes, strict=True):
        if dtype.kind == "f":
            picked = rng.choice(special_values(dtype, largest), array.shape)
            array = np.where(rng.random(array.shape) < 1 / 3, picked, array)
        elif dtype.kind == "c" and isinstance(case.op, Elementwise):
            few = special_values(dtype.part, min(largest, 8.0))
            few = few[(few == 0) | ~(np.abs(few) < np.finfo(few.dtype).tiny)]
            parts = np.ascontiguousarray(array)[..., None].view(few.dtype)
            parts = np.where(rng.random(parts.shape) < 1 / 3, rng.choice(few, parts.shape), parts)
            array = parts.view(dtype.numpy)[..., 0]
        operands.append(array)
    return Case(case.op, tuple(operands), case.dtypes, case.attrs)


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
    picks = [
        i for i, a in enumerate(case.operands) if a.size and a.ndim and case.dtypes[i].kind in "fc"
    ]
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


def terms_of(op: Op) -> bool:
    """Whether results are sums of terms, so that roundings count in units of the terms' sizes."""
    return isinstance(op, Reduction) or (isinstance(op, Structured) and op.family == "matmul")


def kind_of(op: Op) -> str:
    """Row of the table of tolerances for results of `op`."""
    if isinstance(op, Elementwise):
        return "elementwise"
    if isinstance(op, View):
        return "exact"
    if isinstance(op, Reduction):
        return "reduction"
    assert isinstance(op, Structured | Composed)
    return "matmul" if isinstance(op, Structured) and op.family == "matmul" else "composite"
