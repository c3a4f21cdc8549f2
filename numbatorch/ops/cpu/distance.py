"""CPU kernel for the squares of distances between rows: tiles as those of a matrix product."""

from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.simd.tile import tile_apart, tile_store, tile_vectors, tile_zero
from numbatorch.language.simd.vectors import lanes
from numbatorch.ops import distance as ops
from numbatorch.ops.cpu.blocking import PANEL, TILE
from numbatorch.ops.cpu.packing import pack_panel
from numbatorch.ops.lowering import Launcher, Operand, lower

BLOCK = 96  # rows that meet a packed panel


@kernel(T=("float32", "float64"))
def squares_apart(
    out: Pointer[T],
    x1: Pointer[T],
    x2: Pointer[T],
    workspace: Pointer[T],
    batch: int,
    P: int,
    R: int,
    M: int,
    part: int,
    parts: int,
) -> None:
    """Panels of rows of x2 are shared, for each block of rows of x1, and packed side by side."""
    width = tile_vectors(out) * lanes(out)
    panels = (R + width - 1) // width
    blocks = (P + BLOCK - 1) // BLOCK
    packed = workspace + part * (PANEL * M)
    lo, hi = share(batch * panels * blocks, part, parts)
    known = -1
    for item in range(lo, hi):
        panel = truncdiv(item, blocks)
        first = (item - panel * blocks) * BLOCK
        image = truncdiv(panel, panels)
        col = (panel - image * panels) * width
        cols = min(width, R - col)
        if panel != known:
            known = panel
            pack_panel(packed, width, x2 + (image * R + col) * M, 1, M, M, cols)
        for row in range(first, min(P, first + BLOCK), TILE):
            last = min(TILE, P - row) - 1
            tile = tile_zero(out, TILE, tile_vectors(out))
            x = x1 + (image * P + row) * M
            w = packed
            for _ in range(M):
                tile = tile_apart(tile, x, M, last, w)
                x = x + 1
                w = w + width
            tile_store(out + ((image * P + row) * R + col), R, tile, last + 1, cols)


@lower("cpu", ops.squares_apart, dtypes=("float32", "float64"))
def _(launcher: Launcher, out: Operand, x1: Operand, x2: Operand) -> None:
    batch, P, M = x1.shape
    R = x2.shape[1]
    if not batch * P * R:
        return
    workspace = launcher.scratch(launcher.parts * PANEL * M * out.dtype.itemsize)
    sizes = (batch, P, R, M)
    launcher.launch(
        squares_apart(T=out.dtype), out, x1, x2, workspace, *sizes, work=batch * P * R * M
    )
