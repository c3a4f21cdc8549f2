"""Vocabularies of GGUF files as tokenizers of the library: byte-level BPE, and SentencePiece.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer; meaning of the token
types and defaults: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.generation import pretokenizers
from numbatorch.generation.library import refused
from numbatorch.generation.vocabulary import Vocabulary
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.mapping import Array
from numbatorch.io.reading import short

if TYPE_CHECKING:
    import tokenizers

UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6
SPACE = "\u2581"

# Keys that are read here; those of other tasks and programs, which change no ids; those that say
# nothing while they are false.
_READ = """
    model pre tokens token_type scores merges add_space_prefix add_bos_token add_eos_token
    bos_token_id eos_token_id eot_token_id eom_token_id unknown_token_id

    cls_token_id mask_token_id padding_token_id separator_token_id seperator_token_id
    token_type_count
    fim_mid_token_id fim_pad_token_id fim_pre_token_id fim_rep_token_id fim_sep_token_id
    fim_suf_token_id middle_token_id prefix_token_id suffix_token_id
""".split()
KNOWN = {f"tokenizer.ggml.{name}" for name in _READ} | {"tokenizer.huggingface.json"}
CHAT = "tokenizer.chat_template"  # and names of several, behind a dot
FALSE = ("tokenizer.ggml.add_sep_token", "tokenizer.ggml.remove_extra_whitespaces")

# Control tokens that end a turn, in files that name only one of them by number.
END_TEXTS = frozenset(
    "<|eot_id|> <|eom_id|> <|im_end|> <|end|> <|return|> <end_of_turn> <|endoftext|>"
    " <|end_of_text|> <EOT> [EOT] [EOS] <end_of_utterance>".split()
)


def build(file: GGUFFile) -> Vocabulary:
    """The tokenizer that a GGUF file carries.

    Raises:
        FormatError: a key is missing or malformed, or the kind of vocabulary is not built here.
    """
    _check_keys(file)
    model = file.field("tokenizer.ggml.model", str)
    if model not in ("gpt2", "llama"):
        _fail(file, f"vocabulary of kind {model!r}, where gpt2 and llama are read")
    tokens = _tokens(file)
    kinds = _array(file, "tokenizer.ggml.token_type", len(tokens))
    if kinds is None:
        kinds = np.ones(len(tokens), np.int32)
    if model == "gpt2":
        # Files older than this key were cut in this way.
        pre = pretokenizers.lookup(file.field("tokenizer.ggml.pre", str, "default"))
        library, add_bos = _byte_level(file, tokens, pre), pre.add_bos
    else:
        library, add_bos = _sentence_piece(file, tokens, kinds), True
    _add_tokens(library, tokens, kinds)
    defaults = (1, 2) if model == "llama" else (None, None)
    bos = _id(file, "bos", len(tokens), defaults[0])
    eos = _id(file, "eos", len(tokens), defaults[1])
    ends = {eos, _id(file, "eot", len(tokens)), _id(file, "eom", len(tokens))}
    ends |= {id for id in _of_kinds(kinds, CONTROL) if tokens[id] in END_TEXTS}
    return Vocabulary(
        library,
        bos_id=bos,
        eos_id=eos,
        end_ids=frozenset(id for id in ends if id is not None),
        add_bos=_adds(file, "bos", bos, add_bos),
        add_eos=_adds(file, "eos", eos, False),
    )


def _check_keys(file: GGUFFile) -> None:
    """Fail on keys that are not known here: they may change the ids of a text."""
    for key, value in file.metadata.items():
        if not key.startswith("tokenizer.") or key in KNOWN or key.startswith(CHAT):
            continue
        if key not in FALSE or value is not False:
            _fail(file, f"{key} is {short(repr(value), 60)}, which is not known here")


def _byte_level(
    file: GGUFFile, tokens: list[str], pre: pretokenizers.PreTokenizer
) -> "tokenizers.Tokenizer":
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers

    if file.field("tokenizer.ggml.add_space_prefix", bool, False):
        _fail(file, "tokenizer.ggml.add_space_prefix is True in a vocabulary of kind gpt2")
    merges = []
    for text in file.field("tokenizer.ggml.merges", list):
        cut = text.find(" ", 1) if isinstance(text, str) else -1  # a token may begin with a space
        if cut < 0:
            _fail(file, f"merge {text!r} is not two tokens with a space between them")
        merges.append((text[:cut], text[cut + 1 :]))
    library = Tokenizer(_bpe(file, tokens, merges, ignore_merges=pre.ignore_merges))
    if pre.nfc:
        library.normalizer = normalizers.NFC()
    cuts: list[Any] = [pre_tokenizers.Split(Regex(p), "isolated") for p in pre.patterns]
    cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    library.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    library.decoder = decoders.ByteLevel()
    return library


def _sentence_piece(file: GGUFFile, tokens: list[str], kinds: Array) -> "tokenizers.Tokenizer":
    from tokenizers import Tokenizer, decoders, normalizers

    scores = _array(file, "tokenizer.ggml.scores", len(tokens))
    if scores is None:
        _fail(file, "metadata key 'tokenizer.ggml.scores' is missing")
    if not np.isfinite(scores).all():
        _fail(file, "tokenizer.ggml.scores holds NaN or infinity")
    merges = _merges_by_score(tokens, kinds.tolist(), scores.tolist())
    unknown = _id(file, "unknown", len(tokens), 0)
    model = _bpe(
        file,
        tokens,
        merges,
        unk_token=None if unknown is None else tokens[unknown],
        fuse_unk=True,
        byte_fallback=True,
    )
    library = Tokenizer(model)
    prefix = file.field("tokenizer.ggml.add_space_prefix", bool, True)
    steps: list[Any] = [normalizers.Prepend(SPACE)] if prefix else []
    library.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    strip: list[Any] = [decoders.Strip(" ", 1, 0)] if prefix else []
    library.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return library


def _merges_by_score(
    tokens: list[str], kinds: list[int], scores: Sequence[float]
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


def _bpe(
    file: GGUFFile, tokens: list[str], merges: list[tuple[str, str]], **options: Any
) -> "tokenizers.models.BPE":
    from tokenizers import models

    vocabulary = dict(zip(tokens, range(len(tokens)), strict=True))
    if len(vocabulary) != len(tokens):
        first: dict[str, int] = {}
        for id, token in enumerate(tokens):
            if first.setdefault(token, id) != id:
                _fail(file, f"token {token!r} is there as id {first[token]} and as id {id}")
    with refused("the merges do not fit the tokens", file.path):
        return models.BPE(vocab=vocabulary, merges=merges, **options)


def _of_kinds(kinds: Array, *wanted: int) -> list[int]:
    """The ids of tokens of some kinds."""
    found: list[int] = np.flatnonzero(np.isin(kinds, wanted)).tolist()
    return found


def _add_tokens(library: "tokenizers.Tokenizer", tokens: list[str], kinds: Array) -> None:
    """Tokens that are found in a text before anything else cuts it."""
    from tokenizers import AddedToken

    def of(*wanted: int, special: bool) -> list[Any]:
        return [
            AddedToken(tokens[id], special=special, normalized=False)
            for id in _of_kinds(kinds, *wanted)
        ]

    library.add_special_tokens(of(UNKNOWN, CONTROL, special=True))
    library.add_tokens(of(USER_DEFINED, special=False))


def _tokens(file: GGUFFile) -> list[str]:
    tokens = file.field("tokenizer.ggml.tokens", list)
    if not tokens or not isinstance(tokens[0], str):
        _fail(file, "tokenizer.ggml.tokens is not a list of strings")
    if "" in tokens:
        return [token or f"[EMPTY_{id}]" for id, token in enumerate(tokens)]
    return tokens


def _array(file: GGUFFile, key: str, count: int) -> Array | None:
    if key not in file.metadata:
        return None
    values = file.field(key, np.ndarray)
    if len(values) != count:
        _fail(file, f"{key} has {len(values)} values for {count} tokens")
    return values


def _id(file: GGUFFile, name: str, count: int, default: int | None = None) -> int | None:
    key = f"tokenizer.ggml.{name}_token_id"
    if key not in file.metadata:
        return default if default is not None and default < count else None
    id = file.field(key, int)
    if not 0 <= id < count:
        _fail(file, f"{key} is {id}, where ids go from 0 to {count - 1}")
    return id


def _adds(file: GGUFFile, name: str, id: int | None, default: bool) -> bool:
    key = f"tokenizer.ggml.add_{name}_token"
    asked = file.field(key, bool, default)
    if asked and id is None and key in file.metadata:
        _fail(file, f"{key} is set, but tokenizer.ggml.{name}_token_id is missing")
    return asked and id is not None


def _fail(file: GGUFFile, problem: str) -> NoReturn:
    raise FormatError(message("tokenizer", problem, f"file {file.path}"))
