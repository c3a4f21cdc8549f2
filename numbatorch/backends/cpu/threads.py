"""The team of threads that runs programs: started on first use, parked when idle, gone at exit.

Threads stay in compiled code, outside of the interpreter's lock. They park on CPython's own lock
functions, which need no interpreter and exist on every system.
"""

import atexit
import ctypes
import os
import sys
import threading
import time
from functools import cache
from typing import Any

import numpy as np

from numbatorch import settings
from numbatorch.backends.cpu import loop, pack, seats
from numbatorch.backends.outcome import Outcome, Stale, starts
from numbatorch.backends.planned import Sharing
from numbatorch.errors import message

IDLE_MICROSECONDS = 200  # an idle thread spins this long, then parks
GRACE_MICROSECONDS = 1  # at a barrier a thread waits this long before it takes others' shares
PATIENCE_MICROSECONDS = 5  # and this long before it looks again, a few times before it sleeps
SLEEP_MICROSECONDS = 50
WAKE_MICROSECONDS = 200  # what waking a team takes while that is not measured
WAKES = 5  # that are measured, of which the median counts

_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


class Team:
    """Threads that walk programs together; the caller of `run` is thread 0.

    Args:
        parts: into how many shares a launch is divided. There are as many threads, the caller
            included, but no more than processors: threads that take turns finish nothing sooner,
            and each takes several shares instead. Fewer if the system refuses more.

    Attributes:
        function, block: addresses of the compiled `run`, and of what it takes.
    """

    def __init__(self, parts: int) -> None:
        entries = _entries()
        self._run, self._worker, self._stop = entries["run"], entries["worker"], entries["stop"]
        self.function = _address(self._run)
        self._rouse = entries["rouse"]
        self.state = _aligned(seats.words(parts))
        self._block = np.array([self.state.ctypes.data], np.int64)
        self.block = self._block.ctypes.data
        self._threads: list[threading.Thread] = []
        self._locks: list[int] = []
        self._configure(entries["spin"], parts)
        self.state[seats.PARTS] = self.parts = parts
        self.state[seats.THREADS] = self.size = 1
        for number in range(1, min(parts, settings.processors())):
            if not self._start(number):
                break
        if self.size > 1 and self.size not in _wakes:
            _wakes[self.size] = self._wake_nanoseconds()
        self.state[seats.WAKE] = _wakes.get(self.size, 0)

    def run(self, program: int, count: int, outcome: Outcome) -> None:
        """Run the `count` rows at an address; returns when every part is done."""
        function, block = self._run, self.block
        # An interrupt is seen before this or when the call has ended, not in between.
        if outcome.clock.last != outcome.seen:
            raise Stale
        outcome.final = True
        function(block, program, count)

    def close(self) -> None:
        """End the threads; what is run from now on the caller runs alone."""
        self._stop(self.block, 0, 0)
        self.state[seats.THREADS] = self.size = 1
        for thread in self._threads:
            thread.join()
        free = ctypes.pythonapi.PyThread_free_lock
        for lock in self._locks:
            free(ctypes.c_void_p(lock))
        self._threads, self._locks = [], []

    def share_always(self) -> None:
        """Never leave a program to one thread from now on; for tests."""
        self.state[seats.WAKE] = -1

    def _configure(self, spin: Any, parts: int) -> None:
        state = self.state
        spins = 2000
        start = time.perf_counter_ns()
        spin(self.block, 0, spins)
        nanoseconds = max(1, time.perf_counter_ns() - start)
        pauses = 1000 * spins // nanoseconds  # in a microsecond
        state[seats.SPINS] = max(1, IDLE_MICROSECONDS * pauses)
        state[seats.GRACE] = max(1, GRACE_MICROSECONDS * pauses)
        state[seats.PATIENCE] = max(1, PATIENCE_MICROSECONDS * pauses)
        state[seats.IDLE] = IDLE_MICROSECONDS * 1000
        state[seats.SLEEP], state[seats.SLEEP_FOR] = _sleep()
        state[seats.ACQUIRE] = _address(ctypes.pythonapi.PyThread_acquire_lock)
        state[seats.RELEASE] = _address(ctypes.pythonapi.PyThread_release_lock)
        function, first, second, unit = _clock(state.ctypes.data + 8 * seats.TIME)
        state[seats.CLOCK], state[seats.UNIT] = function, unit
        state[seats.CLOCK_FIRST], state[seats.CLOCK_SECOND] = first, second
        state[seats.WHERE], state[seats.ALLOWED], state[seats.ALLOW] = _affinity()
        self._masks = np.zeros(2 * seats.MASK * parts, np.int64)
        state[seats.MASKS] = self._masks.ctypes.data
        state[seats.SEAT + seats.PROCESSOR :: 2 * seats.LINE] = seats.NOWHERE

    def _wake_nanoseconds(self) -> int:
        """How long it takes until a parked team works: measured once, and kept with the pack.

        Not on a machine that computes for others: what takes long is to wake a core that rests.
        """
        name = f"nanoseconds until {self.size} parked threads run"
        kept = pack.recall(name)
        if kept is not None and kept.isdecimal():
            return int(kept)
        if hasattr(os, "getloadavg") and os.getloadavg()[0] > settings.processors() / 2:
            return WAKE_MICROSECONDS * 1000
        state, found = self.state, []
        others = seats.SEAT + 2 * seats.LINE * np.arange(1, self.size)
        spins, state[seats.SPINS] = int(state[seats.SPINS]), 1
        for _ in range(WAKES):
            time.sleep(0.001)
            if state[others + seats.PARKED].all():
                start = time.perf_counter_ns()
                self._rouse(self.block, 0, 0)
                found.append(time.perf_counter_ns() - start)
        state[seats.SPINS] = spins
        if not found:
            return WAKE_MICROSECONDS * 1000
        median = sorted(found)[len(found) // 2]
        pack.remember(name, str(median))
        return median

    def _start(self, number: int) -> bool:
        """Start a thread; False if the system refuses."""
        lock = _new_lock()
        self._locks.append(lock)
        self.state[seats.SEAT + number * 2 * seats.LINE + seats.LOCK] = lock
        thread = threading.Thread(
            target=self._serve,
            args=(number,),
            name=f"numbatorch-{number}",
            daemon=True,
        )
        if not starts(thread):
            return False
        self._threads.append(thread)
        self.size += 1
        self.state[seats.THREADS] = self.size
        return True

    def _serve(self, number: int) -> None:
        """What a thread does; it keeps the team's memory alive."""
        self._worker(self.block, number, 0)


def _entries() -> dict[str, Any]:
    """The compiled functions of the loop; calling one releases the interpreter's lock."""
    kernels = (loop.run, loop.worker, loop.rouse, loop.stop, loop.spin)
    specs = {kernel.__name__: kernel() for kernel in kernels}
    found = pack.addresses(specs.values())
    return {name: _ENTRY(found[spec.key]) for name, spec in specs.items()}


def _aligned(words: int) -> np.ndarray:
    """A zeroed int64 array that begins at a cache line."""
    bytes_a_line = 8 * seats.LINE
    memory = np.zeros(words + seats.LINE, np.int64)
    skip = -memory.ctypes.data % bytes_a_line // 8
    return memory[skip : skip + words]


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _new_lock() -> int:
    """One of CPython's locks, held, so that the first who parks on it waits."""
    allocate, acquire = (
        ctypes.pythonapi.PyThread_allocate_lock,
        ctypes.pythonapi.PyThread_acquire_lock,
    )
    allocate.restype = ctypes.c_void_p
    acquire.argtypes = (ctypes.c_void_p, ctypes.c_int)
    lock = allocate()
    if not lock:
        raise MemoryError("no lock for a thread")
    acquire(lock, 1)
    return int(lock)


def _sleep() -> tuple[int, int]:
    """Address of a function that lets other threads run, or 0, and what it takes."""
    try:
        if sys.platform == "win32":  # whose shortest sleep is too long
            return _address(ctypes.WinDLL("kernel32").SwitchToThread), 0
        return _address(ctypes.CDLL(None).usleep), SLEEP_MICROSECONDS
    except (OSError, AttributeError):
        return 0, 0


def _affinity() -> tuple[int, int, int]:
    """Addresses of what tells a thread its processor and which it may use, and sets these; or 0."""
    if not sys.platform.startswith("linux"):
        return 0, 0, 0
    try:
        library = ctypes.CDLL(None)
        names = ("getcpu", "sched_getaffinity", "sched_setaffinity")
        where, allowed, allow = (_address(getattr(library, name)) for name in names)
    except (OSError, AttributeError):
        return 0, 0, 0
    return where, allowed, allow


def _clock(memory: int) -> tuple[int, int, int, int]:
    """Address of a function that tells the time in two words at `memory`, or 0.

    Its two arguments follow, and how many nanoseconds one in the first of the words is.
    """
    try:
        if sys.platform == "win32":
            kernel = ctypes.WinDLL("kernel32")
            frequency = ctypes.c_int64()
            kernel.QueryPerformanceFrequency(ctypes.byref(frequency))
            function = _address(kernel.QueryPerformanceCounter)
            return function, memory, 0, max(1, 10**9 // frequency.value)
        function = _address(ctypes.CDLL(None).clock_gettime)
        return function, time.CLOCK_MONOTONIC, memory, 10**9
    except (OSError, AttributeError):
        return 0, 0, 0, 0


lock = threading.RLock()  # a finalizer may run a program in the thread that holds it
_team: Team | None = None
sharing = Sharing(0)
_wakes: dict[int, int] = {}  # nanoseconds until so many parked threads work
_ending = False  # no thread can be started any more


def run(
    program: np.ndarray, outcome: Outcome | None = None, parts: int = settings.MOST_THREADS
) -> None:
    """Run a program on the team, in the order of its rows.

    Calls from several Python threads wait for each other. The caller keeps the program and its
    argument blocks alive until this returns.

    Args:
        program: (n, 8) int64, contiguous: function address, argument block address, flags (bit 0:
            one thread runs it, with parts = 1; bit 1: all rows before it are finished), about how
            many simple operations it is; then four words in which the loop notes how long a run
            from this row on takes, zeros at first.
        outcome: becomes final when the program runs.
        parts: for how many shares its memory is. Where another thread has asked for a larger team
            since the program was planned, the caller runs it alone.
    """
    address, count = program.__array_interface__["data"][0], len(program)
    outcome = outcome or Outcome()
    with lock:
        chosen(parts).run(address, count, outcome)


def chosen(parts: int) -> Team:
    """The team that runs a program, to whoever holds the lock.

    Args:
        parts: as `run` has them.
    """
    found = _team or team()
    return _alone() if found.parts > parts else found


@cache
def _alone() -> Team:
    """A team of the caller only."""
    return Team(1)


def team() -> Team:
    """The team, started if there is none."""
    global _team
    with lock:
        made = _team or Team(1 if _ending else num_threads())
        if _team not in (None, made):  # a signal handler has started one meanwhile
            made.close()
        else:
            _team = made
        return _team


def num_threads() -> int:
    """Threads of the team, the caller included."""
    if not sharing.parts:
        sharing.parts = settings.threads()  # asked once: plans in memory are made for this many
    return sharing.parts


def set_num_threads(threads: int) -> None:
    """Set the size of the team; a running one ends and the next program starts another."""
    if threads < 1:
        raise ValueError(message("set_num_threads", f"{threads} threads, at least 1 is needed"))
    with lock:
        sharing.parts = threads
        settings.use_threads(threads)
        _close()


def _close() -> None:
    global _team
    team, _team = _team, None
    if team is not None:
        team.close()


def _at_exit() -> None:
    """End the threads, unless one that outlives the interpreter still runs a program.

    Finalizers may run programs after this, on the thread that calls.
    """
    global _ending
    _ending = True
    if lock.acquire(timeout=1.0):
        try:
            if _team is not None:
                _team.close()
        finally:
            lock.release()


def _after_fork() -> None:
    """A child has none of its parent's threads, and no use for a lock that one of them held."""
    global lock, _team
    lock = threading.RLock()
    _team = None


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
