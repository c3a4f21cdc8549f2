"""Convolutions whose filters read one channel each: a plane is laid out, read and done with."""

from typing import Any

from numbatorch.language.kernel import Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import add_reassoc, truncdiv
from numbatorch.language.simd.tile import tile_outer, tile_store, tile_zero
from numbatorch.language.simd.vectors import call_epilogue, lanes, view_held
from numbatorch.language.words import int64, uint8
from numbatorch.ops.cpu.conv_images import PANEL, spread_phases, tap_table
from numbatorch.ops.cpu.conv_tiles import FLOATS, WIDE, store_first, store_windows, windows_before

ROW = 2 * PANEL  # columns that no tile of one filter has more of


@helper
def add_taps(
    tile: Any, x: Pointer[V], weight: Pointer[T], table: Pointer[int64], taps: Pointer[int64],
    count: int,
) -> Any:  # fmt: skip
    """A tile with the products of all taps added."""
    for k in range(count):
        tile = tile_outer(tile, weight + taps[k], 0, 0, x + table[k], ROW)
    return tile


@helper
def store_row(
    out: Pointer[T], sums: Pointer[V], tile: Any, width: int, count: int, room: int
) -> None:
    """`count` windows of a tile, or all of it where there is room for what comes later."""
    if width <= room:
        tile_store(out, 0, tile, 1, width)
    else:
        tile_store(sums, 0, tile, 1, width)
        store_first(out, sums, min(count, width))


@helper
def row_of_windows(
    out: Pointer[T], sums: Pointer[V], x: Pointer[V], weight: Pointer[T], table: Pointer[int64],
    taps: Pointer[int64], count: int, PW: int, room: int,
) -> None:  # fmt: skip
    """The windows of a row, as many vectors at a time as it still has; `room` is behind `out`."""
    n = lanes(x)
    col = 0
    while col < PW:
        left, place, source = PW - col, out + col, x + col
        if left > 4 * n:
            wide = add_taps(tile_zero(x, 1, 8), source, weight, table, taps, count)
            store_row(place, sums, wide, 8 * n, left, room - col)
            col += 8 * n
        elif left > 2 * n:
            four = add_taps(tile_zero(x, 1, 4), source, weight, table, taps, count)
            store_row(place, sums, four, 4 * n, left, room - col)
            col += 4 * n
        else:
            pair = add_taps(tile_zero(x, 1, 2), source, weight, table, taps, count)
            store_row(place, sums, pair, 2 * n, left, room - col)
            col += 2 * n


@helper
def one_filter(
    out: Pointer[T], sums: Pointer[V], x: Pointer[V], weight: Pointer[T], table: Pointer[int64],
    taps: Pointer[int64], count: int, columns: int,
    PD: int, PH: int, PW: int, pitch_h: int, pitch_w: int,
) -> None:  # fmt: skip
    """All windows of a plane: row by row, or eight vectors of places at a time if it is narrow."""
    width = 8 * lanes(x)
    if PW > lanes(x):
        for row in range(PD * PH):
            depth = truncdiv(row, PH)
            place = (depth * pitch_h + row - depth * PH) * pitch_w
            row_of_windows(
                out + row * PW, sums, x + place, weight, table, taps, count, PW,
                (PD * PH - row) * PW,
            )  # fmt: skip
        return
    for start in range(0, columns, width):
        tile = add_taps(tile_zero(x, 1, 8), x + start, weight, table, taps, count)
        tile_store(sums, 0, tile, 1, width)
        end = min(columns, start + width)
        first = windows_before(start, PD, PH, PW, pitch_h, pitch_w)
        last = windows_before(end, PD, PH, PW, pitch_h, pitch_w)
        store_windows(out, 0, sums, 1, first, last, start, PH, PW, pitch_h, pitch_w)


