"""The plan loop and its team: order, barriers, many Python threads, fork, exit, interrupts."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbatorch import settings
from numbatorch.backends.cpu import loop, pack, seats, threads
from numbatorch.backends.cpu.loop import BARRIER, SERIAL
from numbatorch.language.kernel import KernelSpec, Pointer, kernel, share
from numbatorch.language.primitives import int64

ROOT = Path(__file__).parents[2]


@kernel
def add(out: Pointer["int64"], x: Pointer["int64"], n: int, part: int, parts: int) -> None:
    """out[i] += x[i], and what part did it in the column after."""
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        out[2 * i] = out[2 * i] + x[0]
        out[2 * i + 1] = part + parts * 100


@kernel
def sum_before(out: Pointer["int64"], x: Pointer["int64"], n: int, part: int, parts: int) -> None:
    """Every part sums all of x: wrong unless all of x is written."""
    total = 0
    for i in range(n):
        total += x[i]
    out[part] = total


@kernel
def fill(out: Pointer["int64"], value: int, n: int, part: int, parts: int) -> None:
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        out[i] = value


class Program:
    """Rows and the argument blocks and arrays that they point to."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int]] = []
        self._keep: list[Any] = []

    def call(self, spec: KernelSpec, flags: int, *arguments: Any) -> None:
        words = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
        block = np.array(words, np.int64)
        self._keep += [block, arguments]
        address = pack.addresses([spec])[spec.key]
        self.rows.append((address, block.ctypes.data, flags, *[0] * 5))

    def run(self) -> None:
        threads.run(np.array(self.rows, np.int64))


def start(parts: int) -> threads.Team:
    """A team that is woken for however little."""
    threads.set_num_threads(parts)
    team = threads.team()
    team.state[seats.WAKE] = 0
    return team


