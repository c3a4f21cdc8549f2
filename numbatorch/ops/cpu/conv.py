"""How convolutions run on the CPU: images are laid out, then tiles of registers run along taps."""

from typing import Any

from numbatorch.ops.conv import convolution
from numbatorch.ops.cpu import conv_tiles
from numbatorch.ops.cpu.conv_images import PANEL, SLACK, Images, spread
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import in_type
from numbatorch.shape import Shape, numel

FLOATS = conv_tiles.FLOATS

BLOCK = 3 << 16  # elements of filters that stay in the second-level cache
DEPTH = 96  # taps of a packed panel, so that it fits the first-level cache
ENOUGH = 16  # items for each thread, beyond which it does not matter whose turn is one longer


def laid_out(launcher: Launcher, x: Operand, images: Images, channels: int) -> tuple[Any, Any]:
    """The images as windows read them, and the places of taps in them."""
    wide = x.dtype.compute
    inplace = x.dtype is wide and images.are_rows and images.plane >= PANEL
    planes = 0 if inplace else x.shape[0] * x.shape[1]
    size = 0 if inplace else planes * images.plane + SLACK + images.axes[2].pitch
    found = launcher.scratch(wide.nbytes(size))
    table = launcher.scratch(16 * channels * images.taps)
    launcher.launch(
        spread(T=x.dtype, V=wide),
        *(found, table, x, planes, channels, images.plane, images.phase),
        size - planes * images.plane,
        *images.words(),
        work=float(size),
    )
    return x if inplace else found, table


def blocks_of(rows: int, K: int, items: int, parts: int) -> int:
    """Into how many blocks filters are cut: for a cache, and for equal shares of the threads."""
    tiles = -(-rows // conv_tiles.TILE)
    least = min(tiles, max(1, -(-rows * K // BLOCK)))
    for blocks in range(least, tiles + 1):
        if items * blocks % parts == 0 or items * blocks >= ENOUGH * parts:
            return blocks
    return tiles


def panel(out: Operand) -> int:
    """Columns of a panel, of the processor that is compiled for."""
    from numbatorch.language.simd import vectors

    return vectors.native_lanes(out.dtype.name) * (4 if vectors.vector_registers() == 32 else 2)


@lower("cpu", convolution, dtypes=FLOATS)
def _(
    launcher: Launcher,
    out: Operand,
    x: Operand,
    weight: Operand,
    *,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
    size: Shape,
) -> None:
    wide = out.dtype.compute
    images = Images.of(x.shape[2:], size, weight.shape[2:], stride, padding, dilation)
    N, C = x.shape[:2]
    O, per_group = weight.shape[0] // groups, weight.shape[1]  # noqa: E741
    source, table = laid_out(launcher, x, images, per_group)
    filters = in_type(launcher, weight, wide)
    K = per_group * images.taps
    items = N * groups * -(-images.columns // panel(out))
    blocks = blocks_of(O, K, items, launcher.parts)
    packs = images.taps == 1
    depth = min(K, DEPTH) if packs else K
    tiles = -(-O // conv_tiles.TILE)
    lines = -(-tiles // blocks) * conv_tiles.TILE + conv_tiles.TALL + depth * packs
    room = lines * PANEL + SLACK
    axes = images.axes
    launcher.launch(
        conv_tiles.convolve(T=out.dtype, V=wide),
        *(out, source, filters, table, launcher.scratch(wide.nbytes(room * launcher.parts))),
        *(room, int(packs), depth, N, groups, O, K),
        *(C * images.plane, per_group * images.plane, images.columns, blocks),
        *(axis.windows for axis in axes),
        *(axes[1].pitch, axes[2].pitch),
        *launcher.epilogue,
        work=0.5 * N * groups * O * K * numel(size),
    )
