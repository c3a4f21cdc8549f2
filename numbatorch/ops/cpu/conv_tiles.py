"""The kernel of convolutions: tiles of registers run along taps, which are read in place."""

from typing import Any

from numbatorch.language.kernel import Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.simd.tile import (
    half_vectors,
    tile_kept,
    tile_load,
    tile_outer,
    tile_store,
    tile_vectors,
    tile_zero,
    vstore_rows,
)
from numbatorch.language.simd.vectors import call_epilogue, lanes, view_held, vload, vstore
from numbatorch.language.words import int64, uint8
from numbatorch.ops.cpu.conv_images import PANEL

FLOATS = ("float32", "float64", "float16", "bfloat16")
WIDE = ("float32", "float64")

TILE = 6  # rows of a register tile
TALL = 8  # rows of two tiles of half as many columns


@helper
def windows_before(place: int, PD: int, PH: int, PW: int, pitch_h: int, pitch_w: int) -> int:
    """How many windows begin before a place of the image."""
    row = truncdiv(place, pitch_w)
    depth = truncdiv(row, pitch_h)
    height = row - depth * pitch_h
    found: int = (depth * PH + height) * PW + min(place - row * pitch_w, PW)
    if height >= PH:
        found = (depth + 1) * PH * PW
    return min(found, PD * PH * PW)


@helper
def store_first(out: Pointer[T], sums: Pointer[V], count: int) -> None:
    """Up to a panel of sums; without masks where vectors are short, as they are slow on some."""
    n = lanes(sums)
    done = 0
    while done + n <= count:
        vstore(out + done, vload(sums + done, n))
        done += n
    if tile_vectors(sums) == 4:
        if done < count:
            vstore_rows(out + done, 0, vload(sums + done, n), n, 1, count - done)
    else:
        if done + 4 <= count:
            vstore(out + done, vload(sums + done, 4))
            done += 4
        if done + 2 <= count:
            vstore(out + done, vload(sums + done, 2))
            done += 2
        if done < count:
            out[done] = sums[done]


@helper
def store_windows(
    out: Pointer[T], step: int, sums: Pointer[V], rows: int, first: int, end: int, start: int,
    PH: int, PW: int, pitch_h: int, pitch_w: int,
) -> None:  # fmt: skip
    """Windows `first` to `end` out of rows of sums, which begin at the place `start`."""
    width = tile_vectors(sums) * lanes(sums)
    window = first
    while window < end:
        row = truncdiv(window, PW)
        col = window - row * PW
        depth = truncdiv(row, PH)
        place = (depth * pitch_h + row - depth * PH) * pitch_w + col - start
        count = min(PW - col, end - window)
        for i in range(rows):
            store_first(out + (i * step + window), sums + (i * width + place), count)
        window += count


@helper
def pack(packed: Pointer[V], x: Pointer[V], table: Pointer[int64], K: int) -> None:
    """What the windows of a panel read, tap after tap."""
    n = lanes(packed)
    width = tile_vectors(packed) * n
    for k in range(K):
        source = x + table[k]
        target = packed + k * width
        for i in range(0, width, n):
            vstore(target + i, vload(source + i, n))


@helper
def add_products(
    tile: Any, x: Pointer[V], places: Pointer[int64], weight: Pointer[V], taps: Pointer[int64],
    count: int, step: int, last: int,
) -> Any:  # fmt: skip
    """A tile with the products of some taps added; filters are `step` apart."""
    for k in range(count):
        tile = tile_outer(tile, weight + taps[k], step, last, x + places[k], PANEL)
        tile = tile_kept(tile)
    return tile


@helper
def tall_tile(
    sums: Pointer[V], x: Pointer[V], places: Pointer[int64], weight: Pointer[V],
    taps: Pointer[int64], count: int, step: int, last: int, more: bool,
) -> None:  # fmt: skip
    """Up to eight filters by half a panel, whose sums are in memory if taps came before.

    They are two tiles, as the operands of one would take too many registers.
    """
    width = tile_vectors(x) * lanes(x)
    below = sums + TALL // 2 * width
    under = TALL // 2 if last >= TALL // 2 else 0
    upper = tile_zero(x, 4, half_vectors(x))
    lower = tile_zero(x, 4, half_vectors(x))
    if more:
        upper = tile_load(upper, sums, width)
        lower = tile_load(lower, below, width)
    for k in range(count):
        source, filters = x + places[k], weight + taps[k]
        upper = tile_kept(tile_outer(upper, filters, step, last, source, PANEL))
        filters = filters + under * step
        lower = tile_kept(tile_outer(lower, filters, step, last - under, source, PANEL))
    tile_store(sums, width, upper, 4, half_vectors(x) * lanes(x))
    tile_store(below, width, lower, 4, half_vectors(x) * lanes(x))


