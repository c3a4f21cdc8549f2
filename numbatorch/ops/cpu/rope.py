"""CPU kernels of rotary position embedding: one row is one head of one token."""

from numbatorch.backends.cpu.kernel import Pointer, T, V, kernel, share
from numbatorch.backends.cpu.primitives import truncdiv
from numbatorch.ops import rope as ops
from numbatorch.ops.cpu.rows import FLOAT, WIDE, in_type
from numbatorch.ops.lowering import Launcher, Operand, lower


@kernel(T=FLOAT, V=WIDE)
def rope_halves(
    out: Pointer[T],
    x: Pointer[T],
    cos: Pointer[V],
    sin: Pointer[V],
    heads: int,
    tokens: int,
    half: int,
    batch_stride: int,
    head_stride: int,
    token_stride: int,
    stride: int,
    rows: int,
    position: int,
    sign: float,
    part: int,
    parts: int,
) -> None:
    """Rotates the pairs (i, i + half) by sign times the angles of row position + token."""
    lo, hi = share(rows, part, parts)
    turn = V(sign)
    for row in range(lo, hi):
        group = truncdiv(row, tokens)
        batch = truncdiv(group, heads)
        token, head = row - group * tokens, group - batch * heads
        source = x + (batch * batch_stride + head * head_stride + token * token_stride)
        target = out + row * 2 * half
        c = cos + (position + token) * half
        s = sin + (position + token) * half
        if stride == 1:
            for i in range(half):
                a, b, sine = source[i], source[half + i], turn * s[i]
                target[i] = a * c[i] - b * sine
                target[half + i] = b * c[i] + a * sine
        else:
            for i in range(half):
                a, b, sine = source[i * stride], source[(half + i) * stride], turn * s[i]
                target[i] = a * c[i] - b * sine
                target[half + i] = b * c[i] + a * sine


@kernel(T=FLOAT, V=WIDE)
def rope_neighbours(
    out: Pointer[T],
    x: Pointer[T],
    cos: Pointer[V],
    sin: Pointer[V],
    heads: int,
    tokens: int,
    half: int,
    batch_stride: int,
    head_stride: int,
    token_stride: int,
    stride: int,
    rows: int,
    position: int,
    sign: float,
    part: int,
    parts: int,
) -> None:
    """Rotates the pairs (2i, 2i + 1) by sign times the angles of row position + token."""
    lo, hi = share(rows, part, parts)
    turn = V(sign)
    for row in range(lo, hi):
        group = truncdiv(row, tokens)
        batch = truncdiv(group, heads)
        token, head = row - group * tokens, group - batch * heads
        source = x + (batch * batch_stride + head * head_stride + token * token_stride)
        target = out + row * 2 * half
        c = cos + (position + token) * half
        s = sin + (position + token) * half
        if stride == 1:
            for i in range(half):
                a, b, sine = source[2 * i], source[2 * i + 1], turn * s[i]
                target[2 * i] = a * c[i] - b * sine
                target[2 * i + 1] = b * c[i] + a * sine
        else:
            for i in range(half):
                a, b, sine = source[2 * i * stride], source[(2 * i + 1) * stride], turn * s[i]
                target[2 * i] = a * c[i] - b * sine
                target[2 * i + 1] = b * c[i] + a * sine


@lower("cpu", ops.rope)
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
    spec = (rope_neighbours if interleaved else rope_halves)(T=x.dtype, V=wide)
    sizes = (H, T, D // 2, *x.strides, B * H * T)
    sign = -1.0 if inverse else 1.0
    launcher.launch(spec, out, x, *tables, *sizes, position, sign, work=2 * B * H * T * D)
