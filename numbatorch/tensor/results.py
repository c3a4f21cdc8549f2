"""What a compiled function returns: tensors in a nest, which each call makes anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node
from numbatorch.nest import map_leaves, structure
from numbatorch.tensor.base import Handle


def tensors_of(result: Any) -> list[Any]:
    """The tensors of what a function returned.

    Raises:
        DTypeError: it returned something else that calls cannot share.
    """
    found: list[Any] = []
    structure(partial(_leaf, found), result)
    return found


def _leaf(tensors: list[Any], value: Any) -> None:
    if isinstance(value, Handle):
        tensors.append(value)
    elif type(value).__hash__ is None or hasattr(value, "__next__") or hasattr(value, "__await__"):
        problem = f"the function returns a {type(value).__name__}, which all calls would share"
        raise DTypeError(message("compile", problem, hint="return lists, tuples or dicts"))


def rebuilder(result: Any) -> Callable[[list[Node]], Any]:
    """The function that puts fresh results into the traced nest."""
    form = map_leaves(lambda x: _Hole(type(x)._tensor) if isinstance(x, Handle) else x, result)
    if isinstance(form, _Hole):
        tensor = form.tensor
        return lambda nodes: tensor(nodes[0])

    def build(nodes: list[Node]) -> Any:
        rest = iter(nodes)
        return map_leaves(lambda x: x.tensor(next(rest)) if isinstance(x, _Hole) else x, form)

    return build


@dataclass(frozen=True)
class _Hole:
    tensor: Any
