"""Weights divided by their largest singular value, by a hook that does so before each call."""

from __future__ import annotations

from typing import Any, TypeVar

from numbatorch.errors import OutOfRange, message
from numbatorch.nn import functional as F
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
from numbatorch.tensor.random import randn

AnyModule = TypeVar("AnyModule", bound=Module)


def output_dim(module: Module) -> int:
    """Which dimension of a module's weight counts outputs: 1 of transposed convolutions."""
    from numbatorch import nn

    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    return 1 if isinstance(module, transposed) else 0


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """(..., O, ...) as (O, product of the others), O the dimension `dim`."""
    if dim:
        weight = weight.permute(dim, *(d for d in range(len(weight.shape)) if d != dim))
    return weight.reshape(weight.shape[0], -1)


def check_options(operator: str, weight: Tensor, dim: int, n_power_iterations: int) -> int:
    """`dim` counted from the front; raises for one that is not there, and for no iterations."""
    count = len(weight.shape)
    if not -count <= dim < count:
        problem = f"dim {dim} is not in [{-count}, {count})"
        raise OutOfRange(message(operator, problem, f"weight {describe(weight.node)}"))
    if n_power_iterations <= 0:
        problem = f"takes 1 power iteration at least, not {n_power_iterations}"
        raise ValueError(message(operator, problem))
    return dim % count


def drawn_vector(size: int, like: Tensor, eps: float) -> Tensor:
    """A normal vector of length 1."""
    return F.normalize(randn(size, dtype=like.dtype, device=like.device), dim=0, eps=eps)


class SpectralNorm:
    """The hook of `spectral_norm`: name = name_orig / (name_u . name_orig name_v).

    >>> hook = SpectralNorm.apply(nt.nn.Linear(2, 3), "weight", 1, 0, 1e-12)
    >>> hook.name, hook.n_power_iterations
    ('weight', 1)
    """

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        self.name = name
        self.n_power_iterations = n_power_iterations
        self.dim = dim
        self.eps = eps

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The weight over its largest singular value, which iterations bring nearer."""
        weight, u, v = (getattr(module, f"{self.name}_{part}") for part in ("orig", "u", "v"))
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(F.normalize(matrix.T.mv(u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(matrix.mv(v), dim=0, eps=self.eps))
        found: Tensor = weight / u.clone().dot(matrix.mv(v.clone()))
        return found

    @staticmethod
    def apply(
        module: Module, name: str, n_power_iterations: int, dim: int, eps: float
    ) -> SpectralNorm:
        """Take the parameter out, put it in under another name, and compute it from now on."""
        weight = parameter_of("spectral_norm", module, name)
        if any(hook.name == name for hook in computing(module, SpectralNorm)):
            raise RuntimeError(message("spectral_norm", f"{name} has a spectral norm already"))
        front = check_options("spectral_norm", weight, dim, n_power_iterations)
        hook = SpectralNorm(name, n_power_iterations, front, eps)
        rows, columns = as_matrix(weight, front).shape
        require_free("spectral_norm", module, *(f"{name}_{part}" for part in ("orig", "u", "v")))
        u, v = (drawn_vector(size, weight, eps) for size in (rows, columns))
        take_out(module, name)
        module.register_parameter(f"{name}_orig", weight)
        setattr(module, name, weight.data)
        module.register_buffer(f"{name}_u", u)
        module.register_buffer(f"{name}_v", v)
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """Make the weight as it is, without an iteration, a parameter again."""
        with no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        for part in ("", "_u", "_v", "_orig"):
            take_out(module, self.name + part)
        module.register_parameter(self.name, Parameter(weight))

    def __call__(self, module: Module, inputs: Any) -> None:
        weight = self.compute_weight(module, do_power_iteration=module.training)
        hold_computed(module, self.name, weight)


def spectral_norm(
    module: AnyModule,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> AnyModule:
    """Divide a weight by its largest singular value before each call: W / (u . W v).

    u and v are buffers `name_u` and `name_v`, which power iterations bring nearer in training: v =
    W^T u / ||W^T u||, u = W v / ||W v||. The parameter is `name_orig` instead of `name`, which is a
    plain tensor. `parametrizations.spectral_norm` does it by a parametrization.

    Args:
        n_power_iterations: how many before each call in training.
        eps: least length that a vector is divided by.
        dim: that of outputs, against all others; 1 of transposed convolutions, 0 otherwise.
    Raises:
        ValueError: the module has no such parameter, or there are no iterations.
        RuntimeError: it has a spectral norm already.
        OutOfRange: the weight has no such dimension.
    Source: https://arxiv.org/abs/1802.05957

    >>> layer = spectral_norm(nt.nn.Linear(2, 3, bias=False))
    >>> [(key, value.shape) for key, value in layer.state_dict().items()]
    [('weight_orig', (3, 2)), ('weight_u', (3,)), ('weight_v', (2,))]
    """
    found = output_dim(module) if dim is None else dim
    SpectralNorm.apply(module, name, n_power_iterations, found, eps)
    return module


def remove_spectral_norm(module: AnyModule, name: str = "weight") -> AnyModule:
    """Make a weight as it is a parameter again.

    Raises:
        ValueError: it has no spectral norm.

    >>> layer = remove_spectral_norm(spectral_norm(nt.nn.Linear(2, 3, bias=False)))
    >>> list(layer.state_dict())
    ['weight']
    """
    for hook in computing(module, SpectralNorm):
        if hook.name == name:
            hook.remove(module)
            stop_computing(module, hook)
            return module
    problem = f"{name!r} of {type(module).__name__} has no spectral norm"
    raise ValueError(message("remove_spectral_norm", problem))
