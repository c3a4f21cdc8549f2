"""How files are written: whole or not at all, through a file beside them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from numbatorch.errors import message
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
