"""Parameters taken out of a module, and attributes that a hook computes from others instead."""

from __future__ import annotations

from functools import partial
from typing import Any

from numbatorch.errors import message
from numbatorch.nn.module import Module, Parameter
from numbatorch.tensor import Tensor
from numbatorch.tensor.base import noted_updates


def parameter_of(operator: str, module: Module, name: str) -> Parameter:
    """The parameter of a name.

    Raises:
        ValueError: the module has none.
    """
    found = vars(module).get(name) if isinstance(module, Module) else None
    if not isinstance(found, Parameter):
        problem = f"{type(module).__name__} has no parameter {name!r}"
        raise ValueError(message(operator, problem))
    return found


def require_free(operator: str, module: Module, *names: str) -> None:
    """Raise KeyError for a name that a module has."""
    for name in names:
        if hasattr(module, name):
            problem = f"{type(module).__name__} has an attribute {name!r} already"
            raise KeyError(message(operator, problem))


def take_out(module: Module, name: str) -> None:
    """Remove a parameter or buffer, after which the name is free for anything else."""
    delattr(module, name)


def keep(module: Module, name: str, tensor: Tensor) -> None:
    """Have a module hold a tensor as the parameter or buffer that it is."""
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def hold_computed(module: Module, name: str, value: Tensor) -> None:
    """Have a module hold what was computed; while a function is traced, until that is over."""
    updates = noted_updates()
    if updates is not None:
        updates.after.append(partial(setattr, module, name, vars(module).get(name)))
    setattr(module, name, value)


def computing(module: Module, kind: type[Any]) -> list[Any]:
    """The hooks of a class that a module calls before `forward`."""
    return [entry.call for entry in module.hooks("forward_pre") if isinstance(entry.call, kind)]


def stop_computing(module: Module, hook: Any) -> None:
    """Have a module call a hook no more."""
    rest = tuple(entry for entry in module.hooks("forward_pre") if entry.call is not hook)
    module._set_hooks("forward_pre", rest)
