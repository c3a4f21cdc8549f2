"""Random tensors. Each call takes the next stream of the generator; a stream is a key of Threefry.

The same seed gives the same bits on every device and for every number of threads; only normal
numbers in float64 may differ in their last places between devices.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.device import Device
from numbatorch.device import device as as_device
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.locks import Lock
from numbatorch.ops import create
from numbatorch.ops.numbers import fitting
from numbatorch.ops.operands import as_node
from numbatorch.shape import Shape, sizes_of
from numbatorch.tensor.base import Array, host_array, host_node, is_tracing
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.creation import Where, finished

_WORD = 0xFFFFFFFF


class Generator:
    """A seed, and the number of streams taken from it so far."""

    def __init__(self, seed: int | None = None) -> None:
        self._lock = Lock()
        if seed is None:
            self.seed()
        else:
            self.manual_seed(seed)

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


def _uniform(shape: Shape, dtype: DType, where: Device, generator: Generator | None) -> Node:
    if dtype is dt.float64:
        words = _drawn("random_bits", shape, where, generator)
        return as_node(find("bitwise_right_shift").apply(words, 11), dt.float64, where) * 2.0**-53
    digits = {"float32": 24, "float16": 11, "bfloat16": 8}
    if dtype.name not in digits:
        raise DTypeError(message("rand", f"needs float16 or wider, not {dtype.name}"))
    bits = digits[dtype.name]
    attrs = {"shift": 32 - bits, "scale": 2.0**-bits}  # so that half types do not round up to 1
    drawn = _drawn("random_uniform", shape, where, generator, **attrs)
    return as_node(drawn, dtype, where)


def _normal(shape: Shape, dtype: DType, where: Device, generator: Generator | None) -> Node:
    if dtype.kind != "f":
        raise DTypeError(message("randn", f"needs a floating-point dtype, not {dtype.name}"))
    if dtype is not dt.float64:
        return as_node(_drawn("random_normal", shape, where, generator), dtype, where)
    uniform, turn = (_uniform(shape, dtype, where, generator) for _ in range(2))
    radius = find("sqrt").apply(find("log").apply(1.0 - uniform) * -2.0)
    return radius * find("cos").apply(turn * (2 * math.pi))


def _size(operator: str, size: Any) -> Shape:
    shape = sizes_of(operator, size)
    if any(n < 0 for n in shape):
        raise ShapeError(message(operator, f"{shape} is not a shape"))
    return shape


def rand(
    *size: Any,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform in [0, 1): multiples of 2**-24 in float32."""
    shape = _size("rand", size)
    node = _uniform(shape, dt.named("rand", dtype or dt.float32), as_device(device), generator)
    return finished(node, requires_grad)


def randn(
    *size: Any,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """From the standard normal distribution."""
    shape = _size("randn", size)
    node = _normal(shape, dt.named("randn", dtype or dt.float32), as_device(device), generator)
    return finished(node, requires_grad)


def rand_like(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """`rand` in the shape, dtype and device of `input`."""
    return rand(input.shape, dtype=input.dtype, device=input.device, generator=generator)


def randn_like(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """`randn` in the shape, dtype and device of `input`."""
    return randn(input.shape, dtype=input.dtype, device=input.device, generator=generator)


def randint(
    low: int,
    high: Any = None,
    size: Any = (),
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    generator: Generator | None = None,
) -> Tensor:
    """Integers in [low, high), or in [0, low) if `high` is absent; int64 unless given.

    64 random bits modulo the range, so uneven by at most range / 2**64.
    """
    if isinstance(high, tuple | list):  # randint(high, size)
        high, size = None, high
    first, last = (0, low) if high is None else (low, high)
    if not -(2**63) <= first < last <= 2**63:
        raise OutOfRange(message("randint", f"no integers in [{first}, {last})"))
    target = dt.named("randint", dtype or dt.int64)
    for number in (first, last - 1):
        fitting("randint", number, target)
    where = as_device(device)
    bits = _drawn("random_bits", _size("randint", (size,)), where, generator)
    span = as_node(last - first, dt.uint64, where)
    drawn = as_node(find("remainder").apply(bits, span), dt.int64, where)
    return Tensor(as_node(drawn + first, target, where))


def randperm(
    n: int,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    generator: Generator | None = None,
) -> Tensor:
    """The integers below n in random order; found on the host but in compiled functions."""
    target = dt.named("randperm", dtype or dt.int64)
    fitting("randperm", max(n - 1, 0), target)
    where = as_device(device)
    if is_tracing():  # each replay has an order of its own
        drawn = _drawn("random_bits", (n,), where, generator)
        return Tensor(drawn).argsort(stable=True).to(target)
    bits = host_array(_drawn("random_bits", (n,), as_device("numpy"), generator))
    order = np.argsort(bits, kind="stable")
    return Tensor(host_node(order.astype(target.numpy), target, where))
