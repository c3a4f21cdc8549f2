"""Vocabularies of GGUF files as tokenizers of the library, with the special ids beside them.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer; meaning of the token
types and defaults: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch.generation import gguf_kinds, pretokenizers
from numbatorch.generation.gguf_keys import CONTROL, UNKNOWN, UNUSED, USER_DEFINED, Keys
from numbatorch.generation.vocabulary import Vocabulary
from numbatorch.io.mapping import Array
from numbatorch.io.reading import short

if TYPE_CHECKING:
    import tokenizers

# Keys that are read here; those of other tasks and programs, which change no ids; those that say
# nothing while they are false, but in some kinds of vocabulary.
_READ = """
    model pre tokens token_type scores merges add_space_prefix add_bos_token add_eos_token
    bos_token_id eos_token_id eot_token_id eom_token_id unknown_token_id
    fim_pad_token_id fim_rep_token_id fim_sep_token_id cls_token_id
    separator_token_id seperator_token_id

    mask_token_id padding_token_id token_type_count
    fim_mid_token_id fim_pre_token_id fim_suf_token_id
    middle_token_id prefix_token_id suffix_token_id
""".split()
KNOWN = {f"tokenizer.ggml.{name}" for name in _READ} | {"tokenizer.huggingface.json"}
CHAT = "tokenizer.chat_template"  # and names of several, behind a dot; the list of these has an s
FALSE = ("tokenizer.ggml.add_sep_token", "tokenizer.ggml.remove_extra_whitespaces")
_OF_KINDS = {
    "t5": ("remove_extra_whitespaces", "precompiled_charsmap"),
    "bert": ("add_sep_token", "normalizer.lowercase", "normalizer.strip_accents"),
}

# Tokens that end a turn, in files that name only one of them by number. They are control tokens,
# whatever type a file gives them.
END_TEXTS = frozenset(
    "<|eot_id|> <|eom_id|> <|im_end|> <|end|> <|return|> <|call|> <|calls|> <|flush|>"
    " <end_of_turn> <|endoftext|> <|end_of_text|> <EOT> _<EOT> [EOT] [EOS] <end_of_utterance>"
    " <eos> <turn|> <|tool_response> <\uff5cend\u2581of\u2581sentence\uff5c> [e~[".split()
)
ENDS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
# Where a vocabulary has these, <|end|> is between the parts of a turn.
_PARTS = ({"<|return|>", "<|call|>"}, {"<|calls|>", "<|flush|>"})


class _Defaults(NamedTuple):
    """What files of a kind need not say."""

    bos_id: int | None = None
    eos_id: int | None = None
    add_bos: bool = False
    add_eos: bool = False


_DEFAULTS = {
    "gpt2": _Defaults(),
    "llama": _Defaults(1, 2, add_bos=True),
    "gemma4": _Defaults(add_bos=True),
    "t5": _Defaults(None, 1, add_eos=True),
    "bert": _Defaults(),
}


def build(metadata: Mapping[str, Any], path: Path) -> Vocabulary:
    """The tokenizer that the metadata of a GGUF file describes.

    Raises:
        FormatError: a key is missing or malformed, or the kind of vocabulary is not built here.
    """
    keys = Keys(metadata, path)
    model = keys.field("model", str)
    if model not in _DEFAULTS:
        known = ", ".join(sorted(_DEFAULTS))
        keys.fail(f"vocabulary of kind {model!r}, where {known} are read")
    _check_keys(keys, model)
    kinds = _kinds(keys)
    defaults = _DEFAULTS[model]
    if model == "gpt2":
        # Files older than this key were cut in this way.
        pre = pretokenizers.lookup(keys.field("pre", str, "default"))
        library = gguf_kinds.byte_level(keys, pre)
        defaults = defaults._replace(add_bos=pre.add_bos)
    elif model == "llama":
        library = gguf_kinds.sentence_piece(keys, kinds)
    elif model == "gemma4":
        library = gguf_kinds.joining(keys)
    elif model == "t5":
        library = gguf_kinds.likely_pieces(keys, kinds)
    else:
        library = gguf_kinds.word_pieces(keys)
    _add_tokens(library, keys, kinds, model)
    bos, eos = keys.id("bos", defaults.bos_id), keys.id("eos", defaults.eos_id)
    around = model == "bert"  # whose library adds what is around a text
    return Vocabulary(
        library,
        bos_id=None if around else bos,
        eos_id=eos,
        end_ids=_end_ids(keys, eos),
        add_bos=not around and keys.adds("bos", bos, defaults.add_bos),
        add_eos=not around and keys.adds("eos", eos, defaults.add_eos),
    )


def _check_keys(keys: Keys, model: str) -> None:
    """Fail on keys that are not known here: they may change the ids of a text."""
    known = {f"tokenizer.ggml.{name}" for name in _OF_KINDS.get(model, ())} | KNOWN
    for key, value in keys.metadata.items():
        if not key.startswith("tokenizer.") or key in known or key.startswith(CHAT):
            continue
        if key not in FALSE or value is not False:
            keys.fail(f"{key} is {short(repr(value), 60)}, which is not known here")


def _kinds(keys: Keys) -> Array:
    """The type of each token."""
    found = keys.array("token_type")
    kinds = np.ones(len(keys.tokens), np.int32) if found is None else found.copy()
    for id, token in enumerate(keys.tokens):
        if token in END_TEXTS:
            kinds[id] = CONTROL
    return kinds


def _end_ids(keys: Keys, eos: int | None) -> frozenset[int]:
    ids = {eos, *(keys.id(name) for name in ENDS)}
    ids |= {id for id, token in enumerate(keys.tokens) if token in END_TEXTS}
    found = frozenset(id for id in ids if id is not None)
    texts = {keys.tokens[id] for id in found}
    if any(parts <= texts for parts in _PARTS):
        found -= {id for id in found if keys.tokens[id] == "<|end|>" and id != eos}
    return found


def _add_tokens(library: "tokenizers.Tokenizer", keys: Keys, kinds: Array, model: str) -> None:
    """Tokens that are found in a text before anything else cuts it."""
    from tokenizers import AddedToken

    def of(*wanted: int, special: bool) -> list[Any]:
        found: list[int] = np.flatnonzero(np.isin(kinds, wanted)).tolist()
        return [
            AddedToken(
                keys.tokens[id], special=special, normalized=False, **strips(keys.tokens[id])
            )
            for id in found
        ]

    strips = _strips(keys)
    # Likely pieces are spelled by chance, also those that fill up the vocabulary.
    special = (UNKNOWN, CONTROL, UNUSED) if model == "t5" else (UNKNOWN, CONTROL)
    library.add_special_tokens(of(*special, special=True))
    library.add_tokens(of(USER_DEFINED, special=False))


def _strips(keys: Keys) -> Any:
    """Which spaces beside a token go with it: no key says so, but what model the file is of."""
    name = str(keys.metadata.get("general.name", "")).lower()
    pre = str(keys.metadata.get("tokenizer.ggml.pre", ""))
    architecture = keys.metadata.get("general.architecture")

    def strips(token: str) -> dict[str, bool]:
        if pre in ("jina-v2-de", "jina-v2-es", "jina-v2-code") or architecture in (
            "nomic-bert-moe",
            "jina-bert-v3",
        ):
            return {"lstrip": token == "<mask>"}
        if "phi-3" in name or "phi3" in name:
            return {"rstrip": token not in ("<unk>", "<s>", "<|endoftext|>")}
        return {"lstrip": token == "[MASK]" and "modern-bert" in name}

    return strips
