"""The vocabularies that llama.cpp tests itself with, and the ids that it has recorded for them."""

import json
from pathlib import Path

import pytest

from numbatorch.generation import gguf_vocabulary
from numbatorch.generation.to_folder import tokenizer_files
from numbatorch.generation.to_gguf import tokenizer_metadata
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile

RECORDED = [
    *["bert-bge", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2"],
    *["llama-bpe", "llama-spm", "mpt", "phi-3", "qwen2", "qwen35", "refact", "starcoder"],
]
OTHERS = ["aquila", "baichuan", "gpt-neox", "nomic-bert-moe"]  # without recorded ids
BETWEEN = "\n__ggml_vocab_test__\n"


def recorded(path: Path) -> list[tuple[str, list[int]]]:
    """Texts and their ids."""
    texts = path.with_name(path.name + ".inp").read_bytes().decode().split(BETWEEN)
    rows = path.with_name(path.name + ".out").read_text().split("\n")
    assert len(rows) == len(texts) or (len(rows) == len(texts) + 1 and not rows[-1])
    return [(text, list(map(int, row.split()))) for text, row in zip(texts, rows, strict=False)]


@pytest.mark.parametrize("name", RECORDED)
def test_a_vocabulary_encodes_as_recorded(name: str, vocabularies: Path) -> None:
    path = vocabularies / f"ggml-vocab-{name}.gguf"
    tokenizer = Tokenizer.from_gguf(GGUFFile(path))
    for text, wanted in recorded(path):
        for special in (False, True):
            assert tokenizer.encode(text, special, add_special_tokens=False) == wanted, text
        if name != "bert-bge" and 0 not in wanted:
            assert tokenizer.decode(wanted) == text


@pytest.mark.parametrize("name", OTHERS)
def test_a_vocabulary_without_recorded_ids_is_read(name: str, vocabularies: Path) -> None:
    tokenizer = Tokenizer.from_gguf(GGUFFile(vocabularies / f"ggml-vocab-{name}.gguf"))
    ids = tokenizer.encode("Hello world, 123")
    assert tokenizer.decode(ids) == "Hello world, 123"


SOME = ("bert-bge", "llama-spm", "starcoder")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in SOME else pytest.mark.slow) for n in RECORDED]
)
def test_a_folder_of_a_vocabulary_encodes_as_recorded_and_becomes_a_file_again(
    name: str, vocabularies: Path, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    path = vocabularies / f"ggml-vocab-{name}.gguf"
    metadata = GGUFFile(path).metadata
    for file, values in tokenizer_files(metadata, path).items():
        (tmp_path / file).write_text(json.dumps(values), encoding="utf-8")
    general = {key: value for key, value in metadata.items() if key.startswith("general.")}
    again = general | tokenizer_metadata(tmp_path, general=general)
    ours = Tokenizer(gguf_vocabulary.build(again, path))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text, wanted in recorded(path):
        assert ours.encode(text, add_special_tokens=False) == wanted, text
        assert theirs.encode(text, add_special_tokens=False) == wanted, text
        assert theirs.encode(text) == ours.encode(text), text
