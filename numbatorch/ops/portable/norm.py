"""What the lowerings of norms share on all devices: weights in a type that kernels take, sums."""

from typing import Any

from numbatorch.dtype import DType, float32
from numbatorch.language.kernel import Pointer, T, V, kernel, share
from numbatorch.language.words import int64
from numbatorch.ops.lowering import Launcher, Operand
from numbatorch.ops.portable.rows import FLOAT, WIDE, in_type


@kernel(T=FLOAT, V=WIDE)
def sum_parts(
    out: Pointer[T],
    sums: Pointer[V],
    used: Pointer[int64],
    first: int,
    stride: int,
    count: int,
    part: int,
    parts: int,
) -> None:
    """out[i] = sum of sums[p, first + i] over the first `used` rows p, which lie `stride` apart."""
    lo, hi = share(count, part, parts)
    for i in range(lo, hi):
        total = sums[first + i]
        for other in range(1, used[0]):
            total = total + sums[other * stride + first + i]
        out[i] = total


def launch_sums(
    launcher: Launcher, outs: tuple[Operand, ...], sums: Any, used: Any, wide: DType, rows: int
) -> None:
    """Each of `outs` (cols,) is the sum of its rows in sums (rows, len(outs), cols)."""
    for number, out in enumerate(outs):
        (cols,) = out.shape
        spec = sum_parts(T=out.dtype, V=wide)
        words = (number * cols, len(outs) * cols, cols)
        launcher.launch(spec, out, sums, used, *words, work=rows * cols, items=cols)


def weights_in(launcher: Launcher, x: DType, *weights: Operand) -> tuple[DType, tuple[Any, ...]]:
    """Weights as they are if they are of x's type or float32 beside narrower x; else converted."""
    kinds = {weight.dtype for weight in weights}
    if len(kinds) == 1 and (x in kinds or (float32 in kinds and x.compute is float32)):
        return weights[0].dtype, weights
    return x.compute, tuple(in_type(launcher, weight, x.compute) for weight in weights)
