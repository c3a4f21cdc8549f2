"""First values of layers: uniform in +-1/sqrt(fan_in) as in PyTorch, or nothing drawn at all."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

from numbatorch.dtype import DType
from numbatorch.nn.module import Parameter
from numbatorch.tensor import no_grad, zeros
from numbatorch.tensor.creation import Where
from numbatorch.tensor.random import rand, randn


class Placed(TypedDict):
    """The dtype and device of new parameters."""

    dtype: DType | None
    device: Where


class _State(threading.local):
    draws = True


_state = _State()


@contextmanager
def skip_init() -> Iterator[None]:
    """Within the block new layers of this thread hold zeros where they would draw numbers.

    For models whose values are loaded next: nothing is drawn that would be thrown away.
    """
    before = _state.draws
    _state.draws = False
    try:
        yield
    finally:
        _state.draws = before


def draws() -> bool:
    """Whether new layers of this thread draw their first values."""
    return _state.draws


def uniform(bound: float, *shape: int, dtype: DType | None, device: Where) -> Parameter:
    """A parameter drawn uniformly from [-bound, bound)."""
    if not _state.draws:
        return Parameter(zeros(*shape, dtype=dtype, device=device))
    return Parameter((rand(*shape, dtype=dtype, device=device) * 2 - 1) * bound)


def redraw(parameter: Parameter | None, bound: float) -> None:
    """Draw a parameter anew, if there is one, uniformly from [-bound, bound)."""
    if parameter is not None:
        where: Placed = {"dtype": parameter.dtype, "device": parameter.device}
        with no_grad():
            parameter.copy_(uniform(bound, *parameter.shape, **where))


def normal(*shape: int, dtype: DType | None, device: Where) -> Parameter:
    """A parameter drawn from the standard normal distribution."""
    fill = randn if _state.draws else zeros
    return Parameter(fill(*shape, dtype=dtype, device=device))


def bound_of(fan_in: int) -> float:
    """1 / sqrt(fan_in), 0 of none."""
    return 1 / math.sqrt(fan_in) if fan_in else 0.0
