"""A lock that a forked child can take although another thread of the parent held it."""

import os
import threading
import weakref
from typing import Any


def Lock() -> threading.RLock:
    """A reentrant lock, free again in a child that was forked while it was held. Use `with`.

    It is the interpreter's own. Methods in Python around it would let an interrupt in between
    taking it and entering the block: then it would stay taken, and other threads would wait for
    it for ever.
    """
    lock = threading.RLock()
    _all.add(lock)
    return lock


_all: weakref.WeakSet[Any] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in _all:
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
