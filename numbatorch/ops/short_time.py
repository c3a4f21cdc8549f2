"""The short-time Fourier transform: transforms of windows of a signal, and back by adding them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import strided, view
from numbatorch.ops.composed import composed
from numbatorch.ops.fourier import fft_, irfft_, rfft_
from numbatorch.ops.operands import as_node, const, describe, expanded, result_type
from numbatorch.ops.parts import real_
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]

REAL = (dt.float64, dt.float32)


def _sizes(
    operator: str, n_fft: int, hop_length: int | None, win_length: int | None
) -> tuple[int, int]:
    """The distance of windows and their size."""
    hop = n_fft // 4 if hop_length is None else hop_length
    size = n_fft if win_length is None else win_length
    if n_fft <= 0 or hop <= 0 or not 0 < size <= n_fft:
        problem = f"n_fft {n_fft}, hop_length {hop} and win_length {size} do not fit"
        raise ShapeError(message(operator, problem, "all above 0, and win_length up to n_fft"))
    return hop, size


def _window(operator: str, window: Node | None, size: int, n_fft: int, like: Node) -> Node | None:
    """The window in the middle of n_fft elements, zeros beside it; None for ones alone."""
    if window is None:
        if size == n_fft:
            return None
        window = const(1.0, like.dtype.part, like.device, (size,))
    if window.shape != (size,):
        problem = f"the window must be ({size},)"
        raise ShapeError(message(operator, problem, f"window {describe(window)}"))
    left = (n_fft - size) // 2
    beside = [
        const(0.0, window.dtype, window.device, (n,)) for n in (left, n_fft - size - left) if n
    ]
    if not beside:
        return window
    return view.cat([*beside[:1], window, *beside[1:]] if left else [window, *beside])


def _stft_reference(x: Array, window: Array, *, n_fft: int, hop_length: int) -> Array:
    starts = range(0, x.shape[-1] - n_fft + 1, hop_length)
    frames = [np.fft.rfft(x[..., start : start + n_fft] * window) for start in starts]
    return np.stack(frames, -1).astype(np.result_type(x, np.complex64))


def _stft_sample(rng: Draw) -> Any:
    n_fft = int(rng.integers(2, 6))
    hop = int(rng.integers(1, 4))
    size = n_fft + int(rng.integers(0, 6))
    attrs = {"n_fft": n_fft, "hop_length": hop}
    return [rng.standard_normal((2, size)), rng.uniform(0.5, 1.5, n_fft)], attrs


@composed(
    numpy=_stft_reference,
    sample=_stft_sample,
    dtypes=REAL,
    call=lambda function, nodes, attrs: function(
        nodes[0], window=nodes[1], center=False, return_complex=True, **attrs
    ),
)
@public()
def stft(
    input: Node,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Node | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Node:
    """`fft` of windows of a signal: the sum over k of w[k] x[m hop + k] exp(-2 pi i f k / n_fft).

    Args:
        input: (L,) or (B, L), real or complex.
        n_fft: elements of a transform.
        hop_length: from one window to the next, n_fft // 4 unless given.
        win_length: of the window, n_fft unless given; zeros stand beside a smaller one.
        window: (win_length,); ones unless given.
        center: pad by n_fft // 2 at both ends, as `pad_mode` says, so that window m has its middle
            at m * hop_length.
        normalized: divide by sqrt(n_fft).
        onesided: the first n_fft // 2 + 1 frequencies alone; it is so of real signals.
        return_complex: False for the real and the imaginary part along a last dimension; it has to
            be given for real signals.
        align_to_window: it has to be None.
    Returns:
        (..., frequencies, windows), complex.

    >>> nt.stft(tensor([1.0, 1.0, 1.0]), 2, 1, center=False, return_complex=True).real
    tensor([[2., 2.],
            [0., 0.]])
    """
    hop, size = _sizes("stft", n_fft, hop_length, win_length)
    _check_signal(input, window, return_complex, align_to_window)
    signal = input if len(input.shape) == 2 else view.reshape.apply(input, shape=(1, *input.shape))
    if center:
        pad = import_module("numbatorch.ops.padding").pad
        wide = view.unsqueeze(signal, 1)
        padded = pad(wide, (n_fft // 2, n_fft // 2), mode=pad_mode)
        signal = view.squeeze(padded, 1)
    if n_fft > signal.shape[1]:
        problem = f"n_fft {n_fft} is above the {signal.shape[1]} elements of the signal"
        raise ShapeError(message("stft", problem, f"input {describe(input)}"))
    whole = _window("stft", window, size, n_fft, signal)
    frames = strided.sliding.apply(signal, dim=1, size=n_fft, step=hop)  # (B, windows, n_fft)
    if whole is not None:
        dtype = result_type((signal, whole))
        frames = as_node(frames, dtype, input.device) * expanded(whole, frames.shape)
    half = (not frames.dtype.is_complex) if onesided is None else onesided
    if half and frames.dtype.is_complex:
        raise DTypeError(message("stft", "complex signals have no one side", describe(input)))
    norm: Any = "ortho" if normalized else "backward"
    if half:
        found = rfft_.apply(frames, dims=(2,), norm=norm)
    else:
        found = fft_.apply(frames, dims=(2,), inverse=False, norm=norm)
    found = view.transpose(found, 1, 2)
    found = found if len(input.shape) == 2 else view.squeeze(found, 0)
    return _as_real(found) if return_complex is False else found


def _check_signal(
    input: Node, window: Node | None, return_complex: bool | None, align: bool | None
) -> None:
    if len(input.shape) not in (1, 2):
        raise ShapeError(message("stft", "needs a signal or several", f"input {describe(input)}"))
    if input.dtype not in (*REAL, *dt.COMPLEX):
        raise DTypeError(message("stft", "takes float32 or float64, real or complex"))
    given = input.dtype.is_complex or (window is not None and window.dtype.is_complex)
    if return_complex is None and not given:
        raise ValueError(message("stft", "return_complex has to be given for a real signal"))
    if align is not None:
        raise ValueError(message("stft", f"align_to_window is {align}, which is not here"))


def _as_real(x: Node) -> Node:
    found: Node = import_module("numbatorch.ops.complex").view_as_real(x)
    return found


def _added_up(frames: Node, hop: int) -> Node:
    """(B, L): windows (B, windows, n_fft), each at its place of the signal, added."""
    B, count, n_fft = frames.shape
    zeros = const(0.0, frames.dtype, frames.device, (B, n_fft + hop * (count - 1)))
    gradient = strided.sliding.gradient
    assert gradient is not None
    found: Node = gradient(frames, frames, zeros, dim=1, size=n_fft, step=hop)
    return found


@structured(dtypes=(*dt.COMPLEX, *REAL))
def window_sums(sums: Array) -> Array:
    """What is divided by, of which none is 0, where no window reaches."""
    lost = np.flatnonzero(abs(sums) < 1e-11)
    if lost.size:
        problem = f"the squares of windows add up to {sums.flat[lost[0]]} at element {lost[0]}"
        raise OutOfRange(message("istft", problem, f"of a signal of {sums.size} elements"))
    return sums


@window_sums.infer
def _(sums: Node) -> tuple[Shape, DType]:
    return sums.shape, sums.dtype


@window_sums.vjp
def _(g: Node, y: Node, sums: Node) -> Node:
    return g


@window_sums.samples
def _(rng: Draw) -> Any:
    return [rng.uniform(0.5, 2.0, (1, int(rng.integers(1, 9))))], {}


def _istft_reference(x: Array, window: Array, *, n_fft: int, hop_length: int) -> Array:
    count = x.shape[-1]
    window = window.real
    out = np.zeros((len(x), n_fft + hop_length * (count - 1)))
    weight = np.zeros(out.shape[1])
    for m in range(count):
        place = slice(m * hop_length, m * hop_length + n_fft)
        out[:, place] += np.fft.irfft(x[:, :, m], n_fft) * window
        weight[place] += window**2
    return np.asarray(out / weight, x.real.dtype)


def _istft_sample(rng: Draw) -> Any:
    n_fft = int(rng.integers(2, 6))
    attrs = {"n_fft": n_fft, "hop_length": int(rng.integers(1, n_fft + 1))}
    shape = (2, n_fft // 2 + 1, int(rng.integers(1, 4)))
    return [rng.standard_normal(shape), rng.uniform(0.5, 1.5, n_fft)], attrs


@public()
def istft(
    input: Node,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Node | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Node:
    """The signal of which `stft` gave the transforms: windows added, over the sum of their squares.

    Args:
        input: (frequencies, windows) or (B, frequencies, windows), complex.
        center: leave out n_fft // 2 elements at both ends.
        onesided: whether there are n_fft // 2 + 1 frequencies; told from them unless given.
        length: cut, or pad with zeros, to this size.
        return_complex: for the transforms of a complex signal.
    Returns:
        (L,) or (B, L).
    Raises:
        OutOfRange: the squares of windows add up to 0 somewhere; when the result is realized.

    >>> x = nt.stft(tensor([1.0, 2.0, 3.0]), 2, 1, return_complex=True)
    >>> nt.istft(x, 2, 1)
    tensor([1., 2., 3.])
    """
    hop, size = _sizes("istft", n_fft, hop_length, win_length)
    rows = (f"input {describe(input)}",)
    if not input.dtype.is_complex:
        raise DTypeError(message("istft", "takes complex transforms", *rows))
    if len(input.shape) not in (2, 3) or 0 in input.shape:
        raise ShapeError(message("istft", "needs (frequencies, windows), or several", *rows))
    found = input if len(input.shape) == 3 else view.unsqueeze(input, 0)
    half = found.shape[1] != n_fft if onesided is None else onesided
    wanted = n_fft // 2 + 1 if half else n_fft
    if found.shape[1] != wanted:
        raise ShapeError(message("istft", f"{found.shape[1]} frequencies, not {wanted}", *rows))
    if return_complex and half:
        raise DTypeError(message("istft", "a complex signal has no one side", *rows))
    complex_window = window is not None and window.dtype.is_complex
    if complex_window and not return_complex:
        raise DTypeError(message("istft", "a complex window gives a complex signal", *rows))
    whole = _window("istft", window, size, n_fft, found)
    norm: Any = "ortho" if normalized else "backward"
    turned = view.transpose(found, 1, 2)  # (B, windows, frequencies)
    if not return_complex:
        turned = view.narrow(turned, 2, 0, n_fft // 2 + 1)
        frames = irfft_.apply(turned, dims=(2,), size=n_fft, norm=norm)
    else:
        frames = fft_.apply(turned, dims=(2,), inverse=True, norm=norm)
    out = _over_windows(frames, whole, hop, n_fft, center, length)
    return out if len(input.shape) == 3 else view.squeeze(out, 0)


def _over_windows(
    frames: Node, whole: Node | None, hop: int, n_fft: int, center: bool, length: int | None
) -> Node:
    """Windows added and divided by the sum of their squares, cut as it is asked for."""
    if whole is None:
        whole = const(1.0, frames.dtype.part, frames.device, (n_fft,))
    dtype = result_type((frames, whole))
    whole = as_node(whole, dtype, frames.device)
    frames = as_node(frames, dtype, frames.device) * expanded(whole, frames.shape)
    total = _added_up(frames, hop)
    squares = expanded(whole * whole, (1, *frames.shape[1:]))
    weight = _added_up(squares, hop)
    start = n_fft // 2 if center else 0
    end = total.shape[1] - start
    if length is not None:
        end = start + length
    have = max(min(end, total.shape[1]) - start, 0)
    cut = [view.narrow(x, 1, start, have) for x in (total, weight)]
    out = cut[0] / expanded(window_sums.apply(cut[1]), cut[0].shape)
    if end - start > have:
        rest = const(0.0, out.dtype, out.device, (out.shape[0], end - start - have))
        out = view.cat([out, rest], 1)
    return out


composed(
    numpy=_istft_reference,
    sample=_istft_sample,
    dtypes=dt.COMPLEX,
    call=lambda function, nodes, attrs: function(
        nodes[0], window=real_.apply(nodes[1]), center=False, **attrs
    ),
)(istft)
