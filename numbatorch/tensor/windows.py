"""Windows for signals, and frequencies: computed in float64 on the host, rounded once."""

from __future__ import annotations

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import Device
from numbatorch.device import device as as_device
from numbatorch.dtype import Like
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.ops.surface import of_tensors
from numbatorch.tensor.base import Array, host_node
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.creation import finished


def made(
    operator: str,
    values: Array,
    dtype: Like | None,
    device: Device | str | None,
    requires_grad: bool,
) -> Tensor:
    """A tensor with the values in a dtype of floats, the default unless given."""
    target = dt.default_dtype() if dtype is None else dt.named(operator, dtype)
    if target.kind != "f":
        raise DTypeError(message(operator, f"dtype is {target.name}, not one of floats"))
    return finished(
        host_node(values.astype(target.numpy), target, as_device(device)), requires_grad
    )


def places(operator: str, size: int, whole: int | None = None) -> Array:
    """0, 1, ... size - 1 over the last place of a window of `whole` elements; 0 of one alone."""
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 0:
        raise ShapeError(message(operator, f"window_length is {size!r}, not an integer from 0 on"))
    last = (size if whole is None else whole) - 1
    return np.arange(size) / max(last, 1)


def cosines(operator: str, size: int, whole: int, *factors: float) -> Array:
    """The sum over i of (-1)^i factors[i] cos(2 pi i x) at places x of a window; 1 of one alone."""
    x = places(operator, size, whole)
    if size == 1:
        return np.ones(1)
    return np.asarray(sum((-1) ** i * a * np.cos(2 * np.pi * i * x) for i, a in enumerate(factors)))


def _whole(size: int, periodic: bool) -> int:
    return size + 1 if periodic and size > 1 else size


@of_tensors("nt")
def hann_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: Like | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """(1 - cos(2 pi n / N)) / 2, with N = window_length, one less unless `periodic`.

    >>> hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    whole = _whole(window_length, periodic)
    values = cosines("hann_window", window_length, whole, 0.5, 0.5)
    return made("hann_window", values, dtype, device, requires_grad)


@of_tensors("nt")
def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: Like | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """alpha - beta cos(2 pi n / N), with N = window_length, one less unless `periodic`.

    >>> hamming_window(4)
    tensor([0.0800, 0.5400, 1.0000, 0.5400])
    """
    whole = _whole(window_length, periodic)
    values = cosines("hamming_window", window_length, whole, alpha, beta)
    return made("hamming_window", values, dtype, device, requires_grad)


@of_tensors("nt")
def blackman_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: Like | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N), N one less unless `periodic`.

    >>> blackman_window(4).abs().round(decimals=4)
    tensor([0.0000, 0.3400, 1.0000, 0.3400])
    """
    whole = _whole(window_length, periodic)
    values = cosines("blackman_window", window_length, whole, 0.42, 0.5, 0.08)
    return made("blackman_window", values, dtype, device, requires_grad)


@of_tensors("nt")
def bartlett_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: Like | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The triangle 1 - |2 n / N - 1|, with N = window_length, one less unless `periodic`.

    >>> bartlett_window(4), bartlett_window(5, periodic=False)
    (tensor([0.0000, 0.5000, 1.0000, 0.5000]), tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000]))
    """
    values = triangle("bartlett_window", window_length, _whole(window_length, periodic))
    return made("bartlett_window", values, dtype, device, requires_grad)


def triangle(operator: str, size: int, whole: int) -> Array:
    """1 - |2 x - 1| at places x of a window; 1 of one alone."""
    x = places(operator, size, whole)
    return np.ones(1) if size == 1 else 1 - np.abs(2 * x - 1)


@of_tensors("nt")
def kaiser_window(
    window_length: int,
    periodic: bool = True,
    beta: float = 12.0,
    *,
    dtype: Like | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """i0(beta sqrt(1 - (2 n / N - 1)^2)) / i0(beta), N one less unless `periodic`.

    >>> kaiser_window(5, periodic=False, beta=2.0)
    tensor([0.4387, 0.8348, 1.0000, 0.8348, 0.4387])
    """
    values = kaiser("kaiser_window", window_length, _whole(window_length, periodic), beta)
    return made("kaiser_window", values, dtype, device, requires_grad)


def kaiser(operator: str, size: int, whole: int, beta: float) -> Array:
    """Kaiser's window; 1 of one place alone."""
    x = places(operator, size, whole)
    if size == 1:
        return np.ones(1)
    return np.asarray(np.i0(beta * np.sqrt(np.maximum(1 - (2 * x - 1) ** 2, 0))) / np.i0(beta))


@of_tensors("fft")
def fftfreq(
    n: int,
    d: float = 1.0,
    *,
    dtype: Like | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The frequencies of the elements of `fft`: 0, 1, ... and then the negative ones, over n d.

    >>> fftfreq(4).tolist()
    [0.0, 0.25, -0.5, -0.25]
    """
    found = np.fft.fftfreq(_count("fft.fftfreq", n, d), d)
    return made("fft.fftfreq", found, dtype, device, requires_grad)


@of_tensors("fft")
def rfftfreq(
    n: int,
    d: float = 1.0,
    *,
    dtype: Like | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The frequencies of the elements of `rfft`: 0, 1, ... n // 2 over n d.

    >>> rfftfreq(4).tolist()
    [0.0, 0.25, 0.5]
    """
    found = np.fft.rfftfreq(_count("fft.rfftfreq", n, d), d)
    return made("fft.rfftfreq", found, dtype, device, requires_grad)


def _count(operator: str, n: int, d: float) -> int:
    if isinstance(n, bool) or not hasattr(n, "__index__") or n < 1 or d == 0:
        raise ShapeError(message(operator, f"there are no frequencies for n {n} and d {d}"))
    return int(n)
