"""The vector vocabulary against NumPy in small kernels; tiles for other processors."""

import ctypes
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from numbatorch.language.kernel import EmittedKernel, Pointer, T, U, kernel, view
from numbatorch.language.primitives import add_reassoc
from numbatorch.language.simd.tile import (
    dots_rows,
    tile_dots,
    tile_dots_first,
    tile_kept,
    tile_load,
    tile_outer,
    tile_store,
    tile_sums,
    tile_transpose,
    tile_vectors,
    tile_zero,
    vstore_rows,
)
from numbatorch.language.simd.vectors import (
    call_epilogue,
    fma,
    lanes,
    narrow,
    prefetch,
    splat,
    vconcat,
    vconvert,
    view_held,
    vlargest,
    vload,
    vload_like,
    vmax,
    vslice,
    vstore,
    vsum,
)
from numbatorch.language.words import float32, int8, int32, int64, uint8
from tests.compare import assert_close
from tests.run_kernel import run_kernel

FLOATS = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
}


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(7).standard_normal(shape).astype(dtype)


@kernel(T=tuple(FLOATS), U=tuple(FLOATS))
def copy(out: Pointer[T], x: Pointer[U], part: int, parts: int) -> None:
    vstore(out, vload(x, 8))


@pytest.mark.parametrize("name", FLOATS)
def test_loads_convert_and_stores_round(name: str) -> None:
    x = normal(8, dtype=FLOATS[name])
    wide = normal(8)
    for other in ("float32", name):
        out = np.zeros(8, FLOATS[other])
        run_kernel(copy(T=other, U=name), out, x)
        np.testing.assert_array_equal(out, x.astype(out.dtype))
        run_kernel(copy(T=other, U="float32"), out, wide)
        np.testing.assert_array_equal(out, wide.astype(out.dtype))


@kernel(T=("float32", "float64"))
def arithmetic(
    out: Pointer[T], sums: Pointer[T], x: Pointer[T], y: Pointer[T], part: int, parts: int
) -> None:
    a = vload(x, 8)
    b = vload_like(y, a)
    vstore(out, a + b * a - b)
    vstore(out + 8, fma(a, b, a))
    vstore(out + 16, vmax(a, b))
    vstore(out + 24, a + splat(x[0], 8))
    vstore(out + 32, vconcat(vslice(a, 4, 4), vslice(b, 2, 4)))
    sums[0] = vsum(a)
    sums[1] = vlargest(a)
    total = x[0]
    for i in range(1, 8):
        total = add_reassoc(total, x[i])
    sums[2] = total


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_arithmetic_on_float_vectors(name: str) -> None:
    x, y = normal(2, 8, dtype=FLOATS[name])
    out, sums = np.zeros((5, 8), x.dtype), np.zeros(3, x.dtype)
    run_kernel(arithmetic(T=name), out, sums, x, y)
    expected = [
        x + y * x - y,
        x * y + x,
        np.maximum(x, y),
        x + x[0],
        np.concatenate([x[4:8], y[2:6]]),
    ]
    assert_close(out, np.stack(expected), "elementwise")
    assert_close(sums, np.stack([x.sum(), x.max(), x.sum()]), "reduction")


@kernel
def integers(
    out: Pointer[int32],
    signed: Pointer[int8],
    unsigned: Pointer[uint8],
    rounded: Pointer[float32],
    part: int,
    parts: int,
) -> None:
    s, u = vload(signed, 16), vload(unsigned, 16)
    vstore(out, vconvert(s, int32) * vconvert(u, int32))
    vstore(out + 16, vconvert((u >> 4) | (u << 4), int32))
    vstore(out + 32, vconvert((s >> 4) ^ (s & 15), int32))
    vstore(out + 48, vconvert(vconvert(u, float32) * 0.5, int32))
    vstore(out + 64, vconvert(vconvert(vconvert(u, int32), int8), int32))
    vstore(rounded, vconvert(s, float32))


def test_arithmetic_on_integer_vectors() -> None:
    s = np.random.default_rng(1).integers(-128, 128, 16).astype(np.int8)
    u = np.random.default_rng(2).integers(0, 256, 16).astype(np.uint8)
    out, rounded = np.zeros((5, 16), np.int32), np.zeros(16, np.float32)
    run_kernel(integers(), out, s, u, rounded)
    expected = [
        s.astype(np.int32) * u,
        (u >> 4) | (u << 4),
        (s >> 4) ^ (s & 15),
        u // 2,
        u.astype(np.int8),
    ]
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(rounded, s)


