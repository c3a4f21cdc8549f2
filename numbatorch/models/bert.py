"""BERT: an encoder of whole texts, with weights in Hugging Face's names.

Letters: B batch, T tokens, H heads, D head size, C hidden size.
Source: https://arxiv.org/abs/1810.04805
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbatorch import functional as F
from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import DTypeError, FormatError, OutOfRange, message
from numbatorch.models.config import Fields
from numbatorch.tensor import Tensor


@dataclass(frozen=True)
class BertConfig:
    """What a checkpoint says about its shape."""

    vocab_size: int  # rows of the embedding
    hidden_size: int  # C
    intermediate_size: int  # width of the feed-forward part
    num_hidden_layers: int
    num_attention_heads: int  # H, a divisor of C
    max_position_embeddings: int  # longest text in tokens
    type_vocab_size: int = 2  # kinds of segment that a token may belong to
    layer_norm_eps: float = 1e-12  # added to variances
    has_pooler: bool = True  # whether the checkpoint holds the pooler of the first token

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], has_pooler: bool = True) -> "BertConfig":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("bert", config)
        fields.require("hidden_act", "gelu", ("gelu",))
        fields.require("position_embedding_type", "absolute", ("absolute",))
        found = cls(
            vocab_size=fields.integer("vocab_size"),
            hidden_size=fields.integer("hidden_size"),
            intermediate_size=fields.integer("intermediate_size"),
            num_hidden_layers=fields.integer("num_hidden_layers"),
            num_attention_heads=fields.integer("num_attention_heads"),
            max_position_embeddings=fields.integer("max_position_embeddings", 512),
            type_vocab_size=fields.integer("type_vocab_size", 2),
            layer_norm_eps=fields.number("layer_norm_eps", 1e-12),
            has_pooler=has_pooler,
        )
        if found.hidden_size % found.num_attention_heads:
            problem = f"{found.num_attention_heads} heads do not divide {found.hidden_size}"
            raise FormatError(message("bert", problem))
        return found


class Embeddings(nn.Module):
    """The sum of a token's, its position's and its segment's embedding, normalised."""

    def __init__(self, config: BertConfig) -> None:
        size = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size)
        self.LayerNorm = nn.LayerNorm(size, eps=config.layer_norm_eps)

    def forward(self, ids: Tensor, token_types: Tensor | None) -> Tensor:
        """ids, token_types: (B, T) -> (B, T, C)."""
        x = self.word_embeddings(ids)
        x = x.to(x.dtype.compute)  # half types add up in float32
        if token_types is None:
            x = x + self.token_type_embeddings.weight[0]
        else:
            x = x + self.token_type_embeddings(token_types)
        x = x + self.position_embeddings.weight[: ids.shape[1]]
        out: Tensor = self.LayerNorm(x)
        return out


class SelfAttention(nn.Module):
    """Every token looks at every token that the mask shows."""

    def __init__(self, config: BertConfig) -> None:
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: (B, T, C) -> (B, T, C); mask: (B, 1, 1, T)."""
        B, T, C = x.shape
        heads = (B, T, self.heads, C // self.heads)
        q = self.query(x).reshape(heads).transpose(1, 2)  # (B, H, T, D)
        k = self.key(x).reshape(heads).transpose(1, 2)
        v = self.value(x).reshape(heads).transpose(1, 2)
        out: Tensor = F.attention(q, k, v, mask).transpose(1, 2).reshape(B, T, C)
        return out


class AddAndNorm(nn.Module):
    """LayerNorm(dense(x) + residual)."""

    def __init__(self, in_features: int, config: BertConfig) -> None:
        self.dense = nn.Linear(in_features, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x: (B, T, in_features), residual: (B, T, C) -> (B, T, C)."""
        out: Tensor = self.LayerNorm(self.dense(x) + residual)
        return out


class Attention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(self, config: BertConfig) -> None:
        self.self = SelfAttention(config)
        self.output = AddAndNorm(config.hidden_size, config)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        out: Tensor = self.output(self.self(x, mask), x)
        return out


class Dense(nn.Module):
    """A linear layer under the name `dense`, as checkpoints have it."""

    def __init__(self, in_features: int, out_features: int) -> None:
        self.dense = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features) -> (..., out_features)."""
        out: Tensor = self.dense(x)
        return out


class Layer(nn.Module):
    """Attention, then the feed-forward part."""

    def __init__(self, config: BertConfig) -> None:
        self.attention = Attention(config)
        self.intermediate = Dense(config.hidden_size, config.intermediate_size)
        self.output = AddAndNorm(config.intermediate_size, config)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = self.attention(x, mask)
        out: Tensor = self.output(F.gelu(self.intermediate(x)), x)
        return out


class Encoder(nn.Module):
    """The layers."""

    def __init__(self, config: BertConfig) -> None:
        self.layer = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        for layer in self.layer:
            x = layer(x, mask)
        return x


class Bert(nn.Module):
    """Token ids to one vector a token. Parameters have Hugging Face's names."""

    def __init__(self, config: BertConfig) -> None:
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = None
        if config.has_pooler:
            self.pooler = Dense(config.hidden_size, config.hidden_size)

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.embeddings.word_embeddings.weight.device

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, token_types: Tensor | None = None
    ) -> Tensor:
        """The last hidden state.

        Args:
            ids: (B, T) integers; shorter texts are filled up with any id.
            mask: (B, T) bool or integers, 0 at what was filled up; None where nothing was.
            token_types: (B, T) segment of each token; 0 unless given.
        Returns:
            (B, T, C); rows of no meaning where the mask is False.
        Raises:
            DTypeError: a mask of floats, which may be meant to be added.
            OutOfRange: more tokens than the model has positions; an id outside of the
                vocabulary, when the result is realized.
        """
        B, T = ids.shape
        limit = self.config.max_position_embeddings
        if T > limit:
            raise OutOfRange(message("bert", f"{T} tokens in a context of {limit}"))
        if mask is not None and mask.is_floating_point():
            problem = f"the mask is {mask.dtype.name}, not bool or integers"
            raise DTypeError(message("bert", problem))
        seen = None if mask is None else mask.bool().reshape(B, 1, 1, T)
        out: Tensor = self.encoder(self.embeddings(ids, token_types), seen)
        return out

    def pooled(self, hidden: Tensor) -> Tensor:
        """tanh(dense(first token)), what BERT's classifiers read: (B, T, C) -> (B, C)."""
        if self.pooler is None:
            raise AttributeError(message("bert", "the checkpoint has no pooler"))
        return F.tanh(self.pooler(hidden[:, 0]))
