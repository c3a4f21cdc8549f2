"""Layers with PyTorch's names, arguments and initial values."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from numbatorch.dtype import DType
from numbatorch.errors import message
from numbatorch.nn import functional as F
from numbatorch.nn.module import Module, Parameter
from numbatorch.tensor import Tensor, ones, zeros
from numbatorch.tensor.creation import Where
from numbatorch.tensor.random import rand, randn


class _State(threading.local):
    draws = True


_state = _State()


@contextmanager
def skip_init() -> Iterator[None]:
    """Within the block new layers of this thread hold zeros where they would draw numbers.

    For models whose values are loaded next: nothing is drawn that would be thrown away.
    """
    before = _state.draws
    _state.draws = False
    try:
        yield
    finally:
        _state.draws = before


def _uniform(bound: float, *shape: int, dtype: DType | None, device: Where) -> Parameter:
    if not _state.draws:
        return Parameter(zeros(*shape, dtype=dtype, device=device))
    return Parameter((rand(*shape, dtype=dtype, device=device) * 2 - 1) * bound)


class Linear(Module):
    """x @ weight.T + bias.

    Attributes:
        weight: (out_features, in_features); it may be replaced by GGML blocks.
        bias: (out_features,) or None.

    >>> layer = Linear(3, 2)
    >>> layer(nt.zeros(5, 3)).shape, layer.weight.shape
    ((5, 2), (2, 3))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DType | None = None,
        device: Where = None,
    ) -> None:
        self.in_features = in_features
        self.out_features = out_features
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        where = {"dtype": dtype, "device": device}
        self.weight = _uniform(bound, out_features, in_features, **where)  # type: ignore[arg-type]
        self.bias = _uniform(bound, out_features, **where) if bias else None  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in_features) to (..., out_features)."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class Embedding(Module):
    """A row of `weight` for each number.

    Attributes:
        weight: (num_embeddings, embedding_dim); it may be replaced by GGML blocks.

    >>> Embedding(10, 4)(tensor([3, 7, 3])).shape
    (3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: DType | None = None,
        device: Where = None,
    ) -> None:
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        fill = randn if _state.draws else zeros
        self.weight = Parameter(fill(num_embeddings, embedding_dim, dtype=dtype, device=device))

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) to (..., embedding_dim)."""
        return F.embedding(ids, self.weight)

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        return f"{self.num_embeddings}, {self.embedding_dim}"


class LayerNorm(Module):
    """Layer normalisation over the last dimensions.

    Attributes:
        weight, bias: of shape normalized_shape; None without elementwise_affine or bias.

    >>> LayerNorm(2)(tensor([1.0, 3.0])).round(decimals=3)
    tensor([-1.,  1.], grad_fn=<div>)
    """

    def __init__(
        self,
        normalized_shape: int | Iterable[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DType | None = None,
        device: Where = None,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        like: Any = {"dtype": dtype, "device": device}
        shape = self.normalized_shape
        self.weight = Parameter(ones(shape, **like)) if elementwise_affine else None
        self.bias = Parameter(zeros(shape, **like)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        affine = self.weight is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}"


class RMSNorm(Module):
    """Root-mean-square normalisation over the last dimensions.

    Attributes:
        weight: of shape normalized_shape, or None without elementwise_affine.

    >>> RMSNorm(2)(tensor([3.0, 4.0]))
    tensor([0.8485, 1.1314], grad_fn=<rms_norm>)
    """

    def __init__(
        self,
        normalized_shape: int | Iterable[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DType | None = None,
        device: Where = None,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        affine = elementwise_affine
        full = ones(self.normalized_shape, dtype=dtype, device=device)
        self.weight = Parameter(full) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        affine = self.weight is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}"


def _shape(normalized_shape: int | Iterable[int]) -> tuple[int, ...]:
    if isinstance(normalized_shape, int):
        return (normalized_shape,)
    return tuple(normalized_shape)


class Dropout(Module):
    """While training, each element is 0 with probability p, else divided by 1 - p.

    >>> Dropout(0.5).eval()(tensor([1.0, 2.0]))
    tensor([1., 2.])
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        return f"p={self.p}"


class Identity(Module):
    """The input.

    >>> Identity()(tensor([1.0]))
    tensor([1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


class ReLU(Module):
    """max(x, 0).

    >>> ReLU()(tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return x.relu()


class SiLU(Module):
    """x * sigmoid(x).

    >>> SiLU()(tensor([-1.0, 1.0]))
    tensor([-0.2689,  0.7311])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return x.silu()


class GELU(Module):
    """x * Phi(x), or its approximation through "tanh".

    >>> GELU()(tensor([-1.0, 1.0]))
    tensor([-0.1587,  0.8413])
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self.approximate: Literal["none", "tanh"] = approximate

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return x.gelu(approximate=self.approximate)

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        return f"approximate={self.approximate!r}"


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    >>> Sigmoid()(tensor([0.0, 1.0]))
    tensor([0.5000, 0.7311])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return x.sigmoid()


class Tanh(Module):
    """Hyperbolic tangent.

    >>> Tanh()(tensor([0.0, 1.0]))
    tensor([0.0000, 0.7616])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return x.tanh()


class _Numbered(Module):
    """Modules under the names 0, 1, ..."""

    def __init__(self, modules: Iterable[Module]) -> None:
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns this one."""
        self._enter(str(len(self)), module)
        return self

    def _enter(self, name: str, module: object) -> None:
        if not isinstance(module, Module):
            problem = f"entry {name!r} is of type {type(module).__name__}, not a module"
            raise TypeError(message(type(self).__name__, problem))
        setattr(self, name, module)

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Any]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Any:
        found = list(self.children())[index]
        return type(self)._of(found) if isinstance(found, list) else found

    @classmethod
    def _of(cls, modules: list[Module]) -> Any:
        return cls(modules)


class Sequential(_Numbered):
    """Modules that are applied one after the other.

    Args:
        modules: one after the other, or a dict of them by the names that they are to have.

    >>> Sequential(Linear(3, 2), ReLU())(nt.zeros(5, 3)).shape
    (5, 2)
    """

    def __init__(self, *modules: Module | dict[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], dict):
            for name, module in modules[0].items():
                self._enter(name, module)
        else:
            super().__init__(modules)  # type: ignore[arg-type]

    def forward(self, x: Any) -> Any:
        """The last module of ... of the first of x."""
        for module in self:
            x = module(x)
        return x

    @classmethod
    def _of(cls, modules: list[Module]) -> Any:
        return cls(*modules)


class ModuleList(_Numbered):
    """A list of modules.

    >>> layers = ModuleList([ReLU(), Linear(2, 3)])
    >>> len(layers), [name for name, _ in layers.named_parameters()]
    (2, ['1.weight', '1.bias'])
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__(modules)
