"""Random tensors: the same seed gives the same bits on every device and number of threads.

Only normal numbers in float64 may differ in their last places between devices.
"""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

from numbatorch import dtype as dt
from numbatorch.device import device as as_device
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.numbers import fitting
from numbatorch.ops.operands import as_node, common_device, result_type
from numbatorch.ops.surface import names_itself
from numbatorch.shape import Shape, broadcast, sizes_of
from numbatorch.tensor import draws
from numbatorch.tensor.base import detached, host_array, host_node, is_tracing
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.creation import Where, finished
from numbatorch.tensor.draws import Generator, default_generator

COMPILED = 2**15  # numbers that are worth a kernel


def manual_seed(seed: int) -> Generator:
    """Seed the generator from which every random tensor comes unless told otherwise.

    >>> first = rand(2, generator=manual_seed(7))
    >>> bool((rand(2, generator=manual_seed(7)) == first).all())
    True
    """
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed that generator with a number that nobody can tell, which is returned.

    >>> seed() == initial_seed()
    True
    """
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of that generator.

    >>> generator = manual_seed(3)
    >>> initial_seed()
    3
    """
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """What that generator goes on from.

    >>> state = get_rng_state()
    >>> x = rand(2)
    >>> set_rng_state(state)
    >>> bool((rand(2) == x).all())
    True
    """
    return default_generator.get_state()


@names_itself
def set_rng_state(new_state: Tensor) -> None:
    """Have that generator go on from what `get_rng_state` gave.

    >>> state = get_rng_state()
    >>> x = randn(3)
    >>> set_rng_state(state)
    >>> bool((randn(3) == x).all())
    True
    """
    default_generator.set_state(new_state)


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
    """Uniform in [0, 1): multiples of 2**-24 in float32.

    >>> x = rand(2, 3)
    >>> x.shape, bool(((x >= 0) & (x < 1)).all())
    ((2, 3), True)
    """
    shape, kind = _size("rand", size), dt.named("rand", dtype or dt.default_dtype())
    return finished(draws.uniform(shape, kind, as_device(device), generator), requires_grad)


