"""Hypothesis strategies for tests of operators: shapes, arrays, strided views, cases."""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from hypothesis import strategies as st
except ImportError as err:
    from numbatorch.errors import BackendUnavailable, message

    hint = "pip install hypothesis"
    raise BackendUnavailable(message("strategies", "hypothesis is absent", hint=hint)) from err

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.graph import Op
from numbatorch.ops.drawing import REACHES, Draw
from numbatorch.ops.registry import Elementwise
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor, from_numpy
from numbatorch.tensor.base import Array
from numbatorch.testing import cases


def shapes(max_rank: int = 4, max_size: int = 6, min_rank: int = 0) -> st.SearchStrategy[Shape]:
    """Shapes, among them that of a scalar and those without elements."""
    sizes = st.lists(st.integers(0, max_size), min_size=min_rank, max_size=max_rank)
    return sizes.map(tuple)


@st.composite
def broadcast_groups(
    draw: st.DrawFn, count: int, max_rank: int = 4, max_size: int = 5
) -> list[Shape]:
    """`count` shapes that broadcast together."""
    whole = draw(shapes(max_rank, max_size))
    group = []
    for _ in range(count):
        kept = [draw(st.sampled_from([size, 1])) for size in whole]
        group.append(tuple(kept[draw(st.integers(0, len(kept))) :]))
    return group


@st.composite
def arrays(
    draw: st.DrawFn,
    shape: Shape | None = None,
    dtype: DType = dt.float32,
    domain: tuple[float, float] = (-4.0, 4.0),
) -> Array:
    """NumPy arrays with numbers inside `domain`."""
    chosen = draw(shapes()) if shape is None else shape
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return cases.values(rng, chosen, dtype, domain)


@st.composite
def tensors(
    draw: st.DrawFn,
    shape: Shape | None = None,
    dtype: DType = dt.float32,
    device: str | None = None,
    strided: bool = True,
) -> Tensor:
    """Tensors, in part views of other memory."""
    array = draw(arrays(shape, dtype))
    found = from_numpy(array, device=device)
    if strided and draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        return Tensor(cases.strided(found.node, rng))
    return found


@st.composite
def op_cases(draw: st.DrawFn, op: Op, dtype: DType | None = None) -> cases.Case:
    """Operands and attributes for an operator, as a `Case`.

    Operands of an elementwise operator are matrices of one shape whose numbers hypothesis chooses,
    NaN and infinities among them, so that in one dtype all cases run the same few kernels. Others
    are drawn by the record, at times beyond the thresholds of kernels.
    """
    chosen = draw(st.sampled_from(cases.dtypes_of(op))) if dtype is None else dtype
    rng = Draw(draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from((0, 0, *REACHES[:2]))))
    if op.sample is not None or not isinstance(op, Elementwise):
        case = cases.draw(op, rng, chosen)
        assert case is not None, op
        return case
    shape = draw(st.tuples(SIZES, SIZES))
    dtypes = tuple(op.fixed.get(i, chosen) for i in range(op.arity))
    arrays = [draw(_tiled(shape, d, op, rng)) for d in dtypes]
    return cases.elementwise_case(op, arrays, dtypes)


SIZES = st.integers(0, 9) | st.sampled_from((31, 67, 259))


@st.composite
def _tiled(draw: st.DrawFn, shape: Shape, dtype: DType, op: Elementwise, rng: Draw) -> Array:
    """Numbers in the operator's domain, some replaced by a few that hypothesis chooses."""
    array = cases.values(rng, shape, dtype, op.domain)
    if dtype.kind == "f":
        width: Any = {8: 64, 4: 32}.get(dtype.itemsize, 16)
        largest = min(op.largest, float(np.finfo(f"float{width}").max))
        numbers = st.floats(width=width) | st.floats(-2.0, 2.0, width=width)
        few = [x for x in draw(st.lists(numbers, max_size=5)) if not abs(x) > largest or x in ENDS]
        array.reshape(-1)[: len(few)] = few[: array.size]
    return array


ENDS = (float("inf"), -float("inf"))
