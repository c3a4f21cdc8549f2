"""Distributions that take several random numbers for one: Poisson, binomial, gamma, beta.

Each element takes its numbers from the stream's counter and its own position, so the results are
the same for every number of threads. Attempt t of element i is number i + t * 2**40 of the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import create
from numbatorch.ops.demanded import within
from numbatorch.ops.host import scipy
from numbatorch.ops.operands import as_node, common_device, describe, expanded
from numbatorch.ops.random import threefry
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import detach
from numbatorch.shape import Shape, broadcast

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
ATTEMPT = 40  # bits of a counter that are the position
SMALL = 10.0  # mean below which numbers are counted up
MOST = 1000  # attempts, of which the first few are accepted


def uniforms(key: Array, index: Array, attempt: int) -> Array:
    """Number `attempt` of the elements at these positions, in the middle of 2**-53 of (0, 1)."""
    counter = index.astype(np.uint64) + (np.uint64(attempt) << np.uint64(ATTEMPT))
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    x0, x1 = threefry(np.uint64(key[0]), np.uint64(key[1]), counter & low, counter >> high)
    found: Array = ((x0 | (x1 << high)) >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54
    return found


def _log_factorial(k: Array) -> Array:
    found: Array = scipy("special").gammaln(k + 1.0)
    return found


def _each(rate: Array, take: Any) -> Array:
    """`take(index, rate)` of all elements in a row, in float64."""
    wide = np.asarray(rate, np.float64)
    flat = wide.reshape(-1)
    return take(np.arange(flat.size), flat).reshape(wide.shape)  # type: ignore[no-any-return]


def _counted(u: Array, rate: Array) -> Array:
    """The number of Poisson's distribution at which sums of probabilities pass u."""
    found, chance = np.zeros_like(u), np.exp(-rate)
    left = u.copy()
    going = left > chance
    while going.any():
        left = np.where(going, left - chance, left)
        found = np.where(going, found + 1, found)
        chance = np.where(going, chance * rate / np.maximum(found, 1), chance)
        going = going & (left > chance) & (found < MOST)
    return found


def _rejected(index: Array, key: Array, propose: Any) -> Array:
    """The values of `propose(which, u, v)`, (values, accepted), that are accepted first."""
    out = np.zeros(index.size)
    open_ = np.arange(index.size)
    for attempt in range(MOST):
        if not open_.size:
            break
        pair = (uniforms(key, index[open_], 2 * attempt + i) for i in range(2))
        values, accepted = propose(open_, *pair)
        out[open_[accepted]] = values[accepted]
        open_ = open_[~accepted]
    return out


@structured(
    differentiable=False,
    source="W. Hoermann, Insurance: Mathematics and Economics 12 (1993), 39-45: PTRS",
)
def poisson(rate: Array, key: Array) -> Array:
    """Counts of Poisson's distributions; NaN where a rate is negative or NaN.

    Args:
        rate: floats, the mean of each.
        key: two words of uint32.
    """
    return _each(rate, lambda index, flat: _poisson(index, flat, key))


def _poisson(index: Array, rate: Array, key: Array) -> Array:
    out = np.where(rate >= 0, 0.0, np.nan)
    few = (rate > 0) & (rate < SMALL)
    out[few] = _counted(uniforms(key, index[few], 0), rate[few])
    many = rate >= SMALL
    lam = rate[many]
    b = 0.931 + 2.53 * np.sqrt(lam)
    a = -0.059 + 0.02483 * b
    inverse, edge = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)

    def propose(which: Array, u: Array, v: Array) -> Any:
        lam_, a_, b_ = lam[which], a[which], b[which]
        half = u - 0.5
        us = 0.5 - np.abs(half)
        k = np.floor((2 * a_ / us + b_) * half + lam_ + 0.43)
        quick = (us >= 0.07) & (v <= edge[which])
        possible = (k >= 0) & ((us >= 0.013) | (v <= us))
        size = np.log(v * inverse[which] / (a_ / (us * us) + b_))
        whole = np.maximum(k, 0)
        return k, quick | (possible & (size <= whole * np.log(lam_) - lam_ - _log_factorial(whole)))

    out[many] = _rejected(index[many], key, propose)
    return out


@poisson.infer
def _(rate: Node, key: Node) -> tuple[Shape, DType]:
    return rate.shape, rate.dtype


@poisson.samples
def _(rng: Draw) -> Any:
    rate = np.abs(rng.standard_normal(rng.dims((0, 0), (4, 9), most=40))) * rng.choice([2, 40])
    return [rate, rng.integers(0, 2**32, 2).astype(np.uint32)], {}


@structured(
    differentiable=False,
    source="G. Marsaglia and W. W. Tsang, ACM Trans. Math. Softw. 26 (2000), 363-372",
)
def standard_gamma(alpha: Array, key: Array) -> Array:
    """From gamma distributions of these shapes and scale 1; NaN where a shape is not above 0."""
    return _each(alpha, lambda index, flat: _gamma(index, flat, key))


