"""The kernel of `fold`: each element of the result adds up what windows have at its place."""

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


@kernel(T=NUMBERS, V=WIDE)
def fold(
    out: Pointer[T], x: Pointer[T], total: int, D: int, H: int, W: int, KD: int, KH: int, KW: int,
    PD: int, PH: int, PW: int, stride_d: int, stride_h: int, stride_w: int,
    dilation_d: int, dilation_h: int, dilation_w: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out (B, D, H, W) = the sums of x (B, KD, KH, KW, PD, PH, PW)."""
    lo, hi = share(total, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, W)
        w = item - row * W
        plane = truncdiv(row, H)
        h = row - plane * H
        image = truncdiv(plane, D)
        d = plane - image * D
        value = V(0)
        for i in range(KD):
            at_d = hit(d, i, dilation_d, stride_d, PD)
            if at_d >= 0:
                for j in range(KH):
                    at_h = hit(h, j, dilation_h, stride_h, PH)
                    if at_h >= 0:
                        slab = ((image * KD + i) * KH + j) * KW
                        for k in range(KW):
                            at_w = hit(w, k, dilation_w, stride_w, PW)
                            if at_w >= 0:
                                place = ((slab + k) * PD + at_d) * PH + at_h
                                value += x[place * PW + at_w]
        out[item] = value


@lower("portable", fold_)
def _(
    launcher: Launcher, out: Operand, x: Operand, *, size: Shape, stride: Shape, dilation: Shape
) -> None:
    rank = len(size)
    pad = (1,) * (3 - rank)
    end = len(x.shape) - rank
    kernel, counts = x.shape[end - rank : end], x.shape[end:]
    launcher.launch(
        fold(T=out.dtype, V=out.dtype.compute),
        *(out, x, numel(out.shape)),
        *(n for sizes in (size, kernel, counts, stride, dilation) for n in (*pad, *sizes)),
        work=4.0 * numel(out.shape) * numel(kernel),
        items=numel(out.shape),
    )
