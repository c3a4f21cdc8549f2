"""Calls that no signal handler and no finalizer comes in between of: compiling, importing.

Both may call numbatorch again. Within the compiler they would wait for a lock that their own thread
waits to get back, within an import they would find half a module. Handlers run in the main thread
only: those that come within an import wait, and what takes long, compiling, is done by another
thread meanwhile. Finalizers of cyclic garbage run in any thread, so the collector pauses.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # `signal` without its enumerations
import _thread
import ctypes
import gc
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType, ModuleType
from typing import Any, Generic, TypeVar

import numpy as np

from numbatorch.locks import Lock

STACK = 16 << 20  # bytes; some systems give threads too little for a compiler

Result = TypeVar("Result")


class Pause:
    """The garbage collector rests until `end`, or until this is dropped by an interrupt."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Let the collector rest, again."""
        global _was_enabled
        with _lock:
            if not _pauses:
                _was_enabled = gc.isenabled()
            _pauses.add(id(self))
            gc.disable()

    def end(self) -> None:
        """Let the collector go on, unless another pause lasts."""
        with _lock:
            if id(self) in _pauses:
                if len(_pauses) == 1 and _was_enabled:
                    gc.enable()
                _pauses.discard(id(self))  # before this, an interrupt leaves it to `__del__`

    def __del__(self) -> None:
        self.end()


