"""Small checkpoints with seeded random weights, as Hugging Face folders and GGUF files."""

import json
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np

from numbatorch.io.safetensors import save_safetensors

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 80,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 64,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
BERT = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "vocab_size": 50,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}


def llama_config(**changes: Any) -> dict[str, Any]:
    """The configuration with keys replaced; None removes a key."""
    return {key: value for key, value in {**LLAMA, **changes}.items() if value is not None}


def llama_weights(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Hugging Face's names to float32 values."""
    rng = np.random.default_rng(seed)
    C, wide, heads = (
        config[k] for k in ("hidden_size", "intermediate_size", "num_attention_heads")
    )
    size = config.get("head_dim") or C // heads
    narrow = config["num_key_value_heads"] * size

    def normal(*shape: int) -> np.ndarray:
        scale = shape[-1] ** -0.5 if len(shape) > 1 else 0.1
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    found = {"model.embed_tokens.weight": normal(config["vocab_size"], C)}
    matrices = {
        "self_attn.q_proj": (heads * size, C),
        "self_attn.k_proj": (narrow, C),
        "self_attn.v_proj": (narrow, C),
        "self_attn.o_proj": (C, heads * size),
        "mlp.gate_proj": (wide, C),
        "mlp.up_proj": (wide, C),
        "mlp.down_proj": (C, wide),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{prefix}{norm}.weight"] = 1 + normal(C)
        for name, shape in matrices.items():
            found[f"{prefix}{name}.weight"] = normal(*shape)
            part = "attention_bias" if name.startswith("self_attn") else "mlp_bias"
            if config.get(part):
                found[f"{prefix}{name}.bias"] = normal(shape[0])
    found["model.norm.weight"] = 1 + normal(C)
    if not config.get("tie_word_embeddings"):
        found["lm_head.weight"] = normal(config["vocab_size"], C)
    return found


def bert_weights(config: dict[str, Any], pooler: bool = True) -> dict[str, np.ndarray]:
    """Hugging Face's names to float32 values."""
    rng = np.random.default_rng(1)
    C, wide = config["hidden_size"], config["intermediate_size"]
    found: dict[str, np.ndarray] = {}

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)

    def dense(name: str, rows: int, columns: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = normal(rows, columns), normal(rows)

    def norm(name: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = 1 + normal(C), normal(C)

    for name, rows in (
        ("word", "vocab_size"),
        ("position", "max_position_embeddings"),
        ("token_type", "type_vocab_size"),
    ):
        found[f"embeddings.{name}_embeddings.weight"] = normal(config[rows], C)
    norm("embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{prefix}.attention.self.{part}", C, C)
        dense(f"{prefix}.attention.output.dense", C, C)
        norm(f"{prefix}.attention.output.LayerNorm")
        dense(f"{prefix}.intermediate.dense", wide, C)
        dense(f"{prefix}.output.dense", C, wide)
        norm(f"{prefix}.output.LayerNorm")
    if pooler:
        dense("pooler.dense", C, C)
    return found


def write_folder(
    folder: Path, config: dict[str, Any], weights: dict[str, np.ndarray], dtype: Any = np.float32
) -> Path:
    """A Hugging Face folder; floats are stored in `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    arrays = {k: v.astype(dtype) if v.dtype == np.float32 else v for k, v in weights.items()}
    save_safetensors(folder / "model.safetensors", arrays)
    return folder


BFLOAT16 = ml_dtypes.bfloat16

GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
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


def write_gguf(
    path: Path,
    config: dict[str, Any],
    weights: dict[str, np.ndarray],
    keys: dict[str, Any] | None = None,
    extra: dict[str, np.ndarray] | None = None,
    architecture: str = "llama",
    permuted: bool = True,
) -> Path:
    """A GGUF file of float32 tensors without a vocabulary.

    Args:
        keys: metadata beside the usual; None as a value leaves a key out.
        extra: tensors beside the weights.
        permuted: whether rows of queries and keys are, as converters do for Llama.
    """
    writer = gguf.GGUFWriter(str(path), architecture)
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    usual: dict[str, Any] = {
        f"{architecture}.context_length": config["max_position_embeddings"],
        f"{architecture}.embedding_length": config["hidden_size"],
        f"{architecture}.block_count": config["num_hidden_layers"],
        f"{architecture}.feed_forward_length": config["intermediate_size"],
        f"{architecture}.attention.head_count": heads,
        f"{architecture}.attention.head_count_kv": groups,
        f"{architecture}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        f"{architecture}.rope.freq_base": config["rope_theta"],
        **(keys or {}),
    }
    for key, value in usual.items():
        if isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif value is not None:
            writer.add_uint32(key, value)
    for name, array in weights.items():
        part, _, kind = name.rpartition(".")
        layer, _, inner = part.removeprefix("model.layers.").partition(".")
        stored = GGUF_NAMES[part] if part in GGUF_NAMES else f"blk.{layer}.{GGUF_NAMES[inner]}"
        for projection, count in (("q_proj", heads), ("k_proj", groups)):
            if permuted and part.endswith(projection):
                halves = array.reshape(count, 2, -1, *array.shape[1:])
                array = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)
        writer.add_tensor(f"{stored}.{kind}", array)
    for name, array in (extra or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