def _gamma(index: Array, alpha: Array, key: Array) -> Array:
    d = np.where(alpha < 1, alpha + 1, alpha) - 1 / 3
    c = 1 / np.sqrt(9 * d)
    out, open_ = np.zeros_like(alpha), np.flatnonzero(alpha > 0)
    out[~(alpha > 0)] = np.nan
    for attempt in range(MOST):
        if not open_.size:
            break
        u, turn, size = (uniforms(key, index[open_], 3 * attempt + 1 + i) for i in range(3))
        normal = np.sqrt(-2 * np.log(size)) * np.cos(2 * np.pi * turn)
        root = 1 + c[open_] * normal
        v = np.where(root > 0, root, 1) ** 3
        scale = d[open_]
        accepted = np.log(u) < 0.5 * normal * normal + scale * (1 - v + np.log(v))
        accepted &= root > 0
        out[open_[accepted]] = (scale * v)[accepted]
        open_ = open_[~accepted]
    small = alpha < 1
    out[small] *= np.exp(np.log(uniforms(key, index[small], 0)) / np.maximum(alpha[small], 1e-300))
    return out


@standard_gamma.infer
def _(alpha: Node, key: Node) -> tuple[Shape, DType]:
    return alpha.shape, alpha.dtype


@standard_gamma.samples
def _(rng: Draw) -> Any:
    alpha = np.abs(rng.standard_normal(rng.dims((0, 0), (4, 9), most=40))) * 3 + 0.25
    return [alpha, rng.integers(0, 2**32, 2).astype(np.uint32)], {}


@structured(
    differentiable=False,
    source="W. Hoermann, J. Stat. Comput. Simul. 46 (1993), 101-110: BTRS",
)
def binomial(count: Array, prob: Array, key: Array) -> Array:
    """How many of `count` tries succeed, each with probability `prob`; NaN outside of [0, 1].

    Args:
        count: whole numbers in floats, not negative.
    """
    wide = np.asarray(count, np.float64).reshape(-1)
    chance = np.asarray(prob, np.float64).reshape(-1)
    return _binomial(np.arange(wide.size), wide, chance, key).reshape(count.shape)


def _binomial(index: Array, count: Array, prob: Array, key: Array) -> Array:
    right = (count >= 0) & (prob >= 0) & (prob <= 1)
    p = np.where(right, np.minimum(prob, 1 - prob), 0.0)
    n = np.where(right, count, 0.0)
    out = np.zeros_like(n)
    few = (p > 0) & (n * p < SMALL)
    out[few] = _tries(uniforms(key, index[few], 0), n[few], p[few])
    many = n * p >= SMALL
    n_, p_ = n[many], p[many]
    spread = np.sqrt(n_ * p_ * (1 - p_))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p_
    edge, size = 0.92 - 4.2 / b, (2.83 + 5.1 / b) * spread
    mode = np.floor((n_ + 1) * p_)

    def propose(which: Array, u: Array, v: Array) -> Any:
        count_, chance, a_, b_, m = n_[which], p_[which], a[which], b[which], mode[which]
        half = u - 0.5
        us = 0.5 - np.abs(half)
        k = np.floor((2 * a_ / us + b_) * half + count_ * chance + 0.5)
        possible = (k >= 0) & (k <= count_)
        k = np.clip(k, 0, count_)
        ratio = _log_factorial(m) + _log_factorial(count_ - m)
        ratio = ratio - _log_factorial(k) - _log_factorial(count_ - k)
        ratio = ratio + (k - m) * np.log(chance / (1 - chance))
        slow = np.log(v * size[which] / (a_ / (us * us) + b_)) <= ratio
        return k, possible & (((us >= 0.07) & (v <= edge[which])) | slow)

    out[many] = _rejected(index[many], key, propose)
    out = np.where(prob > 0.5, n - out, out)
    return np.where(right, out, np.nan)


def _tries(u: Array, n: Array, p: Array) -> Array:
    """The number of successes at which sums of probabilities pass u."""
    found, chance = np.zeros_like(n), np.exp(n * np.log1p(-p))
    left = u.copy()
    going = (left > chance) & (found < n)
    while going.any():
        left = np.where(going, left - chance, left)
        found = np.where(going, found + 1, found)
        next_ = chance * (n - found + 1) * p / (np.maximum(found, 1) * (1 - p))
        chance = np.where(going, next_, chance)
        going = going & (left > chance) & (found < np.minimum(n, MOST))
    return found


@binomial.infer
def _(count: Node, prob: Node, key: Node) -> tuple[Shape, DType]:
    if count.shape != prob.shape or count.dtype is not prob.dtype:
        rows = (f"count {describe(count)}", f"prob {describe(prob)}")
        raise ShapeError(message("binomial", "needs one shape and dtype", *rows))
    return count.shape, count.dtype


@binomial.samples
def _(rng: Draw) -> Any:
    shape = rng.dims((0, 0), (4, 9), most=40)
    count = np.rint(rng.uniform(0, rng.choice([9, 200]), shape))
    return [count, rng.random(shape), rng.integers(0, 2**32, 2).astype(np.uint32)], {}


