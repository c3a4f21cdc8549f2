"""Distances and angles between vectors, and the bilinear form of two."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import view
from numbatorch.ops.composed import composed
from numbatorch.ops.create import leaf
from numbatorch.ops.matmul import multiplied
from numbatorch.ops.operands import (
    as_node,
    const,
    describe,
    difference,
    expanded,
    result_type,
)
from numbatorch.ops.reduce import reduced, sum_
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, broadcast, normalize_dim

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Number = int | float

COMPUTE_MODES = (
    None,
    "use_mm_for_euclid_dist_if_necessary",
    "use_mm_for_euclid_dist",
    "donot_use_mm_for_euclid_dist",
)


def _where(condition: Node, yes: Any, no: Any) -> Node:
    return find("where").apply(condition, yes, no)


def _length(apart: Node, p: float) -> Node:
    """The p-norm over the last dimension, which goes; the gradient at 0 is 0."""
    size = find("abs").apply(apart)
    if p == 0:
        count = as_node(find("ne").apply(size, 0), size.dtype, apart.device)
        return reduced(sum_, count + find("sign").apply(size) * 0.0, -1)  # with a gradient of 0
    if p == math.inf:
        return reduced(find("max"), size, -1)  # type: ignore[arg-type]
    if p == 1:
        return reduced(sum_, size, -1)
    if p == 2:
        square = size * size if apart.dtype.is_complex else apart * apart
        return rooted(reduced(sum_, square, -1), 0.5)
    zero = find("eq").apply(size, 0)
    powers = find("pow").apply(_where(zero, 1.0, size), float(p))
    powers = _where(zero, 0.0 if p > 0 else math.inf, powers)
    return rooted(reduced(sum_, powers, -1), 1 / p)


def rooted(total: Node, exponent: float) -> Node:
    """total ** exponent; the gradient where it is 0 is 0."""
    zero = find("eq").apply(total, 0)
    base = _where(zero, 1.0, total)
    root = find("sqrt").apply(base) if exponent == 0.5 else find("pow").apply(base, exponent)
    return _where(zero, 0.0, root)


SUMMED = 1024  # numbers that are added one by one, before roundings add up


@structured(dtypes=(dt.float64, dt.float32))
def squares_apart(x1: Array, x2: Array) -> Array:
    """The sum of (x1[b, i] - x2[b, j])**2 for each pair of rows, exact differences and few terms.

    Args:
        x1: (B, P, M).
        x2: (B, R, M).
    """
    return np.asarray(np.square(x1[:, :, None] - x2[:, None]).sum(-1))


@squares_apart.infer
def _(x1: Node, x2: Node) -> tuple[Shape, dt.DType]:
    rows = (f"x1 {describe(x1)}", f"x2 {describe(x2)}")
    if len(x1.shape) != 3 or len(x2.shape) != 3 or x1.shape[::2] != x2.shape[::2]:
        raise ShapeError(message("squares_apart", "takes (B, P, M) and (B, R, M)", *rows))
    if x1.dtype is not x2.dtype:
        raise DTypeError(message("squares_apart", "takes operands of one dtype", *rows))
    return (*x1.shape[:2], x2.shape[1]), x1.dtype


@squares_apart.fallback
def _(x1: Node, x2: Node) -> Node:
    apart = _apart(x1, x2)
    return reduced(sum_, apart * apart, -1)


def _apart(x1: Node, x2: Node, batch: Shape | None = None) -> Node:
    """(*batch, P, R, M): x1[..., i, :] - x2[..., j, :]."""
    batch = x1.shape[:-2] if batch is None else batch
    shape = (*batch, x1.shape[-2], x2.shape[-2], x1.shape[-1])
    return expanded(view.unsqueeze(x1, -2), shape) - expanded(view.unsqueeze(x2, -3), shape)


@squares_apart.samples
def _(rng: Draw) -> Any:
    B, P, R, M = rng.dims((0, 0, 0, 1), (3, 4, 4, 4), 300)
    return [rng.standard_normal((B, P, M)), rng.standard_normal((B, R, M))], {}


def _cdist_reference(x1: Array, x2: Array, *, p: float) -> Array:
    apart = np.abs(x1[..., :, None, :] - x2[..., None, :, :])
    return np.asarray(_norms(apart, p))


def _norms(apart: Array, p: float) -> Array:
    if p == 0:
        return np.asarray((apart != 0).sum(-1).astype(apart.dtype))
    if p == math.inf:
        return np.asarray(apart.max(-1, initial=0))
    return np.asarray((apart**p).sum(-1) ** (1 / p), apart.dtype)


def _cdist_sample(rng: Draw) -> Any:
    P, R, M = rng.dims((0, 0, 1), (4, 4, 4), 300)
    p = [2.0, math.inf][int(rng.integers(2))]
    return [rng.standard_normal((2, P, M)), rng.standard_normal((R, M))], {"p": p}


@composed(numpy=_cdist_reference, sample=_cdist_sample, dtypes=dt.FLOATS)
@public("nt", remembered=True)
def cdist(
    x1: Node,
    x2: Node,
    p: Number = 2.0,
    compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary",
) -> Node:
    """The p-norm of x1[i] - x2[j] for each pair of rows; batch dimensions broadcast.

    Taken in float32 at least, and always of the difference, which the product of matrices that
    PyTorch uses for many rows is not: so all of `compute_mode` give the same, more exact, result.

    Args:
        x1: (..., P, M).
        x2: (..., R, M).
        p: from 0, for the count of elements that differ, to infinity, for the largest.
    Returns:
        (..., P, R).
    Raises:
        ShapeError: the rows have different sizes.
        OutOfRange: p is negative.

    >>> cdist(tensor([[0.0, 0.0]]), tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    rows = (f"x1 {describe(x1)}", f"x2 {describe(x2)}")
    if len(x1.shape) < 2 or len(x2.shape) < 2:
        raise ShapeError(message("cdist", "needs two dimensions or more", *rows))
    if x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(message("cdist", "rows have different sizes", *rows))
    _check_p("cdist", p)
    if compute_mode not in COMPUTE_MODES:
        modes = ", ".join(map(repr, COMPUTE_MODES))
        raise ValueError(message("cdist", f"compute_mode is {compute_mode!r}, not one of {modes}"))
    dtype = _float("cdist", x1, x2)
    batch = broadcast("cdist", x1.shape[:-2], x2.shape[:-2])
    (P, M), R = x1.shape[-2:], x2.shape[-2]
    if M == 0:
        return const(0.0, dtype, x1.device, (*batch, P, R))
    left, right = (as_node(x, dtype.compute, x.device) for x in (x1, x2))
    if p != 2 or M > SUMMED:
        return as_node(_length(_apart(left, right, batch), float(p)), dtype, x1.device)
    count = math.prod(batch)
    left = view.reshape.apply(expanded(left, (*batch, P, M)), shape=(count, P, M))
    right = view.reshape.apply(expanded(right, (*batch, R, M)), shape=(count, R, M))
    found = rooted(squares_apart.apply(left, right), 0.5)
    return as_node(view.reshape.apply(found, shape=(*batch, P, R)), dtype, x1.device)


def _check_p(operator: str, p: float) -> None:
    if not p >= 0:
        raise OutOfRange(message(operator, f"p is {p}, not 0 or more"))


def _float(operator: str, *operands: Node) -> dt.DType:
    dtype = result_type(operands)
    if dtype.kind != "f":
        raise DTypeError(message(operator, "takes floats", *map(describe, operands)))
    return dtype


def _pdist_reference(x: Array, *, p: float) -> Array:
    rows, cols = np.triu_indices(len(x), 1)
    return _norms(np.abs(x[rows] - x[cols]), p)


def _pdist_sample(rng: Draw) -> Any:
    N, M = rng.dims((0, 1), (5, 4), 60)
    return [rng.standard_normal((N, M))], {"p": 1.0}


@composed(
    numpy=_pdist_reference, sample=_pdist_sample, dtypes=dt.FLOATS, peer="torch.nn.functional.pdist"
)
@public("nt", "nn.functional")
def pdist(input: Node, p: Number = 2) -> Node:
    """The p-norm of input[i] - input[j] for all i < j, row by row of the upper triangle.

    Args:
        input: (N, M).
    Returns:
        (N * (N - 1) / 2,).
    Raises:
        ShapeError: `input` is no matrix.

    >>> pdist(tensor([[0.0], [1.0], [3.0]]))
    tensor([1., 3., 2.])
    """
    if len(input.shape) != 2:
        raise ShapeError(message("pdist", "needs a matrix", f"input {describe(input)}"))
    _check_p("pdist", p)
    N = input.shape[0]
    whole = view.reshape.apply(cdist(input, input, p), shape=(N * N,))
    rows, cols = np.triu_indices(N, 1)
    return find("take").apply(whole, leaf(rows * N + cols, dt.int64, input.device))


def _pairwise_reference(x1: Array, x2: Array, *, p: float, eps: float) -> Array:
    return _norms(np.abs(x1 - x2 + eps), p)


def _pairwise_sample(rng: Draw) -> Any:
    N, M = rng.dims((0, 1), (4, 4), 300)
    attrs = {"p": 3.0, "eps": 1e-6}
    return [rng.standard_normal((N, M)), rng.standard_normal((M,))], attrs


@composed(
    numpy=_pairwise_reference,
    sample=_pairwise_sample,
    dtypes=dt.FLOATS,
    peer="torch.nn.functional.pairwise_distance",
)
@public("nt", "nn.functional", remembered=True)
def pairwise_distance(
    x1: Node, x2: Node, p: Number = 2.0, eps: float = 1e-06, keepdim: bool = False
) -> Node:
    """The p-norm of x1 - x2 + eps over the last dimension.

    Args:
        x1, x2: (..., M), which broadcast.
        eps: added to each difference, in units of x1.
    Raises:
        ShapeError: the shapes do not broadcast.

    >>> pairwise_distance(tensor([3.0, 4.0]), tensor([0.0, 0.0]))
    tensor(5.0000)
    """
    shape = broadcast("pairwise_distance", x1.shape, x2.shape)
    dtype = result_type((x1, x2))
    rows = (f"x1 {describe(x1)}", f"x2 {describe(x2)}")
    if not shape:
        problem = "0-d operands have no last dimension"
        raise ShapeError(message("pairwise_distance", problem, *rows))
    if dtype.kind not in "fciu":
        problem = f"has no meaning for {dtype.name}"
        raise DTypeError(message("pairwise_distance", problem, *rows))
    dtype = dt.default_dtype() if dtype.kind in "iu" else dtype
    apart = difference(expanded(x1, shape), expanded(x2, shape), dtype.compute)
    found = as_node(_length(apart + eps, float(p)), dtype.part, x1.device)
    return view.unsqueeze(found, -1) if keepdim else found


def _cosine_reference(x1: Array, x2: Array, *, dim: int, eps: float) -> Array:
    def size(x: Array) -> Array:
        return np.asarray(np.maximum(np.sqrt((x * x).sum(dim)), eps))

    return np.asarray((x1 * x2).sum(dim) / (size(x1) * size(x2)))


def _cosine_sample(rng: Draw) -> Any:
    N, M = rng.dims((0, 1), (4, 4), 300)
    return [rng.standard_normal((N, M)), rng.standard_normal((N, M))], {"dim": 1, "eps": 1e-8}


@composed(
    numpy=_cosine_reference,
    sample=_cosine_sample,
    dtypes=dt.FLOATS,
    peer="torch.nn.functional.cosine_similarity",
)
@public("nt", "nn.functional", remembered=True)
def cosine_similarity(x1: Node, x2: Node, dim: int = 1, eps: float = 1e-08) -> Node:
    """x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) over `dim`; shapes broadcast.

    Args:
        eps: the least that a length counts as.

    >>> cosine_similarity(tensor([3.0, 4.0]), tensor([4.0, 3.0]), 0)
    tensor(0.9600)
    """
    dtype = _float("cosine_similarity", x1, x2)
    shape = broadcast("cosine_similarity", x1.shape, x2.shape)
    axis = normalize_dim("cosine_similarity", dim, len(shape))
    wide = [as_node(x, dtype.compute, x.device) for x in (x1, x2)]
    left, right = (_unit(expanded(x, shape), axis, eps) for x in wide)
    return as_node(reduced(sum_, left * right, axis), dtype, x1.device)


def _unit(x: Node, axis: int, eps: float) -> Node:
    size = rooted(reduced(sum_, x * x, axis, True), 0.5)
    return x / expanded(find("maximum").apply(size, eps), x.shape)


def _bilinear_reference(x1: Array, x2: Array, weight: Array, bias: Array) -> Array:
    return np.asarray(np.einsum("ni,kij,nj->nk", x1, weight, x2) + bias)


def _bilinear_sample(rng: Draw) -> Any:
    N, I, J, K = rng.dims((1,) * 4, (4,) * 4, 300)  # noqa: E741
    shapes = ((N, I), (N, J), (K, I, J), (K,))
    return [rng.standard_normal(shape) for shape in shapes], {}


@composed(
    numpy=_bilinear_reference,
    sample=_bilinear_sample,
    dtypes=dt.FLOATS,
    peer="torch.nn.functional.bilinear",
)
@public("nt", "nn.functional", remembered=True)
def bilinear(input1: Node, input2: Node, weight: Node, bias: Node | None = None) -> Node:
    """input1[i] * weight[k, i, j] * input2[j] summed over i and j, plus bias[k].

    Args:
        input1: (..., I).
        input2: (..., J), of the same leading sizes.
        weight: (K, I, J).
        bias: (K,) or None.
    Returns:
        (..., K).
    Raises:
        ShapeError: the sizes of the inputs and of the weight differ.

    >>> bilinear(tensor([1.0, 2.0]), tensor([3.0]), tensor([[[1.0], [1.0]]]))
    tensor([9.])
    """
    fits = bool(input1.shape) and bool(input2.shape) and len(weight.shape) == 3
    fits = fits and input1.shape[:-1] == input2.shape[:-1]
    fits = fits and weight.shape[1:] == (input1.shape[-1], input2.shape[-1])
    fits = fits and (bias is None or bias.shape == weight.shape[:1])
    if not fits:
        rows = [f"input1 {describe(input1)}", f"input2 {describe(input2)}"]
        rows += [f"weight {describe(weight)}"] + (
            [] if bias is None else [f"bias {describe(bias)}"]
        )
        problem = "shapes must be (..., I), (..., J), (K, I, J) and (K,)"
        raise ShapeError(message("bilinear", problem, *rows))
    K, I, J = weight.shape  # noqa: E741
    dtype = result_type([x for x in (input1, input2, weight, bias) if x is not None])
    x1, x2, kernel = (as_node(x, dtype.compute, x.device) for x in (input1, input2, weight))
    lead = input1.shape[:-1]
    across = view.reshape.apply(view.permute.apply(kernel, dims=(1, 0, 2)), shape=(I, K * J))
    rows_of = view.reshape.apply(multiplied(x1, across), shape=(*lead, K, J))
    column = view.unsqueeze(x2, -1)
    out = view.reshape.apply(multiplied(rows_of, column), shape=(*lead, K))
    if bias is not None:
        out = out + as_node(bias, dtype.compute, bias.device)
    return as_node(out, dtype, input1.device)


@public(remembered=True)
def dist(input: Node, other: Node, p: Number = 2) -> Node:
    """The p-norm of all elements of input - other, which broadcast; its gradient at 0 is 0.

    >>> dist(tensor([3.0, 4.0]), tensor([0.0, 0.0]))
    tensor(5.)
    """
    apart = input - other
    if apart.dtype.kind not in "fc":
        rows = (f"input {describe(input)}", f"other {describe(other)}")
        raise DTypeError(message("dist", "takes floats", *rows))
    norm = find_norm()
    found: Node = norm(find("abs").apply(apart) if apart.dtype.is_complex else apart, p)
    return found


def find_norm() -> Any:
    """`linalg.vector_norm`, whose family is not always needed."""
    from numbatorch.apart import import_module

    return import_module("numbatorch.ops.vector_norm").vector_norm
