"""Kernels that only read, or only multiply and add: what a processor can do at most.

They are in the language of numbatorch's own kernels, and are run by plain threads, not by its team.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from numbatorch.backends.cpu import pack
from numbatorch.language.kernel import BoundKernel, Pointer, T, intrinsic, kernel, share
from numbatorch.language.processor import host
from numbatorch.language.simd.amx import tile_bytes, tiles_begin, tiles_end
from numbatorch.language.simd.int8 import dot_bytes
from numbatorch.language.simd.vectors import declare, fma, lanes, splat, vload, vstore

ENTRY = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)  # argument block, part, parts
ACCUMULATORS = 12  # independent sums: they hide the latency, and fit 16 registers with operands
STEPS = 1_500_000  # of a call that multiplies: milliseconds, for a second thread may start late
TILE = 16 * 16 * 64  # products of a pair of full tiles of bytes


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


@kernel(T="int32")
def multiply_tiles(out: Pointer[T], steps: int, part: int, parts: int) -> None:
    """`steps` times four products of full tiles of bytes."""
    tiles_begin()
    for _ in range(steps):
        tile_bytes(0, 4, 6)
        tile_bytes(1, 4, 7)
        tile_bytes(2, 5, 6)
        tile_bytes(3, 5, 7)
    tiles_end()


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
