"""When a program goes alone: while it is late on the team, and where waking that costs more."""

import ctypes
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from numbatorch import settings
from numbatorch.backends.cpu import loop, pack, seats, threads
from numbatorch.language.kernel import Pointer, kernel
from numbatorch.language.primitives import int64
from tests.unit.test_threads import start


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[threads.Team]:
    monkeypatch.setattr(settings, "processors", lambda: 2)
    yield start(2)
    threads.set_num_threads(2)


class Watch:
    """A clock for a team that goes on by itself and by what each kernel `pass_time` adds."""

    def __init__(self, team: threads.Team) -> None:
        self.nanoseconds = 10**12
        state = team.state

        @ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
        def read(first: int, second: int) -> None:
            self.nanoseconds += int(elapsed[0])
            elapsed[0] = 0
            state[seats.TIME], state[seats.TIME + 1] = divmod(self.nanoseconds, 10**9)

        self.elapsed = elapsed = np.zeros(1, np.int64)
        self._keep = read
        state[seats.CLOCK] = ctypes.cast(read, ctypes.c_void_p).value or 0


@kernel
def pass_time(
    elapsed: Pointer["int64"],
    ran: Pointer["int64"],
    together: int,
    alone: int,
    part: int,
    parts: int,
) -> None:
    """Let a watch go on by what a run takes, and note how many shares it had."""
    if part == 0:
        elapsed[0] += alone if parts == 1 else together
        ran[0] = parts


def measured(team: threads.Team, work: int) -> tuple[Watch, Callable[[int, int], int]]:
    """A watch, and a run of one program that takes so long with the team and so long alone.

    The run returns how many shares it had.
    """
    watch = Watch(team)
    ran = np.zeros(1, np.int64)
    program = np.zeros((1, loop.ROW), np.int64)
    block = np.array([watch.elapsed.ctypes.data, ran.ctypes.data, 0, 0], np.int64)
    spec = pass_time()
    program[0, : loop.WORK + 1] = pack.addresses([spec])[spec.key], block.ctypes.data, 0, work

    def run(together: int, alone: int) -> int:
        block[2:] = together, alone
        threads.run(program)
        return int(ran[0])

    return watch, run


def test_a_program_that_is_late_goes_alone_for_a_while(two: threads.Team) -> None:
    millisecond = 10**6
    watch, run = measured(two, 10**9)
    assert [run(3 * millisecond, 5 * millisecond) for _ in range(3)] == [2, 2, 2]
    assert run(100 * millisecond, 5 * millisecond) == 2
    ran = [run(20 * millisecond, 5 * millisecond) for _ in range(500)]
    assert ran[0] == 1 and 0 < ran.count(2) < 25  # it is asked again and again, and seldom
    watch.nanoseconds += 10**9
    again = [run(3 * millisecond, 5 * millisecond) for _ in range(50)]
    assert set(again) == {2}


def test_a_program_that_grows_stays_with_the_team(two: threads.Team) -> None:
    _, run = measured(two, 10**9)
    ran = [run(together, 2 * together) for together in range(10**6, 10**8, 10**5)]
    assert ran.count(1) < 20


def test_a_parked_team_is_not_woken_for_what_one_thread_does_sooner(two: threads.Team) -> None:
    parked = seats.SEAT + 2 * seats.LINE + seats.PARKED
    two.state[seats.WAKE] = 200_000
    watch, run = measured(two, 16 * 50_000)

    def rest() -> None:
        watch.nanoseconds += 10**7
        while two.state[parked] == 0:
            time.sleep(0.001)

    rest()
    assert run(25_000, 50_000) == 1
    for _ in range(20):  # each after the other threads would have parked again
        rest()
        assert run(25_000, 50_000) == 1
    rest()
    ran = [run(25_000, 50_000) for _ in range(20)]
    assert ran[:7] == [1] * 7 and 2 in ran  # one after the other: 8 times 25 us saved
    rest()
    assert run(25_000, 600_000) == 1  # what it takes alone is measured
    rest()
    assert run(25_000, 600_000) == 2


def test_a_slow_first_run_does_not_keep_the_team_asleep(two: threads.Team) -> None:
    """It may have met fresh memory: after some runs alone the team is tried again."""
    parked = seats.SEAT + 2 * seats.LINE + seats.PARKED
    two.state[seats.WAKE] = 200_000
    watch, run = measured(two, loop.PACE * 4_500_000)
    assert run(12_000_000, 4_500_000) == 2
    ran = []
    for _ in range(100):
        watch.nanoseconds += 10**7
        while two.state[parked] == 0:
            time.sleep(0.0005)
        ran.append(run(2_500_000, 4_500_000))
    assert 1 in ran and set(ran[60:]) == {2}


def test_what_waking_takes_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, str] = {}
    monkeypatch.setattr(threads, "_wakes", {})
    monkeypatch.setattr(pack, "recall", kept.get)
    monkeypatch.setattr(pack, "remember", kept.__setitem__)
    monkeypatch.setattr(settings, "processors", lambda: 2)
    load = [5.0]
    monkeypatch.setattr(os, "getloadavg", lambda: (load[0], 0.0, 0.0), raising=False)
    threads.set_num_threads(2)
    threads.team()
    assert not kept and threads._wakes == {2: 1000 * threads.WAKE_MICROSECONDS}
    load[0] = 0.0
    kept.clear()
    threads._wakes.clear()
    threads.set_num_threads(2)
    threads.team()
    ((name, nanoseconds),) = kept.items()
    assert "2 parked threads" in name and 500 < int(nanoseconds) < 10**8
    assert threads._wakes == {2: int(nanoseconds)}
    kept[name] = "123456"
    threads._wakes.clear()
    threads.set_num_threads(2)
    assert threads.team().state[seats.WAKE] == 123456
    threads.set_num_threads(2)
