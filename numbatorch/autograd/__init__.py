"""Gradients as PyTorch's module of this name spells them; functions of functions are in nt.func.

`numbatorch.gradients` computes them, on nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numbatorch.autograd.function import Function
from numbatorch.errors import GradientError, message
from numbatorch.gradients import gradients, recorded
from numbatorch.graph import GradMode
from numbatorch.ops.operands import describe, zeros_like
from numbatorch.tensor import Tensor, enable_grad, inference_mode, no_grad, set_grad_enabled
from numbatorch.tensor.gradient import backward as _backward
from numbatorch.tensor.gradient import checked_input, started

Tensors = Tensor | Sequence[Tensor]


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, Tensor) else list(value)


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` by `inputs`, which may be leaves or not; no `.grad` is touched.

    Args:
        grad_outputs: cotangents, one for each output; None for one of a single element.
        retain_graph: changes nothing, as in `Tensor.backward`.
        create_graph: whether the gradients can be differentiated in turn.
        allow_unused: whether an input that the outputs do not depend on gives None; the default is
            `materialize_grads`.
        materialize_grads: give zeros for such an input.
    Raises:
        GradientError: an input requires no gradient, or the outputs do not depend on one.

    >>> x = tensor([1.0, 2.0]).requires_grad_()
    >>> grad((x * x).sum(), x)
    (tensor([2., 4.]),)
    """
    if allow_unused is False and materialize_grads:
        problem = (
            "materialize_grads gives zeros for unused inputs, which allow_unused=False refuses"
        )
        raise ValueError(message("grad", problem))
    results, wanted = _listed(outputs), _listed(inputs)
    cotangents = [None] * len(results) if grad_outputs is None else _listed(grad_outputs)
    nodes = [result._noted() for result in results]
    targets = [checked_input("grad", tensor) for tensor in wanted]
    starts = started("grad", nodes, cotangents)
    with GradMode(create_graph):
        parts = gradients(nodes, starts, targets, recorded(nodes, targets))
        found: list[Tensor | None] = []
        for number, (node, part) in enumerate(zip(targets, parts, strict=True)):
            if part is None and not (allow_unused or materialize_grads):
                problem = f"the outputs do not depend on input {number}"
                hint = "allow_unused=True gives None for it"
                raise GradientError(message("grad", problem, f"input {describe(node)}", hint=hint))
            if part is None and materialize_grads:
                part = zeros_like(node)
            found.append(None if part is None else Tensor(part))
    return tuple(found)


def backward(
    tensors: Tensors,
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add the gradients of the sum of `tensors` to the `.grad` of every leaf, or of `inputs`.

    Arguments are those of `Tensor.backward`, with a cotangent for each tensor.

    >>> x = tensor([1.0, 2.0], requires_grad=True)
    >>> backward([(x * x).sum(), x.sum()])
    >>> x.grad
    tensor([3., 5.])
    """
    results = _listed(tensors)
    cotangents = [None] * len(results) if grad_tensors is None else _listed(grad_tensors)
    wanted = None if inputs is None else _listed(inputs)
    _backward(results, cotangents, create_graph, wanted)


__all__ = [
    "Function",
    "backward",
    "enable_grad",
    "grad",
    "inference_mode",
    "no_grad",
    "set_grad_enabled",
]
