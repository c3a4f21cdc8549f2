"""Llama: a decoder of tokens, with weights in Hugging Face's names or in those of GGUF files.

Letters: B batch, T tokens, S keys, H query heads, G key/value heads, D head size, C hidden size.
Source: https://arxiv.org/abs/2302.13971, and for grouped heads https://arxiv.org/abs/2305.13245
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbatorch import functional as F
from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import FormatError, OutOfRange, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.models.config import Fields
from numbatorch.tensor import Tensor, from_numpy, no_grad, realize, tensor, zeros

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class RopeScaling:
    """How the angles of the rotary embedding are stretched for contexts beyond the training's.

    Llama-3: https://github.com/meta-llama/llama-models/blob/main/models/llama3/model.py
    """

    kind: str = "default"  # default, linear or llama3
    factor: float = 1.0  # by which low frequencies are divided; linear: all of them
    low_freq_factor: float = 1.0  # wavelengths above original_context / this are stretched in full
    high_freq_factor: float = 4.0  # wavelengths below original_context / this are not stretched
    original_context: int = 8192  # tokens that the model was trained with before


@dataclass(frozen=True)
class LlamaConfig:
    """What a checkpoint says about its shape."""

    vocab_size: int  # rows of the embedding
    hidden_size: int  # C
    intermediate_size: int  # width of the feed-forward part
    num_hidden_layers: int
    num_attention_heads: int  # H
    num_key_value_heads: int  # G, a divisor of H
    head_dim: int  # D, even
    max_position_embeddings: int  # longest context in tokens
    rms_norm_eps: float = 1e-6  # added to mean squares
    rope_theta: float = 10000.0  # base of the wavelengths
    rope_scaling: RopeScaling = RopeScaling()
    rope_interleaved: bool = False  # pairs are (2i, 2i + 1), as in GGUF files, else (i, i + D/2)
    tie_word_embeddings: bool = False  # logits use the embedding's matrix
    attention_bias: bool = False  # q, k, v and o have biases
    mlp_bias: bool = False  # gate, up and down have biases

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "LlamaConfig":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("llama", config)
        fields.require("hidden_act", "silu", ("silu", "swish"))
        hidden = fields.integer("hidden_size")
        heads = fields.integer("num_attention_heads")
        theta, scaling = _hf_rope(fields)
        return cls(
            vocab_size=fields.integer("vocab_size"),
            hidden_size=hidden,
            intermediate_size=fields.integer("intermediate_size"),
            num_hidden_layers=fields.integer("num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=fields.integer("num_key_value_heads", heads),
            head_dim=fields.integer("head_dim", hidden // heads),
            max_position_embeddings=fields.integer("max_position_embeddings", 2048),
            rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
            rope_theta=theta,
            rope_scaling=scaling,
            tie_word_embeddings=fields.flag("tie_word_embeddings", False),
            attention_bias=fields.flag("attention_bias", False),
            mlp_bias=fields.flag("mlp_bias", False),
        ).checked()

    @classmethod
    def from_gguf(cls, file: GGUFFile) -> "LlamaConfig":
        """From a GGUF file's metadata; the presence of tensors says what is tied or has a bias.

        Raises:
            FormatError: a key is missing, impossible, or stands for what is not here.
        """
        fields = Fields("llama", file.metadata, prefix="llama.", place=str(file.path))
        hidden = fields.integer("embedding_length")
        heads = fields.integer("attention.head_count")
        head_dim = fields.integer("attention.key_length", hidden // heads)
        fields.require("attention.value_length", head_dim, (head_dim,))
        fields.require("rope.dimension_count", head_dim, (head_dim,))
        fields.require("expert_count", 0, (0,))
        embedding = file.tensors.get("token_embd.weight")
        rows = embedding.shape[0] if embedding is not None and embedding.shape else 0
        linear = fields.choice("rope.scaling.type", "none", ("none", "linear")) == "linear"
        factor = fields.number("rope.scaling.factor", 1.0) if linear else 1.0
        return cls(
            vocab_size=rows or fields.integer("vocab_size"),
            hidden_size=hidden,
            intermediate_size=fields.integer("feed_forward_length"),
            num_hidden_layers=fields.integer("block_count"),
            num_attention_heads=heads,
            num_key_value_heads=fields.integer("attention.head_count_kv", heads),
            head_dim=head_dim,
            max_position_embeddings=fields.integer("context_length"),
            rms_norm_eps=fields.number("attention.layer_norm_rms_epsilon"),
            rope_theta=fields.number("rope.freq_base", 10000.0),
            rope_scaling=RopeScaling("linear" if linear else "default", factor),
            rope_interleaved=True,
            tie_word_embeddings="output.weight" not in file.tensors,
            attention_bias="blk.0.attn_q.bias" in file.tensors,
            mlp_bias="blk.0.ffn_gate.bias" in file.tensors,
        ).checked()

    def checked(self) -> "LlamaConfig":
        """This configuration, if its numbers fit each other."""
        heads, groups, size = self.num_attention_heads, self.num_key_value_heads, self.head_dim
        if heads % groups:
            problem = f"{heads} query heads do not share {groups} key/value heads"
            raise FormatError(message("llama", problem))
        if size % 2:
            raise FormatError(message("llama", f"the head size {size} is odd"))
        return self


def _hf_rope(fields: Fields) -> tuple[float, RopeScaling]:
    """Theta and scaling, from rope_parameters or from the older rope_theta and rope_scaling."""
    nested = fields.mapping("rope_parameters") or fields.mapping("rope_scaling")
    theta = fields.number("rope_theta", 10000.0)
    if nested is None:
        return theta, RopeScaling()
    theta = nested.number("rope_theta", theta)
    name = "rope_type" if "rope_type" in nested.values else "type"
    kind = nested.choice(name, "default", ("default", "linear", "llama3"))
    if kind == "default":
        return theta, RopeScaling()
    factor = nested.number("factor")
    if kind == "linear":
        return theta, RopeScaling("linear", factor)
    return theta, RopeScaling(
        "llama3",
        factor,
        nested.number("low_freq_factor"),
        nested.number("high_freq_factor"),
        nested.integer("original_max_position_embeddings"),
    )


def rotary_frequencies(config: LlamaConfig) -> Array:
    """Angle per position of each pair, in radians: (D/2,) float64.

    theta^(-2i/D), stretched as the configuration says.
    """
    half = config.head_dim // 2
    frequencies: Array = config.rope_theta ** (-np.arange(half) / half)
    scaling = config.rope_scaling
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "llama3":
        turns = scaling.original_context * frequencies / (2 * math.pi)  # in the old context
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
        return frequencies * (kept + (1 - kept) / scaling.factor)
    return frequencies


class KVCache:
    """Keys and values of the tokens so far, one pair of tensors a layer.

    Attributes:
        capacity: tokens that fit.
        layers: keys and values, (B, G, capacity, D) float32 each, a layer.
        cos, sin: rotary tables (capacity, D/2).
    """

    def __init__(self, model: "Llama", capacity: int, batch: int = 1) -> None:
        config = model.config
        shape = (batch, config.num_key_value_heads, capacity, config.head_dim)
        self.capacity = capacity
        self.layers = [
            (zeros(*shape, device=model.device), zeros(*shape, device=model.device))
            for _ in model.model.layers
        ]
        self.cos, self.sin = model.rotary_tables(capacity)

    def copy_from(self, other: "KVCache", tokens: int) -> None:
        """Take over the first `tokens` of another cache."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine[:, :, :tokens] = theirs[:, :, :tokens]
        realize(*self.tensors())

    def tensors(self) -> list[Tensor]:
        """Keys and values of all layers."""
        return [tensor for pair in self.layers for tensor in pair]


