"""Any JSON under any key of a checkpoint's files: it loads, or the FormatError can be read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt
from tests.models.build import BERT, llama_config, llama_weights, write_folder
from tests.pipelines.test_embedder import KEYS, words_folder

NUMBERS = [0, -1, 1, 1.5, float("inf"), float("nan"), 2**31, 10**30, -(10**30)]
TEXTS = ["", "x", "a\0b", "\ud800", "../x", "cls", "sentence_transformers.models.Pooling"]
LEAVES = st.sampled_from([None, True, False, *NUMBERS, *TEXTS])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=3,
)
ROPE = {"type": "linear", "factor": 2.0, "rope_theta": 1e4, "low_freq_factor": 1.0}
LLAMA: dict[str, Any] = llama_config(rope_scaling=ROPE, attention_bias=False, is_causal=True)
WORDS: dict[str, Any] = {
    "bos_token": "a",
    "eos_token": {"content": "b"},
    "add_bos_token": True,
    "added_tokens_decoder": {"1": {"content": "[CLS]"}},
    "model_max_length": 9,
    "split_special_tokens": False,
    "tokenizer_class": "BertTokenizer",
    "truncation_side": "right",
    "unk_token": "[X]",
}
POOLING: dict[str, Any] = {**{key: key == KEYS["max"] for key in KEYS.values()}, "pooling_mode": ""}
FILES: dict[str, dict[str, Any]] = {
    "config.json": BERT,
    "tokenizer_config.json": WORDS,
    "generation_config.json": {"eos_token_id": 1},
    "sentence_bert_config.json": {"max_seq_length": 9, "do_lower_case": True},
    "config_sentence_transformers.json": {"prompts": {"p": "a"}, "default_prompt_name": "p"},
    "Pooling/config.json": {**POOLING, "include_prompt": True, "word_embedding_dimension": 48},
}


def attempt(load: Any, source: Path) -> None:
    try:
        load(source)
    except nt.FormatError as error:
        str(error).encode()


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = llama_config()
    return write_folder(tmp_path_factory.mktemp("llama"), config, llama_weights(config))


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return words_folder(tmp_path_factory.mktemp("sentences"), {"pooling_mode": "mean"})


@given(key=st.sampled_from(sorted(LLAMA)), value=VALUES)
def test_a_configuration_of_a_llama(key: str, value: Any, llama: Path) -> None:
    (llama / "config.json").write_text(json.dumps({**LLAMA, key: value}))
    attempt(nt.models.from_pretrained, llama)


@given(key=st.sampled_from(sorted(ROPE)), value=VALUES)
def test_a_rotary_scaling(key: str, value: Any, llama: Path) -> None:
    config = {**LLAMA, "rope_scaling": {**ROPE, key: value}}
    (llama / "config.json").write_text(json.dumps(config))
    attempt(nt.models.from_pretrained, llama)


@given(data=st.data(), value=VALUES)
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_sentence_embedder(
    name: str, data: st.DataObject, value: Any, sentences: Path
) -> None:
    path = sentences / name
    before = path.read_text() if path.exists() else None
    key = data.draw(st.sampled_from([None, *sorted(FILES[name])]))
    path.write_text(json.dumps(value if key is None else {**FILES[name], key: value}))
    try:
        attempt(nt.Embedder, sentences)
    finally:
        path.unlink() if before is None else path.write_text(before)


@given(number=st.integers(0, 1), key=st.sampled_from(["type", "path", None]), value=VALUES)
def test_a_list_of_modules(number: int, key: str | None, value: Any, sentences: Path) -> None:
    path = sentences / "modules.json"
    before = path.read_text()
    modules = json.loads(before)
    modules[number] = value if key is None else {**modules[number], key: value}
    path.write_text(json.dumps(modules))
    try:
        attempt(nt.Embedder, sentences)
    finally:
        path.write_text(before)
