"""Products of matrices of integers: rows of rhs are added up, of which LLVM makes vector code.

Sums wrap, so their order does not matter.
"""

from typing import Any

from numbatorch import dtype as dt
from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.simd.vectors import call_epilogue
from numbatorch.language.words import uint8
from numbatorch.ops.portable.rows import place_in

INTEGERS = tuple(dtype.name for dtype in dt.INTEGERS)


@helper
def add_rows(
    out: Pointer[T], a: Pointer[T], a_col: int, b: Pointer[U], b_row: int, N: int, K: int, zero: Any
) -> None:
    """out[j] = sum over k of a[k] * b[k, j], where the elements of a row lie side by side."""
    for j in range(N):
        out[j] = zero
    whole = K // 4 * 4
    for k in range(0, whole, 4):
        a0, a1 = a[k * a_col], a[(k + 1) * a_col]
        a2, a3 = a[(k + 2) * a_col], a[(k + 3) * a_col]
        row = b + k * b_row
        for j in range(N):
            near = a0 * row[j] + a1 * row[b_row + j]
            out[j] = out[j] + (near + (a2 * row[2 * b_row + j] + a3 * row[3 * b_row + j]))
    for k in range(whole, K):
        a0 = a[k * a_col]
        row = b + k * b_row
        for j in range(N):
            out[j] = out[j] + a0 * row[j]


@kernel(T=INTEGERS, U=INTEGERS)
def matmul_integer(
    out: Pointer[T], lhs: Pointer[T], rhs: Pointer[U], workspace: Pointer[uint8],
    M: int, N: int, K: int, out_row: int, lhs_row: int, lhs_col: int, rhs_row: int, rhs_col: int,
    batch0: int, batch1: int, out_batch0: int, out_batch1: int, lhs_batch0: int, lhs_batch1: int,
    rhs_batch0: int, rhs_batch1: int, epilogue: int, epilogue_args: int, part: int, parts: int,
) -> None:  # fmt: skip
    """Rows of results are shared; where the elements of rhs's rows lie apart, each is a sum."""
    lo, hi = share(batch0 * batch1 * M, part, parts)
    for line in range(lo, hi):
        batch = line // M
        row = line - batch * M
        target = out + (place_in(batch, batch1, out_batch0, out_batch1) + row * out_row)
        a = lhs + (place_in(batch, batch1, lhs_batch0, lhs_batch1) + row * lhs_row)
        b = rhs + place_in(batch, batch1, rhs_batch0, rhs_batch1)
        if rhs_col == 1:
            add_rows(target, a, lhs_col, b, rhs_row, N, K, T(0))
        else:
            for j in range(N):
                total = T(0)
                for k in range(K):
                    total = T(total + T(a[k * lhs_col] * b[k * rhs_row + j * rhs_col]))
                target[j] = total
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, batch, row, row + 1, 0, N)