@helper
def panel_of_filters(
    out: Pointer[T], sums: Pointer[V], packed: Pointer[V], x: Pointer[V], weight: Pointer[V],
    step: int, table: Pointer[int64], taps: Pointer[int64], packs: int, depth: int, rows: int,
    K: int, columns: int, start: int, end: int, first: int, last: int, PH: int, PW: int,
    pitch_h: int, pitch_w: int, windows: int,
) -> None:  # fmt: skip
    """Windows `first` to `last`, at the places `start` to `end`, of some filters.

    Taps are taken in blocks of `depth`, and packed if their elements lie far from each other.
    """
    width = tile_vectors(x) * lanes(x)
    half = half_vectors(x) * lanes(x)
    few = end - start <= half
    base = min(start, max(0, columns - (half if few else width)))
    direct = last - first == width and base == start
    for done in range(0, K, depth):
        count = min(depth, K - done)
        source, places = x + base, table + done
        if packs != 0:
            pack(packed, source, places, count)
            source, places = packed, table + K
        row = 0
        while row < rows:
            line = sums + row * width
            place = weight + row * step
            if few:
                height = min(TALL, rows - row)
                tall_tile(
                    line, source, places, place, taps + done, count, step, height - 1, done > 0
                )
            else:
                height = min(TILE, rows - row)
                tile = tile_zero(x, TILE, tile_vectors(x))
                if done > 0:
                    tile = tile_load(tile, line, width)
                tile = add_products(
                    tile, source, places, place, taps + done, count, step, height - 1
                )
                if direct and done + count == K:
                    tile_store(out + (row * windows + first), windows, tile, height, width)
                else:
                    tile_store(line, width, tile, TILE, width)
            if done + count == K and not direct:
                store_windows(
                    out + row * windows, windows, line, height, first, last, base,
                    PH, PW, pitch_h, pitch_w,
                )  # fmt: skip
            row += height


@kernel(T=FLOATS, V=WIDE)
def convolve(
    out: Pointer[T], x: Pointer[V], weight: Pointer[V], step: int, table: Pointer[int64],
    taps: int, workspace: Pointer[uint8], room: int, packs: int, depth: int, images: int,
    groups: int, rows: int, K: int, image: int, group: int, columns: int, blocks: int,
    PD: int, PH: int, PW: int, pitch_h: int, pitch_w: int,
    epilogue: int, epilogue_args: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out (images, groups rows, P) of images from `spread`, `image` and `group` apart.

    Filters (groups rows, K) are `step` apart, and part `taps` of the table has the places of their
    elements. They come in blocks, so that those of a block stay in a cache while windows pass
    them. The last windows of an image are read with some before them, never behind the image.
    """
    width = tile_vectors(out) * lanes(out)
    sums = view_held(workspace, out) + part * room
    packed = sums + (room - depth * PANEL if packs != 0 else 0)
    panels = truncdiv(columns + width - 1, width)
    windows = PD * PH * PW
    lo, hi = share(images * groups * blocks * panels, part, parts)
    for item in range(lo, hi):
        batch = truncdiv(item, panels)
        start = (item - batch * panels) * width
        end = min(columns, start + width)
        first = windows_before(start, PD, PH, PW, pitch_h, pitch_w)
        last = windows_before(end, PD, PH, PW, pitch_h, pitch_w)
        unit = truncdiv(batch, images)
        number = batch - unit * images
        part_of = truncdiv(unit, blocks)
        low, high = share(truncdiv(rows + TILE - 1, TILE), unit - part_of * blocks, blocks)
        row0 = part_of * rows
        row, end_row = row0 + low * TILE, min(row0 + rows, row0 + high * TILE)
        panel_of_filters(
            out + (number * groups * rows + row) * windows, sums, packed,
            x + (number * image + part_of * group), weight + row * step, step,
            table, table + taps * K, packs, depth, end_row - row, K, columns, start, end,
            first, last, PH, PW, pitch_h, pitch_w, windows,
        )  # fmt: skip
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, number, row, end_row, first, last)
