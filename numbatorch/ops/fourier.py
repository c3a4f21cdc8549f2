"""Discrete Fourier transforms of complex and of real numbers, by SciPy's pocketfft on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch import settings
from numbatorch.dtype import DType
from numbatorch.graph import Node, find
from numbatorch.ops.create import iota
from numbatorch.ops.host import scipy
from numbatorch.ops.operands import as_node, const, expanded
from numbatorch.ops.parts import real_
from numbatorch.ops.structured import structured
from numbatorch.ops.view import reshape
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Norm = Literal["backward", "ortho", "forward"]

REAL = (dt.float64, dt.float32)
DTYPES = (*dt.COMPLEX, *REAL)
# The adjoint of a transform is the inverse one, which is scaled where that was.
ADJOINT: dict[str, Norm] = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


SHARED = 2**15  # elements that are worth threads


def _complex_of(x: Array) -> Any:
    return np.result_type(x, np.complex64)


def _transformed(function: str, x: Array, *args: Any, **options: Any) -> Array:
    """What SciPy's function gives; its threads share the rows, so no bit depends on them."""
    workers = min(settings.threads_in_use(), settings.processors()) if x.size >= SHARED else 1
    return np.asarray(getattr(scipy("fft"), function)(x, *args, workers=workers, **options))


@structured(dtypes=DTYPES, source="https://doi.org/10.1090/S0025-5718-1965-0178586-1")
def fft_(x: Array, *, dims: Shape, inverse: bool, norm: Norm) -> Array:
    """The sum over `dims` of x[n] exp(-2 pi i k n / N), or +2 pi i if `inverse`."""
    if not x.size:
        return x.astype(_complex_of(x))
    found = _transformed("ifftn" if inverse else "fftn", x, axes=dims, norm=norm)
    return found.astype(_complex_of(x), copy=False)


@fft_.infer
def _(x: Node, *, dims: Shape, inverse: bool, norm: Norm) -> tuple[Shape, DType]:
    return x.shape, x.dtype.complex


@fft_.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape, inverse: bool, norm: Norm) -> Node:
    found = fft_.apply(g, dims=dims, inverse=not inverse, norm=ADJOINT[norm])
    return found if x.dtype.is_complex else real_.apply(found)


def _attributes(rng: Draw) -> dict[str, Any]:
    dims = ((1,), (0, 2), (2, 1))[int(rng.integers(3))]
    return {"dims": dims, "norm": ("backward", "ortho", "forward")[int(rng.integers(3))]}


@fft_.samples
def _(rng: Draw) -> Any:
    attrs = {**_attributes(rng), "inverse": bool(rng.integers(2))}
    return [rng.standard_normal(rng.integers(1, 6, 3))], attrs


@structured(dtypes=REAL, source="https://doi.org/10.1109/TASSP.1987.1165220")
def rfft_(x: Array, *, dims: Shape, norm: Norm) -> Array:
    """The transform of real numbers, the first half of it along the last of `dims`."""
    shape = _halved(x.shape, dims)
    if not x.size:
        return np.zeros(shape, _complex_of(x))
    return _transformed("rfftn", x, axes=dims, norm=norm).astype(_complex_of(x), copy=False)


def _halved(shape: Shape, dims: Shape) -> Shape:
    return tuple(n // 2 + 1 if d == dims[-1] else n for d, n in enumerate(shape))


@rfft_.infer
def _(x: Node, *, dims: Shape, norm: Norm) -> tuple[Shape, DType]:
    return _halved(x.shape, dims), x.dtype.complex


@rfft_.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape, norm: Norm) -> Node:
    size = x.shape[dims[-1]]
    return irfft_.apply(_middle(g, 0.5, size, dims), dims=dims, size=size, norm=ADJOINT[norm])


def _middle(x: Node, factor: float, size: int, dims: Shape) -> Node:
    """Halves scaled by a factor where they stand for two elements of a whole of `size`."""
    axis, real = dims[-1], x.dtype.part
    places = iota(x.shape[axis], x.device)
    alone = find("eq").apply(places, 0)
    if size % 2 == 0:
        alone = find("logical_or").apply(alone, find("eq").apply(places, size // 2))
    one = const(1.0, real, x.device, (x.shape[axis],))
    scale = find("where").apply(alone, one, factor)
    shape = tuple(n if d == axis else 1 for d, n in enumerate(x.shape))
    wide = as_node(reshape.apply(scale, shape=shape), x.dtype, x.device)
    return x * expanded(wide, x.shape)


@rfft_.samples
def _(rng: Draw) -> Any:
    return [rng.standard_normal(rng.integers(1, 6, 3))], _attributes(rng)


@structured(dtypes=dt.COMPLEX, source="https://doi.org/10.1109/TASSP.1987.1165220")
def irfft_(x: Array, *, dims: Shape, size: int, norm: Norm) -> Array:
    """The inverse transform of halves along the last of `dims`, `size` real numbers of a whole."""
    shape = tuple(size if d == dims[-1] else n for d, n in enumerate(x.shape))
    if not x.size:
        return np.zeros(shape, x.real.dtype)
    sizes = [shape[d] for d in dims]
    return _transformed("irfftn", x, sizes, axes=dims, norm=norm).astype(x.real.dtype, copy=False)


@irfft_.infer
def _(x: Node, *, dims: Shape, size: int, norm: Norm) -> tuple[Shape, DType]:
    assert x.shape[dims[-1]] == size // 2 + 1
    shape = tuple(size if d == dims[-1] else n for d, n in enumerate(x.shape))
    return shape, x.dtype.part


@irfft_.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape, size: int, norm: Norm) -> Node:
    return _middle(rfft_.apply(g, dims=dims, norm=ADJOINT[norm]), 2.0, size, dims)


@irfft_.samples
def _(rng: Draw) -> Any:
    attrs = _attributes(rng)
    x = rng.standard_normal(rng.integers(1, 6, 3))
    half = x.shape[attrs["dims"][-1]]
    attrs["size"] = 2 * half - 1 if half == 1 else 2 * half - int(rng.integers(1, 3))
    return [x], attrs
