"""Weights as sizes times directions, by a hook that multiplies them before each call."""

from __future__ import annotations

from typing import Any, TypeVar

from numbatorch.errors import OutOfRange, message
from numbatorch.nn.module import Module, Parameter
from numbatorch.nn.utils.attributes import (
    computing,
    hold_computed,
    parameter_of,
    require_free,
    stop_computing,
    take_out,
)
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, no_grad

AnyModule = TypeVar("AnyModule", bound=Module)


def norm_except(operator: str, weight: Tensor, dim: int) -> Tensor:
    """The norm over all dimensions but one, which are kept as 1; a number where dim is -1."""
    count = len(weight.shape)
    if not -1 <= dim < count:
        problem = f"dim {dim} is not in [0, {count}), and not None"
        raise OutOfRange(message(operator, problem, f"weight {describe(weight.node)}"))
    from numbatorch import linalg

    if dim == -1:
        norm: Tensor = linalg.vector_norm(weight)
    else:
        rest = [d for d in range(count) if d != dim]
        norm = linalg.vector_norm(weight, dim=rest, keepdim=True) if rest else weight.abs()
    return norm


class WeightNorm:
    """The hook of `weight_norm`: name = name_g * name_v / ||name_v||.

    >>> hook = WeightNorm.apply(nt.nn.Linear(2, 3), "weight", 0)
    >>> hook.name, hook.dim
    ('weight', 0)
    """

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        """The weight, from its size and its direction."""
        size, direction = (getattr(module, f"{self.name}_{part}") for part in "gv")
        found: Tensor = direction * (size / norm_except("weight_norm", direction, self.dim))
        return found

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Take the parameter out, put size and direction in, and compute it from now on."""
        weight = parameter_of("weight_norm", module, name)
        if any(hook.name == name for hook in computing(module, WeightNorm)):
            raise RuntimeError(message("weight_norm", f"{name} has a weight norm already"))
        require_free("weight_norm", module, f"{name}_g", f"{name}_v")
        hook = WeightNorm(name, dim)
        with no_grad():
            size = norm_except("weight_norm", weight, hook.dim)
        take_out(module, name)
        module.register_parameter(f"{name}_g", Parameter(size))
        module.register_parameter(f"{name}_v", Parameter(weight.detach()))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """Make the weight as it is a parameter again."""
        with no_grad():
            weight = self.compute_weight(module)
        for name in (self.name, f"{self.name}_g", f"{self.name}_v"):
            take_out(module, name)
        setattr(module, self.name, Parameter(weight))

    def __call__(self, module: Module, inputs: Any) -> None:
        hold_computed(module, self.name, self.compute_weight(module))


def weight_norm(module: AnyModule, name: str = "weight", dim: int | None = 0) -> AnyModule:
    """Train size and direction of a weight apart: w = g * v / ||v||, made before each call.

    `name_g` and `name_v` are parameters instead of `name`, which is a plain tensor.
    `parametrizations.weight_norm` is the same by a parametrization.

    Args:
        dim: over all other dimensions the norm is taken; None for the norm of the whole weight.
    Raises:
        ValueError: the module has no such parameter.
        RuntimeError: it has a weight norm already.
        OutOfRange: the weight has no such dimension.
    Source: https://arxiv.org/abs/1602.07868

    >>> layer = weight_norm(nt.nn.Linear(2, 3, bias=False))
    >>> [(key, value.shape) for key, value in layer.state_dict().items()]
    [('weight_g', (3, 1)), ('weight_v', (3, 2))]
    """
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: AnyModule, name: str = "weight") -> AnyModule:
    """Make a weight as it is one parameter again.

    Raises:
        ValueError: it has no weight norm.

    >>> layer = remove_weight_norm(weight_norm(nt.nn.Linear(2, 3, bias=False)))
    >>> list(layer.state_dict())
    ['weight']
    """
    for hook in computing(module, WeightNorm):
        if hook.name == name:
            hook.remove(module)
            stop_computing(module, hook)
            return module
    problem = f"{name!r} of {type(module).__name__} has no weight norm"
    raise ValueError(message("remove_weight_norm", problem))
