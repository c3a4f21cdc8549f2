"""Encoders of whole texts: post-norm layers over the embeddings of tokens and their positions.

Parameters have the names of Hugging Face's BERT, which its relatives follow.
Letters: B batch, T tokens, H heads, D head size, C hidden size.
"""

from typing import Protocol

from numbatorch import nn
from numbatorch.models.blocks.attention import merge_heads, split_heads
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor


class EncoderConfig(Protocol):
    """What the parts of an encoder read of a configuration."""

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""

    @property
    def hidden_size(self) -> int:
        """C."""

    @property
    def intermediate_size(self) -> int:
        """Width of the feed-forward part."""

    @property
    def num_hidden_layers(self) -> int:
        """Number of layers."""

    @property
    def num_attention_heads(self) -> int:
        """H, a divisor of C."""

    @property
    def max_position_embeddings(self) -> int:
        """Longest text in tokens."""

    @property
    def type_vocab_size(self) -> int:
        """Kinds of segment that a token may belong to."""

    @property
    def layer_norm_eps(self) -> float:
        """Added to variances."""


class Embeddings(nn.Module):
    """The sum of a token's, its position's and its segment's embedding, normalised."""

    def __init__(self, config: EncoderConfig) -> None:
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

    def __init__(self, config: EncoderConfig) -> None:
        self.size = config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: (B, T, C) -> (B, T, C); mask: (B, 1, 1, T)."""
        q, k, v = (
            split_heads(project(x), self.size)  # (B, H, T, D)
            for project in (self.query, self.key, self.value)
        )
        return merge_heads(F.attention(q, k, v, mask))


class AddAndNorm(nn.Module):
    """LayerNorm(dense(x) + residual)."""

    def __init__(self, in_features: int, config: EncoderConfig) -> None:
        self.dense = nn.Linear(in_features, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x: (B, T, in_features), residual: (B, T, C) -> (B, T, C)."""
        out: Tensor = self.LayerNorm(self.dense(x) + residual)
        return out


class Attention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(self, config: EncoderConfig) -> None:
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

    def __init__(self, config: EncoderConfig) -> None:
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

    def __init__(self, config: EncoderConfig) -> None:
        self.layer = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        for layer in self.layer:
            x = layer(x, mask)
        return x
