"""First values of parameters, in place and without a gradient, under PyTorch's names."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

from numbatorch.dtype import float32, float64
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import find
from numbatorch.ops.operands import describe
from numbatorch.ops.surface import names_itself
from numbatorch.shape import numel
from numbatorch.tensor import Tensor, arange, no_grad
from numbatorch.tensor.draws import Generator, uniform
from numbatorch.tensor.random import rand, randn

Nonlinearity = Literal[
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "selu",
]
FanMode = Literal["fan_in", "fan_out"]

_GAINS = {
    **dict.fromkeys(("linear", "sigmoid"), 1),
    **{f"conv{kind}{n}d": 1 for kind in ("", "_transpose") for n in (1, 2, 3)},
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: Nonlinearity, param: float | None = None) -> float:
    """By what weights are scaled before a nonlinearity, so that the variance stays.

    1 for linear, convolutions and sigmoid, 5/3 for tanh, sqrt(2) for relu, 3/4 for selu and
    sqrt(2 / (1 + param^2)) for leaky_relu.

    Args:
        param: the negative slope of leaky_relu, 0.01 if absent; of no meaning to others.
    Raises:
        ValueError: there is no gain for the nonlinearity, or the slope is no number.

    >>> calculate_gain("leaky_relu", 1.0), round(calculate_gain("relu"), 4)
    (1.0, 1.4142)
    """
    if nonlinearity in _GAINS:
        return _GAINS[nonlinearity]
    if nonlinearity != "leaky_relu":
        known = ", ".join([*_GAINS, "leaky_relu"])
        problem = f"there is no gain for {nonlinearity!r}"
        raise ValueError(message("calculate_gain", problem, f"there is for {known}"))
    slope = 0.01 if param is None else param
    if isinstance(slope, bool) or not isinstance(slope, int | float):
        raise ValueError(message("calculate_gain", f"the negative slope {slope!r} is no number"))
    return math.sqrt(2 / (1 + slope**2))


@names_itself
def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers that are uniform in [a, b).

    Raises:
        OutOfRange: a is above b.
        DTypeError: the tensor is not of floats.

    >>> x = uniform_(nt.empty(3, 5), 2.0, 3.0)
    >>> bool(((x >= 2) & (x < 3)).all())
    True
    """
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


@names_itself
def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers of the normal distribution of a mean and a standard deviation.

    Raises:
        OutOfRange: the standard deviation is negative.
        DTypeError: the tensor is not of floats.

    >>> normal_(nt.empty(2), mean=1.0, std=0.0)
    tensor([1., 1.])
    """
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


@names_itself
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with numbers of the normal distribution of mean and std, given that they are in [a, b].

    By the inverse of the distribution: mean + std * Phi^-1(p) with p uniform between Phi((a -
    mean) / std) and Phi((b - mean) / std), in float64 where the device has it, mirrored where the
    interval lies above the mean. Nothing is drawn twice, and no number is read.

    Raises:
        OutOfRange: std is not above 0, a is not below b, or [a, b] is so far from the mean that
            its probability is 0 in float64.
        DTypeError: the tensor is not of floats.

    >>> x = trunc_normal_(nt.empty(3, 5), std=0.02, a=-0.04, b=0.04)
    >>> bool((x.abs() <= 0.04).all())
    True
    """
    if tensor.dtype.kind != "f":
        raise DTypeError(message("trunc_normal_", f"needs floats, not {describe(tensor.node)}"))
    if not std > 0:
        raise OutOfRange(message("trunc_normal_", f"the standard deviation {std} is not above 0"))
    if not a < b:
        raise OutOfRange(message("trunc_normal_", f"there is no range from {a} to {b}"))
    if mean < a - 2 * std or mean > b + 2 * std:
        text = "trunc_normal_: the mean is more than two standard deviations away from [a, b]"
        warnings.warn(text, stacklevel=3)
    low, high = (a - mean) / std, (b - mean) / std
    side = -1.0 if low + high > 0 else 1.0  # the tail below the mean has the digits
    ends = sorted((_below(side * low), _below(side * high)))
    if not ends[0] < ends[1]:
        problem = f"[{a}, {b}] has no probability around {mean} with standard deviation {std}"
        raise OutOfRange(message("trunc_normal_", problem))
    kind = float64 if tensor.device.has_float64 else float32
    half = 2.0**-54 if kind is float64 else 2.0**-25  # so that neither end is drawn
    drawn = uniform(tensor.shape, kind, tensor.device, generator) + half
    place = find("ndtri").apply(drawn * (ends[1] - ends[0]) + ends[0])
    value = Tensor(place * (side * std) + mean).clamp(a, b)
    with no_grad():
        return tensor.copy_(value.to(tensor.dtype))


