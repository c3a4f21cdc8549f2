"""What models of images share: checks of pixels, patches, convolutions with norms, activations.

Letters: B batch, C channels, H height, W width, P patches.
"""

from collections.abc import Callable

from numbatorch import nn
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor

Activation = Callable[[Tensor], Tensor]

# By the names that checkpoints have for them.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "swish": F.silu,
}


def check_pixels(
    operator: str, pixels: Tensor, channels: int, size: tuple[int, int] | None = None
) -> None:
    """Fail unless pixels are (B, channels, H, W) floats, of H and W where a size is given.

    Raises:
        TypeError: no tensor.
        ShapeError, DTypeError: another shape, or no floats.
    """
    given: object = pixels
    if not isinstance(given, Tensor):
        problem = f"pixels are {type(given).__name__}, not a tensor"
        raise TypeError(message(operator, problem, hint="ImageProcessor makes them of pictures"))
    row = f"pixels {pixels.shape} {pixels.dtype.name}"
    if pixels.ndim != 4 or pixels.shape[1] != channels or 0 in pixels.shape:
        hint = "pixels.unsqueeze(0) is a batch of one image" if pixels.ndim == 3 else None
        problem = f"pixels are not (batch, {channels}, height, width)"
        raise ShapeError(message(operator, problem, row, hint=hint))
    if not pixels.is_floating_point():
        raise DTypeError(message(operator, "pixels are not floats", row))
    if size is not None and pixels.shape[2:] != size:
        rule = f"the model reads {size[0]} x {size[1]}"
        raise ShapeError(message(operator, "images of another size", row, rule))


class Patches(nn.Module):
    """Each patch of an image as a vector: a convolution whose windows do not overlap."""

    def __init__(self, channels: int, hidden: int, patch: tuple[int, int]) -> None:
        self.projection = nn.Conv2d(channels, hidden, patch, stride=patch)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, P, hidden), the patches row by row; in the dtype of the weights."""
        x: Tensor = self.projection(pixels.to(self.projection.weight.dtype))
        return x.flatten(2).transpose(1, 2)


class ConvNorm(nn.Module):
    """Convolution without bias, normalisation by batch, and an activation where one is given."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        activation: str | None = None,
        eps: float = 1e-5,
    ) -> None:
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels, eps=eps)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, ...)."""
        out: Tensor = self.norm(self.conv(x))
        return out if self.activation is None else ACTIVATIONS[self.activation](out)