@kernel(T=tuple(FLOATS))
def constants(
    out: Pointer[int64], held: Pointer[float32], x: Pointer[T], part: int, parts: int
) -> None:
    out[0] = lanes(x)
    out[1] = narrow(x)
    out[2] = tile_vectors(x)
    out[3] = dots_rows(x)
    prefetch(x + 1_000_000_000)
    view_held(held, x)[0] = 1.0


@pytest.mark.parametrize("name", ["float32", "float16", "float8_e5m2"])
def test_widths_of_the_processor(name: str) -> None:
    out, held = np.zeros(4, np.int64), np.zeros(1, np.float32)
    run_kernel(constants(T=name), out, held, np.zeros(1, FLOATS[name]))
    assert out[0] in (4, 8, 16)
    assert out[1] == (name != "float32")
    assert out[2] in (2, 4)
    assert out[3] in (2, 4)
    assert held[0] == 1.0


@kernel(T=("float32", "float64"))
def tiles(
    out: Pointer[T],
    turned: Pointer[T],
    a: Pointer[T],
    b: Pointer[T],
    K: int,
    rows: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    n = lanes(out)
    tile = tile_zero(out, 3, 2)
    for k in range(K):
        tile = tile_outer(tile, a + k, K, rows - 1, b + k * 2 * n, -1)
    tile_store(out, 2 * n, tile, rows, cols)
    square = tile_load(tile_zero(out, n, 1), b, n)
    tile_store(turned, n, tile_transpose(square), n, n)


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "missing"), [(3, 0), (2, 0), (1, 3), (3, 1)])
def test_outer_products_in_tiles(name: str, rows: int, missing: int) -> None:
    count = np.zeros(4, np.int64)
    run_kernel(constants(T="float32"), count, np.zeros(1, np.float32), np.zeros(1, np.float32))
    n = int(count[0]) * 4 // FLOATS[name].itemsize
    K, width = n, 2 * n
    a, b = normal(rows, K, dtype=FLOATS[name]), normal(K, width, dtype=FLOATS[name])
    out, turned = np.full((3, width), 9, a.dtype), np.zeros((n, n), a.dtype)
    run_kernel(tiles(T=name), out, turned, a, b, K, rows, width - missing)
    expected = np.full((3, width), 9, a.dtype)
    expected[:rows, : width - missing] = (a @ b)[:, : width - missing]
    assert_close(out, expected, "matmul")
    np.testing.assert_array_equal(turned, b.reshape(-1)[: n * n].reshape(n, n).T)


@kernel(T=("float32", "float16"), U=("float32", "bfloat16"))
def dots(
    out: Pointer[T],
    line: Pointer[T],
    a: Pointer[T],
    b: Pointer[U],
    K: int,
    rows: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    n = lanes(out)
    tile = tile_zero(out, 2, 4)
    thin = tile_zero(out, 1, 8)
    whole = K // n * n
    for k in range(0, whole, n):
        tile = tile_dots(tile, a + k, K, rows - 1, b + k, K, cols - 1)
        thin = tile_dots(thin, a + k, 0, 0, b + k, K, cols - 1)
    tile = tile_dots_first(tile, a + whole, K, rows - 1, b + whole, K, cols - 1, K - whole)
    thin = tile_dots_first(thin, a + whole, 0, 0, b + whole, K, cols - 1, K - whole)
    vstore_rows(out, 4, tile_sums(tile), 4, rows, cols)
    vstore_rows(line, 8, tile_sums(thin), 8, 1, cols)


@pytest.mark.parametrize("K", [1, 15, 16, 40, 65])
@pytest.mark.parametrize(("rows", "cols"), [(2, 4), (1, 4), (2, 3), (1, 1)])
@pytest.mark.parametrize(("T", "U"), [("float32", "float32"), ("float16", "bfloat16")])
def test_dot_products_in_tiles(K: int, rows: int, cols: int, T: str, U: str) -> None:
    a, b = normal(rows, K, dtype=FLOATS[T]), normal(cols, K, dtype=FLOATS[U])
    out, line = np.full((2, 4), 9, a.dtype), np.full(8, 9, a.dtype)
    run_kernel(dots(T=T, U=U), out, line, a, b, K, rows, cols)
    product = a.astype(np.float64) @ b.astype(np.float64).T
    assert_close(out[:rows, :cols], product, "matmul")
    assert_close(line[:cols], product[0], "matmul")
    assert (out[rows:] == 9).all()
    assert (out[:, cols:] == 9).all()
    assert (line[cols:] == 9).all()


@kernel
def calls(out: Pointer[int64], function: int, args: int, part: int, parts: int) -> None:
    view(out, int64)[0] = 1
    call_epilogue(function, args, 2, 3, 4, 5, 6)


def test_an_epilogue_is_called_with_its_place() -> None:
    seen: list[tuple[int, ...]] = []
    callback = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)(lambda *args: seen.append(args))
    address = ctypes.cast(callback, ctypes.c_void_p).value
    run_kernel(calls(), np.zeros(1, np.int64), address, 11)
    assert seen == [(11, 2, 3, 4, 5, 6)]


