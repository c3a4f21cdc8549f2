"""PyTorch's module fft: transforms over one dimension, two or any, padded or cut to sizes.

`norm` says what is divided: "backward" the inverse transform by the number of elements, "forward"
the other one, "ortho" both by its root. The transform by Hermite's symmetry, `hfft`, is `irfft` of
the conjugate with the norm of the other direction.
"""

from __future__ import annotations

from collections.abc import Sequence

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.fourier import ADJOINT, Norm, fft_, irfft_, rfft_
from numbatorch.ops.operands import as_node, const, describe
from numbatorch.ops.parts import conjugated
from numbatorch.ops.rearranging import roll
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat, narrow
from numbatorch.shape import Shape, normalize_dim

Sizes = int | Sequence[int]


def _floats(operator: str, x: Node, wanted: str = "") -> Node:
    """The input as floats or complex numbers: integers become the default."""
    if x.dtype.kind in "iub":
        x = as_node(x, dt.default_dtype(), x.device)
    if x.dtype.part not in (dt.float32, dt.float64):
        hint = "x.float() has dtype float32"
        raise DTypeError(message(operator, f"has no meaning for {x.dtype.name}", hint=hint))
    if wanted == "real" and x.dtype.is_complex:
        raise DTypeError(message(operator, "takes real numbers", describe(x)))
    return as_node(x, x.dtype.complex, x.device) if wanted == "complex" else x


def _norm(operator: str, norm: str | None) -> Norm:
    if norm is None:
        return "backward"
    for known in ADJOINT.values():
        if norm == known:
            return known
    raise ValueError(message(operator, f"norm is {norm!r}, not 'backward', 'ortho' or 'forward'"))


def _dims(
    operator: str, x: Node, s: Sizes | None, dim: Sizes | None
) -> tuple[Shape, tuple[int | None, ...]]:
    """The dimensions, and for each the size that it is brought to, None for what it has."""
    rank = len(x.shape)
    sizes = None if s is None else (s,) if isinstance(s, int) else tuple(s)
    if dim is None:
        count = rank if sizes is None else len(sizes)
        if count > rank:
            problem = f"{count} sizes for {rank} dimensions"
            raise ShapeError(message(operator, problem, f"input {describe(x)}"))
        dims = tuple(range(rank - count, rank))
    else:
        given = (dim,) if isinstance(dim, int) else tuple(dim)
        if given and not rank:
            raise OutOfRange(message(operator, "a 0-d tensor has no dimensions"))
        dims = tuple(normalize_dim(operator, d, rank) for d in given)
    if len(set(dims)) != len(dims):
        raise ShapeError(message(operator, f"a dimension appears twice in {dim}"))
    if sizes is not None and len(sizes) != len(dims):
        raise ShapeError(message(operator, f"{len(sizes)} sizes for {len(dims)} dimensions"))
    wanted = [None if n == -1 else n for n in sizes or (-1,) * len(dims)]
    for size in wanted:
        if size is not None and size < 1:
            raise ShapeError(message(operator, f"{size} elements have no transform"))
    return dims, tuple(wanted)


def _sized(operator: str, x: Node, dims: Shape, sizes: Sequence[int | None]) -> Node:
    """Dimensions padded with zeros at the end, or cut, to sizes."""
    for axis, size in zip(dims, sizes, strict=True):
        have = x.shape[axis]
        if have == 0 and size is None:
            problem = "no elements have no transform"
            raise ShapeError(message(operator, problem, f"input {describe(x)}"))
        if size is None or size == have:
            continue
        if size < have:
            x = narrow(x, axis, 0, size)
        else:
            shape = (*x.shape[:axis], size - have, *x.shape[axis + 1 :])
            x = cat([x, const(0.0, x.dtype, x.device, shape)], axis)
    return x


def _whole(
    operator: str, x: Node, s: Sizes | None, dim: Sizes | None, norm: str | None, inverse: bool
) -> Node:
    x, way = _floats(operator, x), _norm(operator, norm)
    dims, sizes = _dims(operator, x, s, dim)
    x = _sized(operator, x, dims, sizes)
    if not dims:
        return as_node(x, x.dtype.complex, x.device)
    return fft_.apply(x, dims=dims, inverse=inverse, norm=way)


