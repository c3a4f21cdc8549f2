"""Tokenizers of folders as GGUF metadata and back: the same ids, or a refusal that says why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tokenizers as library
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

from numbatorch.errors import FormatError
from numbatorch.generation import gguf_vocabulary
from numbatorch.generation.pretokenizers import GPT2, GPT4O, LLAMA3, QWEN2
from numbatorch.generation.to_folder import tokenizer_files
from numbatorch.generation.to_gguf import tokenizer_metadata
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile

TEXTS = st.text(max_size=60) | st.text(
    "abe sT0129 \n\t\r.,'(_\u00e9\u4f60\U0001f642\u0301\u3000<>s/|\u2581", max_size=60
)
CORPUS = [
    "The for statement is used to iterate over the elements of a sequence, it's 2024.",
    "class Foo:\n    def bar(self, x):\n        return x + 12345\n\n\n    # don't",
    "na\u00efve caf\u00e9 \u4f60\u597d\u4e16\u754c    four spaces, HTTPServer IsHere",
]
ISOLATED: Any = "isolated"


def trained(*cuts: Any, nfc: bool = False, **model: Any) -> library.Tokenizer:
    """Byte-level BPE, whose words are cut in a way."""
    made = library.Tokenizer(models.BPE(**model))
    if nfc:
        made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(list(cuts))
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>", "<|turn|>"]
    trainer = BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    made.train_from_iterator(CORPUS * 3, trainer)
    made.add_tokens([AddedToken("<tool>", normalized=False)])
    return made


def cut(pattern: str) -> tuple[Any, Any]:
    split = pre_tokenizers.Split(Regex(pattern), ISOLATED)
    return split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def with_words(made: library.Tokenizer) -> library.Tokenizer:
    """The words of the vocabulary are tokens, whatever the merges say."""
    state = json.loads(made.to_str())
    state["model"]["merges"] = [pair for pair in state["model"]["merges"] if "e" not in pair]
    state["model"]["ignore_merges"] = True
    return library.Tokenizer.from_str(json.dumps(state))


def begun(made: library.Tokenizer) -> library.Tokenizer:
    bos = [("<s>", made.token_to_id("<s>"))]
    made.post_processor = TemplateProcessing("<s> $A", special_tokens=bos)
    return made


DIGITS = pre_tokenizers.Digits(individual_digits=True)
WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False)
BYTE_LEVEL: dict[str, Callable[[], library.Tokenizer]] = {
    "gpt-2": lambda: trained(WORDS),
    "smollm": lambda: trained(DIGITS, WORDS),
    "llama-bpe": lambda: begun(with_words(trained(*cut(LLAMA3)))),
    "dbrx": lambda: trained(*cut(LLAMA3)),
    "qwen2": lambda: trained(*cut(QWEN2), nfc=True),
    "deepseek-r1-qwen": lambda: trained(*cut(QWEN2)),
    "gpt-4o": lambda: trained(*cut(GPT4O)),
}


def folder_of(made: library.Tokenizer, folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def read(metadata: dict[str, Any], path: Path) -> Tokenizer:
    """What a file with this metadata encodes, written by the gguf package."""
    writer = gguf.GGUFWriter(str(path), "llama")
    for key, value in metadata.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
        if isinstance(value, np.ndarray):
            value = bytes(value) if value.dtype == np.uint8 else value.tolist()
        add.get(type(value), writer.add_array)(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return Tokenizer.from_gguf(GGUFFile(path))


def written(metadata: Any, path: Path, folder: Path) -> Path:
    folder.mkdir()
    for name, values in tokenizer_files(metadata, path).items():
        (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder


def assert_alike(one: Tokenizer, other: Tokenizer, text: str) -> None:
    for special in (False, True):
        for add in (False, True):
            ids = one.encode(text, special, add_special_tokens=add)
            assert other.encode(text, special, add_special_tokens=add) == ids
    assert one.decode(ids) == other.decode(ids)


@pytest.fixture(scope="module")
def pairs(
    fixtures: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Tokenizer, Tokenizer]]:
    """Tokenizers of folders, and of the files that they were converted to."""
    place = tmp_path_factory.mktemp("tokenizers")
    folders = {
        name: folder_of(make(), place / name, bos_token="<s>", eos_token="</s>")
        for name, make in BYTE_LEVEL.items()
    }
    for name in ("vocabulary", "unigram"):
        path = fixtures / "sentencepiece" / f"{name}.gguf"
        folders[name] = written(GGUFFile(path).metadata, path, place / name)
    folders["pydoc"] = fixtures / "pydoc-llama"
    found = {}
    for name, folder in folders.items():
        metadata = tokenizer_metadata(folder)
        file = read(metadata, place / f"{name}.gguf")
        found[name] = (Tokenizer.from_folder(folder), file)
        if name in BYTE_LEVEL:
            assert metadata["tokenizer.ggml.pre"] == name
    return found


@pytest.mark.parametrize("name", [*BYTE_LEVEL, "vocabulary", "unigram", "pydoc"])
@given(text=TEXTS)
def test_a_folder_and_its_file_have_the_same_ids(
    name: str, text: str, pairs: dict[str, tuple[Tokenizer, Tokenizer]]
) -> None:
    one, other = pairs[name]
    for spelled in (text, f"<s>{text}", f"{text}</s> <tool> {text}"):
        assert_alike(one, other, spelled)
    assert (one.bos_id, one.eos_id, one.end_ids) == (other.bos_id, other.eos_id, other.end_ids)
    assert [one.is_special(id) for id in range(one.vocab_size)] == [
        other.is_special(id) for id in range(one.vocab_size)
    ]


@pytest.mark.parametrize("name", ["vocabulary.gguf", "unigram.gguf", "pydoc"])
def test_a_file_and_its_folder_have_the_same_ids(name: str, fixtures: Path, tmp_path: Path) -> None:
    pydoc = fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf"
    path = pydoc if name == "pydoc" else fixtures / "sentencepiece" / name
    file = GGUFFile(path)
    one = Tokenizer.from_gguf(file)
    other = Tokenizer.from_folder(written(file.metadata, path, tmp_path / "folder"))
    for text in ("", " a", "It's <tool> 123\n\n caf\u00e9 \U0001f642", "<s>a</s> b"):
        assert_alike(one, other, text)
    assert (one.bos_id, one.eos_id, one.end_ids) == (other.bos_id, other.eos_id, other.end_ids)


def test_word_pieces_both_ways(minilm: Path, tmp_path: Path) -> None:
    metadata = tokenizer_metadata(minilm)
    assert metadata["tokenizer.ggml.model"] == "bert"
    assert metadata["tokenizer.ggml.tokens"][2000] == "\u2581to"
    one = Tokenizer.from_folder(minilm)
    other = read(metadata, tmp_path / "v.gguf")
    back = Tokenizer.from_folder(written(metadata, tmp_path / "v.gguf", tmp_path / "back"))
    for text in ("", "Unbelievably caf\u00e9 \u4f60\u597d [MASK]", "[CLS] a [SEP]", "x" * 150):
        assert_alike(one, other, text)
        assert_alike(one, back, text)


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
def test_spaces_as_a_pre_tokenizer_writes_them(scheme: Any, fixtures: Path, tmp_path: Path) -> None:
    file = GGUFFile(fixtures / "sentencepiece" / "vocabulary.gguf")
    made = Tokenizer.from_gguf(file)._library
    made.normalizer = None
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    folder = folder_of(made, tmp_path / "folder", bos_token="<s>", add_bos_token=True)
    metadata = tokenizer_metadata(folder)
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert metadata["tokenizer.ggml.add_space_prefix"] == (scheme != "never")
    one, other = Tokenizer.from_folder(folder), read(metadata, tmp_path / "v.gguf")
    for text in ("", "a", "a  b", "def f(x):\n    return \u00e9</s>"):
        assert one.encode(text) == other.encode(text)


def test_merges_that_no_scores_give_are_kept(fixtures: Path, tmp_path: Path) -> None:
    file = GGUFFile(fixtures / "sentencepiece" / "vocabulary.gguf")
    state = json.loads(Tokenizer.from_gguf(file)._library.to_str())
    state["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    state["decoder"]["decoders"].pop()
    state["model"]["merges"] = state["model"]["merges"][::2]
    gone = library.Tokenizer.from_str(json.dumps(state))
    folder = folder_of(gone, tmp_path / "folder", bos_token="<s>", add_bos_token=True)
    metadata = tokenizer_metadata(folder)
    assert metadata["tokenizer.ggml.model"] == "gemma4"
    one, other = Tokenizer.from_folder(folder), read(metadata, tmp_path / "v.gguf")
    for text in ("", "a", " a  b", "def f(x):\n    return \u00e9", "<s>the</s>"):
        assert_alike(one, other, text)


def test_pieces_as_published_tokenizers_cut_them(fixtures: Path, tmp_path: Path) -> None:
    file = GGUFFile(fixtures / "sentencepiece" / "unigram.gguf")
    state = json.loads(Tokenizer.from_gguf(file)._library.to_str())
    charsmap = state["normalizer"]["normalizers"][0]
    double = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    state["normalizer"] = {"type": "Sequence", "normalizers": [charsmap, double]}
    space = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": False}
    cuts = [split, {**space, "split": True}]
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": cuts}
    made = library.Tokenizer.from_str(json.dumps(state))
    folder = folder_of(made, tmp_path / "folder", eos_token="</s>", add_eos_token=True)
    metadata = tokenizer_metadata(folder, size=512)
    assert len(metadata["tokenizer.ggml.tokens"]) == 512
    one, other = Tokenizer.from_folder(folder), read(metadata, tmp_path / "v.gguf")
    for text in ("", "a", " a  b ", "the\u00a0\ufb01nal  caf\u00e9", "\u4f60\u597d"):
        assert one.encode(text) == other.encode(text)


def test_what_stands_beside_the_tokens_is_taken_along(tmp_path: Path) -> None:
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": "<|turn|>"}
    templates = [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]
    folder = folder_of(trained(WORDS), tmp_path / "f", **config, chat_template=templates)
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    (folder / "config.json").write_text('{"vocab_size": 512}')
    metadata = tokenizer_metadata(folder)
    names = ("bos", "eos", "padding", "eot")
    found = [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in names]
    assert found == [0, 1, 2, 2]
    assert len(metadata["tokenizer.ggml.tokens"]) == 512
    assert metadata["tokenizer.chat_template"] == "A"
    assert metadata["tokenizer.chat_template.tool_use"] == "B"
    assert metadata["tokenizer.chat_templates"] == ["tool_use"]
    files = tokenizer_files(metadata, tmp_path / "v.gguf")
    assert files["tokenizer_config.json"]["chat_template"] == templates
    assert files["tokenizer_config.json"]["pad_token"] == "<|turn|>"
    assert files["generation_config.json"]["eos_token_id"] == [1, 2]
    assert read(metadata, tmp_path / "v.gguf").end_ids == {1, 2}


@pytest.mark.parametrize("template", [5, [5], [{"template": "A"}], [{"name": "a"}]])
def test_a_template_of_another_kind_is_refused(template: Any, tmp_path: Path) -> None:
    folder = folder_of(trained(WORDS), tmp_path / "f", chat_template=template)
    with pytest.raises(FormatError, match="chat_template "):
        tokenizer_metadata(folder)


def test_templates_in_files_go_first(tmp_path: Path) -> None:
    folder = folder_of(trained(WORDS), tmp_path / "f", chat_template="A")
    (folder / "chat_template.jinja").write_text("B")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("C")
    metadata = tokenizer_metadata(folder)
    assert metadata["tokenizer.chat_template"] == "B"
    assert metadata["tokenizer.chat_template.rag"] == "C"


def odd_words() -> library.Tokenizer:
    return library.Tokenizer(models.WordLevel({"a": 0, "?": 1}, "?"))


def spaced() -> library.Tokenizer:
    return trained(pre_tokenizers.ByteLevel(add_prefix_space=True))


def lower() -> library.Tokenizer:
    made = trained(WORDS)
    made.normalizer = normalizers.Lowercase()
    return made


def single() -> library.Tokenizer:
    made = trained(WORDS)
    made.add_tokens([AddedToken("alone", single_word=True)])
    return made


def stripping() -> library.Tokenizer:
    made = trained(WORDS)
    made.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return made


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (odd_words, "a WordLevel model"),
        (lambda: trained(*cut(r"\w+")), r"no pre-tokenizer of GGUF cuts words[\s\S]*w\+"),
        (spaced, "no pre-tokenizer of GGUF cuts words"),
        (lambda: trained(*cut(GPT2), nfc=True), r"'gpt-2', which normalises in another way"),
        (lower, r"normalizes in a way that GGUF has no key for[\s\S]*Lowercase"),
        (single, "token 'alone' is found as a whole word only"),
        (stripping, r"GGUF has no keys for how it encodes\n[\s\S]*<mask>[\s\S]*would have"),
    ],
)
def test_what_gguf_cannot_say_is_refused(make: Any, problem: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=problem):
        tokenizer_metadata(folder_of(make(), tmp_path / "folder"))


def test_more_tokens_than_rows_and_more_ends_than_keys_are_refused(tmp_path: Path) -> None:
    folder = folder_of(trained(WORDS), tmp_path / "f", eos_token="</s>")
    with pytest.raises(FormatError, match=r"388 tokens, where the model has rows for 300"):
        tokenizer_metadata(folder, size=300)
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 2, 30, 40]}')
    with pytest.raises(FormatError, match=r"ids \[2, 30, 40\] end a generation beside 1"):
        tokenizer_metadata(folder)


def test_spaces_behind_tokens_of_a_model_are_known_by_its_name(tmp_path: Path) -> None:
    made = trained(WORDS)
    made.add_special_tokens([AddedToken("<|user|>", rstrip=True, normalized=False)])
    state = json.loads(made.to_str())
    for token in state["added_tokens"]:
        token["rstrip"] = token["content"] not in ("<s>", "<unk>")
    folder = folder_of(library.Tokenizer.from_str(json.dumps(state)), tmp_path / "f")
    with pytest.raises(FormatError, match="GGUF has no keys"):
        tokenizer_metadata(folder)
    general = {"general.name": "Phi-3 mini"}
    metadata = general | tokenizer_metadata(folder, general=general)
    one = Tokenizer(gguf_vocabulary.build(metadata, tmp_path))
    assert_alike(one, Tokenizer.from_folder(folder), "<|user|>  \n a <|user|> b")
