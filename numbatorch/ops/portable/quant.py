"""Weights in GGML blocks are decoded to float32: whole tensors, and chosen rows.

The CPU has kernels with vectors for the same operators, which the tests compare with these.
"""

from numbatorch.language.kernel import Pointer, helper, share
from numbatorch.language.words import float32, int64, uint8
from numbatorch.ops import quant as ops
from numbatorch.ops.blocks.kernel import (
    block_at,
    block_kernel,
    codes_of,
    least_of,
    place_of,
    scale_of,
    value_of,
)
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import wide_index
from numbatorch.shape import numel


@helper
def decode_four(out: Pointer[float32], weight: Pointer[uint8], index: int) -> None:
    """The values of a weight from `index` on, a multiple of 4."""
    block = block_at(weight, index)
    place = place_of(index)
    codes = codes_of(block, place)
    scale = scale_of(block, place)
    least = least_of(block, place)
    for number in range(4):
        out[number] = value_of(codes, number, scale, least)


@block_kernel
def decode_blocks(
    out: Pointer[float32], weight: Pointer[uint8], size: int, part: int, parts: int
) -> None:
    """out[i] is value i of a weight of `size` values."""
    lo, hi = share(size >> 2, part, parts)
    for item in range(lo, hi):
        decode_four(out + 4 * item, weight, 4 * item)


@block_kernel
def take_decoded(
    out: Pointer[float32],
    weight: Pointer[uint8],
    index: Pointer[int64],
    status: Pointer[int64],
    rows: int,
    K: int,
    bound: int,
    part: int,
    parts: int,
) -> None:
    """out[i, :] is row index[i] of a weight of `bound` rows."""
    lo, hi = share(rows * (K >> 2), part, parts)
    for item in range(lo, hi):
        i = 4 * item // K
        row = index[i]
        if row < 0 or row >= bound:
            status[0] = 1
            status[1] = row
        else:
            decode_four(out + 4 * item, weight, row * K + (4 * item - i * K))


@lower("portable", ops.dequantize)
def _(launcher: Launcher, out: Operand, weight: Operand) -> None:
    size = numel(weight.shape)
    spec = decode_blocks(T=weight.dtype)
    launcher.launch(spec, out, weight, size, work=size, items=size // 4)


@lower("portable", ops.quant_take)
def _(launcher: Launcher, out: Operand, weight: Operand, index: Operand) -> None:
    rows = numel(index.shape)
    bound, K = weight.shape
    where = wide_index(launcher, index)
    launcher.launch(
        take_decoded(T=weight.dtype),
        *(out, weight, where, launcher.status(bound), rows, K, bound),
        work=rows * K,
        items=rows * K // 4,
    )
