"""Decoders of tokens: pre-norm layers between an embedding and the logits of each next token.

Parameters have the names of Hugging Face's Llama, which most checkpoints follow.
Letters: B batch, T tokens, V vocabulary, C hidden size.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import OutOfRange, message
from numbatorch.models.blocks.batch import batch_shape
from numbatorch.models.blocks.cache import KVCache, LayerCache
from numbatorch.models.blocks.rotary import Rope
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor, no_grad, tensor

Array = np.ndarray[Any, Any]


class DecoderConfig(Protocol):
    """What `CausalDecoder` reads of a configuration."""

    @property
    def vocab_size(self) -> int:
        """V, rows of the embedding."""

    @property
    def hidden_size(self) -> int:
        """C."""

    @property
    def num_key_value_heads(self) -> int:
        """G, heads of a cache."""

    @property
    def max_position_embeddings(self) -> int:
        """Longest context in tokens."""

    @property
    def rope(self) -> Rope:
        """Angles of positions, and the head size."""

    @property
    def tie_word_embeddings(self) -> bool:
        """Whether logits use the embedding's matrix."""


class DecoderLayer(nn.Module):
    """Attention, then the feed-forward part, each on normalised input and added to it."""

    def __init__(
        self,
        input_layernorm: nn.Module,
        self_attn: nn.Module,
        post_attention_layernorm: nn.Module,
        mlp: nn.Module,
    ) -> None:
        self.input_layernorm = input_layernorm
        self.self_attn = self_attn
        self.post_attention_layernorm = post_attention_layernorm
        self.mlp = mlp

    def forward(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        memory: LayerCache | None,
        position: int,
    ) -> Tensor:
        """x: (B, T, C) -> (B, T, C); the rest is as in `Attention`."""
        x = x + self.self_attn(self.input_layernorm(x), tables, memory, position)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Decoder(nn.Module):
    """Embedding, layers and the last norm; named `model` in checkpoints."""

    def __init__(
        self, embed_tokens: nn.Embedding, layers: Iterable[nn.Module], norm: nn.Module
    ) -> None:
        self.embed_tokens = embed_tokens
        self.layers = nn.ModuleList(list(layers))
        self.norm = norm


class CausalDecoder(nn.Module):
    """A language model: token ids to the logits of each next token.

    Computes in float32 (in float64 where the parameters are) on weights in their stored type.

    >>> logits = model(nt.tensor([[1, 2, 3]]))  # doctest: +SKIP
    """

    def __init__(self, config: DecoderConfig, layers: Iterable[nn.Module], norm: nn.Module) -> None:
        self.config = config
        embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.model = Decoder(embedding, layers, norm)
        self.lm_head = None
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.model.embed_tokens.weight.device

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """Memory for the keys and values of `capacity` tokens of `batch` texts."""
        rope = self.config.rope
        shape = (batch, self.config.num_key_value_heads, capacity, rope.size)
        tables = rope.tables(capacity, self.device)
        return KVCache(len(self.model.layers), shape, tables, self.device)

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
            ShapeError, DTypeError: ids are not (B, T), or no integers.
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
        _, T = batch_shape(type(self).__name__, ids)
        limit = self.config.max_position_embeddings
        tokens = int(position) + T
        if tokens > limit:
            problem = f"{tokens} tokens in a context of {limit}"
            raise OutOfRange(message(type(self).__name__, problem))
        tables = self.config.rope.tables(T, self.device) if cache is None else cache.tables
        x: Tensor = self.model.embed_tokens(ids)
        x = x.to(x.dtype.compute)  # half types are computed on in float32
        for number, layer in enumerate(self.model.layers):
            memory = None if cache is None else cache.layer(number)
            x = layer(x, tables, memory, position)
        return x

    def logits(self, ids: Sequence[int]) -> Array:
        """Logits after each token of one text, for likelihoods: (T, V)."""
        with no_grad():
            logits: Tensor = self(tensor([list(ids)], device=self.device))  # (1, T, V)
            return logits[0].numpy()
