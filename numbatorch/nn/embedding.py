"""Embedding and EmbeddingBag: rows of a table by number."""

from __future__ import annotations

from typing import Any, Literal, Self

from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.nn.checks import require_sizes
from numbatorch.nn.initial import Placed, normal
from numbatorch.nn.module import Module, Parameter
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, no_grad
from numbatorch.tensor.creation import Where


class _Table(Module):
    """A table with a row for each number, one of which may be held at 0."""

    weight: Parameter

    def _make(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        weight: Tensor | None,
        device: Where,
        dtype: DType | None,
    ) -> None:
        sizes = {"num_embeddings": num_embeddings, "embedding_dim": embedding_dim}
        require_sizes(type(self).__name__, **sizes)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = self._row(padding_idx)
        if weight is None:
            self.weight = normal(num_embeddings, embedding_dim, dtype=dtype, device=device)
            self._clear_padding()
            return
        if weight.shape != (num_embeddings, embedding_dim):
            problem = f"the table is ({num_embeddings}, {embedding_dim})"
            given = f"given {describe(weight.node)}"
            raise ShapeError(message(type(self).__name__, problem, given))
        self.weight = Parameter(weight)

    def _clear_padding(self) -> None:
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0

    def reset_parameters(self) -> None:
        """Draw first values anew; the row of padding is 0."""
        like: Placed = {"dtype": self.weight.dtype, "device": self.weight.device}
        with no_grad():
            self.weight.copy_(normal(*self.weight.shape, **like))
        self._clear_padding()

    def _row(self, number: int | None) -> int | None:
        if number is None:
            return None
        count = self.num_embeddings
        if not -count <= number < count:
            problem = f"padding_idx {number} is no row of {count}"
            raise OutOfRange(message(type(self).__name__, problem))
        return number % count

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, **options: Any) -> Self:
        """A layer over a table (num_embeddings, embedding_dim), which freeze keeps as it is.

        >>> Embedding.from_pretrained(tensor([[1.0, 2.0]]))(tensor([0]))
        tensor([[1., 2.]])
        """
        if embeddings.ndim != 2:
            problem = "a table is (num_embeddings, embedding_dim)"
            given = f"given {describe(embeddings.node)}"
            raise ShapeError(message(f"{cls.__name__}.from_pretrained", problem, given))
        options["_weight"] = embeddings
        made = cls(*embeddings.shape, **options)
        made.weight.requires_grad_(not freeze)
        return made

    def extra_repr(self) -> str:
        """The sizes, and what differs from the defaults."""
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        defaults = {
            "padding_idx": None,
            "max_norm": None,
            "norm_type": 2.0,
            "scale_grad_by_freq": False,
            "sparse": False,
        }
        for name, default in defaults.items():
            value = getattr(self, name)
            if value != default:
                parts.append(f"{name}={value}")
        return ", ".join(parts)


class Embedding(_Table):
    """A row of `weight` for each number.

    Args:
        padding_idx: a row that starts at 0 and gets no gradient.
        max_norm: rows that are looked up are first scaled to this norm_type-norm at most.
        scale_grad_by_freq: divides a row's gradient by how often it was looked up.
        sparse: taken for PyTorch's sake; gradients are dense.

    Attributes:
        weight: (num_embeddings, embedding_dim); it may be replaced by GGML blocks.

    >>> Embedding(10, 4)(tensor([3, 7, 3])).shape
    (3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self._make(num_embeddings, embedding_dim, padding_idx, _weight, device, dtype)
        if _freeze:
            self.weight.requires_grad_(False)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse

    def forward(self, input: Tensor) -> Tensor:
        """(...) to (..., embedding_dim)."""
        return F.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )


class EmbeddingBag(_Table):
    """The mean, sum or maximum of the rows of each bag of numbers.

    Attributes:
        weight: (num_embeddings, embedding_dim).

    >>> EmbeddingBag(10, 4)(tensor([3, 7, 3]), tensor([0, 2])).shape
    (2, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: Literal["sum", "mean", "max"] = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self._make(num_embeddings, embedding_dim, padding_idx, _weight, device, dtype)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode: Literal["sum", "mean", "max"] = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """(B, N), or (N,) with the offsets of B bags, to (B, embedding_dim)."""
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    def extra_repr(self) -> str:
        """The sizes and the mode."""
        return f"{super().extra_repr()}, mode={self.mode!r}"
