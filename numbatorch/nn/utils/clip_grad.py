"""Gradients of all parameters together: their norm, and a bound on it or on each number.

Nothing here is computed before it is read: the norm, what gradients are scaled by and the step of
an optimizer that follows are one plan.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from types import GeneratorType
from typing import Any

from numbatorch.device import Device
from numbatorch.dtype import float32
from numbatorch.errors import DTypeError, OutOfRange, message
from numbatorch.ops.operands import describe
from numbatorch.ops.surface import names_itself
from numbatorch.tensor import Tensor, full, no_grad

Tensors = Tensor | Iterable[Tensor]


def _listed(name: str, tensors: Any) -> list[Tensor]:
    """One tensor, or what gives several, as a list."""
    if isinstance(tensors, Tensor):
        return [tensors]
    found = list(tensors)
    for one in found:
        if not isinstance(one, Tensor):
            problem = f"takes tensors, but one is {type(one).__name__}"
            raise TypeError(message(name, problem))
    return found


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    """The gradients that there are."""
    return [p.grad for p in parameters if p.grad is not None]


@names_itself
def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all numbers of several tensors: (sum of |x|^p)^(1/p), as of one vector.

    0 where there are none.

    Where we differ from PyTorch: it is of float32 at least.

    Args:
        norm_type: p; inf is the largest |x|, -inf the smallest. 0 counts tensors that are not 0.
        error_if_nonfinite: wait for the norm, and raise if it is infinite or NaN.
        foreach: of no meaning here, where all tensors are one plan anyway.
    Raises:
        RuntimeError: the norm is not finite, where that is asked for.
        DTypeError: a tensor is of integers.

    >>> get_total_norm([tensor([3.0]), tensor([[4.0]])])
    tensor(5.)
    """
    found = [x for x in _listed("get_total_norm", tensors) if x.numel()]
    p = float(norm_type)
    if math.isnan(p):
        raise OutOfRange(message("get_total_norm", "the order of the norm is NaN"))
    if not found:
        return full((), 0.0, dtype=float32)
    with no_grad():
        norm = _norm([_wide(x) for x in found], p)
    if error_if_nonfinite and not norm.isfinite():
        problem = f"the norm of order {p} is {norm.item()}"
        hint = "error_if_nonfinite=False scales by it anyway"
        raise RuntimeError(message("get_total_norm", problem, hint=hint))
    return norm


def _wide(x: Tensor) -> Tensor:
    """`x` in the dtype that its sums are taken in."""
    if x.dtype.kind not in "fc":
        problem = f"the norm is one of floats, not of {describe(x.node)}"
        raise DTypeError(message("get_total_norm", problem))
    kind = x.dtype.compute
    return x if x.dtype.is_complex or kind is x.dtype else x.to(kind)


def _norm(tensors: list[Tensor], p: float) -> Tensor:
    """The norm of order p, on the device of the first."""
    where = tensors[0].device
    if p == 2:
        sums = [_on(_squares(x).sum(), where) for x in tensors]
        while len(sums) > 1:  # in pairs, so that the graph is not deep
            pairs = zip(sums[::2], sums[1::2], strict=False)
            sums = [x + y for x, y in pairs] + sums[len(sums) // 2 * 2 :]
        return sums[0].sqrt()
    from numbatorch import linalg, stack

    norms = stack([_on(linalg.vector_norm(x, p), where) for x in tensors])
    norm: Tensor = linalg.vector_norm(norms, p)
    return norm


def _squares(x: Tensor) -> Tensor:
    """|x|^2."""
    return x.real.square() + x.imag.square() if x.dtype.is_complex else x.square()


@names_itself
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients, in place, by min(max_norm / (total_norm + 1e-6), 1).

    Args:
        total_norm: what `get_total_norm` gave of the gradients, or another bound of them.
        foreach: of no meaning here, where all gradients are one plan anyway.
    Raises:
        OutOfRange: `max_norm` is negative or NaN.

    >>> x = tensor([1.0], requires_grad=True)
    >>> x.grad = tensor([10.0])
    >>> clip_grads_with_norm_(x, 1.0, tensor(2.0))
    >>> x.grad
    tensor([5.0000])
    """
    _scale(_gradients(_listed("clip_grads_with_norm_", parameters)), max_norm, total_norm)


def _scale(gradients: list[Tensor], max_norm: float, norm: Tensor) -> None:
    limit = _limit("clip_grads_with_norm_", "max_norm", max_norm)
    with no_grad():
        scale = (limit / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(_on(scale, gradient.device))


def _on(x: Tensor, where: Device) -> Tensor:
    return x if x.device == where else x.to(where)


def _limit(function: str, name: str, value: float) -> float:
    found = float(value)
    if not found >= 0:
        raise OutOfRange(message(function, f"{name} is {found}, not 0 or above"))
    return found


@names_itself
def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients together, in place, so that their norm is at most `max_norm`.

    By min(max_norm / (norm + 1e-6), 1). A wait comes with `error_if_nonfinite` alone.

    Args:
        max_norm: inf scales nothing, and gives the norm.
        norm_type, error_if_nonfinite, foreach: as of `get_total_norm`.
    Returns:
        The norm before the scaling, 0 where there are no gradients.
    Raises:
        RuntimeError: the norm is not finite, where that is asked for; gradients stay.
        OutOfRange: `max_norm` is negative or NaN.

    >>> x = tensor([3.0, 4.0], requires_grad=True)
    >>> store = (x * x).sum().backward()
    >>> clip_grad_norm_(x, 1.0), x.grad
    (tensor(10.), tensor([0.6000, 0.8000]))
    """
    found = _listed("clip_grad_norm_", parameters)
    if not found and isinstance(parameters, GeneratorType):
        text = "clip_grad_norm_: the generator of parameters gives none, so nothing is clipped"
        warnings.warn(text, stacklevel=3)
    _limit("clip_grad_norm_", "max_norm", max_norm)
    gradients = _gradients(found)
    norm = get_total_norm(gradients, norm_type, error_if_nonfinite, foreach)
    _scale(gradients, max_norm, norm)
    return norm


@names_itself
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Clip each number of the gradients, in place, to [-clip_value, clip_value].

    Args:
        foreach: of no meaning here, where all gradients are one plan anyway.
    Raises:
        OutOfRange: `clip_value` is negative or NaN.

    >>> x = tensor([1.0, 1.0], requires_grad=True)
    >>> x.grad = tensor([-3.0, 0.5])
    >>> clip_grad_value_(x, 1.0)
    >>> x.grad
    tensor([-1.0000,  0.5000])
    """
    limit = _limit("clip_grad_value_", "clip_value", clip_value)
    with no_grad():
        for gradient in _gradients(_listed("clip_grad_value_", parameters)):
            gradient.clamp_(min=-limit, max=limit)
