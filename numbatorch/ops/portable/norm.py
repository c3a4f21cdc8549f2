"""What the lowerings of norms share on all devices: weights in a type that kernels take, sums."""

from typing import Any

from numbatorch.dtype import DType, float32
from numbatorch.language.kernel import Pointer, V, kernel, share
from numbatorch.language.words import int64
from numbatorch.ops.lowering import Launcher, Operand
from numbatorch.ops.portable.rows import WIDE, in_type


@kernel(V=WIDE)
def sum_parts(
    out: Pointer[V],
    sums: Pointer[V],
    used: Pointer[int64],
    first: int,
    count: int,
    part: int,
    parts: int,
) -> None:
    """out[first + i] = sum of sums[p, i] over the first `used` rows p."""
    lo, hi = share(count, part, parts)
    target = out + first
    for i in range(lo, hi):
        target[i] = sums[i]
    for other in range(1, used[0]):
        source = sums + other * count
        for i in range(lo, hi):
            target[i] = target[i] + source[i]


def weights_in(launcher: Launcher, x: DType, *weights: Operand) -> tuple[DType, tuple[Any, ...]]:
    """Weights as they are if they are of x's type or float32 beside narrower x; else converted."""
    kinds = {weight.dtype for weight in weights}
    if len(kinds) == 1 and (x in kinds or (float32 in kinds and x.compute is float32)):
        return weights[0].dtype, weights
    return x.compute, tuple(in_type(launcher, weight, x.compute) for weight in weights)