def _float(operator: str, **given: Node) -> None:
    for name, node in given.items():
        if node.dtype.kind != "f":
            raise DTypeError(message(operator, f"{name} is of floats, not {describe(node)}"))


def _drawn(operator: str, *operands: Node, generator: Any) -> Node:
    """A distribution's record on operands through which no gradient flows."""
    given = [detach.apply(node) for node in operands]
    return find(operator).apply(*given, create.next_key(given[0].device, generator))


def _together(operator: str, *operands: Node) -> list[Node]:
    """Operands broadcast, in the dtype in which they meet."""
    common_device(operator, operands)
    shape = broadcast(operator, *[node.shape for node in operands])
    kind = operands[0].dtype
    for node in operands[1:]:
        kind = dt.promote(kind, node.dtype)
    return [expanded(as_node(node, kind, node.device), shape) for node in operands]


@public()
def bernoulli(input: Node, p: float | None = None, *, generator: Any = None) -> Node:
    """1 with the probability that each element is, or with probability p, and 0 otherwise.

    Raises:
        OutOfRange: a probability is not in [0, 1]; of a tensor when the result is realized.

    >>> bernoulli(tensor([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    if p is None:
        _float("bernoulli", input=input)
    elif not 0 <= p <= 1:
        raise OutOfRange(message("bernoulli", f"p {p} is not in [0, 1]"))
    wide = p is None and input.dtype is dt.float64
    key = create.next_key(input.device, generator)
    if wide:
        bits = create.drawn("random_bits", input.shape, key)
        shifted = find("bitwise_right_shift").apply(bits, 11)
        drawn = as_node(shifted, dt.float64, input.device) * 2.0**-53
    else:
        drawn = create.drawn("random_uniform", input.shape, key)
    chance: Any = p
    if p is None:
        chance = as_node(detach.apply(input), dt.float64 if wide else dt.float32, input.device)
        chance = within.apply(chance, low=0.0, high=1.0, name="input")
    return as_node(find("lt").apply(drawn, chance), input.dtype, input.device)


@public("nt")
def poisson_(input: Node, generator: Any = None) -> Node:
    """Counts of Poisson's distributions of these means.

    Raises:
        OutOfRange: a mean is negative or NaN; when the result is realized.

    >>> nt.poisson(tensor([0.0, 0.0])).tolist()
    [0.0, 0.0]
    """
    _float("poisson", input=input)
    wide = as_node(detach.apply(input), input.dtype.compute, input.device)
    means = within.apply(wide, low=0.0, high=np.inf, name="input")
    return _drawn("poisson", as_node(means, input.dtype, input.device), generator=generator)


@public("nt")
def binomial_(count: Node, prob: Node, generator: Any = None) -> Node:
    """How many of `count` tries succeed, each with probability `prob`; NaN where that is none.

    >>> nt.binomial(tensor([3.0, 5.0]), tensor([1.0, 0.0])).tolist()
    [3.0, 0.0]
    """
    _float("binomial", count=count, prob=prob)
    return _drawn("binomial", *_together("binomial", count, prob), generator=generator)


@public("nt")
def gamma(concentration: Node, rate: Node | float = 1.0, *, generator: Any = None) -> Node:
    """From gamma distributions of mean concentration / rate, as torch.distributions.Gamma.

    A gradient flows to `rate` only. NaN where the concentration is not above 0.

    >>> bool((gamma(nt.ones(3), 2.0) > 0).all())
    True
    """
    _float("gamma", concentration=concentration)
    if not isinstance(rate, Node):
        return _drawn("standard_gamma", concentration, generator=generator) / rate
    shape, scale = _together("gamma", concentration, rate)
    return _drawn("standard_gamma", shape, generator=generator) / scale


@public("nt")
def beta(concentration1: Node, concentration0: Node, *, generator: Any = None) -> Node:
    """From beta distributions in [0, 1]: x / (x + y) of two of gamma distributions of these shapes.

    >>> draw = beta(nt.ones(3), nt.ones(3))
    >>> bool(((draw >= 0) & (draw <= 1)).all())
    True
    """
    _float("beta", concentration1=concentration1, concentration0=concentration0)
    pair = _together("beta", concentration1, concentration0)
    kind = pair[0].dtype
    pair = [as_node(node, kind.compute, node.device) for node in pair]
    x, y = (_drawn("standard_gamma", node, generator=generator) for node in pair)
    total = x + y
    # Two shapes far below 1 may give two zeros: then one of the ends, each as likely as its shape.
    chance = find("lt").apply(
        create.drawn("random_uniform", x.shape, create.next_key(x.device, generator)),
        detach.apply(pair[0] / (pair[0] + pair[1])),
    )
    ends = as_node(chance, kind.compute, x.device)
    found = find("where").apply(find("eq").apply(total, 0.0), ends, x / total)
    return as_node(found, kind, x.device)
