"""Public functions that read values: their result is Python's. See also dynamic.py."""

from __future__ import annotations

from typing import Any, Literal

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, message
from numbatorch.graph import Node, find
from numbatorch.ops.comparing import isclose
from numbatorch.ops.matrix_functions import LstsqResult, least_squares
from numbatorch.ops.operands import const, describe
from numbatorch.ops.scattering import scatter
from numbatorch.ops.surface import public
from numbatorch.ops.view import unsqueeze
from numbatorch.tensor.base import host_array, realize_nodes
from numbatorch.tensor.dynamic import nonzero, refuse_traced

Number = int | float | complex


@public()
def where(
    condition: Node, input: Node | Number | None = None, other: Node | Number | None = None
) -> Any:
    """`input` where the condition holds, `other` elsewhere; either may be a number.

    With the condition alone: the positions where it holds, one tensor a dimension.

    >>> where(tensor([True, False]), tensor([1, 2]), 0)
    tensor([1, 0])
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    return find("where").apply(condition, input, other)


@public()
def equal(input: Node, other: Node) -> bool:
    """Whether both have the same shape and equal elements.

    >>> equal(tensor([1, 2]), tensor([1, 2])), equal(tensor([1]), tensor([1, 1]))
    (True, False)
    """
    return input.shape == other.shape and _all(find("eq").apply(input, other))


@public()
def allclose(
    input: Node, other: Node, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether |input - other| <= atol + rtol * |other| everywhere.

    >>> allclose(tensor([1.0, float("nan")]), tensor([1.0, float("nan")]), equal_nan=True)
    True
    """
    return _all(isclose(input, other, rtol, atol, equal_nan))


def _all(truths: Node) -> bool:
    """Whether no element is False."""
    return bool(host_array(find("logical_not").apply(truths)).any()) is False


@public("nn.functional")
def one_hot(tensor: Node, num_classes: int = -1) -> Node:
    """int64 (*tensor.shape, num_classes) with 1 at the class of each element, 0 elsewhere.

    Args:
        num_classes: one more than the largest class unless given, which reads the values.
    Raises:
        OutOfRange: there are none to count, a class is negative, or not below num_classes; the
            last two when the result is realized.

    >>> one_hot(tensor([0, 2])).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    if tensor.dtype.kind not in "iu":
        raise DTypeError(message("one_hot", f"classes are integers, not {describe(tensor)}"))
    if num_classes < -1:
        raise OutOfRange(message("one_hot", f"num_classes is {num_classes}, not -1 or more"))
    if num_classes == -1:
        values = host_array(tensor)
        if not values.size or values.min() < 0:
            problem = "num_classes is to be found from classes of which one is negative or none is"
            raise OutOfRange(message("one_hot", problem, describe(tensor)))
        num_classes = int(values.max()) + 1
    zeros = const(0, dt.int64, tensor.device, (*tensor.shape, num_classes))
    return scatter(zeros, -1, unsqueeze(tensor, -1), 1)


@public("linalg")
def lstsq(
    A: Node,
    b: Node,
    rcond: float | None = None,
    *,
    driver: Literal["gels", "gelsy", "gelsd", "gelss"] | None = None,
) -> LstsqResult:
    """X with the least |A X - b|, and of these the least X.

    Args:
        A: (..., M, N).
        b: (..., M, K), or one vector for each matrix.
        rcond: singular values up to rcond times the largest count as zero; max(M, N) times the
            distance from 1 to the next float unless given.
        driver: LAPACK's function; "gelsy" unless given.
    Returns:
        solution (..., N, K); residuals (..., K), the sums of |A X - b|^2, for M > N and matrices
        that all have full rank, which "gelsd" and "gelss" read and "gels" takes for granted, else
        empty; rank (...), empty for "gels"; singular values (..., min(M, N)) for "gelsd" and
        "gelss", else empty.

    >>> from numbatorch import tensor
    >>> lstsq(tensor([[1.0], [1.0]]), tensor([[1.0], [3.0]])).solution.round(decimals=4).tolist()
    [[2.0]]
    """
    found = least_squares(A, b, rcond, driver)
    if driver not in ("gelsd", "gelss") or A.shape[-2] <= A.shape[-1]:
        return found
    refuse_traced("linalg.lstsq", A)
    realize_nodes(found)
    if (host_array(found.rank) == A.shape[-1]).all():
        return found
    return found._replace(residuals=const(0.0, found.residuals.dtype, A.device, (0,)))
