"""Kernels of rotary position embedding: pairs of elements are shared, a row of them at a time."""

from numbatorch.language.kernel import Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.ops import rope as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import FLOAT, WIDE, in_type, place_in


@helper
def turn_pairs(
    out: Pointer[T],
    step: int,
    apart: int,
    x: Pointer[T],
    x_step: int,
    x_apart: int,
    cos: Pointer[V],
    sin: Pointer[V],
    first: int,
    end: int,
    sign: float,
) -> None:
    """Rotates pairs of elements; they lie a step from each other, their two elements `apart`."""
    for i in range(first, end):
        a, b, sine = x[i * x_step], x[i * x_step + x_apart], sign * sin[i]
        out[i * step] = a * cos[i] - b * sine
        out[i * step + apart] = b * cos[i] + a * sine


@kernel(T=FLOAT, V=WIDE)
def rope_rows(
    out: Pointer[T], x: Pointer[T], cos: Pointer[V], sin: Pointer[V],
    heads: int, tokens: int, half: int, batch_stride: int, head_stride: int, token_stride: int,
    stride: int, rows: int, position: int, interleaved: int, sign: float, part: int, parts: int,
) -> None:  # fmt: skip
    """Rotates the pairs (i, i + half), or (2i, 2i + 1), by the angles of row position + token."""
    lo, hi = share(rows * half, part, parts)
    if lo >= hi:
        return
    turn = V(sign)
    for row in range(truncdiv(lo, half), truncdiv(hi + half - 1, half)):
        group = truncdiv(row, tokens)
        token = row - group * tokens
        source = x + (place_in(group, heads, batch_stride, head_stride) + token * token_stride)
        target = out + row * 2 * half
        c = cos + (position + token) * half
        s = sin + (position + token) * half
        i, j = max(lo - row * half, 0), min(hi - row * half, half)
        if interleaved != 0 and stride == 1:
            turn_pairs(target, 2, 1, source, 2, 1, c, s, i, j, turn)
        elif interleaved != 0:
            turn_pairs(target, 2, 1, source, 2 * stride, stride, c, s, i, j, turn)
        elif stride == 1:
            turn_pairs(target, 1, half, source, 1, half, c, s, i, j, turn)
        else:
            turn_pairs(target, 1, half, source, stride, half * stride, c, s, i, j, turn)


@lower("portable", ops.rope_)
def _(
    launcher: Launcher,
    out: Operand,
    x: Operand,
    cos: Operand,
    sin: Operand,
    *,
    position: int,
    interleaved: bool,
    inverse: bool,
) -> None:
    B, H, T, D = x.shape
    wide = x.dtype.compute
    tables = (in_type(launcher, cos, wide), in_type(launcher, sin, wide))
    spec = rope_rows(T=x.dtype, V=wide)
    sizes = (H, T, D // 2, *x.strides, B * H * T)
    turn = (position, int(interleaved), -1.0 if inverse else 1.0)
    launcher.launch(
        spec,
        *(out, x, *tables, *sizes, *turn),
        work=2 * B * H * T * D,
        items=B * H * T * D // 2,
    )
