"""Windows of M elements: symmetric ones, or periodic with sym=False; in float32 unless given."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import OutOfRange, message
from numbatorch.tensor import windows
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.creation import Where

__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]


def _whole(M: int, sym: bool) -> int:
    return M + 1 if not sym and M > 1 else M


def general_cosine(
    M: int,
    *,
    a: Iterable[float],
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """The sum over i of (-1)^i a[i] cos(2 pi i n / (M - 1)), over M if not `sym`.

    >>> from numbatorch.signal.windows import general_cosine
    >>> general_cosine(3, a=[0.5, 0.5]).tolist()
    [0.0, 1.0, 0.0]
    """
    factors = tuple(a)
    if not factors:
        raise OutOfRange(message("general_cosine", "a is empty"))
    values = windows.cosines("general_cosine", M, _whole(M, sym), *factors)
    return windows.made("general_cosine", values, dtype, device, requires_grad)


def general_hamming(
    M: int,
    *,
    alpha: float = 0.54,
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """alpha - (1 - alpha) cos(2 pi n / (M - 1)), over M if not `sym`.

    >>> general_hamming(4, alpha=0.75, sym=False)
    tensor([0.5000, 0.7500, 1.0000, 0.7500])
    """
    a = (alpha, 1.0 - alpha)
    return general_cosine(M, a=a, sym=sym, dtype=dtype, device=device, requires_grad=requires_grad)


def hamming(
    M: int,
    *,
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """0.54 - 0.46 cos(2 pi n / (M - 1)), over M if not `sym`.

    >>> hamming(3)
    tensor([0.0800, 1.0000, 0.0800])
    """
    return general_hamming(M, sym=sym, dtype=dtype, device=device, requires_grad=requires_grad)


def hann(
    M: int,
    *,
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """(1 - cos(2 pi n / (M - 1))) / 2, over M if not `sym`.

    >>> hann(4, sym=False)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return general_hamming(
        M, alpha=0.5, sym=sym, dtype=dtype, device=device, requires_grad=requires_grad
    )


def blackman(
    M: int,
    *,
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """`general_cosine` of 0.42, 0.5, 0.08.

    >>> blackman(5).abs().round(decimals=4)
    tensor([0.0000, 0.3400, 1.0000, 0.3400, 0.0000])
    """
    a = (0.42, 0.5, 0.08)
    return general_cosine(M, a=a, sym=sym, dtype=dtype, device=device, requires_grad=requires_grad)


def nuttall(
    M: int,
    *,
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """`general_cosine` of 0.3635819, 0.4891775, 0.1365995, 0.0106411.

    >>> nuttall(5).round(decimals=3)
    tensor([0.0000, 0.2270, 1.0000, 0.2270, 0.0000])
    """
    a = (0.3635819, 0.4891775, 0.1365995, 0.0106411)
    return general_cosine(M, a=a, sym=sym, dtype=dtype, device=device, requires_grad=requires_grad)


def bartlett(
    M: int,
    *,
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """The triangle 1 - |2 n / (M - 1) - 1|, over M if not `sym`.

    >>> bartlett(5)
    tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """
    values = windows.triangle("bartlett", M, _whole(M, sym))
    return windows.made("bartlett", values, dtype, device, requires_grad)


def kaiser(
    M: int,
    *,
    beta: float = 12.0,
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """i0(beta sqrt(1 - (2 n / (M - 1) - 1)^2)) / i0(beta), over M if not `sym`.

    >>> kaiser(3, beta=2.0)
    tensor([0.4387, 1.0000, 0.4387])
    """
    if beta < 0:
        raise OutOfRange(message("kaiser", f"beta is {beta}, below 0"))
    values = windows.kaiser("kaiser", M, _whole(M, sym), beta)
    return windows.made("kaiser", values, dtype, device, requires_grad)


def cosine(
    M: int,
    *,
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """sin(pi (n + 1/2) / M), over M + 1 if not `sym`.

    >>> cosine(3)
    tensor([0.5000, 1.0000, 0.5000])
    """
    windows.places("cosine", M)
    values = np.sin(np.pi * (np.arange(M) + 0.5) / max(_whole(M, sym), 1))
    return windows.made("cosine", values, dtype, device, requires_grad)


def exponential(
    M: int,
    *,
    center: float | None = None,
    tau: float = 1.0,
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """exp(-|n - center| / tau); the center is the middle unless given, for `sym` it has to be.

    >>> exponential(3)
    tensor([0.3679, 1.0000, 0.3679])
    """
    windows.places("exponential", M)
    if tau <= 0 or (sym and center is not None):
        problem = f"tau is {tau}, above 0, and center {center}, None for a symmetric window"
        raise OutOfRange(message("exponential", problem))
    middle = (_whole(M, sym) - 1) / 2 if center is None else center
    values = np.exp(-np.abs(np.arange(M) - middle) / tau)
    return windows.made("exponential", values, dtype, device, requires_grad)


def gaussian(
    M: int,
    *,
    std: float = 1.0,
    sym: bool = True,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """exp(-((n - middle) / std)^2 / 2), the middle (M - 1) / 2, or M / 2 if not `sym`.

    >>> gaussian(3)
    tensor([0.6065, 1.0000, 0.6065])
    """
    windows.places("gaussian", M)
    if std <= 0:
        raise OutOfRange(message("gaussian", f"std is {std}, not above 0"))
    middle = (_whole(M, sym) - 1) / 2
    values = np.exp(-(((np.arange(M) - middle) / std) ** 2) / 2)
    return windows.made("gaussian", values, dtype, device, requires_grad)
