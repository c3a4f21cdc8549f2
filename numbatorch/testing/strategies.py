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
def op_cases(draw: st.DrawFn, op: Op) -> Any:
    """Operands and attributes inside of an operator's domain, as a `Case`."""
    dtype = draw(st.sampled_from(cases.dtypes_of(op)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return cases.draw(op, rng, dtype)
