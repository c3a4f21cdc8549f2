"""The kernel of the gradient by the weight: channels times filters, summed along all windows.

The other image lies with its channels side by side for that, a panel of them at a time.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.simd.tile import (
    tile_load,
    tile_outer,
    tile_store,
    tile_vectors,
    tile_zero,
)
from numbatorch.language.simd.vectors import call_epilogue, lanes, view_held
from numbatorch.language.words import int64, uint8
from numbatorch.ops.cpu.conv_images import PANEL
from numbatorch.ops.cpu.conv_tiles import FLOATS, TILE, WIDE
from numbatorch.ops.cpu.packing import pack_panel, transpose_columns

WINDOWS = 256  # windows whose part of the other image is packed at a time


@helper
def add_windows(
    tile: Any, x: Pointer[V], plane: int, last: int, panel: Pointer[V], window: int, end: int,
    PH: int, PW: int, pitch_h: int, pitch_w: int,
) -> Any:  # fmt: skip
    """A tile with the products of windows `window` to `end` added, of channels `plane` apart."""
    row = truncdiv(window, PW)
    depth = truncdiv(row, PH)
    height, col = row - depth * PH, window - row * PW
    while window < end:
        source = x + ((depth * pitch_h + height) * pitch_w + col)
        count = min(PW - col, end - window)
        for i in range(count):
            tile = tile_outer(tile, source + i, plane, last, panel, PANEL)
            panel = panel + PANEL
        window += count
        col = 0
        height += 1
        if height == PH:
            height, depth = 0, depth + 1
    return tile


@helper
def store_turned(out: Pointer[T], step: int, sums: Any, rows: int, columns: int) -> None:
    """out[row * step + column] = sums[column * PANEL + row]."""
    n = lanes(sums)
    whole = columns // n * n
    for column in range(0, whole, n):
        transpose_columns(out + column, step, sums + column * PANEL, PANEL, rows)
    for column in range(whole, columns):
        for row in range(rows):
            out[row * step + column] = sums[column * PANEL + row]


@helper
def store_taps(
    out: Pointer[T], step: int, sums: Any, rows: int, channels: int, taps: int, first: int, end: int
) -> None:
    """The sums of taps `first` to `end` of each channel: out (rows, channels * taps)."""
    if end - first == taps:
        store_turned(out, step, sums, rows, channels * taps)
        return
    for channel in range(channels):
        column = channel * taps + first
        store_turned(out + column, step, sums + column * PANEL, rows, end - first)


@helper
def add_images(
    sums: Pointer[V], panel: Any, x: Pointer[V], g: Pointer[T], table: Pointer[int64],
    images: int, image: int, other: int, plane: int, taps: int, rows: int, channels: int,
    first: int, end: int, PD: int, PH: int, PW: int, pitch_h: int, pitch_w: int,
) -> None:  # fmt: skip
    """Some filters, which fit a panel, by pairs `first` to `end` of TILE channels and a tap.

    Sums are (channels, taps, PANEL), and begin with the channels of the first pair.
    """
    windows = PD * PH * PW
    columns = tile_vectors(x) * lanes(x)
    begin = truncdiv(first, taps) * TILE
    for number in range(images):
        for start in range(0, windows, WINDOWS):
            count = min(WINDOWS, windows - start)
            source = g + (number * other + start)
            pack_panel(panel, PANEL, source, 1, windows, count, rows)
            for pair in range(first, end):
                channel = truncdiv(pair, taps) * TILE
                last = min(TILE, channels - channel) - 1
                tap = pair % taps
                line = sums + ((channel - begin) * taps + tap) * PANEL
                at = x + (number * image + table[channel * taps + tap])
                tile = tile_zero(x, TILE, tile_vectors(x))
                if number > 0 or start > 0:
                    tile = tile_load(tile, line, taps * PANEL)
                tile = add_windows(
                    tile, at, plane, last, panel, start, start + count, PH, PW, pitch_h, pitch_w
                )
                tile_store(line, taps * PANEL, tile, last + 1, columns)


@kernel(T=FLOATS, V=WIDE)
def convolve_weight(
    out: Pointer[T], x: Pointer[V], g: Pointer[T], table: Pointer[int64],
    workspace: Pointer[uint8], room: int, images: int, groups: int, rows: int, channels: int,
    taps: int, image: int, plane: int, PD: int, PH: int, PW: int, pitch_h: int, pitch_w: int,
    epilogue: int, epilogue_args: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out (groups rows, channels taps) of images from `spread` and g (images, groups rows, P)."""
    width = tile_vectors(out) * lanes(out)
    panel = view_held(workspace, out) + part * room
    sums = panel + WINDOWS * PANEL
    panels = truncdiv(rows + width - 1, width)
    pairs = truncdiv(channels + TILE - 1, TILE) * taps
    windows = PD * PH * PW
    lo, hi = share(groups * panels * pairs, part, parts)
    while lo < hi:
        unit = truncdiv(lo, pairs)
        first = lo - unit * pairs
        end = min(first + hi - lo, pairs)
        group = truncdiv(unit, panels)
        row0 = (unit - group * panels) * width
        row1 = min(rows, row0 + width)
        row0, row1 = group * rows + row0, group * rows + row1
        add_images(
            sums, panel, x + group * channels * plane, g + row0 * windows, table, images, image,
            groups * rows * windows, plane, taps, row1 - row0, channels, first, end, PD, PH, PW,
            pitch_h, pitch_w,
        )  # fmt: skip
        begin = truncdiv(first, taps) * TILE
        pair = first
        while pair < end:
            channel = truncdiv(pair, taps) * TILE
            number = min(TILE, channels - channel)
            tap = pair % taps
            last = min(taps, tap + end - pair)
            store_taps(
                out + (row0 * channels + channel) * taps, channels * taps,
                sums + (channel - begin) * taps * PANEL, row1 - row0, number, taps, tap, last,
            )  # fmt: skip
            if epilogue != 0:
                for c in range(channel * taps, (channel + number) * taps, taps):
                    call_epilogue(epilogue, epilogue_args, 0, row0, row1, c + tap, c + last)
            pair += last - tap
        lo += end - first
