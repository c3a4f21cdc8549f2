"""The extension `fft`."""

from __future__ import annotations

from typing import Any

from numbatorch.apart import import_module
from numbatorch.array_api.array import Array, lift
from numbatorch.dtype import DType

_OURS: Any = import_module("numbatorch.fft")


def _along(name: str) -> Any:
    def function(
        x: Array, /, *, n: int | None = None, axis: int = -1, norm: str = "backward"
    ) -> Array:
        return lift(getattr(_OURS, name)(x, n, axis, norm))

    return _named(function, name)


def _over(name: str) -> Any:
    def function(x: Array, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Array:
        return lift(getattr(_OURS, name)(x, s, axes, norm))

    return _named(function, name)


def _named(function: Any, name: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numbatorch.fft.{name}."
    return function


fft, ifft, rfft, irfft, hfft, ihfft = map(_along, ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"))
fftn, ifftn, rfftn, irfftn = map(_over, ("fftn", "ifftn", "rfftn", "irfftn"))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: Any = None) -> Array:
    """The frequencies of the results of fft, for samples at distances of `d`."""
    return lift(_OURS.fftfreq(n, d, dtype=dtype, device=device))


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: Any = None) -> Array:
    """The frequencies of the results of rfft, for samples at distances of `d`."""
    return lift(_OURS.rfftfreq(n, d, dtype=dtype, device=device))


def fftshift(x: Array, /, *, axes: Any = None) -> Array:
    """Frequency 0 moved into the middle."""
    return lift(_OURS.fftshift(x, axes))


def ifftshift(x: Array, /, *, axes: Any = None) -> Array:
    """The middle moved to frequency 0."""
    return lift(_OURS.ifftshift(x, axes))
