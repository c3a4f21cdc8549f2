"""Qwen3: a decoder whose queries and keys have norms; higher layers may have windows.

Source: https://arxiv.org/abs/2505.09388
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbatorch.io.gguf import GGUFFile
from numbatorch.models.blocks.attention import Scores
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
from numbatorch.models.decoder_model import DecoderModel, attention_of, norm_of
from numbatorch.models.decoder_names import QWEN3_NAMES
from numbatorch.models.registry import architecture


@dataclass(frozen=True, kw_only=True)
class Qwen3Config(BaseConfig):
    """What a checkpoint says about its shape."""

    attention_bias: bool = False  # q, k, v and o have biases

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "Qwen3Config":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("qwen3", config)
        fields.require("hidden_act", "silu", ("silu",))
        base = base_from_hf(fields, head_dim=128)
        found = cls(
            **base,
            windows=upper_windows(fields, base["num_hidden_layers"]),
            attention_bias=fields.flag("attention_bias", False),
        )
        fields.refuse_unread(HF_HARMLESS, HF_DECODER_FIXED)
        return found

    @classmethod
    def from_gguf(cls, file: GGUFFile) -> "Qwen3Config":
        """From a GGUF file's metadata; the presence of tensors says what has a bias.

        Raises:
            FormatError: a key is missing, impossible, or stands for what is not here.
        """
        fields = Fields("qwen3", file.metadata, prefix="qwen3.", place=str(file.path))
        bias = "blk.0.attn_q.bias" in file.tensors
        found = cls(**base_from_gguf(fields, file), attention_bias=bias)
        fields.refuse_unread(GGUF_HARMLESS, GGUF_FIXED)
        return found

    def hf_keys(self) -> dict[str, Any]:
        """Whether there are biases."""
        return {**super().hf_keys(), "attention_bias": self.attention_bias}


def _layer(config: Qwen3Config, number: int) -> DecoderLayer:
    scores = Scores(window=config.window(number), norm_eps=config.rms_norm_eps)
    attention = attention_of(config, scores, bias=config.attention_bias)
    mlp = GatedMLP(config.hidden_size, config.intermediate_size)
    return DecoderLayer(norm_of(config), attention, norm_of(config), mlp)


@architecture(task="text-generation", hf=("Qwen3ForCausalLM", "qwen3"), gguf="qwen3")
class Qwen3(DecoderModel):
    """A Qwen3; parameters have Hugging Face's names, whatever file they come from."""

    names = QWEN3_NAMES
    configuration = Qwen3Config
    layer = staticmethod(_layer)
