"""Products of many rows with a weight in GGML blocks, both rounded to bfloat16: by tiles (AMX).

A panel of the weight is decoded once, in stretches that stay in the first-level cache, and packed
as `matmul` packs plain ones; all else is the same kernel.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, view
from numbatorch.language.processor import current_cpu
from numbatorch.language.simd.packed import STEP
from numbatorch.language.simd.pairs import multiplies_tiles, vpairs
from numbatorch.language.simd.vectors import lanes, vslice, vstore
from numbatorch.language.words import bfloat16, float32, uint32
from numbatorch.ops.blocks.kernel import block_kernel
from numbatorch.ops.cpu.matmul_packed import packed_product
from numbatorch.ops.cpu.packing import transpose_columns, words_in
from numbatorch.ops.cpu.quant_blocks import BLOCK_VALUES, meanings
from numbatorch.ops.cpu.quant_decode import decode_values

TILED_ROWS = 64  # for which decoding pays: a core's tiles do 1900 GFLOP/s, its bytes 490


def pays_in_pairs(rows: float) -> bool:
    """Whether products with so many rows are faster by tiles of bfloat16 than by bytes."""
    return rows >= TILED_ROWS and multiplies_tiles(current_cpu())


@helper
def store_pairs(out: Pointer[bfloat16], values: Any, last: int, pair: int) -> None:
    """As `store_values`, of what products take."""
    words = view(out, uint32) + 32 * pair
    if 2 * pair + 1 <= last:
        vstore(words, vpairs(values))
    elif 2 * pair <= last:
        vstore(words, vpairs(vslice(values, 0, 32)))


@helper
def pack_blocks(
    dst: Any,
    width: int,
    src: Pointer[T],
    src_row: int,
    src_col: int,
    K: int,
    cols: int,
    room: Any,
) -> None:
    """As `pack_group`, of columns of `src_col` blocks; the last one again up to a whole panel.

    Args:
        src_row: not used, for blocks lie along k.
        room: for a step of as many columns as a vector of words has.
    """
    n, words, values = lanes(dst), words_in(dst, K), view(room, bfloat16)
    for col in range(0, (cols + width - 1) // width * width, n):
        panel = dst + (col // width * width * words + col % width)
        for k in range(0, K, STEP):
            depth = min(STEP, K - k)
            for i in range(n):
                column = src + min(col + i, cols - 1) * src_col
                decode_values(values + i * STEP, column + k // BLOCK_VALUES, depth)
            transpose_columns(panel + k // 2 * width, width, values, STEP, depth)


def _quant_pairs(
    out: Pointer[float32],
    x: Pointer[bfloat16],
    weight: Pointer[T],
    workspace: Pointer[bfloat16],
    M: int,
    N: int,
    K: int,
    depth: int,
    columns: int,
    epilogue: int,
    epilogue_args: int,
    part: int,
    parts: int,
) -> None:
    """out (M, N) = x (M, K) @ weight.T, sums in float32."""
    packed_product(
        *(out, x, weight, workspace, M, N, K, N, K, 1, 1, K // BLOCK_VALUES),
        *(1, 1, 0, 0, 0, 0, 0, 0, depth, columns, epilogue, epilogue_args, part, parts),
    )


PACKED: dict[str, Any] = {"pack_group": pack_blocks, "store_values": store_pairs}
quant_pairs = block_kernel(_quant_pairs, meanings, place=(__name__, "quant_pairs"), **PACKED)
