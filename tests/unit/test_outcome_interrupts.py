"""Launches that an interrupt cannot cut short, and results that are noted whatever comes."""

import gc
import os
import threading
from typing import Any

import pytest

from numbatorch.backends.outcome import Outcome
from tests.interrupts import interruptions


def test_an_interrupt_comes_before_all_launches_or_after_them() -> None:
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
    for _ in interruptions(run):
        assert launches == (list(range(6)) if outcome.final else [])
        before += not outcome.final
        after += outcome.final
    assert before > 2 and after > 2


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


def test_results_are_noted_at_any_moment_of_a_run() -> None:
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
    for _ in interruptions(run):
        assert bool(noted) == outcome.final
        moments += 1
    assert moments > 4


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
