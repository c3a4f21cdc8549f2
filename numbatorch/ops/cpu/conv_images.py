"""Images laid out for convolutions: zeros around them, and for strides one image for each phase.

In a row-major image that is wide enough, what a tap of a window reads lies a constant number of
elements behind the window's first. So all windows read a plain vector for one tap: products of
matrices read it in place, and nothing is unrolled. Windows that begin beside the end of a row are
computed too, and left out where results are written.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from numbatorch.language.kernel import Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.simd.tile import tile_vectors
from numbatorch.language.simd.vectors import lanes, vload, vstore
from numbatorch.language.words import int64
from numbatorch.ops.portable.rows import FLOAT, WIDE
from numbatorch.shape import Shape

PANEL = 64  # columns that no tile of registers has more of
BESIDE = 16  # filters that are copied together, as their elements may lie side by side
SLACK = 2 * PANEL  # elements behind the last image that vectors of windows may read


class Axis(NamedTuple):
    """One dimension of images.

    Attributes:
        image: elements that there are.
        windows: how many start in it.
        taps: elements of a window.
        phases: images that every stride-th element makes; all that taps fall into.
        pitch: elements of such an image, with zeros around, from row to row.
    """

    image: int
    windows: int
    taps: int
    stride: int
    padding: int
    dilation: int
    phases: int
    pitch: int

    @staticmethod
    def of(
        last: bool,
        image: int,
        count: int,
        taps: int,
        stride: int,
        padding: int,
        dilation: int,
    ) -> Axis:
        """Of the last dimension the zeros behind a row may be those before the next."""
        period = stride // math.gcd(stride, dilation)
        pitch = count + (taps - 1) * dilation // stride
        if last and stride == 1:
            behind = pitch - max(padding, 0) - image if padding > -image else 0
            pitch -= max(0, min(behind, padding, pitch - count))
        phases = min(taps, period)
        return Axis(image, count, taps, stride, padding, dilation, phases, pitch)


class Images(NamedTuple):
    """Three dimensions; fewer have ones before them."""

    axes: tuple[Axis, Axis, Axis]

    @staticmethod
    def of(
        image: Shape, count: Shape, taps: Shape, stride: Shape, padding: Shape, dilation: Shape
    ) -> Images:
        """Of the attributes of a convolution."""
        rank = len(image)
        free = [Axis.of(False, 1, 1, 1, 1, 0, 1)] * (3 - rank)
        rows = zip(image, count, taps, stride, padding, dilation, strict=True)
        found = [Axis.of(i == rank - 1, *row) for i, row in enumerate(rows)]
        return Images((*free, *found))  # type: ignore[arg-type]

    @property
    def phase(self) -> int:
        """Elements of the image of a phase."""
        return math.prod(axis.pitch for axis in self.axes)

    @property
    def plane(self) -> int:
        """Elements of all phases of an image."""
        return self.phase * math.prod(axis.phases for axis in self.axes)

    @property
    def taps(self) -> int:
        """Elements of a window."""
        return math.prod(axis.taps for axis in self.axes)

    @property
    def are_rows(self) -> bool:
        """Whether windows of one element read the images as they lie."""
        return all(
            (*axis[:6],) == (axis.windows, axis.windows, 1, 1, 0, axis[5]) for axis in self.axes
        )

    @property
    def columns(self) -> int:
        """From the first window to the last, with those in between that are left out."""
        depth, height, width = self.axes
        rows = (depth.windows - 1) * height.pitch + height.windows - 1
        return rows * width.pitch + width.windows

    def words(self) -> list[int]:
        """Arguments of `spread`: each attribute of the three axes."""
        return [n for numbers in zip(*self.axes, strict=True) for n in numbers]


@helper
def first_inside(
    padding: int, residue: int, stride: int, pitch: int, image: int
) -> tuple[int, int]:
    """The places of a row that lie in the image."""
    low = 0
    if padding > residue:
        low = min(pitch, truncdiv(padding - residue + stride - 1, stride))
    high = low
    if image + padding > residue:
        high = min(pitch, truncdiv(image + padding - residue + stride - 1, stride))
    return low, max(low, high)


@helper
def copy_row(out: Pointer[V], x: Pointer[T], count: int) -> None:
    """Elements side by side; the last vector may write some a second time."""
    n = lanes(out)
    if count < n:
        for i in range(count):
            out[i] = x[i]
    else:
        for i in range(0, count - n, n):
            vstore(out + i, vload(x + i, n))
        vstore(out + (count - n), vload(x + (count - n), n))


@helper
def spread_row(
    out: Pointer[V], x: Pointer[T], pitch: int, low: int, high: int, stride: int, first: int
) -> None:
    """One row: every stride-th element of x from `first` at places `low` to `high`, else zeros."""
    for i in range(low):
        out[i] = 0.0
    for i in range(high, pitch):
        out[i] = 0.0
    source = x + (low * stride + first)
    place = out + low
    if stride == 1:
        copy_row(place, source, high - low)
    elif stride == 2:  # by shuffles of vectors
        for i in range(high - low):
            place[i] = source[2 * i]
    else:
        for i in range(high - low):
            place[i] = source[i * stride]


@helper
def residue_of(phase: int, dilation: int, stride: int) -> int:
    """The element of a stride that taps of a phase fall on."""
    step = phase * dilation
    found: int = step - truncdiv(step, stride) * stride
    return found


@helper
def spread_plane(
    out: Pointer[V], x: Pointer[T],
    ID: int, IH: int, IW: int, stride_d: int, stride_h: int, stride_w: int,
    pad_d: int, pad_h: int, pad_w: int, pitch_d: int, pitch_h: int, pitch_w: int,
    at_d: int, at_h: int, at_w: int,
) -> None:  # fmt: skip
    """The image of one phase, whose residues are `at`."""
    low, high = first_inside(pad_w, at_w, stride_w, pitch_w, IW)
    for d in range(pitch_d):
        from_d = d * stride_d + at_d - pad_d
        for h in range(pitch_h):
            from_h = h * stride_h + at_h - pad_h
            row = out + (d * pitch_h + h) * pitch_w
            if from_d < 0 or from_d >= ID or from_h < 0 or from_h >= IH:
                for i in range(pitch_w):
                    row[i] = 0.0
            else:
                source = x + (from_d * IH + from_h) * IW
                spread_row(row, source, pitch_w, low, high, stride_w, at_w - pad_w)


@helper
def spread_phases(
    out: Pointer[V], x: Pointer[T], phase: int,
    ID: int, IH: int, IW: int, stride_d: int, stride_h: int, stride_w: int,
    pad_d: int, pad_h: int, pad_w: int, dil_d: int, dil_h: int, dil_w: int,
    phases_d: int, phases_h: int, phases_w: int, pitch_d: int, pitch_h: int, pitch_w: int,
) -> None:  # fmt: skip
    """All phases of an image, one after the other."""
    place = out + 0
    for i in range(phases_d):
        at_d = residue_of(i, dil_d, stride_d)
        for j in range(phases_h):
            at_h = residue_of(j, dil_h, stride_h)
            for k in range(phases_w):
                at_w = residue_of(k, dil_w, stride_w)
                spread_plane(
                    place, x, ID, IH, IW, stride_d, stride_h, stride_w,
                    pad_d, pad_h, pad_w, pitch_d, pitch_h, pitch_w, at_d, at_h, at_w,
                )  # fmt: skip
                place = place + phase


@helper
def tap_table(
    table: Pointer[int64], channels: int, plane: int, phase: int,
    KD: int, KH: int, KW: int, stride_d: int, stride_h: int, stride_w: int,
    dil_d: int, dil_h: int, dil_w: int, phases_d: int, phases_h: int, phases_w: int,
    pitch_h: int, pitch_w: int, step_c: int, step_i: int, step_j: int, step_k: int, panel: int,
) -> None:  # fmt: skip
    """Where the elements of a window lie behind its first, channel by channel; then three more.

    Where they lie if packed, where the elements of a filter lie, and where those of a copy do.
    """
    item = 0
    count = channels * KD * KH * KW
    filters = table + 2 * count
    for k in range(count):
        table[count + k] = k * panel
        table[3 * count + k] = k
    for c in range(channels):
        for i in range(KD):
            step_d = truncdiv(i * dil_d, stride_d)
            for j in range(KH):
                step_h = truncdiv(j * dil_h, stride_h)
                slab = (i % phases_d) * phases_h + j % phases_h
                for k in range(KW):
                    step_w = truncdiv(k * dil_w, stride_w)
                    at = (slab * phases_w + k % phases_w) * phase
                    table[item] = c * plane + at + (step_d * pitch_h + step_h) * pitch_w + step_w
                    filters[item] = c * step_c + i * step_i + j * step_j + k * step_k
                    item += 1


@kernel(T=FLOAT, V=WIDE)
def spread(
    out: Pointer[V], table: Pointer[int64], x: Pointer[T], planes: int, channels: int,
    plane: int, phase: int, slack: int,
    ID: int, IH: int, IW: int, PD: int, PH: int, PW: int, KD: int, KH: int, KW: int,
    stride_d: int, stride_h: int, stride_w: int, pad_d: int, pad_h: int, pad_w: int,
    dil_d: int, dil_h: int, dil_w: int, phases_d: int, phases_h: int, phases_w: int,
    pitch_d: int, pitch_h: int, pitch_w: int,
    step_c: int, step_i: int, step_j: int, step_k: int, part: int, parts: int,
) -> None:  # fmt: skip
    """Planes (N C) of images with zeros around them, phase by phase, and where windows read."""
    if part == 0:
        tap_table(
            table, channels, plane, phase, KD, KH, KW, stride_d, stride_h, stride_w,
            dil_d, dil_h, dil_w, phases_d, phases_h, phases_w, pitch_h, pitch_w,
            step_c, step_i, step_j, step_k, tile_vectors(out) * lanes(out),
        )  # fmt: skip
        behind = out + planes * plane
        for i in range(slack):
            behind[i] = 0.0
    lo, hi = share(planes, part, parts)
    for item in range(lo, hi):
        spread_phases(
            out + item * plane, x + item * ID * IH * IW, phase, ID, IH, IW,
            stride_d, stride_h, stride_w, pad_d, pad_h, pad_w, dil_d, dil_h, dil_w,
            phases_d, phases_h, phases_w, pitch_d, pitch_h, pitch_w,
        )  # fmt: skip


@kernel(T=FLOAT, V=WIDE)
def widen_filters(
    out: Pointer[V], weight: Pointer[T], table: Pointer[int64], rows: int, channels: int,
    taps: int, step: int, part: int, parts: int,
) -> None:  # fmt: skip
    """Filters `step` apart one after the other, in the type that sums are in."""
    K = channels * taps
    lo, hi = share(truncdiv(rows + BESIDE - 1, BESIDE), part, parts)
    for block in range(lo, hi):
        for channel in range(channels):
            places = table + (2 * K + channel * taps)
            for row in range(block * BESIDE, min(rows, (block + 1) * BESIDE)):
                source = weight + row * step
                target = out + (row * K + channel * taps)
                for tap in range(taps):
                    target[tap] = source[places[tap]]
