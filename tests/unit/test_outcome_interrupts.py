"""Launches that an interrupt cannot cut short, and results that are noted whatever comes."""

import gc
import os
import signal
import threading
from typing import Any

import pytest

from numbatorch.apart import are_handlers_waiting
from numbatorch.backends.outcome import Outcome, here, starts
from numbatorch.graph import runs
from tests.interrupts import KINDS, TimeIsUp, interruptions


@KINDS
def test_an_interrupt_comes_before_all_launches_or_after_them(kind: type[BaseException]) -> None:
    launches: list[int] = []
    outcome = Outcome()

    def launch() -> None:
        launches.extend(range(3))
        launches.extend(range(3, 6))

    def run() -> None:
        nonlocal outcome
        outcome = Outcome()
        launches.clear()
        outcome.complete(launch)

    run()
    before = after = 0
    for _ in interruptions(run, kind=kind):
        assert launches == (list(range(6)) if outcome.final else [])
        before += not outcome.final
        after += outcome.final
    assert before > 2 and after > 1


def test_an_error_of_a_launch_is_raised_and_leaves_the_outcome_open() -> None:
    outcome = Outcome()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        outcome.complete(fail)
    assert not outcome.final


def test_other_threads_launch_by_themselves() -> None:
    found: list[Any] = []
    outcome = Outcome()
    thread = threading.Thread(
        target=outcome.complete, args=(lambda: found.append(threading.current_thread()),)
    )
    thread.start()
    thread.join()
    assert found == [thread] and outcome.final


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_launches_too() -> None:
    Outcome().complete(lambda: None)
    child = os.fork()
    if child == 0:
        outcome = Outcome()
        outcome.complete(lambda: None)
        os._exit(0 if outcome.final else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@KINDS
def test_results_are_noted_at_any_moment_of_a_run(kind: type[BaseException]) -> None:
    noted: list[Any] = []
    outcome = Outcome()

    def launch() -> None:
        outcome.final = True

    def run() -> None:
        nonlocal outcome
        outcome = Outcome()
        noted.clear()
        outcome.settle(noted.append, launch)

    moments = 0
    for _ in interruptions(run, kind=kind):
        assert bool(noted) == outcome.final
        assert not here.lasting and not runs
        moments += 1
    assert moments > 4


@pytest.mark.parametrize("kind", [MemoryError, RecursionError, KeyboardInterrupt])
def test_an_error_of_the_noting_itself_is_raised(kind: type[BaseException]) -> None:
    """It comes each time, also while handlers wait; the run has ended all the same."""
    tries: list[bool] = []

    def note(_buffers: Any) -> None:
        tries.append(are_handlers_waiting())
        raise kind("no room")

    with pytest.raises(kind, match="no room"):
        Outcome(final=True).settle(note)
    assert tries == [False, True]
    assert not here.lasting and not runs


def test_a_signal_in_each_noting_ends_in_whole_results_and_what_the_handler_raised() -> None:
    """It comes as often as results are noted, and waits for the second noting to end."""
    noted: list[int] = []
    came: list[bool] = []
    outcome = Outcome(final=True)

    def handler(_number: int, _frame: Any) -> None:
        came.append(outcome.noted)
        raise TimeIsUp

    def note(_buffers: Any) -> None:
        noted[:] = range(3)
        signal.raise_signal(signal.SIGTERM)
        noted.extend(range(3, 6))

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(TimeIsUp):
            outcome.settle(note)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [False, True]
    assert noted == list(range(6))


def test_what_a_handler_raises_is_no_refusal_of_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    own, ran = threading.Thread.start, threading.Event()

    def handler(_number: int, _frame: Any) -> None:
        raise RuntimeError("time is up")

    def start(thread: threading.Thread) -> None:
        signal.raise_signal(signal.SIGTERM)
        own(thread)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="time is up"):
            starts(threading.Thread(target=ran.set))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ran.wait(60)


def test_no_finalizer_runs_where_launches_are_made() -> None:
    """It may wait for a lock that the main thread has until they are."""
    where: list[str] = []

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            where.append(threading.current_thread().name)

    def launch() -> None:
        for _ in range(100):
            Cycle()

    before = gc.get_threshold()
    gc.collect()
    try:
        gc.set_threshold(1)
        Outcome().complete(launch)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(where) == 100 and "numbatorch-launches" not in where
