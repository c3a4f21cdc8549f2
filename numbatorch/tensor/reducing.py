"""Methods of Tensor that reduce dimensions, and matrix products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from numbatorch import dtype as dt
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import reduce
from numbatorch.ops.matmul import matmul
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.softmax import log_softmax, softmax
from numbatorch.ops.sort import topk
from numbatorch.shape import normalize_dim
from numbatorch.tensor.base import Handle, unwrap

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor

Dims = int | Sequence[int] | None


class ValuesAndIndices(NamedTuple):
    """Elements that were chosen along a dimension, and where they stood."""

    values: Tensor
    indices: Tensor


class ReductionMethods(Handle):
    """`dim` is one dimension, several, or None for all; `keepdim` keeps them with size 1."""

    __slots__ = ()

    def _reduced(self, op: Reduction, dim: Dims, keepdim: bool) -> Tensor:
        return self._of(reduce.reduced(op, self.node, dim, keepdim))

    def sum(self, dim: Dims = None, keepdim: bool = False, dtype: dt.Like | None = None) -> Tensor:
        """Sum; integers and bool are summed in int64."""
        return self._cast(dtype)._reduced(reduce.sum_, dim, keepdim)

    def prod(self, dim: Dims = None, keepdim: bool = False, dtype: dt.Like | None = None) -> Tensor:
        """Product; integers and bool are multiplied in int64."""
        return self._cast(dtype, "prod")._reduced(reduce.prod, dim, keepdim)

    def mean(self, dim: Dims = None, keepdim: bool = False, dtype: dt.Like | None = None) -> Tensor:
        """Arithmetic mean of floats; other elements need a `dtype` to be converted to first."""
        return self._of(reduce.mean(self._cast(dtype, "mean").node, dim, keepdim))

    def _cast(self, dtype: dt.Like | None, operator: str = "sum") -> Tensor:
        target = self.node.dtype if dtype is None else dt.named(operator, dtype)
        return self._of(as_node(self.node, target, self.node.device))

    def var(
        self,
        dim: Dims = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> Tensor:
        """Mean of the squared differences to the mean, over count - correction.

        The correction is 1, or 0 if `unbiased` is False, unless it is given.
        """
        if isinstance(dim, bool):
            unbiased, dim = dim, None
        less = float(unbiased) if correction is None else correction
        return self._of(reduce.var(self.node, dim, keepdim, less))

    def std(
        self,
        dim: Dims = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> Tensor:
        """Square root of `var`, taken in float32 at least."""
        wide = self._cast(self.node.dtype.compute)
        root = wide.var(dim, unbiased, keepdim, correction=correction)._apply(find("sqrt"))
        return root if self.node.dtype.kind != "f" else root._cast(self.node.dtype)

    def logsumexp(self, dim: Dims, keepdim: bool = False) -> Tensor:
        """log(sum(exp(x))) over `dim`, without overflow; narrow floats are summed in float32."""
        return self._of(reduce.logsumexp(self.node, dim, keepdim))

    def amax(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Largest element; NaN wins; ties share the gradient equally."""
        return self._reduced(reduce.max_, dim, keepdim)

    def amin(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Smallest element; NaN wins; ties share the gradient equally."""
        return self._reduced(reduce.min_, dim, keepdim)

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """Largest element; with `dim` (values, indices) along it; with a tensor `maximum`."""
        return self._extreme(reduce.max_, reduce.argmax, "maximum", dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """Smallest element; with `dim` (values, indices) along it; with a tensor `minimum`."""
        return self._extreme(reduce.min_, reduce.argmin, "minimum", dim, keepdim)

    def _extreme(
        self, op: Reduction, arg: Reduction, pairwise: str, dim: Any, keepdim: bool
    ) -> Any:
        if isinstance(dim, Handle):
            return self._apply(find(pairwise), dim)
        if dim is None:
            return self._reduced(op, None, keepdim)
        if not isinstance(dim, int):
            raise TypeError(message(op.name, f"dim is {dim!r}, not one integer"))
        indices = self._reduced(arg, dim, True)
        values = self._of(self.node)
        if self.node.shape:
            values = values.gather(dim, indices)
        if not keepdim:
            values, indices = values.squeeze(dim), indices.squeeze(dim)
        return ValuesAndIndices(values, indices)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Position of the first largest element, in row-major order where `dim` is None."""
        return self._reduced(reduce.argmax, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Position of the first smallest element, in row-major order where `dim` is None."""
        return self._reduced(reduce.argmin, dim, keepdim)

    def any(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Whether an element is not zero."""
        return self._of(reduce.any_(self.node, dim, keepdim))

    def all(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Whether no element is zero."""
        return self._of(reduce.all_(self.node, dim, keepdim))

    def norm(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Square root of the sum of squares, taken in float32 at least; its gradient at 0 is 0."""
        wide = self._cast(self.node.dtype.compute)
        total = wide._apply(find("square")).sum(dim, keepdim)
        if total.node.requires_grad:  # the slope of sqrt at 0 is infinite
            zero = total.eq(0)
            root = total.masked_fill(zero, 1.0)._apply(find("sqrt")).masked_fill(zero, 0.0)
        else:
            root = total._apply(find("sqrt"))
        return root if self.node.dtype.kind != "f" else root._cast(self.node.dtype)

    def topk(self, k: int, dim: int = -1, largest: bool = True) -> ValuesAndIndices:
        """The k largest (or smallest) elements along `dim`, in order; ties in order of position.

        NaN counts as the largest.
        """
        whole = self._of(self.node) if self.node.shape else self._of(self.node).reshape(1)
        values, indices = map(self._of, topk(whole.node, k, dim, largest))
        if not self.node.shape and k:
            return ValuesAndIndices(values.reshape(()), indices.reshape(()))
        return ValuesAndIndices(values, indices)

    def softmax(self, dim: int = -1) -> Tensor:
        """exp(x - max) / sum(exp(x - max)) along `dim`."""
        return self._normalized(softmax, dim)

    def log_softmax(self, dim: int = -1) -> Tensor:
        """log(softmax(x)) along `dim`."""
        return self._normalized(log_softmax, dim)

    def _normalized(self, function: Callable[[Node, int], Node], dim: int) -> Tensor:
        if self.node.shape:
            return self._of(function(self.node, dim))
        normalize_dim(function.__name__, dim, 0)
        return self._of(function(self._of(self.node).reshape(1).node, 0)).reshape(())

    def matmul(self, other: Tensor) -> Tensor:
        """Matrix product over the last two dimensions; 1-d operands are vectors."""
        return self._of(matmul(self.node, unwrap(other)))

    def outer(self, vec2: Tensor) -> Tensor:
        """self[i] * vec2[j] of two vectors."""
        if len(self.node.shape) != 1 or len(vec2.node.shape) != 1:
            sides = describe(self.node), describe(vec2.node)
            raise ShapeError(message("outer", "needs two vectors", *sides))
        return self._of(self.node).unsqueeze(1) * vec2

    mm = matmul
    bmm = matmul
    dot = matmul
