"""Output bound to a grammar or a JSON schema, through the library llguidance (an extra)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from numbatorch.errors import BackendUnavailable, message
from numbatorch.generation.samplers.candidates import Array, Candidates, Step, Text
from numbatorch.generation.samplers.schema_keywords import check_keywords

if TYPE_CHECKING:
    from numbatorch.generation.tokenizer import Tokenizer

INSTALL = 'pip install "numbatorch[grammar]"'
# Spaces as in json.dumps: where any number may stand, a model may never come to an end of them.
SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

_vocabularies: "WeakKeyDictionary[Tokenizer, Any]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Grammar:
    """Only tokens with which the continuation can become a text of the grammar, and the end of the
    text only where it is one. A generation that max_tokens ends may stop within.

    Attributes:
        grammar: in llama.cpp's GBNF, whose first rule is `root`, or llguidance's Lark; empty is
            off.

    Source: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
    """

    grammar: str = ""

    @property
    def binds(self) -> bool:
        """Whether it is not off."""
        return bool(self.grammar)

    def __post_init__(self) -> None:
        given: object = self.grammar
        if not isinstance(given, str):
            raise TypeError(message("sampling", f"grammar is {given!r:.80}; it must be a text"))

    def begin(self, text: Text) -> Step | None:
        """The filter, unless it is off.

        Raises:
            BackendUnavailable: llguidance is not installed.
            ValueError: the grammar is not well formed, or the tokenizer has no end of a text.
        """
        if not self.grammar:
            return None
        made = _library().grammar_from
        return _step("grammar", text, lambda: made("gbnf", self.grammar))


@dataclass(frozen=True)
class JSONSchema:
    """Only tokens with which the continuation can become JSON of a schema, as `Grammar` does;
    spaces are where `json.dumps` has them.

    Attributes:
        json_schema: the schema, as a dict or as JSON; {} is any JSON, None is off. Keywords that
            are not enforced are refused, but for remarks such as title, description and default.

    Source: https://json-schema.org; https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md
    """

    json_schema: Mapping[str, Any] | str | None = None

    @property
    def binds(self) -> bool:
        """Whether it is not off."""
        return self.json_schema is not None

    def __post_init__(self) -> None:
        given: object = self.json_schema
        if given is not None and not isinstance(given, str | Mapping):
            problem = f"json_schema is {given!r:.80}; it must be a dict or a text"
            raise TypeError(message("sampling", problem))
        schema = _written(self.json_schema)
        if schema is not None:
            check_keywords(schema)

    def begin(self, text: Text) -> Step | None:
        """The filter, unless it is off; errors as of `Grammar.begin`."""
        schema = _written(self.json_schema)
        if schema is None:
            return None
        made = _library().LLMatcher.grammar_from_json_schema
        return _step("json_schema", text, lambda: made(schema, defaults=SPACES))


def _written(schema: Mapping[str, Any] | str | None) -> str | None:
    """A schema as JSON."""
    if schema is None or isinstance(schema, str):
        return schema

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return dict(value)
        raise TypeError(message("sampling", f"json_schema holds a {type(value).__name__}"))

    return json.dumps(schema, default=plain)


def check_library() -> None:
    """Raise BackendUnavailable unless llguidance is installed."""
    _library()


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise BackendUnavailable(message("sampling", "no llguidance here", hint=INSTALL)) from error
    return llguidance


def _step(name: str, text: Text, compiled: Callable[[], str]) -> Step:
    """The filter of a grammar of the library, which goes along with the text from here on."""
    if text.tokenizer is None or not text.tokenizer.end_ids:
        raise ValueError(message("sampling", f"{name} needs a tokenizer with an end of a text"))
    try:
        matcher = _library().LLMatcher(_vocabulary(text.tokenizer), compiled(), log_level=0)
        problem = matcher.get_error()
    except ValueError as error:
        problem = str(error)
    if problem:
        raise ValueError(message("sampling", f"{name} is not well formed", problem))
    seen = len(text.ids)

    def step(found: Candidates) -> Candidates:
        nonlocal seen
        new, seen = text.ids[seen:], len(text.ids)
        if (new and not matcher.consume_tokens(new)) or matcher.is_error():
            raise ValueError(message("sampling", f"{name} has failed", matcher.get_error()))
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        added = _added().take(bits, axis=0).reshape(-1)
        added = added[: len(found)] if found.tokens is None else added[found.tokens]
        return found.changed(found.logits + added, found.ordered)

    return step


@cache
def _added() -> Array:
    """What is added to eight logits by the byte of their bits (256, 8): 0, or minus infinity. One
    look-up for each byte has no branch that a processor could guess wrong."""
    bytes = np.arange(256, dtype=np.uint8)[:, None]
    allowed = np.unpackbits(bytes, axis=1, bitorder="little").view(np.bool_)
    return np.where(allowed, np.float32(0), np.float32(-np.inf))


class _Words:
    """A tokenizer as the library asks for it."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        ids = range(tokenizer.vocab_size)
        self.tokens = [tokenizer.token_bytes(id) for id in ids]
        self.special_token_ids = [id for id in ids if tokenizer.is_special(id)]
        self.eos_token_id = min(tokenizer.end_ids)
        self.bos_token_id = tokenizer.bos_id
        self._encode = tokenizer.encode

    def __call__(self, text: str | bytes) -> list[int]:
        found = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return self._encode(found, add_special_tokens=False)


def _vocabulary(tokenizer: "Tokenizer") -> Any:
    """The library's tree of all tokens, made once for a tokenizer."""
    if tokenizer not in _vocabularies:
        library, words = _library(), _Words(tokenizer)
        ends = sorted(tokenizer.end_ids)
        _vocabularies[tokenizer] = library.LLTokenizer(
            library.TokenizerWrapper(words), n_vocab=len(words.tokens), eos_token=ends
        )
    return _vocabularies[tokenizer]
