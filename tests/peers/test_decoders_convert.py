"""Decoders from a folder that transformers saved to GGUF and back: the tensors and the logits."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile
from numbatorch.pipelines.convert import to_folder, to_gguf
from tests.peers.sides import torch
from tests.peers.test_decoders import CASES as FOLDERS
from tests.peers.test_decoders import LLAMA3, LONG, Changes, assert_near, params, peer

TEXT = "def f(x):\n    return x + 1  # caf\u00e9 \U0001f600"
USUAL = {"query_pre_attn_scalar": 16}
CASES: dict[str, tuple[str, Changes]] = {
    "llama3": (
        "Llama",
        {"rope_parameters": {**LLAMA3, "original_max_position_embeddings": 8192}},
    ),
    "gemma2": ("Gemma2", {**FOLDERS["gemma2"][1], **USUAL}),
    "gemma2 bounds": (
        "Gemma2",
        {
            **FOLDERS["gemma2"][1],
            **USUAL,
            "attn_logit_softcapping": 2.1,
            "final_logit_softcapping": 3.3,
        },
    ),
    "gemma3": ("Gemma3Text", {**FOLDERS["gemma3"][1], **USUAL}),
    "gemma3 linear": (
        "Gemma3Text",
        {
            **FOLDERS["gemma3"][1],
            **USUAL,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "phi3": FOLDERS["phi3 window, one group"],
    "phi3 partial": FOLDERS["phi3 partial, short"],
    "phi3 long": (
        "Phi3",
        {
            "rope_parameters": {**LONG, "attention_factor": 1.3},
            "original_max_position_embeddings": 16,
        },
    ),
    "qwen3 moe": (
        "Qwen3Moe",
        {**FOLDERS["qwen3 moe"][1], "norm_topk_prob": True, "attention_bias": True},
    ),
    "qwen3 yarn": FOLDERS["qwen3 yarn"],
    "qwen2 tied": FOLDERS["qwen2 tied, one group"],
}
SHOWN = ["llama3", "gemma2 bounds", "gemma3 linear", "phi3 long", "qwen3 moe"]
# Which have no form in GGUF files, and what an error says of them.
REFUSED = {
    "qwen2 window": "windows in other layers",
    "qwen3 window": "windows in other layers",
    "llama dynamic": "scaled as dynamic",
    "llama dynamic, long prompt": "scaled as dynamic",
    "llama yarn, mscale": "scaled as yarn",
    "gemma2": "scores scaled by",
    "gemma2, no bounds": "no bound",
    "gemma2 without caps": "scores scaled by",
    "gemma2, biases": "biases",
    "gemma2 untied, capped": "scores scaled by",
    "gemma3": "scores scaled by",
    "gemma3 linear, capped": "other angles",
    "qwen3 moe": "not normalized",
    "qwen3 moe normalized, some layers dense": "some layers",
    "qwen3 moe window": "some layers",
}
VOCABULARY = 2048


@pytest.fixture
def tokenizer(fixtures: Path) -> Path:
    return fixtures / "pydoc-llama" / "tokenizer.json"


def saved(kind: str, changes: Changes, tokenizer: Path, folder: Path) -> Any:
    """The class of a model of transformers that is saved in bfloat16, beside a tokenizer."""
    made = peer(kind, {**changes, "vocab_size": VOCABULARY}, folder)
    made.to(torch.bfloat16).save_pretrained(folder)
    shutil.copy(tokenizer, folder)
    return type(made)


def logits(cls: Any, folder: Path, ids: list[int]) -> np.ndarray:
    """What transformers computes from a folder."""
    model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        found: np.ndarray = model.eval()(torch.tensor([ids])).logits[0].numpy()
    return found


def config_of(folder: Path) -> Any:
    return nt.models.from_pretrained(folder).config


@pytest.mark.parametrize(("kind", "changes"), params(CASES, SHOWN))
def test_a_folder_comes_back(kind: str, changes: Changes, tokenizer: Path, tmp_path: Path) -> None:
    first, file, back = tmp_path / "first", tmp_path / "m.gguf", tmp_path / "back"
    cls = saved(kind, changes, tokenizer, first)
    to_gguf(first, file, "BF16")
    to_folder(file, back, "BF16")
    before, after = (nt.load(folder / "model.safetensors") for folder in (first, back))
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        np.testing.assert_array_equal(after[name].numpy(), tensor.numpy(), name)
    assert config_of(back) == config_of(first)
    for text in (TEXT, "<|endoftext|>"):
        ids = Tokenizer.from_folder(first).encode(text)
        assert Tokenizer.from_folder(back).encode(text) == ids
    again = tmp_path / "again.gguf"
    to_gguf(back, again, "BF16")
    assert_equal_files(GGUFFile(again), GGUFFile(file))
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 21).tolist()
    expected = logits(cls, first, ids)
    np.testing.assert_array_equal(logits(cls, back, ids), expected)
    assert_near(nt.models.from_pretrained(file).logits(ids), expected)


def assert_equal_files(ours: GGUFFile, theirs: GGUFFile) -> None:
    """The same tensors bit for bit, and the same metadata but for the name."""
    assert ours.tensors.keys() == theirs.tensors.keys()
    for name in theirs.tensors:
        np.testing.assert_array_equal(ours.tensor(name), theirs.tensor(name), name)
    assert ours.metadata.keys() == theirs.metadata.keys()
    for key, value in theirs.metadata.items():
        if key != "general.name":
            np.testing.assert_array_equal(ours.metadata[key], value, key)


STATED: dict[str, tuple[str, Changes]] = {
    **FOLDERS,
    "gemma2, no bounds": ("Gemma2", {**FOLDERS["gemma2 without caps"][1], **USUAL}),
    "gemma2, biases": ("Gemma2", {**FOLDERS["gemma2 untied, capped"][1], **USUAL}),
}
SOME = ["qwen3 moe", "gemma2, no bounds", "qwen2 window", "mistral window", "phi3 long"]


@pytest.mark.parametrize(
    ("name", "kind", "changes"),
    params({name: (name, *case) for name, case in STATED.items()}, SOME),
)
def test_a_configuration_is_refused_or_means_the_same_in_a_gguf_file(
    name: str, kind: str, changes: Changes, tokenizer: Path, tmp_path: Path
) -> None:
    saved(kind, changes, tokenizer, tmp_path / "first")
    file = tmp_path / "m.gguf"
    if name in REFUSED:
        with pytest.raises(nt.FormatError, match=REFUSED[name]):
            to_gguf(tmp_path / "first", file)
        assert not file.exists()
        return
    to_gguf(tmp_path / "first", file)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 21).tolist()
    first, second = (nt.models.from_pretrained(source) for source in (tmp_path / "first", file))
    assert_near(second.logits(ids), first.logits(ids))
