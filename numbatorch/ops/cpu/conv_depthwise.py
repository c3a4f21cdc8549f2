"""Convolutions whose filters read one channel each: a plane is laid out, read and done with."""

from numbatorch.language.kernel import Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import add_reassoc, truncdiv
from numbatorch.language.simd.tile import tile_outer, tile_store, tile_zero
from numbatorch.language.simd.vectors import call_epilogue, lanes, view_held
from numbatorch.language.words import int64, uint8
from numbatorch.ops.cpu.conv_images import PANEL, spread_phases, tap_table
from numbatorch.ops.cpu.conv_tiles import FLOATS, WIDE, store_windows, windows_before

ROW = 2 * PANEL  # columns that no tile of one filter has more of


@helper
def one_filter(
    out: Pointer[T], sums: Pointer[V], x: Pointer[V], weight: Pointer[T], table: Pointer[int64],
    taps: Pointer[int64], count: int, columns: int,
    PD: int, PH: int, PW: int, pitch_h: int, pitch_w: int,
) -> None:  # fmt: skip
    """All windows of a plane, eight vectors of places at a time."""
    width = 8 * lanes(x)
    for start in range(0, columns, width):
        tile = tile_zero(x, 1, 8)
        for k in range(count):
            tile = tile_outer(tile, weight + taps[k], 0, 0, x + (start + table[k]), ROW)
        tile_store(sums, 0, tile, 1, width)
        end = min(columns, start + width)
        first = windows_before(start, PD, PH, PW, pitch_h, pitch_w)
        last = windows_before(end, PD, PH, PW, pitch_h, pitch_w)
        store_windows(out, sums, first, last, start, PH, PW, pitch_h, pitch_w)


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
        step_c, step_i, step_j, step_k,
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
        dil_d, dil_h, dil_w, phases_d, phases_h, phases_w, pitch_h, pitch_w, 0, 0, 0, 0,
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
