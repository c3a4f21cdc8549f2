"""What a tokenizer.json may do to the tokenizers library: every failure is an error of ours."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers as tokenizers_library
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, normalizers

from numbatorch.errors import FormatError
from numbatorch.generation import tokenizer as module
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.generation.vocabulary import Vocabulary
from numbatorch.io.gguf import GGUFFile
from numbatorch.pipelines.embedder import Embedder

WORDS = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
BPE = {
    "type": "BPE",
    "vocab": {"a": 0, "\u00e9": 1, "a\u00e9": 2, "#a": 3, "aa": 4, "\u00e9 x": 5, "x b": 6},
    "merges": ["a \u00e9"],
}


def write(folder: Path, model: Any, **parts: Any) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0", "model": model, **parts}), encoding="utf-8")
    return path


ABORTS = {
    "within a character": {"continuing_subword_prefix": "x"},
    "merges as pairs": {"continuing_subword_prefix": "x", "merges": [["a", "\u00e9"]]},
    "space in a pair": {"continuing_subword_prefix": "x", "merges": [["a", "\u00e9 x"]]},
    "beyond the token": {"continuing_subword_prefix": "xxxx"},
    "bytes of another": {"continuing_subword_prefix": "##"},
    "second of two": {"continuing_subword_prefix": "#", "merges": ["a #a", "a \u00e9"]},
}
READ = """
import sys
from numbatorch.errors import FormatError
from numbatorch.generation.tokenizer import Tokenizer
for path in sys.argv[1:]:
    try:
        Tokenizer.from_file(path)
    except FormatError as error:
        print(str(error).splitlines()[0])
"""


def test_merges_that_the_library_would_abort_at_are_refused(tmp_path: Path) -> None:
    """In a process of its own, which would end."""
    files = []
    for number, changes in enumerate(ABORTS.values()):
        (tmp_path / str(number)).mkdir()
        path = write(tmp_path / str(number), BPE | changes)
        files.append(path)
        escaped = path.with_name("escaped.json")  # the same keys, letter by letter
        text = path.read_text("utf-8")
        for key in ("continuing_subword_prefix", "merges"):
            spelled = "".join(f"\\u{ord(letter):04x}" for letter in key)
            text = text.replace(f'"{key}"', f'"{spelled}"')
        escaped.write_text(text, encoding="utf-8")
        files.append(escaped)
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, files)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(files)
    assert all("does not go on with continuing_subword_prefix" in line for line in lines)


def test_merges_that_go_on_with_the_prefix_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, BPE | {"continuing_subword_prefix": "#", "merges": ["a #a"]})
    assert Tokenizer.from_file(path).encode("aa") == [4]
    spaced = {**BPE["vocab"], "a b": 7}  # type: ignore[dict-item]
    prefixed = {"continuing_subword_prefix": "x", "vocab": spaced, "merges": [["a", "x b"]]}
    assert Tokenizer.from_file(write(tmp_path, BPE | prefixed)).encode("a") == [0]


def template(**changes: Any) -> dict[str, Any]:
    token, text = {"SpecialToken": {"id": "X", "type_id": 0}}, {"Sequence": {"id": "A"}}
    text["Sequence"]["type_id"] = 0
    whole = {"single": [token, text], "pair": [token, text], "special_tokens": {}}
    return {"type": "TemplateProcessing", **whole, **changes}


PANICS: dict[str, dict[str, Any]] = {
    "no charsmap": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "charsmap": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="}},
    "pieces of no length": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "template": {"post_processor": template()},
    "decoder": {"decoder": {"type": "Strip", "content": "a", "start": 99, "stop": 99}},
}


@pytest.mark.parametrize("parts", PANICS.values(), ids=PANICS)
def test_a_panic_while_it_is_tried_is_a_format_error(parts: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, WORDS, **parts)
    with pytest.raises(FormatError, match=r"tokenizer: [^\n]*\n  file .*tokenizer\.json\n"):
        Tokenizer.from_file(path)


def test_a_merge_whose_join_is_no_token_is_a_format_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"not a tokenizer\.json"):
        Tokenizer.from_file(write(tmp_path, BPE | {"merges": ["\u00e9 \u00e9"]}))


def test_a_text_that_cannot_be_encoded_is_a_value_error(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(write(tmp_path, WORDS | {"unk_token": "?"}))
    assert tokenizer.encode("a") == [0]
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch([text], limit=9)):
        with pytest.raises(ValueError, match=r"encode\w*: the tokenizer failed\n  .*UNK"):
            encode("z")


@pytest.mark.parametrize("text", ["\ud800", "ab \udcff", "\udfff" * 9], ids=ascii)
def test_a_lone_surrogate_is_named(text: str, minilm: Path) -> None:
    embedder = Embedder(minilm)
    place = text.index(max(text))
    wanted = rf"text 1 holds a lone surrogate, U\+{ord(max(text)):04X} at character {place}"
    for encode in (embedder.encode, embedder.tokenizer.encode_batch):
        with pytest.raises(ValueError, match=wanted):
            encode(["fine", text])
    with pytest.raises(ValueError, match="encode: text 0 holds a lone surrogate"):
        embedder.tokenizer.encode(text)


def test_what_is_no_text_is_a_type_error(minilm: Path) -> None:
    with pytest.raises(TypeError, match="encode_batch: text 1 is int, not str"):
        Tokenizer.from_folder(minilm).encode_batch(["a", 5])  # type: ignore[list-item]


# A text of which few tokens are wanted is not encoded as a whole.


@pytest.fixture(scope="module")
def tokenizers(minilm: Path, fixtures: Path) -> list[Tokenizer]:
    """Word pieces, byte-level BPE, and SentencePiece's two, which do not cut words."""
    return [
        Tokenizer.from_folder(minilm),
        Tokenizer.from_folder(fixtures / "pydoc-llama"),
        joining(fixtures),
        unigram(fixtures),
    ]


