"""What the lowerings of norms share on all devices: weights in a type that kernels take, sums."""

from math import isqrt
from typing import Any

from numbatorch.dtype import DType, float32
from numbatorch.language.kernel import Pointer, T, V, kernel, share
from numbatorch.ops.lowering import Launcher, Operand
from numbatorch.ops.portable.rows import FLOAT, WIDE, in_type
from numbatorch.shape import numel


@kernel(T=FLOAT, V=WIDE)
def sum_parts(
    out: Pointer[T],
    sums: Pointer[V],
    blocks: int,
    first: int,
    stride: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """out[i] = sum of sums[p, first + i] over all blocks p, which lie `stride` apart."""
    lo, hi = share(cols, part, parts)
    for i in range(lo, hi):
        total = sums[first + i]
        for other in range(1, blocks):
            total = total + sums[other * stride + first + i]
        out[i] = total


def launch_sums(
    launcher: Launcher, outs: tuple[Operand, ...], sums: Any, wide: DType, blocks: int
) -> None:
    """Each of `outs`, which has cols elements, is the sum of sums (blocks, len(outs), cols)."""
    for number, out in enumerate(outs):
        cols = numel(out.shape)
        spec = sum_parts(T=out.dtype, V=wide)
        words = (blocks, number * cols, len(outs) * cols, cols)
        launcher.launch(spec, out, sums, *words, work=blocks * cols, items=cols)


def blocks_of(rows: int) -> tuple[int, int]:
    """Rows of a block, and blocks: sums over rows are taken by block, whoever takes a block."""
    height = max(isqrt(rows), 16)
    return height, max(-(-rows // height), 1)


def weights_in(launcher: Launcher, x: DType, *weights: Operand) -> tuple[DType, tuple[Any, ...]]:
    """Weights as they are if they are of x's type or float32 beside narrower x; else converted."""
    kinds = {weight.dtype for weight in weights}
    if len(kinds) == 1 and (x in kinds or (float32 in kinds and x.compute is float32)):
        return weights[0].dtype, weights
    return x.compute, tuple(in_type(launcher, weight, x.compute) for weight in weights)
