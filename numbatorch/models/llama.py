"""Llama: a decoder of tokens, with weights in Hugging Face's names or in those of GGUF files.

Letters: H query heads, G key/value heads, D head size, C hidden size.
Source: https://arxiv.org/abs/2302.13971
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.attention import Attention
from numbatorch.models.blocks.decoder import CausalDecoder, DecoderLayer
from numbatorch.models.blocks.mlp import GatedMLP
from numbatorch.models.blocks.rotary import Rope
from numbatorch.models.checkpoint import check_layers
from numbatorch.models.config import (
    GGUF_FIXED,
    GGUF_HARMLESS,
    HF_DECODER_FIXED,
    HF_HARMLESS,
    Fields,
)
from numbatorch.models.decoder_weights import fill_from_gguf, fill_from_hf
from numbatorch.models.registry import architecture


@dataclass(frozen=True)
class LlamaConfig:
    """What a checkpoint says about its shape."""

    vocab_size: int  # rows of the embedding
    hidden_size: int  # C
    intermediate_size: int  # width of the feed-forward part
    num_hidden_layers: int
    num_attention_heads: int  # H
    num_key_value_heads: int  # G, a divisor of H
    max_position_embeddings: int  # longest context in tokens
    rope: Rope  # angles of positions, and D
    rms_norm_eps: float = 1e-6  # added to mean squares
    tie_word_embeddings: bool = False  # logits use the embedding's matrix
    attention_bias: bool = False  # q, k and v have biases
    attention_out_bias: bool | None = None  # o has one; as q, k and v if None
    mlp_bias: bool = False  # gate, up and down have biases

    def __post_init__(self) -> None:
        heads, groups = self.num_attention_heads, self.num_key_value_heads
        if heads % groups:
            problem = f"{heads} query heads do not share {groups} key/value heads"
            raise FormatError(message("llama", problem))

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], has_out_bias: bool = True) -> "LlamaConfig":
        """From a config.json.

        Args:
            config: its values.
            has_out_bias: whether o has a bias where attention has biases at all.
        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("llama", config)
        fields.require("hidden_act", "silu", ("silu", "swish"))
        fields.require("rope_interleaved", False, (False,))
        hidden = fields.integer("hidden_size")
        heads = fields.integer("num_attention_heads")
        found = cls(
            vocab_size=fields.integer("vocab_size"),
            hidden_size=hidden,
            intermediate_size=fields.integer("intermediate_size"),
            num_hidden_layers=fields.integer("num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=fields.integer("num_key_value_heads", heads),
            max_position_embeddings=fields.integer("max_position_embeddings", 2048),
            rope=Rope.from_hf(fields, fields.integer("head_dim", hidden // heads or None)),
            rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
            tie_word_embeddings=fields.flag("tie_word_embeddings", False),
            attention_bias=fields.flag("attention_bias", False),
            attention_out_bias=fields.flag("attention_bias", False) and has_out_bias,
            mlp_bias=fields.flag("mlp_bias", False),
        )
        fields.refuse_unread([*HF_HARMLESS, "is_decoder"], HF_DECODER_FIXED)
        return found

    @classmethod
    def from_gguf(cls, file: GGUFFile) -> "LlamaConfig":
        """From a GGUF file's metadata; the presence of tensors says what is tied or has a bias.

        Raises:
            FormatError: a key is missing, impossible, or stands for what is not here.
        """
        fields = Fields("llama", file.metadata, prefix="llama.", place=str(file.path))
        hidden = fields.integer("embedding_length")
        heads = fields.integer("attention.head_count")
        size = fields.integer("attention.key_length", hidden // heads or None)
        fields.require("attention.value_length", size, (size,))
        embedding = file.tensors.get("token_embd.weight")
        rows = embedding.shape[0] if embedding is not None and embedding.shape else 0
        found = cls(
            vocab_size=fields.integer("vocab_size", rows or None),
            hidden_size=hidden,
            intermediate_size=fields.integer("feed_forward_length"),
            num_hidden_layers=fields.integer("block_count"),
            num_attention_heads=heads,
            num_key_value_heads=fields.integer("attention.head_count_kv", heads),
            max_position_embeddings=fields.integer("context_length"),
            rope=Rope.from_gguf(fields, file, size, interleaved=True),
            rms_norm_eps=fields.number("attention.layer_norm_rms_epsilon"),
            tie_word_embeddings="output.weight" not in file.tensors,
            attention_bias="blk.0.attn_q.bias" in file.tensors,
            attention_out_bias="blk.0.attn_output.bias" in file.tensors,
            mlp_bias="blk.0.ffn_gate.bias" in file.tensors,
        )
        fields.refuse_unread(GGUF_HARMLESS, GGUF_FIXED)
        return found


@architecture(task="text-generation", hf=("LlamaForCausalLM", "llama"), gguf="llama")
class Llama(CausalDecoder):
    """A Llama; parameters have Hugging Face's names, whatever file they come from."""

    def __init__(self, config: LlamaConfig) -> None:
        layers = (_layer(config) for _ in range(config.num_hidden_layers))
        super().__init__(config, layers, _norm(config))

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], weights: Checkpoint, device: Device) -> "Llama":
        """From a config.json and safetensors."""
        out_bias = "model.layers.0.self_attn.o_proj.bias" in weights.tensors
        found = LlamaConfig.from_hf(config, out_bias)
        check_layers(cls.__name__, weights, "model.layers.", found.num_hidden_layers)
        model = cls(found)
        fill_from_hf(model, weights, device)
        return model

    @classmethod
    def from_gguf(cls, file: GGUFFile, device: Device) -> "Llama":
        """From a GGUF file."""
        config = LlamaConfig.from_gguf(file)
        check_layers(cls.__name__, file, "blk.", config.num_hidden_layers)
        model = cls(config)
        fill_from_gguf(model, file, device)
        return model


def _norm(config: LlamaConfig) -> nn.RMSNorm:
    return nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


def _layer(config: LlamaConfig) -> DecoderLayer:
    out_bias = config.attention_out_bias
    attention = Attention(
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.rope,
        bias=config.attention_bias,
        out_bias=config.attention_bias if out_bias is None else out_bias,
    )
    mlp = GatedMLP(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
    return DecoderLayer(_norm(config), attention, _norm(config), mlp)
