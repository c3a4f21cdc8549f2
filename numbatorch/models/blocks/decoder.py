"""Decoders of tokens: pre-norm layers between an embedding and the logits of each next token.

Parameters have the names of Hugging Face's Llama, which most checkpoints follow.
Letters: B batch, T tokens, V vocabulary, C hidden size.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import OutOfRange, message
from numbatorch.models.blocks.attention import Attention
from numbatorch.models.blocks.batch import batch_shape
from numbatorch.models.blocks.cache import KVCache, LayerCache
from numbatorch.models.blocks.rotary import Rope
from numbatorch.models.blocks.span import Span
from numbatorch.models.decoder_names import PLAIN_NAMES, Names
from numbatorch.nn import functional as F
from numbatorch.ops.matmul import Compute
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

    def forward(self, x: Tensor, span: Span, memory: LayerCache | None) -> Tensor:
        """x: (B, T, C) -> (B, T, C); the rest is as in `Attention`."""
        x = x + self.self_attn(self.input_layernorm(x), span, memory)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class SandwichLayer(nn.Module):
    """As `DecoderLayer`, with a norm on what attention and feed-forward part give, too.

    Source: https://arxiv.org/abs/2408.00118
    """

    def __init__(self, norm: Callable[[], nn.Module], self_attn: nn.Module, mlp: nn.Module) -> None:
        """`norm` makes each of the four norms."""
        self.input_layernorm = norm()
        self.self_attn = self_attn
        self.post_attention_layernorm = norm()
        self.pre_feedforward_layernorm = norm()
        self.mlp = mlp
        self.post_feedforward_layernorm = norm()

    def forward(self, x: Tensor, span: Span, memory: LayerCache | None) -> Tensor:
        """x: (B, T, C) -> (B, T, C); the rest is as in `Attention`."""
        attended = self.self_attn(self.input_layernorm(x), span, memory)
        x = x + self.post_attention_layernorm(attended)
        fed = self.mlp(self.pre_feedforward_layernorm(x))
        out: Tensor = x + self.post_feedforward_layernorm(fed)
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

    Attributes:
        names: what its weights are called in files.
        compute: as of `F.linear`, of the head.

    >>> logits = model(nt.tensor([[1, 2, 3]]))  # doctest: +SKIP
    """

    names: Names = PLAIN_NAMES
    compute: Compute | None = None

    def __init__(
        self,
        config: DecoderConfig,
        layers: Iterable[nn.Module],
        norm: nn.Module,
        embedding_scale: float | None = None,
        logit_softcap: float | None = None,
    ) -> None:
        """Embeddings are multiplied by their scale; logits z become cap * tanh(z / cap)."""
        self.config = config
        self.embedding_scale = embedding_scale
        self.logit_softcap = logit_softcap
        embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.model = Decoder(embedding, layers, norm)
        self.lm_head = None
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        own = (module.rope for module in self.modules() if isinstance(module, Attention))
        self.ropes = tuple(dict.fromkeys((*own, config.rope)))

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.model.embed_tokens.weight.device

    @property
    def head(self) -> nn.Embedding | nn.Linear:
        """Whose weight gives the logits."""
        return self.model.embed_tokens if self.lm_head is None else self.lm_head

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """Memory for the keys and values of `capacity` tokens of `batch` texts."""
        shape = (batch, self.config.num_key_value_heads, capacity, self.config.rope.size)
        tables = {rope: rope.tables(capacity, self.device, tokens=0) for rope in self.ropes}
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
        logits = F.linear(x, self.head.weight, compute=self.compute)
        if self.logit_softcap is None:
            return logits
        return (logits / self.logit_softcap).tanh() * self.logit_softcap

    def hidden(self, ids: Tensor, cache: KVCache | None = None, position: int = 0) -> Tensor:
        """What the last layer gives, before the last norm: (B, T, C)."""
        _, T = batch_shape(type(self).__name__, ids)
        limit = self.config.max_position_embeddings
        tokens = int(position) + T
        if tokens > limit:
            problem = f"{tokens} tokens in a context of {limit}"
            raise OutOfRange(message(type(self).__name__, problem))
        span = self._span(T, cache, position)
        x: Tensor = self.model.embed_tokens(ids)
        x = x.to(x.dtype.compute)  # half types are computed on in float32
        if self.embedding_scale is not None:
            x = x * self.embedding_scale
        for number, layer in enumerate(self.model.layers):
            memory = None if cache is None else cache.layer(number)
            x = layer(x, span, memory)
        return x

    def _span(self, T: int, cache: KVCache | None, position: int) -> Span:
        if cache is not None:
            return Span(position, cache.capacity, cache.tables, self.device, cache.starts)
        tables = {rope: rope.tables(T, self.device) for rope in self.ropes}
        return Span(position, T, tables, self.device)

    def logits(self, ids: Sequence[int]) -> Array:
        """Logits after each token of one text, for likelihoods: (T, V)."""
        with no_grad():
            logits: Tensor = self(tensor([list(ids)], device=self.device))  # (1, T, V)
            return logits[0].numpy()
