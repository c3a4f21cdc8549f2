"""Plugins: what other installed packages declare under an entry-point group of numbatorch.

A package registers an operator, a block type or an architecture by a module that does so when it
is imported, and names that module in its pyproject.toml:

    [project.entry-points."numbatorch.architectures"]
    my_decoder = "my_package.my_decoder"

Installed packages are looked through only when a name is unknown, so a plugin that nothing asks
for costs nothing.
"""

import warnings

from numbatorch.errors import message
from numbatorch.locks import Lock

OPERATORS = "numbatorch.operators"
BLOCKS = "numbatorch.blocks"
ARCHITECTURES = "numbatorch.architectures"

_lock = Lock()
_loaded: set[str] = set()  # groups that were loaded or are being loaded


def load(group: str) -> None:
    """Import what installed packages declare under a group, the first time that it is asked for.

    Callers look for their unknown name once more afterwards. A plugin that cannot be imported is
    warned of, with its package and entry point; the others are there all the same.
    """
    with _lock:
        if group in _loaded:
            return
        _loaded.add(group)  # a plugin may itself ask for a name that is unknown yet
        try:
            _import_all(group)
        except BaseException:
            _loaded.discard(group)
            raise


def _import_all(group: str) -> None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=group):
        try:
            entry.load()
        except Exception as error:
            package = entry.dist.name if entry.dist is not None else "unknown"
            rows = (
                f"package {package}",
                f"entry point {entry.name} = {entry.value}",
                f"{type(error).__name__}: {error}",
            )
            problem = message(group, "a plugin cannot be imported", *rows)
            warnings.warn(problem, RuntimeWarning, stacklevel=3)
