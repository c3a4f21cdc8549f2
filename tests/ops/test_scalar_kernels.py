"""The scalar library compiled: LLVM makes vectors of it, calls nothing, and keeps its accuracy."""

import ctypes
import re
from typing import Any

import numpy as np
import pytest

from numbatorch import dtype as dt
from numbatorch.backends.cpu import compiler, target
from numbatorch.dtype import DType
from numbatorch.language import processor
from numbatorch.language.kernel import EmittedKernel
from numbatorch.ops import scalar_math
from numbatorch.ops.families import all_ops
from numbatorch.ops.registry import Elementwise
from numbatorch.ops.scalar_program import print_numba
from numbatorch.ops.scalar_reader import Builder
from numbatorch.ops.scalar_run import run
from tests.compare import tolerance
from tests.run_kernel import argument_block, run_kernel

TEXT = """from numbatorch.language.kernel import Pointer, share
from numbatorch.language.primitives import *
from numbatorch.language.primitives import inf, nan


def kernel({parameters}, n: int, part: int, parts: int) -> None:
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        {body}
"""

UNARY = ["exp", "expm1", "log", "log1p", "log2", "tanh", "erf", "sigmoid", "sin", "cos", "tan"]


def elementwise_kernel(
    function: Any, name: str, dtypes: list[DType], attrs: dict[str, Any] | None = None
) -> tuple[EmittedKernel, DType]:
    """A kernel that applies `function` to arrays, and the dtype of its result."""
    builder = Builder()
    values = [builder.input(f"x{i}", dtype) for i, dtype in enumerate(dtypes)]
    result = builder.call(function, values, attrs)
    names = [("out", result.dtype), *((f"p{i}", dtype) for i, dtype in enumerate(dtypes))]
    loads = [
        f"x{i} = p{i}[i]" + (" != 0" if dtype.kind == "b" else "") for i, dtype in enumerate(dtypes)
    ]
    body = [*loads, *print_numba(builder, [result]), f"out[i] = {result.name}"]
    parameters = ", ".join(f'{name}: Pointer["{dtype.name}"]' for name, dtype in names)
    text = TEXT.format(parameters=parameters, body="\n        ".join(body))
    signature = ("pointer",) * len(names) + ("int",)
    return EmittedKernel(name, (text,), signature, lambda: text), result.dtype


def run_compiled(function: Any, name: str, arrays: list[Any], attrs: Any = None) -> Any:
    dtypes = [dt.from_numpy(a.dtype) for a in arrays]
    spec, dtype = elementwise_kernel(function, name, dtypes, attrs)
    out = np.empty(arrays[0].shape, dtype.numpy)
    run_kernel(spec, out, *arrays, out.size)
    return out


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", [*UNARY, "pow_"])
def test_loops_become_vectors_without_calls(name: str, dtype: DType) -> None:
    operands = [dtype] * (2 if name == "pow_" else 1)
    spec, _ = elementwise_kernel(getattr(scalar_math, name), name, operands)
    text = str(compiler.module(spec, processor.host()))
    assert re.search(r"fmul[a-z ]*<\d+ x (float|double)>", text), "no vector instructions"
    called = set(re.findall(r"call [^@\n]*@([\w.]+)", text))
    assert not {c for c in called if not c.startswith("llvm.")}, called


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_compiled_with_fma_is_as_accurate_as_without(name: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    low = 0 if name.startswith("log") else -8
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e30, -1e30]
    x = np.append(special if name not in ("sin", "cos", "tan") else [0.0, np.nan], []).astype(dtype)
    x = np.append(x, rng.uniform(low, 8, 5000)).astype(dtype)
    function = getattr(scalar_math, name)
    limit = 3 * np.finfo(dtype).eps
    np.testing.assert_allclose(run_compiled(function, name, [x]), run(function, x), limit, 0)


