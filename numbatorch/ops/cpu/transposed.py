"""CPU kernel of copies that exchange two dimensions, by squares transposed in registers."""

from __future__ import annotations

from numbatorch import dtype as dt
from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.language.simd.tile import tile_load, tile_store, tile_transpose, tile_zero
from numbatorch.language.simd.vectors import lanes

# What elements are moved as, by their bytes.
BITS = {1: dt.uint8, 2: dt.uint16, 4: dt.uint32, 8: dt.int64}
STRIP = 512  # columns


@kernel(T=tuple([dtype.name for dtype in BITS.values()]))
def transposed(
    out: Pointer[T],
    x: Pointer[T],
    outer: int,
    inner: int,
    rows: int,
    cols: int,
    out_outer: int,
    out_inner: int,
    out_row: int,
    x_outer: int,
    x_inner: int,
    x_col: int,
    part: int,
    parts: int,
) -> None:
    """out[o, i, row, col] = x[o, i, col, row], where rows of out and columns of x are consecutive.

    A thread takes bands of rows, which are whole cache lines of x, in strips of columns.
    """
    n = lanes(out)
    height = 2 * n
    bands = (rows + height - 1) // height
    strips = (cols + STRIP - 1) // STRIP
    lo, hi = share(outer * inner * bands * strips, part, parts)
    for unit in range(lo, hi):
        band = unit // strips
        left = (unit - band * strips) * STRIP
        right = min(left + STRIP, cols)
        image = band // bands
        top = (band - image * bands) * height
        bottom = min(top + height, rows)
        which = image // inner
        rest = image - which * inner
        target = out + (which * out_outer + rest * out_inner)
        source = x + (which * x_outer + rest * x_inner)
        for col in range(left, right - n + 1, n):
            for row in range(top, bottom - n + 1, n):
                square = tile_load(tile_zero(out, n, 1), source + (col * x_col + row), x_col)
                place = target + (row * out_row + col)
                tile_store(place, out_row, tile_transpose(square), n, n)
        whole = top + (bottom - top) // n * n
        past = left + (right - left) // n * n
        for row in range(top, whole):
            for col in range(past, right):
                target[row * out_row + col] = source[col * x_col + row]
        for row in range(whole, bottom):
            for col in range(left, right):
                target[row * out_row + col] = source[col * x_col + row]