@pytest.fixture(params=["1", "2", "3", "6", "6 threads"])
def team(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """How many parts; no more threads than processors, or more."""
    parts = int(request.param[0])
    if "threads" in request.param:
        monkeypatch.setattr(settings, "processors", lambda: parts)
    assert start(parts).size == min(parts, settings.processors())
    yield parts
    threads.set_num_threads(2)


@pytest.fixture
def two() -> threads.Team:
    return start(2)


def test_every_part_runs_its_share(team: int) -> None:
    out, one = np.zeros((100, 2), np.int64), np.ones(1, np.int64)
    program = Program()
    program.call(add(), 0, out, one, 100)
    program.run()
    assert (out[:, 0] == 1).all()
    assert set(out[:, 1]) == {part + team * 100 for part in range(team)}


def test_serial_rows_run_once_on_one_thread(team: int) -> None:
    out, one = np.zeros((100, 2), np.int64), np.ones(1, np.int64)
    mixed = Program()
    mixed.call(add(), SERIAL, out, one, 100)
    mixed.call(add(), BARRIER, out, one, 100)
    mixed.run()
    assert (out[:, 0] == 2).all()
    alone = Program()
    alone.call(add(), SERIAL, out, one, 100)
    alone.run()
    assert (out[:, 0] == 3).all() and (out[:, 1] == 100).all()


def test_rows_after_a_barrier_see_all_that_stands_before(team: int) -> None:
    n = 1000
    x, sums = np.zeros(n, np.int64), np.zeros((50, 16), np.int64)
    program = Program()
    for step in range(50):
        program.call(fill(), BARRIER, x, step, n)
        program.call(sum_before(), BARRIER, sums[step], x, n)
    for _ in range(20):
        sums[:] = -1
        program.run()
        np.testing.assert_array_equal(sums[:, :team], np.arange(50)[:, None] * n + [0] * team)


def test_an_empty_program_does_nothing(team: int) -> None:
    threads.run(np.zeros((0, loop.ROW), np.int64))


@kernel
def add_total(
    out: Pointer["int64"], x: Pointer["int64"], n: int, value: int, part: int, parts: int
) -> None:
    """out = sum of x + value, a remainder of it; a number of its own where x is written as well."""
    total = value
    for i in range(n):
        total += x[i]
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        out[i] = total % 1009


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_any_flags_run_in_their_order(team: int, seed: int) -> None:
    """Each row reads one that is finished by then: before a barrier, or serial and next to it."""
    random = np.random.default_rng(seed)
    rows, n = 200, 64
    values = np.zeros((rows + 1, n), np.int64)
    expected = np.zeros(rows + 1, np.int64)
    program, before, last = Program(), 0, 0
    for row in range(1, rows + 1):
        flags = int(random.choice([0, 0, SERIAL, SERIAL, BARRIER, BARRIER | SERIAL]))
        if flags & BARRIER:
            before = row - 1
        source = int(random.integers(0, before + 1))
        if flags == SERIAL and last & SERIAL:
            source = row - 1
        program.call(add_total(), flags, values[row], values[source], n, row)
        expected[row] = (expected[source] * n + row) % 1009
        last = flags
    for _ in range(20):
        values[1:] = -1
        program.run()
        np.testing.assert_array_equal(values, np.repeat(expected[:, None], n, 1))


def test_generations_begin_again_after_the_last(team: int) -> None:
    held = threads.team()
    word, near = seats.GENERATION, loop.LAST_GENERATION - 10
    held.state[word] = near
    for part in range(team):
        held.state[seats.SEAT + part * 2 * seats.LINE + seats.TAKEN] = near << loop.ROW_BITS
    out, one = np.zeros((100, 2), np.int64), np.ones(1, np.int64)
    program = Program()
    for _ in range(3):
        program.call(add(), BARRIER, out, one, 100)
    for _ in range(20):
        program.run()
    assert (out[:, 0] == 60).all()
    assert held.size == 1 or 0 < held.state[word] < 100


def test_a_thread_that_does_not_come_holds_nothing_up(two: threads.Team) -> None:
    """It stays parked: what nobody has begun the caller takes over."""

    @ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
    def release_nothing(lock: int, unused: int) -> None:
        pass

    parked = seats.SEAT + 2 * seats.LINE + seats.PARKED
    while two.state[parked] == 0:
        time.sleep(0.001)
    release, two.state[seats.RELEASE] = (
        int(two.state[seats.RELEASE]),
        ctypes.cast(release_nothing, ctypes.c_void_p).value or 0,
    )
    out, one = np.zeros((100, 2), np.int64), np.ones(1, np.int64)
    program = Program()
    for _ in range(10):
        program.call(add(), BARRIER, out, one, 100)
    program.run()
    assert (out[:, 0] == 10).all() and set(out[:, 1]) == {200, 201}
    two.state[seats.RELEASE] = release
    two.state[parked] = 1  # the mark that the lost release has taken away
    program.run()
    assert (out[:, 0] == 20).all()


def test_python_threads_wait_for_each_other(two: threads.Team) -> None:
    out, one = np.zeros((64, 2), np.int64), np.ones(1, np.int64)
    program = Program()
    for _ in range(10):
        program.call(add(), BARRIER, out, one, 64)

    def repeat() -> None:
        for _ in range(50):
            program.run()

    several = [threading.Thread(target=repeat) for _ in range(4)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    assert (out[:, 0] == 4 * 50 * 10).all()


def test_threads_park_and_wake(two: threads.Team) -> None:
    out, one = np.zeros((64, 2), np.int64), np.ones(1, np.int64)
    program = Program()
    program.call(add(), 0, out, one, 64)
    for i in range(20):
        program.run()
        assert (out[:, 0] == i + 1).all()
        time.sleep(0.002 * (i % 3))
    parked = seats.SEAT + 2 * seats.LINE + seats.PARKED
    deadline = time.monotonic() + 10
    while two.state[parked] == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert two.state[parked] == 1
    program.run()
    assert (out[:, 0] == 21).all()


def is_asleep(thread: int) -> bool:
    """Whether the system says that a thread of this process waits."""
    return Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two processors, and a system that tells which a thread is on",
)
def test_a_thread_that_wakes_beside_its_caller_leaves(two: threads.Team) -> None:
    """Where it has gone is what the system told it then, for soon others may be moved there."""
    program = Program()
    program.call(fill(), 0, out := np.zeros(1000, np.int64), 1, len(out))
    program.run()
    worker = two._threads[0].native_id or 0
    mine = os.sched_getaffinity(0)
    seat = seats.SEAT + 2 * seats.LINE

    def woken(allowed: set[int]) -> int:
        end = time.monotonic() + 10
        while not (two.state[seat + seats.PARKED] and is_asleep(worker)):
            assert time.monotonic() < end, "it does not park"
            time.sleep(0.001)
        os.sched_setaffinity(worker, allowed)  # not before: it may be about to set its own
        seen = two.state[seat + seats.SEEN]
        while two.state[seat + seats.SEEN] == seen:
            assert time.monotonic() < end, "it does not wake"
            program.run()
        return int(two.state[seat + seats.PROCESSOR])

    try:
        for processor in 5 * sorted(mine)[:2]:
            os.sched_setaffinity(0, {processor})
            assert woken({processor}) == processor  # there is no other, so it sleeps there again
            assert woken(mine) in mine - {processor}
            assert os.sched_getaffinity(worker) == mine
    finally:
        os.sched_setaffinity(worker, mine)
        os.sched_setaffinity(0, mine)


def test_idle_time_that_ends_as_a_program_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parking at once meets every order of parking and waking."""
    monkeypatch.setattr(threads, "IDLE_MICROSECONDS", 0)
    monkeypatch.setattr(settings, "processors", lambda: 3)
    start(3)
    out, one = np.zeros((64, 2), np.int64), np.ones(1, np.int64)
    program = Program()
    program.call(add(), 0, out, one, 64)
    for _ in range(3000):
        program.run()
    assert (out[:, 0] == 3000).all()


def test_the_size_of_the_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.sharing, "parts", 0)
    monkeypatch.setenv("NUMBATORCH_THREADS", "5")
    assert threads.num_threads() == 5
    threads.set_num_threads(2)
    assert threads.num_threads() == 2
    with pytest.raises(ValueError, match="at least 1"):
        threads.set_num_threads(0)


def test_a_system_without_more_threads_gets_a_smaller_team(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    threads.set_num_threads(4)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        out, one = np.zeros((8, 2), np.int64), np.ones(1, np.int64)
        program = Program()
        program.call(add(), 0, out, one, 8)
        program.run()
    assert (out[:, 1] == 100).all()
    threads.set_num_threads(2)


SETUP = f"""
import sys, os, time, threading
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from numbatorch.backends.cpu import threads
from tests.unit.test_threads import Program, add, fill
out, one = np.zeros((64, 2), np.int64), np.ones(1, np.int64)
program = Program()
for _ in range(10):
    program.call(add(), 2, out, one, 64)
"""


def script(text: str, **options: Any) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", SETUP + text],
        stdout=pipe,
        stderr=pipe,
        text=True,
        env={**os.environ, "NUMBATORCH_THREADS": "2"},
        **options,
    )


def test_exit_ends_the_team_even_while_it_runs() -> None:
    process = script("""
def forever():
    while True:
        program.run()
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.2)
print("done")
""")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.strip(), err) == (0, "done", "")


def test_a_finalizer_at_exit_runs_on_its_own_thread() -> None:
    process = script("""
