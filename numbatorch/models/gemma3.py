"""Gemma 3, of texts: five layers with a window and angles of their own, then one without.

Weights of norms are those of GGUF files, Hugging Face's and 1: what a vector is multiplied by.
Source: https://arxiv.org/abs/2503.19786
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.models import gemma_config
from numbatorch.models.blocks.attention import Scores
from numbatorch.models.blocks.decoder import SandwichLayer
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
    FULL,
    SLIDING,
    BaseConfig,
    base_from_gguf,
    base_from_hf,
    shortest,
    windows_from_gguf,
    windows_from_hf,
)
from numbatorch.models.decoder_keys import rope_parameters
from numbatorch.models.decoder_model import DecoderModel, attention_of, norm_of
from numbatorch.models.decoder_names import GEMMA3_NAMES
from numbatorch.models.registry import architecture

LAYERS_27B = 62  # GGUF files do not say the scale of scores, in which the largest model differs
EVERY = 6  # layers, of which the last sees all keys
LOCAL_THETA = 10000.0  # of layers with a window, where a file does not say it


@dataclass(frozen=True, kw_only=True)
class Gemma3Config(BaseConfig):
    """What a checkpoint says about its shape."""

    local_rope: Rope  # angles in layers with a window
    score_scale: float  # factor on the scores of queries and keys
    attention_bias: bool = False  # q, k, v and o have biases

    @property
    def embedding_scale(self) -> float:
        """What embeddings are multiplied with."""
        return float(self.hidden_size**0.5)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "Gemma3Config":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("gemma3", config)
        fields.require("hidden_activation", "gelu_pytorch_tanh", ("gelu_pytorch_tanh",))
        local, every_layer = _ropes(fields, fields.integer("head_dim", 256))
        base = base_from_hf(fields, tied=True, head_dim=256, rope=lambda *_: every_layer)
        every = fields.integer("sliding_window_pattern", EVERY)
        fields.require("_sliding_window_pattern", every, (every,))
        window = fields.optional("sliding_window", fields.integer, 4096)
        layers = base["num_hidden_layers"]
        found = cls(
            **base,
            windows=windows_from_hf(fields, layers, window, lambda n: (n + 1) % every != 0),
            local_rope=local,
            score_scale=fields.number("query_pre_attn_scalar", 256) ** -0.5,
            attention_bias=fields.flag("attention_bias", False),
            logit_softcap=fields.optional("final_logit_softcapping", fields.number),
        )
        fixed = {**HF_DECODER_FIXED, "use_bidirectional_attention": False}
        fields.refuse_unread([*HF_HARMLESS, "hidden_act"], fixed)
        return found

    @classmethod
    def from_gguf(cls, file: GGUFFile) -> "Gemma3Config":
        """From a GGUF file's metadata.

        Raises:
            FormatError: a key is missing, impossible, or stands for what is not here.
        """
        fields = Fields("gemma3", file.metadata, prefix="gemma3.", place=str(file.path))
        base = base_from_gguf(fields, file)
        layers, heads = base["num_hidden_layers"], base["num_attention_heads"]
        size = base["rope"].size
        scale = gemma_config.usual_scale(layers, LAYERS_27B, base["hidden_size"], heads, size)
        found = cls(
            **base,
            windows=windows_from_gguf(fields, layers, slides),
            local_rope=Rope(size, fields.number("rope.freq_base_swa", LOCAL_THETA)),
            score_scale=fields.number("attention.scale", scale),
            logit_softcap=fields.optional("final_logit_softcapping", fields.number),
        )
        fields.refuse_unread(GGUF_HARMLESS, GGUF_FIXED)
        return found

    def gguf_keys(self) -> dict[str, Any]:
        """The keys of windows and of the bound of logits.

        Raises:
            FormatError: what the format has no keys for.
        """
        if (self.local_rope.theta, self.local_rope.scaling) != (LOCAL_THETA, "default"):
            problem = f"other angles in layers with windows: {self.local_rope}"
            raise FormatError(message("convert", problem))
        found = gemma_config.to_gguf(self, LAYERS_27B, slides)
        if self.logit_softcap is not None:
            found["final_logit_softcapping"] = np.float32(self.logit_softcap)
        return found

    def hf_keys(self) -> dict[str, Any]:
        """Windows, both kinds of angles, the bound of logits and the scale of scores."""
        context = self.max_position_embeddings
        both = {FULL: self.rope, SLIDING: self.local_rope}
        return {
            **gemma_config.to_hf(self),
            "rope_local_base_freq": shortest(self.local_rope.theta),
            "rope_parameters": {
                kind: rope_parameters(rope, context) for kind, rope in both.items()
            },
            "final_logit_softcapping": gemma_config.bound_to_hf(self.logit_softcap),
        }


def slides(number: int) -> bool:
    """Whether a layer has a window: all but every sixth."""
    return (number + 1) % EVERY != 0


def _ropes(fields: Fields, size: int) -> tuple[Rope, Rope]:
    """Angles in layers with a window, and in the others; older files say the latter's scaling."""
    local = Rope(size, fields.number("rope_local_base_freq", 10000.0))
    other = Rope(size, fields.number("rope_theta", 1000000.0))
    context = fields.integer("max_position_embeddings", 131072)
    both = fields.mapping("rope_parameters")
    if both is None:
        scaling = fields.mapping("rope_scaling")
        return local, other if scaling is None else other.scaled(scaling, context)
    found = []
    for kind, rope in ((SLIDING, local), (FULL, other)):
        nested = both.mapping(kind)
        if nested is not None:
            rope = Rope(size, nested.number("rope_theta", rope.theta)).scaled(nested, context)
        found.append(rope)
    both.refuse_unread(())
    return found[0], found[1]


def _layer(config: Gemma3Config, number: int) -> SandwichLayer:
    window = config.window(number)
    scores = Scores(window, config.score_scale, norm_eps=config.rms_norm_eps)
    rope = config.rope if window is None else config.local_rope
    attention = attention_of(config, scores, bias=config.attention_bias, rope=rope)
    mlp = GatedMLP(config.hidden_size, config.intermediate_size, activation="gelu_tanh")
    return SandwichLayer(partial(norm_of, config), attention, mlp)


@architecture(task="text-generation", hf=("Gemma3ForCausalLM", "gemma3_text"), gguf="gemma3")
class Gemma3(DecoderModel):
    """A Gemma 3; parameters have Hugging Face's names, whatever file they come from."""

    names = GEMMA3_NAMES
    configuration = Gemma3Config
    layer = staticmethod(_layer)