def randn(
    *size: Any,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """From the standard normal distribution; complex numbers have variance 1.

    >>> randn(2, 3).shape
    (2, 3)
    """
    shape, kind = _size("randn", size), dt.named("randn", dtype or dt.default_dtype())
    return finished(draws.normal(shape, kind, as_device(device), generator), requires_grad)


@names_itself
def rand_like(
    input: Tensor,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """`rand` in the shape, dtype and device of `input` unless given.

    >>> rand_like(nt.zeros(2, dtype=nt.float64)).dtype
    numbatorch.float64
    """
    kind, where = _like(input, dtype, device)
    return rand(
        input.shape, dtype=kind, device=where, requires_grad=requires_grad, generator=generator
    )


@names_itself
def randn_like(
    input: Tensor,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """`randn` in the shape, dtype and device of `input` unless given.

    >>> randn_like(nt.zeros(2, dtype=nt.float64)).dtype
    numbatorch.float64
    """
    kind, where = _like(input, dtype, device)
    return randn(
        input.shape, dtype=kind, device=where, requires_grad=requires_grad, generator=generator
    )


def _like(input: Tensor, dtype: dt.Like | None, device: Where) -> tuple[dt.Like, Where]:
    return dtype or input.dtype, input.device if device is None else device


@names_itself
def randint(
    low: SupportsIndex,
    high: Any = None,
    size: Any = (),
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Integers in [low, high), or in [0, low) if `high` is absent; int64 unless given.

    Each is made of 64 random bits, and so uneven by at most range / 2**64.

    Raises:
        OutOfRange: there are no integers in [low, high).

    >>> randint(3, 4, (2,))
    tensor([3, 3])
    """
    if isinstance(high, tuple | list):  # randint(high, size)
        high, size = None, high
    end = _whole("randint", "low", low)
    first, last = (0, end) if high is None else (end, _whole("randint", "high", high))
    if not -(2**63) <= first < last <= 2**63:
        raise OutOfRange(message("randint", f"no integers in [{first}, {last})"))
    target = dt.named("randint", dtype or dt.int64)
    for number in (first, last - 1):
        fitting("randint", number, target)
    where = as_device(device)
    drawn = draws.integers(_size("randint", (size,)), first, last, where, generator)
    return finished(as_node(drawn, target, where), requires_grad)


def _whole(function: str, name: str, value: Any) -> int:
    """An int, a number of NumPy or a tensor of one integer, as an int."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(message(function, f"{name} is {value!r}, not an integer")) from None


@names_itself
def randint_like(
    input: Tensor,
    low: int,
    high: int | None = None,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """`randint` in the shape, dtype and device of `input` unless given.

    >>> randint_like(tensor([1.0, 2.0]), 3, 4)
    tensor([3., 3.])
    """
    kind, where = _like(input, dtype, device)
    options: dict[str, Any] = {"dtype": kind, "device": where, "requires_grad": requires_grad}
    return randint(low, high, input.shape, generator=generator, **options)


@names_itself
def randperm(
    n: int,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    generator: Generator | None = None,
) -> Tensor:
    """The integers below n in random order; found on the host but in compiled functions.

    Raises:
        ShapeError: n is negative.

    >>> randperm(4).sort().values
    tensor([0, 1, 2, 3])
    """
    if n < 0:
        raise ShapeError(message("randperm", f"there are no {n} integers"))
    target = dt.named("randperm", dtype or dt.int64)
    fitting("randperm", max(n - 1, 0), target)
    where = as_device(device)
    if is_tracing():  # each replay has an order of its own
        return Tensor(as_node(draws.permutation(n, where, generator), target, where))
    if n > COMPILED:
        return Tensor(draws.permutation(n, as_device("cpu"), generator)).to(where, target)
    order = host_array(draws.permutation(n, as_device("numpy"), generator))
    return Tensor(host_node(order.astype(target.numpy), target, where))


@names_itself
def normal(
    mean: Tensor | float,
    std: Tensor | float = 1.0,
    size: Any = None,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """From normal distributions; no gradient flows to what they are given by.

    Args:
        mean, std: numbers, or tensors that broadcast, one distribution each.
        size: shape of the result where both are numbers.
        dtype, device, requires_grad: as of `randn`; where one is a tensor as of that.
    Raises:
        OutOfRange: a standard deviation is negative.

    >>> normal(tensor([0.0, 10.0]), 0.0)
    tensor([ 0., 10.])
    >>> normal(0.0, 1.0, (2, 3)).shape
    (2, 3)
    """
    given = [x for x in (mean, std) if isinstance(x, Tensor)]
    if isinstance(std, Tensor) and not is_tracing():
        least = float(host_array(std.detach().node).min()) if std.numel() else 0.0
    else:
        least = 0.0 if isinstance(std, Tensor) else std
    if least < 0:
        raise OutOfRange(message("normal", f"the standard deviation {least} is negative"))
    if not given:
        if size is None:
            raise TypeError(message("normal", "needs a size beside two numbers"))
        shape, kind = _size("normal", size), dt.named("normal", dtype or dt.default_dtype())
        drawn = draws.normal(shape, kind, as_device(device), generator) * std + mean
        return finished(drawn, requires_grad)
    if size is not None or dtype is not None or device is not None:
        raise TypeError(message("normal", "takes no size, dtype or device beside a tensor"))
    nodes = [detached(x.node) if isinstance(x, Tensor) else x for x in (mean, std)]
    found = [x for x in nodes if isinstance(x, Node)]
    shape = broadcast("normal", *[x.shape for x in found])
    where, kind = common_device("normal", found), result_type(found)
    return Tensor(draws.normal(shape, kind, where, generator) * nodes[1] + nodes[0])
