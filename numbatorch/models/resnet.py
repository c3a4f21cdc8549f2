"""ResNet: stages of convolutions with shortcuts, with weights in Hugging Face's names.

Letters: B batch, C channels, H height, W width, N classes.
Source: https://arxiv.org/abs/1512.03385; the stride at the 3x3 convolution is that of version 1.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.images import ACTIVATIONS, ConvNorm, check_pixels
from numbatorch.models.checkpoint import check_stages, fill, shape_of, spelled
from numbatorch.models.config import Fields
from numbatorch.models.image_config import FIXED, HARMLESS, integers, labels_of
from numbatorch.models.registry import architecture
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor

# Parts of our names to those of files.
NAMES = {
    "stem.": "embedder.embedder.",
    "stages.": "encoder.stages.",
    ".conv.": ".convolution.",
    ".norm.": ".normalization.",
    "classifier.": "classifier.1.",
}
REDUCTION = 4  # channels of a bottleneck to those within it


@dataclass(frozen=True)
class ResNetConfig:
    """What a checkpoint says about its shape."""

    num_channels: int = 3  # of an image
    embedding_size: int = 64  # channels of the stem
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)  # channels of each stage
    depths: tuple[int, ...] = (3, 4, 6, 3)  # layers of each stage
    layer_type: str = "bottleneck"  # or "basic": 1x1, 3x3, 1x1 convolutions, or two of 3x3
    hidden_act: str = "relu"  # activation behind each sum
    downsample_in_first_stage: bool = False  # whether the first stage halves the image too
    downsample_in_bottleneck: bool = False  # whether the first 1x1 halves it, not the 3x3

    def __post_init__(self) -> None:
        if len(self.hidden_sizes) != len(self.depths):
            problem = f"{len(self.hidden_sizes)} hidden_sizes and {len(self.depths)} depths"
            raise FormatError(message("ResNet", problem))

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "ResNetConfig":
        """From a config.json.

        Raises:
            FormatError: a value is impossible, or stands for what is not here.
        """
        fields = Fields("ResNet", config)
        found = cls(
            num_channels=fields.integer("num_channels", 3),
            embedding_size=fields.integer("embedding_size", 64),
            hidden_sizes=integers(fields, "hidden_sizes", cls.hidden_sizes),
            depths=integers(fields, "depths", cls.depths),
            layer_type=fields.choice("layer_type", "bottleneck", ("bottleneck", "basic")),
            hidden_act=fields.choice("hidden_act", "relu", tuple(ACTIVATIONS)),
            downsample_in_first_stage=fields.flag("downsample_in_first_stage", False),
            downsample_in_bottleneck=fields.flag("downsample_in_bottleneck", False),
        )
        fields.refuse_unread(HARMLESS, FIXED)
        return found


class Layer(nn.Module):
    """activation(convolutions(x) + shortcut(x))."""

    def __init__(self, config: ResNetConfig, inputs: int, outputs: int, stride: int) -> None:
        self.activation = config.hidden_act
        self.shortcut = None
        if inputs != outputs or stride != 1:
            self.shortcut = ConvNorm(inputs, outputs, 1, stride)
        if config.layer_type == "basic":  # within it the activation is always relu
            self.layer = nn.ModuleList(
                [
                    ConvNorm(inputs, outputs, 3, stride, padding=1, activation="relu"),
                    ConvNorm(outputs, outputs, 3, padding=1),
                ]
            )
            return
        within = outputs // REDUCTION
        first, second = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
        self.layer = nn.ModuleList(
            [
                ConvNorm(inputs, within, 1, first, activation="relu"),
                ConvNorm(within, within, 3, second, padding=1, activation="relu"),
                ConvNorm(within, outputs, 1),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        out = x
        for part in self.layer:
            out = part(out)
        out = out + (x if self.shortcut is None else self.shortcut(x))
        return ACTIVATIONS[self.activation](out)


class Stage(nn.Module):
    """Layers of one width; the first changes it, and the size of the image."""

    def __init__(
        self, config: ResNetConfig, inputs: int, outputs: int, depth: int, stride: int
    ) -> None:
        rest = [Layer(config, outputs, outputs, 1) for _ in range(depth - 1)]
        self.layers = nn.ModuleList([Layer(config, inputs, outputs, stride), *rest])

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        for layer in self.layers:
            x = layer(x)
        return x


@architecture(task="image-feature-extraction", hf=("ResNetModel", "resnet"))
class ResNet(nn.Module):
    """An image to the features of its regions."""

    def __init__(self, config: ResNetConfig) -> None:
        self.config = config
        size = config.embedding_size
        act = config.hidden_act
        self.stem = ConvNorm(config.num_channels, size, 7, stride=2, padding=3, activation=act)
        widths = (size, *config.hidden_sizes)
        strides = (1 + config.downsample_in_first_stage, *[2] * (len(config.depths) - 1))
        self.stages = nn.ModuleList(
            [
                Stage(config, inputs, outputs, depth, stride)
                for inputs, outputs, depth, stride in zip(
                    widths[:-1], widths[1:], config.depths, strides, strict=True
                )
            ]
        )

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], weights: Checkpoint, device: Device) -> "ResNet":
        """From a config.json and safetensors."""
        found = ResNetConfig.from_hf(config)
        check_stages("ResNet", weights, "encoder.stages.", found.depths)
        model = cls(found)
        fill(model, weights, device, spelled(NAMES))
        return model.eval()

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.stem.conv.weight.device

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, channels, H, W) floats -> (B, C, H / 32, W / 32), with four stages.

        Raises:
            ShapeError, DTypeError: pixels of another shape, or no floats.
        """
        check_pixels("ResNet", pixels, self.config.num_channels)
        x: Tensor = self.stem(pixels.to(self.stem.conv.weight.dtype))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
        return x

    def pooled(self, pixels: Tensor) -> Tensor:
        """The mean over all regions: (B, C)."""
        regions: Tensor = self(pixels)
        return regions.mean((2, 3))


@architecture(task="image-classification", hf="ResNetForImageClassification")
class ResNetClassifier(nn.Module):
    """A linear layer over a ResNet's mean.

    Attributes:
        labels: names of the N classes.
    """

    def __init__(self, config: ResNetConfig, labels: tuple[str, ...]) -> None:
        self.config = config
        self.labels = labels
        self.resnet = ResNet(config)
        self.classifier = nn.Linear(config.hidden_sizes[-1], len(labels))

    @classmethod
    def from_hf(
        cls, config: Mapping[str, Any], weights: Checkpoint, device: Device
    ) -> "ResNetClassifier":
        """From a config.json and safetensors."""
        found = ResNetConfig.from_hf(config)
        check_stages("ResNet", weights, "resnet.encoder.stages.", found.depths)
        count = shape_of("ResNet", weights, "classifier.1.weight")[0]
        model = cls(found, labels_of("ResNet", config, count))
        fill(model, weights, device, spelled(NAMES))
        return model.eval()

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.resnet.device

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, N) of images (B, channels, H, W); raises as `ResNet`."""
        out: Tensor = self.classifier(self.resnet.pooled(pixels))
        return out
