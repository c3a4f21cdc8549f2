"""What became of a run that an interrupt may have cut short, and launches that none cuts short."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numbatorch.apart import Pause, handlers_waiting
from numbatorch.backends.memory import Buffer
from numbatorch.graph import runs

if TYPE_CHECKING:
    from queue import SimpleQueue


class Stale(Exception):
    """What a run was prepared from has changed: it has to be prepared again."""


class Never:
    """A clock that stands still.

    Attributes:
        last: its time.
    """

    last = None


@dataclass(eq=False, repr=False, slots=True)
class Outcome:
    """Results of a run, for a caller that has to note them although an exception came.

    A run may overwrite its operands. So once it has, its results must be noted: nothing could be
    computed from the operands again.

    Attributes:
        buffers: one per root.
        final: whether the launches that may overwrite operands were made.
        noted: whether the results were noted.
        note: notes them. It may be called again after an interrupt, so calls must not add up.
        clock, seen: a run is begun only while `clock.last` is `seen`. Else something that it
            depends on has changed since, and it raises `Stale`.
    """

    buffers: list[Buffer] = field(default_factory=list)
    final: bool = False
    noted: bool = False
    note: Callable[[list[Buffer]], None] | None = None
    clock: Any = Never
    seen: int | None = None

    def complete(self, launch: Callable[[], None]) -> None:
        """Make launches, after which this is final; an interrupt comes before them or after them.

        It is raised in the main thread, wherever that is, so another thread makes the launches
        meanwhile. No finalizer of cyclic garbage runs there: it might compute, and wait for a lock
        that the main thread has until the launches are made.
        """

        def make() -> None:
            launch()
            self.final = True

        helper = _helper() if threading.current_thread() is threading.main_thread() else None
        if helper is None:
            make()
            return
        task = _Task(make)
        late: BaseException | None = None
        while not task.finished:
            try:
                helper.put(task)  # once more after an interrupt, which may have come just before
                task.done.acquire()
            except BaseException as interrupt:
                late = interrupt
        late, task.error = late or task.error, None
        if late is not None:
            try:
                raise late
            finally:
                del late  # it holds this frame

    def settle(
        self, note: Callable[[list[Buffer]], None], run: Callable[[], None] = lambda: None
    ) -> None:
        """Run, and have final results noted; what a handler raises waits until that is done.

        A signal's handler may raise anything. So what comes out of the noting may be an error of
        the noting itself, and is if it comes once more while handlers wait. Then it is raised.

        Args:
            note: as the attribute.
            run: makes this final. No function begins between it and the noting, where an interrupt
                would be seen.
        """
        late: BaseException | None = None
        undisturbed = False
        self.note = note
        lasting = here.lasting
        try:
            lasting.append(self)
            runs.append(self)
            run()
        finally:
            try:
                while self.final and not self.noted:
                    try:
                        if late is None:
                            note(self.buffers)
                            self.noted = True
                        else:
                            with handlers_waiting():
                                undisturbed = True
                                note(self.buffers)
                                self.noted = True
                    except BaseException as err:
                        if undisturbed and not self.noted:
                            raise
                        late = err
            finally:
                try:
                    if self in runs:
                        runs.remove(self)
                finally:
                    if self in lasting:
                        lasting.remove(self)
            if late is not None:
                try:
                    raise late
                finally:
                    del late  # it holds this frame


class _Here(threading.local):
    """The runs of a thread.

    Attributes:
        lasting: those that have not ended, the last begun one last.
    """

    def __init__(self) -> None:
        self.lasting: list[Outcome] = []


here = _Here()


def _after_fork() -> None:
    """In a child the runs of other threads never end."""
    runs[:] = here.lasting


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def note_finished() -> None:
    """Note the results of runs of this thread that were made and not noted yet.

    Finalizers and handlers of signals come in between; what they compute begins here, for they may
    read what such a run has overwritten.
    """
    for outcome in list(here.lasting):
        if outcome.final and not outcome.noted and outcome.note is not None:
            outcome.note(outcome.buffers)
            outcome.noted = True


def starts(thread: threading.Thread) -> bool:
    """Start a thread; False if the system refuses.

    Handlers wait: what they raise is no refusal, and would leave the thread's locks half released.
    """
    with handlers_waiting():
        try:
            thread.start()
        except RuntimeError:
            return False
    return True


class _Task:
    """A call that is made once, however often it is asked for."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._claimed = threading.Lock()
        self.done = threading.Lock()
        self.done.acquire()
        self.finished = False
        self.error: BaseException | None = None

    def run(self) -> None:
        if not self._claimed.acquire(blocking=False):
            return
        try:
            self._call()
        except BaseException as error:
            self.error = error
        del self._call  # and the memory that it holds
        self.finished = True
        self.done.release()


_serving: tuple[threading.Thread, SimpleQueue[_Task]] | None = None


def _helper() -> SimpleQueue[_Task] | None:
    """What the helper thread takes tasks from; None where no thread can be started any more."""
    global _serving
    if _serving is None or not _serving[0].is_alive():  # in a forked child it is not
        from queue import SimpleQueue  # with heapq, for GPUs only

        tasks: SimpleQueue[_Task] = SimpleQueue()
        thread = threading.Thread(
            target=_serve, args=(tasks,), name="numbatorch-launches", daemon=True
        )
        if not starts(thread):
            return None
        _serving = thread, tasks
    return _serving[1]


def _serve(tasks: SimpleQueue[_Task]) -> None:
    pause = Pause()
    while True:
        pause.end()  # nothing that the collector counts is made before the next one begins
        task = tasks.get()
        pause.begin()
        task.run()
        del task
