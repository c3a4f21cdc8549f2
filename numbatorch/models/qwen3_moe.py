"""Qwen3 with a mixture of experts in its layers.

Source: https://arxiv.org/abs/2505.09388
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbatorch import nn
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.models.blocks.attention import Scores
from numbatorch.models.blocks.decoder import DecoderLayer
from numbatorch.models.blocks.mlp import GatedMLP
from numbatorch.models.blocks.moe import SparseMLP
from numbatorch.models.config import (
    GGUF_FIXED,
    GGUF_HARMLESS,
    HF_DECODER_FIXED,
    HF_HARMLESS,
    Fields,
)
from numbatorch.models.decoder_config import BaseConfig, base_from_gguf, base_from_hf
from numbatorch.models.decoder_model import DecoderModel, attention_of, norm_of
from numbatorch.models.decoder_names import QWEN3_MOE_NAMES
from numbatorch.models.registry import architecture

# Keys that change nothing of a model that is not trained, and one that Qwen3 alone reads.
HARMLESS = ("max_window_layers", "output_router_logits", "router_aux_loss_coef")


@dataclass(frozen=True, kw_only=True)
class Qwen3MoeConfig(BaseConfig):
    """What a checkpoint says about its shape."""

    expert_size: int  # width of an expert's feed-forward part
    num_experts: int  # E
    num_experts_per_tok: int  # k
    normalized: bool  # probabilities of a token's experts are divided by their sum
    sparse: tuple[bool, ...]  # layers that have experts
    attention_bias: bool = False  # q, k, v and o have biases

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_experts_per_tok > self.num_experts:
            problem = f"a token takes {self.num_experts_per_tok} of {self.num_experts} experts"
            raise FormatError(message("qwen3moe", problem))

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "Qwen3MoeConfig":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("qwen3_moe", config)
        fields.require("hidden_act", "silu", ("silu",))
        base = base_from_hf(fields)
        layers = base["num_hidden_layers"]
        asked = fields.flag("use_sliding_window", False)
        window = fields.optional("sliding_window", fields.integer, 4096)
        every = fields.integer("decoder_sparse_step", 1)
        dense = fields.get("mlp_only_layers", [])
        if not isinstance(dense, list):
            fields.fail("mlp_only_layers is not a list of layers")
        name = "num_local_experts" if "num_local_experts" in config else "num_experts"
        found = cls(
            **base,
            windows=(window if asked else None,) * layers,
            expert_size=fields.integer("moe_intermediate_size", 768),
            num_experts=fields.integer(name, 128),
            num_experts_per_tok=fields.integer("num_experts_per_tok", 8),
            normalized=fields.flag("norm_topk_prob", False),
            sparse=tuple(n not in dense and (n + 1) % every == 0 for n in range(layers)),
            attention_bias=fields.flag("attention_bias", False),
        )
        fields.refuse_unread([*HF_HARMLESS, *HARMLESS], HF_DECODER_FIXED)
        return found

    @classmethod
    def from_gguf(cls, file: GGUFFile) -> "Qwen3MoeConfig":
        """From a GGUF file's metadata; the presence of tensors says which layers have experts.

        Raises:
            FormatError: a key is missing, impossible, or stands for what is not here.
        """
        fields = Fields("qwen3_moe", file.metadata, prefix="qwen3moe.", place=str(file.path))
        base = base_from_gguf(fields, file)
        layers, tensors = base["num_hidden_layers"], file.tensors
        found = cls(
            **base,
            expert_size=fields.integer("expert_feed_forward_length"),
            num_experts=fields.integer("expert_count"),
            num_experts_per_tok=fields.integer("expert_used_count"),
            normalized=fields.flag("expert_weights_norm", True),
            sparse=tuple(f"blk.{n}.ffn_gate_exps.weight" in tensors for n in range(layers)),
            attention_bias="blk.0.attn_q.bias" in tensors,
        )
        fields.refuse_unread(GGUF_HARMLESS, {**GGUF_FIXED, "expert_weights_scale": 1.0})
        return found

    def gguf_keys(self) -> dict[str, Any]:
        """The numbers of experts.

        Raises:
            FormatError: windows, layers without experts, or probabilities as they are.
        """
        if not self.normalized or not all(self.sparse):
            problem = "experts in some layers alone, or whose shares are not normalized"
            raise FormatError(message("convert", problem, "GGUF has no keys for it"))
        return {
            **super().gguf_keys(),
            "expert_count": self.num_experts,
            "expert_used_count": self.num_experts_per_tok,
            "expert_feed_forward_length": self.expert_size,
        }

    def hf_keys(self) -> dict[str, Any]:
        """The numbers of experts, and which layers have them."""
        return {
            **super().hf_keys(),
            "num_experts": self.num_experts,
            "num_experts_per_tok": self.num_experts_per_tok,
            "moe_intermediate_size": self.expert_size,
            "norm_topk_prob": self.normalized,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [n for n, sparse in enumerate(self.sparse) if not sparse],
            "attention_bias": self.attention_bias,
        }


def _layer(config: Qwen3MoeConfig, number: int) -> DecoderLayer:
    scores = Scores(window=config.window(number), norm_eps=config.rms_norm_eps)
    attention = attention_of(config, scores, bias=config.attention_bias)
    mlp: nn.Module = GatedMLP(config.hidden_size, config.intermediate_size)
    if config.sparse[number]:
        count, used = config.num_experts, config.num_experts_per_tok
        mlp = SparseMLP(config.hidden_size, config.expert_size, count, used, config.normalized)
    return DecoderLayer(norm_of(config), attention, norm_of(config), mlp)


@architecture(task="text-generation", hf=("Qwen3MoeForCausalLM", "qwen3_moe"), gguf="qwen3moe")
class Qwen3Moe(DecoderModel):
    """A Qwen3 of experts; parameters have Hugging Face's names, experts' stacked."""

    names = QWEN3_MOE_NAMES
    configuration = Qwen3MoeConfig
    layer = staticmethod(_layer)
