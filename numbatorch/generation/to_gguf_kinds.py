"""Which kinds of GGUF vocabulary a tokenizer.json could be, and the keys of each."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.generation import pretokenizers, probes
from numbatorch.generation.gguf_kinds import PREFIX, SPACE, merges_by_score
from numbatorch.io.reading import short

if TYPE_CHECKING:
    import tokenizers


class Candidate(NamedTuple):
    """Keys that may say what a tokenizer does.

    Attributes:
        keys: names behind `tokenizer.ggml.` to values.
        tokens: as this kind spells them, where it does so in its own way.
        thorough: whether each token has to be tried.
        exact: whether texts that begin with a space, and those behind special tokens, have the
            same ids.
    """

    keys: dict[str, Any]
    tokens: list[str] | None = None
    thorough: bool = False
    exact: bool = True


def unknown_token(model: Mapping[str, Any]) -> str | None:
    """The token that stands for what a model of a tokenizer.json does not know."""
    if model.get("unk_id") is not None:
        return str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token")


def candidates(
    state: Mapping[str, Any],
    library: "tokenizers.Tokenizer",
    tokens: Sequence[str],
    kinds: Sequence[int],
    folder: Path,
) -> Iterator[Candidate]:
    """Kinds to try, the likeliest first.

    Args:
        state: the tokenizer.json.
        library: its tokenizer.
        tokens, kinds: the token of each id and its type.
        folder: what errors name.
    Raises:
        FormatError: a model of a kind, or a way to cut words, that GGUF has no name for.
    """
    model = state["model"]
    steps = [*parts(state["normalizer"]), *parts(state["pre_tokenizer"])]
    if model["type"] == "WordPiece":
        yield from _word_pieces(state, tokens, folder)
    elif model["type"] == "Unigram":
        yield from _likely_pieces(state, steps, len(tokens))
    elif model["type"] == "BPE" and any(step["type"] == "ByteLevel" for step in steps):
        yield from _byte_level(state, library, folder)
    elif model["type"] == "BPE" and model["byte_fallback"]:
        yield from _joining(state, steps, tokens, kinds)
    else:
        kind = f"a {model['type']} model with neither bytes as letters nor tokens of bytes"
        _fail(folder, f"{kind} has no name in GGUF" if model["type"] == "BPE" else kind)


def parts(step: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, whether it is a sequence or not."""
    if step is None:
        return []
    inner = step.get("normalizers", step.get("pretokenizers"))
    return [part for one in inner for part in parts(one)] if inner is not None else [step]


def _byte_level(
    state: Mapping[str, Any], library: "tokenizers.Tokenizer", folder: Path
) -> Iterator[Candidate]:
    normalizers = [step["type"] for step in parts(state["normalizer"])]
    nfc = normalizers == ["NFC"]
    if normalizers and not nfc:
        row = f"its normalizer {short(str(state['normalizer']), 100)}"
        _fail(folder, "it normalizes in a way that GGUF has no key for", row)
    first: dict[pretokenizers.PreTokenizer, str] = {}
    for name, pre in pretokenizers.PRE_TOKENIZERS.items():
        first.setdefault(pre, name)
    cut = [(name, pre) for pre, name in first.items() if _cuts_alike(pre, library)]
    fitting = [(name, pre) for name, pre in cut if pre.nfc == nfc]
    if not fitting:
        rows = [f"its pre-tokenizer {short(str(state['pre_tokenizer']), 300)}"]
        if cut:
            rows.append(f"words are cut as by {cut[0][0]!r}, which normalises in another way")
        _fail(folder, "no pre-tokenizer of GGUF cuts words as this one does", *rows)
    ignore = bool(state["model"]["ignore_merges"])
    fitting.sort(key=lambda row: row[1].ignore_merges != ignore)
    merges = [_merge(pair, folder) for pair in state["model"]["merges"]]
    for name, pre in fitting:
        keys = {"model": "gpt2", "pre": name, "merges": merges}
        yield Candidate(keys, thorough=pre.ignore_merges != ignore)


def _cuts_alike(pre: pretokenizers.PreTokenizer, library: "tokenizers.Tokenizer") -> bool:
    theirs, ours = library.pre_tokenizer, pre.build()
    return all(theirs.pre_tokenize_str(t) == ours.pre_tokenize_str(t) for t in probes.TEXTS)