def _below(x: float) -> float:
    """Phi(x), the share of a standard normal distribution below x."""
    return math.erfc(-x / math.sqrt(2)) / 2


@names_itself
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one number.

    >>> constant_(nt.empty(2), 0.5)
    tensor([0.5000, 0.5000])
    """
    with no_grad():
        return tensor.fill_(val)


@names_itself
def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1.

    >>> ones_(nt.empty(2))
    tensor([1., 1.])
    """
    with no_grad():
        return tensor.fill_(1)


@names_itself
def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0.

    >>> zeros_(nt.empty(2))
    tensor([0., 0.])
    """
    with no_grad():
        return tensor.fill_(0)


@names_itself
def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with 1 on the diagonal and 0 elsewhere: inputs of a linear layer pass.

    Raises:
        ShapeError: the tensor is no matrix.

    >>> eye_(nt.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    rows, columns = _matrix("eye_", tensor)
    down, across = (arange(n, device=tensor.device) for n in (rows, columns))
    with no_grad():
        return tensor.copy_((down.reshape(rows, 1) == across).to(tensor.dtype))


def _matrix(name: str, tensor: Tensor) -> tuple[int, int]:
    """Rows and columns."""
    if len(tensor.shape) != 2:
        raise ShapeError(message(name, f"takes a matrix, not {describe(tensor.node)}"))
    return tensor.shape[0], tensor.shape[1]


@names_itself
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill weights of a convolution so that it passes its inputs, each group those of its own.

    1 at [g * O / groups + c, c, K1 // 2, ...] for channels c, 0 elsewhere.

    Args:
        tensor: (O, I, K...) with one to three K.
    Raises:
        ShapeError: the tensor has another number of dimensions, or O is no multiple of groups.

    >>> dirac_(nt.empty(2, 2, 3))
    tensor([[[0., 1., 0.],
             [0., 0., 0.]],
            [[0., 0., 0.],
             [0., 1., 0.]]])
    """
    shape = tensor.shape
    if len(shape) not in (3, 4, 5):
        problem = f"takes weights of 3, 4 or 5 dimensions, not {describe(tensor.node)}"
        raise ShapeError(message("dirac_", problem))
    if groups < 1 or shape[0] % groups:
        problem = f"{shape[0]} channels do not make {groups} groups"
        raise ShapeError(message("dirac_", problem, f"tensor {describe(tensor.node)}"))
    ones: Any = None
    for dim, size in enumerate(shape):
        index = arange(size, device=tensor.device)
        index = index.reshape([size if i == dim else 1 for i in range(len(shape))])
        if dim == 0:
            channel = index % max(size // groups, 1)
        else:
            ones = channel == index if dim == 1 else ones & (index == size // 2)
    with no_grad():
        return tensor.copy_(ones.to(tensor.dtype))


def _fans(name: str, tensor: Tensor) -> tuple[int, int]:
    """How many numbers a result is the sum of, and how many results a number goes into."""
    shape = tensor.shape
    if len(shape) < 2:
        problem = "fan_in and fan_out are those of weights of two dimensions or more"
        raise ShapeError(message(name, problem, f"tensor {describe(tensor.node)}"))
    field = numel(shape[2:])
    return shape[1] * field, shape[0] * field


@names_itself
def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers uniform in [-a, a), a = gain * sqrt(6 / (fan_in + fan_out)).

    Args:
        tensor: (fan_out, fan_in), or (O, I, K...) with fan_in = I * prod(K), fan_out = O * prod(K).
    Raises:
        ShapeError: the tensor has fewer than two dimensions.
    Source: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010

    >>> x = xavier_uniform_(nt.empty(3, 3))
    >>> bool((x.abs() <= 1).all())
    True
    """
    bound = math.sqrt(3) * _xavier("xavier_uniform_", tensor, gain)
    with no_grad():
        return tensor.uniform_(-bound, bound, generator=generator)


@names_itself
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers of mean 0 and std = gain * sqrt(2 / (fan_in + fan_out)).

    Args:
        tensor: as of `xavier_uniform_`.
    Raises:
        ShapeError: the tensor has fewer than two dimensions.
    Source: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010

    >>> xavier_normal_(nt.empty(3, 3)).isfinite().all()
    tensor(True)
    """
    std = _xavier("xavier_normal_", tensor, gain)
    with no_grad():
        return tensor.normal_(0.0, std, generator=generator)


def _xavier(name: str, tensor: Tensor, gain: float) -> float:
    """The standard deviation; any where there is nothing to fill."""
    return gain * math.sqrt(2 / max(sum(_fans(name, tensor)), 1))


@names_itself
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: FanMode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill with numbers uniform in [-b, b), b = gain * sqrt(3 / fan).

    Args:
        tensor: as of `xavier_uniform_`.
        a: the negative slope of leaky_relu.
        mode: "fan_in" keeps the variance of values, "fan_out" that of gradients.
        nonlinearity: of which `calculate_gain` knows the gain.
    Raises:
        ShapeError: the tensor has fewer than two dimensions.
        ValueError: the mode is another, or there is no gain for the nonlinearity.
    Source: https://arxiv.org/abs/1502.01852

    >>> x = kaiming_uniform_(nt.empty(2, 6), nonlinearity="relu")
    >>> bool((x.abs() <= 1).all())
    True
    """
    std = _kaiming("kaiming_uniform_", tensor, a, mode, nonlinearity)
    if std is None:
        return tensor
    bound = math.sqrt(3) * std
    with no_grad():
        return tensor.uniform_(-bound, bound, generator=generator)


@names_itself
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: FanMode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill with normal numbers of mean 0 and std = gain / sqrt(fan).

    Args:
        tensor, a, mode, nonlinearity: as of `kaiming_uniform_`.
    Raises:
        ShapeError: the tensor has fewer than two dimensions.
        ValueError: the mode is another, or there is no gain for the nonlinearity.
    Source: https://arxiv.org/abs/1502.01852

    >>> kaiming_normal_(nt.empty(3, 5), mode="fan_out").isfinite().all()
    tensor(True)
    """
    std = _kaiming("kaiming_normal_", tensor, a, mode, nonlinearity)
    if std is None:
        return tensor
    with no_grad():
        return tensor.normal_(0.0, std, generator=generator)


def _kaiming(
    name: str, tensor: Tensor, a: float, mode: str, nonlinearity: Nonlinearity
) -> float | None:
    """The standard deviation; None where there is nothing to fill."""
    if 0 in tensor.shape:
        warnings.warn(f"{name}: the tensor has no elements to fill", stacklevel=4)
        return None
    found = mode.lower()
    if found not in ("fan_in", "fan_out"):
        raise ValueError(message(name, f"the mode is fan_in or fan_out, not {mode!r}"))
    fan = _fans(name, tensor)[0 if found == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


@names_itself
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Fill with `gain` times a matrix of orthonormal rows, or columns if there are fewer of them.

    Q of the QR decomposition of a normal matrix, with the signs of R's diagonal, which makes it
    uniform among all orthogonal matrices. Half types are rounded from float32.

    Args:
        tensor: (R, C...), a matrix (R, prod(C)).
    Raises:
        ShapeError: the tensor has fewer than two dimensions.
    Source: https://arxiv.org/abs/1312.6120, https://arxiv.org/abs/math-ph/0609050

    >>> q = orthogonal_(nt.empty(2, 3))
    >>> bool((q @ q.T - nt.eye(2)).abs().max() < 1e-5)
    True
    """
    shape = tensor.shape
    if len(shape) < 2:
        problem = "takes a tensor of two dimensions or more"
        raise ShapeError(message("orthogonal_", problem, f"tensor {describe(tensor.node)}"))
    if tensor.numel() == 0:
        return tensor
    rows, columns = shape[0], numel(shape[1:])
    kind = tensor.dtype if tensor.dtype.is_complex else tensor.dtype.compute
    size = (max(rows, columns), min(rows, columns))
    from numbatorch import linalg

    with no_grad():
        drawn = randn(size, dtype=kind, device=tensor.device, generator=generator)
        q, r = linalg.qr(drawn)
        q = q * r.diagonal().sgn()
        if rows < columns:
            q = q.T
        return tensor.copy_((q * gain).reshape(shape).to(tensor.dtype))


@names_itself
def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Fill a matrix with normal numbers of mean 0, and a share of each column with 0.

    Args:
        sparsity: of R rows ceil(sparsity * R) are 0 in each column, drawn anew for each.
    Raises:
        ShapeError: the tensor is no matrix.
        OutOfRange: the sparsity is not in [0, 1], or the standard deviation is negative.
    Source: J. Martens, "Deep learning via Hessian-free optimization", ICML 2010

    >>> (sparse_(nt.empty(4, 3), 0.5) == 0).sum(0)
    tensor([2, 2, 2])
    """
    rows, _ = _matrix("sparse_", tensor)
    if not 0 <= sparsity <= 1:
        raise OutOfRange(message("sparse_", f"the sparsity {sparsity} is not in [0, 1]"))
    with no_grad():
        tensor.normal_(0.0, std, generator=generator)
        order = rand(tensor.shape, device=tensor.device, generator=generator).argsort(0)
        kept = order >= math.ceil(sparsity * rows)
        return tensor.copy_(tensor.where(kept, 0))


__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]
