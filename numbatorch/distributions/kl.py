"""kl_divergence, and where functions of pairs of families are registered. Layer 8."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from numbatorch.distributions.distribution import Distribution
from numbatorch.errors import message
from numbatorch.tensor import Tensor

Divergence = Callable[[Any, Any], Tensor]

_PAIRS: dict[tuple[type, type], Divergence] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Divergence], Divergence]:
    """Decorator: the divergence of distributions of two families, and of those derived of them.

    >>> from numbatorch.distributions import Normal, kl_divergence, register_kl
    >>> class Mine(Normal): ...
    >>> @register_kl(Mine, Mine)
    ... def _(p, q):
    ...     return p.loc - q.loc
    >>> kl_divergence(Mine(3.0, 1.0), Mine(1.0, 1.0))
    tensor(2.)
    """
    for kind in (type_p, type_q):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise TypeError(message("register_kl", f"{kind!r} is not a class of distributions"))

    def register(function: Divergence) -> Divergence:
        _PAIRS[type_p, type_q] = function
        return function

    return register


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The mean over p of log(p / q), in nats: batch_shape, broadcast.

    Of the functions registered for bases of the two families it is the nearest one's.

    Raises:
        NotImplementedError: there is none.

    >>> from numbatorch.distributions import Normal, kl_divergence
    >>> kl_divergence(Normal(0.0, 1.0), Normal(1.0, 1.0))
    tensor(0.5000)
    """
    return _found(type(p), type(q))(p, q)


def _found(type_p: type, type_q: type) -> Divergence:
    steps = {
        pair: (type_p.__mro__.index(pair[0]), type_q.__mro__.index(pair[1]))
        for pair in _PAIRS
        if issubclass(type_p, pair[0]) and issubclass(type_q, pair[1])
    }
    if not steps:
        problem = f"none is registered of {type_p.__name__} from {type_q.__name__}"
        raise NotImplementedError(message("kl_divergence", problem))
    by_p = min(steps, key=lambda pair: steps[pair])
    by_q = min(steps, key=lambda pair: steps[pair][::-1])
    if _PAIRS[by_p] is not _PAIRS[by_q]:
        names = [f"({a.__name__}, {b.__name__})" for a, b in (by_p, by_q)]
        told = f"{' and '.join(names)} are as near to ({type_p.__name__}, {type_q.__name__})"
        warnings.warn(message("kl_divergence", told), RuntimeWarning, stacklevel=3)
    return _PAIRS[by_p]
