"""BERT against a plain NumPy version, and the published MiniLM checkpoint's recorded embeddings."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import assert_close
from tests.models.build import BERT, BFLOAT16, bert_weights, write_folder

erf = np.vectorize(math.erf)


def reference(
    config: dict[str, Any], weights: dict[str, np.ndarray], ids: np.ndarray, types: np.ndarray
) -> np.ndarray:
    """Last hidden state (T, C) of one text, in float64, one head at a time."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    heads = config["num_attention_heads"]
    D = config["hidden_size"] // heads

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][types], "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        q, k, v = (dense(x, f"{name}.attention.self.{p}") for p in ("query", "key", "value"))
        parts = []
        for head in range(heads):
            at = slice(head * D, head * D + D)
            e = np.exp(q[:, at] @ k[:, at].T / np.sqrt(D))
            parts.append(e / e.sum(-1, keepdims=True) @ v[:, at])
        attended = dense(np.concatenate(parts, -1), f"{name}.attention.output.dense")
        x = norm(attended + x, f"{name}.attention.output.LayerNorm")
        wide = dense(x, f"{name}.intermediate.dense")
        wide = wide * 0.5 * (1 + erf(wide / math.sqrt(2)))
        x = norm(dense(wide, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
    return x


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path, BERT, bert_weights(BERT))


def test_texts_of_unequal_length_equal_numpy(folder: Path, device: str) -> None:
    rng = np.random.default_rng(0)
    lengths = [7, 1, 4]
    ids, types = rng.integers(0, 50, (3, 7)), rng.integers(0, 2, (3, 7))
    mask = np.arange(7) < np.array(lengths)[:, None]
    model = nt.models.from_pretrained(folder, device=device)
    inputs = [nt.tensor(array, device=device) for array in (ids, mask, types)]
    with nt.no_grad():
        hidden = model(*inputs).numpy()
    weights = bert_weights(BERT)
    for row, length in enumerate(lengths):
        expected = reference(BERT, weights, ids[row, :length], types[row, :length])
        assert_close(hidden[row, :length], expected, "composite")


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16], ids=["float16", "bfloat16"])
def test_narrow_weights_are_computed_in_float32(dtype: Any, device: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, BERT, bert_weights(BERT), dtype)
    model = nt.models.from_pretrained(folder, device=device)
    assert all(p.dtype.itemsize == 2 for p in model.parameters())
    ids = np.array([3, 1, 4, 1, 5])
    with nt.no_grad():
        hidden = model(nt.tensor(ids[None], device=device)).numpy()[0]
    rounded = {name: a.astype(dtype).astype("f4") for name, a in bert_weights(BERT).items()}
    assert_close(hidden, reference(BERT, rounded, ids, np.zeros(5, int)), "composite")


def test_what_was_filled_up_does_not_matter(folder: Path) -> None:
    model = nt.models.from_pretrained(folder)
    mask = nt.tensor([[True, True, True, False, False]])
    with nt.no_grad():
        outs = [model(nt.tensor([[3, 1, 4, *fill]]), mask).numpy() for fill in ([0, 0], [9, 8])]
        counted = model(nt.tensor([[3, 1, 4, 0, 0]]), mask.long()).numpy()
        with pytest.raises(nt.DTypeError, match="the mask is float32"):
            model(nt.tensor([[3, 1, 4, 0, 0]]), mask.float())
    assert (outs[0][:, :3] == outs[1][:, :3]).all() and (counted == outs[0]).all()


def test_a_mask_or_segments_of_another_shape_are_named(folder: Path) -> None:
    model = nt.models.from_pretrained(folder)
    ids, other = nt.tensor([[3, 1, 4]]), nt.tensor([[1, 1]])
    with pytest.raises(nt.ShapeError, match=r"mask has .*\n  ids \(1, 3\) .*\n  mask \(1, 2\)"):
        model(ids, other)
    with pytest.raises(nt.ShapeError, match=r"token_types has .*\n.*\n  token_types \(1, 2\)"):
        model(ids, None, other)


def test_pooler_is_tanh_of_the_first_token(folder: Path) -> None:
    model = nt.models.from_pretrained(folder)
    w = bert_weights(BERT)
    with nt.no_grad():
        hidden = model(nt.tensor([[3, 1, 4]]))
        pooled = model.pooled(hidden).numpy()
    expected = hidden.numpy()[:, 0] @ w["pooler.dense.weight"].T + w["pooler.dense.bias"]
    assert_close(pooled, np.tanh(expected), "composite")


def test_checkpoint_without_pooler_loads(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, BERT, bert_weights(BERT, pooler=False))
    model = nt.models.from_pretrained(folder)
    with pytest.raises(AttributeError, match="no pooler"):
        model.pooled(nt.zeros(1, 1, 48))


def test_old_checkpoints_may_hold_position_ids(tmp_path: Path) -> None:
    weights = {**bert_weights(BERT), "embeddings.position_ids": np.arange(32)[None]}
    nt.models.from_pretrained(write_folder(tmp_path, BERT, weights))
    weights["embeddings.position_ids"] = np.arange(1, 33)[None]
    with pytest.raises(nt.FormatError, match="position_ids does not count from 0"):
        nt.models.from_pretrained(write_folder(tmp_path / "wrong", BERT, weights))


def test_more_tokens_than_positions_is_an_error_with_both_lengths(folder: Path) -> None:
    with pytest.raises(nt.OutOfRange, match="33 tokens in a context of 32"):
        nt.models.from_pretrained(folder)(nt.zeros(1, 33, dtype=nt.int64))
