"""Vocabularies of Hugging Face folders: tokenizer.json and the special ids that stand beside it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numbatorch.errors import FormatError, message
from numbatorch.generation import library
from numbatorch.generation.vocabulary import Vocabulary
from numbatorch.io.reading import read_object, short
from numbatorch.models.config import Fields

if TYPE_CHECKING:
    import tokenizers


def build(folder: Path) -> Vocabulary:
    """The tokenizer of a folder.

    Raises:
        FormatError: there is no tokenizer.json, or the files are malformed or disagree.
    """
    if not (folder / "tokenizer.json").exists():
        rows = [f"folder {folder}"]
        rows += [f"found {p.name}, which is not read" for p in folder.glob("*.model")]
        raise FormatError(message("tokenizer", "no tokenizer.json", *rows))
    tokenizer = library.load(folder / "tokenizer.json")
    model, generation = _read(folder / "config.json"), _read(folder / "generation_config.json")
    config = _read(folder / "tokenizer_config.json")
    if config:
        _check_config(tokenizer, config, folder / "tokenizer_config.json")

    def id_of(name: str) -> int | None:
        token = _content(config.get(f"{name}_token"))
        if token:
            id = tokenizer.token_to_id(token) if isinstance(token, str) else None
            if id is None:
                problem = f"{name}_token is {short(repr(token), 60)}, which is no token"
                raise FormatError(message("tokenizer", problem, f"folder {folder}"))
            return id
        return next(iter(_ids(model, f"{name}_token_id", folder)), None)

    bos, eos = id_of("bos"), id_of("eos")
    ends = [
        *_ids(model, "eos_token_id", folder),
        *_ids(generation, "eos_token_id", folder),
        *([] if eos is None else [eos]),
    ]
    framed = tokenizer.encode("", add_special_tokens=True).ids
    adds = Fields("tokenizer", config, place=str(folder / "tokenizer_config.json"))
    add_bos = adds.flag("add_bos_token", bos is not None if not config else False)
    add_eos = adds.flag("add_eos_token", False)
    return Vocabulary(
        tokenizer,
        bos_id=bos,
        eos_id=eos,
        end_ids=frozenset(ends),
        add_bos=add_bos and bos not in framed,
        add_eos=add_eos and eos not in framed,
    )


SHOWN = 8  # contradictions that an error names

# What a tokenizer_config.json says again of BERT's normalizer.
_BERT_KEYS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")  # which read tokenizer.json alone


def _check_config(tokenizer: "tokenizers.Tokenizer", config: dict[str, Any], path: Path) -> None:
    """Fail where tokenizer_config.json gives other ids to a text than tokenizer.json does."""
    means: dict[str, Any] = {"split_special_tokens": False}
    normalizer = tokenizer.normalizer
    state = json.loads(normalizer.__getstate__()) if normalizer is not None else {}
    if config.get("tokenizer_class") not in _PLAIN_CLASSES:
        if state.get("type") == "BertNormalizer":
            means |= {key: state[name] for key, name in _BERT_KEYS.items()}
        if type(tokenizer.model).__name__ == "WordPiece":
            means["unk_token"] = tokenizer.model.unk_token
    problems = [
        f"{key} is {short(repr(config[key]), 60)}, tokenizer.json says {value!r}"
        for key, value in means.items()
        if key in config and _content(config[key]) != value
    ]
    added = Fields("tokenizer", config, place=str(path)).mapping("added_tokens_decoder")
    for id, token in added.values.items() if added is not None else ():
        text = _content(token)
        if isinstance(text, str) and str(tokenizer.token_to_id(text)) != id:
            problems.append(f"token {short(repr(text), 60)} has id {short(id)}")
            problems.append(f"tokenizer.json says {tokenizer.token_to_id(text)}")
    if problems:
        problem = "tokenizer_config.json and tokenizer.json disagree"
        raise FormatError(message("tokenizer", problem, f"file {path}", *problems[:SHOWN]))


def _content(token: Any) -> Any:
    """The text of a token that is spelled out, anything else as it is."""
    return token.get("content") if isinstance(token, dict) else token


def _ids(config: dict[str, Any], key: str, folder: Path) -> list[int]:
    """The ids under a key of a configuration: none, one, or a list."""
    value = config.get(key)
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(id) is int for id in ids):
        raise FormatError(message("tokenizer", f"{key} is {value!r}", f"folder {folder}"))
    return ids


def _read(path: Path) -> dict[str, Any]:
    return read_object(path, "tokenizer") or {}
