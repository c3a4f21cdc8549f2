"""Public functions over the reductions: sums, means, moments, extremes and where they stand.

`dim` is one dimension, several, or None for all; `keepdim` keeps them with size 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.dtype import Like
from numbatorch.errors import message
from numbatorch.graph import Node, find
from numbatorch.ops import moments, reduce
from numbatorch.ops.operands import as_node, const
from numbatorch.ops.parts import in_dtype
from numbatorch.ops.reduction import Reduction, ValuesAndIndices
from numbatorch.ops.surface import EVERYWHERE, public
from numbatorch.shape import normalize_dim, numel

Dims = int | Sequence[int] | None
Number = int | float


def _wide(input: Node) -> Node:
    """The input in the dtype that it is computed in."""
    return as_node(input, input.dtype.compute, input.device)


def _narrowed(result: Node, input: Node) -> Node:
    """A result of floats in the dtype of the input."""
    return as_node(result, input.dtype, input.device) if input.dtype.kind == "f" else result


@public(remembered=True)
def sum(input: Node, dim: Dims = None, keepdim: bool = False, *, dtype: Like | None = None) -> Node:
    """Sum over `dim`; integers and bool are summed in int64.

    >>> sum(tensor([[1, 2], [3, 4]]), dim=1)
    tensor([3, 7])
    """
    found = reduce.reduced(reduce.sum_, in_dtype("sum", input, dtype), dim, keepdim)
    return found if dtype is None else in_dtype("sum", found, dtype)


@public(remembered=True)
def prod(
    input: Node, dim: Dims = None, keepdim: bool = False, *, dtype: Like | None = None
) -> Node:
    """Product over `dim`; integers and bool are multiplied in int64.

    >>> prod(tensor([100, 100], dtype=nt.int8))
    tensor(10000)
    """
    x = in_dtype("prod", input, dtype)
    if x.dtype.is_complex:
        import_module("numbatorch.ops.complex")
        from numbatorch.ops.complex import complex_product

        return complex_product(x, dim, keepdim)
    found = reduce.reduced(reduce.prod, x, dim, keepdim)
    return found if dtype is None else in_dtype("prod", found, dtype)


@public(remembered=True)
def mean(
    input: Node, dim: Dims = None, keepdim: bool = False, *, dtype: Like | None = None
) -> Node:
    """Arithmetic mean of floats; other elements need a `dtype` to be converted to first.

    >>> mean(tensor([1, 2]), dtype=nt.float32)
    tensor(1.5000)
    """
    return reduce.mean(in_dtype("mean", input, dtype), dim, keepdim)


@public(remembered=True)
def var(
    input: Node,
    dim: Dims | bool = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> Node:
    """Mean of the squared differences to the mean, over count - correction.

    The correction is 1, or 0 if `unbiased` is False, unless it is given.

    >>> var(tensor([1.0, 2.0, 3.0])).item()
    1.0
    """
    op = moments.var_mean if input.dtype.is_complex else moments.var
    return _moments(op, input, dim, unbiased, keepdim, correction)[0]


def _moments(
    op: Reduction,
    input: Node,
    dim: Dims | bool,
    unbiased: bool,
    keepdim: bool,
    correction: Number | None,
) -> tuple[Node, ...]:
    """A variance, and what comes with it, taken in float32 at least."""
    if isinstance(dim, bool):  # x.var(False)
        unbiased, dim = dim, None
    less = float(unbiased) if correction is None else float(correction)
    if input.dtype.is_complex:
        return _complex_moments(input, dim, keepdim, less)
    parts = reduce.reduced_parts(op, _wide(input), dim, keepdim, correction=less)
    return tuple(_narrowed(part, input) for part in parts)


def rooted(total: Node, exponent: float | None) -> Node:
    """total ** exponent, the square root if that is None; the gradient at 0 is 0, not infinite."""

    def root(x: Node) -> Node:
        return find("sqrt").apply(x) if exponent is None else find("pow").apply(x, exponent)

    if not total.requires_grad:
        return root(total)
    zero = find("eq").apply(total, 0)
    whole = root(find("where").apply(zero, 1.0, total))
    return find("where").apply(zero, 0.0, whole)


@public(remembered=True)
def std(
    input: Node,
    dim: Dims | bool = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> Node:
    """Square root of `var`, taken in float32 at least; its gradient where it is 0 is 0.

    >>> std(tensor([1.0, 3.0])), std(tensor([1.0, 3.0]), correction=0)
    (tensor(1.4142), tensor(1.))
    """
    squared = var(_wide(input), dim, unbiased, keepdim, correction=correction)
    return _narrowed(rooted(squared, None), input)


def _complex_moments(input: Node, dim: Dims, keepdim: bool, correction: float) -> tuple[Node, Node]:
    """The variances of both parts together, and the mean."""
    (spread, centre), (other, imag) = (
        reduce.reduced_parts(
            moments.var_mean, find(part).apply(input), dim, keepdim, correction=correction
        )
        for part in ("real", "imag")
    )
    return spread + other, find("complex").apply(centre, imag)


@public(remembered=True)
def var_mean(
    input: Node,
    dim: Dims | bool = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> tuple[Node, Node]:
    """(var, mean) over `dim`, in one pass over the elements; arguments as of `var`.

    >>> [part.item() for part in var_mean(tensor([1.0, 2.0, 3.0]))]
    [1.0, 2.0]
    """
    spread, centre = _moments(moments.var_mean, input, dim, unbiased, keepdim, correction)
    return spread, centre


@public(remembered=True)
def std_mean(
    input: Node,
    dim: Dims | bool = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> tuple[Node, Node]:
    """(std, mean) over `dim`, from one pass over the elements; arguments as of `var`.

    >>> [part.item() for part in std_mean(tensor([1.0, 2.0, 3.0]))]
    [1.0, 2.0]
    """
    wide = _wide(input)
    spread, centre = _moments(moments.var_mean, wide, dim, unbiased, keepdim, correction)
    return _narrowed(rooted(spread, None), input), _narrowed(centre, input)


@public(remembered=True)
def nansum(
    input: Node, dim: Dims = None, keepdim: bool = False, *, dtype: Like | None = None
) -> Node:
    """Sum over `dim` of the elements that are not NaN.

    >>> nansum(tensor([1.0, float("nan"), 2.0])).item()
    3.0
    """
    given = in_dtype("nansum", input, dtype)
    if given.dtype.kind == "f":
        missing = find("ne").apply(given, given)
        given = find("where").apply(missing, 0.0, given)
    found = reduce.reduced(reduce.sum_, given, dim, keepdim)
    return found if dtype is None else in_dtype("nansum", found, dtype)


@public(remembered=True)
def nanmean(
    input: Node, dim: Dims = None, keepdim: bool = False, *, dtype: Like | None = None
) -> Node:
    """Mean over `dim` of the elements that are not NaN; NaN if there are none.

    >>> nanmean(tensor([1.0, float("nan"), 2.0])).item()
    1.5
    """
    given = in_dtype("nanmean", input, dtype)
    return _narrowed(reduce.reduced(moments.nanmean, _wide(given), dim, keepdim), given)


@public(remembered=True)
def count_nonzero(input: Node, dim: Dims = None) -> Node:
    """How many elements over `dim` are not 0, in int64.

    >>> count_nonzero(tensor([0, 3, -1])).item()
    2
    """
    return reduce.reduced(reduce.sum_, find("ne").apply(input, 0), dim)


@public(*EVERYWHERE, "special", remembered=True)
def logsumexp(input: Node, dim: Dims, keepdim: bool = False) -> Node:
    """log(sum(exp(x))) over `dim`, without overflow; narrow floats are summed in float32.

    >>> logsumexp(tensor([1000.0, 1000.0]), 0)
    tensor(1000.6932)
    """
    if input.dtype.is_complex:
        return _of_complex_powers(input, dim, keepdim)
    floats = input if input.dtype.kind == "f" else as_node(input, dt.default_dtype(), input.device)
    wide = reduce.reduced(reduce.logsumexp, _wide(floats), dim, keepdim)
    return _narrowed(wide, floats)


def _of_complex_powers(input: Node, dim: Dims, keepdim: bool) -> Node:
    """log(sum(exp(x - m))) + m, where m is the largest real part."""
    if not numel(input.shape):
        return find("log").apply(sum(find("exp").apply(input), dim, keepdim))
    top = find("detach").apply(amax(find("real").apply(input), dim, True))
    top = find("where").apply(find("isfinite").apply(top), top, 0.0)
    total = sum(find("exp").apply(input - top), dim, True)
    out = find("log").apply(total) + top
    return out if keepdim else sum(out, dim)


@public(remembered=True)
def amax(input: Node, dim: Dims = None, keepdim: bool = False) -> Node:
    """Largest element; NaN wins; ties share the gradient equally.

    >>> amax(tensor([[1, 5], [7, 2]]), 1)
    tensor([5, 7])
    """
    return reduce.reduced(reduce.max_, input, dim, keepdim)


@public(remembered=True)
def amin(input: Node, dim: Dims = None, keepdim: bool = False) -> Node:
    """Smallest element; NaN wins; ties share the gradient equally.

    >>> amin(tensor([[1, 5], [7, 2]]), 1, keepdim=True).tolist()
    [[1], [2]]
    """
    return reduce.reduced(reduce.min_, input, dim, keepdim)


@overload
def max(input: Node) -> Node: ...
@overload
def max(input: Node, dim: Node) -> Node: ...
@overload
def max(input: Node, dim: int, keepdim: bool = False) -> ValuesAndIndices: ...


@public(remembered=True)
def max(input: Node, dim: Any = None, keepdim: bool = False) -> Any:
    """Largest element; with `dim` (values, indices) along it; with a tensor `maximum`.

    >>> max(tensor([[1, 5], [7, 2]]), dim=1).indices
    tensor([1, 0])
    """
    return _extreme("max", reduce.max_with_index, input, dim, keepdim)


@overload
def min(input: Node) -> Node: ...
@overload
def min(input: Node, dim: Node) -> Node: ...
@overload
def min(input: Node, dim: int, keepdim: bool = False) -> ValuesAndIndices: ...


@public(remembered=True)
def min(input: Node, dim: Any = None, keepdim: bool = False) -> Any:
    """Smallest element; with `dim` (values, indices) along it; with a tensor `minimum`.

    >>> min(tensor([[3, 1], [2, 2]]), 1).indices
    tensor([1, 0])
    """
    return _extreme("min", reduce.min_with_index, input, dim, keepdim)


def _extreme(name: str, both: Reduction, input: Node, dim: Any, keepdim: bool) -> Any:
    if isinstance(dim, Node):
        return find(f"{name}imum").apply(input, dim)
    if dim is None:
        return reduce.reduced(reduce.max_ if name == "max" else reduce.min_, input, None, keepdim)
    if not isinstance(dim, int):
        raise TypeError(message(name, f"dim is {dim!r}, not one integer"))
    if input.shape:
        return ValuesAndIndices(*reduce.reduced_parts(both, input, dim, keepdim))
    normalize_dim(name, dim, 0)
    return ValuesAndIndices(input, const(0, dt.int64, input.device))


@public(remembered=True)
def argmax(input: Node, dim: int | None = None, keepdim: bool = False) -> Node:
    """Position of the first largest element, in row-major order where `dim` is None.

    >>> argmax(tensor([[1, 5], [5, 2]])), argmax(tensor([[1, 5], [5, 2]]), 1)
    (tensor(1), tensor([1, 0]))
    """
    return reduce.reduced(reduce.argmax, input, dim, keepdim)


@public(remembered=True)
def argmin(input: Node, dim: int | None = None, keepdim: bool = False) -> Node:
    """Position of the first smallest element, in row-major order where `dim` is None.

    >>> argmin(tensor([3, 1, 1]))
    tensor(1)
    """
    return reduce.reduced(reduce.argmin, input, dim, keepdim)


@public(remembered=True)
def any(input: Node, dim: Dims = None, keepdim: bool = False) -> Node:
    """Whether an element is not zero.

    Where we differ from PyTorch: of uint8 it is bool too.

    >>> any(tensor([[0, 2], [0, 0]]), 1)
    tensor([ True, False])
    """
    return reduce.reduced(reduce.any_, _truths(input), dim, keepdim)


@public(remembered=True)
def all(input: Node, dim: Dims = None, keepdim: bool = False) -> Node:
    """Whether no element is zero.

    Where we differ from PyTorch: of uint8 it is bool too.

    >>> all(tensor([[True, False], [True, True]]), 1)
    tensor([False,  True])
    >>> all(nt.zeros(0))
    tensor(True)
    """
    return reduce.reduced(reduce.all_, _truths(input), dim, keepdim)


def _truths(input: Node) -> Node:
    return find("ne").apply(input, 0) if input.dtype.is_complex else input
