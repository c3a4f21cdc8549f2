"""Llama's mathematics in plain NumPy, without a cache."""

from typing import Any

import numpy as np


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def reference(
    config: dict[str, Any], weights: dict[str, np.ndarray], ids: np.ndarray, frequencies: np.ndarray
) -> np.ndarray:
    """Logits in float64, one head of one text at a time."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    D = config.get("head_dim") or config["hidden_size"] // heads

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scale = np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"])
        return x / scale * w[name]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def turned(x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        for t in range(len(x)):
            for i in range(D // 2):
                c, s = np.cos(t * frequencies[i]), np.sin(t * frequencies[i])
                a, b = x[t, i], x[t, i + D // 2]
                out[t, i], out[t, i + D // 2] = a * c - b * s, b * c + a * s
        return out

    out = []
    for text in ids:
        x = w["model.embed_tokens.weight"][text]
        for layer in range(config["num_hidden_layers"]):
            name = f"model.layers.{layer}."
            h = norm(x, name + "input_layernorm.weight")
            q, k, v = (linear(h, f"{name}self_attn.{p}_proj") for p in "qkv")
            parts = []
            for head in range(heads):
                g = head * groups // heads
                here, there = slice(head * D, head * D + D), slice(g * D, g * D + D)
                scores = turned(q[:, here]) @ turned(k[:, there]).T / np.sqrt(D)
                scores = np.where(np.tri(len(text), dtype=bool), scores, -np.inf)
                e = np.exp(scores - scores.max(-1, keepdims=True))
                parts.append(e / e.sum(-1, keepdims=True) @ v[:, there])
            x = x + linear(np.concatenate(parts, -1), name + "self_attn.o_proj")
            h = norm(x, name + "post_attention_layernorm.weight")
            gated = silu(linear(h, name + "mlp.gate_proj")) * linear(h, name + "mlp.up_proj")
            x = x + linear(gated, name + "mlp.down_proj")
        head_name = "lm_head" if "lm_head.weight" in w else "model.embed_tokens"
        out.append(linear(norm(x, "model.norm.weight"), head_name))
    return np.array(out)


def plain_frequencies(config: dict[str, Any]) -> np.ndarray:
    """Without scaling, straight from the definition theta^(-2i/D)."""
    D = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return np.array([config["rope_theta"] ** (-2 * i / D) for i in range(D // 2)])