@kernel(T=FLOATS, V=WIDE)
def depthwise(
    out: Pointer[T], x: Pointer[T], weight: Pointer[T], tables: Pointer[int64],
    workspace: Pointer[uint8], images: int, rows: int, times: int, room: int, columns: int,
    step: int, plane: int, phase: int,
    ID: int, IH: int, IW: int, PD: int, PH: int, PW: int, KD: int, KH: int, KW: int,
    stride_d: int, stride_h: int, stride_w: int, pad_d: int, pad_h: int, pad_w: int,
    dil_d: int, dil_h: int, dil_w: int, phases_d: int, phases_h: int, phases_w: int,
    pitch_d: int, pitch_h: int, pitch_w: int,
    step_c: int, step_i: int, step_j: int, step_k: int,
    epilogue: int, epilogue_args: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out (images, rows, P): filters `step` apart, each of which reads channel row / times."""
    taps = KD * KH * KW
    table = tables + part * 4 * taps
    sums = view_held(workspace, out) + part * room
    tap_table(
        table, 1, plane, phase, KD, KH, KW, stride_d, stride_h, stride_w,
        dil_d, dil_h, dil_w, phases_d, phases_h, phases_w, pitch_h, pitch_w,
        step_c, step_i, step_j, step_k, 0,
    )  # fmt: skip
    image = sums + ROW
    for i in range(plane, room - ROW):
        image[i] = 0.0
    known = -1
    windows = PD * PH * PW
    lo, hi = share(images * rows, part, parts)
    for item in range(lo, hi):
        source = truncdiv(item, times)
        if source != known:
            known = source
            spread_phases(
                image, x + source * ID * IH * IW, phase, ID, IH, IW, stride_d, stride_h, stride_w,
                pad_d, pad_h, pad_w, dil_d, dil_h, dil_w, phases_d, phases_h, phases_w,
                pitch_d, pitch_h, pitch_w,
            )  # fmt: skip
        number = truncdiv(item, rows)
        row = item - number * rows
        one_filter(
            out + item * windows, sums, image, weight + row * step, table, table + 2 * taps, taps,
            columns, PD, PH, PW, pitch_h, pitch_w,
        )  # fmt: skip
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, number, row, row + 1, 0, windows)


@helper
def add_plane(
    sums: Pointer[V], x: Pointer[V], g: Pointer[T], table: Pointer[int64], taps: int,
    PD: int, PH: int, PW: int, pitch_h: int, pitch_w: int,
) -> None:  # fmt: skip
    """sums[tap] += the products of a plane of g and what the tap reads."""
    for tap in range(taps):
        total = sums[tap]
        for row in range(PD * PH):
            depth = truncdiv(row, PH)
            height = row - depth * PH
            source = x + (table[tap] + (depth * pitch_h + height) * pitch_w)
            other = g + row * PW
            for i in range(PW):
                total = add_reassoc(total, source[i] * other[i])
        sums[tap] = total


@kernel(T=FLOATS, V=WIDE)
def depthwise_weight(
    out: Pointer[T], x: Pointer[T], g: Pointer[T], tables: Pointer[int64],
    workspace: Pointer[uint8], images: int, rows: int, times: int, room: int,
    plane: int, phase: int,
    ID: int, IH: int, IW: int, PD: int, PH: int, PW: int, KD: int, KH: int, KW: int,
    stride_d: int, stride_h: int, stride_w: int, pad_d: int, pad_h: int, pad_w: int,
    dil_d: int, dil_h: int, dil_w: int, phases_d: int, phases_h: int, phases_w: int,
    pitch_d: int, pitch_h: int, pitch_w: int,
    epilogue: int, epilogue_args: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out (rows, taps): what each filter of `depthwise` has for its gradient."""
    taps = KD * KH * KW
    table = tables + part * 4 * taps
    image = view_held(workspace, out) + part * room
    sums = image + (plane + pitch_w)
    for i in range(plane, plane + pitch_w):
        image[i] = 0.0
    tap_table(
        table, 1, plane, phase, KD, KH, KW, stride_d, stride_h, stride_w,
        dil_d, dil_h, dil_w, phases_d, phases_h, phases_w, pitch_h, pitch_w, 0, 0, 0, 0, 0,
    )  # fmt: skip
    channels = truncdiv(rows, times)
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        for tap in range(taps):
            sums[tap] = 0.0
        for number in range(images):
            source = number * channels + truncdiv(row, times)
            spread_phases(
                image, x + source * ID * IH * IW, phase, ID, IH, IW, stride_d, stride_h, stride_w,
                pad_d, pad_h, pad_w, dil_d, dil_h, dil_w, phases_d, phases_h, phases_w,
                pitch_d, pitch_h, pitch_w,
            )  # fmt: skip
            other = g + (number * rows + row) * PD * PH * PW
            add_plane(sums, image, other, table, taps, PD, PH, PW, pitch_h, pitch_w)
        for tap in range(taps):
            out[row * taps + tap] = sums[tap]
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, 0, row, row + 1, 0, taps)
