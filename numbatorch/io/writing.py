"""How files are written: whole or not at all, through a file beside them."""

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from numbatorch.errors import FormatError, message
from numbatorch.io.reading import check_replaceable

LETTERS = 32  # of a file's name in that of the one beside it, which may be no longer than names are
# Of a write, whose errors name no file: a disk, a quota or the largest size of a file is reached.
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EIO)


def check_writable(path: str | os.PathLike[str], operator: str) -> None:
    """Fail where `replaced` will, before the work whose result is written.

    Raises:
        FileNotFoundError, FormatError: as `replaced`.
    """
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(message(operator, "no such folder", f"folder {folder}"))
    check_replaceable(path, operator)


def check_output(
    path: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str] | None],
    operator: str,
    suffix: str | None = None,
) -> None:
    """Fail before the work where its result cannot be written, or would replace what it is made of.

    Args:
        path: the file to write.
        inputs: files and folders that are read, by whatever names; what is none on disk is not.
        operator: what errors name.
        suffix: with which the name of the file has to end.
    Raises:
        FileNotFoundError, FormatError: as `replaced`; the path is an input, or a file of a folder
            that is one, but for GGUF, which is not read from folders; it has another suffix.
    """
    check_writable(path, operator)
    present = [source for source in inputs if source is not None and os.path.exists(source)]
    for source in present if os.path.exists(path) else ():
        folder = Path(path).resolve().parent
        within = os.path.isdir(source) and os.path.samefile(folder, source)
        if os.path.samefile(path, source) or (within and Path(path).suffix != ".gguf"):
            problem = "would replace the file that it reads"
            raise FormatError(message(operator, problem, f"file {path}"))
    if suffix is not None and Path(path).suffix != suffix:
        problem = f"what is written has a name that ends in {suffix}"
        raise FormatError(message(operator, problem, f"file {path}"))


def check_absent(folder: str | os.PathLike[str], operator: str) -> None:
    """Fail where `replaced_folder` will, before the work whose result is written.

    Raises:
        FileExistsError, FileNotFoundError: as `replaced_folder`.
    """
    if os.path.lexists(folder):
        raise FileExistsError(message(operator, "the folder exists", f"folder {folder}"))
    check_writable(folder, operator)


@contextmanager
def replaced(path: str | os.PathLike[str], operator: str) -> Iterator[Path]:
    """A file to write, which takes the place of `path` when the block ends without an error.

    It can be read by whom the user's umask says, or by those who could read what it replaces.

    Raises:
        FileNotFoundError: the folder of the path does not exist.
        FormatError: the path is a folder, a pipe or a device.
        OSError: the disk is full, or the folder may not be written; the path is named.
    """
    target = Path(path)
    check_writable(target, operator)
    temporary = _beside(target)
    with _named(temporary, target):
        try:
            _make(temporary, target)
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: str | os.PathLike[str], operator: str) -> Iterator[Path]:
    """A folder to write files to, which becomes `path` when the block ends without an error.

    Raises:
        FileExistsError: there is something of that name.
        FileNotFoundError: what is to hold the folder does not exist.
        OSError: as `replaced`.
    """
    target = Path(path)
    check_absent(target, operator)
    temporary = _beside(target)
    with _named(temporary, target):
        try:
            temporary.mkdir()
            yield temporary
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _beside(target: Path) -> Path:
    begin = target.name[:LETTERS]
    return target.with_name(f".{begin}.{os.getpid()}.{os.urandom(8).hex()}")


def _make(temporary: Path, target: Path) -> None:
    """An empty file, with the permissions of one whose place it takes."""
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    if os.name == "posix":
        with suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))


@contextmanager
def _named(temporary: Path, target: Path) -> Iterator[None]:
    """Have errors of writing name what was asked for, where they name nothing or the other file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _FULL:
            error.filename = str(target)
        elif isinstance(error.filename, str | os.PathLike):
            named = os.fspath(error.filename)
            if named.startswith(str(temporary)):
                error.filename, error.filename2 = str(target) + named[len(str(temporary)) :], None
        raise
