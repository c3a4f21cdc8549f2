"""What configurations of decoders have in common, read from config.json or GGUF metadata."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.models.blocks.rotary import Rope
from numbatorch.models.config import Fields

Windows = tuple[int | None, ...]

# What is counted before a file's tensors are looked at: layers, and numbers of a head.
MOST = 1 << 16

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """What a checkpoint of any decoder says about its shape."""

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
    windows: Windows = ()  # keys that a token sees in each layer; None, and no entry: all so far
    logit_softcap: float | None = None  # logits z become cap * tanh(z / cap)

    def __post_init__(self) -> None:
        heads, groups = self.num_attention_heads, self.num_key_value_heads
        if heads % groups:
            operator = type(self).__name__.removesuffix("Config").lower()
            problem = f"{heads} query heads do not share {groups} key/value heads"
            raise FormatError(message(operator, problem))

    @property
    def embedding_scale(self) -> float | None:
        """What embeddings are multiplied with."""
        return None

    def window(self, layer: int) -> int | None:
        """Keys that a token sees in a layer; None: all so far."""
        return self.windows[layer] if self.windows else None

    def gguf_keys(self) -> dict[str, Any]:
        """What a GGUF file says under the architecture's name beside what all decoders do.

        Raises:
            FormatError: what the format has no keys for.
        """
        return windows_to_gguf(self.windows, self.num_hidden_layers, lambda _: False)

    def hf_keys(self) -> dict[str, Any]:
        """What a config.json says beside what all decoders do.

        Raises:
            FormatError: what it has no keys for.
        """
        if any(self.windows):
            raise FormatError(message("convert", "windows", "config.json has no keys for them"))
        return {"hidden_act": "silu"}


def base_from_hf(
    fields: Fields,
    *,
    tied: bool = False,
    head_dim: int | None = None,
    rope: Callable[[Fields, int], Rope] = Rope.from_hf,
) -> dict[str, Any]:
    """The arguments of `BaseConfig` without windows, from a config.json.

    Args:
        fields: its values.
        tied: tie_word_embeddings where nothing is said.
        head_dim: D where nothing is said; C / H if None.
        rope: the angles, by the values and D.
    Raises:
        FormatError: a value is missing, impossible, or stands for what is not here.
    """
    hidden = fields.integer("hidden_size")
    heads = fields.integer("num_attention_heads")
    size = counted(fields, "head_dim", head_dim or hidden // heads or None)
    angles = rope(fields, size)
    return {
        "vocab_size": fields.integer("vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": fields.integer("intermediate_size"),
        "num_hidden_layers": counted(fields, "num_hidden_layers"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.integer("num_key_value_heads", heads),
        "max_position_embeddings": angles.reach(fields.integer("max_position_embeddings", 2048)),
        "rope": angles,
        "rms_norm_eps": fields.number("rms_norm_eps", 1e-6),
        "tie_word_embeddings": fields.flag("tie_word_embeddings", tied),
    }


def base_from_gguf(
    fields: Fields, file: GGUFFile, *, interleaved: bool = False, partial: bool = False
) -> dict[str, Any]:
    """The arguments of `BaseConfig` without windows, from a GGUF file's metadata.

    Args:
        fields: metadata under the architecture's name.
        file: the presence of its tensors says what is tied.
        interleaved, partial: as in `Rope.from_gguf`.
    Raises:
        FormatError: a key is missing, impossible, or stands for what is not here.
    """
    hidden = fields.integer("embedding_length")
    heads = fields.integer("attention.head_count")
    size = counted(fields, "attention.key_length", hidden // heads or None)
    fields.require("attention.value_length", size, (size,))
    embedding = file.tensors.get("token_embd.weight")
    rows = embedding.shape[0] if embedding is not None and embedding.shape else 0
    context = fields.integer("context_length")
    return {
        "vocab_size": fields.integer("vocab_size", rows or None),
        "hidden_size": hidden,
        "intermediate_size": fields.integer("feed_forward_length"),
        "num_hidden_layers": counted(fields, "block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.integer("attention.head_count_kv", heads),
        "max_position_embeddings": context,
        "rope": Rope.from_gguf(fields, file, size, interleaved, partial, context),
        "rms_norm_eps": fields.number("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
    }


def counted(fields: Fields, key: str, default: int | None = None) -> int:
    """A positive integer that lists are as long as.

    Raises:
        FormatError: it is missing, or larger than any model's.
    """
    found = fields.integer(key, default)
    if found > MOST:
        fields.fail(f"{key} is {found}", f"no model has more than {MOST}")
    return found


def windows_from_hf(
    fields: Fields, layers: int, window: int | None, slides: Callable[[int], bool]
) -> Windows:
    """The window of each layer, by `layer_types` or else by a rule.

    Args:
        fields: a config.json.
        layers: how many there are.
        window: keys that a token sees in layers that slide; None: all so far, and none slides.
        slides: the rule, by the number of a layer.
    """
    rule = [SLIDING if window and slides(number) else FULL for number in range(layers)]
    kinds = fields.get("layer_types", rule)
    if not isinstance(kinds, list) or len(kinds) != layers or {*kinds} - {FULL, SLIDING}:
        fields.fail(f"layer_types is not a list of {FULL} and {SLIDING} for {layers} layers")
    if window is None and SLIDING in kinds:
        fields.fail(f"layer_types has {SLIDING}, and sliding_window is not set")
    return tuple(window if kind == SLIDING else None for kind in kinds)


def windows_from_gguf(
    fields: Fields, layers: int, slides: Callable[[int], bool], default: int = 0
) -> Windows:
    """The window of each layer, of the length under attention.sliding_window; 0 is none.

    Args:
        fields: metadata under the architecture's name.
        layers: how many there are.
        slides: by the number of a layer, unless attention.sliding_window_pattern says which.
        default: the length where nothing is said.
    """
    window = fields.count("attention.sliding_window", default)
    if not window:
        return ()
    pattern = fields.get("attention.sliding_window_pattern", [])
    if isinstance(pattern, int):
        every = fields.integer("attention.sliding_window_pattern")
        return tuple(window if (number + 1) % every else None for number in range(layers))
    chosen = list(pattern) or [slides(number) for number in range(layers)]
    if len(chosen) != layers:
        fields.fail(f"attention.sliding_window_pattern has {len(chosen)} of {layers} layers")
    return tuple(window if slid else None for slid in chosen)


def windows_to_gguf(windows: Windows, layers: int, slides: Callable[[int], bool]) -> dict[str, Any]:
    """The inverse of `windows_from_gguf`: the length, for which layers slide is known.

    Raises:
        FormatError: other layers do here.
    """
    length = next(filter(None, windows), None)
    if length is None:
        return {}
    if windows != tuple(length if slides(number) else None for number in range(layers)):
        problem = "windows in other layers than files of this architecture have them"
        raise FormatError(message("convert", problem, f"keys seen: {windows}"))
    return {"attention.sliding_window": length}


def windows_to_hf(windows: Windows, layers: int) -> dict[str, Any]:
    """The inverse of `windows_from_hf`."""
    slid = [bool(windows and windows[number]) for number in range(layers)]
    return {
        "sliding_window": next(filter(None, windows), None),
        "layer_types": [SLIDING if slides else FULL for slides in slid],
    }


def shortest(value: float) -> float:
    """The number with the fewest digits among those that float32 does not tell apart.

    >>> shortest(9.999999974752427e-07)
    1e-06
    """
    return float(str(np.float32(value)))


def upper_windows(fields: Fields, layers: int) -> Windows:
    """The windows of Qwen2 and Qwen3: those of layers from max_window_layers on, where asked for.

    Args:
        fields: a config.json.
        layers: how many there are.
    """
    asked = fields.flag("use_sliding_window", False)
    window = fields.optional("sliding_window", fields.count, 4096)
    first = fields.count("max_window_layers", 28)
    return windows_from_hf(
        fields, layers, window if asked else None, lambda number: number >= first
    )
