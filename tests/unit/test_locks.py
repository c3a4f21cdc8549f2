"""The lock of the library: reentrant, free after an interrupt, free in a forked child."""

import os
import threading

import pytest

from numbatorch.locks import Lock
from tests.interrupts import interruptions


def is_free(lock: threading.RLock) -> bool:
    """Whether another thread can take the lock."""
    taken = []

    def take() -> None:
        taken.append(lock.acquire(blocking=False))
        if taken[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken[0]


def test_it_is_taken_within_the_block_and_reentrant() -> None:
    lock = Lock()
    with lock, lock:
        assert not is_free(lock)
    assert is_free(lock)


def test_an_interrupt_at_any_moment_leaves_it_free() -> None:
    lock = Lock()

    def use() -> None:
        with lock:
            len("")

    moments = [is_free(lock) for _ in interruptions(use)]
    assert moments
    assert all(moments)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_can_take_what_another_thread_of_the_parent_held() -> None:
    lock = Lock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(blocking=False) else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert is_free(lock)