def _merge(pair: Sequence[str], folder: Path) -> str:
    if " " in pair[0][1:]:
        _fail(folder, f"merge {short(str(pair), 60)} has a space that GGUF would cut it at")
    return " ".join(pair)


def _joining(
    state: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    tokens: Sequence[str],
    kinds: Sequence[int],
) -> Iterator[Candidate]:
    """SentencePiece's BPE: by scores where the merges are all that these would give, in an order
    that they can, or with the merges themselves."""
    prefixes, exact = _prefixes(steps)
    merges = [tuple(pair) for pair in state["model"]["merges"]]
    scores = _scores(merges, tokens, kinds)
    for prefix in prefixes:
        keys: dict[str, Any] = {"add_space_prefix": prefix}
        if scores is not None:
            yield Candidate({"model": "llama", "scores": scores, **keys}, exact=exact)
        elif all(" " not in left[1:] for left, _ in merges):
            keys |= {"model": "gemma4", "merges": [" ".join(pair) for pair in merges]}
            yield Candidate(keys, exact=exact)


def _scores(merges: Sequence[tuple[str, ...]], tokens: Sequence[str], kinds: Sequence[int]) -> Any:
    """Scores that give the merges, the sooner a token is joined the higher; None if none do.

    Tokens whose merges are mixed have one score, as those of SentencePiece had. Scores do not say
    which of their merges goes first.
    """
    last = {left + right: rank for rank, (left, right) in enumerate(merges)}
    scores: dict[str, int] = {}
    end = group = 0
    for rank, (left, right) in enumerate(merges):
        if rank > end:
            group -= 1
        end = max(end, last[left + right])
        scores.setdefault(left + right, group)
    # What no merge gives is below all that one does.
    found = [scores.get(token, group - 1) for token in tokens]
    if set(merges_by_score(tokens, kinds, found)) != set(merges):
        return None
    return np.array(found, np.float32)


def _prefixes(steps: Sequence[Mapping[str, Any]]) -> tuple[list[bool], bool]:
    """Whether a space goes before a text, as far as the steps tell, and whether it also does so
    before one that begins with a space, and behind special tokens."""
    for step in steps:
        if step["type"] == "Metaspace":
            prefix = step.get("prepend_scheme", "always") != "never"
            return [prefix], not prefix
        if step["type"] == "Prepend":
            return [True], True
    return [False, True], True


def _likely_pieces(
    state: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], size: int
) -> Iterator[Candidate]:
    keys: dict[str, Any] = {"model": "t5"}
    scores = [score for _, score in state["model"]["vocab"]]
    fill = min(scores, default=0.0)
    scores += [fill] * (size - len(scores))
    keys["scores"] = np.array(scores, np.float32)
    for step in steps:
        if step["type"] == "Precompiled":
            raw = base64.b64decode(step["precompiled_charsmap"])
            keys["precompiled_charsmap"] = np.frombuffer(raw, np.uint8)
    prefixes, exact = _prefixes(steps)
    for prefix in prefixes:
        for removes in (True, False):
            more = {"add_space_prefix": prefix, "remove_extra_whitespaces": removes}
            yield Candidate(keys | more, exact=exact)


def _word_pieces(
    state: Mapping[str, Any], tokens: Sequence[str], folder: Path
) -> Iterator[Candidate]:
    model, (normalizer, *more) = state["model"], parts(state["normalizer"]) or [{}]
    if more or normalizer.get("type") != "BertNormalizer":
        _fail(folder, "word pieces without BERT's normalizer have no name in GGUF")
    if model["continuing_subword_prefix"] != PREFIX:
        prefix = short(repr(model["continuing_subword_prefix"]), 20)
        _fail(folder, f"word pieces go on with {prefix}, where GGUF has {PREFIX!r}")
    lower = normalizer["lowercase"]
    accents = normalizer["strip_accents"]
    keys = {
        "model": "bert",
        "normalizer.lowercase": lower,
        "normalizer.strip_accents": lower if accents is None else accents,
    }
    yield Candidate(keys, [_of_word_piece(token) for token in tokens])


def _of_word_piece(token: str) -> str:
    if token.startswith("[") and token.endswith("]"):
        return token
    return token[len(PREFIX) :] if token.startswith(PREFIX) else SPACE + token


def _fail(folder: Path, problem: str, *rows: str) -> NoReturn:
    raise FormatError(message("tokenizer", problem, f"folder {folder}", *rows))
