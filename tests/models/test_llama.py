"""Llama against a plain NumPy version of the same mathematics, in all its configurations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.models.llama import KVCache, LlamaConfig, rotary_frequencies
from tests.compare import assert_close
from tests.models.build import (
    BFLOAT16,
    llama_config,
    llama_weights,
    write_folder,
    write_gguf,
)

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
IDS = np.array([[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7, 1, 8, 2, 8, 1, 8, 2]])


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


def logits_of(source: Path, device: str, ids: np.ndarray = IDS) -> np.ndarray:
    model = nt.models.from_pretrained(source, device=device)
    return model(nt.tensor(ids, device=device)).detach().numpy()


CONFIGS = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "one group": {"num_key_value_heads": 1},
    "a group a head": {"num_key_value_heads": 4},
    "wide heads": {"head_dim": 24},
    "another theta": {"rope_theta": 500.0},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_logits_equal_numpy(changes: dict[str, Any], device: str, tmp_path: Path) -> None:
    config = llama_config(**changes)
    weights = llama_weights(config)
    expected = reference(config, weights, IDS, plain_frequencies(config))
    actual = logits_of(write_folder(tmp_path, config, weights), device)
    assert_close(actual, expected, "composite")


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_gguf_equals_the_folder(changes: dict[str, Any], tmp_path: Path) -> None:
    config = llama_config(**changes)
    weights = llama_weights(config)
    size = config.get("head_dim") or 16
    keys = {f"llama.attention.{k}_length": size for k in ("key", "value")}
    file = write_gguf(tmp_path / "m.gguf", config, weights, keys)
    expected = reference(config, weights, IDS, plain_frequencies(config))
    assert_close(logits_of(file, "cpu"), expected, "composite")


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16], ids=["float16", "bfloat16"])
def test_narrow_weights_are_computed_in_float32(dtype: Any, device: str, tmp_path: Path) -> None:
    config = llama_config()
    weights = llama_weights(config)
    folder = write_folder(tmp_path, config, weights, dtype)
    rounded = {name: array.astype(dtype).astype(np.float32) for name, array in weights.items()}
    expected = reference(config, rounded, IDS, plain_frequencies(config))
    model = nt.models.from_pretrained(folder, device=device)
    assert all(p.dtype.itemsize == 2 for p in model.parameters())
    assert_close(logits_of(folder, device), expected, "composite")


def llama3_frequencies(config: dict[str, Any], scaling: dict[str, Any]) -> np.ndarray:
    """As the Llama-3 release computes them, wavelength by wavelength."""
    old = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    found = []
    for frequency in plain_frequencies(config):
        wavelength = 2 * np.pi / frequency
        if wavelength < old / high:
            found.append(frequency)
        elif wavelength > old / low:
            found.append(frequency / scaling["factor"])
        else:
            smooth = (old / wavelength - low) / (high - low)
            found.append((1 - smooth) * frequency / scaling["factor"] + smooth * frequency)
    return np.array(found)


def test_llama3_scaling_by_its_older_and_its_newer_key() -> None:
    plain = llama_config()
    expected = llama3_frequencies(plain, LLAMA3)
    assert (expected != plain_frequencies(plain)).any()
    for config in (
        llama_config(rope_scaling=LLAMA3),
        llama_config(rope_theta=None, rope_parameters={**LLAMA3, "rope_theta": 10000.0}),
        llama_config(rope_scaling={**LLAMA3, "type": "llama3"}),
    ):
        found = rotary_frequencies(LlamaConfig.from_hf(config))
        assert_close(found, expected, "elementwise")


def test_linear_scaling_divides_every_frequency() -> None:
    config = LlamaConfig.from_hf(llama_config(rope_scaling={"type": "linear", "factor": 2.0}))
    expected = plain_frequencies(llama_config()) / 2
    assert_close(rotary_frequencies(config), expected, "elementwise")


def test_gguf_rope_factors_divide_the_frequencies(tmp_path: Path) -> None:
    config = llama_config()
    weights = llama_weights(config)
    factors = np.linspace(1, 8, 8, dtype=np.float32)
    extra = {"rope_freqs.weight": factors}
    file = write_gguf(tmp_path / "m.gguf", config, weights, extra=extra)
    expected = reference(config, weights, IDS, plain_frequencies(config) / factors)
    assert_close(logits_of(file, "cpu"), expected, "composite")


@pytest.mark.parametrize("cuts", [[1] * 9, [4, 4, 1], [9], [2, 7]], ids=str)
def test_pieces_through_a_cache_equal_the_whole(
    cuts: list[int], device: str, tmp_path: Path
) -> None:
    config = llama_config()
    folder = write_folder(tmp_path, config, llama_weights(config))
    model = nt.models.from_pretrained(folder, device=device)
    ids = nt.tensor(IDS[:1], device=device)
    with nt.no_grad():
        whole = model(ids).numpy()
        cache = KVCache(model, 16)
        position, parts = 0, []
        for size in cuts:
            parts.append(model(ids[:, position : position + size], cache, position).numpy())
            position += size
    assert_close(np.concatenate(parts, 1), whole, "composite")


def test_last_is_the_last_row(tmp_path: Path) -> None:
    config = llama_config()
    model = nt.models.from_pretrained(write_folder(tmp_path, config, llama_weights(config)))
    with nt.no_grad():
        whole, last = model(nt.tensor(IDS)), model(nt.tensor(IDS), last=True)
    assert last.shape == (2, 1, 80)
    assert_close(last, whole.numpy()[:, -1:], "composite")


def test_more_tokens_than_the_context_is_an_error_with_both_lengths(tmp_path: Path) -> None:
    config = llama_config()
    model = nt.models.from_pretrained(write_folder(tmp_path, config, llama_weights(config)))
    with pytest.raises(nt.OutOfRange, match="65 tokens in a context of 64"):
        model(nt.zeros(1, 65, dtype=nt.int64))


def test_an_id_outside_of_the_vocabulary_is_out_of_range(device: str, tmp_path: Path) -> None:
    config = llama_config()
    folder = write_folder(tmp_path, config, llama_weights(config))
    model = nt.models.from_pretrained(folder, device=device)
    for id in (80, -1):
        with pytest.raises(nt.OutOfRange):
            model(nt.tensor([[1, id]], device=device)).detach().numpy()


def test_weights_lie_in_the_mapped_file(fixtures: Path) -> None:
    file = nt.io.gguf.GGUFFile(fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf")
    model = nt.models.from_gguf(file, nt.device("cpu"))
    mapped = file.tensor("blk.0.ffn_up.weight").__array_interface__["data"][0]
    weight = model.model.layers[0].mlp.up_proj.weight
    assert weight.dtype.name == "Q4_0"
    assert weight.detach().numpy().__array_interface__["data"][0] == mapped


def test_float_gives_parameters_that_train(tmp_path: Path) -> None:
    config = llama_config(tie_word_embeddings=True)
    folder = write_folder(tmp_path, config, llama_weights(config), np.float16)
    model = nt.models.from_pretrained(folder).float()
    model(nt.tensor(IDS)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.dtype is nt.float32, name
        assert parameter.grad is not None, name
        assert np.abs(parameter.grad.numpy()).max() > 0, name


def test_a_new_model_has_a_checkpoints_names() -> None:
    config = llama_config()
    model = nt.models.Llama(LlamaConfig.from_hf(config))
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes == {name: array.shape for name, array in llama_weights(config).items()}
