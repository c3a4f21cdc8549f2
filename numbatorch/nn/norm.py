"""Normalisations: by batch, layer, group, image and root mean square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from numbatorch.dtype import DType, int64
from numbatorch.errors import ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.nn.checks import require_sizes, require_tensors
from numbatorch.nn.initial import Placed
from numbatorch.nn.module import Module, Parameter
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, no_grad, ones, tensor, zeros
from numbatorch.tensor.creation import Where

Shape = int | Sequence[int]


class _Affine(Module):
    """A normalisation with a weight of ones and a bias of zeros at first, either may be None."""

    weight: Parameter | None
    bias: Parameter | None

    def reset_parameters(self) -> None:
        """weight 1, bias 0."""
        with no_grad():
            for name, parameter in self.named_parameters(recurse=False):
                parameter.fill_(float(name == "weight"))


class LayerNorm(_Affine):
    """Layer normalisation over the last dimensions.

    Attributes:
        weight, bias: of shape normalized_shape; None without elementwise_affine or bias.

    >>> LayerNorm(2)(tensor([1.0, 3.0])).round(decimals=3)
    tensor([-1.,  1.], grad_fn=<div>)
    """

    def __init__(
        self,
        normalized_shape: Shape,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(type(self).__name__, normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        like: Placed = {"dtype": dtype, "device": device}
        _affine(self, self.normalized_shape, elementwise_affine, bias, like)

    def forward(self, input: Tensor) -> Tensor:
        """The shape stays."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The shape and the options."""
        affine = f"elementwise_affine={self.elementwise_affine}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}, bias={self.bias is not None}"


