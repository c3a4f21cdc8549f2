"""`assert_close` and the only table of tolerances; `assert_launches` for fusion contracts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Tolerance:
    """|actual - expected| <= absolute + relative * |expected|."""

    relative: float
    absolute: float


# One unit in the last place of a result of size one.
_ULP = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float8_e4m3fn": 2.0**-3,
    "float8_e5m2": 2.0**-2,
    "complex128": 2.0**-52,
    "complex64": 2.0**-23,
}
_WIDE = ("float64", "float32", "complex128", "complex64")

# Units in the last place that each kind of result may be off, (relative, absolute). The absolute
# part covers results that cancel; it counts in units of operands near one.
#   exact        moved or selected, never computed
#   elementwise  a few roundings; functions are accurate to 2 ulp
#   reduction    sums of up to a few thousand terms in any order
#   matmul       dot products of up to a few thousand terms
#   composite    several of the above in a row: softmax, norm, attention, a whole layer
#   gradient     a backward pass through any of the above
#   model        logits or embeddings of a whole network
_KINDS: dict[str, tuple[float, float]] = {
    "exact": (0, 0),
    "elementwise": (4, 1),
    "reduction": (32, 32),
    "matmul": (64, 64),
    "composite": (64, 64),
    "gradient": (256, 256),
    "model": (1024, 1024),
}

# Half and narrower types are computed in float32 and rounded once: sums are one step off at most.
_NARROW: dict[str, tuple[float, float]] = {
    "exact": (0, 0),
    "elementwise": (1.01, 0),
    "gradient": (4, 4),
    "model": (16, 16),
}
_NARROW_DEFAULT: tuple[float, float] = (2, 2)


def tolerance(dtype: str, kind: str) -> Tolerance:
    """The tolerance of results of `kind` in `dtype`; integers and bools compare exactly.

    Of complex numbers it is one of the distance in the plane.

    >>> tolerance("int64", "elementwise")
    Tolerance(relative=0.0, absolute=0.0)
    """
    if kind not in _KINDS:
        raise ValueError(f"tolerance: unknown kind {kind!r}, one of {', '.join(_KINDS)}")
    dtype = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
    if dtype not in _ULP:
        return Tolerance(0.0, 0.0)
    ulp = _ULP[dtype]
    if dtype in _WIDE:
        relative, absolute = _KINDS[kind]
    else:
        relative, absolute = _NARROW.get(kind, _NARROW_DEFAULT)
    return Tolerance(relative * ulp, absolute * ulp)


def as_numpy(value: Any) -> Array:
    """A Tensor, an array, a torch tensor or a number as an array."""
    if hasattr(value, "detach"):
        value = value.detach()
    if hasattr(value, "numpy"):
        value = value.numpy()
    return np.asarray(value)


def _widened(array: Array) -> Array:
    if array.dtype.kind == "c":
        return array.astype(np.complex128)
    return array if array.dtype.kind in "biu" else np.asarray(array, np.float64)


def _mismatch(
    actual: Array, expected: Array, relative: float, absolute: Any, signed_zeros: bool
) -> Array:
    """Excess over the tolerance, element by element; positive where the comparison fails."""
    if expected.dtype.kind not in "fc":
        return np.asarray(actual != expected, np.float64)
    with np.errstate(invalid="ignore"):
        if expected.dtype.kind == "c":
            apart, size = _in_the_plane(actual, expected)
        else:
            apart, size = np.abs(actual - expected), np.abs(expected)
        excess = apart - (absolute + relative * size)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    if signed_zeros and expected.dtype.kind == "f":
        same &= (expected != 0) | (np.signbit(actual) == np.signbit(expected))
        excess = np.where((actual == 0) & (expected == 0), np.inf, excess)
    return np.asarray(np.where(same, -1.0, np.where(np.isnan(excess), np.inf, excess)))


def _in_the_plane(actual: Array, expected: Array) -> tuple[Array, Array]:
    """Distances and sizes of complex numbers; parts alike that are infinite or NaN do not."""
    pairs = ((actual.real, expected.real), (actual.imag, expected.imag))
    apart = [np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, x - y) for x, y in pairs]
    size = [np.where(np.isfinite(y), y, 0.0) for _, y in pairs]
    return np.hypot(*apart), np.hypot(*size)


def assert_close(
    actual: Any,
    expected: Any,
    kind: str = "elementwise",
    *,
    dtype: str | None = None,
    operator: str = "",
    inputs: tuple[Any, ...] = (),
    device: str = "",
    seed: int | None = None,
    absolute: Any = None,
    signed_zeros: bool = False,
) -> None:
    """Fail unless `actual` equals `expected` in shape and, within the table, in value.

    NaN equals NaN.

    Args:
        kind: row of the table.
        dtype: column of the table; the dtype of `actual` if not given.
        operator, inputs, device, seed: said in the message of a failure.
        absolute: replaces the table's absolute part, one number or one for each element; the
            caller says why.
        signed_zeros: whether 0.0 differs from -0.0.

    >>> import numpy as np
    >>> assert_close(np.float32([1.0]), np.float32([1.0 + 1e-7]))
    """
    name = dtype or _dtype_name(actual)
    device = device or str(getattr(actual, "device", ""))
    result, reference = as_numpy(actual), as_numpy(expected)
    about = [f"operator {operator}" if operator else "", f"device {device}" if device else ""]
    about += [f"input {tuple(np.shape(as_numpy(x)))} {_dtype_name(x)}" for x in inputs]
    about += [f"seed {seed}" if seed is not None else "", f"dtype {name}, kind {kind}"]
    context = "\n  ".join(["", *(line for line in about if line)])
    if result.shape != reference.shape:
        raise AssertionError(f"shapes differ: {result.shape}, expected {reference.shape}{context}")
    limit = tolerance(name, kind)
    allowed = limit.absolute if absolute is None else absolute
    result, reference = _widened(result), _widened(reference)
    excess = _mismatch(result, reference, limit.relative, allowed, signed_zeros)
    if excess.size == 0 or excess.max() <= 0:
        return
    worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
    raise AssertionError(
        f"{int((excess > 0).sum())} of {excess.size} values differ{context}\n"
        f"  worst at {tuple(int(i) for i in worst)}: "
        f"{result[worst]!r}, expected {reference[worst]!r}\n"
        f"  allowed {np.broadcast_to(allowed, excess.shape)[worst]:.3g}"
        f" + {limit.relative:.3g} * |expected|"
    )


def _dtype_name(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return str(np.asarray(value).dtype)
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")


def assert_launches(tensor: Any, count: int) -> None:
    """Fail unless realizing `tensor` takes exactly `count` kernel launches; runs nothing.

    >>> assert_launches(nt.ones(2).exp() * 2, 1)
    """
    from numbatorch import debug

    kernels = debug.kernels(tensor)
    if len(kernels) != count:
        listing = "\n  ".join(str(kernel) for kernel in kernels)
        raise AssertionError(f"{len(kernels)} launches, expected {count}\n  {listing}")
