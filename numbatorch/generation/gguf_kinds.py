"""The kinds of vocabulary that GGUF files carry, each as a tokenizer of the library.

Meaning of the keys: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.generation.gguf_keys import BYTE, CONTROL, NORMAL, UNKNOWN, Keys
from numbatorch.generation.library import refused
from numbatorch.generation.pretokenizers import PreTokenizer
from numbatorch.io.mapping import Array

if TYPE_CHECKING:
    import tokenizers

SPACE = "\u2581"
PREFIX = "##"


def byte_level(keys: Keys, pre: PreTokenizer) -> "tokenizers.Tokenizer":
    """`gpt2`: BPE over GPT-2's stand-ins for bytes."""
    from tokenizers import Tokenizer, decoders, normalizers

    if keys.field("add_space_prefix", bool, False):
        keys.fail("tokenizer.ggml.add_space_prefix is True in a vocabulary of kind gpt2")
    library = Tokenizer(_bpe(keys, _merges(keys), ignore_merges=pre.ignore_merges))
    if pre.nfc:
        library.normalizer = normalizers.NFC()
    library.pre_tokenizer = pre.build()
    library.decoder = decoders.ByteLevel()
    return library


def sentence_piece(keys: Keys, kinds: Array) -> "tokenizers.Tokenizer":
    """`llama`: SentencePiece's BPE, whose merges are in the order of the scores."""
    merges = merges_by_score(keys.tokens, kinds.tolist(), keys.scores())
    return _joining(keys, merges, 0, keys.field("add_space_prefix", bool, True))


def joining(keys: Keys) -> "tokenizers.Tokenizer":
    """`gemma4`: the same with merges of its own."""
    return _joining(keys, _merges(keys), None, keys.field("add_space_prefix", bool, False))


def _joining(
    keys: Keys, merges: list[tuple[str, str]], unknown: int | None, prefix: bool
) -> "tokenizers.Tokenizer":
    from tokenizers import Tokenizer, decoders

    unknown = keys.id("unknown", unknown)
    model = _bpe(
        keys,
        merges,
        unk_token=None if unknown is None else keys.tokens[unknown],
        fuse_unk=True,
        byte_fallback=True,
    )
    library = Tokenizer(model)
    library.normalizer = _spaces(prefix)
    strip: list[Any] = [decoders.Strip(" ", 1, 0)] if prefix else []
    library.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return library


def likely_pieces(keys: Keys, kinds: Array) -> "tokenizers.Tokenizer":
    """`t5`: SentencePiece's unigram model, the most likely pieces of a text.

    What is unknown costs 10 more than the least likely piece that is a normal one; pieces that are
    not used, which fill up a vocabulary, are not as unlikely as they say. The library looks for
    what a charsmap replaces in single characters and in what is drawn as one.
    Source: https://github.com/google/sentencepiece/blob/master/src/unigram_model.cc
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers

    keys.by_token()
    scores = keys.scores()
    least = min((s for s, kind in zip(scores, kinds, strict=True) if kind == NORMAL), default=0.0)
    pieces = [(token, max(score, least)) for token, score in zip(keys.tokens, scores, strict=True)]
    fallback = bool((kinds == BYTE).any())
    with refused("the pieces do not fit each other", keys.path):
        model = models.Unigram(pieces, keys.id("unknown", 2), byte_fallback=fallback)
    library = Tokenizer(model)
    steps: list[Any] = []
    charsmap = keys.field("precompiled_charsmap", np.ndarray, np.zeros(0, np.uint8))
    if len(charsmap):
        with refused("tokenizer.ggml.precompiled_charsmap is malformed", keys.path):
            steps.append(normalizers.Precompiled(charsmap.astype(np.uint8).tobytes()))
    if keys.field("remove_extra_whitespaces", bool, False):
        steps.append(normalizers.Replace(Regex(r"\A +| +\z"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    prefix = keys.field("add_space_prefix", bool, False)
    library.normalizer = normalizers.Sequence([*steps, _spaces(prefix)])
    scheme: Any = "always" if prefix else "never"
    library.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return library


def word_pieces(keys: Keys) -> "tokenizers.Tokenizer":
    """`bert`: the longest pieces of each word, which is unknown as a whole where one is missing.

    A file marks pieces that begin a word with U+2581, where BERT marks the others with ##; names
    in brackets are as they are.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    keys.tokens = [_as_word_piece(token) for token in keys.tokens]
    unknown, cls = keys.id("unknown", 100), keys.id("cls", keys.id("bos", 101))
    sep = keys.id("seperator", keys.id("separator", 102))
    if unknown is None:
        keys.fail("tokenizer.ggml.unknown_token_id is missing")
    library = Tokenizer(models.WordPiece(keys.by_token(), unk_token=keys.tokens[unknown]))
    lower = keys.field("normalizer.lowercase", bool, True)
    accents = keys.field("normalizer.strip_accents", bool, lower)
    library.normalizer = normalizers.BertNormalizer(strip_accents=accents, lowercase=lower)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece(prefix=PREFIX)
    around = [
        id if id is not None and keys.field(f"add_{name}_token", bool, True) else None
        for name, id in (("bos", cls), ("sep", sep))
    ]
    before, behind = ([] if id is None else [keys.tokens[id]] for id in around)
    library.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *behind],
        special_tokens=[(keys.tokens[id], id) for id in around if id is not None],
    )
    return library


def _as_word_piece(token: str) -> str:
    if token.startswith(SPACE):
        return token[1:]
    return token if token.startswith("[") and token.endswith("]") else PREFIX + token


def _spaces(prefix: bool) -> Any:
    from tokenizers import normalizers

    steps: list[Any] = [normalizers.Prepend(SPACE)] if prefix else []
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _merges(keys: Keys) -> list[tuple[str, str]]:
    merges = []
    for text in keys.field("merges", list):
        cut = text.find(" ", 1) if isinstance(text, str) else -1  # a token may begin with a space
        if cut < 0:
            keys.fail(f"merge {text!r} is not two tokens with a space between them")
        merges.append((text[:cut], text[cut + 1 :]))
    return merges


def merges_by_score(
    tokens: Sequence[str], kinds: Sequence[int], scores: Sequence[float]
) -> list[tuple[str, str]]:
    """SentencePiece's BPE as merges: any two tokens whose join is a token, the best score first.

    SentencePiece joins the leftmost of equal scores; here, of the ways to cut one token, the one
    with the earlier tokens comes first.
    Source: https://github.com/google/sentencepiece/blob/master/src/bpe_model.cc
    """
    joined = {
        token: id for id, token in enumerate(tokens) if kinds[id] not in (UNKNOWN, CONTROL, BYTE)
    }
    found = []
    for token, id in joined.items():
        for cut in range(1, len(token)):
            left = joined.get(token[:cut])
            if left is not None:
                right = joined.get(token[cut:])
                if right is not None:
                    found.append((-scores[id], left, right))
    found.sort()
    return [(tokens[left], tokens[right]) for _, left, right in found]


def _bpe(keys: Keys, merges: list[tuple[str, str]], **options: Any) -> "tokenizers.models.BPE":
    from tokenizers import models

    with refused("the merges do not fit the tokens", keys.path):
        return models.BPE(vocab=keys.by_token(), merges=merges, **options)
