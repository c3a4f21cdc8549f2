"""Pooling layers over 1, 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numbatorch.errors import message
from numbatorch.nn import functional
from numbatorch.nn.applied import Applied
from numbatorch.tensor import Tensor

Sizes = int | Sequence[int]


class _Windowed(Applied):
    """Pooling over windows whose stride is their size unless it is given."""

    kernel_size: Sizes
    stride: Sizes | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride is None:
            self.stride = self.kernel_size


class _MaxPool(_Windowed):
    padding: Sizes = 0
    dilation: Sizes = 1
    return_indices: bool = False
    ceil_mode: bool = False

    hidden = ("return_indices",)


class MaxPool1d(_MaxPool, function="max_pool1d"):
    """The largest element of each window of (N, C, L) or (C, L).

    >>> MaxPool1d(2)(tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[3., 2.]])
    """


class MaxPool2d(_MaxPool, function="max_pool2d"):
    """The largest element of each window of (N, C, H, W) or (C, H, W).

    >>> MaxPool2d(2)(nt.arange(4.0).reshape(1, 2, 2))
    tensor([[[3.]]])
    """


class MaxPool3d(_MaxPool, function="max_pool3d"):
    """The largest element of each window of (N, C, D, H, W) or (C, D, H, W).

    >>> MaxPool3d(2)(nt.arange(8.0).reshape(1, 2, 2, 2)).item()
    7.0
    """


class _MaxUnpool(_Windowed):
    padding: Sizes = 0

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:  # type: ignore[override]
        """The elements at their places in the windows, zeros elsewhere."""
        if output_size is None:
            return self._call(input, indices)
        options = {name: getattr(self, name) for name in self.fields}
        function = getattr(functional, self.function)
        return function(input, indices, output_size=tuple(output_size), **options)


class MaxUnpool1d(_MaxUnpool, function="max_unpool1d"):
    """What MaxPool1d with indices has taken, back at its places.

    >>> MaxUnpool1d(2)(tensor([[3.0]]), tensor([[1]]))
    tensor([[0., 3.]])
    """


class MaxUnpool2d(_MaxUnpool, function="max_unpool2d"):
    """What MaxPool2d with indices has taken, back at its places.

    >>> MaxUnpool2d(2)(tensor([[[3.0]]]), tensor([[[3]]]))
    tensor([[[0., 0.],
             [0., 3.]]])
    """


class MaxUnpool3d(_MaxUnpool, function="max_unpool3d"):
    """What MaxPool3d with indices has taken, back at its places.

    >>> MaxUnpool3d(1)(nt.ones(1, 1, 1, 1), nt.zeros(1, 1, 1, 1, dtype=nt.int64)).item()
    1.0
    """


class AvgPool1d(_Windowed, function="avg_pool1d"):
    """The mean of each window of (N, C, L) or (C, L).

    >>> AvgPool1d(2)(tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[2., 1.]])
    """

    padding: Sizes = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def extra_repr(self) -> str:
        """The windows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(AvgPool1d, function="avg_pool2d"):
    """The mean of each window of (N, C, H, W) or (C, H, W).

    >>> AvgPool2d(2)(nt.arange(4.0).reshape(1, 2, 2))
    tensor([[[1.5000]]])
    """

    divisor_override: int | None = None


class AvgPool3d(AvgPool2d, function="avg_pool3d"):
    """The mean of each window of (N, C, D, H, W) or (C, D, H, W).

    >>> AvgPool3d(2)(nt.arange(8.0).reshape(1, 2, 2, 2)).item()
    3.5
    """


class _LPPool(Applied):
    norm_type: float
    kernel_size: Sizes
    stride: Sizes | None = None
    ceil_mode: bool = False


class LPPool1d(_LPPool, function="lp_pool1d"):
    """The p-norm of each window of (N, C, L) or (C, L).

    >>> LPPool1d(2, 2)(tensor([[[3.0, 4.0]]]))
    tensor([[[5.]]])
    """


