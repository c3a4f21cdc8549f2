"""Sentence embeddings: recorded ones, batches, pooling as configurations say, mistakes."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch.models.bert import Bert
from numbatorch.pipelines.embedder import Embedder, batches, padded
from tests.models.build import BERT, bert_weights, llama_config, llama_weights, write_folder

pytestmark = pytest.mark.filterwarnings("ignore:encode. .* texts are cut")


@pytest.fixture(scope="module")
def embedder(minilm: Path) -> Embedder:
    return Embedder(minilm)


@pytest.fixture(scope="module")
def expected(fixtures: Path) -> dict[str, np.ndarray]:
    found = np.load(fixtures / "minilm" / "expected.npz")
    return {str(text): vector for text, vector in zip(found["text"], found["emb"], strict=True)}


def test_recorded_embeddings_in_one_batch(embedder: Embedder, expected: dict) -> None:
    found = embedder.encode(list(expected))
    assert found.dtype == np.float32
    assert np.abs(found - np.array(list(expected.values()))).max() <= 1e-5


def test_recorded_embeddings_one_at_a_time(embedder: Embedder, expected: dict) -> None:
    for text, vector in expected.items():
        assert np.abs(embedder.encode([text])[0] - vector).max() <= 1e-5


def test_recorded_embeddings_on_the_reference(minilm: Path, expected: dict) -> None:
    found = Embedder(minilm, device="numpy").encode(list(expected)[:4])
    assert np.abs(found - np.array(list(expected.values()))[:4]).max() <= 1e-5


def test_bfloat16_is_near_the_recorded_embeddings(minilm: Path, expected: dict) -> None:
    """Cosines to 1e-3 and nearly all elements, which are 0.05 on average; none is off by the step
    of bfloat16 below the length of a vector."""
    narrow = Embedder(minilm, compute="bfloat16")
    weights = [m.weight for m in narrow.model.modules() if hasattr(m, "compute")]
    assert len(weights) == 37 and {weight.dtype for weight in weights} == {nt.bfloat16}
    wanted = np.array(list(expected.values()))
    together = narrow.encode(list(expected))
    for found in (together, np.concatenate([narrow.encode([text]) for text in expected])):
        apart = np.abs(found - wanted)
        assert ((found * wanted).sum(1) > 1 - 1e-3).all()
        assert (apart > 1e-3).mean() < 1e-2 and apart.max() < 2.0**-8
        assert apart.max() > 1e-5  # rounded it is


def test_company_does_not_change_a_vector(embedder: Embedder, expected: dict) -> None:
    texts = [text for text in expected for _ in range(5)]
    np.random.default_rng(0).shuffle(texts)
    found = embedder.encode(texts)
    wanted = np.array([expected[text] for text in texts])
    assert np.abs(found - wanted).max() <= 1e-5


def test_no_text_is_no_vector(embedder: Embedder) -> None:
    assert embedder.encode([]).shape == (0, 384)


def test_one_text_alone_is_a_mistake(embedder: Embedder) -> None:
    with pytest.raises(TypeError, match="takes a list of texts"):
        embedder.encode("a cat")


@given(st.lists(st.integers(1, 512), max_size=100))
def test_every_text_is_in_one_batch(lengths: list[int]) -> None:
    found = list(batches(lengths))
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    for rows in found:
        assert len(rows) & (len(rows) - 1) == 0


@given(st.integers(1, 10**6))
def test_padding_is_little(length: int) -> None:
    assert length <= padded(length) <= length * (1 + 1 / 16)
    assert padded(padded(length)) == padded(length)


def test_few_lengths() -> None:
    assert len({padded(length) for length in range(1, 513)}) <= 100


# Pooling of a small model, whose ids are given without a tokenizer.


class Ids:
    """Stands for a tokenizer whose texts are numbers."""

    def encode_batch(self, texts: list[str], special: bool, limit: int) -> list[list[int]]:
        return [[int(word) for word in text.split()][:limit] for text in texts]


POOLING: dict[str, Any] = {
    "cls": lambda h: h[0],
    "mean": lambda h: h.mean(0),
    "max": lambda h: h.max(0),
    "mean_sqrt_len_tokens": lambda h: h.sum(0) / np.sqrt(len(h)),
    "weightedmean": lambda h: np.average(h, 0, np.arange(1, len(h) + 1)),
    "lasttoken": lambda h: h[-1],
}
KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def sentence_folder(folder: Path, pooling: Any, kinds: tuple[str, ...], length: int = 9) -> Path:
    """A small BERT with the configuration files of sentence-transformers."""
    write_folder(folder, BERT, bert_weights(BERT))
    library = {
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(library))
    prefix = "sentence_transformers.models."
    places = {kind: "" if kind == "Transformer" else kind for kind in kinds}
    modules = [{"type": prefix + kind, "path": place} for kind, place in places.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "Pooling").mkdir()
    (folder / "Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))
    return folder


ALL = ("Transformer", "Pooling", "Normalize")


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mode", POOLING)
def test_pooling(mode: str, normalize: bool, newer: bool, tmp_path: Path) -> None:
    config = {"pooling_mode": mode} if newer else {KEYS[key]: key == mode for key in KEYS}
    embedder = Embedder(sentence_folder(tmp_path, config, ALL if normalize else ALL[:2]))
    embedder.tokenizer = Ids()  # type: ignore[assignment]
    texts = ["3 1 4 1 5", "9 2", "6", "7 7 7 7 7 7 7 7 7 1 1 1"]
    found = embedder.encode(texts)
    assert isinstance(embedder.model, Bert)
    for text, vector in zip(texts, found, strict=True):
        ids = [int(word) for word in text.split()][:9]
        with nt.no_grad():
            hidden = embedder.model(nt.tensor([ids]))[0].numpy()
        wanted = POOLING[mode](hidden)
        wanted = wanted / np.linalg.norm(wanted) if normalize else wanted
        assert np.abs(vector - wanted).max() <= 1e-5


def test_without_modules_it_is_the_mean(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path, {}, ())
    (folder / "modules.json").unlink()
    config = Embedder(folder).config
    assert (config.pooling, config.normalize) == ("mean", False)


def test_the_default_prompt_is_put_before_each_text(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path, {"pooling_mode": "mean"}, ALL)
    prompts = {"prompts": {"query": "8 8 "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    embedder = Embedder(folder)
    embedder.tokenizer = Ids()  # type: ignore[assignment]
    found = embedder.encode(["1 2"])
    (folder / "config_sentence_transformers.json").unlink()
    plain = Embedder(folder)
    plain.tokenizer = Ids()  # type: ignore[assignment]
    assert (found == plain.encode(["8 8 1 2"])).all()


@pytest.mark.parametrize(
    ("pooling", "kinds", "part"),
    [
        ({"pooling_mode": "median"}, ALL, "pooling is median"),
        ({}, ALL, "pooling is none"),
        ({KEYS["cls"]: True, KEYS["mean"]: True}, ALL, "pooling is cls, mean"),
        ({KEYS["cls"]: "yes"}, ALL, "neither true nor false"),
        ({"pooling_mode": "mean", KEYS["cls"]: True}, ALL, "pooling is cls, mean"),
        ({"pooling_mode": ["mean", "cls"]}, ALL, "pooling is cls, mean"),
        ({"pooling_mode": 7}, ALL, "pooling is 7"),
        ({"pooling_mode": "mean", "word_embedding_dimension": 7}, ALL, "dimension is 7"),
        ({"pooling_mode": "mean", "nobody": 7}, ALL, "nobody is 7"),
        ({"pooling_mode": "mean"}, ("Pooling", "Transformer"), "modules Pooling, Transformer"),
        ({"pooling_mode": "mean"}, ("Transformer", "Normalize"), "modules Transformer, Norm"),
        ({"pooling_mode": "mean"}, ("Transformer", "Normalize", "Pooling"), "modules Transformer"),
        ([], ALL, "not a JSON object"),
        ({"pooling_mode": "mean"}, ("Transformer", "Pooling", "Dense"), "modules .* Dense"),
    ],
    ids=str,
)
def test_configurations_that_are_not_here(pooling, kinds, part: str, tmp_path: Path) -> None:
    with pytest.raises(nt.FormatError, match=part):
        Embedder(sentence_folder(tmp_path, pooling, kinds))


@pytest.mark.parametrize(
    ("kind", "path", "part"),
    [
        ("custom_st.Pooling", "Pooling", "only modules of sentence_transformers"),
        ("Pooling", "Pooling", "only modules of sentence_transformers"),
        ("sentence_transformers.models.Pooling", "../other", "is not within the folder"),
        ("sentence_transformers.models.Pooling", "a/../../other", "is not within the folder"),
        ("sentence_transformers.models.Pooling", "/etc", "is not within the folder"),
        ("sentence_transformers.models.Pooling", "..\\other", "is not within the folder"),
        ("sentence_transformers.models.Pooling", "C:other", "is not within the folder"),
        ("sentence_transformers.models.Pooling", "a\0b", "is not within the folder"),
        ("sentence_transformers.models.Pooling", "\ud800", "a lone surrogate"),
        (
            "sentence_transformers.models.Transformer",
            "0_Transformer",
            "read from the folder itself",
        ),
        ("sentence_transformers.models.Pooling", None, "no type and path"),
    ],
)
def test_a_module_from_elsewhere(kind: str, path: Any, part: str, tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "model", {"pooling_mode": "cls"}, ALL)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"pooling_mode": "mean"}')
    modules = json.loads((folder / "modules.json").read_text())
    modules["Transformer" not in kind] = {"type": kind, "path": path}
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(nt.FormatError, match=part):
        Embedder(folder)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("sentence_bert_config.json", {"nobody": 1}, "nobody is 1"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task is"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length is 0"),
        ("config_sentence_transformers.json", {"truncate_dim": 8}, "truncate_dim is 8"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "model_type is"),
        ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "default_prompt_name"),
        ("config_sentence_transformers.json", {"default_prompt_name": 0}, "default_prompt_name"),
        ("tokenizer_config.json", {"truncation_side": "left"}, "truncation_side is 'left'"),
        ("tokenizer_config.json", {"model_max_length": -1}, "model_max_length is -1"),
    ],
    ids=str,
)
def test_a_key_that_changes_a_vector_is_not_ignored(
    name: str, content: Any, part: str, tmp_path: Path
) -> None:
    folder = sentence_folder(tmp_path, {"pooling_mode": "mean"}, ALL)
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(nt.FormatError, match=part):
        Embedder(folder)


@pytest.mark.parametrize(
    "name",
    ["modules.json", "sentence_bert_config.json", "tokenizer_config.json", "Pooling/config.json"],
)
def test_a_folder_in_place_of_a_file_is_named(name: str, tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path, {"pooling_mode": "mean"}, ALL)
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(nt.FormatError, match="is a folder, not a file"):
        Embedder(folder)


@pytest.mark.parametrize(
    ("given", "most", "expected"),
    [(9, 5, 9), (None, 5, 5), (None, 10**30, 32), (None, None, 32), (99, None, 32)],
)
def test_where_a_text_is_cut(
    given: int | None, most: int | None, expected: int, tmp_path: Path
) -> None:
    folder = sentence_folder(tmp_path, {"pooling_mode": "mean"}, ALL)
    for name, key, value in (
        ("sentence_bert_config.json", "max_seq_length", given),
        ("tokenizer_config.json", "model_max_length", most),
    ):
        (folder / name).write_text(json.dumps({key: value}))
    assert Embedder(folder).config.max_length == expected


# Prompts: the library's own vocabulary, so that they are cut into tokens.


def words_folder(folder: Path, pooling: dict[str, Any], **more: Any) -> Path:
    """A sentence folder whose texts are words between two special tokens, with a prompt."""
    sentence_folder(folder, pooling, ALL[:2], length=20)
    vocabulary = {word: id for id, word in enumerate(["[X]", "[CLS]", "[SEP]", *"abcdeABCDE"])}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    library = {
        "version": "1.0",
        "added_tokens": [
            {"id": id, "content": word, "special": True, **special}
            for word, id in vocabulary.items()
            if word in ("[CLS]", "[SEP]")
        ],
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[X]"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(library))
    prompts = {"prompts": {"p": "D e "}, "default_prompt_name": "p"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    config = {"max_seq_length": 20, **more}
    (folder / "sentence_bert_config.json").write_text(json.dumps(config))
    return folder


COUNTED: dict[str, Any] = {  # of hidden states (T, C), the first three of [CLS] and the prompt
    "cls": lambda h: h[0],
    "mean": lambda h: h[3:].mean(0),
    "max": lambda h: h[3:].max(0),
    "mean_sqrt_len_tokens": lambda h: h[3:].sum(0) / np.sqrt(len(h) - 3),
    "weightedmean": lambda h: np.average(h[3:], 0, np.arange(4, len(h) + 1)),
    "lasttoken": lambda h: h[-1],
}


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("mode", POOLING)
def test_a_prompt_is_pooled_unless_it_is_left_out(mode: str, counts: bool, tmp_path: Path) -> None:
    pooling = {"pooling_mode": mode, "include_prompt": counts}
    embedder = Embedder(words_folder(tmp_path, pooling))
    texts = ["a b c", "", "a " * 40]
    found = embedder.encode(texts)
    for text, vector in zip(texts, found, strict=True):
        ids = embedder.tokenizer.encode_batch(["D e " + text], limit=20)
        with nt.no_grad():
            hidden = embedder.model(nt.tensor(ids))[0].numpy()
        wanted = (POOLING if counts else COUNTED)[mode](hidden)
        assert np.abs(vector - wanted).max() <= 1e-5


def test_a_prompt_that_fills_the_text_is_named(tmp_path: Path) -> None:
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    with pytest.raises(nt.FormatError, match="prompt of 3 tokens, limit of 3"):
        Embedder(words_folder(tmp_path, pooling, max_seq_length=3))


def test_texts_and_prompt_are_written_in_lower_case_where_asked(tmp_path: Path) -> None:
    pooling = {"pooling_mode": "mean"}
    lower = Embedder(words_folder(tmp_path / "lower", pooling, do_lower_case=True))
    plain = Embedder(words_folder(tmp_path / "plain", pooling))
    assert (plain.encode(["A b"]) != plain.encode(["a b"])).any()
    assert (lower.encode(["A B c"]) == lower.encode(["a b c"])).all()
    (tmp_path / "plain" / "config_sentence_transformers.json").unlink()
    alone = Embedder(tmp_path / "plain")
    assert (lower.encode(["A B c"]) == alone.encode(["d e a b c"])).all()


def test_a_model_that_does_not_embed(tmp_path: Path, fixtures: Path) -> None:
    config = llama_config()
    with pytest.raises(
        nt.FormatError, match="Llama is for text-generation, not for feature-extraction"
    ):
        Embedder(write_folder(tmp_path, config, llama_weights(config)))
    with pytest.raises(nt.FormatError, match="needs a folder"):
        Embedder(fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf")


@pytest.mark.parametrize(
    ("texts", "part"),
    [(None, "not None"), ([1], "text 0 is int"), (["a", None], "text 1 is NoneType")],
)
def test_what_is_no_list_of_texts_is_named(embedder: Embedder, texts: Any, part: str) -> None:
    with pytest.raises(TypeError, match=f"encode: .*{part}"):
        embedder.encode(texts)


def test_a_used_embedder_is_copied_and_pickled(embedder: Embedder) -> None:
    vector = embedder.encode(["a cat"])
    for copied in (copy.deepcopy(embedder), pickle.loads(pickle.dumps(embedder))):
        np.testing.assert_array_equal(copied.encode(["a cat"]), vector)


@pytest.mark.filterwarnings("error")
def test_what_is_cut_is_said(minilm: Path) -> None:
    embedder = Embedder(minilm)
    limit = embedder.config.max_length
    fits, longer = "word " * (limit - 2), "word " * (limit - 1)
    embedder.encode([fits])
    with pytest.warns(UserWarning, match=rf"1 of 2 texts are cut to {limit} tokens\n.*text 1$"):
        vectors = embedder.encode([fits, longer])
    assert np.abs(vectors[0] - vectors[1]).max() <= 1e-6
    assert repr(embedder) == f"Embedder(Bert, 384 numbers, {limit} tokens)"
