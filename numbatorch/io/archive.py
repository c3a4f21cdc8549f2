"""Zip archives, mapped: where each entry's bytes stand, checked before any is handed out.

`zipfile` reads the directory. Nothing is written anywhere, so names of entries are names only.
The format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from numbatorch.errors import FormatError, message
from numbatorch.io.mapping import Array
from numbatorch.io.reading import short

LOCAL = struct.Struct("<4s2H H 2H 3I 2H")  # the header before the bytes of an entry
ENTRIES_LIMIT = 1 << 20
# What deflate can make of a byte at most: https://zlib.net/zlib_tech.html
DEFLATE_LIMIT = 1032
ENCRYPTED = 0x1 | 0x40
PIECE = 1 << 20  # bytes that are unpacked at a time


class Entry(NamedTuple):
    """Where an entry stands.

    Attributes:
        name: as the directory has it.
        offset: first byte in the file.
        packed: bytes in the file.
        nbytes: bytes when it is unpacked.
        deflated: whether it is compressed.
        crc: CRC-32 of what is unpacked.
    """

    name: str
    offset: int
    packed: int
    nbytes: int
    deflated: bool
    crc: int


class Archive:
    """The entries of a zip archive, by name.

    Raises:
        FormatError: the archive is cut short or malformed, two entries have one name or share
            bytes, one is encrypted, or compressed by anything but deflate, or cannot be so large.
    """

    def __init__(self, operator: str, path: Path, data: Array, what: str = "a file") -> None:
        self.operator, self.path, self.data = operator, path, data
        try:
            with zipfile.ZipFile(_Window(data)) as opened:
                infos = opened.infolist()
        except MemoryError:
            raise
        except Exception as error:  # zipfile raises whatever it meets in a malformed directory
            detail = str(error) or type(error).__name__
            self.fail(f"{what} that is no zip archive, or one cut short: {short(detail)}")
        if len(infos) > ENTRIES_LIMIT:
            self.fail(f"{len(infos)} entries are above the limit of {ENTRIES_LIMIT}")
        found: dict[str, Entry] = {}
        for info in infos:
            if info.filename in found:
                self.fail(f"two entries are called {short(info.filename)!r}")
            found[info.filename] = self._entry(info)
        self._check_overlaps(found)
        self.entries: Mapping[str, Entry] = found

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        """Raise FormatError with the file and the byte."""
        place = f"file {self.path}" + ("" if at is None else f", byte {at}")
        raise FormatError(message(self.operator, problem, place))

    def stored(self, entry: Entry) -> Array:
        """The bytes of an entry that is not compressed, where they lie."""
        if entry.deflated:
            problem = f"entry {short(entry.name)!r} is compressed, which its writer never does"
            self.fail(problem, at=entry.offset)
        return self.data[entry.offset : entry.offset + entry.nbytes]

    def start(self, entry: Entry, size: int) -> bytes:
        """The first bytes of an entry, `size` of them at most."""
        if not entry.deflated:
            return self.stored(entry)[:size].tobytes()
        packed = self.data[entry.offset : entry.offset + entry.packed]
        return self._unpack(zlib.decompressobj(-zlib.MAX_WBITS), packed[: size + 1024], size, entry)

    def read(self, entry: Entry) -> bytes:
        """All bytes of an entry, whose check sum has to be right."""
        if not entry.deflated:
            whole = self.stored(entry).tobytes()
        else:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            packed = self.data[entry.offset : entry.offset + entry.packed]
            whole = self._unpack(unpacker, packed, entry.nbytes + 1, entry)
            if len(whole) != entry.nbytes or not unpacker.eof:
                problem = f"entry {short(entry.name)!r} is not of the {entry.nbytes} bytes it says"
                self.fail(problem, at=entry.offset)
        if zlib.crc32(whole) != entry.crc:
            self.fail(f"entry {short(entry.name)!r} has another check sum", at=entry.offset)
        return whole

    def _unpack(self, unpacker: Any, packed: Array, size: int, entry: Entry) -> bytes:
        """At most `size` bytes of what is packed, without taking memory for more."""
        parts, total, rest = [], 0, packed.tobytes()
        try:
            while total < size and not unpacker.eof:
                part = unpacker.decompress(rest, min(PIECE, size - total))
                rest = unpacker.unconsumed_tail
                parts.append(part)
                total += len(part)
                if not part and not rest:
                    break
        except zlib.error as error:
            self.fail(f"entry {short(entry.name)!r} does not unpack: {error}", at=entry.offset)
        return b"".join(parts)

    def _entry(self, info: zipfile.ZipInfo) -> Entry:
        name, at = f"entry {short(info.filename)!r}", info.header_offset
        size = self.data.size
        if info.flag_bits & ENCRYPTED:
            self.fail(f"{name} is encrypted", at=at)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            self.fail(f"{name} is compressed by method {info.compress_type}", at=at)
        if not 0 <= at <= size - LOCAL.size:
            self.fail(f"{name} begins outside of the file of {size} bytes", at=at)
        fields = LOCAL.unpack(self.data[at : at + LOCAL.size].tobytes())
        if fields[0] != b"PK\3\4":
            self.fail(f"{name} has no header where the directory says", at=at)
        name_size, extra_size = fields[-2:]
        offset = at + LOCAL.size + name_size + extra_size
        own = self.data[at + LOCAL.size : at + LOCAL.size + name_size].tobytes()
        if own != info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437"):
            self.fail(f"{name} has another name in its header", at=at)
        packed, unpacked = info.compress_size, info.file_size
        if offset + packed > size:
            self.fail(f"{name} of {packed} bytes ends outside of the file of {size} bytes", at=at)
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        if unpacked > (packed * DEFLATE_LIMIT if deflated else packed) or (
            not deflated and unpacked != packed
        ):
            self.fail(f"{name} of {packed} bytes cannot hold the {unpacked} that it says", at=at)
        return Entry(info.filename, offset, packed, unpacked, deflated, info.CRC)

    def _check_overlaps(self, found: Mapping[str, Entry]) -> None:
        """No two entries share bytes, as in archives that unpack to far more than is there."""
        end, before = 0, ""
        for entry in sorted(found.values(), key=lambda entry: (entry.offset, entry.packed)):
            if entry.offset < end:
                names = f"{short(before)!r} and {short(entry.name)!r}"
                self.fail(f"entries {names} share bytes", at=entry.offset)
            end, before = entry.offset + entry.packed, entry.name


class _Window(io.RawIOBase):
    """A file to read and seek in over bytes that lie in memory."""

    def __init__(self, data: Array) -> None:
        self._data, self._position = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, self._data.size)[whence]
        if base + offset < 0:
            raise OSError(f"a position of {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, target: Any) -> int:
        part = self._data[self._position : self._position + len(target)]
        target[: part.size] = part.data
        self._position += part.size
        return int(part.size)
