"""The file that compiled kernels are kept in: a header, then one record a kernel with a checksum.

Records are appended under a lock. A damaged one is as good as absent; a foreign file, or one that
others can write, is replaced.
"""

import os
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from numbatorch import logs, private
from numbatorch.language.keys import blake2b

# Symbol and object code by kernel key.
Objects = dict[str, tuple[str, bytes]]

MAGIC = b"NTPACK02"
LARGEST = 128 << 20  # bytes; a larger file starts again with the kernels that the process uses

_RECORD = struct.Struct("<4s32sHI16s")  # mark, key, length of symbol, length of object, checksum
_MARK = b"NTOB"


class Place(NamedTuple):
    """Where a record's object code stands in the file."""

    offset: int
    symbol: str
    length: int
    checksum: bytes


class PackFile:
    """Object code by kernel key.

    Args:
        path: of the file, which need not exist. Where others can write its folder it stands in
            another one beside that (`private.make`).
        identity: what made the object code: versions and processor. It is part of every checksum.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self._identity = blake2b(identity.encode(), digest_size=32).digest()
        self._places: dict[str, Place] = {}
        self._end = 0

    def read(self, keys: list[str]) -> Objects:
        """Symbol and object code of those kernels that the file holds undamaged."""
        try:
            with private.find(self.path.parent) as folder:
                return self._read(folder, keys)
        except OSError:
            return {}

    def append(self, objects: Objects, used: list[str]) -> None:
        """Add kernels; those that another process has added meanwhile are skipped.

        Args:
            objects: what to add.
            used: keys to keep when the file has grown too large and starts again.
        Raises:
            OSError: the folder cannot be written or is full; the file is as it was.
        """
        with private.make(self.path.parent) as folder, _locked(folder, f"{self.path.stem}.lock"):
            if not self._is_intact(folder):
                self._replace(folder, self._read(folder, list(self._places)) | objects)
            elif self._end > LARGEST:
                self._replace(folder, self._read(folder, used) | objects)
            else:
                self._extend(folder, objects)

    def _read(self, folder: private.Folder, keys: list[str]) -> Objects:
        found: Objects = {}
        with suppress(OSError), folder.open(self.path.name) as file:
            self._scan(file)
            for key in keys:
                place = self._places.get(key)
                code = self._load(file, key, place) if place is not None else None
                if place is not None and code is not None:
                    found[key] = place.symbol, code
        return found

    def _is_intact(self, folder: private.Folder) -> bool:
        """Whether the file has this header and ends with a whole record."""
        try:
            with folder.open(self.path.name) as file:
                self._scan(file)
                return self._end > 0 and self._end == os.fstat(file.fileno()).st_size
        except OSError:
            return False

    def _extend(self, folder: private.Folder, objects: Objects) -> None:
        with folder.open(self.path.name, "r+b") as file:
            missing = {
                key: value
                for key, value in objects.items()
                if key not in self._places or self._load(file, key, self._places[key]) is None
            }
            data = b"".join(self._record(key, *value) for key, value in missing.items())
            end = self._end
            file.seek(end)
            try:
                file.write(data)
                file.flush()
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise

    def _replace(self, folder: private.Folder, objects: Objects) -> None:
        """Write the file anew."""
        records = (self._record(key, *value) for key, value in objects.items())
        folder.replace(self.path.name, b"".join([MAGIC, self._identity, *records]))
        self._places, self._end = {}, 0
        path = folder.path / self.path.name
        logs.info("kernels", "wrote %s anew with %d kernels", path, len(objects))

    def _scan(self, file: IO[bytes]) -> None:
        """Note the records that were added since the last scan."""
        file.seek(0)
        if file.read(len(MAGIC) + 32) != MAGIC + self._identity:
            self._places, self._end = {}, 0
            return
        size = os.fstat(file.fileno()).st_size
        if size < self._end:
            self._places, self._end = {}, 0
        position = self._end or len(MAGIC) + 32
        while position + _RECORD.size <= size:
            file.seek(position)
            mark, key, symbol_length, length, checksum = _RECORD.unpack(file.read(_RECORD.size))
            start = position + _RECORD.size
            if mark != _MARK or start + symbol_length + length > size:
                break
            symbol = file.read(symbol_length).decode("ascii", "replace")
            place = Place(start + symbol_length, symbol, length, checksum)
            self._places[key.decode("ascii", "replace")] = place
            position = start + symbol_length + length
        self._end = position

    def _load(self, file: IO[bytes], key: str, place: Place) -> bytes | None:
        file.seek(place.offset)
        code = file.read(place.length)
        return code if self._checksum(key, place.symbol, code) == place.checksum else None

    def _checksum(self, key: str, symbol: str, code: bytes) -> bytes:
        state = blake2b(self._identity, digest_size=16)
        state.update(f"{key} {symbol} {len(code)} ".encode())
        state.update(code)
        return state.digest()

    def _record(self, key: str, symbol: str, code: bytes) -> bytes:
        name = symbol.encode()
        checksum = self._checksum(key, symbol, code)
        return _RECORD.pack(_MARK, key.encode(), len(name), len(code), checksum) + name + code


@contextmanager
def _locked(folder: private.Folder, name: str) -> Iterator[None]:
    """Hold a lock between processes; it goes with the process that holds it."""
    try:
        file = folder.open(name, "r+b", create=True)
    except private.Refused:  # made by an earlier version, for whoever the umask let in
        folder.remove(name)
        file = folder.open(name, "r+b", create=True)
    with file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError:
                    time.sleep(0.05)
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
