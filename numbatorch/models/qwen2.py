"""Qwen2: a Llama with biases on queries, keys and values; higher layers may have windows.

Source: https://arxiv.org/abs/2407.10671
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbatorch.io.gguf import GGUFFile
from numbatorch.models.blocks.attention import Attention, Scores
from numbatorch.models.blocks.decoder import DecoderLayer
from numbatorch.models.blocks.mlp import GatedMLP
from numbatorch.models.config import (
    GGUF_FIXED,
    GGUF_HARMLESS,
    HF_DECODER_FIXED,
    HF_HARMLESS,
    Fields,
)
from numbatorch.models.decoder_config import BaseConfig, base_from_gguf, base_from_hf, upper_windows
from numbatorch.models.decoder_model import DecoderModel, norm_of
from numbatorch.models.registry import architecture


@dataclass(frozen=True, kw_only=True)
class Qwen2Config(BaseConfig):
    """What a checkpoint says about its shape."""

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "Qwen2Config":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("qwen2", config)
        fields.require("hidden_act", "silu", ("silu",))
        base = base_from_hf(fields)
        found = cls(**base, windows=upper_windows(fields, base["num_hidden_layers"]))
        fields.refuse_unread(HF_HARMLESS, {**HF_DECODER_FIXED, "attention_bias": True})
        return found

    @classmethod
    def from_gguf(cls, file: GGUFFile) -> "Qwen2Config":
        """From a GGUF file's metadata.

        Raises:
            FormatError: a key is missing, impossible, or stands for what is not here.
        """
        fields = Fields("qwen2", file.metadata, prefix="qwen2.", place=str(file.path))
        found = cls(**base_from_gguf(fields, file))
        fields.refuse_unread(GGUF_HARMLESS, GGUF_FIXED)
        return found


def _layer(config: Qwen2Config, number: int) -> DecoderLayer:
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    scores = Scores(window=config.window(number))
    attention = Attention(config.hidden_size, heads, groups, config.rope, bias=True, scores=scores)
    mlp = GatedMLP(config.hidden_size, config.intermediate_size)
    return DecoderLayer(norm_of(config), attention, norm_of(config), mlp)


@architecture(task="text-generation", hf=("Qwen2ForCausalLM", "qwen2"), gguf="qwen2")
class Qwen2(DecoderModel):
    """A Qwen2; parameters have Hugging Face's names, whatever file they come from."""

    configuration = Qwen2Config
    layer = staticmethod(_layer)
