"""How files are written: whole or not at all, through a file beside them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from numbatorch.errors import FormatError, message
from numbatorch.io.reading import check_replaceable


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
    path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str] | None], operator: str
) -> None:
    """Fail before the work where its result cannot be written, or would replace what it is made of.

    Args:
        path: the file to write.
        inputs: files and folders that are read, by whatever names; what is none on disk is not.
        operator: what errors name.
    Raises:
        FileNotFoundError, FormatError: as `replaced`; the path is an input, or a file of a folder
            that is one, but for GGUF, which is not read from folders.
    """
    check_writable(path, operator)
    if not os.path.exists(path):
        return
    for source in inputs:
        if source is None or not os.path.exists(source):
            continue
        folder = Path(path).resolve().parent
        within = os.path.isdir(source) and os.path.samefile(folder, source)
        if os.path.samefile(path, source) or (within and Path(path).suffix != ".gguf"):
            problem = "would replace the file that it reads"
            raise FormatError(message(operator, problem, f"file {path}"))


@contextmanager
def replaced(path: str | os.PathLike[str], operator: str) -> Iterator[Path]:
    """A file to write, which takes the place of `path` when the block ends without an error.

    Raises:
        FileNotFoundError: the folder of the path does not exist.
        FormatError: the path is a folder, a pipe or a device.
    """
    target = Path(path)
    check_writable(target, operator)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(8).hex()}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
