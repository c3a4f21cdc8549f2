"""Bessel functions: those of the first kind that grow as kernels, the others on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbatorch import dtype as dt
from numbatorch.graph import Node
from numbatorch.ops import scalar_bessel as m
from numbatorch.ops.compare import eq, where
from numbatorch.ops.host import scipy
from numbatorch.ops.hosted import Hosted, hosted
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import EVERYWHERE, enter
from numbatorch.ops.unary import sign

Array = Any
SPECIAL = ("special",)


@elementwise(
    numpy=lambda x: scipy("special").i0(x),
    dtypes=dt.FLOATS,
    places=(*EVERYWHERE, "special"),
)
def i0(x: Scalar) -> Scalar:
    """The modified Bessel function of the first kind and order 0: sum of (x / 2)**(2 k) / k!**2.

    >>> i0(tensor([0.0, 1.0]))
    tensor([1.0000, 1.2661])
    """
    return m.i0(x)


@i0.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * i1.apply(x)


@elementwise(
    numpy=lambda x: scipy("special").i0e(x),
    dtypes=dt.FLOATS,
    places=SPECIAL,
    peer="torch.special.i0e",
)
def i0e(x: Scalar) -> Scalar:
    """e**-|x| * i0(x), where i0(x) alone would overflow too.

    >>> i0e(tensor([0.0, 1000.0]))
    tensor([1.0000, 0.0126])
    """
    return m.i0e(x)


@i0e.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (i1e.apply(x) - sign.apply(x) * y)


@elementwise(
    numpy=lambda x: scipy("special").i1(x),
    dtypes=dt.FLOATS,
    places=SPECIAL,
    peer="torch.special.i1",
)
def i1(x: Scalar) -> Scalar:
    """The modified Bessel function of the first kind and order 1: the derivative of `i0`.

    >>> i1(tensor([-1.0, 0.0, 1.0]))
    tensor([-0.5652,  0.0000,  0.5652])
    """
    return m.i1(x)


@i1.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (i0.apply(x) - _over(y, x))


@elementwise(
    numpy=lambda x: scipy("special").i1e(x),
    dtypes=dt.FLOATS,
    places=SPECIAL,
    peer="torch.special.i1e",
)
def i1e(x: Scalar) -> Scalar:
    """e**-|x| * i1(x), where i1(x) alone would overflow too.

    >>> i1e(tensor([-1000.0, 1.0]))
    tensor([-0.0126,  0.2079])
    """
    return m.i1e(x)


@i1e.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (i0e.apply(x) - _over(y, x) - sign.apply(x) * y)


def _over(y: Node, x: Node) -> Node:
    """y / x, where y is x / 2 near 0."""
    zero = eq.apply(x, 0.0)
    return where.apply(zero, 0.5, y / where.apply(zero, 1.0, x))


def _host(function: Callable[..., Array]) -> Hosted:
    positive = function.__name__.endswith(("y0", "y1", "k0", "k1"))
    domain = ((0.3, 6.0),) if positive else ((-6.0, 6.0),)
    name = f"torch.special.{function.__name__}"
    return hosted(domain=domain, places=SPECIAL, peer=name)(function)


@_host
def bessel_j0(x: Array) -> Array:
    """The Bessel function of the first kind and order 0; computed on the host by SciPy.

    >>> nt.special.bessel_j0(tensor([0.0, 1.0]))
    tensor([1.0000, 0.7652])
    """
    return scipy("special").j0(x)


@_host
def bessel_j1(x: Array) -> Array:
    """The Bessel function of the first kind and order 1; computed on the host by SciPy.

    >>> nt.special.bessel_j1(tensor([0.0, 1.0]))
    tensor([0.0000, 0.4401])
    """
    return scipy("special").j1(x)


@_host
def bessel_y0(x: Array) -> Array:
    """The Bessel function of the second kind and order 0; computed on the host by SciPy.

    >>> nt.special.bessel_y0(tensor([0.0, 1.0]))
    tensor([  -inf, 0.0883])
    """
    return scipy("special").y0(x)


@_host
def bessel_y1(x: Array) -> Array:
    """The Bessel function of the second kind and order 1; computed on the host by SciPy.

    >>> nt.special.bessel_y1(tensor([0.0, 1.0]))
    tensor([   -inf, -0.7812])
    """
    return scipy("special").y1(x)


@_host
def modified_bessel_k0(x: Array) -> Array:
    """The modified Bessel function of the second kind, order 0; on the host by SciPy.

    >>> nt.special.modified_bessel_k0(tensor([0.0, 1.0]))
    tensor([   inf, 0.4210])
    """
    return scipy("special").k0(x)


@_host
def modified_bessel_k1(x: Array) -> Array:
    """The modified Bessel function of the second kind, order 1; on the host by SciPy.

    >>> nt.special.modified_bessel_k1(tensor([0.0, 1.0]))
    tensor([   inf, 0.6019])
    """
    return scipy("special").k1(x)


@_host
def scaled_modified_bessel_k0(x: Array) -> Array:
    """e**x times `modified_bessel_k0`; computed on the host by SciPy.

    >>> nt.special.scaled_modified_bessel_k0(tensor([1.0, 1000.0]))
    tensor([1.1445, 0.0396])
    """
    return scipy("special").k0e(x)


@_host
def scaled_modified_bessel_k1(x: Array) -> Array:
    """e**x times `modified_bessel_k1`; computed on the host by SciPy.

    >>> nt.special.scaled_modified_bessel_k1(tensor([1.0, 1000.0]))
    tensor([1.6362, 0.0396])
    """
    return scipy("special").k1e(x)


@bessel_j0.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * bessel_j1.apply(x))


@bessel_j1.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (bessel_j0.apply(x) - _over(y, x))


@bessel_y0.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * bessel_y1.apply(x))


@bessel_y1.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (bessel_y0.apply(x) - y / x)


@modified_bessel_k0.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * modified_bessel_k1.apply(x))


@modified_bessel_k1.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * (modified_bessel_k0.apply(x) + y / x))


@scaled_modified_bessel_k0.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (y - scaled_modified_bessel_k1.apply(x))


@scaled_modified_bessel_k1.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (y - scaled_modified_bessel_k0.apply(x) - y / x)


enter(i0.public, "modified_bessel_i0", SPECIAL)
enter(i1.public, "modified_bessel_i1", SPECIAL)
