"""Kernels that only read, or only multiply and add: what a processor can do at most.

They are in the language of numbatorch's own kernels, and are run by plain threads, not by its team.
"""

import ctypes
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from numbatorch.backends.cpu import pack
from numbatorch.language.kernel import BoundKernel, Pointer, T, U, intrinsic, kernel, share
from numbatorch.language.processor import host
from numbatorch.language.simd.int8 import dot_bytes
from numbatorch.language.simd.vectors import declare, fma, lanes, splat, vload, vstore

ENTRY = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)  # argument block, part, parts
ACCUMULATORS = 12  # independent sums: they hide the latency, and fit 16 registers with operands
STEPS = 1_500_000  # of a call that multiplies: milliseconds, for a second thread may start late
TILE = 16 * 16 * 64  # products of a pair of full tiles of bytes
TILE_PERMISSION = (158, 0x1023, 18)  # arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA) on x86-64


@kernel(T="float32")
def read_floats(
    out: Pointer[T],
    x: Pointer[T],
    count: int,
    times: int,
    part: int,
    parts: int,
) -> None:
    """Sum a part of `count` floats, `times` times; 8 vectors are on their way at once."""
    n = lanes(x)
    low, high = share(count // (8 * n), part, parts)
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = splat(x[0], n)
    for _ in range(times):
        for block in range(low, high):
            at = x + block * 8 * n
            a0 = a0 + vload(at, n)
            a1 = a1 + vload(at + n, n)
            a2 = a2 + vload(at + 2 * n, n)
            a3 = a3 + vload(at + 3 * n, n)
            a4 = a4 + vload(at + 4 * n, n)
            a5 = a5 + vload(at + 5 * n, n)
            a6 = a6 + vload(at + 6 * n, n)
            a7 = a7 + vload(at + 7 * n, n)
    total = ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))
    vstore(out + part * n, total)


@kernel(T="float32")
def multiply_floats(out: Pointer[T], x: Pointer[T], steps: int, part: int, parts: int) -> None:
    """`steps` times ACCUMULATORS vectors: a = a * y + y."""
    n = lanes(x)
    y = vload(x, n)
    a0, a1, a2, a3 = vload(x, n), vload(x + 1, n), vload(x + 2, n), vload(x + 3, n)
    b0, b1, b2, b3 = vload(x + 4, n), vload(x + 5, n), vload(x + 6, n), vload(x + 7, n)
    c0, c1, c2, c3 = vload(x + 8, n), vload(x + 9, n), vload(x + 10, n), vload(x + 11, n)
    for _ in range(steps):
        a0, a1, a2, a3 = fma(a0, y, y), fma(a1, y, y), fma(a2, y, y), fma(a3, y, y)
        b0, b1, b2, b3 = fma(b0, y, y), fma(b1, y, y), fma(b2, y, y), fma(b3, y, y)
        c0, c1, c2, c3 = fma(c0, y, y), fma(c1, y, y), fma(c2, y, y), fma(c3, y, y)
    total = ((a0 + a1) + (a2 + a3)) + ((b0 + b1) + (b2 + b3)) + ((c0 + c1) + (c2 + c3))
    vstore(out + part * n, total)


@intrinsic
def dot(typingctx: Any, total: Any, codes: Any, values: Any) -> Any:
    """total[i] + the products of the four bytes of codes[i] and values[i], of vectors of int32;
    codes are below 64, so that two products fit 16 bits and no sign has to be moved for AVX2."""
    from llvmlite import ir
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        sums, *operands = values
        if has_dot() or not (host().has("avx2") and sums.type.count == 8):
            return dot_bytes(builder, *values)
        bytes_, words = ir.VectorType(ir.IntType(8), 32), ir.VectorType(ir.IntType(16), 16)
        pair = [builder.bitcast(operand, bytes_) for operand in operands]
        ones = ir.Constant(words, [1] * 16)
        kind = ir.FunctionType(words, [bytes_, bytes_])
        products = builder.call(declare(builder, "llvm.x86.avx2.pmadd.ub.sw", kind), pair)
        kind = ir.FunctionType(sums.type, [words, words])
        four = builder.call(declare(builder, "llvm.x86.avx2.pmadd.wd", kind), [products, ones])
        return builder.add(sums, four)

    return signature(total, total, codes, values), codegen


