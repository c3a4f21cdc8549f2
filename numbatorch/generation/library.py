"""The `tokenizers` library, which may end the process or raise what nobody can catch by name: what
it would abort at is refused before it is handed over, and its failures become errors of ours.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numbatorch.errors import FormatError, message
from numbatorch.io.reading import parse_json, read_bytes, short

if TYPE_CHECKING:
    import tokenizers

PREFIX = "continuing_subword_prefix"

_PREFIXED = rf'"{PREFIX}"\s*:\s*"[^"]'.encode()
_ESCAPED_LETTER = rb"\\u00(?:5[fF]|6[1-9a-fA-F]|7[0-9aA])"


def load(path: Path) -> "tokenizers.Tokenizer":
    """The tokenizer of a tokenizer.json, without its truncation and padding.

    Raises:
        OSError: the file cannot be read.
        FormatError: it is no tokenizer.json, or one that the library cannot work with.
    """
    from tokenizers import Tokenizer

    raw = read_bytes(path, "tokenizer")
    if _may_prefix_merges(raw):
        _check_merges(raw, path)
    with refused("not a tokenizer.json", path):
        library = Tokenizer.from_buffer(raw)
        library.no_truncation()
        library.no_padding()
    try:
        library.decode(library.encode("a", add_special_tokens=True).ids)
    except Exception:  # nothing is wrong with the file: it may not know the letter
        return library
    except BaseException as error:
        if not is_panic(error):
            raise
        rows = (f"file {path}", f"the tokenizers library: {short(error)}")
        raise FormatError(message("tokenizer", "nothing can be encoded by it", *rows)) from error
    return library


@contextmanager
def failures(operator: str) -> Iterator[None]:
    """Raise what the library raises within the block as a ValueError of `operator`.

    An interrupt passes through.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        row = f"the tokenizers library: {short(error, 200)}"
        raise ValueError(message(operator, "the tokenizer failed", row)) from error


def is_panic(error: BaseException) -> bool:
    """Whether an exception stands for a failed assertion of the library, which no name imports."""
    return type(error).__name__ == "PanicException"


@contextmanager
def refused(problem: str, path: Path) -> Iterator[None]:
    """Raise what the library raises within the block, bare Exception and panics, as a FormatError
    about a file."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        rows = (f"file {path}", f"the tokenizers library: {short(error, 200)}")
        raise FormatError(message("tokenizer", problem, *rows)) from error


def _may_prefix_merges(raw: bytes) -> bool:
    """Whether a tokenizer.json may have merges and a prefix: if not, it need not be read twice."""
    if b'"merges"' in raw and re.search(_PREFIXED, raw):
        return True
    # An escaped letter is in the keys, as it seems.
    return b"\\u00" in raw and re.search(_ESCAPED_LETTER, raw) is not None


def _check_merges(raw: bytes, path: Path) -> None:
    """Fail where the right side of a BPE's merge does not begin with the prefix of continuations.

    The library cuts as many bytes off it, which may be within a character; then it aborts.
    """
    try:
        found = parse_json(raw)
    except ValueError as error:
        rows = (f"file {path}", str(error))
        raise FormatError(message("tokenizer", "not a tokenizer.json", *rows)) from error
    model: Any = found.get("model") if isinstance(found, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("merges"), list):
        return
    prefix: Any = model.get(PREFIX)
    for merge in model["merges"] if isinstance(prefix, str) else ():
        pair = merge.split(" ") if isinstance(merge, str) else merge  # both ways of writing it
        right = pair[-1] if isinstance(pair, list) and pair else None
        if not isinstance(right, str) or not right.startswith(prefix):
            problem = f"merge {short(merge)!r} does not go on with {PREFIX} {short(prefix)!r}"
            raise FormatError(message("tokenizer", problem, f"file {path}"))
