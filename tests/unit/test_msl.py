"""Printed MSL compiled as C++, with types and functions that give it Metal's meaning."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.metal.msl import operand, print_msl, type_name
from numbatorch.ops.registry import Elementwise, all_ops
from numbatorch.ops.scalar import Builder
from tests.compare import tolerance

COMPILER = shutil.which("c++")
OPS = [
    op
    for op in all_ops()
    if isinstance(op, Elementwise) and op.name != "cast" and not op.name.startswith("random")
]
DTYPES = (dt.float32, dt.int32, dt.int8, dt.uint8, dt.int64)

PRELUDE = """
#include <cmath>
#include <cstring>
#include <cstdint>
using std::floor; using std::ceil; using std::trunc; using std::rint; using std::fabs;
using std::copysign; using std::fmod; using std::fma; using std::sqrt; using std::isnan;
typedef unsigned char uchar; typedef unsigned short ushort; typedef unsigned int uint;
typedef unsigned long ulong; typedef signed char schar;
template <class T, class S> T as_type(S s) { T t; memcpy(&t, &s, sizeof t); return t; }
namespace precise { using std::sin; using std::cos; using std::tan; using std::pow; }
#define char schar
"""


def function(op: Elementwise, dtypes: list[DType], name: str) -> str:
    builder = Builder("metal")
    values = [builder.input(f"x{i}", dtype) for i, dtype in enumerate(dtypes)]
    result = builder.call(op, values, dict(op.defaults))
    pointers = [f"const {type_name(d)} *p{i}" for i, d in enumerate(dtypes)]
    loads = [f"{type_name(d)} x{i} = p{i}[i];" for i, d in enumerate(dtypes)]
    body = [*loads, *print_msl(builder, [result]), f"out[i] = {operand(result)};"]
    head = f'extern "C" void {name}({type_name(result.dtype)} *out, {", ".join(pointers)}, int n)'
    return "\n  ".join([head, "{ for (int i = 0; i < n; i++) {", *body, "}}"])


def cases() -> list[tuple[Elementwise, DType, list[DType]]]:
    return [
        (op, dtype, [op.fixed.get(i, dtype) for i in range(op.arity)])
        for op in OPS
        for dtype in DTYPES
        if dtype in op.dtypes
    ]


@pytest.mark.skipif(COMPILER is None or sys.platform == "win32", reason="there is no C++ compiler")
def test_msl_compiled_as_cpp_equals_references(tmp_path: Path) -> None:
    source, library = tmp_path / "kernels.cpp", tmp_path / "kernels.so"
    texts = [function(op, dtypes, f"f{i}") for i, (op, _, dtypes) in enumerate(cases())]
    source.write_text("\n".join([PRELUDE, *texts]), encoding="utf-8")
    command = [str(COMPILER), "-std=c++17", "-O1", "-fwrapv", "-ffp-contract=off", "-shared"]
    subprocess.run([*command, "-fPIC", "-o", library, source], check=True)
    compiled = ctypes.CDLL(str(library))
    rng = np.random.default_rng(0)
    for i, (op, dtype, dtypes) in enumerate(cases()):
        arrays = [draw(rng, op, d) for d in dtypes]
        with np.errstate(all="ignore"):
            expected = np.asarray(op.reference(*arrays, **op.defaults))
        expected = expected.astype(op.result_dtype(dtype, {}).numpy)
        out = np.empty_like(expected)
        getattr(compiled, f"f{i}")(*(ctypes.c_void_p(a.ctypes.data) for a in (out, *arrays)), 99)
        limit = tolerance(dtype.name, "elementwise")
        np.testing.assert_allclose(
            out, expected, limit.relative, limit.absolute, err_msg=f"{op.name} {dtype.name}"
        )


def draw(rng: np.random.Generator, op: Elementwise, dtype: DType) -> np.ndarray:
    if dtype.kind == "b":
        return rng.random(99) < 0.5
    if dtype.kind == "f":
        return rng.uniform(*op.domain, 99).astype(dtype.numpy)
    return rng.integers(0 if dtype.kind == "u" else -6, 7, 99).astype(dtype.numpy)
