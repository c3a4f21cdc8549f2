"""ConvNeXt: stages of wide depthwise convolutions, with weights in Hugging Face's names.

Letters: B batch, C channels, H height, W width, N classes.
Source: https://arxiv.org/abs/2201.03545
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.images import ACTIVATIONS, check_pixels
from numbatorch.models.checkpoint import check_stages, fill, shape_of, spelled
from numbatorch.models.config import Fields
from numbatorch.models.image_config import FIXED, HARMLESS, integers, labels_of, pair
from numbatorch.models.registry import architecture
from numbatorch.tensor import Tensor

# Parts of our names to those of files.
NAMES = {
    "stem.": "embeddings.patch_embeddings.",
    "stem_norm.": "embeddings.layernorm.",
    "stages.": "encoder.stages.",
    ".down_norm.": ".downsampling_layer.0.",
    ".down.": ".downsampling_layer.1.",
    ".depthwise.": ".dwconv.",
    ".norm.": ".layernorm.",
    ".widen.": ".pwconv1.",
    ".narrow.": ".pwconv2.",
    ".scale": ".layer_scale_parameter",
}
EPS = 1e-6  # added to the variances of all norms but the last
KERNEL = 7  # edge of the depthwise windows
WIDER = 4  # channels within a layer to those outside


@dataclass(frozen=True)
class ConvNextConfig:
    """What a checkpoint says about its shape."""

    num_channels: int = 3  # of an image
    patch_size: tuple[int, int] = (4, 4)  # height and width of the stem's patches
    hidden_sizes: tuple[int, ...] = (96, 192, 384, 768)  # channels of each stage
    depths: tuple[int, ...] = (3, 3, 9, 3)  # layers of each stage
    hidden_act: str = "gelu"  # activation within a layer
    layer_norm_eps: float = 1e-12  # added to the variance of the last norm
    scaled: bool = True  # whether what a layer adds has a factor for each channel

    def __post_init__(self) -> None:
        if len(self.hidden_sizes) != len(self.depths):
            problem = f"{len(self.hidden_sizes)} hidden_sizes and {len(self.depths)} depths"
            raise FormatError(message("ConvNext", problem))

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "ConvNextConfig":
        """From a config.json.

        Raises:
            FormatError: a value is impossible, or stands for what is not here.
        """
        fields = Fields("ConvNext", config)
        depths = integers(fields, "depths", cls.depths)
        fields.require("num_stages", len(depths), (len(depths),))
        start = fields.get("layer_scale_init_value", 1e-6)
        if not isinstance(start, int | float) or isinstance(start, bool):
            fields.fail(f"layer_scale_init_value is {start!r:.60}, not a number")
        found = cls(
            num_channels=fields.integer("num_channels", 3),
            patch_size=pair(fields, "patch_size", 4),
            hidden_sizes=integers(fields, "hidden_sizes", cls.hidden_sizes),
            depths=depths,
            hidden_act=fields.choice("hidden_act", "gelu", tuple(ACTIVATIONS)),
            layer_norm_eps=fields.number("layer_norm_eps", 1e-12),
            scaled=start > 0,
        )
        fields.refuse_unread([*HARMLESS, "image_size"], FIXED)  # any size is read
        return found


class Layer(nn.Module):
    """x + scale * narrow(activation(widen(norm(depthwise(x)))))."""

    def __init__(self, config: ConvNextConfig, size: int) -> None:
        self.activation = config.hidden_act
        self.depthwise = nn.Conv2d(size, size, KERNEL, padding=KERNEL // 2, groups=size)
        self.norm = nn.LayerNorm(size, eps=EPS)
        self.widen = nn.Linear(size, WIDER * size)
        self.narrow = nn.Linear(WIDER * size, size)
        self.scale = None
        if config.scaled:
            from numbatorch import ones  # the package's names are there once models are used

            self.scale = nn.Parameter(ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        last = self.norm(self.depthwise(x).permute(0, 2, 3, 1))  # (B, H, W, C)
        out: Tensor = self.narrow(ACTIVATIONS[self.activation](self.widen(last)))
        if self.scale is not None:
            out = out * self.scale
        return x + out.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Layers of one width; but for the first stage, behind what halves the image."""

    def __init__(
        self, config: ConvNextConfig, inputs: int, outputs: int, depth: int, first: bool
    ) -> None:
        self.down = self.down_norm = None
        if not first:
            self.down_norm = nn.LayerNorm(inputs, eps=EPS)
            self.down = nn.Conv2d(inputs, outputs, 2, stride=2)
        self.layers = nn.ModuleList([Layer(config, outputs) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / 2, W / 2), of the first stage H, W."""
        if self.down is not None and self.down_norm is not None:
            x = self.down(over_channels(self.down_norm, x))
        for layer in self.layers:
            x = layer(x)
        return x


def over_channels(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """A norm over the channels of (B, C, H, W)."""
    out: Tensor = norm(x.permute(0, 2, 3, 1))
    return out.permute(0, 3, 1, 2)


@architecture(task="image-feature-extraction", hf=("ConvNextModel", "convnext"))
class ConvNext(nn.Module):
    """An image to the features of its regions."""

    def __init__(self, config: ConvNextConfig) -> None:
        self.config = config
        sizes, patch = config.hidden_sizes, config.patch_size
        self.stem = nn.Conv2d(config.num_channels, sizes[0], patch, stride=patch)
        self.stem_norm = nn.LayerNorm(sizes[0], eps=EPS)
        self.stages = nn.ModuleList(
            [
                Stage(config, sizes[max(number - 1, 0)], sizes[number], depth, number == 0)
                for number, depth in enumerate(config.depths)
            ]
        )
        self.layernorm = nn.LayerNorm(sizes[-1], eps=config.layer_norm_eps)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], weights: Checkpoint, device: Device) -> "ConvNext":
        """From a config.json and safetensors."""
        found = ConvNextConfig.from_hf(config)
        check_stages("ConvNext", weights, "encoder.stages.", found.depths)
        model = cls(found)
        fill(model, weights, device, spelled(NAMES))
        return model.eval()

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.stem.weight.device

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, channels, H, W) floats -> (B, C, H / 32, W / 32), with four stages.

        Raises:
            ShapeError, DTypeError: pixels of another shape, or no floats.
        """
        check_pixels("ConvNext", pixels, self.config.num_channels)
        x = over_channels(self.stem_norm, self.stem(pixels.to(self.stem.weight.dtype)))
        for stage in self.stages:
            x = stage(x)
        return x

    def pooled(self, pixels: Tensor) -> Tensor:
        """The normalised mean over all regions: (B, C)."""
        regions: Tensor = self(pixels)
        out: Tensor = self.layernorm(regions.mean((2, 3)))
        return out


@architecture(task="image-classification", hf="ConvNextForImageClassification")
class ConvNextClassifier(nn.Module):
    """A linear layer over a ConvNext's mean.

    Attributes:
        labels: names of the N classes.
    """

    def __init__(self, config: ConvNextConfig, labels: tuple[str, ...]) -> None:
        self.config = config
        self.labels = labels
        self.convnext = ConvNext(config)
        self.classifier = nn.Linear(config.hidden_sizes[-1], len(labels))

    @classmethod
    def from_hf(
        cls, config: Mapping[str, Any], weights: Checkpoint, device: Device
    ) -> "ConvNextClassifier":
        """From a config.json and safetensors."""
        found = ConvNextConfig.from_hf(config)
        check_stages("ConvNext", weights, "convnext.encoder.stages.", found.depths)
        count = shape_of("ConvNext", weights, "classifier.weight")[0]
        model = cls(found, labels_of("ConvNext", config, count))
        fill(model, weights, device, spelled(NAMES))
        return model.eval()

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.convnext.device

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, N) of images (B, channels, H, W); raises as `ConvNext`."""
        out: Tensor = self.classifier(self.convnext.pooled(pixels))
        return out
