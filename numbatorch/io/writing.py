"""How files are written: whole or not at all, through a file beside them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from numbatorch.io.reading import check_replaceable


@contextmanager
def replaced(path: str | os.PathLike[str], operator: str) -> Iterator[Path]:
    """A file to write, which takes the place of `path` when the block ends without an error.

    Raises:
        FormatError: the path is a folder, a pipe or a device.
    """
    target = Path(path)
    check_replaceable(target, operator)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(8).hex()}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
