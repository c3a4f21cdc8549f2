"""Tokenizers: recorded ids, GGUF vocabularies against tokenizer.json and SentencePiece, streams."""

import json
import shutil

import gguf
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from numbatorch.errors import FormatError, OutOfRange
from numbatorch.generation.pretokenizers import PRE_TOKENIZERS, lookup
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.generation.vocabulary import byte_of_character
from numbatorch.io.gguf import GGUFFile

TEXTS = st.text(max_size=60) | st.text(
    "abe sT0129 \n\t\r.,'(_\u00e9\u4f60\U0001f642\u0301\u3000", max_size=60
)
BYTES = {byte: character for character, byte in byte_of_character().items()}


@pytest.fixture(scope="module")
def folder(fixtures):
    return fixtures / "pydoc-llama"


@pytest.fixture(scope="module")
def from_folder(folder):
    return Tokenizer.from_folder(folder)


@pytest.fixture(scope="module")
def from_gguf(folder):
    return Tokenizer.from_gguf(GGUFFile(folder / "pydoc-llama-q4_0.gguf"))


@pytest.fixture(scope="module")
def sentencepiece(fixtures):
    return Tokenizer.from_gguf(GGUFFile(fixtures / "sentencepiece" / "vocabulary.gguf"))


@pytest.fixture(scope="module")
def unigram(fixtures):
    return Tokenizer.from_gguf(GGUFFile(fixtures / "sentencepiece" / "unigram.gguf"))


