"""Kernel of rows of x times weight.T with the weight in GGML blocks and x as it is, in float32.

Rows of the weight are decoded to float32, four at a time, and meet every row of x.
"""

from numbatorch.language.kernel import Pointer, T, helper, share
from numbatorch.language.simd.tile import four_sums, vstore_rows
from numbatorch.language.simd.vectors import call_epilogue, fma, splat, vload
from numbatorch.language.words import float32
from numbatorch.ops.cpu.quant_blocks import BLOCK_VALUES, vector_kernel
from numbatorch.ops.cpu.quant_decode import decode_values

LANES = 16
PANEL = 4  # groups of four columns between two calls of the epilogue


def exact_bytes(K: int) -> int:
    """Bytes of four decoded rows of the weight."""
    return 16 * K


@helper
def four_dots(
    out: Pointer[float32], x: Pointer[float32], rows: Pointer[float32], K: int, count: int
) -> None:
    """out[i] is the product of x (K) with row i of four, for the first `count`."""
    first = second = third = fourth = splat(float32(0.0), 16)
    for k in range(0, K, 16):
        here = vload(x + k, 16)
        first = fma(here, vload(rows + k, 16), first)
        second = fma(here, vload(rows + (K + k), 16), second)
        third = fma(here, vload(rows + (2 * K + k), 16), third)
        fourth = fma(here, vload(rows + (3 * K + k), 16), fourth)
    vstore_rows(out, 0, four_sums(first, second, third, fourth), 4, 1, count)


@vector_kernel
def quant_exact(
    out: Pointer[float32],
    x: Pointer[float32],
    weight: Pointer[T],
    values: Pointer[float32],
    M: int,
    N: int,
    K: int,
    epilogue: int,
    epilogue_args: int,
    part: int,
    parts: int,
) -> None:
    """out (M, N) = x (M, K) @ weight.T."""
    values = values + part * 4 * K
    length = K // BLOCK_VALUES
    lo, hi = share((N + 4 * PANEL - 1) // (4 * PANEL), part, parts)
    for panel in range(lo, hi):
        start = panel * 4 * PANEL
        end = min(N, start + 4 * PANEL)
        for col in range(start, end, 4):
            count = min(4, end - col)
            for i in range(count):
                decode_values(values + i * K, weight + (col + i) * length, K)
            for row in range(M):
                four_dots(out + (row * N + col), x + row * K, values, K, count)
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, 0, 0, M, start, end)
