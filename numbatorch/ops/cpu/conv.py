"""How convolutions run on the CPU: images are laid out, then tiles of registers run along taps."""

from typing import Any

from numbatorch.ops.conv import convolution, convolution_weight
from numbatorch.ops.cpu import conv_depthwise, conv_tiles, conv_weight
from numbatorch.ops.cpu.conv_images import PANEL, SLACK, Images, spread, widen_filters
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.shape import Shape, numel

FLOATS = conv_tiles.FLOATS

BLOCK = 3 << 16  # elements of filters that stay in the second-level cache
PACKED = 24 << 10  # bytes of a packed panel, so that it fits the first-level cache
APART = 1 << 16  # elements of images with phases that no second-level cache holds beside filters
FAR = 1 << 18  # elements of filters that are worth a copy where they lie side by side
FEW = 2  # filters of a channel that have it for themselves, up to which each is by itself
ENOUGH = 16  # items for each thread, beyond which it does not matter whose turn is one longer


def laid_out(
    launcher: Launcher, x: Operand, images: Images, channels: int, steps: Shape = (0, 0, 0, 0)
) -> tuple[Any, Any]:
    """The images as windows read them, and the places of taps in them and in filters."""
    wide = x.dtype.compute
    inplace = x.dtype is wide and images.are_rows and images.plane >= PANEL
    planes = 0 if inplace else x.shape[0] * x.shape[1]
    size = 0 if inplace else planes * images.plane + SLACK + images.axes[2].pitch
    found = launcher.scratch(wide.nbytes(size))
    table = launcher.scratch(32 * channels * images.taps)
    launcher.launch(
        spread(T=x.dtype, V=wide),
        *(found, table, x, planes, channels, images.plane, images.phase),
        size - planes * images.plane,
        *(*images.words(), *steps),
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


def packs_taps(out: Operand, images: Images, channels: int, rows: int) -> bool:
    """Whether what windows read is copied for each panel, which `rows` filters then share.

    Taps of one element lie a whole image apart. With 16 registers a panel is a cache line, which
    a copy holds alone and in place; what windows read elsewhere lies across two.
    """
    from numbatorch.language.simd import vectors

    if images.taps == 1 or vectors.vector_registers() == 32:
        return images.taps == 1
    apart = images.phase < images.plane and channels * images.plane >= APART
    return rows >= conv_tiles.TILE * (4 if apart else 8)


def _steps(weight: Operand) -> Shape:
    """How far the elements of a filter are apart: along channels, and in three dimensions."""
    channel, *taps = weight.strides[1:]
    return (channel, *(0,) * (3 - len(taps)), *taps)


def _depthwise(
    launcher: Launcher, out: Operand, x: Operand, weight: Operand, images: Images
) -> None:
    """Filters that have one channel for themselves, or a few that do."""
    N, rows, windows = out.shape
    wide = out.dtype.compute
    room = conv_depthwise.ROW + images.plane + conv_depthwise.ROW + images.axes[2].pitch
    launcher.launch(
        conv_depthwise.depthwise(T=out.dtype, V=wide),
        *(out, x, weight, launcher.scratch(32 * launcher.parts * images.taps)),
        *(launcher.scratch(wide.nbytes(room * launcher.parts)), N, rows, rows // x.shape[1]),
        *(room, images.columns, weight.strides[0], images.plane, images.phase),
        *(*images.words(), *_steps(weight)),
        *launcher.epilogue,
        work=2.0 * N * rows * images.taps * windows,
    )


def _depthwise_weight(
    launcher: Launcher, out: Operand, x: Operand, g: Operand, images: Images
) -> None:
    """The gradient of those."""
    N, rows, *_ = g.shape
    wide = out.dtype.compute
    room = images.plane + images.axes[2].pitch + images.taps
    launcher.launch(
        conv_depthwise.depthwise_weight(T=out.dtype, V=wide),
        *(out, x, g, launcher.scratch(32 * launcher.parts * images.taps)),
        *(launcher.scratch(wide.nbytes(room * launcher.parts)), N, rows, rows // x.shape[1]),
        *(room, images.plane, images.phase, *images.words()),
        *launcher.epilogue,
        work=2.0 * numel(g.shape) * images.taps,
    )


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
    if per_group == 1 and O <= FEW:
        _depthwise(launcher, out, x, weight, images)
        return
    K = per_group * images.taps
    steps = _steps(weight)
    source, table = laid_out(launcher, x, images, per_group, steps)
    filters: Any = weight
    step, places = weight.strides[0], 2
    apart = images.taps > 1 and step < K and groups * O * K >= FAR
    if weight.dtype is not wide or apart:
        filters = launcher.scratch(wide.nbytes(groups * O * K))
        spec, rows = widen_filters(T=weight.dtype, V=wide), groups * O
        sizes = (rows, per_group, images.taps, step)
        launcher.launch(spec, filters, weight, table, *sizes, work=rows * K)
        step, places = K, 3
    items = N * groups * -(-images.columns // panel(out))
    blocks = blocks_of(O, K, items, launcher.parts)
    packs = packs_taps(out, images, per_group, O // blocks)
    depth = min(K, PACKED // wide.nbytes(panel(out))) if packs else K
    tiles = -(-O // conv_tiles.TILE)
    lines = -(-tiles // blocks) * conv_tiles.TILE + conv_tiles.TALL + depth * packs
    room = lines * PANEL + SLACK
    axes = images.axes
    launcher.launch(
        conv_tiles.convolve(T=out.dtype, V=wide),
        *(out, source, filters, step, table, places),
        *(
            launcher.scratch(wide.nbytes(room * launcher.parts)),
            room,
            int(packs),
            depth,
            N,
            groups,
            O,
            K,
        ),
        *(C * images.plane, per_group * images.plane, images.columns, blocks),
        *(axis.windows for axis in axes),
        *(axes[1].pitch, axes[2].pitch),
        *launcher.epilogue,
        work=0.5 * N * groups * O * K * numel(size),
    )


@lower("cpu", convolution_weight, dtypes=FLOATS)
def _(
    launcher: Launcher,
    out: Operand,
    x: Operand,
    g: Operand,
    *,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
    size: Shape,
) -> None:
    wide = out.dtype.compute
    images = Images.of(x.shape[2:], g.shape[2:], size, stride, padding, dilation)
    N, channels = x.shape[0], x.shape[1] // groups
    rows = g.shape[1] // groups
    if channels == 1 and rows <= FEW:
        _depthwise_weight(launcher, out, x, g, images)
        return
    source, table = laid_out(launcher, x, images, channels)
    tiles = -(-channels // conv_tiles.TILE)
    room = (conv_weight.WINDOWS + tiles * conv_tiles.TILE * images.taps) * PANEL
    axes = images.axes
    launcher.launch(
        conv_weight.convolve_weight(T=out.dtype, V=wide),
        *(out, source, g, table, launcher.scratch(wide.nbytes(room * launcher.parts))),
        *(room, N, groups, rows, channels, images.taps),
        *(x.shape[1] * images.plane, images.plane, *(axis.windows for axis in axes)),
        *(axes[1].pitch, axes[2].pitch),
        *launcher.epilogue,
        work=0.5 * N * numel(out.shape) * numel(g.shape[2:]),
    )