class Attention(nn.Module):
    """Grouped-query attention over rotated queries and keys."""

    def __init__(self, config: LlamaConfig) -> None:
        self.config = config
        size, bias = config.head_dim, config.attention_bias
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        self.q_proj = nn.Linear(config.hidden_size, heads * size, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, groups * size, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, groups * size, bias=bias)
        self.o_proj = nn.Linear(heads * size, config.hidden_size, bias=bias)

    def forward(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        memory: tuple[Tensor, Tensor] | None,
        position: int,
    ) -> Tensor:
        """x: (B, T, C) -> (B, T, C).

        Args:
            tables: cos and sin (positions, D/2).
            memory: keys and values (B, G, S, D) of all positions, written from `position` on.
            position: of the first of the T.
        """
        B, T, _ = x.shape
        size, interleaved = self.config.head_dim, self.config.rope_interleaved
        q = self.q_proj(x).reshape(B, T, -1, size).transpose(1, 2)  # (B, H, T, D)
        k = self.k_proj(x).reshape(B, T, -1, size).transpose(1, 2)  # (B, G, T, D)
        v = self.v_proj(x).reshape(B, T, -1, size).transpose(1, 2)
        q = F.rope(q, *tables, position=position, interleaved=interleaved)
        k = F.rope(k, *tables, position=position, interleaved=interleaved)
        if memory is not None:
            keys, values = memory
            keys[:, :, position : position + T] = k
            values[:, :, position : position + T] = v
            k, v = memory
        heads = F.attention(q, k, v, causal=True, position=position)  # (B, H, T, D)
        out: Tensor = self.o_proj(heads.transpose(1, 2).reshape(B, T, -1))
        return out