class LPPool2d(_LPPool, function="lp_pool2d"):
    """The p-norm of each window of (N, C, H, W) or (C, H, W).

    >>> LPPool2d(2, (1, 2))(tensor([[[[3.0, 4.0]]]])).item()
    5.0
    """


class LPPool3d(_LPPool, function="lp_pool3d"):
    """The p-norm of each window of (N, C, D, H, W) or (C, D, H, W).

    >>> LPPool3d(2, (1, 1, 2))(tensor([[[[[3.0, 4.0]]]]])).item()
    5.0
    """


class _Fractional(Applied, saved=("_random_samples",)):
    kernel_size: Sizes
    output_size: Sizes | None = None
    output_ratio: float | Sequence[float] | None = None
    return_indices: bool = False
    _random_samples: Tensor | None = None

    hidden = ("_random_samples",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.output_size is None) is (self.output_ratio is None):
            problem = "one of output_size and output_ratio has to be given"
            raise ValueError(message(type(self).__name__, problem))


class FractionalMaxPool2d(_Fractional, function="fractional_max_pool2d"):
    """The largest element of windows at random places of (N, C, H, W) or (C, H, W).

    Source: https://arxiv.org/abs/1412.6071

    >>> FractionalMaxPool2d(2, output_size=(1, 1))(nt.arange(4.0).reshape(1, 2, 2)).item()
    3.0
    """


class FractionalMaxPool3d(_Fractional, function="fractional_max_pool3d"):
    """The largest element of windows at random places of (N, C, D, H, W) or (C, D, H, W).

    >>> FractionalMaxPool3d(2, output_size=1)(nt.arange(8.0).reshape(1, 2, 2, 2)).item()
    7.0
    """


class _AdaptiveAvg(Applied):
    output_size: Any


class _AdaptiveMax(Applied):
    output_size: Any
    return_indices: bool = False

    hidden = ("return_indices",)


class AdaptiveAvgPool1d(_AdaptiveAvg, function="adaptive_avg_pool1d"):
    """Means of (N, C, L) or (C, L) over windows that give output_size of them.

    >>> AdaptiveAvgPool1d(2)(tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[2., 1.]])
    """


class AdaptiveAvgPool2d(_AdaptiveAvg, function="adaptive_avg_pool2d"):
    """Means of (N, C, H, W) or (C, H, W) over windows that give output_size of them.

    >>> AdaptiveAvgPool2d(1)(nt.arange(4.0).reshape(1, 2, 2))
    tensor([[[1.5000]]])
    """


class AdaptiveAvgPool3d(_AdaptiveAvg, function="adaptive_avg_pool3d"):
    """Means of (N, C, D, H, W) or (C, D, H, W) over windows that give output_size of them.

    >>> AdaptiveAvgPool3d(1)(nt.arange(8.0).reshape(1, 2, 2, 2)).item()
    3.5
    """


class AdaptiveMaxPool1d(_AdaptiveMax, function="adaptive_max_pool1d"):
    """Largest elements of (N, C, L) or (C, L) over windows that give output_size of them.

    >>> AdaptiveMaxPool1d(2)(tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[3., 2.]])
    """


class AdaptiveMaxPool2d(_AdaptiveMax, function="adaptive_max_pool2d"):
    """Largest elements of (N, C, H, W) or (C, H, W) over windows that give output_size of them.

    >>> AdaptiveMaxPool2d(1)(nt.arange(4.0).reshape(1, 2, 2))
    tensor([[[3.]]])
    """


class AdaptiveMaxPool3d(_AdaptiveMax, function="adaptive_max_pool3d"):
    """Largest elements of (N, C, D, H, W) or (C, D, H, W) over windows.

    >>> AdaptiveMaxPool3d(1)(nt.arange(8.0).reshape(1, 2, 2, 2)).item()
    7.0
    """
