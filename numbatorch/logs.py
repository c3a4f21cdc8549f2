"""What happens beside computing, for Python's `logging`: loggers numbatorch.kernels and others.

    logging.basicConfig(level=logging.INFO)  # kernels compiled, packs written, downloads
    logging.getLogger("numbatorch.plans").setLevel(logging.DEBUG)  # plans made

Nothing is configured here. `logging` is not imported either: a program that has not imported it has
no handler that a record could go to.
"""

import sys
from typing import Any

INFO, DEBUG = 20, 10  # as in `logging`


def info(area: str, text: str, *values: Any) -> None:
    """A record of level INFO for logger `numbatorch.<area>`; values go into text by %."""
    _record(INFO, area, text, values)


def debug(area: str, text: str, *values: Any) -> None:
    """A record of level DEBUG for logger `numbatorch.<area>`; values go into text by %."""
    _record(DEBUG, area, text, values)


# By area: an interrupt within `getLogger` may leave its lock held, for all other threads.
_loggers: dict[str, Any] = {}


def _record(level: int, area: str, text: str, values: tuple[Any, ...]) -> None:
    logging = sys.modules.get("logging")
    if logging is None:
        return
    logger = _loggers.get(area)
    if logger is None:
        top = logging.getLogger("numbatorch")
        if not top.handlers:
            top.addHandler(logging.NullHandler())
        logger = _loggers[area] = logging.getLogger(f"numbatorch.{area}")
    logger.log(level, text, *values, stacklevel=3)
