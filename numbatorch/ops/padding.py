"""Padding: by a constant, by reflection at the ends, by repeating them, or around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import view as views
from numbatorch.ops.composed import composed
from numbatorch.ops.numbers import fitting
from numbatorch.ops.operands import const, describe, expanded
from numbatorch.ops.runs import Run, runs_of, written_in_runs
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, integers, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Pairs = list[tuple[int, int]]  # elements before and after, of each dimension
Number = int | float | complex
LARGE = 1 << 16  # elements that take longer to write twice than launches for what is beside them
Mode = Literal["constant", "reflect", "replicate", "circular"]
MODES: tuple[Mode, ...] = ("reflect", "replicate", "circular")  # by number in kernels


def _reference(
    x: Array, *, pad: Sequence[int], mode: Mode = "constant", value: float | None = None
) -> Array:
    pairs = _pairs(x.shape, pad)
    inside = tuple(
        slice(max(-low, 0), n - max(-high, 0))
        for (low, high), n in zip(pairs, x.shape, strict=True)
    )
    wide = [(max(low, 0), max(high, 0)) for low, high in pairs]
    if mode == "constant":
        return np.pad(x[inside], wide, constant_values=value or 0)
    return np.pad(x, wide, mode={"circular": "wrap", "replicate": "edge"}.get(mode, mode))  # type: ignore[no-any-return, call-overload]


def _sample(rng: Draw) -> Any:
    mode = ("constant", "reflect", "replicate", "circular")[int(rng.integers(4))]
    low = -1 if mode == "constant" else 0
    pad = [int(n) for n in rng.integers(low, 3, 4)]
    return [rng.standard_normal(rng.dims((1, 1, 4, 4), (3, 3, 6, 6), most=300))], {
        "pad": pad,
        "mode": mode,
    }


@structured(dtypes=dt.PLAIN, by_parts=True)
def padded(x: Array, *, low: Shape, high: Shape, mode: Mode) -> Array:
    """Elements of x around it, in its last three dimensions, as `pad` in a mode that takes them.

    Args:
        x: (R, D, H, W).
        low, high: how many before and after D, H and W, none of them below 0.
        mode: not "constant".
    """
    pad = [n for pair in zip(low[::-1], high[::-1], strict=True) for n in pair]
    return _reference(x, pad=pad, mode=mode)


@padded.infer
def _(x: Node, *, low: Shape, high: Shape, mode: Mode) -> tuple[Shape, DType]:
    assert len(x.shape) == 4 and min(*low, *high) >= 0 and mode in MODES
    views.reject_blocks("pad", x)
    R, *sizes = x.shape
    return (R, *[a + n + b for a, n, b in zip(low, sizes, high, strict=True)]), x.dtype


@padded.fallback
def _(x: Node, *, low: Shape, high: Shape, mode: Mode) -> Node:
    R, *sizes = x.shape
    shape = (R, *[a + n + b for a, n, b in zip(low, sizes, high, strict=True)])
    return _of_runs(x, shape, [(0, 0), *zip(low, high, strict=True)], mode)


@padded.samples
def _(rng: Draw) -> Any:
    shape = rng.dims((0, 3, 3, 3), (3, 4, 5, 40), most=40_001)
    low, high = (tuple(int(n) for n in rng.integers(0, 3, 3)) for _ in range(2))
    mode = MODES[int(rng.integers(3))]
    return [rng.standard_normal(shape)], {"low": low, "high": high, "mode": mode}


def _of_runs(x: Node, shape: Shape, pairs: Pairs, mode: Mode) -> Node:
    along = [_runs(n, *pair, mode) for n, pair in zip(x.shape, pairs, strict=True)]
    return written_in_runs(x, shape, along)


@composed(
    numpy=_reference,
    sample=_sample,
    dtypes=dt.PLAIN + dt.COMPLEX,
    peer="torch.nn.functional.pad",
)
@public("nn.functional", remembered=True)
def pad(
    input: Node,
    pad: Sequence[int],
    mode: Literal["constant", "reflect", "replicate", "circular"] = "constant",
    value: Number | None = None,
) -> Node:
    """More elements before and after dimensions, or fewer where a number is negative.

    Args:
        pad: how many before and after the last dimension, then the one before, and so on.
        mode: what they are: "constant", `value`, 0 unless given; "reflect", the others in reverse
            order without the one at the end; "replicate", that at the end; "circular", those of
            the other end. All but the first are for the last dimensions of (B, C, ...) or (C, ...).
    Raises:
        ValueError: `value` is given in another mode than "constant".

    >>> pad(tensor([[1, 2, 3]]), (2, 1), mode="reflect").tolist()
    [[3, 2, 1, 2, 3, 2]]
    """
    pairs = _pairs(input.shape, integers("pad", pad))
    if mode == "constant":
        return _with_constant(input, pairs, 0 if value is None else value)
    if value:
        raise ValueError(message("pad", f"mode {mode!r} takes no value", f"it is {value}"))
    _check(input, pairs, len(pad) // 2, mode)
    if not any(low or high for low, high in pairs):
        return views.clone.apply(input)
    shape = tuple([n + low + high for n, (low, high) in zip(input.shape, pairs, strict=True)])
    if not numel(shape):
        return views.empty(shape, input.dtype, input)
    if any(low < 0 or high < 0 for low, high in pairs):
        return _of_runs(input, shape, pairs, mode)
    given = len(pad) // 2
    lead, ones = input.shape[:-given], (1,) * (3 - given)
    flat = views.reshape.apply(input, shape=(numel(lead), *ones, *input.shape[-given:]))
    before, after = zip(*[(0, 0)] * (3 - given), *pairs[-given:], strict=True)
    (out,) = padded.parts(flat, low=before, high=after, mode=mode)
    return views.reshape.apply(out, shape=shape)


@public("nt", remembered=True)
def constant_pad_nd(input: Node, pad: Sequence[int], value: Number = 0) -> Node:
    """As `nn.functional.pad` in mode "constant".

    >>> constant_pad_nd(tensor([[1, 2]]), (1, 0, 0, 1), 9).tolist()
    [[9, 1, 2], [9, 9, 9]]
    """
    return _with_constant(input, _pairs(input.shape, integers("pad", pad)), value)


def _pairs(shape: Shape, pad: Sequence[int]) -> Pairs:
    """(before, after) of each dimension, from the list that begins with the last one."""
    given = len(pad) // 2
    if len(pad) % 2 or given > len(shape):
        problem = f"{len(pad)} numbers are not pairs for some of {len(shape)} dimensions"
        raise ShapeError(message("pad", problem, f"input {shape}", f"pad {tuple(pad)}"))
    pairs = [(pad[2 * i], pad[2 * i + 1]) for i in range(given)]
    found = [(0, 0)] * (len(shape) - given) + pairs[::-1]
    if any(n + low + high < 0 for n, (low, high) in zip(shape, found, strict=True)):
        problem = "more elements are taken away than there are"
        raise ShapeError(message("pad", problem, f"input {shape}", f"pad {tuple(pad)}"))
    return found


def _with_constant(x: Node, pairs: Pairs, value: Number) -> Node:
    number = bool(value) if x.dtype is dt.bool_ else fitting("pad", value, x.dtype)
    first = tuple([max(-low, 0) for low, _high in pairs])
    sizes = tuple(
        [
            max(n - start - max(-high, 0), 0)
            for n, start, (_low, high) in zip(x.shape, first, pairs, strict=True)
        ]
    )
    shape = tuple([n + low + high for n, (low, high) in zip(x.shape, pairs, strict=True)])
    ones = (1,) * len(shape)
    inside = views.part(x, first if numel(sizes) else (0,) * len(shape), sizes, ones)
    if sizes == shape:
        return views.clone.apply(inside)
    starts = tuple([max(low, 0) for low, _high in pairs])
    around = const(number, x.dtype, x.device)
    if numel(shape) < LARGE:
        return views.slice_update.apply(expanded(around, shape), inside, starts=starts, steps=ones)
    known = views.slice_update.known
    out = known((views.empty(shape, x.dtype, x), inside), {"starts": starts, "steps": ones})
    for i, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        for begin, end in ((0, start), (start + size, shape[i])):
            if begin < end:  # what lies beside the input, over all of the dimensions that follow
                border = (*sizes[:i], end - begin, *shape[i + 1 :])
                place = (*starts[:i], begin, *(0,) * (len(shape) - i - 1))
                out = known((out, expanded(around, border)), {"starts": place, "steps": ones})
    return out


def _check(x: Node, pairs: Pairs, given: int, mode: Mode) -> None:
    """Raise ShapeError where a mode that takes elements of the input has too few of them."""
    rank = len(x.shape)
    if not given < rank <= given + 2 or given > 3:
        problem = f"{given} dimensions are padded of (C, ...) or (B, C, ...)"
        raise ShapeError(message("pad", f"mode {mode!r}: {problem}", f"input {describe(x)}"))
    for i in range(rank - given, rank):
        n, (low, high) = x.shape[i], pairs[i]
        most = {"reflect": n - 1, "circular": n}.get(mode, max(low, high))
        if max(low, high) > max(most, 0) or not n:
            problem = f"{max(low, high)} elements more of a dimension of {n}"
            raise ShapeError(message("pad", f"mode {mode!r}: {problem}", f"input {describe(x)}"))


def _runs(size: int, low: int, high: int, mode: Mode) -> list[Run]:
    """The elements of a dimension that stand in a row in the padded one."""
    if low < 0 or high < 0:
        return runs_of(_places(size, low, high, mode))
    before, after = {
        "replicate": (Run(0, 0, low), Run(size - 1, 0, high)),
        "circular": (Run(size - low, 1, low), Run(0, 1, high)),
    }.get(mode, (Run(low, -1, low), Run(size - 2, -1, high)))
    return [run for run in (before, Run(0, 1, size), after) if run.size]


def _places(size: int, low: int, high: int, mode: Mode) -> Array:
    """Which element of a dimension each element of the padded one is."""
    places = np.arange(-low, size + high)
    if mode == "replicate":
        return np.clip(places, 0, size - 1)
    if mode == "circular":
        first = max(-low, 0)
        return first + (places - first) % (size - first - max(-high, 0))
    found: Array = size - 1 - np.abs(size - 1 - np.abs(places))
    return found
