"""What decoders of all architectures share: how a configuration and files make them.

A model names its configuration, which files are read into, and its layer.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.attention import Attention, Scores
from numbatorch.models.blocks.decoder import CausalDecoder
from numbatorch.models.blocks.rotary import Rope
from numbatorch.models.checkpoint import Source
from numbatorch.models.decoder_config import BaseConfig
from numbatorch.models.decoder_weights import load_gguf, load_hf


def norm_of(config: BaseConfig) -> nn.RMSNorm:
    """A norm of the hidden state."""
    return nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


def attention_of(
    config: BaseConfig, scores: Scores, *, bias: bool = False, rope: Rope | None = None
) -> Attention:
    """Attention of a configuration's sizes; `bias` of all four parts, `rope` instead of its own."""
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    angles = config.rope if rope is None else rope
    return Attention(config.hidden_size, heads, groups, angles, bias, bias, scores)


class DecoderModel(CausalDecoder):
    """A decoder; parameters have Hugging Face's names, whatever file they come from.

    Attributes:
        configuration: has `from_hf` and `from_gguf`.
        layer: (configuration, number) -> module.
        sources: what its parameters are made of, where it is made within `checkpoint.deferred`.
        written_gguf: what GGUF files that are written call it, where it declares no name there.
    """

    configuration: ClassVar[Any]
    layer: ClassVar[Any]
    written_gguf: ClassVar[str] = ""
    config: Any
    sources: Mapping[str, Source]

    def __init__(self, config: Any) -> None:
        layers = (type(self).layer(config, number) for number in range(config.num_hidden_layers))
        scale, softcap = config.embedding_scale, config.logit_softcap
        super().__init__(config, layers, norm_of(config), scale, softcap)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], weights: Checkpoint, device: Device) -> Self:
        """From a config.json and safetensors."""
        return load_hf(cls, cls.configuration.from_hf(config), weights, device)

    @classmethod
    def from_gguf(cls, file: GGUFFile, device: Device) -> Self:
        """From a GGUF file."""
        return load_gguf(cls, cls.configuration.from_gguf(file), file, device)