def _to_half(
    operator: str, x: Node, s: Sizes | None, dim: Sizes | None, norm: str | None, mirrored: bool
) -> Node:
    """`rfft` of real numbers, or `ihfft` if mirrored."""
    x, way = _floats(operator, x, "real"), _norm(operator, norm)
    dims, sizes = _dims(operator, x, s, dim)
    _require_dims(operator, dims)
    x = _sized(operator, x, dims, sizes)
    if not mirrored:
        return rfft_.apply(x, dims=dims, norm=way)
    return conjugated(rfft_.apply(x, dims=dims, norm=ADJOINT[way]))


def _of_half(
    operator: str, x: Node, s: Sizes | None, dim: Sizes | None, norm: str | None, mirrored: bool
) -> Node:
    """`irfft` to real numbers, or `hfft` if mirrored."""
    x, way = _floats(operator, x, "complex"), _norm(operator, norm)
    dims, sizes = _dims(operator, x, s, dim)
    _require_dims(operator, dims)
    last = sizes[-1]
    size = 2 * (x.shape[dims[-1]] - 1) if last is None else last
    if size < 1:
        raise ShapeError(message(operator, f"{size} elements have no transform"))
    x = _sized(operator, x, dims, (*sizes[:-1], size // 2 + 1))
    if mirrored:
        return irfft_.apply(conjugated(x), dims=dims, size=size, norm=ADJOINT[way])
    return irfft_.apply(x, dims=dims, size=size, norm=way)


def _require_dims(operator: str, dims: Shape) -> None:
    if not dims:
        raise ShapeError(message(operator, "needs a dimension to transform"))


@public("fft")
def fft(input: Node, n: int | None = None, dim: int = -1, norm: str | None = None) -> Node:
    """The discrete Fourier transform, the sum over j of x[j] exp(-2 pi i j k / n); complex.

    Args:
        n: pad with zeros, or cut, to this size first.
        norm: "backward" (None), "ortho" for a division by sqrt(n), "forward" by n.

    >>> from numbatorch import tensor
    >>> fft(tensor([1.0, 0.0, 0.0])).abs().tolist()
    [1.0, 1.0, 1.0]
    """
    return _whole("fft.fft", input, n, dim, norm, inverse=False)


@public("fft")
def ifft(input: Node, n: int | None = None, dim: int = -1, norm: str | None = None) -> Node:
    """The inverse of `fft`, divided by n with norm "backward" (None), not with "forward".

    >>> from numbatorch import tensor
    >>> ifft(tensor([2.0, 2.0])).abs().tolist()
    [2.0, 0.0]
    """
    return _whole("fft.ifft", input, n, dim, norm, inverse=True)


@public("fft")
def rfft(input: Node, n: int | None = None, dim: int = -1, norm: str | None = None) -> Node:
    """`fft` of real numbers, elements 0 to n / 2: the others are their conjugates.

    >>> from numbatorch import tensor
    >>> rfft(tensor([1.0, 0.0, 0.0])).abs().tolist()
    [1.0, 1.0]
    """
    return _to_half("fft.rfft", input, n, dim, norm, mirrored=False)


@public("fft")
def irfft(input: Node, n: int | None = None, dim: int = -1, norm: str | None = None) -> Node:
    """The inverse of `rfft`: n real numbers, 2 * (size - 1) unless given.

    >>> from numbatorch import tensor
    >>> irfft(tensor([1.0, 1.0]), n=3).tolist()
    [1.0, 0.0, 0.0]
    """
    return _of_half("fft.irfft", input, n, dim, norm, mirrored=False)


@public("fft")
def hfft(input: Node, n: int | None = None, dim: int = -1, norm: str | None = None) -> Node:
    """`fft` of a signal of which the first half is given, the other its conjugate; real.

    >>> from numbatorch import tensor
    >>> hfft(tensor([1.0, 1.0]), n=3).tolist()
    [3.0, 0.0, 0.0]
    """
    return _of_half("fft.hfft", input, n, dim, norm, mirrored=True)


@public("fft")
def ihfft(input: Node, n: int | None = None, dim: int = -1, norm: str | None = None) -> Node:
    """The inverse of `hfft`: the first half of `ifft` of real numbers.

    >>> from numbatorch import tensor
    >>> ihfft(tensor([3.0, 0.0, 0.0])).abs().tolist()
    [1.0, 1.0]
    """
    return _to_half("fft.ihfft", input, n, dim, norm, mirrored=True)


@public("fft")
def fftn(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Node:
    """`fft` over several dimensions, all unless given, padded or cut to the sizes `s`.

    >>> fftn(nt.ones(2, 2), s=(2, 4), dim=(0, 1)).shape
    (2, 4)
    """
    return _whole("fft.fftn", input, s, dim, norm, inverse=False)


@public("fft")
def ifftn(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Node:
    """The inverse of `fftn`, which divides by the number of elements.

    >>> ifftn(tensor([[4.0, 0.0], [0.0, 0.0]])).real.tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    return _whole("fft.ifftn", input, s, dim, norm, inverse=True)


@public("fft")
def rfftn(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Node:
    """`fftn` of real numbers, half of it, n // 2 + 1, along the last of the dimensions.

    >>> rfftn(nt.ones(2, 2, 5)).shape
    (2, 2, 3)
    """
    return _to_half("fft.rfftn", input, s, dim, norm, mirrored=False)


@public("fft")
def irfftn(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Node:
    """The inverse of `rfftn`, of an even last size unless `s` gives it.

    >>> irfftn(rfftn(nt.ones(2, 3))).shape
    (2, 2)
    """
    return _of_half("fft.irfftn", input, s, dim, norm, mirrored=False)


@public("fft")
def hfftn(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Node:
    """`fftn` of a signal of which half, n // 2 + 1, is given along the last dimension; real.

    >>> hfftn(nt.ones(2, 3)).shape, hfftn(nt.ones(2, 3)).dtype
    ((2, 4), numbatorch.float32)
    """
    return _of_half("fft.hfftn", input, s, dim, norm, mirrored=True)


@public("fft")
def ihfftn(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Node:
    """The inverse of `hfftn`.

    >>> ihfftn(nt.ones(2, 4)).shape
    (2, 3)
    """
    return _to_half("fft.ihfftn", input, s, dim, norm, mirrored=True)


@public("fft")
def fft2(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Node:
    """`fftn` over the last two dimensions.

    >>> fft2(nt.ones(2, 2)).real.tolist()
    [[4.0, 0.0], [0.0, 0.0]]
    """
    return _whole("fft.fft2", input, s, dim, norm, inverse=False)


@public("fft")
def ifft2(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Node:
    """The inverse of `fft2`.

    >>> ifft2(fft2(nt.ones(2, 2))).real.tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    return _whole("fft.ifft2", input, s, dim, norm, inverse=True)


@public("fft")
def rfft2(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Node:
    """`rfftn` over the last two dimensions.

    >>> rfft2(nt.ones(2, 4)).shape
    (2, 3)
    """
    return _to_half("fft.rfft2", input, s, dim, norm, mirrored=False)


@public("fft")
def irfft2(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Node:
    """The inverse of `rfft2`, of an even last size unless `s` gives it.

    >>> irfft2(rfft2(nt.ones(2, 3)), s=(2, 3)).shape
    (2, 3)
    """
    return _of_half("fft.irfft2", input, s, dim, norm, mirrored=False)


@public("fft")
def hfft2(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Node:
    """`hfftn` over the last two dimensions.

    >>> hfft2(nt.ones(2, 3)).shape
    (2, 4)
    """
    return _of_half("fft.hfft2", input, s, dim, norm, mirrored=True)


@public("fft")
def ihfft2(
    input: Node,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Node:
    """The inverse of `hfft2`.

    >>> ihfft2(nt.ones(2, 4)).shape
    (2, 3)
    """
    return _to_half("fft.ihfft2", input, s, dim, norm, mirrored=True)


@public("fft")
def fftshift(input: Node, dim: int | Sequence[int] | None = None) -> Node:
    """Frequencies in ascending order: the first, zero, comes to n // 2 of each of the dimensions.

    >>> from numbatorch import tensor
    >>> fftshift(tensor([0, 1, 2, -2, -1])).tolist()
    [-2, -1, 0, 1, 2]
    """
    return _shifted("fft.fftshift", input, dim, back=False)


@public("fft")
def ifftshift(input: Node, dim: int | Sequence[int] | None = None) -> Node:
    """The inverse of `fftshift`.

    >>> ifftshift(tensor([-1, 0, 1]))
    tensor([ 0,  1, -1])
    """
    return _shifted("fft.ifftshift", input, dim, back=True)


def _shifted(operator: str, x: Node, dim: Sizes | None, back: bool) -> Node:
    rank = len(x.shape)
    given = range(rank) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = [normalize_dim(operator, d, rank) for d in given]
    if not dims:
        raise ShapeError(message(operator, "a 0-d tensor has no dimensions"))
    shifts = [(x.shape[d] + int(back)) // 2 for d in dims]
    return roll(x, shifts, dims)
