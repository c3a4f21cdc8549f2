"""Convolutions on GPUs: products whose rhs is read out of the images, tile by tile.

Filters that have one channel for themselves take a thread for each result.
"""

from typing import Any

from numbatorch.language.groups import barrier, finish_tile, group, local, shared, thread, threads
from numbatorch.language.kernel import Epilogue, Pointer, T, V, helper, kernel
from numbatorch.language.primitives import truncdiv
from numbatorch.ops.conv import convolution
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.shape import Shape, numel

FLOATS = ("float32", "float64", "float16", "bfloat16")
WIDE = ("float32", "float64")

TILE = 32  # filters and windows that a group computes
DEPTH = 16  # elements of windows that are in shared memory at a time
LINE = TILE + 1  # from one of them to the next there, so that threads meet different banks
CELLS = DEPTH * LINE
ELEMENTS = TILE * DEPTH
SIDE = 4  # filters and windows that a thread computes
SQUARE = SIDE * SIDE
ACROSS = TILE // SIDE
THREADS = ACROSS * ACROSS
PLANE_THREADS = 128  # of a group where each computes a result


@helper
def quotient(a: int, b: int) -> tuple[int, int]:
    """a // b and what is left."""
    found: int = truncdiv(a, b)
    return found, a - found * b


@helper
def element(x: Pointer[T], d: int, h: int, w: int, ID: int, IH: int, IW: int, zero: Any) -> Any:
    """An element of an image, zero outside."""
    value = zero
    if d >= 0 and d < ID and h >= 0 and h < IH and w >= 0 and w < IW:
        value = zero + x[(d * IH + h) * IW + w]
    return value


@helper
def tap_of(k: int, KD: int, KH: int, KW: int) -> tuple[int, int, int, int]:
    """The channel of an element of a window, and where it lies in it."""
    channel, tap = quotient(k, KD * KH * KW)
    i, tap = quotient(tap, KH * KW)
    j, tap = quotient(tap, KW)
    return channel, i, j, tap


@helper
def load_filters(
    out: Pointer[V], weight: Pointer[T], start: int, K: int, rows: int, KD: int, KH: int, KW: int,
    step: int, step_c: int, step_i: int, step_j: int, step_k: int, zero: Any,
) -> None:  # fmt: skip
    """Elements `start` to `start + DEPTH` of some filters, zeros where there are none."""
    for item in range(thread(), ELEMENTS, THREADS):
        k = item & (DEPTH - 1)
        row = truncdiv(item, DEPTH)
        channel, i, j, tap = tap_of(start + k, KD, KH, KW)
        value = zero
        if row < rows and start + k < K:
            at = row * step + channel * step_c
            value = zero + weight[at + i * step_i + j * step_j + tap * step_k]
        out[k * LINE + row] = value


@helper
def add_tile(total: Pointer[V], weights: Pointer[V], images: Pointer[V]) -> None:
    """Products of what lies in shared memory, for the filters and windows of this thread."""
    row, col = truncdiv(thread(), ACROSS) * SIDE, (thread() & (ACROSS - 1)) * SIDE
    for k in range(DEPTH):
        for i in range(SIDE):
            factor = weights[k * LINE + row + i]
            for j in range(SIDE):
                at = i * SIDE + j
                total[at] = total[at] + factor * images[k * LINE + col + j]


@helper
def store_tile(out: Pointer[T], step: int, total: Pointer[V], rows: int, cols: int) -> None:
    """The results of this thread."""
    for i in range(SIDE):
        for j in range(SIDE):
            if i < rows and j < cols:
                out[i * step + j] = total[i * SIDE + j]


