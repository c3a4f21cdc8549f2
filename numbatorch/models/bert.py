"""BERT: an encoder of whole texts, with weights in Hugging Face's names.

Letters: B batch, T tokens, H heads, C hidden size.
Source: https://arxiv.org/abs/1810.04805
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import DTypeError, FormatError, OutOfRange, message
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.batch import batch_shape, check_beside
from numbatorch.models.blocks.encoder import Dense, Embeddings, Encoder
from numbatorch.models.checkpoint import check_layers, fill
from numbatorch.models.config import HF_ENCODER_FIXED, HF_HARMLESS, Fields
from numbatorch.models.registry import architecture
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor

# Keys of the published configurations that say nothing about the encoder.
HARMLESS = """
    output_past pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers
    pooler_size_per_head pooler_type tie_word_embeddings
""".split()
POSITIONS = "embeddings.position_ids"  # old checkpoints hold 0, 1, 2, ...


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

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            problem = f"{self.num_attention_heads} heads do not divide {self.hidden_size}"
            raise FormatError(message("bert", problem))

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
        fields.require("directionality", "bidi", ("bidi",))
        fields.refuse_unread([*HF_HARMLESS, *HARMLESS], HF_ENCODER_FIXED)
        return found


@architecture(task="feature-extraction", hf=("BertModel", "bert"))
class Bert(nn.Module):
    """Token ids to one vector a token. Parameters have Hugging Face's names."""

    def __init__(self, config: BertConfig) -> None:
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = None
        if config.has_pooler:
            self.pooler = Dense(config.hidden_size, config.hidden_size)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], weights: Checkpoint, device: Device) -> "Bert":
        """From a config.json and safetensors."""
        found = BertConfig.from_hf(config, "pooler.dense.weight" in weights.tensors)
        check_layers(cls.__name__, weights, "encoder.layer.", found.num_hidden_layers)
        model = cls(found)
        fill(model, weights, device, known=[POSITIONS])
        if POSITIONS in weights.tensors:
            stored = weights.tensor(POSITIONS).reshape(-1)
            if not np.array_equal(stored, np.arange(model.config.max_position_embeddings)):
                problem = f"tensor {POSITIONS} does not count from 0"
                raise FormatError(message("Bert", problem, f"file {weights.path}"))
        return model

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
            ShapeError: ids, mask or segments are not (B, T).
            DTypeError: ids that are no integers; a mask of floats, which may be meant to be added.
            OutOfRange: more tokens than the model has positions; an id outside of the
                vocabulary, when the result is realized.
        """
        B, T = batch_shape("Bert", ids)
        limit = self.config.max_position_embeddings
        if T > limit:
            raise OutOfRange(message("bert", f"{T} tokens in a context of {limit}"))
        for name, values in (("mask", mask), ("token_types", token_types)):
            if values is not None:
                check_beside("Bert", name, values, ids)
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
