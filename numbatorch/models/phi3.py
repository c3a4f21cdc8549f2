"""Phi-3, and Phi-4 mini: a Llama with fused matrices and angles of two lengths of texts.

A window is what config.json says it is; llama.cpp leaves it out of GGUF files of Phi-3.
Source: https://arxiv.org/abs/2404.14219
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from numbatorch.io.gguf import GGUFFile
from numbatorch.models.blocks.attention import Attention, Scores
from numbatorch.models.blocks.decoder import DecoderLayer
from numbatorch.models.blocks.mlp import GatedMLP
from numbatorch.models.blocks.rotary import Rope
from numbatorch.models.config import (
    GGUF_FIXED,
    GGUF_HARMLESS,
    HF_DECODER_FIXED,
    HF_HARMLESS,
    Fields,
)
from numbatorch.models.decoder_config import (
    BaseConfig,
    base_from_gguf,
    base_from_hf,
    windows_from_gguf,
    windows_to_gguf,
)
from numbatorch.models.decoder_model import DecoderModel, norm_of
from numbatorch.models.decoder_names import PHI3_NAMES
from numbatorch.models.registry import architecture


@dataclass(frozen=True, kw_only=True)
class Phi3Config(BaseConfig):
    """What a checkpoint says about its shape."""

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "Phi3Config":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("phi3", config)
        fields.require("hidden_act", "silu", ("silu",))
        fields.integer("original_max_position_embeddings", 4096)
        base = base_from_hf(fields, rope=partial(Rope.from_hf, partial=True))
        window = fields.optional("sliding_window", fields.integer)
        found = cls(**base, windows=(window,) * base["num_hidden_layers"])
        fixed = {**HF_DECODER_FIXED, "attention_bias": False}
        fields.refuse_unread(HF_HARMLESS, fixed)
        return found

    @classmethod
    def from_gguf(cls, file: GGUFFile) -> "Phi3Config":
        """From a GGUF file's metadata.

        Raises:
            FormatError: a key is missing, impossible, or stands for what is not here.
        """
        fields = Fields("phi3", file.metadata, prefix="phi3.", place=str(file.path))
        base = base_from_gguf(fields, file, partial=True)
        windows = windows_from_gguf(fields, base["num_hidden_layers"], lambda _: True)
        found = cls(**base, windows=windows)
        fields.refuse_unread(GGUF_HARMLESS, GGUF_FIXED)
        return found

    def gguf_keys(self) -> dict[str, Any]:
        """The keys of windows, which all layers have or none."""
        return windows_to_gguf(self.windows, self.num_hidden_layers, lambda _: True)

    def hf_keys(self) -> dict[str, Any]:
        """The window, and the first context of two."""
        stretched = self.rope.scaling == "longrope"
        first = self.rope.original_context if stretched else self.max_position_embeddings
        return {
            "hidden_act": "silu",
            "sliding_window": self.window(0),
            "original_max_position_embeddings": first,
        }


def _layer(config: Phi3Config, number: int) -> DecoderLayer:
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    scores = Scores(window=config.window(number))
    attention = Attention(config.hidden_size, heads, groups, config.rope, scores=scores, fused=True)
    mlp = GatedMLP(config.hidden_size, config.intermediate_size, fused=True)
    return DecoderLayer(norm_of(config), attention, norm_of(config), mlp)


@architecture(task="text-generation", hf=("Phi3ForCausalLM", "phi3"), gguf="phi3")
class Phi3(DecoderModel):
    """A Phi-3; parameters have Hugging Face's names, whatever file they come from."""

    names = PHI3_NAMES
    configuration = Phi3Config
    layer = staticmethod(_layer)
