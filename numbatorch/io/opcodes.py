"""Opcodes of pickles: what each is called and which argument follows, read without obeying any.

The format: https://github.com/python/cpython/blob/main/Lib/pickletools.py
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any

from numbatorch.io.reading import short

Fail = Callable[[str, int], Any]  # (problem, byte): raises FormatError


# Name as pickletools has it, argument or None, its first byte, and the first behind it.
Step = tuple[str, Any, int, int]


# Name, and how the argument is read: a struct; the size of a length and what the bytes
# are; the number of lines.
_PREFIXED = {1: struct.Struct("<B"), 4: struct.Struct("<I"), 8: struct.Struct("<Q")}
OPCODES: dict[int, tuple[str, Any]] = {
    ord(code): (name, argument)
    for code, name, argument in (
        ("I", "INT", 1),
        ("J", "BININT", struct.Struct("<i")),
        ("K", "BININT1", struct.Struct("<B")),
        ("M", "BININT2", struct.Struct("<H")),
        ("L", "LONG", 1),
        ("\x8a", "LONG1", (1, "long")),
        ("\x8b", "LONG4", (4, "long")),
        ("S", "STRING", 1),
        ("T", "BINSTRING", (4, "text")),
        ("U", "SHORT_BINSTRING", (1, "text")),
        ("B", "BINBYTES", (4, "bytes")),
        ("C", "SHORT_BINBYTES", (1, "bytes")),
        ("\x8e", "BINBYTES8", (8, "bytes")),
        ("\x96", "BYTEARRAY8", (8, "bytes")),
        ("\x97", "NEXT_BUFFER", None),
        ("\x98", "READONLY_BUFFER", None),
        ("N", "NONE", None),
        ("\x88", "NEWTRUE", None),
        ("\x89", "NEWFALSE", None),
        ("V", "UNICODE", 1),
        ("\x8c", "SHORT_BINUNICODE", (1, "text")),
        ("X", "BINUNICODE", (4, "text")),
        ("\x8d", "BINUNICODE8", (8, "text")),
        ("F", "FLOAT", 1),
        ("G", "BINFLOAT", struct.Struct(">d")),
        ("]", "EMPTY_LIST", None),
        ("a", "APPEND", None),
        ("e", "APPENDS", None),
        ("l", "LIST", None),
        (")", "EMPTY_TUPLE", None),
        ("t", "TUPLE", None),
        ("\x85", "TUPLE1", None),
        ("\x86", "TUPLE2", None),
        ("\x87", "TUPLE3", None),
        ("}", "EMPTY_DICT", None),
        ("d", "DICT", None),
        ("s", "SETITEM", None),
        ("u", "SETITEMS", None),
        ("\x8f", "EMPTY_SET", None),
        ("\x90", "ADDITEMS", None),
        ("\x91", "FROZENSET", None),
        ("0", "POP", None),
        ("2", "DUP", None),
        ("(", "MARK", None),
        ("1", "POP_MARK", None),
        ("g", "GET", 1),
        ("h", "BINGET", struct.Struct("<B")),
        ("j", "LONG_BINGET", struct.Struct("<I")),
        ("p", "PUT", 1),
        ("q", "BINPUT", struct.Struct("<B")),
        ("r", "LONG_BINPUT", struct.Struct("<I")),
        ("\x94", "MEMOIZE", None),
        ("\x82", "EXT1", struct.Struct("<B")),
        ("\x83", "EXT2", struct.Struct("<H")),
        ("\x84", "EXT4", struct.Struct("<i")),
        ("c", "GLOBAL", 2),
        ("\x93", "STACK_GLOBAL", None),
        ("R", "REDUCE", None),
        ("b", "BUILD", None),
        ("i", "INST", 2),
        ("o", "OBJ", None),
        ("\x81", "NEWOBJ", None),
        ("\x92", "NEWOBJ_EX", None),
        ("\x80", "PROTO", struct.Struct("<B")),
        (".", "STOP", None),
        ("\x95", "FRAME", struct.Struct("<Q")),
        ("P", "PERSID", 1),
        ("Q", "BINPERSID", None),
    )
}
_STOP = "STOP"


def steps(data: memoryview, start: int, fail: Fail) -> Iterator[Step]:
    """The opcodes of a pickle that begins at byte `start`, up to its STOP.

    Raises:
        FormatError, by `fail`: an unknown opcode, or an argument beyond the end.
    """
    at = start
    while True:
        if at >= len(data):
            fail("the pickle ends without its STOP", at)
        known = OPCODES.get(data[at])
        if known is None:
            fail(f"no opcode of pickles has the byte {data[at]:#04x}", at)
        name, kind = known  # type: ignore[misc]
        argument, end = (None, at + 1) if kind is None else _argument(data, at, name, kind, fail)
        yield name, argument, at, end
        if name == _STOP:
            return
        at = end


def _argument(data: memoryview, at: int, name: str, kind: Any, fail: Fail) -> tuple[Any, int]:
    begin = at + 1
    if isinstance(kind, struct.Struct):
        end = begin + kind.size
        if end > len(data):
            fail(f"{name} is cut short", at)
        return kind.unpack_from(data, begin)[0], end
    if isinstance(kind, int):
        lines, end = [], begin
        for _ in range(kind):
            line, end = _line(data, end, at, name, fail)
            lines.append(line)
        return (lines[0] if kind == 1 else tuple(lines)), end
    size, meaning = kind
    head = begin + size
    if head > len(data):
        fail(f"{name} is cut short", at)
    (length,) = _PREFIXED[size].unpack_from(data, begin)
    if length > len(data) - head:
        fail(f"{name} of {length} bytes where {len(data) - head} are left", at)
    raw = bytes(data[head : head + length])
    if meaning == "long":
        return int.from_bytes(raw, "little", signed=True), head + length
    return (raw if meaning == "bytes" else _text(raw, at, name, fail)), head + length


_LINE_LIMIT = 1 << 16  # bytes of a line


def _line(data: memoryview, begin: int, at: int, name: str, fail: Fail) -> tuple[str, int]:
    found = bytes(data[begin : begin + _LINE_LIMIT]).find(b"\n")
    if found < 0:
        fail(f"{name} has no end of its line", at)
    return _text(bytes(data[begin : begin + found]), at, name, fail), begin + found + 1


def _text(raw: bytes, at: int, name: str, fail: Fail) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        fail(f"the text of {name} is not UTF-8: {short(repr(raw))}", at)
        raise
