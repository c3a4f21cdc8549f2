"""Covariances and correlations of variables, and slices cut to a norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import view
from numbatorch.ops.composed import composed
from numbatorch.ops.distance import find_norm
from numbatorch.ops.einsum import diagonal_of
from numbatorch.ops.matmul import multiplied
from numbatorch.ops.operands import as_node, describe, expanded, result_type
from numbatorch.ops.parts import complex_, conjugated, imag_, real_
from numbatorch.ops.reduce import reduced, sum_
from numbatorch.ops.surface import public
from numbatorch.shape import normalize_dim

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Number = int | float

DTYPES = dt.FLOATS + dt.COMPLEX


def _sample(rng: Draw) -> Any:
    M, N = rng.dims((1, 3), (4, 6), 300)
    return [rng.standard_normal((M, N))], {}


def _floats(input: Node) -> DType:
    """The dtype of the result: that of the input, for integers the default."""
    return dt.default_dtype() if input.dtype.kind in "iu" else input.dtype


def _variables(operator: str, input: Node) -> Node:
    """Rows of observations, of floats in what they are computed in."""
    if len(input.shape) > 2:
        problem = "needs two dimensions at most"
        raise ShapeError(message(operator, problem, f"input {describe(input)}"))
    if input.dtype.kind not in "fciu":
        raise DTypeError(message(operator, f"has no meaning for {input.dtype.name}"))
    x = as_node(input, _floats(input).compute, input.device)
    shape = input.shape if len(input.shape) == 2 else (1, *(input.shape or (1,)))
    return x if shape == x.shape else view.reshape.apply(x, shape=shape)


def _weights(x: Node, fweights: Node | None, aweights: Node | None) -> Node | None:
    """The product of both weights, in the real dtype of x."""
    found = None
    for name, given, kinds in (("fweights", fweights, "iu"), ("aweights", aweights, "f")):
        if given is None:
            continue
        if given.dtype.kind not in kinds or given.shape not in ((), x.shape[1:]):
            wanted = "integers" if kinds == "iu" else "floats"
            problem = f"{name} must be {wanted} of shape {x.shape[1:]}"
            raise ShapeError(message("cov", problem, f"{name} {describe(given)}"))
        weight = expanded(as_node(given, x.dtype.part, x.device), x.shape[1:])
        found = weight if found is None else found * weight
    return found


@composed(numpy=lambda x: np.cov(x), sample=_sample, dtypes=DTYPES)
@public()
def cov(
    input: Node,
    *,
    correction: int = 1,
    fweights: Node | None = None,
    aweights: Node | None = None,
) -> Node:
    """Covariances of variables, the rows of the input, over their observations, the columns.

    Args:
        input: (M, N), or (N,) for one variable.
        correction: subtracted from the number of observations.
        fweights: (N,), integers: how often each observation counts.
        aweights: (N,), floats: how much each observation counts.
    Returns:
        (M, M), 0-d for one variable; computed in float32 at least.

    >>> cov(tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    x = _variables("cov", input)
    weight = _weights(x, fweights, aweights)
    found = _covariance(x, weight, aweights, correction)
    dtype = _floats(input)
    if aweights is not None and input.dtype.kind in "fc":
        dtype = result_type((input, expanded(aweights, x.shape[1:])))
    return view.squeeze(as_node(found, dtype, input.device))


def _covariance(x: Node, weight: Node | None, aweights: Node | None, correction: int) -> Node:
    N = x.shape[1]
    if weight is None:
        apart = x - expanded(reduced(sum_, x, 1, True) / N, x.shape)
        return multiplied(apart, view.transpose(conjugated(apart), 0, 1)) / max(N - correction, 0)
    total = reduced(sum_, weight, 0)
    mean = reduced(sum_, x * expanded(weight, x.shape), 1, True) / total
    apart = x - expanded(mean, x.shape)
    lost: Any = correction
    if aweights is not None:
        along = expanded(as_node(aweights, weight.dtype, x.device), weight.shape)
        lost = reduced(sum_, weight * along, 0) / total * correction
    scale = find("maximum").apply(total - lost, 0)
    weighed = apart * expanded(weight, apart.shape)
    return multiplied(apart, view.transpose(conjugated(weighed), 0, 1)) / scale


@composed(numpy=lambda x: np.corrcoef(x), sample=_sample, dtypes=DTYPES)
@public()
def corrcoef(input: Node) -> Node:
    """Pearson's correlations of variables, the rows of the input: cov[i, j] / sqrt(v[i] * v[j]).

    Args:
        input: (M, N), or (N,) for one variable.
    Returns:
        (M, M), within [-1, 1]; 0-d for one variable.

    >>> corrcoef(tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    x = _variables("corrcoef", input)
    found = _covariance(x, None, None, 1)
    along = diagonal_of(found, 0, 1)
    size = find("sqrt").apply(real_.apply(along) if along.dtype.is_complex else along)
    M = found.shape[0]
    found = found / expanded(view.unsqueeze(size, 1), (M, M)) / expanded(size, (M, M))
    clamp = find_clamp()
    if found.dtype.is_complex:
        found = complex_.apply(*(clamp(part.apply(found), -1, 1) for part in (real_, imag_)))
    else:
        found = clamp(found, -1, 1)
    found = as_node(found, _floats(input), input.device)
    return view.squeeze(found) if M == 1 else found


def find_clamp() -> Any:
    """`nt.clamp`, whose family is not always needed."""
    from numbatorch.apart import import_module

    return import_module("numbatorch.ops.arithmetic").clamp


def _renorm_reference(x: Array, *, p: float, dim: int, maxnorm: float) -> Array:
    others = tuple(d for d in range(x.ndim) if d != dim % x.ndim)
    size = (np.abs(x) ** p).sum(others, keepdims=True) ** (1 / p)
    return np.asarray(x * np.where(size > maxnorm, maxnorm / (size + 1e-7), 1))


def _renorm_sample(rng: Draw) -> Any:
    M, N = rng.dims((1, 1), (4, 4), 300)
    attrs = {"p": 2.0, "dim": int(rng.integers(2)), "maxnorm": 0.9}
    return [rng.standard_normal((M, N))], attrs


@composed(numpy=_renorm_reference, sample=_renorm_sample, dtypes=DTYPES)
@public()
def renorm(input: Node, p: Number, dim: int, maxnorm: Number) -> Node:
    """Each slice along `dim` whose p-norm is above maxnorm, scaled down to that.

    Raises:
        OutOfRange: p is not above 0, or `maxnorm` is negative.

    >>> renorm(tensor([[3.0, 4.0], [0.3, 0.4]]), 2, 0, 1)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    rank = len(input.shape)
    if rank < 2:
        problem = "needs two dimensions or more"
        raise ShapeError(message("renorm", problem, f"input {describe(input)}"))
    if not p > 0 or not maxnorm >= 0:
        problem = f"p is {p}, which must be above 0, and maxnorm {maxnorm}, which must be 0 or more"
        raise OutOfRange(message("renorm", problem))
    if input.dtype.kind not in "fc":
        raise DTypeError(message("renorm", f"has no meaning for {input.dtype.name}"))
    axis = normalize_dim("renorm", dim, rank)
    x = as_node(input, input.dtype.compute, input.device)
    flat = find("abs").apply(x) if x.dtype.is_complex else x
    size = find_norm()(flat, p, [d for d in range(rank) if d != axis], True)
    above = find("gt").apply(size, maxnorm)
    scale = find("where").apply(above, float(maxnorm) / (size + 1e-7), 1.0)
    return as_node(x * expanded(scale, x.shape), input.dtype, input.device)