def compiled_for(spec: EmittedKernel, cpu: processor.CPU) -> Any:
    """The function of a kernel that is compiled for another processor and called here."""
    import llvmlite.binding as llvm

    code = compiler.compile_object(spec, cpu)
    builder = llvm.JITLibraryBuilder().add_object_img(code).export_symbol(spec.symbol)
    jit = llvm.create_lljit_compiler(target.machine(processor.host(), jit=True))
    library = builder.link(jit, cpu.name)
    return library, ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(library[spec.symbol])


@pytest.mark.parametrize("features", ["", "+avx2,+fma,+f16c", "host"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["exp", "exp2"])
def test_powers_are_right_down_to_subnormal_ones(name: str, dtype: DType, features: str) -> None:
    """With and without an instruction that scales by a power of two."""
    cpu = processor.host()
    if features != "host":
        if not cpu.triple.startswith("x86_64") or ("avx2" in features and not cpu.has("avx2")):
            pytest.skip("this processor does not run it")
        cpu = processor.CPU(cpu.triple, "x86-64", features)
    info = np.finfo(dtype.numpy)
    ends = [np.log2(float(info.smallest_subnormal)) - 3, np.log2(float(info.max)) + 1]
    scale = 1.0 if name == "exp2" else np.log(2)
    x = np.linspace(ends[0] * scale, ends[1] * scale, 20_011)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 5e-324, -745.2, 710, -104.5, 89]
    x = np.append(x, special).astype(dtype.numpy)
    spec, _ = elementwise_kernel(getattr(scalar_math, name), name, [dtype])
    library, function = compiled_for(spec, cpu)
    out = np.empty_like(x)
    block = argument_block(spec, (out, x, x.size))
    function(block.ctypes.data, 0, 1)
    del library
    with np.errstate(all="ignore"):
        wide = getattr(np, name)(x.astype(np.longdouble))
        expected = wide.astype(dtype.numpy)
        off = np.abs(out - wide) / np.spacing(np.where(np.isfinite(expected), expected, 1))
    same = (out == expected) | (np.isnan(out) & np.isnan(expected))
    assert (same | (off < 2)).all(), (x[~same & ~(off < 2)], off.max())


INTEGER_OPS = [
    "floor_divide",
    "remainder",
    "pow",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "neg",
    "abs",
    "sub",
]
BY_NAME = {op.name: op for op in all_ops() if isinstance(op, Elementwise)}


@pytest.mark.parametrize("dtype", [dt.int8, dt.int32, dt.int64, dt.uint8], ids=lambda d: d.name)
@pytest.mark.parametrize("name", INTEGER_OPS)
def test_integers_wrap_and_never_trap(name: str, dtype: DType) -> None:
    op, info = BY_NAME[name], np.iinfo(dtype.numpy)
    values = np.unique([info.min, info.min + 1, info.max, 0, 1, 2, 3, 7, 100]).tolist()
    values += [-1, -2, -7] if dtype.kind == "i" else []
    grid = np.meshgrid(*[np.array(values, dtype.numpy)] * op.arity)
    arrays = [np.ascontiguousarray(a.ravel()) for a in grid]
    with np.errstate(all="ignore"):
        expected = op.reference(*arrays)
    np.testing.assert_array_equal(run_compiled(op, name, arrays), expected)


@pytest.mark.parametrize("target_dtype", dt.PLAIN, ids=lambda d: d.name)
def test_casts_of_floats(target_dtype: DType) -> None:
    op = BY_NAME["cast"]
    x = np.array([0.0, -0.5, 1.5, -1.5, 255.6, -300, 7e4, 3e9, -3e9, 1e19, -1e20, np.inf, np.nan])
    for dtype in (np.float32, np.float64):
        operand = np.delete(x, -2) if target_dtype.kind == "f" else x
        attrs = {"dtype": target_dtype}
        with np.errstate(all="ignore"):
            expected = op.reference(operand.astype(dtype), **attrs)
        actual = run_compiled(op, "cast", [operand.astype(dtype)], attrs)
        limit = tolerance(target_dtype.name, "exact")
        np.testing.assert_allclose(actual, expected.astype(actual.dtype), limit.relative)
