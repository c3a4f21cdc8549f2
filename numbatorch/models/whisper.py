"""Whisper: an encoder of 30 seconds of sound and a decoder of the text that is said in them.

Letters: B batch, M mel bins, S encoder states, T tokens, H heads, D head size, C hidden size,
V vocabulary. Source: https://arxiv.org/abs/2212.04356
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import FormatError, OutOfRange, ShapeError, message
from numbatorch.io.ctranslate2 import CTranslate2File
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.batch import batch_shape
from numbatorch.models.blocks.cache import KVCache, LayerCache
from numbatorch.models.blocks.heads import HeadAttention, Keys
from numbatorch.models.checkpoint import Source, check_layers, fill
from numbatorch.models.config import HF_FIXED, HF_HARMLESS, Fields
from numbatorch.models.registry import architecture
from numbatorch.nn import functional as F
from numbatorch.ops.matmul import Compute
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor, arange
from numbatorch.tensor.base import host_node

# Keys of config.json that say nothing of a forward pass: of training, of classifiers, of how
# timestamps of words are smoothed, and what generation_config.json says today; transformers reads
# scale_embedding and multiplies nothing by it.
HARMLESS = """
    activation_dropout apply_spec_augment classifier_proj_size decoder_layerdrop dropout
    encoder_layerdrop forced_decoder_ids init_std mask_feature_length mask_feature_min_masks
    mask_feature_prob mask_time_length mask_time_min_masks mask_time_prob median_filter_width
    num_hidden_layers scale_embedding use_weighted_layer_sum
""".split()
HEAD = "proj_out.weight"  # some checkpoints repeat the embedding under this name

# Modules to what CTranslate2 calls them, and the part that is theirs: (number, of how many).
CT2_NAMES = {
    "encoder_attn.q_proj": ("attention/linear_0", 0, 1),
    "encoder_attn.k_proj": ("attention/linear_1", 0, 2),
    "encoder_attn.v_proj": ("attention/linear_1", 1, 2),
    "encoder_attn.out_proj": ("attention/linear_2", 0, 1),
    "encoder_attn_layer_norm": ("attention/layer_norm", 0, 1),
    "self_attn.q_proj": ("self_attention/linear_0", 0, 3),
    "self_attn.k_proj": ("self_attention/linear_0", 1, 3),
    "self_attn.v_proj": ("self_attention/linear_0", 2, 3),
    "self_attn.out_proj": ("self_attention/linear_1", 0, 1),
    "self_attn_layer_norm": ("self_attention/layer_norm", 0, 1),
    "fc1": ("ffn/linear_0", 0, 1),
    "fc2": ("ffn/linear_1", 0, 1),
    "final_layer_norm": ("ffn/layer_norm", 0, 1),
    "embed_tokens": ("embeddings", 0, 1),
    "embed_positions": ("position_encodings", 0, 1),
}
CT2_REVISION = 3  # of the spec, the last one known
# Numbers that say what is computed, with those that are computed here: 3 is the exact gelu.
CT2_FIXED = {
    "decoder/activation": 3,
    "decoder/alibi": 0,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
# Those that change nothing here: what attention to return.
CT2_HARMLESS = ("decoder/alignment_heads", "decoder/alignment_layer")


@dataclass(frozen=True)
class WhisperConfig:
    """What a checkpoint says about its shape."""

    vocab_size: int  # V, rows of the embedding
    hidden_size: int  # C
    encoder_layers: int
    decoder_layers: int
    encoder_attention_heads: int  # divides C, as does the decoder's number
    decoder_attention_heads: int
    encoder_ffn_dim: int  # width of the encoder's feed-forward parts
    decoder_ffn_dim: int  # width of the decoder's
    num_mel_bins: int = 80  # M
    max_source_positions: int = 1500  # S, half of a window's frames
    max_position_embeddings: int = 448  # tokens of a window, with those before its text

    def __post_init__(self) -> None:
        for heads in (self.encoder_attention_heads, self.decoder_attention_heads):
            if self.hidden_size % heads:
                problem = f"{heads} heads do not divide {self.hidden_size}"
                raise FormatError(message("whisper", problem))

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "WhisperConfig":
        """From a config.json.

        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("whisper", config)
        fields.require("activation_function", "gelu", ("gelu",))
        fields.require("tie_word_embeddings", True, (True,))
        found = cls(
            vocab_size=fields.integer("vocab_size"),
            hidden_size=fields.integer("d_model"),
            encoder_layers=fields.integer("encoder_layers"),
            decoder_layers=fields.integer("decoder_layers"),
            encoder_attention_heads=fields.integer("encoder_attention_heads"),
            decoder_attention_heads=fields.integer("decoder_attention_heads"),
            encoder_ffn_dim=fields.integer("encoder_ffn_dim"),
            decoder_ffn_dim=fields.integer("decoder_ffn_dim"),
            num_mel_bins=fields.integer("num_mel_bins", 80),
            max_source_positions=fields.integer("max_source_positions", 1500),
            max_position_embeddings=fields.integer("max_target_positions", 448),
        )
        fixed = {**HF_FIXED, "is_encoder_decoder": True, "is_decoder": False}
        fields.refuse_unread([*HF_HARMLESS, *HARMLESS], fixed)
        return found

    @classmethod
    def from_ctranslate2(cls, file: CTranslate2File) -> "WhisperConfig":
        """From the numbers in a model.bin, and the shapes of its tensors.

        Raises:
            FormatError: a number is missing, or stands for what is not here; a tensor that says a
                size is missing, or has other dimensions.
        """
        fields = Fields("whisper", file.scalars, place=str(file.path))
        heads = [fields.integer(f"{part}/num_heads") for part in ("encoder", "decoder")]
        for key, value in CT2_FIXED.items():
            fields.require(key, value, (value,))
        fields.refuse_unread(CT2_HARMLESS)
        if file.revision > CT2_REVISION:
            fields.fail(
                f"revision {file.revision} of WhisperSpec; the last known is {CT2_REVISION}"
            )

        def sizes(name: str, rank: int) -> tuple[int, ...]:
            info = file.tensors.get(name)
            if info is None or len(info.shape) != rank:
                found = "missing" if info is None else f"{info.shape}, not of {rank} dimensions"
                fields.fail(f"tensor {name} is {found}")
            return info.shape

        def layers(part: str) -> int:
            pattern = re.compile(rf"{part}/layer_(\d+)/")
            return len({x[1] for x in map(pattern.match, file.tensors) if x is not None})

        vocabulary, hidden = sizes("decoder/embeddings/weight", 2)
        return cls(
            vocab_size=vocabulary,
            hidden_size=hidden,
            encoder_layers=layers("encoder"),
            decoder_layers=layers("decoder"),
            encoder_attention_heads=heads[0],
            decoder_attention_heads=heads[1],
            encoder_ffn_dim=sizes("encoder/layer_0/ffn/linear_0/weight", 2)[0],
            decoder_ffn_dim=sizes("decoder/layer_0/ffn/linear_0/weight", 2)[0],
            num_mel_bins=sizes("encoder/conv1/weight", 3)[1],
            max_source_positions=sizes("encoder/position_encodings/encodings", 2)[0],
            max_position_embeddings=sizes("decoder/position_encodings/encodings", 2)[0],
        )


