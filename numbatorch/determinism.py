"""Whether operators must give the same bits in every run. Plans for GPUs are chosen by it."""

from __future__ import annotations

from numbatorch.settings import note_question


class State:
    """The mode, which is one for all threads."""

    deterministic = False


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Have operators give the same bits in every run, in all threads, where they would not.

    On GPUs index_add and scatter_add, and so the gradients of indexing, add in whatever order
    their threads come, unless `mode` is True. The CPU always adds in one order. Every operator
    has a deterministic form, so `warn_only`, which PyTorch has, changes nothing.

    >>> use_deterministic_algorithms(True)
    >>> are_deterministic_algorithms_enabled()
    True
    >>> use_deterministic_algorithms(False)
    """
    State.deterministic = bool(mode)


def are_deterministic_algorithms_enabled() -> bool:
    """The mode that `use_deterministic_algorithms` set; False at first, as in PyTorch.

    >>> are_deterministic_algorithms_enabled()
    False
    """
    note_question()
    return State.deterministic
