"""Gemma 2: norms on both sides of each part, capped scores and logits, every other layer a window.

Weights of norms are those of GGUF files, Hugging Face's and 1: what a vector is multiplied by.
Source: https://arxiv.org/abs/2408.00118
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from numbatorch.io.gguf import GGUFFile
from numbatorch.models import gemma_config
from numbatorch.models.blocks.attention import Scores
from numbatorch.models.blocks.decoder import SandwichLayer
from numbatorch.models.blocks.mlp import GatedMLP
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
    windows_from_hf,
)
from numbatorch.models.decoder_model import DecoderModel, attention_of, norm_of
from numbatorch.models.decoder_names import GEMMA2_NAMES
from numbatorch.models.registry import architecture

LAYERS_27B = 46  # GGUF files do not say the scale of scores, in which the largest model differs


@dataclass(frozen=True, kw_only=True)
class Gemma2Config(BaseConfig):
    """What a checkpoint says about its shape."""

    score_scale: float  # factor on the scores of queries and keys
    attention_bias: bool = False  # q, k, v and o have biases
    score_softcap: float | None = 50.0  # bound of the scores

    @property
    def embedding_scale(self) -> float:
        """What embeddings are multiplied with."""
        return float(self.hidden_size**0.5)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "Gemma2Config":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("gemma2", config)
        fields.require("hidden_activation", "gelu_pytorch_tanh", ("gelu_pytorch_tanh",))
        base = base_from_hf(fields, tied=True, head_dim=256)
        window = fields.optional("sliding_window", fields.integer, 4096)
        fields.require("sliding_window_size", window or 0, (window,))
        layers = base["num_hidden_layers"]
        found = cls(
            **base,
            windows=windows_from_hf(fields, layers, window, slides),
            score_scale=fields.number("query_pre_attn_scalar", 256) ** -0.5,
            attention_bias=fields.flag("attention_bias", False),
            score_softcap=fields.optional("attn_logit_softcapping", fields.number, 50.0),
            logit_softcap=fields.optional("final_logit_softcapping", fields.number, 30.0),
        )
        fixed = {**HF_DECODER_FIXED, "use_bidirectional_attention": False}
        fields.refuse_unread([*HF_HARMLESS, "hidden_act"], fixed)
        return found

    @classmethod
    def from_gguf(cls, file: GGUFFile) -> "Gemma2Config":
        """From a GGUF file's metadata.

        Raises:
            FormatError: a key is missing, impossible, or stands for what is not here.
        """
        fields = Fields("gemma2", file.metadata, prefix="gemma2.", place=str(file.path))
        base = base_from_gguf(fields, file)
        layers = base["num_hidden_layers"]
        heads, hidden, size = base["num_attention_heads"], base["hidden_size"], base["rope"].size
        scale = gemma_config.usual_scale(layers, LAYERS_27B, hidden, heads, size)
        found = cls(
            **base,
            windows=windows_from_gguf(fields, layers, slides, 4096),
            score_scale=fields.number("attention.scale", scale),
            score_softcap=fields.number("attn_logit_softcapping", 50.0),
            logit_softcap=fields.number("final_logit_softcapping", 30.0),
        )
        fields.require("rope.freq_base_swa", found.rope.theta, (found.rope.theta,))
        fields.refuse_unread(GGUF_HARMLESS, GGUF_FIXED)
        return found

    def gguf_keys(self) -> dict[str, Any]:
        """The keys of windows and bounds.

        Raises:
            FormatError: what the format has no keys for.
        """
        return {
            **gemma_config.to_gguf(self, LAYERS_27B, slides),
            "attn_logit_softcapping": gemma_config.bound_to_gguf(self.score_softcap),
            "final_logit_softcapping": gemma_config.bound_to_gguf(self.logit_softcap),
        }

    def hf_keys(self) -> dict[str, Any]:
        """Windows, bounds and the scale of scores."""
        return {
            **gemma_config.to_hf(self),
            "attn_logit_softcapping": gemma_config.bound_to_hf(self.score_softcap),
            "final_logit_softcapping": gemma_config.bound_to_hf(self.logit_softcap),
        }


def slides(number: int) -> bool:
    """Whether a layer has a window: every other one, from the first on."""
    return number % 2 == 0


def _layer(config: Gemma2Config, number: int) -> SandwichLayer:
    scores = Scores(config.window(number), config.score_scale, config.score_softcap)
    attention = attention_of(config, scores, bias=config.attention_bias)
    mlp = GatedMLP(config.hidden_size, config.intermediate_size, activation="gelu_tanh")
    return SandwichLayer(partial(norm_of, config), attention, mlp)


@architecture(task="text-generation", hf=("Gemma2ForCausalLM", "gemma2"), gguf="gemma2")
class Gemma2(DecoderModel):
    """A Gemma 2; parameters have Hugging Face's names, whatever file they come from."""

    names = GEMMA2_NAMES
    configuration = Gemma2Config
    layer = staticmethod(_layer)
