"""Plans from several Python threads, and in forked children, give right results."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.graph import runs


def work(seed: int) -> float:
    """A few realizes and replays; the largest difference to NumPy."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((40, 40)).astype(np.float32) for _ in range(2))
    worst = 0.0
    for _ in range(10):
        out = (nt.tensor(a, device="cpu") @ nt.tensor(b, device="cpu") + 1).tanh().numpy()
        worst = max(worst, float(np.abs(out - np.tanh(a @ b + 1)).max()))
    return worst


def test_threads_share_plans() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(work, range(16))) < 1e-4


def test_threads_share_a_compiled_function() -> None:
    twice = nt.compile(lambda x: x * 2 + 1)

    def run(value: int) -> bool:
        x = nt.full((1000,), float(value), device="cpu")
        return all(bool((twice(x) == value * 2 + 1).all()) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(16)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_child_forked_while_other_threads_run_plans() -> None:
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            work(1)

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                os._exit(0 if work(2) < 1e-4 else 1)
            _pid, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_no_run_lasts_for_ever_in_a_child_forked_within_it() -> None:
    """Calls would go the long way, for what a run that lasts has to note first."""
    state, stop = nt.zeros(1 << 21, device="cpu"), threading.Event()
    one = nt.ones(1, device="cpu")

    @nt.compile
    def step(x: nt.Tensor) -> nt.Tensor:
        state[...] = (state + x).sin().cos().exp()
        return state.sum()

    def steps() -> None:
        while not stop.is_set():
            step(one)

    step(one)
    thread = threading.Thread(target=steps)
    thread.start()
    within = 0
    try:
        for _ in range(200):
            within += bool(runs)  # it lasts for milliseconds
            child = os.fork()
            if child == 0:
                os._exit(len(runs))
            _pid, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            if within == 5:
                break
    finally:
        stop.set()
        thread.join()
    assert within == 5
    assert not runs
