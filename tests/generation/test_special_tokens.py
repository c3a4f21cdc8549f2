"""Special tokens in a text: text unless asked for, whatever kind of model the vocabulary has."""

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import tokenizers as library
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from numbatorch.generation.text_generator import TextGenerator
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.generation.vocabulary import Vocabulary, byte_of_character
from numbatorch.io.gguf import GGUFFile

CONTROL = ["<s>", "</s>", "<|im_end|>", "Z", "zz"]
USER = ["<tool>", "im"]


def added(made: library.Tokenizer) -> library.Tokenizer:
    made.add_special_tokens([AddedToken(token, normalized=False) for token in CONTROL])
    made.add_tokens([AddedToken(token, normalized=False) for token in USER])
    return made


def byte_level() -> library.Tokenizer:
    """Merges spell a special token; a word that is one is taken as it is."""
    tokens = [*byte_of_character(), "</", "</s", "</s>", "zz"]
    merges = [("<", "/"), ("</", "s"), ("</s", ">")]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    made = library.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return added(made)


def unigram() -> library.Tokenizer:
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("zz", -1.0)]
    pieces += [(letter, -5.0) for letter in "abcsimtoelnd<>/|_Zz \u2581"]
    made = library.Tokenizer(models.Unigram(pieces, unk_id=0))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.add_special_tokens(["<unk>"])
    return added(made)


def words() -> library.Tokenizer:
    vocabulary = {"[UNK]": 0, "zz": 1, "a": 2, "Z": 3}
    made = library.Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["[UNK]"])
    return added(made)


def pieces() -> library.Tokenizer:
    vocabulary = {"[UNK]": 0, "z": 1, "##z": 2, "zz": 3, "a": 4, "<": 5}
    made = library.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(["[UNK]"])
    return added(made)


MAKERS: list[Any] = [byte_level, unigram, words, pieces]
MADE = {make.__name__: Tokenizer(Vocabulary(make())) for make in MAKERS}
PARTS = [*CONTROL, *USER, "a", " ", "<", "|im", "_end|>", "<unk>", "[UNK]", "\u4f60", "z", "/s>"]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=12).map("".join) | st.text(max_size=30)


def control(tokenizer: Tokenizer) -> set[int]:
    return {tokenizer._library.token_to_id(token) for token in CONTROL}


@pytest.mark.parametrize("name", MADE)
@given(text=TEXTS)
def test_a_text_never_yields_a_control_id(name: str, text: str) -> None:
    tokenizer = MADE[name]
    letters = {ord("Z")} if name == "byte_level" else set()
    kept = [id for byte in letters for id in tokenizer._library.encode(chr(byte)).ids]
    for ids in (tokenizer.encode(text), *tokenizer.encode_batch([text, "zz"], limit=99)):
        assert control(tokenizer).isdisjoint(set(ids) - set(kept))
    special = tokenizer.encode(text, special=True)
    assert special == tokenizer._library.encode(text).ids
    if not any(token in text for token in (*CONTROL, "<unk>", "[UNK]")):
        assert tokenizer.encode(text) == special


@given(text=TEXTS)
def test_decode_inverts_encode_of_any_text(text: str) -> None:
    tokenizer = MADE["byte_level"]
    assert tokenizer.decode(tokenizer.encode(text.replace("Z", ""))) == text.replace("Z", "")


@pytest.mark.parametrize("name", MADE)
def test_user_defined_tokens_are_found_in_both_modes(name: str) -> None:
    tokenizer = MADE[name]
    for special in (False, True):
        assert tokenizer.token_id("<tool>") in tokenizer.encode("a <tool> a", special)
    inside = tokenizer.encode("<|im_end|>")
    assert tokenizer.token_id("im") in inside  # of which the special token would be made
    assert tokenizer.encode("<|im_end|>", special=True) == [tokenizer.token_id("<|im_end|>")]


def test_special_tokens_of_a_checkpoint_are_text(fixtures: Path, minilm: Path) -> None:
    folder = fixtures / "pydoc-llama"
    for tokenizer in (
        Tokenizer.from_folder(folder),
        Tokenizer.from_gguf(GGUFFile(folder / "pydoc-llama-q4_0.gguf")),
    ):
        ids = tokenizer.encode("<s>a</s>")
        assert ids[0] == 0
        assert {0, 1}.isdisjoint(ids[1:])
        assert tokenizer.decode(ids) == "<s>a</s>"
        assert tokenizer.encode("<s>a</s>", special=True) == [0, *tokenizer.encode("a")[1:], 1]
    tokenizer = Tokenizer.from_folder(minilm)
    assert tokenizer.decode(tokenizer.encode("[MASK] me")) == "[ mask ] me"
    assert tokenizer.encode("[MASK]", special=True) == [101, 103, 102]


def test_a_prompt_that_begins_with_bos_gets_no_second_one(fixtures: Path) -> None:
    tokenizer = Tokenizer.from_folder(fixtures / "pydoc-llama")
    whole = tokenizer.encode("def f")
    assert tokenizer.encode("<s>def f", special=True) == whole
    assert tokenizer.encode_batch(["<s>def f"], special=True, limit=50) == [whole]
    assert tokenizer.encode("<s><s>def f", special=True) == [0, *whole]  # both are the text's
    generator = TextGenerator(fixtures / "pydoc-llama")
    wanted = generator.generate("def f", 8)
    assert generator.generate("<s>def f", 8, special=True) == wanted
    assert generator.generate(whole, 8) == wanted


def test_bos_of_a_post_processor_is_not_added_twice() -> None:
    made = byte_level()
    bos = made.token_to_id("<s>")
    made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", bos)])
    tokenizer = Tokenizer(Vocabulary(made, bos_id=bos))
    plain = tokenizer.encode("a", add_special_tokens=False)
    assert tokenizer.encode("a") == [bos, *plain]
    assert tokenizer.encode("<s>a", special=True) == [bos, *plain]
    assert tokenizer.encode_batch(["<s>a", "a"], special=True) == [[bos, *plain]] * 2
    assert tokenizer.encode("<s>a", special=True, add_special_tokens=False) == [bos, *plain]


@pytest.mark.parametrize("name", MADE)
def test_lone_surrogates_are_refused_in_both_modes(name: str) -> None:
    for special in (False, True):
        with pytest.raises(ValueError, match=r"lone surrogate, U\+DC80 at character 2"):
            MADE[name].encode("ab\udc80", special)


def test_modes_are_independent_across_threads_and_copies() -> None:
    tokenizer = pickle.loads(pickle.dumps(MADE["unigram"]))
    wanted = [tokenizer.encode("a</s>zz", special) for special in (False, True)]
    found: list[bool] = []

    def check(special: bool) -> None:
        found.append(
            all(tokenizer.encode("a</s>zz", special) == wanted[special] for _ in range(200))
        )

    threads = [threading.Thread(target=check, args=(n % 2 == 1,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4
    assert pickle.loads(pickle.dumps(tokenizer)).encode("a</s>zz") == wanted[0]
