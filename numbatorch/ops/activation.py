"""Activations of neural networks, each one body: one launch, one rounding of half types."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.graph import Node
from numbatorch.ops import scalar_math as m
from numbatorch.ops.compare import gt, le, lt, where
from numbatorch.ops.parts import conjugated
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import EVERYWHERE
from numbatorch.ops.unary import abs_, erfc_reference, exp, in_float64, sigmoid, tanh

Array = Any
ACTIVATION = (*EVERYWHERE, "nn.functional")
TORCH = "https://pytorch.org/docs/stable/generated/torch.nn."
_INVERSE_SQRT_TAU = 1 / math.sqrt(2 * math.pi)
_SQRT_HALF = math.sqrt(0.5)
_GELU_SCALE = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715
# Source: https://arxiv.org/abs/1706.02515, to more digits
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def _below(x: Node, bound: float = 0.0) -> Node:
    """x up to `bound`, 0 beyond: operands of an exponential that is not chosen there."""
    return where.apply(gt.apply(x, bound), 0.0, x)


def _chosen(x: Node, inside: Node | float, outside: Node | float) -> Node:
    """`inside` where x > 0, else `outside`."""
    return where.apply(gt.apply(x, 0.0), inside, outside)


@elementwise(
    numpy=in_float64(lambda x: x / (1 + np.exp(-x))),
    dtypes=dt.FLOATS + dt.COMPLEX,
    source="https://arxiv.org/abs/1702.03118",
    places=EVERYWHERE,
    peer="torch.nn.functional.silu",
)
def silu_(x: Scalar) -> Scalar:
    """x * sigmoid(x).

    >>> silu(tensor([-1.0, 1.0]))
    tensor([-0.2689,  0.7311])
    """
    return m.silu(x)


@silu_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    s = sigmoid.apply(x)
    return g * conjugated(s * (1.0 + x * (1.0 - s)))


@elementwise(
    numpy=lambda x: np.where(x <= 0, 0, x),
    dtypes=dt.NUMBERS,
    source=TORCH + "ReLU.html",
)
def relu_(x: Scalar) -> Scalar:
    """max(x, 0); NaN for NaN. The gradient at 0 is 0.

    >>> relu(tensor([-1.0, 2.0, float("nan")]))
    tensor([0., 2., nan])
    """
    return 0 if x <= 0 else x


@relu_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return where.apply(le.apply(x, 0.0), 0.0, g)


@elementwise(
    numpy=lambda x, *, negative_slope: np.where(x > 0, x, x * x.dtype.type(negative_slope)),
    dtypes=dt.FLOATS,
    source=TORCH + "LeakyReLU.html",
    places=EVERYWHERE,
    peer="torch.nn.functional.leaky_relu",
)
def leaky_relu_(x: Scalar, *, negative_slope: float = 0.01) -> Scalar:
    """x where x > 0, negative_slope * x elsewhere; the gradient at 0 is negative_slope.

    >>> leaky_relu(tensor([-1.0, 2.0]), 0.1)
    tensor([-0.1000,  2.0000])
    """
    return x if x > 0 else x * negative_slope


@leaky_relu_.vjp
def _(g: Node, y: Node, x: Node, *, negative_slope: float) -> Node:
    return _chosen(x, g, g * negative_slope)


@elementwise(
    numpy=lambda x, weight: np.where(x > 0, x, x * weight),
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1502.01852",
    places=(),
    peer="torch.prelu",
)
def prelu_(x: Scalar, weight: Scalar) -> Scalar:
    """x where x > 0, weight * x elsewhere."""
    return x if x > 0 else x * weight


@prelu_.vjp
def _(g: Node, y: Node, x: Node, weight: Node) -> tuple[Node, Node]:
    return _chosen(x, g, g * weight), _chosen(x, 0.0, g * x)


@elementwise(
    numpy=in_float64(lambda x, *, alpha: np.where(x > 0, x, alpha * np.expm1(x))),
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1511.07289",
    places=(),
    peer="torch.nn.functional.elu",
)
def elu_(x: Scalar, *, alpha: float = 1.0) -> Scalar:
    """x where x > 0, alpha * (e**x - 1) elsewhere."""
    return x if x > 0 else m.expm1(x) * alpha


@elu_.vjp
def _(g: Node, y: Node, x: Node, *, alpha: float) -> Node:
    return _chosen(x, g, g * (exp.apply(_below(x)) * alpha))


@elementwise(
    numpy=in_float64(lambda x, *, alpha: np.where(x > 0, x, alpha * np.expm1(x / alpha))),
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1704.07483",
    places=("nt",),
    peer="torch.nn.functional.celu",
)
def celu_(x: Scalar, *, alpha: float = 1.0) -> Scalar:
    """x where x > 0, alpha * (e**(x / alpha) - 1) elsewhere.

    >>> celu(tensor([-1.0, 2.0]), alpha=2.0)
    tensor([-0.7869,  2.0000])
    """
    return x if x > 0 else m.expm1(x / alpha) * alpha


@celu_.vjp
def _(g: Node, y: Node, x: Node, *, alpha: float) -> Node:
    return _chosen(x, g, g * exp.apply(_below(x) / alpha))


def _selu(x: Array) -> Array:
    return _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(x))


@elementwise(
    numpy=in_float64(_selu),
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1706.02515",
    places=("nt",),
    peer="torch.nn.functional.selu",
)
def selu_(x: Scalar) -> Scalar:
    """1.0507 * x where x > 0, 1.0507 * 1.6733 * (e**x - 1) elsewhere.

    >>> selu(tensor([-1.0, 2.0]))
    tensor([-1.1113,  2.1014])
    """
    return x * _SELU_SCALE if x > 0 else m.expm1(x) * (_SELU_SCALE * _SELU_ALPHA)


@selu_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    lower = exp.apply(_below(x)) * (_SELU_SCALE * _SELU_ALPHA)
    return g * _chosen(x, _SELU_SCALE, lower)


@elementwise(
    numpy=in_float64(lambda x: -np.logaddexp(0.0, -x)),
    dtypes=dt.FLOATS,
    source=TORCH + "LogSigmoid.html",
    places=("nn.functional",),
    peer="torch.nn.functional.logsigmoid",
)
def logsigmoid(x: Scalar) -> Scalar:
    """log(1 / (1 + e**-x)), without overflow.

    >>> logsigmoid(tensor([-1000.0, 0.0]))
    tensor([-1.0000e+03, -6.9315e-01])
    """
    return m.minimum(x, 0.0) - m.log1p(m.exp(-abs(x)))


@logsigmoid.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * sigmoid.apply(-x)


@elementwise(
    numpy=in_float64(lambda x: x * np.tanh(np.logaddexp(x, 0.0))),
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1908.08681",
    places=(),
    peer="torch.nn.functional.mish",
)
def mish_(x: Scalar) -> Scalar:
    """x * tanh(log(1 + e**x)) = x * n / (n + 2), where n = e**x * (e**x + 2)."""
    return m.mish(x)


@mish_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    t = tanh.apply(softplus_.apply(x))
    return g * (t + x * (sigmoid.apply(x) * (1.0 - t * t)))


@elementwise(
    numpy=lambda x: np.clip(x + 3, 0, 6) / 6,
    dtypes=dt.FLOATS,
    source=TORCH + "Hardsigmoid.html",
    places=(),
    peer="torch.nn.functional.hardsigmoid",
)
def hardsigmoid_(x: Scalar) -> Scalar:
    """x / 6 + 1 / 2 within [0, 1]. The gradient at -3 and 3 is 0."""
    return m.clamp(x + 3.0, low=0.0, high=6.0) / 6.0


@hardsigmoid_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return where.apply(lt.apply(abs_.apply(x), 3.0), g / 6.0, 0.0)


@elementwise(
    numpy=lambda x: x * np.clip(x + 3, 0, 6) / 6,
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1905.02244",
    places=(),
    peer="torch.nn.functional.hardswish",
)
def hardswish_(x: Scalar) -> Scalar:
    """x * (x / 6 + 1 / 2), the factor within [0, 1]."""
    return x * (m.clamp(x + 3.0, low=0.0, high=6.0) / 6.0)


@hardswish_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    outer = where.apply(le.apply(x, -3.0), 0.0, g)
    return where.apply(lt.apply(abs_.apply(x), 3.0), g * (x / 3.0 + 0.5), outer)


@elementwise(
    numpy=lambda x, *, min_val, max_val: np.clip(x, min_val, max_val),
    dtypes=dt.FLOATS,
    source=TORCH + "Hardtanh.html",
    places=(),
    peer="torch.nn.functional.hardtanh",
)
def hardtanh_(x: Scalar, *, min_val: float = -1.0, max_val: float = 1.0) -> Scalar:
    """x within [min_val, max_val]. The gradient at the bounds is 0."""
    return m.clamp(x, low=min_val, high=max_val)


@hardtanh_.vjp
def _(g: Node, y: Node, x: Node, *, min_val: float, max_val: float) -> Node:
    inner = where.apply(lt.apply(x, max_val), g, 0.0)
    return where.apply(gt.apply(x, min_val), inner, 0.0)


@elementwise(
    numpy=lambda x, *, lambd: np.where(abs(x) <= lambd, 0, x),
    dtypes=dt.FLOATS,
    source=TORCH + "Hardshrink.html",
    places=ACTIVATION,
)
def hardshrink(x: Scalar, *, lambd: float = 0.5) -> Scalar:
    """0 where |x| <= lambd, x elsewhere.

    >>> hardshrink(tensor([-1.0, 0.5, 0.7]))
    tensor([-1.0000,  0.0000,  0.7000])
    """
    return 0 if abs(x) <= lambd else x


@hardshrink.vjp
def _(g: Node, y: Node, x: Node, *, lambd: float) -> Node:
    return where.apply(le.apply(abs_.apply(x), lambd), 0.0, g)


def _softshrink(x: Array, *, lambd: float) -> Array:
    return np.where(abs(x) <= lambd, np.zeros_like(x), x - np.copysign(lambd, x))


@elementwise(
    numpy=_softshrink,
    dtypes=dt.FLOATS,
    source=TORCH + "Softshrink.html",
    places=(),
    peer="torch.nn.functional.softshrink",
)
def softshrink_(x: Scalar, *, lambd: float = 0.5) -> Scalar:
    """x moved by lambd towards 0, which it does not pass."""
    moved = x - lambd if x > 0 else x + lambd
    return 0 if abs(x) <= lambd else moved


@softshrink_.vjp
def _(g: Node, y: Node, x: Node, *, lambd: float) -> Node:
    return where.apply(le.apply(abs_.apply(x), lambd), 0.0, g)


@elementwise(
    numpy=lambda x: x / (1 + np.abs(x)),
    dtypes=dt.FLOATS,
    source=TORCH + "Softsign.html",
    places=(),
    peer="torch.nn.functional.softsign",
)
def softsign_(x: Scalar) -> Scalar:
    """x / (1 + |x|)."""
    return x / (1.0 + abs(x))


@softsign_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    size = 1.0 + abs_.apply(x)
    return g / (size * size)


def _tanhshrink(x: Array) -> Array:
    """By the series x**3/3 - 2x**5/15 ... where x - tanh(x) cancels."""
    square = np.where(abs(x) < 0.02, x, 0) ** 2
    series = square * x * (1 / 3 - square * (2 / 15 - square * (17 / 315 - square * 62 / 2835)))
    return np.where(abs(x) < 0.02, series, x - np.tanh(x))


@elementwise(
    numpy=in_float64(_tanhshrink),
    dtypes=dt.FLOATS,
    source=TORCH + "Tanhshrink.html",
    places=(),
    peer="torch.nn.functional.tanhshrink",
)
def tanhshrink_(x: Scalar) -> Scalar:
    """x - tanh(x), without cancellation near 0."""
    return m.tanhshrink(x)


@tanhshrink_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    t = tanh.apply(x)
    return g * (t * t)


@elementwise(
    numpy=lambda x, *, threshold, value: np.where(x <= threshold, x.dtype.type(value), x),
    dtypes=dt.FLOATS,
    source=TORCH + "Threshold.html",
    places=(),
    peer="torch.threshold",
)
def threshold_(x: Scalar, *, threshold: float = 0.0, value: float = 0.0) -> Scalar:
    """`value` where x <= threshold, x elsewhere."""
    return value if x <= threshold else x


@threshold_.vjp
def _(g: Node, y: Node, x: Node, *, threshold: float, value: float) -> Node:
    return where.apply(le.apply(x, threshold), 0.0, g)


@elementwise(
    numpy=lambda x: np.logaddexp(np.asarray(x, np.float64), 0.0),
    dtypes=dt.FLOATS,
    source=TORCH + "Softplus.html",
    peer="torch.nn.functional.softplus",
)
def softplus_(x: Scalar) -> Scalar:
    """log(1 + e**x), without overflow."""
    return m.maximum(x, 0.0) + m.log1p(m.exp(-abs(x)))


@softplus_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * sigmoid.apply(x)


@elementwise(
    numpy=in_float64(lambda x: 0.5 * x * erfc_reference(-x * _SQRT_HALF)),
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1606.08415",
    peer="torch.nn.functional.gelu",
)
def gelu_(x: Scalar) -> Scalar:
    """x * Phi(x), where Phi(x) = (1 + erf(x / sqrt(2))) / 2."""
    return m.gelu(x)


@gelu_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * gelu_slope.apply(x)


@elementwise(
    numpy=in_float64(
        lambda x: (
            0.5 * erfc_reference(-x * _SQRT_HALF)
            + np.clip(x, -1e5, 1e5) * np.exp(-0.5 * x * x) * _INVERSE_SQRT_TAU
        )
    ),
    dtypes=dt.FLOATS,
    places=(),
)
def gelu_slope(x: Scalar) -> Scalar:
    """Phi(x) + x * exp(-x**2 / 2) / sqrt(2 * pi)."""
    return m.gelu_slope(x)


@gelu_slope.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    squared = x * x
    return g * (2.0 - squared) * exp.apply(squared * -0.5) * _INVERSE_SQRT_TAU


def _gelu_tanh_reference(x: Array) -> Array:
    return x / (1 + np.exp(-2 * _GELU_SCALE * (x + _GELU_CUBIC * x**3)))


@elementwise(
    numpy=in_float64(_gelu_tanh_reference),
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1606.08415",
    places=(),
    peer="torch.nn.functional.gelu",
)
def gelu_tanh(x: Scalar) -> Scalar:
    """x * (1 + tanh(u)) / 2 = x * sigmoid(2 * u), where u = sqrt(2/pi) * (x + 0.044715 * x**3)."""
    return m.sigmoid_of_cubic(x, linear=2 * _GELU_SCALE, cubic=2 * _GELU_SCALE * _GELU_CUBIC)


@gelu_tanh.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    squared = x * x
    s = sigmoid.apply(x * (squared * (2 * _GELU_SCALE * _GELU_CUBIC) + 2 * _GELU_SCALE))
    slope = squared * (6 * _GELU_SCALE * _GELU_CUBIC) + 2 * _GELU_SCALE
    return g * (s + x * s * (1.0 - s) * slope)
