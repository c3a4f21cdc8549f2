"""Modules whose first values are not drawn."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from numbatorch.errors import message
from numbatorch.nn import initial
from numbatorch.nn.module import Module

AnyModule = TypeVar("AnyModule", bound=Module)


def skip_init(module_cls: type[AnyModule], *args: Any, **kwargs: Any) -> AnyModule:
    """A module whose parameters nothing was drawn for, for values that are loaded next.

    Where we differ from PyTorch: they are zeros, and no memory that something else was in.

    Raises:
        RuntimeError: it is no class of modules, or takes no device.

    >>> skip_init(nt.nn.Linear, 2, 1).weight.tolist()
    [[0.0, 0.0]]
    """
    given: Any = module_cls
    if not isinstance(given, type) or not issubclass(given, Module):
        raise RuntimeError(message("skip_init", f"takes a class of modules, not {given!r}"))
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError(message("skip_init", f"{module_cls.__name__} takes no device"))
    with initial.skip_init():
        return module_cls(*args, **kwargs)
