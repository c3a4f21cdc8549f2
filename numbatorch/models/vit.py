"""ViT: a transformer over patches of an image, with weights in Hugging Face's names.

Letters: B batch, P patches, T tokens (1 + P), C hidden size, N classes.
Source: https://arxiv.org/abs/2010.11929
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.encoder import Dense
from numbatorch.models.blocks.image_encoder import Layer
from numbatorch.models.blocks.images import ACTIVATIONS, Patches, check_pixels
from numbatorch.models.checkpoint import check_layers, fill, shape_of, spelled
from numbatorch.models.config import Fields
from numbatorch.models.image_config import FIXED, HARMLESS, labels_of, pair
from numbatorch.models.registry import architecture
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor

# Parts of our names to those of files.
NAMES = {
    "layers.": "encoder.layer.",
    ".attention.query.": ".attention.attention.query.",
    ".attention.key.": ".attention.attention.key.",
    ".attention.value.": ".attention.attention.value.",
    ".attention.out.": ".attention.output.dense.",
    ".norm1.": ".layernorm_before.",
    ".norm2.": ".layernorm_after.",
    ".up.": ".intermediate.dense.",
    ".down.": ".output.dense.",
}


@dataclass(frozen=True)
class ViTConfig:
    """What a checkpoint says about its shape."""

    hidden_size: int = 768  # C
    num_hidden_layers: int = 12
    num_attention_heads: int = 12  # a divisor of C
    intermediate_size: int = 3072  # width of the feed-forward part
    hidden_act: str = "gelu"  # activation of the feed-forward part
    layer_norm_eps: float = 1e-12  # added to variances
    image_size: tuple[int, int] = (224, 224)  # height and width of what is read
    patch_size: tuple[int, int] = (16, 16)  # height and width of a patch
    num_channels: int = 3  # of an image
    qkv_bias: bool = True  # whether queries, keys and values have a bias
    pooler_size: int | None = None  # numbers of the pooled vector; None: there is no pooler

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            problem = f"{self.num_attention_heads} heads do not divide {self.hidden_size}"
            raise FormatError(message("ViT", problem))
        if any(size < patch for size, patch in zip(self.image_size, self.patch_size, strict=True)):
            problem = f"images {self.image_size} are smaller than a patch {self.patch_size}"
            raise FormatError(message("ViT", problem))

    @property
    def patches(self) -> int:
        """P."""
        (height, width), (rows, columns) = self.image_size, self.patch_size
        return (height // rows) * (width // columns)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], has_pooler: bool = False) -> "ViTConfig":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("ViT", config)
        hidden = fields.integer("hidden_size", 768)
        fields.require("pooler_act", "tanh", ("tanh",))
        pooler = fields.integer("pooler_output_size", hidden)
        found = cls(
            hidden_size=hidden,
            num_hidden_layers=fields.integer("num_hidden_layers", 12),
            num_attention_heads=fields.integer("num_attention_heads", 12),
            intermediate_size=fields.integer("intermediate_size", 3072),
            hidden_act=fields.choice("hidden_act", "gelu", tuple(ACTIVATIONS)),
            layer_norm_eps=fields.number("layer_norm_eps", 1e-12),
            image_size=pair(fields, "image_size", 224),
            patch_size=pair(fields, "patch_size", 16),
            num_channels=fields.integer("num_channels", 3),
            qkv_bias=fields.flag("qkv_bias", True),
            pooler_size=pooler if has_pooler else None,
        )
        fields.refuse_unread(HARMLESS, FIXED)
        return found


class Embeddings(nn.Module):
    """A token of the whole image before those of its patches, and what each position adds."""

    def __init__(self, config: ViTConfig) -> None:
        from numbatorch import zeros  # the package's names are there once models are used

        size = config.hidden_size
        self.patch_embeddings = Patches(config.num_channels, size, config.patch_size)
        self.cls_token = nn.Parameter(zeros(1, 1, size))
        self.position_embeddings = nn.Parameter(zeros(1, 1 + config.patches, size))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, T, C)."""
        from numbatorch import cat

        patches = self.patch_embeddings(pixels)
        first = self.cls_token.expand(patches.shape[0], 1, -1)
        return cat([first, patches], 1) + self.position_embeddings


@architecture(task="image-feature-extraction", hf=("ViTModel", "vit"))
class ViT(nn.Module):
    """An image to a vector for the whole and one for each patch."""

    def __init__(self, config: ViTConfig) -> None:
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(
            [
                Layer(
                    config.hidden_size,
                    config.num_attention_heads,
                    config.intermediate_size,
                    config.hidden_act,
                    config.layer_norm_eps,
                    config.qkv_bias,
                )
                for _ in range(config.num_hidden_layers)
            ]
        )
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = None
        if config.pooler_size is not None:
            self.pooler = Dense(config.hidden_size, config.pooler_size)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], weights: Checkpoint, device: Device) -> "ViT":
        """From a config.json and safetensors."""
        found = ViTConfig.from_hf(config, "pooler.dense.weight" in weights.tensors)
        check_layers("ViT", weights, "encoder.layer.", found.num_hidden_layers)
        model = cls(found)
        fill(model, weights, device, spelled(NAMES))
        return model.eval()

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.embeddings.cls_token.device

    def forward(self, pixels: Tensor) -> Tensor:
        """The last hidden state.

        Args:
            pixels: (B, channels, H, W) floats of the configuration's size.
        Returns:
            (B, T, C), first the vector of the whole image, then the patches row by row.
        Raises:
            ShapeError, DTypeError: pixels of another shape, or no floats.
        """
        check_pixels("ViT", pixels, self.config.num_channels, self.config.image_size)
        x = self.embeddings(pixels)
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.layernorm(x)
        return out

    def pooled(self, pixels: Tensor) -> Tensor:
        """A vector for each image, tanh(dense(first)) where there is a pooler: (B, C)."""
        first = self(pixels)[:, 0]
        return first if self.pooler is None else F.tanh(self.pooler(first))


@architecture(task="image-classification", hf="ViTForImageClassification")
class ViTClassifier(nn.Module):
    """A linear layer over a ViT's vector of the whole image.

    Attributes:
        labels: names of the N classes.
    """

    def __init__(self, config: ViTConfig, labels: tuple[str, ...]) -> None:
        self.config = config
        self.labels = labels
        self.vit = ViT(config)
        self.classifier = nn.Linear(config.hidden_size, len(labels))

    @classmethod
    def from_hf(
        cls, config: Mapping[str, Any], weights: Checkpoint, device: Device
    ) -> "ViTClassifier":
        """From a config.json and safetensors."""
        found = ViTConfig.from_hf(config)
        check_layers("ViT", weights, "vit.encoder.layer.", found.num_hidden_layers)
        count = shape_of("ViT", weights, "classifier.weight")[0]
        model = cls(found, labels_of("ViT", config, count))
        fill(model, weights, device, spelled(NAMES))
        return model.eval()

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.vit.device

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, N) of images (B, channels, H, W); raises as `ViT`."""
        out: Tensor = self.classifier(self.vit(pixels)[:, 0])
        return out
