"""A team that shares every launch, for comparing the bits of different numbers of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

from numbatorch.backends.base import install
from numbatorch.backends.cpu import threads
from numbatorch.backends.cpu.backend import CPUBackend
from numbatorch.device import device


@contextmanager
def divided(parts: int) -> Iterator[None]:
    """Divide what runs on the CPU into so many shares, however small it is.

    Plans that were made before stay as they are.
    """
    sharing = CPUBackend()
    sharing.serial_work = 0.0
    size, before = threads.num_threads(), install(device("cpu"), sharing)
    try:
        threads.set_num_threads(parts)
        threads.team().share_always()
        yield
    finally:
        install(device("cpu"), before)
        threads.set_num_threads(size)
