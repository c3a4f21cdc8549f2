"""Vocabularies of GGUF files against llama.cpp's reading of the same files."""

import random

import gguf
import pytest

from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile

llama_cpp = pytest.importorskip("llama_cpp")

WORDS = [
    *["the", "The", "don't", "DON'T", "it's", "x1", "123", "4567", "12345678", "naïve"],
    *["  ", "   ", "\n", "\r\n", "\t", " ", "a.b", "...", "(x)", "def f(x):", "_", "+="],
    *["你好", "世界", "русский", "Ελληνικά", "🙂", "½", "\u00a0", "<s>", "</s>", "aaaa"],
]
# Where llama.cpp follows the models' own patterns; it has no NFC and leaves marks out of others.
NAMES = "default gpt-2 llama-bpe smollm deepseek-r1-qwen dbrx glm4 deepseek-v3 falcon bloom viking"


def texts(count):
    rng = random.Random(0)
    return ["".join(rng.choices(WORDS, k=rng.randrange(20))) for _ in range(count)]


def with_vocabulary_of(source, path, **changes):
    """A file that llama.cpp opens for its vocabulary: `source`'s, with keys changed."""
    writer = gguf.GGUFWriter(str(path), "llama")
    for key in ("context_length", "embedding_length", "block_count", "feed_forward_length"):
        getattr(writer, f"add_{key}")(64)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    metadata = {**GGUFFile(source).metadata, **changes}
    for key, value in metadata.items():
        if not key.startswith("tokenizer.ggml."):
            continue
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value.tolist() if hasattr(value, "tolist") else value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def assert_same_ids(path):
    ours = Tokenizer.from_gguf(GGUFFile(path))
    theirs = llama_cpp.Llama(model_path=str(path), vocab_only=True, verbose=False)
    for text in texts(300):
        expected = theirs.tokenize(text.encode(), add_bos=True, special=True)
        assert ours.encode(text) == expected, text


@pytest.mark.parametrize("name", NAMES.split())
def test_byte_level_vocabulary(name, fixtures, tmp_path):
    source = fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf"
    changes = {"tokenizer.ggml.pre": name}
    assert_same_ids(with_vocabulary_of(source, tmp_path / "v.gguf", **changes))


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_vocabulary(prefix, fixtures, tmp_path):
    source = fixtures / "sentencepiece" / "vocabulary.gguf"
    changes = {"tokenizer.ggml.add_space_prefix": prefix}
    assert_same_ids(with_vocabulary_of(source, tmp_path / "v.gguf", **changes))
