"""Layers that rearrange or resize: Flatten, Upsample, PixelShuffle, Fold and the like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from numbatorch.nn.applied import Applied
from numbatorch.nn.checks import require_tensors
from numbatorch.nn.module import Module
from numbatorch.tensor import Tensor

Sizes = int | Sequence[int]
Mode = Literal["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"]


class Flatten(Module):
    """The dimensions from start_dim to end_dim as one.

    >>> Flatten()(nt.zeros(5, 2, 3)).shape
    (5, 6)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """A view where it can be one."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The dimensions."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dimension as several, one of which may be -1.

    >>> Unflatten(1, (2, -1))(nt.zeros(5, 6)).shape
    (5, 2, 3)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        """A view where it can be one."""
        require_tensors("Unflatten", input=input)
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """The dimension, and its sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Fold(Applied, function="fold"):
    """Sums of windows (N, C k, L) into (N, C, *output_size).

    >>> Fold((2, 2), 1)(nt.ones(1, 1, 4)).shape
    (1, 1, 2, 2)
    """

    output_size: Sizes
    kernel_size: Sizes
    dilation: Sizes = 1
    padding: Sizes = 0
    stride: Sizes = 1


class Unfold(Applied, function="unfold"):
    """All windows of (N, C, H, W) as columns (N, C k, L).

    >>> Unfold(2)(nt.zeros(1, 1, 3, 3)).shape
    (1, 4, 4)
    """

    kernel_size: Sizes
    dilation: Sizes = 1
    padding: Sizes = 0
    stride: Sizes = 1


class Upsample(Applied, function="interpolate"):
    """Resized to a size or by a factor: see `interpolate`.

    >>> Upsample(scale_factor=2)(tensor([[[1.0, 2.0]]]))
    tensor([[[1., 1., 2., 2.]]])
    """

    size: Sizes | None = None
    scale_factor: float | Sequence[float] | None = None
    mode: Mode = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        factor = self.scale_factor
        if isinstance(factor, Sequence):
            self.scale_factor = tuple(float(x) for x in factor)
        elif factor is not None:
            self.scale_factor = float(factor)

    def extra_repr(self) -> str:
        """What it is resized to, and how."""
        if self.scale_factor is not None:
            return f"scale_factor={self.scale_factor!r}, mode={self.mode!r}"
        return f"size={self.size!r}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """The nearest element of (N, C, H, W).

    >>> UpsamplingNearest2d(scale_factor=2)(nt.ones(1, 1, 2, 2)).shape
    (1, 1, 4, 4)
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Bilinear interpolation of (N, C, H, W) with aligned corners.

    >>> UpsamplingBilinear2d(size=(1, 3))(tensor([[[[1.0, 2.0]]]])).flatten().tolist()
    [1.0, 1.5, 2.0]
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Applied, function="pixel_shuffle"):
    """(N, C r^2, H, W) to (N, C, H r, W r).

    >>> PixelShuffle(2)(nt.zeros(1, 4, 3, 3)).shape
    (1, 1, 6, 6)
    """

    upscale_factor: int


class PixelUnshuffle(Applied, function="pixel_unshuffle"):
    """(N, C, H r, W r) to (N, C r^2, H, W).

    >>> PixelUnshuffle(2)(nt.zeros(1, 1, 6, 6)).shape
    (1, 4, 3, 3)
    """

    downscale_factor: int


class ChannelShuffle(Applied, function="channel_shuffle"):
    """Channels of (N, C, ...) dealt out from groups in turn.

    >>> ChannelShuffle(2)(tensor([[[0.0], [1.0], [2.0], [3.0]]])).flatten().tolist()
    [0.0, 2.0, 1.0, 3.0]
    """

    groups: int


class LocalResponseNorm(Applied, function="local_response_norm"):
    """x / (k + alpha mean(x^2 over size channels around))^beta.

    >>> LocalResponseNorm(1, alpha=0.0)(nt.ones(1, 2, 1)).flatten().tolist()
    [1.0, 1.0]
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def extra_repr(self) -> str:
        """The channels, and the numbers of the formula."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """LocalResponseNorm under Torch7's name.

    >>> CrossMapLRN2d(1, alpha=0.0)(nt.ones(1, 2, 1, 1)).shape
    (1, 2, 1, 1)
    """

    k: float = 1


class CosineSimilarity(Applied, function="cosine_similarity"):
    """x1 . x2 / (|x1| |x2|) along a dimension.

    >>> CosineSimilarity(0)(tensor([1.0, 0.0]), tensor([3.0, 0.0])).item()
    1.0
    """

    dim: int = 1
    eps: float = 1e-8

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:  # type: ignore[override]
        """The dimension is gone."""
        return self._call(x1, x2)  # type: ignore[no-any-return]


class PairwiseDistance(Applied, function="pairwise_distance"):
    """The p-norm of x1 - x2 + eps along the last dimension.

    >>> PairwiseDistance(eps=0.0)(tensor([[3.0, 4.0]]), tensor([[0.0, 0.0]]))
    tensor([5.])
    """

    p: float = 2.0
    eps: float = 1e-6
    keepdim: bool = False

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:  # type: ignore[override]
        """The last dimension is gone, or 1 with keepdim."""
        return self._call(x1, x2)  # type: ignore[no-any-return]
