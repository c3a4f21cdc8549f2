"""Compiling many kernels at once: other Python processes that compile a share each.

They are started through `sys.executable`: a notebook needs no `__main__` guard, nothing is forked.
They start isolated and import from where this process does, relative folders aside: a file of the
current directory is never taken for a module.
"""

import importlib
import os
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import IO, TYPE_CHECKING, Any

from numbatorch import settings
from numbatorch.backends.cpu.identity import identity
from numbatorch.language.kernel import EmittedKernel, KernelSpec, bind_text

if TYPE_CHECKING:
    import subprocess

# What a worker answers for a kernel: its key, and its object code or None if it could not.
Answer = tuple[str, bytes | None]


class _Stop:
    """Whether an interrupt came: nothing more is compiled for it.

    It has no lock. That of `threading.Event` is taken by a function in Python, so an interrupt in
    between leaves it taken, and whoever compiles next waits for ever.
    """

    asked = False

    def ask(self) -> None:
        """Compile nothing more."""
        self.asked = True


stop = _Stop()

_FEW = 4  # fewer are compiled here
_FEW_WHEN_WARM = 16  # fewer are compiled here when Numba is imported already

_ISOLATED = ("-I", "-S")  # no variables, no folder of the user's, no site: the library's path only
_START = (
    "import pickle, sys; sys.path += pickle.load(sys.stdin.buffer);"
    "from numbatorch.backends.cpu import workers; workers.main()"
)
_PACKAGE = Path(__file__).parents[2]


class _Text(KernelSpec):
    """An emitted kernel, in a worker."""

    wide = EmittedKernel.wide

    def __init__(self, name: str, key: str, text: str, path: str) -> None:
        self.name, self.key, self._source, self._path = name, key, text, path

    def path(self) -> str:
        return self._path

    def bind(self) -> tuple[FunctionType, tuple[str, ...]]:
        return bind_text(self._source, self._path)


def main() -> None:
    """A worker: read the kernels, write an answer for each as it is done."""
    wanted, tasks = pickle.load(sys.stdin.buffer)
    if identity()[1] != wanted:
        return  # it would import another version
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an imported module prints is not an answer
    from numbatorch.backends.cpu import compiler
    from numbatorch.language import processor

    for name, key, task in tasks:
        try:
            spec = _find(name, key, task)
            code = compiler.compile_object(spec, processor.host()) if spec.key == key else None
        except Exception:  # the parent compiles it again and so reports it
            code = None
        pickle.dump((key, code), answers)
        answers.flush()


def _find(name: str, key: str, task: tuple[Any, ...]) -> KernelSpec:
    if task[0] == "text":
        return _Text(name, key, task[1], task[2])
    found: Any = importlib.import_module(task[1])
    for part in task[2].split("."):
        found = getattr(found, part)
    spec = found(**task[3])
    assert isinstance(spec, KernelSpec)
    return spec


class Workers:
    """Processes that compile a share of some kernels; leaving the context waits for them.

    Args:
        specs: kernels to compile.
        answer: called with each result, from other threads.

    Attributes:
        mine: the kernels that are left for this process.
    """

    def __init__(self, specs: list[KernelSpec], answer: Callable[[Answer], None]) -> None:
        self.mine, shares = _divide(specs, _worker_count(specs))
        started = (_start(share) for share in shares if share)
        self._processes = [process for process in started if process is not None]
        # Results are read as they come: a worker would wait at a full pipe.
        self._readers = [
            threading.Thread(target=_collect, args=(process, answer), daemon=True)
            for process in self._processes
        ]

    def __enter__(self) -> "Workers":
        for index, reader in enumerate(self._readers):
            try:
                reader.start()
            except RuntimeError:  # the system refuses: what nobody reads is compiled here
                for process in self._processes[index:]:
                    with process:
                        process.kill()
                del self._readers[index:]
                break
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is not None:
            for process in self._processes:
                process.kill()
        for reader in self._readers:
            while reader.is_alive():
                reader.join(0.1)
                if stop.asked:
                    for process in self._processes:
                        process.kill()


def _divide(specs: list[KernelSpec], count: int) -> tuple[list[KernelSpec], list[list[Any]]]:
    """What this process compiles, and the tasks of each of `count` workers."""
    shares: list[list[Any]] = [[] for _ in range(count)]
    mine: list[KernelSpec] = []
    for index, spec in enumerate(specs):
        task = spec.task() if count else None
        if task is None or index % (count + 1) == 0:
            mine.append(spec)
        else:
            shares[index % (count + 1) - 1].append((spec.name, spec.key, task))
    return mine, shares


def _worker_count(specs: list[KernelSpec]) -> int:
    few = _FEW_WHEN_WARM if "numba" in sys.modules else _FEW
    if len(specs) <= few or not sys.executable or getattr(sys, "frozen", False):
        return 0
    if sys.is_finalizing():  # no thread would read what they answer
        return 0
    return min(settings.threads() - 1, len(specs) // 3, 15)


def _start(share: list[Any]) -> "subprocess.Popen[bytes] | None":
    """A worker that has its kernels; None if no process can be started."""
    import subprocess  # this costs more than a warm start of the rest of this file

    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    quiet = ["-B"] if sys.dont_write_bytecode else []
    try:
        process = subprocess.Popen(
            [sys.executable, *_ISOLATED, *quiet, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_PACKAGE,  # Numba reads a file of the current directory
            creationflags=flags,
        )
    except OSError:
        return None
    assert process.stdin is not None
    try:
        pickle.dump(_import_path(), process.stdin)
        pickle.dump((identity()[1], share), process.stdin)
        process.stdin.close()
    except OSError:
        pass
    return process


def _import_path() -> list[str]:
    """Where this process imports from, and at last where it has this package from.

    Relative entries are left out: `""`, the current directory, holds whatever files people open.
    """
    return [*filter(os.path.isabs, sys.path), str(_PACKAGE.parent)]


def _collect(process: "subprocess.Popen[bytes]", answer: Callable[[Answer], None]) -> None:
    assert process.stdout is not None
    with process:
        for result in _answers(process.stdout):
            answer(result)
        process.kill()


def _answers(stream: IO[bytes]) -> Any:
    while True:
        try:
            yield pickle.load(stream)
        except (EOFError, pickle.UnpicklingError, OSError):
            return
