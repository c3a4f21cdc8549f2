"""Random numbers as functions of a key and an index: no state, so they fuse and are the same on
every device and for every number of threads. Threefry-2x32 with 20 rounds.

Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
https://doi.org/10.1145/2063384.2063405
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar, bits, convert, fma, from_bits, scalar_function, sqrt
from numbatorch.ops.scalar_combine import larger
from numbatorch.ops.scalar_exp import LN2_32, LOG32, split_float
from numbatorch.ops.scalar_fused import fused_horner
from numbatorch.ops.scalar_run import run

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]

_PARITY = 0x1BD11BDA
_MASK = 0xFFFFFFFF
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_SIGN = -0x80000000
_KEYS = {0: dt.int64, 1: dt.uint32, 2: dt.uint32}

# (cos(r * pi / 2) - 1) / r**2 and (sin(r * pi / 2) / r - pi / 2) / r**2 in r**2 for |r| <= 1/2,
# minimax fits; errors 2**-34 and 2**-28 of the whole
_COSINE = (0.00090402167, -0.020860288, 0.25366923, -1.2337005)
_SINE = (-0.00460531, 0.07968158, -0.64596367)
_HALF_PI = (1.5707964, -4.371139e-08)


def threefry(key0: Any, key1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    """Two words of 32 random bits for the counter (x0, x1), on Python integers or uint64 arrays.

    >>> [hex(word) for word in threefry(0, 0, 0, 0)]
    ['0x6b200159', '0x99ba4efe']
    """
    keys = (key0, key1, key0 ^ key1 ^ _PARITY)
    x0, x1 = (x0 + keys[0]) & _MASK, (x1 + keys[1]) & _MASK
    for group in range(5):
        for left in _ROTATIONS[group % 2]:
            x0 = (x0 + x1) & _MASK
            x1 = (((x1 << left) | (x1 >> (32 - left))) & _MASK) ^ x0
        x0 = (x0 + keys[(group + 1) % 3]) & _MASK
        x1 = (x1 + keys[(group + 2) % 3] + group + 1) & _MASK
    return x0, x1


def _words(index: Array, key0: Array, key1: Array) -> tuple[Array, Array]:
    counter = index.astype(np.uint64)
    wide0, wide1 = (np.asarray(key).astype(np.uint64) for key in (key0, key1))
    return threefry(wide0, wide1, counter & np.uint64(_MASK), counter >> np.uint64(32))


@scalar_function()
def _mix(x0: Scalar, x1: Scalar, *, left: int) -> Scalar:
    total = x0 + x1
    return total, ((x1 << left) | (x1 >> (32 - left))) ^ total


@scalar_function()
def _four(
    x0: Scalar, x1: Scalar, key0: Scalar, key1: Scalar, *, a: int, b: int, c: int, d: int, n: int
) -> Scalar:
    x0, x1 = _mix(x0, x1, left=a)
    x0, x1 = _mix(x0, x1, left=b)
    x0, x1 = _mix(x0, x1, left=c)
    x0, x1 = _mix(x0, x1, left=d)
    return x0 + key0, x1 + key1 + n


@scalar_function()
def _both(index: Scalar, key0: Scalar, key1: Scalar) -> Scalar:
    key2 = key0 ^ key1 ^ _PARITY
    x0 = convert(index, dt.uint32) + key0
    x1 = convert(index >> 32, dt.uint32) + key1
    x0, x1 = _four(x0, x1, key1, key2, a=13, b=15, c=26, d=6, n=1)
    x0, x1 = _four(x0, x1, key2, key0, a=17, b=29, c=16, d=24, n=2)
    x0, x1 = _four(x0, x1, key0, key1, a=13, b=15, c=26, d=6, n=3)
    x0, x1 = _four(x0, x1, key1, key2, a=17, b=29, c=16, d=24, n=4)
    return _four(x0, x1, key2, key0, a=13, b=15, c=26, d=6, n=5)


def _bits_reference(index: Array, key0: Array, key1: Array) -> Array:
    x0, x1 = _words(index, key0, key1)
    return np.asarray(x0 | (x1 << np.uint64(32)))


@elementwise(
    numpy=_bits_reference,
    fixed=_KEYS,
    result=lambda dtype, attrs: dt.uint64,
    differentiable=False,
    places=(),
    source="https://doi.org/10.1145/2063384.2063405",
)
def random_bits(index: Scalar, key0: Scalar, key1: Scalar) -> Scalar:
    """64 random bits for each index."""
    x0, x1 = _both(index, key0, key1)
    return convert(x0, dt.uint64) | (convert(x1, dt.uint64) << 32)


def _uniform_reference(
    index: Array, key0: Array, key1: Array, *, shift: int, scale: float
) -> Array:
    high = _words(index, key0, key1)[0] >> np.uint64(shift)
    return np.asarray(high * scale, np.float32)


@elementwise(
    numpy=_uniform_reference,
    fixed=_KEYS,
    result=lambda dtype, attrs: dt.float32,
    differentiable=False,
    places=(),
)
def random_uniform(
    index: Scalar, key0: Scalar, key1: Scalar, *, shift: int = 8, scale: float = 2.0**-24
) -> Scalar:
    """A multiple of `scale` in [0, 1) for each index: 32 random bits >> shift, times scale."""
    x0, _ = _both(index, key0, key1)
    return convert(x0 >> convert(shift, dt.uint32), dt.float32) * convert(scale, dt.float32)


@scalar_function(dt.float32)
def _log_of_uniform(u: Scalar) -> Scalar:
    """The natural logarithm of 2**-33 <= u <= 1, within 1 ulp."""
    k, m = split_float(u)
    f = m - 1.0
    exponent = convert(k, dt.float32)
    high, low = LN2_32
    rest = fma(f * f, fma(f, fused_horner(f, LOG32), -0.5), exponent * low)
    return fma(exponent, high, f + rest)


@scalar_function()
def _cosine_of_turn(word: Scalar) -> Scalar:
    """(|cos(a)|, its sign bit) of the angle a: the leading 24 bits of `word` as a part of a turn.

    The rest r of the nearest quarter, in quarters, is exact.
    """
    quarter = convert((word + (1 << 29)) >> 30, dt.int32)
    r = convert(convert(word << 2, dt.int32) >> 10, dt.float32) * 2.0**-22
    z = r * r
    high, low = _HALF_PI
    cosine = fma(z, fused_horner(z, _COSINE), 1.0)
    sine = fma(r, high, r * fma(z, fused_horner(z, _SINE), low))
    y = cosine if (quarter & 1) == 0 else sine
    turned = (quarter + 1) << 30
    return abs(y), (turned ^ bits(y)) & _SIGN


@scalar_function()
def box_muller(x0: Scalar, x1: Scalar) -> Scalar:
    """sqrt(-2 * log(u)) * cos(2 * pi * t), within 3 ulp and the same bits on every device.

    Args:
        x0: 32 random bits; u is the middle of their interval of (0, 1), in float32.
        x1: 32 random bits; t is the leading 24 of them, in [0, 1).
    """
    u = fma(convert(x0, dt.float32), 2.0**-32, 2.0**-33)
    cosine, sign = _cosine_of_turn(x1)
    size = sqrt(abs(_log_of_uniform(u)) * 2.0) * cosine
    # Bits end it, so that the product is not contracted with what a fused kernel adds to it.
    return from_bits(bits(size) | sign)


def _normal_reference(index: Array, key0: Array, key1: Array) -> Array:
    x0, x1 = _words(index, key0, key1)
    return np.asarray(run(box_muller, x0.astype(np.uint32), x1.astype(np.uint32)))


@elementwise(
    numpy=_normal_reference,
    fixed=_KEYS,
    result=lambda dtype, attrs: dt.float32,
    differentiable=False,
    places=(),
    source="https://doi.org/10.1214/aoms/1177706645",
)
def random_normal(index: Scalar, key0: Scalar, key1: Scalar) -> Scalar:
    """A number from the standard normal distribution for each index, by Box and Muller."""
    x0, x1 = _both(index, key0, key1)
    return box_muller(x0, x1)


@scalar_function()
def uniform_at(index: Scalar, key0: Scalar, key1: Scalar) -> Scalar:
    """The middle of the 2**-53 of (0, 1) that random bits name, in float64."""
    x0, x1 = _both(index, key0, key1)
    word = convert(x0, dt.uint64) | (convert(x1, dt.uint64) << 32)
    return convert(word >> convert(11, dt.uint64), dt.float64) * 2.0**-53 + 2.0**-54


@scalar_function()
def waiting_time(x0: Scalar) -> Scalar:
    """-log(u), u the middle of the interval of (0, 1) that 32 random bits name, in float32."""
    u = fma(convert(x0, dt.float32), 2.0**-32, 2.0**-33)
    return abs(_log_of_uniform(u))


def _exponential_reference(index: Array, key0: Array, key1: Array) -> Array:
    x0, _ = _words(index, key0, key1)
    found: Array = np.asarray(run(waiting_time, x0.astype(np.uint32)))
    return np.maximum(found, np.float32(2.0**-33), dtype=np.float32)


@elementwise(
    numpy=_exponential_reference,
    fixed=_KEYS,
    result=lambda dtype, attrs: dt.float32,
    differentiable=False,
    places=(),
)
def random_exponential(index: Scalar, key0: Scalar, key1: Scalar) -> Scalar:
    """A number above 0 from the exponential distribution of rate 1 for each index."""
    x0, _ = _both(index, key0, key1)
    return larger(waiting_time(x0), convert(2.0**-33, dt.float32))


def _sample(rng: Draw) -> Any:
    index = rng.integers(0, 2**40, rng.dims((1, 0), (4, 5)))
    keys = [np.asarray(rng.integers(0, 2**32), np.uint32) for _ in range(2)]
    return [index, *keys], {}


for _op in (random_bits, random_uniform, random_normal, random_exponential):
    _op.samples(_sample)