def joining(fixtures: Path) -> Tokenizer:
    return Tokenizer.from_gguf(GGUFFile(fixtures / "sentencepiece" / "vocabulary.gguf"))


def unigram(fixtures: Path) -> Tokenizer:
    """The most likely pieces of those that the other has, of which none goes over a seam."""
    pieces = sorted(joining(fixtures)._library.get_vocab(with_added_tokens=False).items())
    scores = np.random.default_rng(0).uniform(-9, -1, len(pieces))
    rows = [(piece, score) for (piece, _id), score in zip(pieces, scores, strict=True)]
    library = tokenizers_library.Tokenizer(models.Unigram(rows, unk_id=0))
    library.normalizer = normalizers.Replace(" ", "\u2581")
    return Tokenizer(Vocabulary(library))


PIECES = ["a", "unbelievably", " ", "  ", "\n", "x" * 40, "\u4f60", "e\u0301", "[SEP]", "<s>", "'s"]
PIECES += ["12345", ".", "...", "\U0001f642", "\u00df", "\u03a3"]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=40), special=st.booleans())
def test_the_beginning_of_a_text_has_the_tokens_of_the_whole(
    pieces: list[str], special: bool, tokenizers: list[Tokenizer]
) -> None:
    text = "".join(pieces)
    for tokenizer in tokenizers:
        (whole,) = tokenizer.encode_batch([text], special, add_special_tokens=False)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (("CHARACTERS", 1), ("LEAST_CHARACTERS", 4), ("MARGIN", 8)):
                patch.setattr(module, name, value)
            for limit in range(1, len(whole) + 1):
                (found,) = tokenizer.encode_batch([text], special, limit, add_special_tokens=False)
                assert found[:limit] == whole[:limit]


class Counting:
    """A library that notes how many characters it was given."""

    def __init__(self, library: Any) -> None:
        self.library, self.seen = library, 0

    def encode(self, text: str, **how: Any) -> Any:
        self.seen += len(text)
        return self.library.encode(text, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.library, name)


@pytest.mark.parametrize("make", [joining, unigram])
@pytest.mark.parametrize("text", ["the cat sat on a mat. " * 900_000, "the\n" * 5_000_000])
def test_a_long_text_without_words_is_cut_before_it_is_encoded(
    text: str, make: Any, fixtures: Path
) -> None:
    tokenizer = make(fixtures)
    (whole,) = tokenizer.encode_batch([text[:20_000]], special=True)
    counting = Counting(tokenizer._library)
    tokenizer._library = counting
    (found,) = tokenizer.encode_batch([text], special=True, limit=256)
    assert found[:256] == whole[:256]
    assert counting.seen < 20_000


@pytest.mark.filterwarnings("ignore:encode. 1 of 1 texts are cut")
@pytest.mark.parametrize("text", ["the cat sat on a mat. " * 900_000, "the\n" * 5_000_000])
def test_a_long_text_is_cut_before_it_is_encoded(text: str, minilm: Path) -> None:
    embedder = Embedder(minilm)
    limit = embedder.config.max_length
    whole = embedder.tokenizer.encode_batch([text[:20_000]], special=True, limit=limit)
    counting = Counting(embedder.tokenizer._library)
    embedder.tokenizer._library = counting
    assert embedder.tokenizer.encode_batch([text], special=True, limit=limit) == whole
    assert counting.seen < 20_000
    assert embedder.encode([text]).shape == (1, 384)
