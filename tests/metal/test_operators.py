"""Elementwise operators as Metal kernels, run through C++ and compared with NumPy."""

import re
from typing import Any

import numpy as np
import pytest

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.language.kernel import EmittedKernel
from numbatorch.metal.printer import print_kernel
from numbatorch.ops import binary, compare, unary
from numbatorch.ops.families import all_ops
from numbatorch.ops.registry import Elementwise
from numbatorch.ops.scalar_program import print_numba
from numbatorch.ops.scalar_reader import Builder
from tests.compare import tolerance
from tests.metal.device import AVAILABLE
from tests.metal.run import compiled, launch

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="there is no C++ compiler, or no Linux")

OPS = [
    op
    for op in all_ops()
    if isinstance(op, Elementwise) and op.name != "cast" and not op.name.startswith("random")
]  # on real numbers: pairs, and results that are pairs, run in tests/ops/test_complex.py
DTYPES = (dt.float32, dt.int32, dt.int8, dt.uint8, dt.int64, dt.uint16, dt.bool_)
COUNT = 99
HEADER = """from numbatorch.language.kernel import Pointer, share
from numbatorch.language.primitives import *
from numbatorch.language.primitives import inf, nan

def kernel(%s, n: int, part: int, parts: int) -> None:
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        """


def emitted(op: Elementwise, dtypes: list[DType], result: DType) -> EmittedKernel:
    """A kernel of one operator, as the compiler emits it for Metal."""
    builder = Builder("metal")
    values = [builder.input(f"x{i}", dtype) for i, dtype in enumerate(dtypes)]
    value = builder.call(op, values, dict(op.defaults))
    pointers = [f'out: Pointer["{result.name}"]']
    pointers += [f'p{i}: Pointer["{d.name}"]' for i, d in enumerate(dtypes)]
    loads = [f"x{i} = p{i}[i]{' != 0' * (d is dt.bool_)}" for i, d in enumerate(dtypes)]
    stored = f"uint8({value.name})" if result is dt.bool_ else value.name
    lines = [*loads, *print_numba(builder, [value]), f"out[i] = {stored}", ""]
    text = HEADER % ", ".join(pointers) + "\n        ".join(lines)
    words = ["pointer"] * len(pointers) + ["int"]
    name = f"{op.name}_{dtypes[0].name}"
    return EmittedKernel(name, ("metal operators", text), words, lambda: text)


def cases() -> list[tuple[Elementwise, DType, list[DType]]]:
    return [
        (op, dtype, [op.fixed.get(i, dtype) for i in range(op.arity)])
        for op in OPS
        for dtype in DTYPES
        if dtype in op.dtypes and not op.result_dtype(dtype, {}).is_complex
    ]


def draw(rng: np.random.Generator, op: Elementwise, dtype: DType) -> np.ndarray:
    if dtype.kind == "b":
        return rng.random(COUNT) < 0.5
    if dtype.kind == "f":
        return rng.uniform(*op.domain, COUNT).astype(dtype.numpy)
    return rng.integers(0 if dtype.kind == "u" else -6, 7, COUNT).astype(dtype.numpy)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_operators_equal_their_references(dtype: DType) -> None:
    found = [case for case in cases() if case[1] is dtype]
    kinds = [op.result_dtype(dtype, {}) for op, _dtype, _dtypes in found]
    specs = [emitted(op, dtypes, kind) for (op, _, dtypes), kind in zip(found, kinds, strict=True)]
    functions = compiled([(spec, None) for spec in specs])
    rng = np.random.default_rng(0)
    for (op, _, dtypes), kind, function in zip(found, kinds, functions, strict=True):
        arrays = [draw(rng, op, d) for d in dtypes]
        with np.errstate(all="ignore"):
            expected = np.asarray(op.reference(*arrays, **op.defaults)).astype(kind.numpy)
        out = np.empty_like(expected)
        launch(function, (out, *arrays, COUNT))
        limit = tolerance(dtype.name, "elementwise")
        np.testing.assert_allclose(
            out, expected, limit.relative, limit.absolute, err_msg=f"{op.name} {dtype.name}"
        )


def statements(spec: EmittedKernel) -> list[str]:
    """What the loop of the kernel computes between its loads and its store."""
    lines = [line.strip() for line in print_kernel(spec).text.splitlines()]
    last = next(i for i, line in enumerate(lines) if line.startswith("out[i] = "))
    return [line for line in lines[:last] if re.match(r"\w+ v\d+ = ", line)]


@pytest.mark.parametrize(
    ("op", "dtype", "expected"),
    [
        (binary.mul, dt.int8, ["char v0 = char(x0 * x1);"]),
        (binary.mul, dt.uint16, ["ushort v0 = ushort(uint(x0) * x1);"]),
        (binary.add, dt.int32, ["int v0 = wrap_add(x0, x1);"]),
        (binary.add, dt.int64, ["long v0 = wrap_add(x0, x1);"]),
        (binary.add, dt.uint64, ["ulong v0 = x0 + x1;"]),
        (compare.where, dt.int64, ["long v0 = x0 ? x1 : x2;"]),
        (unary.sqrt, dt.float32, ["float v0 = sqrt(x0);"]),
    ],
    ids=str,
)
def test_operators_are_single_statements(op: Elementwise, dtype: DType, expected: Any) -> None:
    dtypes = [op.fixed.get(i, dtype) for i in range(op.arity)]
    assert statements(emitted(op, dtypes, dtype)) == expected


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_operator_is_printed_for_every_dtype(op: Elementwise) -> None:
    for dtype in op.dtypes:
        result = op.result_dtype(dtype, {})
        real = not dtype.is_complex and not result.is_complex
        if real and dtype.compute is dtype and dtype is not dt.float64:
            dtypes = [op.fixed.get(i, dtype) for i in range(op.arity)]
            found = statements(emitted(op, dtypes, result))
            nothing = dtype.kind in "iub" or op.name in ("after", "isreal")
            assert found or nothing, "floats have something to compute or to round"
