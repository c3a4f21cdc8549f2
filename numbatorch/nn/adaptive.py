"""Losses with a linear layer of their own: the adaptive softmax, and cross entropy of logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.nn.containers import ModuleList, Sequential
from numbatorch.nn.linear import Linear
from numbatorch.nn.module import Module
from numbatorch.ops.linear_loss_options import LinearCrossEntropyOptions
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, from_numpy, zeros
from numbatorch.tensor.creation import Where
from numbatorch.tensor.mapping import values_are_known

_NAME = "AdaptiveLogSoftmaxWithLoss"


class ASMoutput(NamedTuple):
    """What AdaptiveLogSoftmaxWithLoss gives.

    Attributes:
        output: (N,), the logarithm of the probability of each target.
        loss: minus their mean.
    """

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Logarithms of probabilities of many classes, of which rare ones share a smaller layer.

    The head has a logit for each of the first classes, and one for each cluster of the others. The
    probability of a class in a cluster is that of the cluster times that within it.

    Only rows whose target lies in a cluster go through its layer, so targets are read. Within
    compiled and mapped functions all rows go through all layers, which gives the same.

    Args:
        in_features: I.
        cutoffs: the first class of each cluster, increasing.
        div_value: cluster i, counted from 1, has hidden size I // div_value^i.
        head_bias: whether the head has a bias.
    Attributes:
        head: the layer of the first classes and the clusters.
        tail: for each cluster two layers, to the hidden size and to its classes.
    Raises:
        ValueError: cutoffs are none or do not increase from 1 or more to n_classes - 1 at most.
    Source: https://arxiv.org/abs/1609.04309

    >>> loss = AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs=[5, 10])
    >>> x = nt.randn(3, 8)
    >>> loss(x, tensor([0, 7, 19])).output.shape, loss.log_prob(x).shape, loss.predict(x).shape
    ((3,), (3, 20), (3,))
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        whole = [int(cutoff) for cutoff in cutoffs]
        increasing = all(low < high for low, high in pairwise([0, *whole, n_classes]))
        if not whole or whole != list(cutoffs) or not increasing:
            problem = f"cutoffs are integers that increase from 1 to {n_classes - 1}"
            raise ValueError(message(_NAME, problem, f"cutoffs {list(cutoffs)}"))
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*whole, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = whole[0]
        self.n_clusters = len(whole)
        self.head_size = self.shortlist_size + self.n_clusters
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **place)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            hidden = int(in_features // div_value ** (i + 1))
            first = Linear(in_features, hidden, bias=False, **place)
            self.tail.append(Sequential(first, Linear(hidden, high - low, bias=False, **place)))

    def reset_parameters(self) -> None:
        """Draw all parameters anew, as the layers draw them first."""
        for layer in self.modules():
            if isinstance(layer, Linear):
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> ASMoutput:
        """The logarithm of the probability of each target, and minus their mean.

        Args:
            input_: (N, I), or (I,).
            target_: (N,) integers in [0, n_classes), or ().
        Raises:
            ShapeError: shapes are none of these.
            OutOfRange: a target is no class.
        """
        _check_target(input_, target_)
        batched = len(target_.shape) == 1
        x = input_ if batched else input_.unsqueeze(0)
        target = target_ if batched else target_.unsqueeze(0)
        inner, entry = (self._own_rows if values_are_known() else self._all_rows)(x, target)
        logs = F.log_softmax(self.head(x), 1)
        output = inner + logs.gather(1, entry.unsqueeze(1)).squeeze(1)
        loss = -output.mean()
        return ASMoutput(output if batched else output.squeeze(0), loss)

    def _own_rows(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms within clusters (N,), 0 without one, and entries of the head (N,)."""
        numbers = target.detach().numpy()
        outside = (numbers < 0) | (numbers >= self.n_classes)
        if outside.any():
            problem = f"targets are in [0, {self.n_classes}), and {numbers[outside][0]} is not"
            raise OutOfRange(message(_NAME, problem))
        cluster = np.searchsorted(np.array(self.cutoffs), numbers, side="right")
        found, rows = [], []
        for i in range(len(self.cutoffs)):
            own = np.flatnonzero(cluster == i)
            if not len(own):
                continue
            rows.append(own)
            if i == 0:
                found.append(zeros(len(own), dtype=x.dtype, device=x.device))
                continue
            some = x.index_select(0, from_numpy(own).to(x.device))
            within = from_numpy(numbers[own] - self.cutoffs[i - 1]).to(x.device)
            logs = F.log_softmax(self.tail[i - 1](some), 1)
            found.append(logs.gather(1, within.unsqueeze(1)).squeeze(1))
        entry = np.where(cluster == 0, numbers, self.shortlist_size + cluster - 1)
        entries = from_numpy(entry.astype(np.int64)).to(x.device)
        if len(found) < 2:
            inner = found[0] if found else zeros(0, dtype=x.dtype, device=x.device)
            return inner, entries
        order = from_numpy(np.argsort(np.concatenate(rows))).to(x.device)
        return _joined(found, 0).index_select(0, order), entries

    def _all_rows(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """As `_own_rows`, without reading a target."""
        inner: Tensor = zeros(len(target), dtype=x.dtype, device=x.device)
        entry = target
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            own = (target >= low) & (target < high)
            entry = entry.masked_fill(own, self.shortlist_size + i)
            within = (target - low).masked_fill(~own, 0)
            logs = F.log_softmax(self.tail[i](x), 1).gather(1, within.unsqueeze(1)).squeeze(1)
            inner = inner + logs.masked_fill(~own, 0.0)
        return inner, entry.masked_fill(target >= self.n_classes, self.head_size)

    def log_prob(self, input: Tensor) -> Tensor:
        """(N, I) to the logarithms of the probabilities of all classes (N, n_classes)."""
        self._check_input(input)
        return self._whole(input, self.head(input))

    def _whole(self, input: Tensor, head: Tensor) -> Tensor:
        logs = F.log_softmax(head, 1)
        parts = [logs[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            place = self.shortlist_size + i
            parts.append(F.log_softmax(cluster(input), 1) + logs[:, place : place + 1])
        return _joined(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """(N, I) to the most probable class of each row (N,).

        Rows whose largest logit is that of one of the first classes go through the head alone.
        """
        self._check_input(input)
        head = self.head(input)
        if not values_are_known():
            found: Tensor = self._whole(input, head).argmax(1)
            return found
        best: Tensor = head.argmax(1)
        rows = np.flatnonzero(best.detach().numpy() >= self.shortlist_size)
        if not len(rows):
            return best
        index = from_numpy(rows).to(input.device)
        some = self._whole(input.index_select(0, index), head.index_select(0, index))
        return best.index_copy(0, index, some.argmax(1))

    def _check_input(self, input: Tensor) -> None:
        if len(input.shape) != 2:
            problem = f"input must be (N, {self.in_features})"
            raise ShapeError(message(_NAME, problem, f"input {describe(input.node)}"))


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    from numbatorch import cat

    found: Tensor = cat(parts, dim)
    return found


def _check_target(input: Tensor, target: Tensor) -> None:
    rows = f"input {describe(input.node)}", f"target {describe(target.node)}"
    fits = len(target.shape) < 2 and len(input.shape) == len(target.shape) + 1
    if not fits or input.shape[:-1] != target.shape:
        raise ShapeError(
            message(_NAME, "input and target are (N, I) and (N,), or (I,) and ()", *rows)
        )
    if target.dtype.kind not in "iu":
        raise DTypeError(message(_NAME, "targets are integers", *rows))


class LinearCrossEntropyLoss(Module):
    """`F.linear_cross_entropy` with a linear layer that is learned.

    Args:
        in_features: I.
        num_classes: C.
        out_features: (d1, ...), for a loss at each of these places.
        bias: whether the layer has a bias.
        weight: (C,), factor on each class.
        reduction, ignore_index, label_smoothing, options: as of `F.linear_cross_entropy`.
    Attributes:
        linear: the layer, I to C * d1 * ...
    Raises:
        ShapeError: weight is not (C,).
        OutOfRange: label_smoothing is not in [0, 1].

    >>> loss = LinearCrossEntropyLoss(8, 20)
    >>> loss(nt.randn(3, 8), tensor([0, 7, 19])).shape
    ()
    """

    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Where = None,
        dtype: DType | None = None,
        reduction: Literal["none", "mean", "sum"] = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ) -> None:
        super().__init__()
        name = "LinearCrossEntropyLoss"
        if weight is not None and weight.shape != (num_classes,):
            row = f"weight {describe(weight.node)}"
            raise ShapeError(message(name, f"weight must be ({num_classes},)", row))
        if not 0 <= label_smoothing <= 1:
            problem = f"label_smoothing is {label_smoothing}, not in [0, 1]"
            raise OutOfRange(message(name, problem))
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(message(name, f"there is no reduction {reduction!r}"))
        self.register_buffer("weight", weight)
        self.reduction: Literal["none", "mean", "sum"] = reduction
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        total = math.prod(out_features, start=num_classes)
        self.linear = Linear(in_features, total, bias=bias, device=device, dtype=dtype)
        self.options = options

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """A number, or with reduction="none" one for each target.

        Args:
            input: (N, I) or (I,).
            target: classes (N, d1, ...) or (), or probabilities (N, C, d1, ...) or (C,).
        """
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, self.linear.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, "
            f"reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )
