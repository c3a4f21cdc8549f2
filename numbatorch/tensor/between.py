"""What comes in between while a function is traced: finalizers and signal handlers.

They may compute, and change tensors. In a trace that would become part of the plan, and each replay
would change those tensors again. So the collector rests, and handlers run as outside of a trace.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from numbatorch.apart import collector_at_rest, set_handler
from numbatorch.graph import trace_mode
from numbatorch.tensor.base import untraced
from numbatorch.tensor.draws import unrecorded_draws


@contextmanager
def nothing_in_between() -> Iterator[None]:
    """Within a block, what the interpreter calls by itself does not become part of a trace."""
    with collector_at_rest():
        own = _wrap_handlers()
        try:
            yield
        finally:
            _unwrap_handlers(own)


def _wrap_handlers() -> dict[int, partial[Any]]:
    """Have signal handlers run outside of the trace; returns what stands for each, by signal."""
    signal = sys.modules.get("signal")
    if signal is None or threading.get_ident() != threading.main_thread().ident:
        return {}
    own: dict[int, partial[Any]] = {}
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler) and handler is not signal.default_int_handler:
            own[number] = partial(_outside, handler)
            set_handler(number, own[number])
    return own


def _unwrap_handlers(own: dict[int, partial[Any]]) -> None:
    if not own:
        return
    import signal

    for number, wrapped in own.items():
        handler = wrapped.args[0]
        if signal.getsignal(number) is wrapped:  # else the function has set another
            set_handler(number, handler)


def _outside(handler: Callable[[int, Any], Any], number: int, frame: Any) -> Any:
    with untraced(), trace_mode(0), unrecorded_draws():
        return handler(number, frame)