threads.run(program_rows := np.array(program.rows, np.int64))
class Late:
    def __init__(self):
        self.me, self.run, self.rows, self.out = self, threads.run, program_rows, out
        self.keep = program
    def __del__(self):
        self.out[:] = 0
        self.run(self.rows)
        print(set(self.out[:, 0].tolist()), threading.active_count(), flush=True)
late = Late()
""")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.strip(), err) == (0, "{10} 1", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_has_its_own_team() -> None:
    process = script("""
import warnings
warnings.simplefilter("ignore")
program.run()
stop = threading.Event()
def repeat():
    while not stop.is_set():
        program.run()
thread = threading.Thread(target=repeat)
thread.start()
codes = []
for _ in range(5):
    time.sleep(0.01)
    child = os.fork()  # most often while the other thread holds the lock
    if child == 0:
        out[:] = 0
        program.run()
        os._exit(7 if (out[:, 0] == 10).all() else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
thread.join()
print(codes)
""")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.strip(), err) == (0, "[7, 7, 7, 7, 7]", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_an_interrupt_comes_between_programs() -> None:
    process = script("""
print("ready", flush=True)
interrupts = 0
while interrupts < 3:
    try:
        while True:
            program.run()
    except KeyboardInterrupt:
        interrupts += 1
        print("interrupted", flush=True)
out[:] = 0
program.run()
print((out[:, 0] == 10).all())
""")
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "") and out.split()[-1] == "True"


def test_a_function_of_the_interpreters_end_may_still_compute() -> None:
    """One that is called after ours, which leaves all code where it is."""
    text = (
        "import atexit\n"
        "atexit.register(lambda: print((x * 3).tolist(), nt.lgamma(x).tolist()))\n"
        "import numbatorch as nt\n"
        "x = nt.tensor([1.0, 2.0])\n"
        "print((x * 3).tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[3.0, 6.0]\n[3.0, 6.0] [0.0, 0.0]\n"
