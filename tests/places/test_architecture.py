"""Adding a decoder architecture is one file: here one in a temporary module, from another package.

It is like Qwen2: biases on queries, keys and values only.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import numbatorch as nt
from numbatorch.cli.main import main
from numbatorch.models import registry
from numbatorch.pipelines.warmup import warm_up
from tests.compare import assert_close
from tests.models.build import llama_config, llama_weights, write_folder, write_gguf
from tests.models.numpy_llama import plain_frequencies, reference

MODULE = "places_biased_decoder"
FILE = """
from dataclasses import dataclass

from numbatorch.models.blocks.attention import Attention
from numbatorch.models.blocks.decoder import DecoderLayer
from numbatorch.models.blocks.mlp import GatedMLP
from numbatorch.models.config import GGUF_FIXED, GGUF_HARMLESS, HF_HARMLESS, Fields
from numbatorch.models.decoder_config import BaseConfig, base_from_gguf, base_from_hf
from numbatorch.models.decoder_model import DecoderModel, norm_of
from numbatorch.models.registry import architecture


@dataclass(frozen=True, kw_only=True)
class BiasedConfig(BaseConfig):
    @classmethod
    def from_hf(cls, config):
        fields = Fields("biased", config)
        fields.require("use_sliding_window", False, (False,))
        found = cls(**base_from_hf(fields))
        fields.refuse_unread([*HF_HARMLESS, "hidden_act"])
        return found

    @classmethod
    def from_gguf(cls, file):
        fields = Fields("biased", file.metadata, "biased.", str(file.path))
        found = cls(**base_from_gguf(fields, file))
        fields.refuse_unread(GGUF_HARMLESS, GGUF_FIXED)
        return found


def _layer(config, number):
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    attention = Attention(config.hidden_size, heads, groups, config.rope, bias=True)
    mlp = GatedMLP(config.hidden_size, config.intermediate_size)
    return DecoderLayer(norm_of(config), attention, norm_of(config), mlp)


@architecture(task="text-generation", hf=("BiasedForCausalLM", "biased"), gguf="biased")
class Biased(DecoderModel):
    configuration = BiasedConfig
    layer = staticmethod(_layer)
"""
CONFIG = llama_config(architectures=["BiasedForCausalLM"], model_type="biased")
PROMPT = "the"
LETTERS = [chr(code) for code in range(45, 45 + CONFIG["vocab_size"] - 2)]
TOKENS = [*LETTERS, "\u0120", "th"]  # GPT-2 spells a space so
MERGES = [("t", "h")]


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    found = llama_weights({**CONFIG, "attention_bias": True})
    return {name: array for name, array in found.items() if not name.endswith("o_proj.bias")}


@pytest.fixture(scope="module")
def folder(weights: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint as a Hugging Face folder."""
    path = write_folder(tmp_path_factory.mktemp("biased"), CONFIG, weights)
    vocabulary = {token: id for id, token in enumerate(TOKENS)}
    library = Tokenizer(models.BPE(vocab=vocabulary, merges=MERGES))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def file(weights: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint as a GGUF file."""
    keys: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [1] * len(TOKENS),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in MERGES],
    }
    path = tmp_path_factory.mktemp("biased") / "biased.gguf"
    return write_gguf(path, CONFIG, weights, keys, architecture="biased", permuted=False)


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module, imported; what it registers is taken back afterwards."""
    (tmp_path / f"{MODULE}.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    __import__(MODULE)
    yield
    del sys.modules[MODULE]


def logits(weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """In NumPy: (T, V)."""
    return reference(CONFIG, weights, np.array([ids]), plain_frequencies(CONFIG))[0]


def greedy(weights: dict[str, np.ndarray], count: int) -> str:
    """The continuation of the prompt in NumPy, with the tokens' own text."""
    ids = [TOKENS.index("th"), TOKENS.index("e")]
    for _ in range(count):
        ids.append(int(logits(weights, ids)[-1].argmax()))
    return "".join(TOKENS[id] for id in ids[2:]).replace("\u0120", " ")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("source", ["folder", "file"])
def test_it_computes_what_numpy_does(
    source: str, weights: dict[str, np.ndarray], request: pytest.FixtureRequest
) -> None:
    model = nt.models.from_pretrained(request.getfixturevalue(source))
    ids = [3, 1, 4, 1, 5, 9]
    assert_close(model.logits(ids), logits(weights, ids), "composite")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("source", ["folder", "file"])
def test_it_generates(
    source: str,
    weights: dict[str, np.ndarray],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = request.getfixturevalue(source)
    expected = greedy(weights, 8)
    assert nt.TextGenerator(path).generate(PROMPT, 8) == expected
    assert main(["generate", "--model", str(path), PROMPT, "--max-tokens", "8"]) == 0
    assert capsys.readouterr().out == expected + "\n"


@pytest.mark.usefixtures("registered")
def test_it_is_converted_both_ways(
    folder: Path, weights: dict[str, np.ndarray], tmp_path: Path
) -> None:
    file, back = tmp_path / "m.gguf", tmp_path / "back"
    assert main(["convert", str(folder), str(file), "--type", "F32"]) == 0
    assert main(["convert", str(file), str(back), "--type", "F32"]) == 0
    found = nt.load(back / "model.safetensors")
    assert found.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name].numpy(), array)
    assert nt.TextGenerator(back).generate(PROMPT, 8) == greedy(weights, 8)


@pytest.mark.usefixtures("registered")
def test_it_warms_up(folder: Path) -> None:
    assert [line.partition(":")[0] for line in warm_up(folder)][:2] == ["1 token", "4 tokens"]


@pytest.mark.usefixtures("registered")
def test_a_key_that_it_does_not_handle_is_an_error(folder: Path, tmp_path: Path) -> None:
    write_folder(tmp_path, {**CONFIG, "use_sliding_window": True}, {})
    with pytest.raises(nt.FormatError, match="use_sliding_window is True"):
        nt.models.from_pretrained(tmp_path)


def test_an_installed_package_adds_it(folder: Path, file: Path, tmp_path: Path) -> None:
    """Nothing imports the module but its entry point."""
    info = tmp_path / "biased-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: biased\nVersion: 1.0\n")
    declared = f"[numbatorch.architectures]\nbiased = {MODULE}\n"
    (info / "entry_points.txt").write_text(declared)
    (tmp_path / f"{MODULE}.py").write_text(FILE)
    search = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", str(Path.cwd()))])
    for source in (folder, file):
        words = ["generate", "--model", str(source), PROMPT, "--max-tokens", "8"]
        done = subprocess.run(
            [sys.executable, "-m", "numbatorch", *words],
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) == 9


def test_without_the_module_it_is_unknown(folder: Path) -> None:
    with pytest.raises(nt.FormatError, match=r"BiasedForCausalLM\n.*\n  known: .*LlamaForCausalLM"):
        nt.models.from_pretrained(folder)
