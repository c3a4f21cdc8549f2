"""Generators of random numbers, and nodes of what is drawn from them.

Each call takes the next stream of the generator; a stream is a key of Threefry.

The same seed gives the same bits on every device and for every number of threads; only normal
numbers in float64 may differ in their last places between devices.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.device import Device
from numbatorch.device import device as as_device
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node, find
from numbatorch.locks import Lock
from numbatorch.ops import create
from numbatorch.ops.operands import as_node
from numbatorch.shape import Shape
from numbatorch.tensor.base import Array, Handle, host_array, host_node

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor

_WORD = 0xFFFFFFFF


class Generator:
    """A seed, and the number of streams taken from it so far.

    Attributes:
        device: what it was made for; its numbers are the same on every device, and serve all.
    """

    def __init__(self, seed: int | None = None, *, device: Device | str = "cpu") -> None:
        self.device = as_device(device)
        self._lock = Lock()
        if seed is None:
            self.seed()
        else:
            self.manual_seed(seed)

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed}, streams={self._streams}, device={self.device})"

    def seed(self) -> int:
        """Start again with a seed that nobody can tell, which is returned."""
        if _recorded.draws is not None:
            _recorded.draws.append(Draw(self, None, None))
        return self._start(int.from_bytes(os.urandom(8), "little")).initial_seed()

    def manual_seed(self, seed: int) -> Generator:
        """Start again with `seed`, an integer taken modulo 2**64."""
        if not isinstance(seed, SupportsIndex):
            raise TypeError(message("manual_seed", f"the seed is {seed!r}, not an integer"))
        if _recorded.draws is not None:
            _recorded.draws.append(Draw(self, None, seed.__index__()))
        return self._start(seed.__index__())

    def _start(self, seed: int) -> Generator:
        with self._lock:
            self._seed = seed % 2**64
            self._streams = 0
        return self

    def initial_seed(self) -> int:
        """The seed."""
        return self._seed

    def get_state(self) -> Tensor:
        """What it goes on from: uint64 of the seed and of the streams taken."""
        state = np.array(self._taken("get_state"), np.uint64)
        return Handle._tensor(host_node(state, dt.uint64, Device("cpu")))

    def clone_state(self) -> Generator:
        """Another generator, which goes on from the same state on the same device."""
        return _restored(*self._taken("clone_state"), str(self.device))

    def __reduce__(self) -> Any:
        return _restored, (*self._taken("copy"), str(self.device))

    def _taken(self, operator: str) -> tuple[int, int]:
        """The seed, and how many streams were taken."""
        if _recorded.draws is not None:
            problem = "a compiled function reads a generator's state"
            raise RuntimeError(message(operator, problem))
        with self._lock:
            return self._seed, self._streams

    def set_state(self, new_state: Tensor) -> None:
        """Go on from what `get_state` gave."""
        state = host_array(new_state.node)
        if state.shape != (2,) or state.dtype != np.uint64:
            raise ValueError(message("set_state", "the state is two uint64, as get_state gives"))
        if _recorded.draws is not None:
            raise RuntimeError(message("set_state", "a compiled function sets a generator's state"))
        with self._lock:
            self._seed, self._streams = int(state[0]), int(state[1])

    def take_back(self) -> None:
        """Have the last stream come once more."""
        with self._lock:
            self._streams -= 1

    def key(self) -> Array:
        """The key of the next stream: two words of 32 bits."""
        import_module("numbatorch.ops.random")
        from numbatorch.ops.random import threefry  # with the scalar language, which import spares

        with self._lock:
            stream, self._streams = self._streams, self._streams + 1
            seed = self._seed
        words = threefry(seed & _WORD, seed >> 32, stream & _WORD, stream >> 32)
        return np.array(words, np.uint32)


def _restored(seed: int, streams: int, where: str) -> Generator:
    """A generator out of a pickle."""
    found = Generator(seed, device=where)
    found._streams = streams
    return found


class Draw(NamedTuple):
    """What a traced function took from a generator: the key of a stream, or a new start.

    Attributes:
        key: node of two uint32, or None where the generator was seeded.
        seed: that it was given, or None where nobody chose it.
    """

    generator: Generator
    key: Node | None
    seed: int | None

    def again(self) -> Array | None:
        """Do to the generator what was done in the trace; returns the key of the stream."""
        if self.key is not None:
            return self.generator.key()
        if self.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(self.seed)
        return None


def take_back(draws: Sequence[Draw]) -> None:
    """Have generators give the keys that were drawn last once more, up to a new start."""
    for draw in reversed(draws):
        if draw.key is None:
            return
        draw.generator.take_back()


class _Recorded(threading.local):
    draws: list[Draw] | None = None


_recorded = _Recorded()
default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the generator from which every random tensor comes unless told otherwise."""
    return default_generator.manual_seed(seed)


