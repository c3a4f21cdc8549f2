"""Mistral: a Llama whose tokens see a window of the last keys. GGUF files call it a llama.

Source: https://arxiv.org/abs/2310.06825
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbatorch.models.blocks.attention import Scores
from numbatorch.models.blocks.decoder import DecoderLayer
from numbatorch.models.blocks.mlp import GatedMLP
from numbatorch.models.config import HF_DECODER_FIXED, HF_HARMLESS, Fields
from numbatorch.models.decoder_config import BaseConfig, base_from_hf, windows_to_gguf
from numbatorch.models.decoder_model import DecoderModel, attention_of, norm_of
from numbatorch.models.decoder_names import LLAMA_NAMES
from numbatorch.models.registry import architecture


@dataclass(frozen=True, kw_only=True)
class MistralConfig(BaseConfig):
    """What a checkpoint says about its shape."""

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "MistralConfig":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("mistral", config)
        fields.require("hidden_act", "silu", ("silu",))
        base = base_from_hf(fields)
        window = fields.optional("sliding_window", fields.integer, 4096)
        found = cls(**base, windows=(window,) * base["num_hidden_layers"])
        fields.refuse_unread(HF_HARMLESS, HF_DECODER_FIXED)
        return found

    def gguf_keys(self) -> dict[str, Any]:
        """The keys of windows, which all layers have or none."""
        return windows_to_gguf(self.windows, self.num_hidden_layers, lambda _: True)


def _layer(config: MistralConfig, number: int) -> DecoderLayer:
    attention = attention_of(config, Scores(window=config.window(number)))
    mlp = GatedMLP(config.hidden_size, config.intermediate_size)
    return DecoderLayer(norm_of(config), attention, norm_of(config), mlp)


@architecture(task="text-generation", hf=("MistralForCausalLM", "mistral"))
class Mistral(DecoderModel):
    """A Mistral; parameters have Hugging Face's names."""

    names = LLAMA_NAMES
    written_gguf = "llama"
    configuration = MistralConfig
    layer = staticmethod(_layer)
