"""The kernel of padding by elements of the input: lines are copied, their ends looked up."""

from numbatorch.language.kernel import Pointer, T, helper, kernel, share
from numbatorch.language.primitives import select, truncdiv
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.padding import MODES, Mode, padded
from numbatorch.ops.portable.rows import BITS
from numbatorch.shape import Shape, numel


@helper
def source_of(place: int, size: int, mode: int) -> int:
    """Which of `size` elements stands at a place, the first of them at 0: as in `MODES`."""
    last = size - 1
    if mode == 0:
        found = abs(last - abs(last - abs(place)))
    elif mode == 1:
        found = min(max(place, 0), last)
    else:
        found = select(place < 0, place + size, select(place > last, place - size, place))
    return found


@kernel(T=tuple(BITS.values()))
def pad_lines(
    out: Pointer[T], x: Pointer[T], total: int, D: int, H: int, W: int, depth: int, height: int,
    width: int, low_d: int, low_h: int, low_w: int, mode: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out (R, D, H, W) from x (R, depth, height, width); elements are shared."""
    lo, hi = share(total, part, parts)
    if lo >= hi:
        return
    begin = truncdiv(lo, W)
    plane = truncdiv(begin, H)
    row, image = begin - plane * H, truncdiv(plane, D)
    plane = plane - image * D
    for line in range(begin, truncdiv(hi + W - 1, W)):
        first, end = max(lo - line * W, 0), min(hi - line * W, W)
        d = source_of(plane - low_d, depth, mode)
        h = source_of(row - low_h, height, mode)
        source = x + ((image * depth + d) * height + h) * width
        row += 1
        if row == H:
            row, plane = 0, plane + 1
            if plane == D:
                plane, image = 0, image + 1
        target = out + line * W
        for w in range(first, min(end, low_w)):
            target[w] = source[source_of(w - low_w, width, mode)]
        inside = target + low_w
        for w in range(max(first - low_w, 0), min(end - low_w, width)):
            inside[w] = source[w]
        for w in range(max(first, low_w + width), end):
            target[w] = source[source_of(w - low_w, width, mode)]


@lower("portable", padded)
def _(launcher: Launcher, out: Operand, x: Operand, *, low: Shape, high: Shape, mode: Mode) -> None:
    size = numel(out.shape)
    launcher.launch(
        pad_lines(T=BITS[x.dtype.itemsize]),
        *(out, x, size, *out.shape[1:], *x.shape[1:], *low, MODES.index(mode)),
        work=2 * size,
        items=size,
    )