class FeedForward(nn.Module):
    """x + fc2(gelu(fc1(norm(x)))), the last part of a layer; its parts stand in the layer itself.

    Parameters have Hugging Face's names, so the parts of a layer are no modules of their own.
    """

    def __init__(self, hidden: int, wide: int) -> None:
        self.fc1 = nn.Linear(hidden, wide)
        self.fc2 = nn.Linear(wide, hidden)
        self.final_layer_norm = nn.LayerNorm(hidden)

    def fed(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        return out


class EncoderLayer(FeedForward):
    """Every state looks at every state."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config.hidden_size, config.encoder_ffn_dim)
        self.self_attn = HeadAttention(config.hidden_size, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, C) -> (B, S, C)."""
        return self.fed(x + self.self_attn(self.self_attn_layer_norm(x)))


class DecoderLayer(FeedForward):
    """A token looks at those before it, then at what was heard."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config.hidden_size, config.decoder_ffn_dim)
        self.self_attn = HeadAttention(config.hidden_size, config.decoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.hidden_size)
        self.encoder_attn = HeadAttention(config.hidden_size, config.decoder_attention_heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(config.hidden_size)

    def forward(self, x: Tensor, heard: Keys, memory: LayerCache | None, position: int) -> Tensor:
        """x: (B, T, C) -> (B, T, C); `heard` are the keys and values of the states."""
        normed = self.self_attn_layer_norm(x)
        x = x + self.self_attn(normed, causal=True, memory=memory, position=position)
        return self.fed(x + self.encoder_attn(self.encoder_attn_layer_norm(x), heard))


class Encoder(nn.Module):
    """Two convolutions over frames, the second halves their number, then layers."""

    def __init__(self, config: WhisperConfig) -> None:
        size = config.hidden_size
        self.conv1 = nn.Conv1d(config.num_mel_bins, size, 3, padding=1)
        self.conv2 = nn.Conv1d(size, size, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_source_positions, size)
        self.layers = nn.ModuleList([EncoderLayer(config) for _ in range(config.encoder_layers)])
        self.layer_norm = nn.LayerNorm(size)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, M, 2S) -> (B, S, C)."""
        x = F.gelu(_convolved(self.conv1, mel, stride=1))
        x = F.gelu(_convolved(self.conv2, x, stride=2)).transpose(1, 2)
        x = x + self.embed_positions.weight
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.layer_norm(x)
        return out


class Decoder(nn.Module):
    """Embeddings of tokens and positions, and layers."""

    def __init__(self, config: WhisperConfig) -> None:
        size = config.hidden_size
        self.embed_tokens = nn.Embedding(config.vocab_size, size)
        self.embed_positions = nn.Embedding(config.max_position_embeddings, size)
        self.layers = nn.ModuleList([DecoderLayer(config) for _ in range(config.decoder_layers)])
        self.layer_norm = nn.LayerNorm(size)


@architecture(
    task="speech-to-text",
    hf=("WhisperForConditionalGeneration", "whisper"),
    ctranslate2="WhisperSpec",
)
class Whisper(nn.Module):
    """Spectrograms and ids to logits. Parameters have Hugging Face's names after `model.`.

    Computes in float32 on weights in their stored type.

    Attributes:
        compute: as of `F.linear`, of the head.

    >>> logits = model(mel, nt.tensor([[50258]]))  # doctest: +SKIP
    """

    compute: Compute | None = None

    def __init__(self, config: WhisperConfig) -> None:
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], weights: Checkpoint, device: Device) -> "Whisper":
        """From a config.json and safetensors."""
        found = WhisperConfig.from_hf(config)
        check_layers(cls.__name__, weights, "model.encoder.layers.", found.encoder_layers)
        check_layers(cls.__name__, weights, "model.decoder.layers.", found.decoder_layers)
        model = cls(found)
        fill(model, weights, device, lambda name: f"model.{name}", known=[HEAD])
        if HEAD in weights.tensors:
            same = weights.tensor("model.decoder.embed_tokens.weight")
            if not np.array_equal(weights.tensor(HEAD), same):
                problem = f"tensor {HEAD} is not the embedding of tokens"
                raise FormatError(message("Whisper", problem, f"file {weights.path}"))
        return model

    @classmethod
    def from_ctranslate2(cls, file: CTranslate2File, device: Device) -> "Whisper":
        """From CTranslate2's model.bin, in which projections of the same input are one."""
        model = cls(WhisperConfig.from_ctranslate2(file))
        sources = {
            name: _ct2_source(file, name, parameter.shape)
            for name, parameter in model.named_parameters()
        }
        fill(model, file, device, sources=sources)
        C = model.config.hidden_size
        for ending, at in (("/self_attention/linear_0/bias", C), ("/attention/linear_1/bias", 0)):
            for name in file.tensors:
                if name.endswith(ending) and file.tensor(name, slice(at, at + C)).any():
                    problem = f"tensor {name} has a bias of keys, which are computed without"
                    raise FormatError(message("Whisper", problem, f"file {file.path}"))
        return model

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.head.weight.device

    @property
    def head(self) -> nn.Embedding:
        """Whose weight gives the logits."""
        return self.decoder.embed_tokens

    def encode(self, mel: Tensor) -> Tensor:
        """States of windows.

        Args:
            mel: (B, M, 2S) log-mel spectrograms, float32.
        Returns:
            (B, S, C).
        Raises:
            ShapeError: another shape.
        """
        expected = (self.config.num_mel_bins, 2 * self.config.max_source_positions)
        if mel.ndim != 3 or mel.shape[1:] != expected:
            rows = (
                f"mel {mel.shape} {mel.dtype.name}",
                f"expected (B, {expected[0]}, {expected[1]})",
            )
            raise ShapeError(message("Whisper", "spectrograms are not whole windows", *rows))
        out: Tensor = self.encoder(mel)
        return out

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """Memory for the keys and values of `capacity` tokens of `batch` texts."""
        return self._memory(batch, capacity)

    def new_heard(self, batch: int = 1) -> KVCache:
        """Memory for the keys and values of the states of `batch` windows."""
        return self._memory(batch, self.config.max_source_positions)

    def _memory(self, batch: int, capacity: int) -> KVCache:
        heads = self.config.decoder_attention_heads
        shape = (batch, heads, capacity, self.config.hidden_size // heads)
        return KVCache(self.config.decoder_layers, shape, {}, self.device)

    def hear(self, states: Tensor, heard: KVCache) -> None:
        """Write what the decoder's layers look at of states (B, S, C), once for a window."""
        for number, layer in enumerate(self.decoder.layers):
            k, v = layer.encoder_attn.keys(states)
            heard.layer(number).extended(k, v, 0)

    def decode(
        self,
        ids: Tensor,
        heard: KVCache,
        cache: KVCache | None = None,
        position: int = 0,
        last: bool = False,
    ) -> Tensor:
        """Logits of the token after each one, for windows that were heard.

        Args:
            ids: (B, T) integers.
            heard: what `hear` wrote.
            cache: keys and values of the tokens before `position`; those of `ids` are added.
            position: of the first of the T; may be a plan variable.
            last: only for the last token.
        Returns:
            (B, T, V), or (B, 1, V) if `last`.
        Raises:
            ShapeError, DTypeError: ids are not (B, T), or no integers.
            OutOfRange: an id outside of the vocabulary, when the result is realized; more
                positions than there are.
        """
        x = self.hidden(ids, heard, cache, position)
        return self._logits(x[:, -1:] if last else x)

    def hidden(
        self, ids: Tensor, heard: KVCache, cache: KVCache | None = None, position: int = 0
    ) -> Tensor:
        """As `decode`, but what the last layer gives: (B, T, C)."""

        def keys_of(number: int, _: DecoderLayer) -> Keys:
            return heard.memory[number, 0], heard.memory[number, 1]

        return self._hidden(ids, keys_of, cache, position)

    def forward(self, mel: Tensor, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of the tokens after `ids` (B, T), of windows `mel` (B, M, 2S)."""
        states = self.encode(mel)
        return self._logits(
            self._hidden(ids, lambda _, layer: layer.encoder_attn.keys(states), None, 0)
        )

    def _hidden(
        self,
        ids: Tensor,
        keys_of: Callable[[int, DecoderLayer], Keys],
        cache: KVCache | None,
        position: int,
    ) -> Tensor:
        _, T = batch_shape("Whisper", ids)
        limit = self.config.max_position_embeddings
        if int(position) + T > limit:
            problem = f"{int(position) + T} tokens in a context of {limit}"
            raise OutOfRange(message("Whisper", problem))
        x: Tensor = self.decoder.embed_tokens(ids)
        x = x.to(x.dtype.compute)  # half types are computed on in float32
        positions = arange(T, device=self.device) + position
        x = x + self.decoder.embed_positions(positions)
        for number, layer in enumerate(self.decoder.layers):
            memory = None if cache is None else cache.layer(number)
            x = layer(x, keys_of(number, layer), memory, position)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self.decoder.layer_norm(x), self.head.weight, compute=self.compute)


def _convolved(layer: nn.Conv1d, x: Tensor, stride: int) -> Tensor:
    """With weights of half types, which are few, in x's dtype."""
    assert layer.bias is not None
    weight, bias = layer.weight.to(x.dtype), layer.bias.to(x.dtype)
    return F.conv1d(x, weight, bias, stride=stride, padding=1)


def _ct2_source(file: CTranslate2File, name: str, shape: Shape) -> Source:
    """Where a parameter stands in a model.bin: some rows of a tensor."""
    part, *layer, kind = re.sub(r"\blayers\.", "layer_", name).split(".")
    numbered = [layer.pop(0)] if layer[0].startswith("layer_") and layer[0][6:].isdigit() else []
    module, number, count = CT2_NAMES.get(".".join(layer), ("/".join(layer), 0, 1))
    if "norm" in module:
        kind = {"weight": "gamma", "bias": "beta"}[kind]
    if module == "position_encodings":
        kind = "encodings"
    stored = "/".join([part, *numbered, module, kind])
    rows = shape[0]
    picked = slice(number * rows, (number + 1) * rows)
    return Source({stored: (rows * count, *shape[1:])}, partial(_rows, file, stored, picked))


def _rows(file: CTranslate2File, name: str, rows: slice, device: Device) -> Tensor:
    array = file.tensor(name, rows)
    return Tensor(host_node(array, file.tensors[name].dtype, device, array.shape))