@kernel(T=FLOATS, V=WIDE)
def convolve(
    out: Pointer[T], x: Pointer[T], weight: Pointer[T], groups: int, rows: int, channels: int,
    ID: int, IH: int, IW: int, PD: int, PH: int, PW: int, KD: int, KH: int, KW: int,
    stride_d: int, stride_h: int, stride_w: int, pad_d: int, pad_h: int, pad_w: int,
    dil_d: int, dil_h: int, dil_w: int,
    step: int, step_c: int, step_i: int, step_j: int, step_k: int, finish: Epilogue,
) -> None:  # fmt: skip
    """A group computes a tile of filters and windows, element after element of the windows."""
    weights = shared(V, CELLS)
    images = shared(V, CELLS)
    total = local(V, SQUARE)
    for i in range(SQUARE):
        total[i] = V(0.0)
    windows = PD * PH * PW
    K = channels * KD * KH * KW
    across = truncdiv(windows + TILE - 1, TILE)
    batch, tile = quotient(group(), truncdiv(rows + TILE - 1, TILE) * across)
    part = batch - truncdiv(batch, groups) * groups
    down, right = quotient(tile, across)
    row, col = down * TILE, right * TILE
    filters = weight + (part * rows + row) * step
    image = x + batch * channels * ID * IH * IW
    # Each thread reads the images for one window.
    window = col + (thread() & (TILE - 1))
    plane, left = quotient(min(window, windows - 1), PH * PW)
    line, place = quotient(left, PW)
    d0, h0, w0 = plane * stride_d - pad_d, line * stride_h - pad_h, place * stride_w - pad_w
    for start in range(0, K, DEPTH):
        load_filters(
            weights, filters, start, K, rows - row, KD, KH, KW,
            step, step_c, step_i, step_j, step_k, V(0.0),
        )  # fmt: skip
        for item in range(thread(), ELEMENTS, THREADS):
            k = truncdiv(item, TILE)
            channel, i, j, tap = tap_of(start + k, KD, KH, KW)
            value = V(0.0)
            if window < windows and start + k < K:
                source = image + channel * ID * IH * IW
                d, h, w = d0 + i * dil_d, h0 + j * dil_h, w0 + tap * dil_w
                value = element(source, d, h, w, ID, IH, IW, V(0.0))
            images[k * LINE + (item & (TILE - 1))] = value
        barrier()
        add_tile(total, weights, images)
        barrier()
    row += truncdiv(thread(), ACROSS) * SIDE
    col += (thread() & (ACROSS - 1)) * SIDE
    high, wide = min(SIDE, rows - row), min(SIDE, windows - col)
    store_tile(out + ((batch * rows + row) * windows + col), windows, total, high, wide)
    if high > 0 and wide > 0:
        row += part * rows
        finish_tile(finish, truncdiv(batch, groups), row, row + high, col, col + wide)


@kernel(T=FLOATS, V=WIDE)
def depthwise(
    out: Pointer[T], x: Pointer[T], weight: Pointer[T], results: int, rows: int, times: int,
    ID: int, IH: int, IW: int, PD: int, PH: int, PW: int, KD: int, KH: int, KW: int,
    stride_d: int, stride_h: int, stride_w: int, pad_d: int, pad_h: int, pad_w: int,
    dil_d: int, dil_h: int, dil_w: int,
    step: int, step_i: int, step_j: int, step_k: int, finish: Epilogue,
) -> None:  # fmt: skip
    """A thread computes a result: filter `row` reads channel row / times."""
    item = group() * threads() + thread()
    if item < results:
        filter_, window = quotient(item, PD * PH * PW)
        row = filter_ - truncdiv(filter_, rows) * rows
        source = x + truncdiv(filter_, times) * ID * IH * IW
        plane, left = quotient(window, PH * PW)
        line, place = quotient(left, PW)
        d0, h0, w0 = plane * stride_d - pad_d, line * stride_h - pad_h, place * stride_w - pad_w
        total = V(0.0)
        for i in range(KD):
            for j in range(KH):
                for k in range(KW):
                    d, h, w = d0 + i * dil_d, h0 + j * dil_h, w0 + k * dil_w
                    value = element(source, d, h, w, ID, IH, IW, V(0.0))
                    at = row * step + i * step_i + j * step_j + k * step_k
                    total += V(weight[at]) * value
        out[item] = total
        finish_tile(finish, truncdiv(filter_, rows), row, row + 1, window, window + 1)


@lower("gpu", convolution, dtypes=FLOATS)
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
    N, rows = x.shape[0], weight.shape[0] // groups
    channels, taps = weight.shape[1], weight.shape[2:]
    rank = len(size)
    images = [(*(1,) * (3 - rank), *n) for n in (x.shape[2:], size, taps, stride)]
    images.append((*(0,) * (3 - rank), *padding))
    images.append((*(1,) * (3 - rank), *dilation))
    sizes = [n for numbers in images for n in numbers]
    step, step_c, *steps = weight.strides
    steps = [*(0,) * (3 - rank), *steps]
    work = 2.0 * numel(out.shape) * channels * numel(taps)
    if channels == 1:
        spec = depthwise(T=out.dtype, V=out.dtype.compute)
        results = numel(out.shape)
        launcher.launch(
            *(spec, out, x, weight, results, rows * groups, rows, *sizes, step, *steps),
            launcher.epilogue,
            work=work,
            groups=-(-results // PLANE_THREADS),
            threads=PLANE_THREADS,
        )
        return
    launcher.launch(
        convolve(T=out.dtype, V=out.dtype.compute),
        *(out, x, weight, groups, rows, channels, *sizes, step, step_c, *steps),
        launcher.epilogue,
        work=work,
        groups=N * groups * -(-rows // TILE) * -(-numel(size) // TILE),
        threads=THREADS,
    )
