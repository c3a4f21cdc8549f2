"""Losses as layers. The formulas stand with the functions of the same names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from numbatorch.nn import functional as F
from numbatorch.nn.applied import Applied
from numbatorch.tensor import Tensor

Reduction = Literal["none", "mean", "sum"]


class _Loss(Applied):
    """A loss of an input and a target; given weights are buffers, as in PyTorch."""

    hidden = ("size_average", "reduce", "weight", "pos_weight", "distance_function")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """A number, or with reduction="none" one for each."""
        return self._call(input, target)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """The options that are set."""
        shown = (name for name in self.fields if name not in self.hidden)
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)


class _Averaged(_Loss):
    """A loss with PyTorch's older names of reductions."""

    size_average: bool | None = None
    reduce: bool | None = None
    reduction: Reduction = "mean"


class L1Loss(_Averaged, function="l1_loss"):
    """abs(input - target).

    >>> L1Loss()(tensor([1.0, 3.0]), tensor([0.0, 0.0])).item()
    2.0
    """


class MSELoss(_Averaged, function="mse_loss"):
    """(input - target)^2.

    >>> MSELoss()(tensor([1.0, 3.0]), tensor([0.0, 0.0])).item()
    5.0
    """


class SmoothL1Loss(_Averaged, function="smooth_l1_loss"):
    """Quadratic where abs(input - target) < beta, else linear.

    >>> SmoothL1Loss()(tensor([1.0, 3.0]), tensor([0.0, 0.0])).item()
    1.5
    """

    beta: float = 1.0


class HuberLoss(_Loss, function="huber_loss"):
    """SmoothL1Loss times delta: its slope is at most delta.

    >>> HuberLoss(delta=2.0)(tensor([1.0, 3.0]), tensor([0.0, 0.0])).item()
    2.25
    """

    reduction: Reduction = "mean"
    delta: float = 1.0


class CrossEntropyLoss(_Loss, function="cross_entropy", saved=("weight",)):
    """-log softmax(input) at the target's class, or over its probabilities.

    >>> CrossEntropyLoss()(nt.zeros(2, 4), tensor([0, 3]))
    tensor(1.3863)
    """

    weight: Tensor | None = None
    size_average: bool | None = None
    ignore_index: int = -100
    reduce: bool | None = None
    reduction: Reduction = "mean"
    label_smoothing: float = 0.0


class NLLLoss(_Loss, function="nll_loss", saved=("weight",)):
    """-input at the target's class; input are logarithms of probabilities.

    >>> NLLLoss()(tensor([[-1.0, -2.0]]), tensor([1])).item()
    2.0
    """

    weight: Tensor | None = None
    size_average: bool | None = None
    ignore_index: int = -100
    reduce: bool | None = None
    reduction: Reduction = "mean"


NLLLoss2d = NLLLoss


class PoissonNLLLoss(_Loss, function="poisson_nll_loss"):
    """exp(input) - target input, or input - target log(input + eps).

    >>> PoissonNLLLoss()(tensor([0.0]), tensor([2.0])).item()
    1.0
    """

    log_input: bool = True
    full: bool = False
    size_average: bool | None = None
    eps: float = 1e-8
    reduce: bool | None = None
    reduction: Reduction = "mean"


class GaussianNLLLoss(_Loss, function="gaussian_nll_loss"):
    """(log(max(var, eps)) + (input - target)^2 / max(var, eps)) / 2.

    >>> GaussianNLLLoss()(tensor([1.0]), tensor([3.0]), tensor([1.0])).item()
    2.0
    """

    full: bool = False
    eps: float = 1e-6
    reduction: Reduction = "mean"

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:  # type: ignore[override]
        """var is of input's shape, has one number for each row, or is one number."""
        return self._call(input, target, var)  # type: ignore[no-any-return]


class KLDivLoss(_Averaged, function="kl_div"):
    """target (log(target) - input), or with log_target exp(target) (target - input).

    >>> KLDivLoss(reduction="sum")(tensor([0.0]), tensor([1.0])).item()
    0.0
    """

    reduction: Literal["none", "mean", "sum", "batchmean"] = "mean"  # type: ignore[assignment]
    log_target: bool = False


class BCELoss(_Loss, function="binary_cross_entropy", saved=("weight",)):
    """-(target log(input) + (1 - target) log(1 - input)).

    >>> BCELoss()(tensor([0.5]), tensor([1.0]))
    tensor(0.6931)
    """

    weight: Tensor | None = None
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: Reduction = "mean"


