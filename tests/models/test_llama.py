"""Llama against a plain NumPy version of the same mathematics, in all its configurations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.models.llama import LlamaConfig
from tests.compare import assert_close
from tests.models.build import (
    BERT,
    BFLOAT16,
    bert_weights,
    llama_config,
    llama_weights,
    write_folder,
    write_gguf,
)
from tests.models.numpy_llama import plain_frequencies, reference

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
IDS = np.array([[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7, 1, 8, 2, 8, 1, 8, 2]])


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


def test_biases_of_queries_keys_and_values_alone(device: str, tmp_path: Path) -> None:
    config = llama_config(attention_bias=True)
    weights = {k: v for k, v in llama_weights(config).items() if not k.endswith("o_proj.bias")}
    expected = reference(config, weights, IDS, plain_frequencies(config))
    for source in (
        write_folder(tmp_path / "folder", config, weights),
        write_gguf(tmp_path / "m.gguf", config, weights),
    ):
        assert_close(logits_of(source, device), expected, "composite")


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
        found = LlamaConfig.from_hf(config).rope.frequencies()
        assert_close(found, expected, "elementwise")


def test_linear_scaling_divides_every_frequency() -> None:
    config = LlamaConfig.from_hf(llama_config(rope_scaling={"type": "linear", "factor": 2.0}))
    expected = plain_frequencies(llama_config()) / 2
    assert_close(config.rope.frequencies(), expected, "elementwise")


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
        cache = model.new_cache(16)
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


@pytest.mark.parametrize(
    ("ids", "kind", "part"),
    [
        (nt.tensor([1, 2, 3]), nt.ShapeError, r"ids \(3,\) int64\n  hint: ids.unsqueeze"),
        (nt.tensor(1), nt.ShapeError, r"ids \(\) int64$"),
        (nt.tensor([[[1]]]), nt.ShapeError, r"ids \(1, 1, 1\) int64$"),
        (nt.ones(1, 2), nt.DTypeError, r"not integers\n  ids \(1, 2\) float32$"),
        ([[1, 2]], TypeError, "ids are list, not a tensor"),
    ],
    ids=["1-d", "0-d", "3-d", "floats", "list"],
)
def test_ids_that_are_no_batch_are_named(
    ids: Any, kind: type[Exception], part: str, tmp_path: Path
) -> None:
    config = llama_config()
    llama = nt.models.from_pretrained(write_folder(tmp_path / "l", config, llama_weights(config)))
    bert = nt.models.from_pretrained(write_folder(tmp_path / "b", BERT, bert_weights(BERT)))
    for model, name in ((llama, "Llama"), (llama.hidden, "Llama"), (bert, "Bert")):
        with pytest.raises(kind, match=rf"^{name}: (.|\n)*{part}"):
            model(ids)


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
