"""Configurations of decoders as keys of GGUF files and of config.json: the inverse of reading them.

Keys of GGUF: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#llm
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.models.blocks import rotary_scaling as scalings
from numbatorch.models.blocks.rotary import (
    GGUF_FACTORS,
    GGUF_LONG_FACTORS,
    GGUF_SHORT_FACTORS,
    Rope,
)
from numbatorch.models.decoder_config import BaseConfig

Array = np.ndarray[Any, np.dtype[Any]]


class Written(NamedTuple):
    """How models of one class are called in files that are written.

    Attributes:
        gguf: general.architecture.
        hf: the class in config.json; empty where folders are not written.
        model_type: there.
        more: further keys of config.json.
    """

    gguf: str
    hf: str = ""
    model_type: str = ""
    more: Mapping[str, Any] = MappingProxyType({})


WRITTEN: Mapping[str, Written] = {
    "Llama": Written("llama", "LlamaForCausalLM", "llama", {}),
    "Mistral": Written("llama", "MistralForCausalLM", "mistral", {}),
    "Qwen2": Written("qwen2", "Qwen2ForCausalLM", "qwen2", {}),
    "Qwen3": Written("qwen3", "Qwen3ForCausalLM", "qwen3", {}),
    "Qwen3Moe": Written("qwen3moe"),
    "Gemma2": Written("gemma2"),
    "Gemma3": Written("gemma3"),
    "Phi3": Written("phi3"),
}
GEMMA3_LOCAL, GEMMA3_EVERY = 10000.0, 6  # theta of layers with windows; one in so many has none


def written(model: Any) -> Written:
    """How a model is called in files.

    Raises:
        FormatError: models of its class are not written.
    """
    name = type(model).__name__
    if name not in WRITTEN:
        rule = f"written are {', '.join(WRITTEN)}"
        raise FormatError(message("convert", f"a model of class {name}", rule))
    return WRITTEN[name]


def gguf_keys(name: str, config: BaseConfig) -> dict[str, Any]:
    """The metadata of a GGUF file for a configuration, under the name of an architecture.

    Raises:
        FormatError: a scaling of positions, or windows, that the format has no keys for.
    """
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
    }
    found.update(_gguf_windows(name, config))
    found.update(_gguf_more(config))
    found.update(_gguf_rope(config.rope))
    return {f"{name}.{key}": value for key, value in found.items()}


def _gguf_windows(name: str, config: BaseConfig) -> dict[str, Any]:
    """The length of windows; which layers have one is known of an architecture."""
    layers = range(config.num_hidden_layers)
    window = next(filter(None, config.windows), None)
    if window is None:
        return {}
    slides = {
        "gemma2": [number % 2 == 0 for number in layers],
        "gemma3": [(number + 1) % GEMMA3_EVERY != 0 for number in layers],
    }.get(name, [True for _ in layers])
    if [config.window(number) is not None for number in layers] != slides:
        raise FormatError(message("convert", f"windows in other layers than {name} has them"))
    return {"attention.sliding_window": window}


def _gguf_more(config: Any) -> dict[str, Any]:
    """What some configurations say beside what all do."""
    found: dict[str, Any] = {}
    for name, key in (("score", "attn"), ("logit", "final")):
        bound = getattr(config, f"{name}_softcap", None)
        if bound is not None:
            found[f"{key}_logit_softcapping"] = np.float32(bound)
    local = getattr(config, "local_rope", config.rope)
    if local is not config.rope and (local.theta, local.scaling) != (GEMMA3_LOCAL, "default"):
        raise FormatError(message("convert", f"other angles in layers with windows: {local}"))
    size = config.rope.size
    if getattr(config, "score_scale", size**-0.5) != size**-0.5:
        raise FormatError(message("convert", f"scores scaled by {config.score_scale}"))
    if hasattr(config, "num_experts"):
        if not config.normalized or not all(config.sparse):
            problem = "experts in some layers alone, or whose shares are not normalized"
            raise FormatError(message("convert", problem, "GGUF has no keys for it"))
        found["expert_count"] = config.num_experts
        found["expert_used_count"] = config.num_experts_per_tok
        found["expert_feed_forward_length"] = config.expert_size
    return found


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


def hf_config(names: Written, config: BaseConfig) -> dict[str, Any]:
    """The config.json for a configuration.

    Raises:
        FormatError: factors of frequencies, which a config.json cannot say in full.
    """
    rope = config.rope
    if not names.hf:
        rule = "written are " + ", ".join(name for name, value in WRITTEN.items() if value.hf)
        raise FormatError(message("convert", f"a folder of {names.gguf}", rule))
    parameters: dict[str, Any] = {"rope_theta": rope.theta, "rope_type": rope.scaling}
    if rope.factors or rope.scaling not in ("default", "linear", "yarn"):
        problem = "factors of rotary frequencies, which config.json has no form for"
        raise FormatError(message("convert", problem))
    if rope.scaling != "default":
        parameters["factor"] = rope.factor
    if rope.scaling == "yarn":
        parameters["original_max_position_embeddings"] = rope.original_context
        parameters["attention_factor"] = rope.attention_factor
        parameters |= {"beta_fast": rope.beta_fast, "beta_slow": rope.beta_slow}
    found = {
        "architectures": [names.hf],
        "model_type": names.model_type,
        "hidden_act": "silu",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": rope.size,
        "max_position_embeddings": config.max_position_embeddings,
        "rope_parameters": parameters,
        "rms_norm_eps": config.rms_norm_eps,
        "tie_word_embeddings": config.tie_word_embeddings,
        **names.more,
    }
    for key in ("attention_bias", "mlp_bias"):
        if hasattr(config, key):
            found[key] = getattr(config, key)
    if any(config.windows):
        found["sliding_window"] = config.windows[0]
    return found


def turned_rows(values: Array, heads: int, back: bool = False) -> Array:
    """Rows of queries or keys in the order of GGUF files: pairs (2i, 2i + 1) of each head.

    Args:
        values: (heads * D, ...) in Hugging Face's order, pairs (i, i + D/2).
        back: whether it is the other way round.
    """
    inner = (-1, 2) if back else (2, -1)
    parts = values.reshape(heads, *inner, *values.shape[1:])
    return np.ascontiguousarray(parts.swapaxes(1, 2)).reshape(values.shape)


def order_of_rows(model: Any, back: bool = False) -> Callable[[str, Array], Array]:
    """(name of a parameter, its values) to its values in the order of the other kind of file."""
    heads = {
        "self_attn.q_proj": model.config.num_attention_heads,
        "self_attn.k_proj": model.config.num_key_value_heads,
    }

    def order(name: str, values: Array) -> Array:
        for part in model.names.permuted:
            if f".{part}." in name:
                return turned_rows(values, heads[part], back)
        return values

    return order
