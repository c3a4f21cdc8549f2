"""What computing takes of the machine: threads of the CPU, memory that waits to be used again."""

from __future__ import annotations

from numbatorch.backends.base import loaded
from numbatorch.backends.cpu import threads
from numbatorch.errors import message
from numbatorch.settings import MOST_THREADS
from numbatorch.tensor.base import running


def get_num_threads() -> int:
    """How many threads compute on the CPU, the calling one included.

    One a core that this process may run on, unless NUMBATORCH_THREADS or `set_num_threads` says
    otherwise.

    >>> nt.get_num_threads() >= 1
    True
    """
    return threads.num_threads()


def set_num_threads(number: int, /) -> None:
    """Compute with this many threads on the CPU from now on, the calling one included.

    What runs meanwhile in other Python threads is waited for. The number changes no bit of a
    result. A compiled function is traced anew for it. Of more threads than cores only as many are
    started as there are cores, and work is cut into as many pieces as were asked for.

    Args:
        number: 1 to 4,096.
    Raises:
        TypeError: it is no int.
        ValueError: it is out of range.

    >>> before = nt.get_num_threads()
    >>> nt.set_num_threads(1)
    >>> nt.get_num_threads()
    1
    >>> nt.set_num_threads(before)
    """
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise TypeError(message("set_num_threads", f"takes an int, not {number!r}"))
    number = int(number)
    if not 1 <= number <= MOST_THREADS:
        problem = f"{number} threads, the number must be in [1, {MOST_THREADS}]"
        raise ValueError(message("set_num_threads", problem))
    with running:
        threads.set_num_threads(number)


def empty_cache() -> None:
    """Give memory that waits to be used again back to the system, on every device.

    Memory of tensors that are still held stays. The next results take longer, for fresh memory
    costs more than that which waited.

    >>> nt.empty_cache()
    """
    with running:
        for backend in loaded():
            backend.empty_cache()