@pytest.fixture(params=["from_folder", "from_gguf", "sentencepiece", "unigram"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


def vocabulary(path, tokens, types=None, model="gpt2", **keys):
    """A GGUF file with nothing but a vocabulary."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types or [1] * len(tokens))
    for key, value in keys.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, list: writer.add_array}
        add.get(type(value), writer.add_string)(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return GGUFFile(path)


def byte_level(path, extra=(), types=None, **keys):
    keys = {"pre": "gpt-2", "merges": ["a b"], **keys}
    tokens = [BYTES[byte] for byte in range(256)] + ["ab", *extra]
    kinds = [1] * 257 + list(types or [1] * len(extra))
    return vocabulary(path, tokens, kinds, **keys)


@pytest.mark.parametrize("source", ["from_folder", "from_gguf"])
def test_prompts_and_continuations_are_the_recorded_ones(source, folder, request):
    tokenizer = request.getfixturevalue(source)
    for record in json.loads((folder / "expected.json").read_text("utf-8"))["generate"]:
        assert tokenizer.encode(record["prompt"]) == record["ids"]
        assert tokenizer.decode(record["greedy"]) == record["text"]
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.end_ids) == (0, 1, {1})
    assert tokenizer.vocab_size == 2048


@given(text=TEXTS)
def test_gguf_vocabulary_encodes_as_its_tokenizer_json(text, from_folder, from_gguf):
    assert from_gguf.encode(text) == from_folder.encode(text)


@given(text=TEXTS)
def test_decode_inverts_encode(text, from_gguf, sentencepiece):
    for tokenizer in (from_gguf, sentencepiece):
        written = text.replace("\u2581", " ") if tokenizer is sentencepiece else text
        for add in (False, True):
            assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=add)) == written


def test_sentencepiece_vocabulary_encodes_as_the_sentencepiece_library(fixtures, sentencepiece):
    path = fixtures / "sentencepiece" / "expected.json"
    for record in json.loads(path.read_text("utf-8")):
        assert sentencepiece.encode(record["text"], add_special_tokens=False) == record["ids"], (
            record
        )
    assert sentencepiece.encode("") == [1]


def test_likely_pieces_are_those_of_the_sentencepiece_library(fixtures, unigram):
    path = fixtures / "sentencepiece" / "unigram.json"
    for record in json.loads(path.read_text("utf-8")):
        ids = unigram.encode(record["text"], add_special_tokens=False)
        assert ids == record["ids"], record
        assert unigram.encode(record["text"]) == [*ids, 2]
    assert unigram.encode("a</s>", special=True)[-2:] == [2, 2]
    assert 2 not in unigram.encode("a</s>", add_special_tokens=False)
    assert unigram.decode(unigram.encode("The  \u00a0for statement ")) == "The for statement"


def test_word_pieces_of_a_file_are_those_of_its_tokenizer_json(minilm, tmp_path):
    folder = Tokenizer.from_folder(minilm)
    tokens = [folder.token_text(id) for id in range(folder.vocab_size)]
    special = [folder.is_special(id) for id in range(folder.vocab_size)]
    names = {"[UNK]": "unknown", "[CLS]": "cls", "[SEP]": "seperator", "[PAD]": "padding"}
    keys = {f"{name}_token_id": tokens.index(token) for token, name in names.items()}
    spelled = [
        token if token[0] == "[" and token[-1] == "]" else f"\u2581{token}" for token in tokens
    ]
    spelled = [token.removeprefix("\u2581##") for token in spelled]
    kinds = [3 if found else 1 for found in special]
    file = vocabulary(tmp_path / "v.gguf", spelled, kinds, "bert", **keys, add_sep_token=True)
    found = Tokenizer.from_gguf(file)
    texts = ["", "Caf\u00e9 unbelievably", "[MASK] [SEP]", "a\u4f60b  \x00 \U0001f642", "x" * 120]
    for text in texts:
        for special in (False, True):
            assert found.encode(text, special) == folder.encode(text, special)
        assert found.decode(found.encode(text)) == folder.decode(folder.encode(text))


def test_joined_spaces_have_merges_of_their_own(tmp_path):
    letters = ["<unk>", "<bos>", "<tool>", "\u2581", "a", "b", "\n", "\n\n", "\u2581a", "aa"]
    tokens = [*letters, *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 4, *[1] * 7, *[6] * 256]
    keys = {"merges": ["\n \n", "\u2581 a", "a a"], "unknown_token_id": 0, "bos_token_id": 1}
    file = vocabulary(tmp_path / "v.gguf", tokens, kinds, "gemma4", **keys)
    tokenizer = Tokenizer.from_gguf(file)
    assert tokenizer.encode("a aa\n\n b<tool>") == [1, 4, 8, 4, 7, 3, 5, 2]
    assert tokenizer.encode("\u00e9") == [1, 10 + 0xC3, 10 + 0xA9]
    assert tokenizer.decode(tokenizer.encode(" a\u00e9\n")) == " a\u00e9\n"


def test_user_defined_token_is_found_before_words_are_cut(sentencepiece):
    ids = sentencepiece.encode("call <tool> now", add_special_tokens=False)
    assert sentencepiece.token_id("<tool>") in ids
    assert "<tool>" in sentencepiece.decode(ids)


@example(seeds=[630812, 308])  # two spaces of sentencepiece's, one of which decode drops
@given(seeds=st.lists(st.integers(0, 10**6), max_size=40))
def test_stream_gives_the_text_of_decode_in_whole_characters(
    seeds, from_folder, from_gguf, sentencepiece
):
    for tokenizer in (from_folder, from_gguf, sentencepiece):
        ids = [seed % tokenizer.vocab_size for seed in seeds]
        stream = tokenizer.stream()
        pieces = [stream.step(id) for id in ids] + [stream.end()]
        for piece in pieces:
            piece.encode("utf-8")
        whole, decoded = "".join(pieces), tokenizer.decode(ids)
        assert whole in (decoded, " " + decoded)  # a stream keeps the first word's space
        if tokenizer is not sentencepiece:
            assert whole == from_folder._library.decode(ids, skip_special_tokens=True)


@given(text=st.text(min_size=1, max_size=20))
def test_stream_holds_back_characters_of_several_tokens(text, from_gguf):
    stream = from_gguf.stream()
    pieces = [stream.step(id) for id in from_gguf.encode(text, add_special_tokens=False)]
    assert "".join(pieces) == text
    assert stream.end() == ""


def test_bytes_that_stay_invalid_become_the_replacement_character(from_gguf):
    lead = from_gguf.token_id(BYTES[0xF0])
    stream = from_gguf.stream()
    assert stream.step(lead) == ""
    assert stream.step(from_gguf.token_id("a")) == "\ufffda"
    assert stream.step(lead) == ""
    assert stream.end() == "\ufffd"


def test_stream_of_a_continuation_keeps_its_leading_space(sentencepiece):
    (id,) = [id for id in range(900) if sentencepiece.token_text(id) == "\u2581the"]
    assert sentencepiece.stream().step(id) == " the"
    assert sentencepiece.decode([id]) == "the"


def test_stream_of_a_library_decoder_gives_the_text_of_decode(minilm):
    tokenizer = Tokenizer.from_folder(minilm)
    ids = tokenizer.encode("streaming word pieces, unbelievably!", add_special_tokens=False)
    stream = tokenizer.stream()
    pieces = [stream.step(id) for id in ids]
    assert "".join(pieces) + stream.end() == tokenizer.decode(ids)
    assert pieces[0] == "streaming"


def test_special_tokens_are_left_out_of_text_unless_asked_for(tokenizer):
    ids = [tokenizer.bos_id, tokenizer.eos_id]
    assert tokenizer.decode(ids) == ""
    assert tokenizer.decode(ids, special=True) == "<s></s>"
    assert tokenizer.is_special(tokenizer.bos_id)


@pytest.mark.parametrize("id", [-1, 2048, 10**30])
def test_id_outside_of_the_vocabulary_is_refused(id, from_gguf):
    with pytest.raises(OutOfRange, match=f"token id {id} is not in the vocabulary"):
        from_gguf.decode([id])
    with pytest.raises(OutOfRange):
        from_gguf.stream().step(id)


def test_batch_equals_one_by_one_and_cuts_inside_special_tokens(minilm):
    tokenizer = Tokenizer.from_folder(minilm)
    texts = ["", "a", "one two three", "x " * 300] * 20
    whole = [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts) == whole
    assert tokenizer.encode_batch(texts[:4]) == whole[:4]
    assert len(whole[3]) == 302
    short = tokenizer.encode_batch(texts[:4], limit=8)
    assert [len(ids) for ids in short] == [2, 3, 5, 8]
    assert (short[3][0], short[3][-1]) == (whole[3][0], whole[3][-1])
    tokenizer._library.enable_truncation(8)
    assert short == [tokenizer._library.encode(text).ids for text in texts[:4]]


@given(text=TEXTS)
def test_a_batch_of_one_has_the_ids_of_the_text(text, from_folder, from_gguf, sentencepiece):
    for tokenizer in (from_folder, from_gguf, sentencepiece):
        for special in (True, False):
            ids = tokenizer.encode(text, special)
            bare = tokenizer.encode(text, special, add_special_tokens=False)
            assert tokenizer.encode_batch([text], special) == [ids]
            assert tokenizer.encode_batch([text], special, add_special_tokens=False) == [bare]
            assert tokenizer.encode_batch([text], special, limit=len(ids) + 1) == [ids]


def test_batch_with_bos_counts_it_in_the_limit(from_gguf):
    (ids,) = from_gguf.encode_batch(["one two three four"], limit=3)
    assert len(ids) == 3
    assert ids[0] == from_gguf.bos_id
    with pytest.raises(OutOfRange, match="no text fits into 0 tokens"):
        from_gguf.encode_batch(["a"], limit=0)


def test_tokenizer_config_says_what_is_added(folder, tmp_path):
    for name in ("tokenizer.json", "config.json"):
        shutil.copyfile(folder / name, tmp_path / name)
    plain = Tokenizer.from_folder(folder).encode("a", add_special_tokens=False)

    def ids(**config):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return Tokenizer.from_folder(tmp_path).encode("a")

    assert ids() == [0, *plain]
    assert ids(add_bos_token=False) == plain
    assert ids(add_bos_token=True, add_eos_token=True) == [0, *plain, 1]
    assert ids(bos_token={"content": "</s>"}, add_bos_token=True) == [1, *plain]
    for config, problem in (
        ({"bos_token": "<nobody>"}, "bos_token is '<nobody>', which is no token"),
        ({"eos_token": 5}, "eos_token is 5, which is no token"),
        ({"add_bos_token": "false"}, "add_bos_token is 'false', neither true nor false"),
        ({"add_eos_token": 0}, "add_eos_token is 0, neither true nor false"),
        ({"added_tokens_decoder": 3}, "added_tokens_decoder is 3, not an object"),
    ):
        with pytest.raises(FormatError, match=problem):
            ids(**config)
    ids()
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 7]}')
    assert Tokenizer.from_folder(tmp_path).end_ids == {1, 7}
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": "seven"}')
    with pytest.raises(FormatError, match="eos_token_id is 'seven'"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("do_lower_case", False),
        ("strip_accents", False),
        ("tokenize_chinese_chars", False),
        ("unk_token", "[PAD]"),
        ("split_special_tokens", True),
        ("added_tokens_decoder", {"7": {"content": "[MASK]"}}),
        ("added_tokens_decoder", {"99999": {"content": "<new>"}}),
    ],
    ids=str,
)
def test_tokenizer_config_that_contradicts_is_refused(key, value, minilm, tmp_path):
    shutil.copyfile(minilm / "tokenizer.json", tmp_path / "tokenizer.json")
    config = json.loads((minilm / "tokenizer_config.json").read_text("utf-8"))
    config["added_tokens_decoder"] = {"103": {"content": "[MASK]"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    whole = Tokenizer.from_folder(tmp_path).encode("Caf\u00e9 \u4f60 [MASK]", special=True)
    assert whole == Tokenizer.from_folder(minilm).encode("Caf\u00e9 \u4f60 [MASK]", special=True)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(FormatError, match=r"tokenizer_config\.json and tokenizer\.json disagree"):
        Tokenizer.from_folder(tmp_path)


def test_folder_without_or_with_a_broken_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"no tokenizer.json[\s\S]*tokenizer.model"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(FormatError, match=r"not a tokenizer.json[\s\S]*tokenizer.json"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
def test_every_pre_tokenizer_cuts_text_and_loses_none_of_it(name, tmp_path):
    tokenizer = Tokenizer.from_gguf(byte_level(tmp_path / "v.gguf", pre=name))
    for text in ("Don't 12345 ab\n\n  x\u00e9\u3000\u4f60 \U0001f642", "", "   ", "\r\n"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpt-2", ["It", "'s", " 12345", " ab", "\n"]),
        ("llama-bpe", ["It", "'s", " ", "123", "45", " ab", "\n"]),
        ("qwen2", ["It", "'s", " ", "1", "2", "3", "4", "5", " ab", "\n"]),
        ("smollm", ["It", "'s", " ", "1", "2", "3", "4", "5", " ab", "\n"]),
        ("deepseek-coder", ["It", "'", "s", " ", "1", "2", "3", "4", "5", " ab", "\n"]),
    ],
)
def test_patterns_cut_as_the_models_do(name, words):
    from tokenizers import Regex, pre_tokenizers

    cuts = [pre_tokenizers.Split(Regex(p), "isolated") for p in lookup(name).patterns]
    found = pre_tokenizers.Sequence(cuts).pre_tokenize_str("It's 12345 ab\n")
    assert [word for word, _ in found] == words


def test_unknown_pre_tokenizer_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"unknown pre-tokenizer 'nobody'[\s\S]*known: a\.x"):
        Tokenizer.from_gguf(byte_level(tmp_path / "v.gguf", pre="nobody"))


def test_bos_is_added_as_the_pre_tokenizer_or_the_file_says(tmp_path):
    def first(**keys):
        file = byte_level(tmp_path / "v.gguf", ["<s>"], [3], bos_token_id=257, **keys)
        return Tokenizer.from_gguf(file).encode("ab")

    assert first() == [256]
    assert first(add_bos_token=True) == [257, 256]
    assert first(pre="llama-bpe") == [257, 256]
    assert first(pre="llama-bpe", add_bos_token=False) == [256]


def test_control_tokens_that_end_a_turn_end_a_generation(tmp_path):
    extra = ["<|eot_id|>", "<|im_end|>", "</s>", "<|im_start|>"]
    file = byte_level(tmp_path / "v.gguf", extra, [3, 4, 3, 3], eos_token_id=259)
    tokenizer = Tokenizer.from_gguf(file)
    assert tokenizer.end_ids == {257, 258, 259}
    assert tokenizer.is_special(258)  # whatever type the file gives it
    assert 258 not in tokenizer.encode("<|im_end|>")


def test_end_ids_by_number(tmp_path):
    extra = ["<a>", "<b>", "<c>", "<d>"]
    keys = {f"{name}_token_id": 257 + n for n, name in enumerate(("eos", "eot", "eom", "fim_pad"))}
    file = byte_level(tmp_path / "v.gguf", extra, [3] * 4, **keys)
    assert Tokenizer.from_gguf(file).end_ids == {257, 258, 259, 260}


@pytest.mark.parametrize("parts", [["<|return|>", "<|call|>"], ["<|calls|>", "<|flush|>"], []])
def test_end_between_the_parts_of_a_turn_does_not_end_it(parts, tmp_path):
    file = byte_level(tmp_path / "v.gguf", ["<|end|>", *parts], [3] * (1 + len(parts)))
    assert Tokenizer.from_gguf(file).end_ids == (set(range(258, 260)) if parts else {257})


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model": "rwkv"}, "vocabulary of kind 'rwkv', where bert, gemma4, gpt2, llama, t5 are"),
        ({"merges": ["ab"]}, "merge 'ab' is not two tokens with a space between them"),
        ({"merges": [[1], [2]]}, "is not two tokens"),
        ({"merges": ["a zz"]}, "Token `zz` out of vocabulary"),
        ({"bos_token_id": 9999}, "bos_token_id is 9999"),
        ({"add_bos_token": True}, "add_bos_token is set, but"),
        ({"extra": ["ab"]}, "token 'ab' is there as id 256 and as id 257"),
        ({"merges": [f"{BYTES[200]} {BYTES[201]}"]}, "the merges do not fit the tokens"),
        ({"add_space_prefix": True}, "add_space_prefix is True in a vocabulary of kind gpt2"),
        ({"remove_extra_whitespaces": True}, "remove_extra_whitespaces is True, which is not"),
        ({"add_sep_token": True}, "add_sep_token is True, which is not known"),
        ({"precompiled_charsmap": [1, 2]}, "precompiled_charsmap is array"),
        ({"nobody_knows": "x"}, "tokenizer.ggml.nobody_knows is 'x', which is not known here"),
        ({"model": "llama"}, "'tokenizer.ggml.scores' is missing"),
        ({"model": "llama", "scores": [0.0]}, "has 1 values for 257 tokens"),
        ({"model": "llama", "scores": [float("nan")] * 257}, "holds NaN"),
    ],
)
def test_malformed_vocabulary_is_refused(keys, problem, tmp_path):
    with pytest.raises(FormatError, match=problem):
        Tokenizer.from_gguf(byte_level(tmp_path / "v.gguf", **keys))


def test_keys_that_change_no_ids_are_known(tmp_path):
    ids = {f"{name}_token_id": 1 for name in ("padding", "seperator", "mask", "fim_pre", "prefix")}
    texts = {"add_space_prefix": False, "add_sep_token": False, "remove_extra_whitespaces": False}
    file = byte_level(tmp_path / "v.gguf", **ids, **texts)
    assert Tokenizer.from_gguf(file).encode("ab") == [256]


def test_empty_token_text_gets_a_name(tmp_path):
    tokenizer = Tokenizer.from_gguf(byte_level(tmp_path / "v.gguf", [""]))
    assert tokenizer.token_text(257) == "[EMPTY_257]"
