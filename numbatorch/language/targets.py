"""The compiler that kernels are being lowered for: words ask it for what differs between devices.

Nothing here imports Numba. Each kind of device that Numba compiles for has its Target.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Protocol

from numbatorch.language.words import Intrinsic, Word


class Target(Protocol):
    """One compiler.

    Attributes:
        key: equal targets define words equally.
        converts_half: it has instructions between float16 and float32.
        constant_space: the address space of tables of constants.
    """

    @property
    def key(self) -> Hashable: ...

    @property
    def converts_half(self) -> bool: ...

    @property
    def constant_space(self) -> int: ...

    def definition(self, word: Intrinsic | Word) -> tuple[Callable[..., Any], bool]:
        """The word's `(typingctx, *types) -> (signature, codegen)`, and whether it takes literals.

        Raises:
            KernelError: the word has no meaning there.
        """

    def lower_called(self, function: FunctionType, args: tuple[Any, ...], inline: bool) -> Any:
        """Numba's compile result for a function that kernels call; made once."""


_active = threading.local()


def active() -> Target | None:
    """The target that this thread lowers a kernel for."""
    found: Target | None = getattr(_active, "target", None)
    return found


def current() -> Target:
    """As `active`, where there is one: in the definitions of words."""
    found = active()
    assert found is not None, "words are defined while a kernel is lowered"
    return found


@contextmanager
def lowering_for(target: Target) -> Iterator[None]:
    """Kernels lowered inside are for this target."""
    before = active()
    _active.target = target
    try:
        yield
    finally:
        _active.target = before
