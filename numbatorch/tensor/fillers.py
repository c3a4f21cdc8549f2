"""Methods of Tensor that fill it with random numbers, in place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, message
from numbatorch.graph import Node, find
from numbatorch.ops.numbers import fitting
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.surface import names_itself
from numbatorch.tensor import draws
from numbatorch.tensor.base import Handle, detached
from numbatorch.tensor.draws import Generator

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor


class FillMethods(Handle):
    """They take the next stream of the generator; see tensor/draws.py."""

    __slots__ = ()

    @names_itself
    def uniform_(
        self, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None
    ) -> Tensor:
        """Uniform in [from_, to).

        >>> x = nt.zeros(3).uniform_(2.0, 3.0)
        >>> (x >= 2) & (x < 3)
        tensor([True, True, True])
        """
        node = _floats("uniform_", self, complex_too=True)
        if not from_ <= to or not math.isfinite(to - from_):
            raise OutOfRange(message("uniform_", f"there is no range from {from_} to {to}"))
        drawn = draws.uniform(node.shape, node.dtype, node.device, generator)
        if (from_, to) == (0.0, 1.0) or node.dtype.is_complex:
            offset = complex(from_, from_) if node.dtype.is_complex and from_ else from_
            return _filled(self, "uniform_", drawn * (to - from_) + offset)
        wide = as_node(drawn, node.dtype.compute, node.device) * (to - from_) + from_
        below = _before(to, node.dtype) if to > from_ else to
        return _filled(self, "uniform_", find("minimum").apply(wide, below))

    @names_itself
    def normal_(
        self, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
    ) -> Tensor:
        """From the normal distribution of a mean and a standard deviation.

        >>> nt.zeros(2).normal_(5.0, 0.0)
        tensor([5., 5.])
        """
        node = _floats("normal_", self, complex_too=True)
        if not std >= 0:
            raise OutOfRange(message("normal_", f"the standard deviation {std} is negative"))
        return _filled(self, "normal_", _normal(node, generator) * std + mean)

    @names_itself
    def log_normal_(
        self, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
    ) -> Tensor:
        """exp of numbers from the normal distribution of a mean and a standard deviation.

        >>> nt.zeros(3).log_normal_() >= 0
        tensor([True, True, True])
        """
        node = _floats("log_normal_", self)
        if not std > 0:
            raise OutOfRange(message("log_normal_", f"the standard deviation {std} is not above 0"))
        drawn = _normal(node, generator) * std + mean
        return _filled(self, "log_normal_", find("exp").apply(drawn))

    @names_itself
    def exponential_(self, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
        """From the exponential distribution of rate `lambd`, none of them 0: the mean is 1 / lambd.

        >>> nt.zeros(3).exponential_() > 0
        tensor([True, True, True])
        """
        node = _floats("exponential_", self)
        if not lambd > 0:
            raise OutOfRange(message("exponential_", f"the rate {lambd} is not above 0"))
        drawn = draws.exponential(node.shape, node.dtype.compute, node.device, generator)
        return _filled(self, "exponential_", drawn / lambd)

    @names_itself
    def cauchy_(
        self, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
    ) -> Tensor:
        """From the Cauchy distribution: median + sigma * tan(pi * (u - 1 / 2)), u uniform.

        >>> nt.zeros(3).cauchy_().isfinite()
        tensor([True, True, True])
        """
        node = _floats("cauchy_", self)
        if not sigma > 0:
            raise OutOfRange(message("cauchy_", f"sigma {sigma} is not above 0"))
        drawn = draws.uniform(node.shape, node.dtype.compute, node.device, generator)
        turned = find("tan").apply((drawn - 0.5) * math.pi)
        return _filled(self, "cauchy_", turned * sigma + median)

    @names_itself
    def geometric_(self, p: float, *, generator: Generator | None = None) -> Tensor:
        """How many tries it takes to succeed, each with probability p: 1 at least.

        >>> nt.zeros(3).geometric_(0.5) >= 1
        tensor([True, True, True])
        """
        node = self._noted()
        if not 0 < p < 1:
            raise OutOfRange(message("geometric_", f"p {p} is not in (0, 1)"))
        narrow = node.dtype.compute is dt.float32 or not node.device.has_float64
        wide = dt.float32 if narrow else dt.float64
        waiting = draws.exponential(node.shape, wide, node.device, generator)
        tries = find("ceil").apply(waiting / -math.log1p(-p))
        return _filled(self, "geometric_", find("maximum").apply(tries, 1.0))

    @names_itself
    def bernoulli_(self, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
        """1 with a probability, a number or a tensor that broadcasts, and 0 otherwise.

        >>> nt.zeros(3).bernoulli_(1.0)
        tensor([1., 1., 1.])
        """
        node = self._noted()
        if isinstance(p, Handle):
            chance: Any = expanded(detached(p._noted()), node.shape)
            kind = chance.dtype.compute
            if chance.dtype.kind != "f":
                raise DTypeError(message("bernoulli_", f"p is of floats, not {describe(chance)}"))
            chance = as_node(chance, kind, node.device)
            chance = find("within").apply(chance, low=0.0, high=1.0, name="p")
        else:
            if not isinstance(p, int | float | np.number):
                raise TypeError(message("bernoulli_", f"p is {p!r}, not a number or a tensor"))
            if not 0 <= p <= 1:
                raise OutOfRange(message("bernoulli_", f"p {p} is not in [0, 1]"))
            chance, kind = p, dt.float64 if node.dtype is dt.float64 else dt.float32
        drawn = draws.uniform(node.shape, kind, node.device, generator)
        return _filled(self, "bernoulli_", find("lt").apply(drawn, chance))

    @names_itself
    def random_(
        self, from_: int | None = None, to: int | None = None, *, generator: Any = None
    ) -> Tensor:
        """Integers in [from_, to), or in [0, from_) if it is the only number.

        Without any: all from 0 on that the dtype holds, or that a float type holds exactly.

        >>> nt.zeros(2).random_(3, 4)
        tensor([3., 3.])
        """
        node = self._noted()
        first, end = from_ or 0, to
        if end is None:
            first, end = 0, _count(node.dtype) if from_ is None else from_
        if not first < end:
            raise OutOfRange(message("random_", f"no integers in [{first}, {end})"))
        for number in (first, end - 1):
            fitting("random_", number, node.dtype)
        drawn = draws.integers(node.shape, first, end, node.device, generator)
        return _filled(self, "random_", drawn)


def _floats(operator: str, handle: Handle, complex_too: bool = False) -> Node:
    """The node of a tensor of floats."""
    node = handle._noted()
    if node.dtype.kind != "f" and not (complex_too and node.dtype.is_complex):
        raise DTypeError(message(operator, f"needs floats, not {describe(node)}"))
    return node


def _normal(node: Node, generator: Generator | None) -> Node:
    """Standard normal numbers for a tensor, in the dtype that its arithmetic is done in."""
    kind = node.dtype if node.dtype.is_complex else node.dtype.compute
    return draws.normal(node.shape, kind, node.device, generator)


def _count(dtype: DType) -> int:
    """How many integers from 0 on a dtype holds, of which 63 bits are drawn at most."""
    if dtype.name in draws.DIGITS:
        return int(2 ** draws.DIGITS[dtype.name]) + 1
    if dtype is dt.bool_:
        return 2
    if dtype.kind not in "iu":
        raise DTypeError(message("random_", f"{dtype.name} holds no integers"))
    return min(int(np.iinfo(dtype.numpy).max) + 1, 2**63)


def _before(number: float, dtype: DType) -> float:
    """The largest number of a float dtype below another."""
    below = np.nextafter(np.asarray(number).astype(dtype.numpy), np.asarray(-np.inf, dtype.numpy))
    return float(below)


def _filled(handle: Handle, operator: str, values: Node) -> Tensor:
    """Have a tensor hold values, in its own dtype."""
    handle._take_here()
    handle._update(operator, as_node(values, handle.node.dtype, handle.node.device))
    return handle  # type: ignore[return-value]