@contextmanager
def recorded_draws() -> Iterator[list[Draw]]:
    """Lists what is taken from generators within the block, for a plan to take it at each replay.

    Yields:
        each key that is drawn, and each new start, in order.
    """
    before, _recorded.draws = _recorded.draws, []
    try:
        yield _recorded.draws
    finally:
        _recorded.draws = before


@contextmanager
def unrecorded_draws() -> Iterator[None]:
    """What is taken from generators within the block is not listed."""
    before, _recorded.draws = _recorded.draws, None
    try:
        yield
    finally:
        _recorded.draws = before


def _key(where: Device, generator: Generator | None = None) -> Node:
    """The key of the next stream."""
    return create.key_through(lambda: _next_key(where, generator))


def _next_key(where: Device, generator: Generator | None) -> Node:
    source = default_generator if generator is None else generator
    if not isinstance(source, Generator):
        raise TypeError(message("generator", f"{generator!r} is not an nt.Generator"))
    key = host_node(source.key(), dt.uint32, where)
    if _recorded.draws is not None:
        _recorded.draws.append(Draw(source, key, None))
    return key


create.keys_come_from(_key)


def _drawn(op: str, shape: Shape, where: Device, generator: Generator | None, **attrs: Any) -> Node:
    return create.drawn(op, shape, _key(where, generator), **attrs)


DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}


def uniform(shape: Shape, dtype: DType, where: Device, generator: Generator | None = None) -> Node:
    """In [0, 1), multiples of 2**-digits; of complex numbers both parts."""
    if dtype.is_complex:
        parts = [uniform(shape, dtype.part, where, generator) for _ in range(2)]
        return find("complex").apply(*parts)
    if dtype.name not in DIGITS:
        raise DTypeError(message("rand", f"needs float16 or wider, not {dtype.name}"))
    if dtype is dt.float64:
        words = _drawn("random_bits", shape, where, generator)
        return as_node(find("bitwise_right_shift").apply(words, 11), dt.float64, where) * 2.0**-53
    bits = DIGITS[dtype.name]
    attrs = {"shift": 32 - bits, "scale": 2.0**-bits}  # so that half types do not round up to 1
    drawn = _drawn("random_uniform", shape, where, generator, **attrs)
    return as_node(drawn, dtype, where)


def normal(shape: Shape, dtype: DType, where: Device, generator: Generator | None = None) -> Node:
    """Standard normal numbers; the parts of complex ones have half the variance."""
    if dtype.is_complex:
        parts = [normal(shape, dtype.part, where, generator) * 0.5**0.5 for _ in range(2)]
        return find("complex").apply(*parts)
    if dtype.kind != "f":
        raise DTypeError(message("randn", f"needs a floating-point dtype, not {dtype.name}"))
    if dtype is not dt.float64:
        return as_node(_drawn("random_normal", shape, where, generator), dtype, where)
    first, turn = (uniform(shape, dtype, where, generator) for _ in range(2))
    radius = find("sqrt").apply(find("log").apply(1.0 - first) * -2.0)
    return radius * find("cos").apply(turn * (2 * math.pi))


def exponential(
    shape: Shape, dtype: DType, where: Device, generator: Generator | None = None
) -> Node:
    """From the exponential distribution of rate 1, none of them 0, in float32 or float64."""
    if dtype is dt.float64:
        u = uniform(shape, dtype, where, generator)
        return find("neg").apply(find("log").apply(u + 2.0**-54))
    return _drawn("random_exponential", shape, where, generator)


def integers(
    shape: Shape, first: int, end: int, where: Device, generator: Generator | None = None
) -> Node:
    """int64 in [first, end), of 64 random bits each, so uneven by range / 2**64.

    The bits are a number in [0, 1) that is multiplied by a range of 32 bits; of a wider one they
    are taken modulo that.
    """
    bits = _drawn("random_bits", shape, where, generator)
    if end - first == 2**64:
        return find("cast").apply(bits, dtype=dt.int64)
    span = as_node(end - first, dt.uint64, where)
    if end - first >= 2**32:
        return as_node(find("remainder").apply(bits, span), dt.int64, where) + first
    down, multiply = find("bitwise_right_shift").apply, find("mul").apply
    low = down(multiply(find("bitwise_and").apply(bits, _WORD), span), 32)
    return as_node(down(multiply(down(bits, 32), span) + low, 32), dt.int64, where) + first


def permutation(n: int, where: Device, generator: Generator | None = None) -> Node:
    """int64 below n in random order."""
    import_module("numbatorch.ops.permutation")
    from numbatorch.ops.permutation import permutation  # with sorting, which import spares

    return permutation(_drawn("random_bits", (n,), where, generator))
