"""The plan loop and its team: order, barriers, many Python threads, fork, exit, interrupts."""

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

from numbatorch.backends.cpu import loop, pack, threads
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
        self.rows.append((address, block.ctypes.data, flags, 0))

    def run(self) -> None:
        threads.run(np.array(self.rows, np.int64))


@pytest.fixture(params=[1, 2, 3, 6])
def team(request: pytest.FixtureRequest) -> Iterator[int]:
    threads.set_num_threads(request.param)
    yield request.param
    threads.set_num_threads(2)


@pytest.fixture
def two() -> None:
    threads.set_num_threads(2)


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
    threads.run(np.zeros((0, 4), np.int64))


def test_python_threads_wait_for_each_other(two: None) -> None:
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


def test_threads_park_and_wake(two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    out, one = np.zeros((64, 2), np.int64), np.ones(1, np.int64)
    program = Program()
    program.call(add(), 0, out, one, 64)
    for i in range(20):
        program.run()
        assert (out[:, 0] == i + 1).all()
        time.sleep(0.002 * (i % 3))
    team = threads._team
    assert team is not None
    parked = loop.SEAT + loop.LINE + loop.PARKED
    deadline = time.monotonic() + 10
    while team.state[parked] == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert team.state[parked] == 1
    program.run()
    assert (out[:, 0] == 21).all()


def test_idle_time_that_ends_as_a_program_comes(two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parking at once meets every order of parking and waking."""
    monkeypatch.setattr(threads, "IDLE_MICROSECONDS", 0)
    threads.set_num_threads(3)
    out, one = np.zeros((64, 2), np.int64), np.ones(1, np.int64)
    program = Program()
    program.call(add(), 0, out, one, 64)
    for _ in range(3000):
        program.run()
    assert (out[:, 0] == 3000).all()


def test_the_size_of_the_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_size", None)
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
