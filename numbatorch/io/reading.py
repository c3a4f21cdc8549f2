"""How files of a checkpoint are opened, and their JSON is read: regular files only, every key once.

Readers of all formats begin here.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Callable
from typing import Any, BinaryIO

from numbatorch.errors import FormatError, message

# On Windows bytes would be translated; elsewhere a pipe would wait for somebody to write.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_SURROGATE = rb"\\u[dD][89a-fA-F]"  # as JSON spells it
_DIGITS = 4300  # of an integer, as many as Python reads


def open_file(path: str | os.PathLike[str], operator: str) -> BinaryIO:
    """Open a regular file to read its bytes.

    A pipe may wait for ever, and a device may act when it is opened: so the kind is looked at
    before, and again on what was opened.

    Raises:
        OSError: there is no such file, or it may not be read.
        FormatError: a folder, a pipe, a device or a socket; a name that no file can have.
    """
    try:
        _check_kind(os.stat(path).st_mode, path, operator)
        file = os.fdopen(os.open(path, _FLAGS), "rb")
    except FormatError:
        raise
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        problem = f"a path of {len(os.fspath(path))} letters is too long"
        raise FormatError(message(operator, problem, f"file {short(path)}")) from error
    except ValueError as error:  # NUL, or a lone surrogate
        problem = f"no file can have the name {short(path)!r}"
        raise FormatError(message(operator, problem)) from error
    try:
        _check_kind(os.fstat(file.fileno()).st_mode, path, operator)
    except BaseException:
        file.close()
        raise
    return file


def check_replaceable(path: str | os.PathLike[str], operator: str) -> None:
    """Fail where a new file would take the place of something else than a regular file.

    Raises:
        FormatError: a folder, a pipe, a device or a socket is there.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    _check_kind(mode, path, operator)


def read_bytes(path: str | os.PathLike[str], operator: str) -> bytes:
    """The bytes of a regular file; raises as `open_file`."""
    with open_file(path, operator) as file:
        return file.read()


def read_json(path: str | os.PathLike[str], operator: str) -> Any:
    """What a JSON file says.

    Raises:
        OSError, FormatError: as `open_file`.
        FormatError: the file is not JSON, or says a key twice.
    """
    raw = read_bytes(path, operator)
    try:
        return parse_json(raw)
    except ValueError as error:
        raise FormatError(message(operator, f"not JSON: {error}", f"file {path}")) from error


def read_object(path: str | os.PathLike[str], operator: str) -> dict[str, Any] | None:
    """The JSON object in a file, or None where there is no file of the name.

    Raises:
        OSError, FormatError: as `read_json`.
        FormatError: the file holds something else than an object.
    """
    try:
        found = read_json(path, operator)
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise FormatError(message(operator, "not a JSON object", f"file {path}"))
    return found


def parse_json(raw: bytes, constant: Callable[[str], Any] | None = None) -> Any:
    """What JSON in UTF-8 says, in time that is linear in its length.

    Args:
        raw: the text.
        constant: what NaN, Infinity and -Infinity become; floats unless given.
    Raises:
        ValueError: it is not JSON, or says a key twice.
    """
    try:
        found = json.loads(
            raw.decode(), object_pairs_hook=_unique, parse_int=_integer, parse_constant=constant
        )
        if re.search(_SURROGATE, raw):  # two that make up a character are fine
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("arrays or objects are nested too deep") from None
    except UnicodeEncodeError as error:
        found, place = error.object, error.start
        where = f"U+{ord(found[place]):04X} behind {found[max(place - 40, 0) : place]!a}"
        raise ValueError(f"a text holds a lone surrogate, {where}") from None
    return found


def short(text: object, limit: int = 80) -> str:
    """A text of at most `limit` characters for a message.

    >>> short("abcdefgh", 6)
    'abc...'
    """
    whole = str(text)
    return whole if len(whole) <= limit else whole[: limit - 3] + "..."


def short_repr(value: object, limit: int = 80) -> str:
    """How Python writes a value, in at most `limit` characters, for a message.

    >>> short_repr(("a", 10**5000))
    'a tuple with integers too long to write'
    """
    try:
        return short(repr(value), limit)
    except ValueError:  # Python writes no integers of so many digits
        return f"a {type(value).__name__} with integers too long to write"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"key {short(name)!r} appears twice")
        found[name] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _check_kind(mode: int, path: str | os.PathLike[str], operator: str) -> None:
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise FormatError(message(operator, f"is {name}, not a file", f"file {path}"))
