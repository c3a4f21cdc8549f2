"""Modules of another package, written into a folder and imported for a while."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from numbatorch import graph


@contextmanager
def package(folder: Path, files: dict[str, str], operator: str) -> Iterator[Any]:
    """Import the first of `files`, which registers `operator`; both are gone after the block.

    Args:
        files: paths in the package `places_<operator>`, and their text.
    """
    name = f"places_{operator}"
    for path, text in files.items():
        file = folder / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield import_module(f"{name}.{next(iter(files)).removesuffix('.py')}")
    finally:
        sys.path.remove(str(folder))
        for loaded in [module for module in sys.modules if module.split(".")[0] == name]:
            del sys.modules[loaded]
        graph.forget(operator)
