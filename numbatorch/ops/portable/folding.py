"""The kernel of `fold`: lines of the result add up what windows have at their places."""

from typing import Any

from numbatorch.language.kernel import Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.ops.folding import fold_
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.shape import Shape, numel

NUMBERS = (
    *("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
    *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"),
)
WIDE = ("float32", "float64", *NUMBERS[6:])


@helper
def hit(place: int, k: int, dilation: int, stride: int, count: int) -> int:
    """The window whose element k lies at a place, -1 where there is none."""
    ahead = place - k * dilation
    window: int = truncdiv(ahead, stride)
    if ahead < 0 or window * stride != ahead or window >= count:
        return -1
    return window


@helper
def add_line(out: Any, x: Any, first: int, end: int, stride: int, count: int) -> None:
    """out[p * stride] += x[p] for all p below `count` whose place is from `first` to `end`."""
    low = truncdiv(max(first, 0) + stride - 1, stride)
    high = min(truncdiv(max(end, 0) + stride - 1, stride), count)
    if stride == 1:
        for p in range(low, high):
            out[p] = out[p] + x[p]
    else:
        for p in range(low, high):
            out[p * stride] = out[p * stride] + x[p]


@kernel(T=NUMBERS, V=WIDE)
def fold(
    out: Pointer[V], x: Pointer[T], total: int, D: int, H: int, W: int, KD: int, KH: int, KW: int,
    PD: int, PH: int, PW: int, stride_d: int, stride_h: int, stride_w: int,
    dilation_d: int, dilation_h: int, dilation_w: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out (B, D, H, W) = the sums of x (B, KD, KH, KW, PD, PH, PW); elements are shared."""
    lo, hi = share(total, part, parts)
    if lo >= hi:
        return
    for line in range(truncdiv(lo, W), truncdiv(hi + W - 1, W)):
        first, end = max(lo - line * W, 0), min(hi - line * W, W)
        plane = truncdiv(line, H)
        h = line - plane * H
        image = truncdiv(plane, D)
        d = plane - image * D
        target = out + line * W
        for w in range(first, end):
            target[w] = V(0)
        for i in range(KD):
            at_d = hit(d, i, dilation_d, stride_d, PD)
            if at_d >= 0:
                for j in range(KH):
                    at_h = hit(h, j, dilation_h, stride_h, PH)
                    if at_h >= 0:
                        slab = ((image * KD + i) * KH + j) * KW
                        for k in range(KW):
                            source = x + (((slab + k) * PD + at_d) * PH + at_h) * PW
                            to = k * dilation_w
                            add_line(target + to, source, first - to, end - to, stride_w, PW)


@lower("portable", fold_)
def _(
    launcher: Launcher, out: Operand, x: Operand, *, size: Shape, stride: Shape, dilation: Shape
) -> None:
    rank = len(size)
    pad = (1,) * (3 - rank)
    end = len(x.shape) - rank
    kernel, counts = x.shape[end - rank : end], x.shape[end:]
    launcher.launch(
        fold(T=x.dtype, V=out.dtype),
        *(out, x, numel(out.shape)),
        *(n for sizes in (size, kernel, counts, stride, dilation) for n in (*pad, *sizes)),
        work=4.0 * numel(out.shape) * numel(kernel),
        items=numel(out.shape),
    )
