"""Convolutions and their transposes over 1, 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.nn.checks import require_sizes
from numbatorch.nn.initial import bound_of, redraw, uniform
from numbatorch.nn.module import Module, Parameter
from numbatorch.ops.operands import describe
from numbatorch.shape import numel
from numbatorch.tensor import Tensor
from numbatorch.tensor.creation import Where

Sizes = int | Sequence[int]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class _Convolution(Module):
    """What a convolution and its transpose have in common.

    Attributes:
        weight: (out_channels, in_channels / groups, *kernel_size); of a transpose the first two
            change places: (in_channels, out_channels / groups, *kernel_size).
        bias: (out_channels,) or None.
    """

    dims: ClassVar[int]
    transposed: ClassVar[bool] = False
    function: ClassVar[str]  # of nn.functional
    bias: Parameter | None

    def _make(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        dilation: Sizes,
        groups: int,
        bias: bool,
        device: Where,
        dtype: DType | None,
    ) -> None:
        owner = type(self).__name__
        require_sizes(owner, in_channels=in_channels, out_channels=out_channels)
        require_sizes(owner, 1, groups=groups)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = self._sizes("kernel_size", kernel_size)
        self.stride = self._sizes("stride", stride)
        self.dilation = self._sizes("dilation", dilation)
        self.groups = groups
        self._check_channels()
        first, second = out_channels, in_channels
        if self.transposed:
            first, second = second, first
        shape = (first, second // groups, *self.kernel_size)
        bound = bound_of(numel(shape[1:]))
        self.weight = uniform(bound, *shape, dtype=dtype, device=device)
        given = uniform(bound, out_channels, dtype=dtype, device=device) if bias else None
        self.register_parameter("bias", given)

    def reset_parameters(self) -> None:
        """Draw first values anew."""
        for parameter in (self.weight, self.bias):
            redraw(parameter, bound_of(numel(self.weight.shape[1:])))

    def _sizes(self, name: str, given: Sizes) -> tuple[int, ...]:
        several = isinstance(given, Sequence) and not isinstance(given, str)
        sizes: tuple[int, ...] = tuple(given) if several else (given,)  # type: ignore[arg-type, assignment]
        for size in sizes:
            require_sizes(type(self).__name__, **{name: size})
        if len(sizes) == 1:
            sizes *= self.dims
        if len(sizes) != self.dims:
            problem = f"{name} {sizes} has {len(sizes)} numbers for {self.dims} dimensions"
            raise ValueError(message(type(self).__name__, problem))
        return sizes

    def _check_channels(self) -> None:
        operator, groups = type(self).__name__, self.groups
        for name in ("in_channels", "out_channels"):
            count = getattr(self, name)
            if count % groups:
                problem = f"{name} {count} is not divisible by groups {groups}"
                raise ValueError(message(operator, problem))

    def _call(self, input: Tensor, *options: Any) -> Tensor:
        convolve = getattr(F, self.function)
        return convolve(input, self.weight, self.bias, *options)  # type: ignore[no-any-return]

    def _shown(self, padding: Any, output_padding: Any = 0) -> str:
        ones = (1,) * self.dims
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        ]
        if padding not in (0, (0,) * self.dims):
            parts.append(f"padding={padding}")
        if self.dilation != ones:
            parts.append(f"dilation={self.dilation}")
        if output_padding not in (0, (0,) * self.dims):
            parts.append(f"output_padding={output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


class _Conv(_Convolution):
    """A convolution; padding is a number, one for each dimension, "same" or "valid"."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: str | Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self._make(
            in_channels, out_channels, kernel_size, stride, dilation, groups, bias, device, dtype
        )
        self.padding: str | tuple[int, ...]
        self.padding = padding if isinstance(padding, str) else self._sizes("padding", padding)
        self.padding_mode = padding_mode
        self._check_padding()

    def _check_padding(self) -> None:
        operator = type(self).__name__
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                problem = f'padding is a number, "same" or "valid", not {self.padding!r}'
                raise ValueError(message(operator, problem))
            if self.padding == "same" and any(stride != 1 for stride in self.stride):
                problem = f'padding="same" needs stride 1, which is {self.stride}'
                raise ValueError(message(operator, problem))
        if self.padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            modes = "zeros, reflect, replicate or circular"
            raise ValueError(message(operator, f"padding_mode {self.padding_mode!r} is no {modes}"))

    def _around(self) -> list[int]:
        """What is padded before and after each dimension, from the last one on, as `pad` asks."""
        if self.padding == "valid":
            return [0] * (2 * self.dims)
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            pairs = [(total // 2, total - total // 2) for total in totals]
        else:
            pairs = [(int(size), int(size)) for size in self.padding]
        return [size for pair in reversed(pairs) for size in pair]

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_channels, ...) or (in_channels, ...) to out_channels."""
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._around(), self.padding_mode), 0
        options = (self.stride, padding, self.dilation, self.groups)
        return self._call(input, *options)

    def extra_repr(self) -> str:
        """The sizes, and what differs from the defaults."""
        shown = self._shown(self.padding)
        if self.padding_mode != "zeros":
            shown += f", padding_mode={self.padding_mode}"
        return shown


class Conv1d(_Conv):
    """Cross-correlation of (N, C, L) or (C, L) with filters.

    >>> Conv1d(3, 5, 3, padding=1)(nt.zeros(2, 3, 8)).shape
    (2, 5, 8)
    """

    dims = 1
    function = "conv1d"


class Conv2d(_Conv):
    """Cross-correlation of (N, C, H, W) or (C, H, W) with filters.

    >>> Conv2d(3, 5, 3, stride=2)(nt.zeros(2, 3, 9, 9)).shape
    (2, 5, 4, 4)
    """

    dims = 2
    function = "conv2d"


class Conv3d(_Conv):
    """Cross-correlation of (N, C, D, H, W) or (C, D, H, W) with filters.

    >>> Conv3d(3, 5, 1)(nt.zeros(2, 3, 2, 4, 4)).shape
    (2, 5, 2, 4, 4)
    """

    dims = 3
    function = "conv3d"


class _ConvTranspose(_Convolution):
    """The gradient of a convolution with regard to its input, as a layer."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: Literal["zeros"] = "zeros",
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        if str(padding_mode) != "zeros":
            problem = f'padding_mode is "zeros" for a transpose, not {padding_mode!r}'
            raise ValueError(message(type(self).__name__, problem))
        self._make(
            in_channels, out_channels, kernel_size, stride, dilation, groups, bias, device, dtype
        )
        self.padding = self._sizes("padding", padding)
        self.output_padding = self._sizes("output_padding", output_padding)
        self.padding_mode = padding_mode

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """(N, in_channels, ...) or (in_channels, ...) to out_channels.

        Args:
            output_size: the size of the result in the last dimensions, where a stride leaves
                several possible.
        """
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        options = (self.stride, self.padding, extra, self.groups, self.dilation)
        return self._call(input, *options)

    def _extra(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output padding that gives a size."""
        wanted = tuple(output_size)[-self.dims :]
        if len(output_size) not in (self.dims, self.dims + 1, self.dims + 2):
            problem = f"output_size {tuple(output_size)} is not of {self.dims} dimensions"
            raise ValueError(message(type(self).__name__, problem))
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                input.shape[-self.dims :], self.stride, self.padding, self.dilation,
                self.kernel_size, strict=True,
            )
        ]  # fmt: skip
        most = [n + s - 1 for n, s in zip(least, self.stride, strict=True)]
        if not all(a <= n <= b for a, n, b in zip(least, wanted, most, strict=True)):
            problem = f"output_size {wanted} is not between {tuple(least)} and {tuple(most)}"
            raise ShapeError(message(type(self).__name__, problem, f"input {describe(input.node)}"))
        return tuple(n - a for n, a in zip(wanted, least, strict=True))

    def extra_repr(self) -> str:
        """The sizes, and what differs from the defaults."""
        return self._shown(self.padding, self.output_padding)


class ConvTranspose1d(_ConvTranspose):
    """The transpose of Conv1d.

    >>> ConvTranspose1d(3, 5, 2, stride=2)(nt.zeros(2, 3, 4)).shape
    (2, 5, 8)
    """

    dims = 1
    function = "conv_transpose1d"


class ConvTranspose2d(_ConvTranspose):
    """The transpose of Conv2d.

    >>> ConvTranspose2d(3, 5, 2, stride=2)(nt.zeros(2, 3, 4, 4)).shape
    (2, 5, 8, 8)
    """

    dims = 2
    function = "conv_transpose2d"


class ConvTranspose3d(_ConvTranspose):
    """The transpose of Conv3d.

    >>> ConvTranspose3d(3, 5, 2, stride=2)(nt.zeros(2, 3, 2, 2, 2)).shape
    (2, 5, 4, 4, 4)
    """

    dims = 3
    function = "conv_transpose3d"
