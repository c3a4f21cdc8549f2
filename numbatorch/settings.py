"""Every environment variable that numbatorch reads: name, type, default, meaning.

No other module reads `os.environ` for settings of numbatorch.
"""

import itertools
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from numbatorch.errors import message

PREFIX = "NUMBATORCH_"
MOST_DEBUG = 4
MOST_THREADS = 4096  # more than any machine's cores


class Setting(NamedTuple):
    """One variable, `NUMBATORCH_<name>`."""

    name: str
    default: str
    meaning: str

    def read(self) -> str:
        """The variable's text, or the default."""
        return os.environ.get(f"{PREFIX}{self.name}") or self.default


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("DEBUG", "0", "0 to 4: launches, plan, kernel source, graph around every pass"),
        Setting("THREADS", "0", f"threads on the CPU, at most {MOST_THREADS}; 0 is one a core"),
        Setting(
            "CACHE",
            "",
            "folder of kernel packs and emitted source, ~ is your home; empty is the user's cache",
        ),
        Setting(
            "CPU",
            "native",
            "what kernels may use: native, x86-64 or x86-64-v2, -v3, -v4, then features and sizes "
            "of caches: native,-avx512f,l2=256K",
        ),
        Setting("DEVICE", "cpu", "device of new tensors; auto is a GPU if one can be used"),
    )
}


def refused(name: str, problem: str) -> ValueError:
    """The error of a variable: what is wrong with it, and what it means."""
    return ValueError(message(f"{PREFIX}{name}", problem, SETTINGS[name].meaning))


def warn_of_unknown() -> None:
    """Warn, at the line that imports numbatorch, of variables that look like settings and are none.

    A setting in other letters than capitals is none either, except on Windows.
    """
    known = [f"{PREFIX}{name}" for name in SETTINGS]
    unknown = [x for x in os.environ if x.upper().startswith(PREFIX) and x not in known]
    if not unknown:
        return
    import warnings
    from difflib import get_close_matches

    for name in sorted(unknown):
        near = get_close_matches(name.upper().removeprefix(PREFIX), SETTINGS, 1)
        hint = f"did you mean {PREFIX}{near[0]}" if near else None
        text = message(name, "there is no such setting", f"known: {', '.join(known)}", hint=hint)
        warnings.warn(text, UserWarning, stacklevel=3)


def _integer(name: str) -> int:
    text = SETTINGS[name].read()
    try:
        return int(text)
    except ValueError:  # also for more digits than Python converts
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise refused(name, f"{shown!r} is not an integer") from None


_DEBUG = os.environ.encodekey("NUMBATORCH_DEBUG")
DEVICE = os.environ.encodekey("NUMBATORCH_DEVICE")
# Looked into at every call, which `os.environ` takes too long for.
VARIABLES: Any = vars(os.environ)["_data"]


def reads_variables(value: Any) -> bool:
    """Whether a value is what programs read the variables of their environment with."""
    return value is os.environ or value is os.getenv


def debug() -> int:
    """Debug level, 0 to 4."""
    if _DEBUG not in VARIABLES:
        return 0
    level = _integer("DEBUG")
    if not 0 <= level <= MOST_DEBUG:
        raise refused("DEBUG", f"{level} is not in 0 to {MOST_DEBUG}")
    return level


def debug_variable() -> tuple[Any, Any]:
    """A key and a mapping: the debug level is 0 while the mapping has no such key."""
    return _DEBUG, VARIABLES


def threads() -> int:
    """Number of threads of the CPU team, 1 to `MOST_THREADS`."""
    asked = _integer("THREADS")
    if asked < 0:
        raise refused("THREADS", f"{asked} is negative")
    if asked > MOST_THREADS:
        raise refused("THREADS", f"{asked} threads, at most {MOST_THREADS} are possible")
    return asked or min(processors(), MOST_THREADS)


_set = 0  # by `use_threads`


def use_threads(number: int) -> None:
    """Let `threads_in_use` be a number that the program has set."""
    global _set
    _set = number


def threads_in_use() -> int:
    """The number of threads that the program has set, else the environment's."""
    return _set or threads()


def processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def cpu() -> str:
    """What kernels may use of the processor."""
    return SETTINGS["CPU"].read()


def device() -> str:
    """Name of the device on which new tensors are made."""
    note_question()
    return SETTINGS["DEVICE"].read()


_questions = itertools.count()


def note_question() -> int:
    """A number that is one more than the last if no default that may change was asked for since."""
    return next(_questions)


def cuda_simulator() -> bool:
    """Whether numba-cuda's simulator stands in for GPUs: NUMBA_ENABLE_CUDASIM, which is Numba's."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def cache_dir() -> Path:
    """Folder of kernel packs and emitted source; it may not exist yet."""
    asked = SETTINGS["CACHE"].read()
    if asked:
        try:
            return Path(asked).expanduser()
        except RuntimeError:
            raise refused("CACHE", f"{asked!r} names a home that is not known") from None
    try:
        home = Path.home()
    except RuntimeError:  # a user that the system does not know
        import tempfile

        user = "" if sys.platform == "win32" else f"-{os.getuid()}"  # Windows has one for each
        home = Path(tempfile.gettempdir()) / f"numbatorch{user}"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(home / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(base):  # to be ignored, says its specification
            base = str(home / ".cache")
    return Path(base) / "numbatorch"
