"""Modules that are called with other tensors in the places of their own."""

from __future__ import annotations

from typing import Any

from numbatorch.tensor import stateless

__all__ = ["functional_call"]


def functional_call(
    module: Any,
    parameters_and_buffers: dict[str, Any],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`nt.func.functional_call`, with another name for its second argument.

    >>> layer = nt.nn.Linear(2, 1, bias=False)
    >>> weights = {"weight": tensor([[2.0, 3.0]])}
    >>> functional_call(layer, parameters_and_buffers=weights, args=tensor([1.0, 10.0]))
    tensor([32.])
    """
    return stateless.functional_call(
        module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict
    )