class MLP(nn.Module):
    """down(silu(gate(x)) * up(x)). Source: https://arxiv.org/abs/2002.05202"""

    def __init__(self, config: LlamaConfig) -> None:
        wide, bias = config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(config.hidden_size, wide, bias=bias)
        self.up_proj = nn.Linear(config.hidden_size, wide, bias=bias)
        self.down_proj = nn.Linear(wide, config.hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention, then the feed-forward part, each on normalised input and added to it."""

    def __init__(self, config: LlamaConfig) -> None:
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        memory: tuple[Tensor, Tensor] | None,
        position: int,
    ) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.self_attn(self.input_layernorm(x), tables, memory, position)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Decoder(nn.Module):
    """Embedding, layers and the last norm; named `model` in checkpoints."""

    def __init__(self, config: LlamaConfig) -> None:
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class Llama(nn.Module):
    """A language model: token ids to the logits of each next token.

    Parameters have Hugging Face's names, whatever file they come from. Computes in float32 (in
    float64 where the parameters are) on weights in their stored type.

    >>> logits = model(nt.tensor([[1, 2, 3]]))  # doctest: +SKIP
    """

    def __init__(self, config: LlamaConfig) -> None:
        self.config = config
        self.model = Decoder(config)
        self.lm_head = None
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.rope_factors: Array | None = None  # (D/2,), divide the frequencies

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.model.embed_tokens.weight.device

    def rotary_tables(self, positions: int) -> tuple[Tensor, Tensor]:
        """cos and sin of the angles of the first `positions`: (positions, D/2) float32 each."""
        frequencies = rotary_frequencies(self.config)
        if self.rope_factors is not None:
            frequencies = frequencies / self.rope_factors
        angles = np.outer(np.arange(positions), frequencies)
        tables = (np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))
        cos, sin = (from_numpy(table).to(device=self.device) for table in tables)
        return cos, sin

    def forward(
        self, ids: Tensor, cache: KVCache | None = None, position: int = 0, last: bool = False
    ) -> Tensor:
        """Logits of the token after each one.

        Args:
            ids: (B, T) integers.
            cache: keys and values of the tokens before `position`; those of `ids` are added.
            position: of the first of the T; may be a plan variable.
            last: only for the last token.
        Returns:
            (B, T, V), or (B, 1, V) if `last`.
        Raises:
            OutOfRange: an id outside of the vocabulary, when the result is realized; more
                positions than the context or the cache has.
        """
        x = self.hidden(ids, cache, position)
        if last:
            x = x[:, -1:]
        x = self.model.norm(x)
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return F.linear(x, head.weight)

    def hidden(self, ids: Tensor, cache: KVCache | None = None, position: int = 0) -> Tensor:
        """What the last layer gives, before the last norm: (B, T, C)."""
        T, limit = ids.shape[1], self.config.max_position_embeddings
        tokens = int(position) + T
        if tokens > limit:
            raise OutOfRange(message("llama", f"{tokens} tokens in a context of {limit}"))
        tables = self.rotary_tables(T) if cache is None else (cache.cos, cache.sin)
        x: Tensor = self.model.embed_tokens(ids)
        x = x.to(x.dtype.compute)  # half types are computed on in float32
        for number, layer in enumerate(self.model.layers):
            memory = None if cache is None else cache.layers[number]
            x = layer(x, tables, memory, position)
        return x

    def logits(self, ids: Sequence[int]) -> Array:
        """Logits after each token of one text, for likelihoods: (T, V)."""
        with no_grad():
            logits: Tensor = self(tensor([list(ids)], device=self.device))  # (1, T, V)
            return logits[0].numpy()


# Part of a layer in Hugging Face's names: the same in GGUF's.
_GGUF_PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_GGUF_WHOLE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
GGUF_ROPE_FACTORS = "rope_freqs.weight"


def gguf_name(name: str) -> str:
    """The name in a GGUF file of a parameter in Hugging Face's spelling.

    >>> gguf_name("model.layers.3.mlp.up_proj.weight")
    'blk.3.ffn_up.weight'
    """
    part, _, kind = name.rpartition(".")
    if part in _GGUF_WHOLE:
        return f"{_GGUF_WHOLE[part]}.{kind}"
    number, _, inner = part.removeprefix("model.layers.").partition(".")
    return f"blk.{number}.{_GGUF_PARTS[inner]}.{kind}"
