"""Gradients against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch.dtype import float64
from numbatorch.errors import DTypeError, message
from numbatorch.tensor import Tensor, no_grad, tensor


class NotSmooth(AssertionError):
    """The function jumps near the point where its gradient was to be checked."""


def gradcheck(
    function: Callable[..., Tensor],
    *inputs: Tensor,
    eps: float = 1e-6,
    relative: float = 1e-5,
    absolute: float = 1e-7,
    seed: int = 0,
) -> None:
    """Fail unless the gradient of `function` equals a central difference in float64.

    Both are taken along one random direction in the space of all inputs, of a random linear
    combination of the outputs: (f(x + eps d) - f(x - eps d)) / (2 eps) against <f'(x), d>. Complex
    numbers are points of a plane, where <a, b> is Re(conj(a) * b).

    Args:
        function: tensors to one tensor.
        inputs: tensors of float64 or complex128, at points where the function is
            smooth; others stay fixed.
        eps: step, in units of the inputs.
        relative, absolute: allowed difference; absolute is scaled by the size of the terms.
    Raises:
        AssertionError: says both numbers; `NotSmooth` where the function jumps within a step, or
            is NaN.

    >>> gradcheck(nt.sin, tensor([0.5], dtype=nt.float64))
    """
    rng = np.random.default_rng(seed)
    moving = [i for i, x in enumerate(inputs) if x.dtype.kind in "fc"]
    for i in moving:
        if inputs[i].dtype.part is not float64:
            raise DTypeError(message("gradcheck", f"input {i} is {inputs[i].dtype.name}"))
    values = [x.detach().numpy() for x in inputs]
    directions = {i: _drawn(rng, inputs[i]) for i in moving}
    leaves = [x.detach().requires_grad_() if i in moving else x for i, x in enumerate(inputs)]
    output = function(*leaves)
    weight = _drawn(rng, output)
    analytic, scale = 0.0, 0.0
    if output.requires_grad:
        output.backward(tensor(weight, dtype=output.dtype, device=output.device))
    for i in moving:
        gradient = leaves[i].grad
        if gradient is not None:
            terms = (np.conj(gradient.numpy()) * directions[i]).real
            analytic += float(terms.sum())
            scale += float(np.abs(terms).sum())
    numeric = _difference(function, inputs, values, directions, weight, eps)
    if np.isnan(numeric):
        raise NotSmooth(f"the function is NaN, seed {seed}")
    allowed = relative * max(abs(analytic), abs(numeric)) + absolute * (1 + scale)
    if not abs(analytic - numeric) <= allowed:
        closer = _difference(function, inputs, values, directions, weight, eps / 8)
        if abs(closer - numeric) > max(allowed, 0.1 * abs(numeric)):
            raise NotSmooth(f"differences {numeric!r} and {closer!r} of two steps, seed {seed}")
        shapes = ", ".join(str(x.shape) for x in inputs)
        raise AssertionError(
            f"gradient along a direction: {analytic!r}, central difference {numeric!r}\n"
            f"  inputs {shapes}, seed {seed}"
        )


def _drawn(rng: np.random.Generator, like: Tensor) -> Any:
    """A random direction in the space of `like`."""
    drawn = rng.standard_normal(like.shape)
    return drawn + 1j * rng.standard_normal(like.shape) if like.dtype.is_complex else drawn


def _difference(
    function: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    values: list[Any],
    directions: dict[int, Any],
    weight: Any,
    eps: float,
) -> float:
    sums = []
    with no_grad():
        for step in (eps, -eps):
            moved = [
                tensor(values[i] + step * directions[i], device=x.device) if i in directions else x
                for i, x in enumerate(inputs)
            ]
            sums.append(float((function(*moved).numpy() * np.conj(weight)).real.sum()))
    return (sums[0] - sums[1]) / (2 * eps)
