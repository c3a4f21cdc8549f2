"""Decoders as keys of GGUF files and of config.json: the inverse of reading them.

What a model says beside all others stands with its configuration: `gguf_keys` and `hf_keys`.
Keys of GGUF: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#llm
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.models.blocks import rotary_scaling as scalings
from numbatorch.models.blocks.rotary import (
    GGUF_FACTORS,
    GGUF_LONG_FACTORS,
    GGUF_SHORT_FACTORS,
    Rope,
)
from numbatorch.models.decoder_config import BaseConfig, shortest
from numbatorch.models.decoder_model import DecoderModel
from numbatorch.models.registry import names_of

Array = np.ndarray[Any, np.dtype[Any]]

# Of Llama 3: what turns less than the first in the third's tokens is stretched, and what turns
# more than the second is kept. GGUF files hold the factors that this gives.
# https://github.com/meta-llama/llama-models/blob/main/models/llama3/model.py
LLAMA3: Mapping[str, Any] = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_context": 8192,
}
CLOSE = 1e-6  # of float32


def written(model: Any) -> DecoderModel:
    """The model, if files are written of its kind.

    Raises:
        FormatError: they are not; what it lacks.
    """
    if not isinstance(model, DecoderModel):
        problem = f"a model of class {type(model).__name__}"
        raise FormatError(message("convert", problem, "written are classes of DecoderModel"))
    return model


def gguf_keys(model: DecoderModel) -> dict[str, Any]:
    """The metadata of a GGUF file that says what a model is, its architecture first.

    Raises:
        FormatError: a configuration that the format has no keys for.
    """
    config: BaseConfig = model.config
    name = model.written_gguf or next(iter(names_of(type(model), "gguf")), "")
    if not name:
        problem = f"a model of class {type(model).__name__} has no name in GGUF files"
        raise FormatError(message("convert", problem))
    size = config.rope.size
    found: dict[str, Any] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": np.float32(config.rms_norm_eps),
        "attention.key_length": size,
        "attention.value_length": size,
        "rope.dimension_count": config.rope.turned,
        "rope.freq_base": np.float32(config.rope.theta),
        "vocab_size": config.vocab_size,
        **config.gguf_keys(),
        **_gguf_rope(config.rope),
    }
    return {"general.architecture": name, **{f"{name}.{key}": found[key] for key in found}}


def gguf_shape(name: str, shape: tuple[int, ...], config: Any) -> tuple[int, ...]:
    """The shape of a parameter in a GGUF file, where weights of experts are stacked."""
    if ".experts." in name:
        return (config.num_experts, shape[0] // config.num_experts, *shape[1:])
    return shape


def _gguf_rope(rope: Rope) -> dict[str, Any]:
    if rope.scaling in ("default", "llama3"):  # the latter by factors
        return {}
    if rope.scaling == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": np.float32(rope.factor)}
    if rope.scaling == "longrope":
        return {
            "rope.scaling.original_context_length": rope.original_context,
            "rope.scaling.attn_factor": np.float32(rope.attention_factor),
        }
    plain = rope.whole_pairs and rope.attention_factor == scalings.yarn_attention(rope.factor)
    if rope.scaling == "yarn" and plain:
        return {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": np.float32(rope.factor),
            "rope.scaling.original_context_length": rope.original_context,
            "rope.scaling.yarn_beta_fast": np.float32(rope.beta_fast),
            "rope.scaling.yarn_beta_slow": np.float32(rope.beta_slow),
        }
    problem = f"positions that are scaled as {rope.scaling} says here"
    raise FormatError(message("convert", problem, "GGUF has no keys for it"))


def gguf_factors(rope: Rope) -> dict[str, Array]:
    """The tensors of a GGUF file that frequencies are divided by."""
    if rope.scaling == "longrope":
        pairs = ((GGUF_SHORT_FACTORS, rope.factors), (GGUF_LONG_FACTORS, rope.long_factors))
        return {name: np.array(factors, np.float32) for name, factors in pairs}
    if rope.scaling == "llama3":
        plain = scalings.plain(rope.theta, rope.turned)
        return {GGUF_FACTORS: (plain / rope.frequencies()).astype(np.float32)}
    return {GGUF_FACTORS: np.array(rope.factors, np.float32)} if rope.factors else {}


def hf_config(model: DecoderModel) -> dict[str, Any]:
    """The config.json of a model.

    Raises:
        FormatError: a configuration that a config.json cannot say in full.
    """
    config: BaseConfig = model.config
    names = names_of(type(model), "hf")
    if len(names) != 2:
        problem = f"a model of class {type(model).__name__} has no name in config.json"
        raise FormatError(message("convert", problem))
    found = {
        "architectures": [names[0]],
        "model_type": names[1],
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.rope.size,
        "max_position_embeddings": config.max_position_embeddings,
        "rope_theta": shortest(config.rope.theta),  # where versions before 5 look
        "rope_parameters": rope_parameters(config.rope, config.max_position_embeddings),
        "rms_norm_eps": shortest(config.rms_norm_eps),
        "tie_word_embeddings": config.tie_word_embeddings,
    }
    return found | config.hf_keys()


def rope_parameters(rope: Rope, context: int) -> dict[str, Any]:
    """What config.json says of angles.

    Args:
        rope: the angles.
        context: max_position_embeddings.
    Raises:
        FormatError: factors of frequencies that it has no form for.
    """
    rope = _with_llama3(rope)
    found: dict[str, Any] = {"rope_theta": shortest(rope.theta), "rope_type": rope.scaling}
    if rope.rotated is not None:
        found["partial_rotary_factor"] = _share(rope.rotated, rope.size)
    if rope.scaling in ("linear", "yarn", "llama3"):
        found["factor"] = shortest(rope.factor)
    if rope.scaling in ("yarn", "longrope", "llama3"):
        found["original_max_position_embeddings"] = rope.original_context
    if rope.scaling == "llama3":
        found |= {key: getattr(rope, key) for key in ("low_freq_factor", "high_freq_factor")}
    if rope.scaling == "yarn":
        found |= {key: shortest(getattr(rope, key)) for key in ("beta_fast", "beta_slow")}
        usual = scalings.yarn_attention(rope.factor)
    else:
        usual = scalings.longrope_attention(context / rope.original_context, rope.original_context)
    if rope.scaling == "longrope":
        found["short_factor"] = [shortest(factor) for factor in rope.factors]
        found["long_factor"] = [shortest(factor) for factor in rope.long_factors]
    if rope.scaling in ("yarn", "longrope") and abs(rope.attention_factor / usual - 1) > CLOSE:
        found["attention_factor"] = shortest(rope.attention_factor)
    return found


def _share(turned: int, size: int) -> float:
    """A number whose product with `size` is cut to `turned`."""
    share = turned / size
    return share if int(size * share) == turned else (turned + 0.5) / size


def _with_llama3(rope: Rope) -> Rope:
    """The angles, with factors of Llama 3 under their own name.

    Raises:
        FormatError: other factors.
    """
    if rope.scaling == "longrope" or not rope.factors:
        return rope
    guess = replace(rope, scaling="llama3", factor=max(rope.factors), factors=(), **LLAMA3)
    if rope.scaling != "default" or not np.allclose(
        guess.frequencies(), rope.frequencies(), rtol=CLOSE, atol=0
    ):
        problem = "factors of rotary frequencies, which config.json has no form for"
        raise FormatError(message("convert", problem))
    return guess


def turned_rows(values: Array, size: int, back: bool = False) -> Array:
    """Rows of queries or keys in the order of GGUF files: pairs (2i, 2i + 1) of each head.

    Args:
        values: (heads * D, ...) in Hugging Face's order, pairs (i, i + D/2).
        size: D.
        back: whether it is the other way round.
    """
    inner = (size // 2, 2) if back else (2, size // 2)
    parts = values.reshape(-1, *inner, *values.shape[1:])
    return np.ascontiguousarray(parts.swapaxes(1, 2)).reshape(values.shape)


def order_of_rows(model: DecoderModel, back: bool = False) -> Callable[[str, Array], Array]:
    """(name of a parameter, rows of whole heads) to the rows in the order of the other files."""
    size = model.config.rope.size

    def order(name: str, values: Array) -> Array:
        for part in model.names.permuted:
            if f".{part}." in name:
                return turned_rows(values, size, back)
        return values

    return order
