"""Vocabularies of GGUF files beside llama.cpp; tokenizer_config.json beside transformers."""

import json
import random
import shutil

import gguf
import pytest

from numbatorch.errors import FormatError
from numbatorch.generation.to_folder import tokenizer_files
from numbatorch.generation.to_gguf import tokenizer_metadata
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
    metadata = source if isinstance(source, dict) else GGUFFile(source).metadata
    metadata = {**metadata, **changes}
    for key, value in metadata.items():
        if not key.startswith("tokenizer.ggml."):
            continue
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif getattr(value, "dtype", None) == "uint8":
            writer.add_array(key, value.tobytes())
        else:
            writer.add_array(key, value.tolist() if hasattr(value, "tolist") else value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def assert_same_ids(path, ours=None):
    ours = ours or Tokenizer.from_gguf(GGUFFile(path))
    theirs = llama_cpp.Llama(model_path=str(path), vocab_only=True, verbose=False)
    begun = ours.encode("")[:1] == [ours.bos_id]
    for text in texts(300):
        for special in (False, True):
            expected = theirs.tokenize(text.encode(), add_bos=True, special=special)
            if special and begun and text.startswith("<s>"):
                expected = expected[1:]  # llama.cpp warns of a second bos and leaves it
            assert ours.encode(text, special) == expected, text
    words = theirs._model.vocab
    ends = {id for id in range(ours.vocab_size) if llama_cpp.llama_vocab_is_eog(words, id)}
    assert ours.end_ids == ends


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


def test_likely_pieces(fixtures, tmp_path):
    source = fixtures / "sentencepiece" / "unigram.gguf"
    assert_same_ids(with_vocabulary_of(source, tmp_path / "v.gguf"))


@pytest.mark.parametrize(
    "name",
    [
        *["bert-bge", "nomic-bert-moe", "llama-spm", "falcon"],
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma-4", "qwen35", "mpt")),
    ],
)
def test_a_published_vocabulary(name, vocabularies):
    path = vocabularies / f"ggml-vocab-{name}.gguf"
    ours = Tokenizer.from_gguf(GGUFFile(path))
    theirs = llama_cpp.Llama(model_path=str(path), vocab_only=True, verbose=False)
    for text in texts(300):
        assert ours.encode(text) == theirs.tokenize(text.encode(), add_bos=True), text


@pytest.mark.parametrize("name", ["pydoc", "vocabulary", "unigram"])
def test_a_converted_tokenizer(name, fixtures, tmp_path):
    folder = fixtures / "pydoc-llama"
    if name != "pydoc":
        folder = tmp_path / "folder"
        folder.mkdir()
        path = fixtures / "sentencepiece" / f"{name}.gguf"
        for file, values in tokenizer_files(GGUFFile(path).metadata, path).items():
            (folder / file).write_text(json.dumps(values))
    file = with_vocabulary_of(tokenizer_metadata(folder), tmp_path / "v.gguf")
    assert_same_ids(file, Tokenizer.from_folder(folder))


CONFIGS = {
    "as it is": {},
    "cased": {"do_lower_case": False},
    "accents": {"strip_accents": False},
    "no accents": {"strip_accents": True},
    "han": {"tokenize_chinese_chars": False},
    "another unknown": {"unk_token": "[PAD]"},
    "split special": {"split_special_tokens": True},
    "plain class": {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False},
    "older class": {"tokenizer_class": "BertTokenizerFast", "do_lower_case": False},
    "cleaned": {"clean_up_tokenization_spaces": True},
    "left": {"padding_side": "left"},
    "never split": {"never_split": ["[MASK]"]},
    "added": {"added_tokens_decoder": {"40000": {"content": "hello", "special": True}}},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_a_key_of_tokenizer_config_is_refused_or_gives_the_ids_of_transformers(
    changes, minilm, tmp_path
):
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    for name in ("tokenizer.json", "config.json"):
        shutil.copyfile(minilm / name, tmp_path / name)
    config = json.loads((minilm / "tokenizer_config.json").read_text("utf-8"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, **changes}))
    try:
        ours = Tokenizer.from_folder(tmp_path)
    except FormatError:
        return
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*texts(50), "Caf\u00e9 H\u00e9llo", "\u4f60\u597d [MASK] hello"]:
        assert ours.encode(text, special=True) == theirs(text)["input_ids"], text