_lock = Lock()  # of the two below
_pauses: set[int] = set()
_was_enabled = True


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Within a block no finalizer of cyclic garbage runs, in any thread."""
    pause = Pause()
    try:
        yield
    finally:
        pause.end()


@contextmanager
def numpy_ignores_errors() -> Iterator[None]:
    """`np.errstate(all="ignore")`, while no finalizer of cyclic garbage runs.

    NumPy keeps its error state in a context variable. A finalizer that sets it while it is being
    set leaves NumPy with memory that was freed, and operators on the host set it.
    """
    with collector_at_rest(), np.errstate(all="ignore"):
        yield


# `sigaction` of the C library; reading what it says and writing that back needs no layout of it.
_sigaction: Any = getattr(ctypes.pythonapi, "sigaction", None)
_ACTION = 512  # bytes, more than any system's


def set_handler(number: int, handler: Any) -> None:
    """`signal.signal` in the place of another handler: what `siginterrupt` has set stays."""
    action = ctypes.create_string_buffer(_ACTION)
    kept = _sigaction is not None and _sigaction(number, None, action) == 0
    try:
        _signal.signal(number, handler)
    finally:  # also where the handler of another raises
        if kept:
            _sigaction(number, action, None)


_waiting: dict[int, Any] = {}  # handlers that wait, by signal
_came: dict[int, None] = {}  # signals that have come meanwhile


def _note(number: int, _frame: FrameType | None) -> None:
    _came[number] = None


@contextmanager
def handlers_waiting() -> Iterator[None]:
    """Signal handlers that come within a block are called when it is over.

    They are called in the main thread only. Within such a block, another one changes nothing.
    """
    if _waiting or threading.get_ident() != threading.main_thread().ident:
        yield
        return
    try:
        for number in _signal.valid_signals():
            handler = _signal.getsignal(number)
            if callable(handler):
                _waiting[number] = handler
                set_handler(number, _note)
        yield
    finally:
        _let_handlers_come()


def are_handlers_waiting() -> bool:
    """Whether what raises an interrupt waits for the end of a block."""
    return _note is _signal.getsignal(_signal.SIGINT)


def _let_handlers_come() -> None:
    """Put the handlers back, then call those whose signals came; goes on after one that raises.

    The signals are not raised again: a descriptor that `set_wakeup_fd` has set was told of them
    when they came. Python looks for signals after a call, so not between `del` and the handler.
    """
    frame = sys._getframe(1)
    try:
        for number, handler in list(_waiting.items()):
            if _signal.getsignal(number) is _note:  # else the block has set another
                set_handler(number, handler)
            _waiting.pop(number, None)
        for number in list(_came):
            handler = _signal.getsignal(number)
            if not callable(handler):  # the block has set what the system does
                handler = _raise
            del _came[number]
            handler(number, frame)
    finally:
        if _waiting or _came:
            _let_handlers_come()


def _raise(number: int, _frame: FrameType | None) -> None:
    _signal.raise_signal(number)


class Call(Generic[Result]):
    """A call in a thread of its own; making this waits until it is over.

    A thread that imports or holds a compiler's lock makes the call itself: another one would wait
    for it. That is a signal handler that came while the interpreter dropped what LLVM had made. So
    does a finalizer while the interpreter ends, when other threads do not run any more.

    Args:
        function: what is called; what it raises is raised here.
        interrupted: called when a signal handler raises meanwhile, perhaps more than once.

    Attributes:
        result: of the call.
        late: what a signal handler raised meanwhile, for the caller to raise, or None.
    """

    result: Result

    def __init__(
        self, function: Callable[[], Result], interrupted: Callable[[], None] = lambda: None
    ) -> None:
        self.late: BaseException | None = None
        self._error: BaseException | None = None
        self._over = False
        self._ended = threading.Lock()
        self._ended.acquire()
        pause = Pause()
        try:
            if _must_not_wait():
                self._make(function)
            elif self._start(function):
                self._wait(interrupted)
        finally:
            pause.end()
        raise_once(self, "_error")

    def _start(self, function: Callable[[], Result]) -> bool:
        """Begin; False if it is over already, where the system gives no thread."""
        stack = threading.stack_size(STACK)
        try:
            # `Thread` can be interrupted while it starts and joins.
            _thread.start_new_thread(self._make, (function,))
        except RuntimeError:
            self._make(function)
            return False
        except BaseException as err:  # it has started
            self.late = err
        finally:
            threading.stack_size(stack)
        return True

    def _make(self, function: Callable[[], Result]) -> None:
        try:
            self.result = function()
        except BaseException as err:
            self._error = err
        self._over = True
        self._ended.release()

    def _wait(self, interrupted: Callable[[], None]) -> None:
        while not self._over:
            try:
                if self.late is not None:
                    interrupted()
                self._ended.acquire(timeout=0.1)  # not every system lets handlers in without one
            except BaseException as err:
                self.late = err


def raise_once(call: Call[Any], attribute: str) -> None:
    """Raise what an attribute holds, if anything; the call lets go of it, and of its frames."""
    error: BaseException | None = getattr(call, attribute)
    if error is not None:
        setattr(call, attribute, None)
        try:
            raise error
        finally:
            del error  # it holds this frame


def import_module(name: str) -> ModuleType:
    """`importlib.import_module`, whole: who calls in between finds all of the module or none."""
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        return module
    return whole(partial(importlib.import_module, name))


def whole(function: Callable[[], Result]) -> Result:
    """The result of `function`, an import as a rule, which nothing comes in between of.

    What a signal handler raises meanwhile is raised when the call is over.
    """
    with collector_at_rest(), handlers_waiting():
        return function()


def _must_not_wait() -> bool:
    """Whether another thread would not come to an end.

    This one has what it needs, half a module or a compiler's lock, or the interpreter is ending.
    """
    return sys.is_finalizing() or _is_importing() or any(_owns(*names) for names in _COMPILERS)


# Where the locks of LLVM and of Numba's compiler are.
_COMPILERS = (
    ("llvmlite.binding.ffi", "lib", "_lock", "_lock"),
    ("numba.core.compiler_lock", "global_compiler_lock", "_lock"),
)


def _owns(module: str, *names: str) -> bool:
    found: Any = sys.modules.get(module)
    for name in names:
        found = getattr(found, name, None)
    is_owned = getattr(found, "_is_owned", None)
    return is_owned is not None and bool(is_owned())


def _is_importing() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


# What numbatorch imports when it is needed; a user's own module may take for ever to import.
_OURS = {"numbatorch", "numba", "llvmlite", "numpy", "ml_dtypes", "tqdm"}
PATIENCE = 10.0  # seconds that a fork waits for imports, at most


def _others_import() -> bool:
    """Whether another thread imports a module that numbatorch may need."""
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    me = threading.get_ident()
    for name, reference in list(locks.items()):
        owner = getattr(reference(), "owner", None)
        package = str(name).partition(".")[0]
        needed = package in _OURS or package in sys.stdlib_module_names
        if owner is not None and owner != me and needed:
            return True
    return False


def _before_fork() -> None:
    """Wait for imports of other threads: in the child nobody would end them, nor free their locks.

    The import lock is not held for it, for who holds it must not wait for the locks that other
    modules take before a fork.
    """
    deadline = time.monotonic() + PATIENCE
    time.sleep(0)  # this thread has its whole turn before it
    while _others_import() and time.monotonic() < deadline:
        time.sleep(0.001)


def _after_fork() -> None:
    """In a child no other thread is left that a pause would be for, or that handlers wait for.

    Signals that came before are the parent's.
    """
    _came.clear()
    _let_handlers_come()
    if _pauses:
        _pauses.clear()
        if _was_enabled:
            gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