class RMSNorm(_Affine):
    """Root-mean-square normalisation over the last dimensions.

    Attributes:
        weight: of shape normalized_shape, or None without elementwise_affine.

    >>> RMSNorm(2)(tensor([3.0, 4.0]))
    tensor([0.8485, 1.1314], grad_fn=<rms_norm>)
    """

    def __init__(
        self,
        normalized_shape: Shape,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(type(self).__name__, normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        full = ones(self.normalized_shape, dtype=dtype, device=device)
        self.register_parameter("weight", Parameter(full) if elementwise_affine else None)

    def forward(self, input: Tensor) -> Tensor:
        """The shape stays."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The shape and the options."""
        affine = f"elementwise_affine={self.elementwise_affine}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class GroupNorm(_Affine):
    """Normalisation of each group of channels of each image.

    Attributes:
        weight, bias: (num_channels,); None without affine.

    >>> GroupNorm(2, 4)(nt.ones(1, 4, 3)).shape
    (1, 4, 3)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Where = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        require_sizes("GroupNorm", 1, num_groups=num_groups)
        require_sizes("GroupNorm", num_channels=num_channels)
        if num_channels % num_groups:
            problem = f"num_channels {num_channels} is not divisible by num_groups {num_groups}"
            raise ValueError(message("GroupNorm", problem))
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        _affine(self, (num_channels,), affine, bias, {"dtype": dtype, "device": device})

    def forward(self, input: Tensor) -> Tensor:
        """The shape stays."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The groups and the options."""
        options = f"eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"
        return f"{self.num_groups}, {self.num_channels}, {options}"


class _ByChannel(_Affine):
    """Normalisation by channel, with means and variances that are kept beside the batch's.

    Attributes:
        weight, bias: (num_features,); None without affine.
        running_mean, running_var, num_batches_tracked: buffers; None without
            track_running_stats. A state dict may lack the last, as old ones do.
    """

    optional_state: ClassVar = frozenset(("num_batches_tracked",))
    dims: ClassVar[tuple[int, ...]]  # that an input may have
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    unbatched: ClassVar[int] = 0  # dimensions of an input without a batch

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Where = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        require_sizes(type(self).__name__, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        like: Placed = {"dtype": dtype, "device": device}
        _affine(self, (num_features,), affine, bias, like)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **like) if tracked else None)
        self.register_buffer("running_var", ones(num_features, **like) if tracked else None)
        count = tensor(0, dtype=int64, device=device) if tracked else None
        self.register_buffer("num_batches_tracked", count)

    def reset_running_stats(self) -> None:
        """Forget the statistics."""
        with no_grad():
            if self.running_mean is not None and self.running_var is not None:
                self.running_mean.zero_()
                self.running_var.fill_(1)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """weight 1, bias 0, no statistics."""
        self.reset_running_stats()
        super().reset_parameters()

    def _channel(self, input: Tensor) -> int:
        """Which dimension of an input counts its channels."""
        require_tensors(type(self).__name__, input=input)
        if input.ndim not in self.dims:
            wanted = " or ".join(map(str, self.dims))
            problem = f"an input has {wanted} dimensions"
            raise ShapeError(message(type(self).__name__, problem, f"input {describe(input.node)}"))
        return 0 if input.ndim == self.unbatched else 1

    def _check(self, input: Tensor) -> None:
        channel = self._channel(input)
        if input.shape[channel] != self.num_features and (self.affine or self.track_running_stats):
            rows = (f"input {describe(input.node)}", f"num_features {self.num_features}")
            problem = f"input.shape[{channel}] is {input.shape[channel]}"
            raise ShapeError(message(type(self).__name__, problem, *rows))

    def extra_repr(self) -> str:
        """The channels and the options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ByChannel):
    def forward(self, input: Tensor) -> Tensor:
        """The shape stays; in training the running statistics move towards the batch's."""
        self._check(input)
        momentum: Any = 0.0 if self.momentum is None else self.momentum
        own = self.training or self.running_mean is None
        keeps = self.training and self.track_running_stats
        if keeps and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the mean over all batches
                momentum = self.num_batches_tracked.double().reciprocal()
        kept = keeps or not self.training
        return F.batch_norm(
            input,
            self.running_mean if kept else None,
            self.running_var if kept else None,
            self.weight,
            self.bias,
            own,
            momentum,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Normalisation by channel over (N, C) or (N, C, L); running statistics in evaluation.

    >>> BatchNorm1d(2, affine=False)(tensor([[1.0, 2.0], [3.0, 2.0]])).round(decimals=3)
    tensor([[-1.,  0.],
            [ 1.,  0.]])
    """

    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalisation by channel over (N, C, H, W); running statistics in evaluation.

    >>> BatchNorm2d(3).eval()(nt.zeros(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    dims = (4,)


class BatchNorm3d(_BatchNorm):
    """Normalisation by channel over (N, C, D, H, W); running statistics in evaluation.

    >>> BatchNorm3d(3).eval()(nt.zeros(2, 3, 2, 4, 4)).shape
    (2, 3, 2, 4, 4)
    """

    dims = (5,)


class SyncBatchNorm(_BatchNorm):
    """BatchNorm over the batch of this process; of any number of dimensions from 2 on.

    Where we differ from PyTorch: there are no process groups, so a batch is one process's.

    >>> SyncBatchNorm(3).eval()(nt.zeros(2, 3)).shape
    (2, 3)
    """

    dims = (2, 3, 4, 5)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: None = None,
        device: Where = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        if process_group is not None:
            raise TypeError(message("SyncBatchNorm", "there are no process groups"))
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )


class _InstanceNorm(_ByChannel):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Where = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        """The shape stays; an input may lack the batch's dimension."""
        self._check(input)
        alone = input.ndim == self.unbatched
        out = F.instance_norm(
            input.unsqueeze(0) if alone else input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return out.squeeze(0) if alone else out


class InstanceNorm1d(_InstanceNorm):
    """Normalisation of each channel of each row of (N, C, L) or (C, L).

    >>> InstanceNorm1d(1)(tensor([[[1.0, 3.0]]])).round(decimals=3)
    tensor([[[-1.,  1.]]])
    """

    dims = (2, 3)
    unbatched = 2


class InstanceNorm2d(_InstanceNorm):
    """Normalisation of each channel of each image of (N, C, H, W) or (C, H, W).

    >>> InstanceNorm2d(3)(nt.zeros(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    dims = (3, 4)
    unbatched = 3


class InstanceNorm3d(_InstanceNorm):
    """Normalisation of each channel of each volume of (N, C, D, H, W) or (C, D, H, W).

    >>> InstanceNorm3d(3)(nt.zeros(2, 3, 2, 4, 4)).shape
    (2, 3, 2, 4, 4)
    """

    dims = (4, 5)
    unbatched = 4


def _shape(owner: str, normalized_shape: Shape) -> tuple[int, ...]:
    several = isinstance(normalized_shape, Sequence) and not isinstance(normalized_shape, str)
    shape = tuple(normalized_shape) if several else (normalized_shape,)  # type: ignore[arg-type]
    for size in shape:
        require_sizes(owner, normalized_shape=size)
    return shape  # type: ignore[return-value]


def _affine(module: Module, shape: tuple[int, ...], affine: bool, bias: bool, like: Placed) -> None:
    """The weight 1 and the bias 0 of a normalisation, or None."""
    options: Any = like
    module.register_parameter("weight", Parameter(ones(shape, **options)) if affine else None)
    added = Parameter(zeros(shape, **options)) if affine and bias else None
    module.register_parameter("bias", added)
