"""An engine for test_benchmarks.py: one that works, and every way in which a peer fails."""

import os
import sys
import time

from benchmarks.timing import Work

VERSION = "1"


def works() -> Work:
    """What succeeds."""
    return Work(lambda: None)


def crashes(code: int) -> Work:
    """What ends its process at its third call, as a failed assertion in a library does."""
    calls = 0

    def run() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            print("a library's last words", file=sys.stderr, flush=True)
            os._exit(code)

    return Work(run, before=lambda: None)


def crashes_while_it_loads() -> Work:
    """What ends its process before there is anything to call."""
    os._exit(4)


def hangs() -> Work:
    """What never answers."""
    return Work(lambda: time.sleep(60))


def raises() -> Work:
    """What fails like Python code."""
    raise ValueError("no such weights\nin the file")


def lacks() -> Work:
    """What this engine cannot do, and says so."""
    raise NotImplementedError("only float32")