@kernel(T="int32")
def multiply_bytes(out: Pointer[T], x: Pointer[T], steps: int, part: int, parts: int) -> None:
    """`steps` times ACCUMULATORS vectors of four products of bytes: a = y + z * a."""
    n = lanes(x)
    y, z = vload(x, n), vload(x + 1, n)
    a0, a1, a2, a3 = vload(x, n), vload(x + 1, n), vload(x + 2, n), vload(x + 3, n)
    b0, b1, b2, b3 = vload(x + 4, n), vload(x + 5, n), vload(x + 6, n), vload(x + 7, n)
    c0, c1, c2, c3 = vload(x + 8, n), vload(x + 9, n), vload(x + 10, n), vload(x + 11, n)
    for _ in range(steps):
        a0, a1, a2, a3 = dot(y, z, a0), dot(y, z, a1), dot(y, z, a2), dot(y, z, a3)
        b0, b1, b2, b3 = dot(y, z, b0), dot(y, z, b1), dot(y, z, b2), dot(y, z, b3)
        c0, c1, c2, c3 = dot(y, z, c0), dot(y, z, c1), dot(y, z, c2), dot(y, z, c3)
    total = ((a0 + a1) + (a2 + a3)) + ((b0 + b1) + (b2 + b3)) + ((c0 + c1) + (c2 + c3))
    vstore(out + part * n, total)


def has_dot() -> bool:
    """Whether the processor has an instruction for four products of bytes and their sum."""
    cpu = host()
    return cpu.has("avxvnni") or (cpu.has("avx512vnni") and cpu.has("avx512vl"))


def _tile_call(builder: Any, name: str, *operands: Any) -> None:
    from llvmlite import ir
    from numba.core import cgutils

    kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


@intrinsic
def tiles_begin(typingctx: Any, shapes: Any) -> Any:
    """Give the tile registers the shapes at a pointer to 64 bytes, and set them to zero."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        byte = ir.IntType(8)
        _tile_call(builder, "llvm.x86.ldtilecfg", builder.bitcast(values[0], byte.as_pointer()))
        for tile in range(8):
            _tile_call(builder, "llvm.x86.tilezero", byte(tile))
        return context.get_dummy_value()

    return signature(types.void, shapes), codegen


@intrinsic
def tiles_multiply(typingctx: Any) -> Any:
    """Add the products of tiles 4, 5 and 6, 7 of bytes to tiles 0 to 3."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        for tile in range(4):
            operands = (tile, 4 + tile // 2, 6 + tile % 2)
            _tile_call(builder, "llvm.x86.tdpbssd", *map(ir.IntType(8), operands))
        return context.get_dummy_value()

    return signature(types.void), codegen


@intrinsic
def tiles_end(typingctx: Any) -> Any:
    """Give the tile registers back."""
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        _tile_call(builder, "llvm.x86.tilerelease")
        return context.get_dummy_value()

    return signature(types.void), codegen


@kernel(T="int32", U="uint8")
def multiply_tiles(out: Pointer[T], shapes: Pointer[U], steps: int, part: int, parts: int) -> None:
    """`steps` times four products of full tiles of bytes."""
    tiles_begin(shapes)
    for _ in range(steps):
        tiles_multiply()
    tiles_end()


def has_tiles() -> bool:
    """Whether the processor multiplies tiles of bytes, and the system lets this process do so."""
    x86 = platform.machine() in ("x86_64", "AMD64") and sys.platform == "linux"
    if not (x86 and host().has("amx-int8")):
        return False
    return ctypes.CDLL(None).syscall(*TILE_PERMISSION) == 0


def tile_shapes() -> np.ndarray:
    """What `tiles_begin` reads: palette 1, and 16 rows of 64 bytes for each of eight tiles."""
    shapes = np.zeros(64, np.uint8)
    shapes[0] = 1
    shapes[16:32:2] = 64  # bytes a row, two of them a tile
    shapes[48:56] = 16  # rows
    return shapes


class Threads:
    """Plain threads, each of which runs a kernel's part."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count)

    def runs(self, spec: BoundKernel, *arguments: Any) -> Callable[[], None]:
        """A call of a kernel on all threads; arguments are arrays and integers."""
        entry = ENTRY(pack.addresses([spec])[spec.key])
        words = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
        block = np.array(words, np.int64)

        def run() -> None:
            assert arguments  # what the words point to is held
            self.each(lambda part: entry(block.ctypes.data, part, self.count))

        return run

    def each(self, call: Callable[[int], object]) -> None:
        """Call it once for each thread, with its number."""
        if self.count == 1:
            call(0)
        else:
            list(self._pool.map(call, range(self.count)))
