"""Folders and files that only this user can change: where compiled code is kept.

Whoever can write what is loaded as code, runs code. So a folder or file that others own or can
write is refused, no link is followed, and what is written has no name that others can foresee.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from numbatorch import logs
from numbatorch.errors import message

# On Windows the permissions of the cache's folder decide: a user's profile is the user's alone.
HAS_OWNERS = sys.platform != "win32"

_FOLDER, _FILE = 0o700, 0o600
_EXACTLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # a pipe in the place of a file is opened, and refused


class Refused(PermissionError):
    """A folder or file that others can write, or that is not what it should be."""


class Folder:
    """A folder held open, so that no other can take its place; a context that closes it.

    Raises:
        Refused: others own it or can write it.
        OSError: it is absent, no folder, or a link to one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        if HAS_OWNERS:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _EXACTLY)
            try:
                _check(os.fstat(self._fd), path)
            except BaseException:
                self.close()
                raise
        elif not path.is_dir():
            raise FileNotFoundError(str(path))

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def open(self, name: str, mode: str = "rb", create: bool = False) -> IO[bytes]:
        """A file of the folder.

        Args:
            mode: "rb", or "r+b" to change it.
            create: make it, for this user alone, where it is absent.
        Raises:
            Refused: others own it or can write it, or it is no regular file.
            OSError: it is absent or a link.
        """
        flags = os.O_RDONLY if mode == "rb" else os.O_RDWR
        flags |= _EXACTLY | _AT_ONCE | (os.O_CREAT if create else 0)
        file = os.fdopen(self._descriptor(name, flags), mode)
        try:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise _refused(self.path / name, "is no regular file")
            _check(found, self.path / name)
        except BaseException:
            file.close()
            raise
        return file

    def replace(self, name: str, data: bytes) -> None:
        """Put `data` into a file, at once: others see what was there before, or all of it.

        Raises:
            OSError: the folder cannot be written or is full; the file is as it was.
        """
        fresh = f".{os.urandom(8).hex()}.new"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _EXACTLY
            with os.fdopen(self._descriptor(fresh, flags), "wb") as file:
                file.write(data)
            self._rename(fresh, name)
        except BaseException:
            with suppress(OSError):
                self.remove(fresh)
            raise

    def remove(self, name: str) -> None:
        """Delete a file."""
        if self._fd is None:
            os.unlink(self.path / name)
        else:
            os.unlink(name, dir_fd=self._fd)

    def _descriptor(self, name: str, flags: int) -> int:
        if self._fd is None:
            return os.open(self.path / name, flags, _FILE)
        return os.open(name, flags, _FILE, dir_fd=self._fd)

    def _rename(self, source: str, destination: str) -> None:
        if self._fd is None:
            _replace_on_windows(self.path / source, self.path / destination)
        else:
            os.replace(source, destination, src_dir_fd=self._fd, dst_dir_fd=self._fd)


def find(path: Path) -> Folder:
    """The folder `path` opened, or the one that `make` made because others can write that.

    Raises:
        OSError: there is none.
    """
    problem: OSError | None = None
    for candidate in _candidates(path):
        try:
            return Folder(candidate)
        except OSError as err:
            problem = problem or err
    raise problem or FileNotFoundError(str(path))


def make(path: Path) -> Folder:
    """As `find`; where there is none a folder is made, beside `path` if what is there is refused.

    Raises:
        OSError: none can be made.
    """
    with suppress(OSError):
        return find(path)
    _make_parents(path)
    with suppress(FileExistsError):
        os.mkdir(path, _FOLDER)
    try:
        return find(path)
    except OSError as err:
        elsewhere = path.with_name(f"{path.name}-{os.urandom(8).hex()}")
        logs.info("kernels", "%s; %s is used instead", err, elsewhere)
    os.mkdir(elsewhere, _FOLDER)
    return Folder(elsewhere)


def _make_parents(path: Path) -> None:
    """Make the folders above `path` that are absent, for this user alone."""
    for folder in reversed(path.parents):
        if not folder.exists():
            with suppress(FileExistsError):
                os.mkdir(folder, _FOLDER)


def read(path: Path) -> bytes:
    """The content of a file that only this user can change.

    Raises:
        OSError: it is absent, or it or its folder is refused.
    """
    with find(path.parent) as folder, folder.open(path.name) as file:
        return file.read()


def write(path: Path, data: bytes) -> None:
    """Put `data` into a file at once; its folder is made where it is absent.

    Raises:
        OSError: it cannot be written; it is as it was.
    """
    with make(path.parent) as folder:
        folder.replace(path.name, data)


def _candidates(path: Path) -> Iterator[Path]:
    yield path
    with suppress(OSError):
        yield from sorted(path.parent.glob(f"{path.name}-*"))


def _check(found: os.stat_result, path: Path) -> None:
    """Raise unless only this user and the administrator can write."""
    if not HAS_OWNERS:
        return
    if found.st_uid not in (0, os.getuid()):
        raise _refused(path, f"belongs to user {found.st_uid}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _refused(path, f"can be written by others: mode {stat.S_IMODE(found.st_mode):04o}")


def _refused(path: Path, problem: str) -> Refused:
    return Refused(message(str(path), problem))


def _replace_on_windows(source: Path, destination: Path) -> None:
    """`os.replace`, which Windows refuses while another process reads the destination."""
    import time

    for _ in range(20):
        try:
            os.replace(source, destination)
            return
        except PermissionError:
            time.sleep(0.05)
    os.replace(source, destination)
