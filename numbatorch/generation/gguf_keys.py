"""The metadata of a GGUF file as its vocabulary reads it: each value of the type it has to be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.io.mapping import Array

T = TypeVar("T")

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


class _Missing:
    """Stands for no default."""


_MISSING: Final = _Missing()


class Keys:
    """Metadata and the file that it is of.

    Attributes:
        metadata: key to value, as `GGUFFile` reads it.
        path: what errors name.
        tokens: the token of each id; one without text is named by its number.
    """

    def __init__(self, metadata: Mapping[str, Any], path: Path) -> None:
        self.metadata = metadata
        self.path = path
        self.tokens = self._tokens()

    def _tokens(self) -> list[str]:
        tokens = self.field("tokens", list)
        if not tokens or not isinstance(tokens[0], str):
            self.fail("tokenizer.ggml.tokens is not a list of strings")
        if "" in tokens:
            return [token or f"[EMPTY_{id}]" for id, token in enumerate(tokens)]
        return tokens

    def field(self, name: str, kind: type[T], default: T | _Missing = _MISSING) -> T:
        """The value under `tokenizer.ggml.` and a name, which has to be of a kind."""
        key = f"tokenizer.ggml.{name}"
        value = self.metadata.get(key, default)
        if isinstance(value, _Missing):
            self.fail(f"metadata key {key!r} is missing")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = type(value).__name__
            self.fail(f"metadata key {key!r} is of type {found} instead of {kind.__name__}")
        return value

    def holds(self, name: str) -> bool:
        """Whether there is such a key."""
        return f"tokenizer.ggml.{name}" in self.metadata

    def array(self, name: str) -> Array | None:
        """One number for each token, or None."""
        if not self.holds(name):
            return None
        values = self.field(name, np.ndarray)
        if len(values) != len(self.tokens):
            count = len(self.tokens)
            self.fail(f"tokenizer.ggml.{name} has {len(values)} values for {count} tokens")
        return values

    def scores(self) -> list[float]:
        """The score of each token."""
        found = self.array("scores")
        if found is None:
            self.fail("metadata key 'tokenizer.ggml.scores' is missing")
        if not np.isfinite(found).all():
            self.fail("tokenizer.ggml.scores holds NaN or infinity")
        scores: list[float] = found.tolist()
        return scores

    def id(self, name: str, default: int | None = None) -> int | None:
        """The id under `tokenizer.ggml.<name>_token_id`; None where there is none, or the default
        is beyond the vocabulary."""
        count = len(self.tokens)
        if not self.holds(f"{name}_token_id"):
            return default if default is not None and default < count else None
        id = self.field(f"{name}_token_id", int)
        if not 0 <= id < count:
            rule = f"ids go from 0 to {count - 1}"
            self.fail(f"tokenizer.ggml.{name}_token_id is {id}, where {rule}")
        return id

    def adds(self, name: str, id: int | None, default: bool) -> bool:
        """Whether a text gets a special token, which has an id then."""
        asked = self.field(f"add_{name}_token", bool, default)
        if asked and id is None and self.holds(f"add_{name}_token"):
            problem = f"tokenizer.ggml.add_{name}_token is set, but"
            self.fail(f"{problem} tokenizer.ggml.{name}_token_id is missing")
        return asked and id is not None

    def by_token(self) -> dict[str, int]:
        """The id of each token, which are all different."""
        found = dict(zip(self.tokens, range(len(self.tokens)), strict=True))
        if len(found) != len(self.tokens):
            first: dict[str, int] = {}
            for id, token in enumerate(self.tokens):
                if first.setdefault(token, id) != id:
                    self.fail(f"token {token!r} is there as id {first[token]} and as id {id}")
        return found

    def fail(self, problem: str) -> NoReturn:
        """Raise a FormatError about this file."""
        raise FormatError(message("tokenizer", problem, f"file {self.path}"))