class BCEWithLogitsLoss(
    _Loss, function="binary_cross_entropy_with_logits", saved=("weight", "pos_weight")
):
    """BCELoss of sigmoid(input), without its loss of digits.

    >>> BCEWithLogitsLoss()(tensor([0.0]), tensor([1.0]))
    tensor(0.6931)
    """

    weight: Tensor | None = None
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: Reduction = "mean"
    pos_weight: Tensor | None = None


class HingeEmbeddingLoss(_Loss, function="hinge_embedding_loss"):
    """input where target is 1, max(0, margin - input) where it is -1.

    >>> HingeEmbeddingLoss()(tensor([0.5, 0.5]), tensor([1.0, -1.0])).item()
    0.5
    """

    margin: float = 1.0
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: Reduction = "mean"


class SoftMarginLoss(_Averaged, function="soft_margin_loss"):
    """log(1 + exp(-target input)).

    >>> SoftMarginLoss()(tensor([0.0]), tensor([1.0]))
    tensor(0.6931)
    """


class MultiLabelMarginLoss(_Averaged, function="multilabel_margin_loss"):
    """Hinges between the classes that a target lists and all others.

    >>> MultiLabelMarginLoss()(tensor([1.0, 0.0]), tensor([0, -1])).item()
    0.0
    """


class MultiLabelSoftMarginLoss(_Loss, function="multilabel_soft_margin_loss", saved=("weight",)):
    """The mean over classes of BCEWithLogitsLoss.

    >>> MultiLabelSoftMarginLoss()(tensor([[0.0]]), tensor([[1.0]]))
    tensor(0.6931)
    """

    weight: Tensor | None = None
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: Reduction = "mean"


class MultiMarginLoss(_Loss, function="multi_margin_loss", saved=("weight",)):
    """The mean over classes of max(0, margin - input[target] + input)^p.

    >>> MultiMarginLoss()(tensor([[1.0, 0.5]]), tensor([0])).item()
    0.25
    """

    p: int = 1
    margin: float = 1.0
    weight: Tensor | None = None
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: Reduction = "mean"


class CosineEmbeddingLoss(_Loss, function="cosine_embedding_loss"):
    """1 - cos(x1, x2) where target is 1, max(0, cos(x1, x2) - margin) where it is -1.

    >>> CosineEmbeddingLoss()(nt.ones(1, 2), nt.ones(1, 2), tensor([-1.0])).round().item()
    1.0
    """

    margin: float = 0.0
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: Reduction = "mean"

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """A number, or with reduction="none" one for each pair."""
        return self._call(input1, input2, target)  # type: ignore[no-any-return]


class MarginRankingLoss(_Loss, function="margin_ranking_loss"):
    """max(0, -target (input1 - input2) + margin).

    >>> MarginRankingLoss()(tensor([1.0]), tensor([3.0]), tensor([1.0])).item()
    2.0
    """

    margin: float = 0.0
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: Reduction = "mean"

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """A number, or with reduction="none" one for each pair."""
        return self._call(input1, input2, target)  # type: ignore[no-any-return]


class TripletMarginLoss(_Loss, function="triplet_margin_loss"):
    """max(0, |anchor - positive| - |anchor - negative| + margin).

    >>> TripletMarginLoss()(nt.zeros(1, 2), nt.zeros(1, 2), nt.zeros(1, 2)).item()
    1.0
    """

    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    swap: bool = False
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: Reduction = "mean"

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:  # type: ignore[override]
        """A number, or with reduction="none" one for each triplet."""
        return self._call(anchor, positive, negative)  # type: ignore[no-any-return]


class TripletMarginWithDistanceLoss(
    _Loss, function="triplet_margin_with_distance_loss", kw_only=True
):
    """TripletMarginLoss with a distance of one's own.

    >>> loss = TripletMarginWithDistanceLoss(distance_function=lambda a, b: (a - b).abs().sum(-1))
    >>> loss(nt.zeros(1, 2), nt.ones(1, 2), nt.zeros(1, 2)).item()
    3.0
    """

    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None
    margin: float = 1.0
    swap: bool = False
    reduction: Reduction = "mean"

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:  # type: ignore[override]
        """A number, or with reduction="none" one for each triplet."""
        return self._call(anchor, positive, negative)  # type: ignore[no-any-return]


class CTCLoss(_Loss, function="ctc_loss"):
    """-log of the probability that a sequence spells its target: see `ctc_loss`.

    >>> CTCLoss()(nt.zeros(1, 1, 2), tensor([[1]]), [1], [1]).item()
    0.0
    """

    blank: int = 0
    reduction: Reduction = "mean"
    zero_infinity: bool = False

    def forward(  # type: ignore[override]
        self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        """log_probs is (T, N, C) or (T, C)."""
        return F.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            *(getattr(self, x) for x in self.fields),
        )