PROCESSORS = {
    "x86_64-unknown-linux-gnu": {
        "znver4": ("+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx2,+fma,+f16c", "zmm"),
        "haswell": ("+avx2,+fma,+f16c", "ymm"),
        "x86-64": ("", "xmm"),
    },
    "aarch64-unknown-linux-gnu": {"cortex-a76": ("+neon", "fmla")},
    "arm64-apple-macosx": {"apple-m1": ("+neon", "fmla.4s")},
}
CASES = [(t, name, *row) for t, known in PROCESSORS.items() for name, row in known.items()]


@pytest.mark.parametrize(("triple", "name", "features", "register"), CASES)
def test_tiles_use_the_registers_of_each_processor(
    triple: str, name: str, features: str, register: str
) -> None:
    import llvmlite.binding as llvm

    from numbatorch.backends.cpu import compiler, target
    from numbatorch.language import processor

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    cpu = processor.CPU(triple, name, features)
    module = compiler.module(tiles(T="float32"), cpu)
    text = target.machine(cpu).emit_assembly(module)
    assert register in text
    assert "fmaf" not in text


@kernel
def kept(
    out: Pointer[float32], a: Pointer[float32], places: Pointer[int64], b: Pointer[float32],
    rows: int, count: int, part: int, parts: int,
) -> None:  # fmt: skip
    tile = tile_zero(out, 6, 2)
    for k in range(count):
        tile = tile_kept(tile_outer(tile, a + places[k], count, rows - 1, b + places[k], -1))
    tile_store(out, 2 * lanes(out), tile, rows, 2 * lanes(out))


def test_a_tile_that_is_kept_is_not_in_memory_between_products() -> None:
    from numbatorch.backends.cpu import compiler, target
    from numbatorch.language import processor

    cpu = processor.CPU("x86_64-unknown-linux-gnu", "znver3", "+avx2,+fma")
    text = target.machine(cpu).emit_assembly(compiler.module(kept(), cpu)).splitlines()
    products = [i for i, line in enumerate(text) if "vfmadd" in line]
    assert len(products) % 12 == 0
    assert not any("%ymm" in line and "(%rsp)" in line for line in text[products[0] : products[-1]])


def test_products_in_a_tile_that_is_kept() -> None:
    count = np.zeros(4, np.int64)
    run_kernel(constants(T="float32"), count, np.zeros(1, np.float32), np.zeros(1, np.float32))
    width, K = 2 * int(count[0]), 5
    a, b = normal(6, K), normal(K + width)
    out, places = np.zeros((6, width), np.float32), np.arange(K)[::-1].copy()
    run_kernel(kept(), out, a, places, b, 6, K)
    assert_close(out, sum(np.outer(a[:, k], b[k : k + width]) for k in range(K)), "matmul")


ADDITION = """
from numbatorch.language.kernel import Pointer
def kernel(out: Pointer["float32"], n: int, part: int, parts: int) -> None:
    for i in range(n):
        out[i] = out[i] + out[i]
"""


@pytest.mark.parametrize(("newer", "register"), [("avx512vbmi", "zmm"), ("avx512cd", "ymm")])
def test_emitted_loops_use_the_widest_vectors_that_slow_no_processor(
    newer: str, register: str
) -> None:
    from numbatorch.backends.cpu import compiler, target
    from numbatorch.language import processor

    features = f"+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx2,+fma,+{newer}"
    cpu = processor.CPU("x86_64-unknown-linux-gnu", "icelake-server", features)
    spec = EmittedKernel("addition", (), ["pointer", "int"], lambda: ADDITION)
    module = compiler.module(spec, cpu)
    text = target.machine(cpu, wide=spec.wide).emit_assembly(module)
    assert f"%{register}" in text and ("%zmm" in text) == (register == "zmm")
