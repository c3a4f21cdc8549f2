"""First values: their distribution against its formula, what is orthogonal, and bad input.

A statistic of n numbers is held to six of its own standard errors, which the formula gives.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DTypeError, OutOfRange, ShapeError, nn
from numbatorch.nn import init
from numbatorch.testing import assert_close

SIGMAS = 6.0
SHAPE = (40, 25, 3, 3)
FAN_IN, FAN_OUT = 25 * 9, 40 * 9


def values(x: nt.Tensor) -> np.ndarray:
    return x.detach().numpy().astype(np.float64).ravel()


def check_uniform(x: np.ndarray, low: float, high: float) -> None:
    """Bounds, mean and variance; the variance of a square is (b - a)^4 / 180 about the middle."""
    span = high - low
    assert low <= x.min() < low + 0.02 * span and high - 0.02 * span < x.max() < high
    middle = (low + high) / 2
    assert abs(x.mean() - middle) < SIGMAS * span / math.sqrt(12 * x.size)
    assert abs(((x - middle) ** 2).mean() - span**2 / 12) < SIGMAS * span**2 / math.sqrt(
        180 * x.size
    )


def check_normal(x: np.ndarray, mean: float, std: float) -> None:
    """Mean, variance and the share within one standard deviation."""
    assert abs(x.mean() - mean) < SIGMAS * std / math.sqrt(x.size)
    assert abs(((x - mean) ** 2).mean() - std**2) < SIGMAS * std**2 * math.sqrt(2 / x.size)
    share = math.erf(1 / math.sqrt(2))
    assert abs((np.abs(x - mean) < std).mean() - share) < SIGMAS * math.sqrt(
        share * (1 - share) / x.size
    )


def test_uniform_and_normal() -> None:
    nt.manual_seed(0)
    check_uniform(values(init.uniform_(nt.empty(SHAPE), -1.0, 3.0)), -1.0, 3.0)
    check_uniform(values(init.uniform_(nt.empty(SHAPE))), 0.0, 1.0)
    check_normal(values(init.normal_(nt.empty(SHAPE), 2.0, 0.5)), 2.0, 0.5)


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_xavier(gain: float) -> None:
    nt.manual_seed(1)
    bound = gain * math.sqrt(6 / (FAN_IN + FAN_OUT))
    check_uniform(values(init.xavier_uniform_(nt.empty(SHAPE), gain)), -bound, bound)
    std = gain * math.sqrt(2 / (FAN_IN + FAN_OUT))
    check_normal(values(init.xavier_normal_(nt.empty(SHAPE), gain)), 0.0, std)


@pytest.mark.parametrize(("mode", "fan"), [("fan_in", FAN_IN), ("fan_out", FAN_OUT)])
@pytest.mark.parametrize(
    ("a", "nonlinearity", "gain"),
    [
        (0, "leaky_relu", math.sqrt(2)),
        (math.sqrt(5), "leaky_relu", math.sqrt(1 / 3)),
        (0.5, "relu", math.sqrt(2)),
        (0, "tanh", 5 / 3),
        (0, "selu", 0.75),
        (0, "conv2d", 1.0),
    ],
)
def test_kaiming(mode: Any, fan: int, a: float, nonlinearity: Any, gain: float) -> None:
    nt.manual_seed(2)
    uniform = init.kaiming_uniform_(nt.empty(SHAPE), a, mode, nonlinearity)
    check_uniform(values(uniform), -gain * math.sqrt(3 / fan), gain * math.sqrt(3 / fan))
    normal = init.kaiming_normal_(nt.empty(SHAPE), a, mode, nonlinearity)
    check_normal(values(normal), 0.0, gain / math.sqrt(fan))


def truncated_moments(low: float, high: float) -> tuple[float, float]:
    """Mean and variance of the standard normal distribution within [low, high], by quadrature."""
    start = max(low, -12.0)
    x = np.linspace(start, min(high, max(start, 0.0) + 12), 200_001)
    density = np.exp(-(x**2 - np.min(x**2)) / 2)
    mean = (x * density).sum() / density.sum()
    return float(mean), float(((x - mean) ** 2 * density).sum() / density.sum())


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 0.02, -2.0, 2.0),
        (1.0, 2.0, 0.0, 1.5),
        (0.0, 1.0, 1.0, 1.5),
        (0.0, 1.0, -1.0, math.inf),
    ],
)
def test_truncated_normal(mean: float, std: float, a: float, b: float) -> None:
    nt.manual_seed(3)
    x = values(init.trunc_normal_(nt.empty(SHAPE), mean, std, a, b))
    assert a <= x.min() and x.max() <= b
    middle, variance = truncated_moments((a - mean) / std, (b - mean) / std)
    assert abs(x.mean() - (mean + std * middle)) < SIGMAS * std * math.sqrt(variance / x.size)
    spread = ((x - mean - std * middle) ** 2).mean() / std**2
    # the fourth moment of what is bounded or normal is 3 variances squared at most
    assert abs(spread - variance) < SIGMAS * variance * math.sqrt(2 / x.size)


@pytest.mark.parametrize("a", [8.0, 30.0, -31.0])
def test_truncation_far_out_keeps_the_tail(a: float) -> None:
    nt.manual_seed(4)
    with pytest.warns(UserWarning, match="more than two standard deviations away"):
        x = values(init.trunc_normal_(nt.empty(100, 100), 0.0, 1.0, a, a + 1))
    assert a <= x.min() and x.max() <= a + 1
    middle, variance = truncated_moments(abs(a) - (a < 0), abs(a) + (a > 0))
    assert abs(np.abs(x).mean() - middle) < SIGMAS * math.sqrt(variance / x.size)


@pytest.mark.drawn(3)
@pytest.mark.parametrize("dtype", [nt.float16, nt.bfloat16, nt.float64])
def test_other_dtypes(dtype: Any) -> None:
    nt.manual_seed(5)
    made = [
        init.uniform_(nt.empty(50, 40, dtype=dtype)),
        init.kaiming_normal_(nt.empty(50, 40, dtype=dtype)),
        init.trunc_normal_(nt.empty(50, 40, dtype=dtype)),
        init.orthogonal_(nt.empty(50, 40, dtype=dtype)),
        init.eye_(nt.empty(50, 40, dtype=dtype)),
        init.sparse_(nt.empty(50, 40, dtype=dtype), 0.3),
    ]
    assert all(x.dtype is dtype and bool(x.isfinite().all()) for x in made)
    assert float(made[2].abs().max()) <= 2.0
    gram = made[3].double().T @ made[3].double()
    assert_close(gram, np.eye(40), "matmul", dtype=dtype.name)


def test_constants() -> None:
    assert_close(init.constant_(nt.empty(2, 3), 0.3), np.full((2, 3), np.float32(0.3)), "exact")
    assert_close(init.ones_(nt.empty(2)), np.ones(2), "exact")
    assert_close(init.zeros_(nt.ones(2)), np.zeros(2), "exact")
    for shape in ((3, 5), (5, 3), (0, 2)):
        assert_close(init.eye_(nt.empty(shape)), np.eye(*shape), "exact")


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (5, 2, 3, 3), (1, 7)])
@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_orthogonal(shape: tuple[int, ...], gain: float) -> None:
    x = values(init.orthogonal_(nt.empty(shape), gain)).reshape(shape[0], -1)
    gram = x @ x.T if x.shape[0] < x.shape[1] else x.T @ x
    assert_close(gram, gain**2 * np.eye(len(gram)), "matmul", dtype="float32")


def test_orthogonal_matrices_are_uniform() -> None:
    """The trace of a uniform orthogonal matrix has mean 0 and variance 1."""
    nt.manual_seed(6)
    traces = np.array([float(init.orthogonal_(nt.empty(3, 3)).trace()) for _ in range(400)])
    assert abs(traces.mean()) < SIGMAS / 20 and abs(traces.var() - 1) < SIGMAS * math.sqrt(2) / 20


@pytest.mark.parametrize("kernel", [(3,), (5, 3), (3, 3, 3)])
@pytest.mark.parametrize(("groups", "channels"), [(1, 4), (2, 4), (4, 4)])
def test_dirac_is_the_identity_convolution(
    kernel: tuple[int, ...], groups: int, channels: int
) -> None:
    weight = init.dirac_(nt.empty(channels, channels // groups, *kernel), groups)
    x = nt.randn(2, channels, *(6 for _ in kernel))
    convolution: Callable[..., Any] = getattr(nn.functional, f"conv{len(kernel)}d")
    padding = tuple(k // 2 for k in kernel)
    assert_close(convolution(x, weight, padding=padding, groups=groups), x, "exact")


def test_sparse_columns_have_as_many_zeros_each_elsewhere() -> None:
    nt.manual_seed(7)
    x = init.sparse_(nt.empty(500, 40), 0.301, std=2.0).numpy()
    assert ((x == 0).sum(0) == 151).all()
    assert len({tuple(column) for column in (x == 0).T}) == 40
    check_normal(x[x != 0].astype(np.float64), 0.0, 2.0)
    # a row is 0 in a binomial number of columns
    share = (x == 0).mean(1)
    assert abs(share.var() * 40 - 0.302 * 0.698) < SIGMAS * 0.302 * 0.698 * math.sqrt(2 / 500)


FILLS: list[Callable[..., nt.Tensor]] = [
    init.uniform_,
    init.normal_,
    init.trunc_normal_,
    init.xavier_uniform_,
    init.xavier_normal_,
    init.kaiming_uniform_,
    init.kaiming_normal_,
    init.orthogonal_,
    lambda x, generator: init.sparse_(x, 0.5, generator=generator),
]


@pytest.mark.parametrize("fill", FILLS)
def test_a_parameter_is_filled_in_place_without_a_gradient(fill: Callable[..., nt.Tensor]) -> None:
    """A generator of the same seed gives the same numbers, and the default one is left alone."""
    weight = nn.Parameter(nt.zeros(6, 5))
    state = nt.get_rng_state()
    found = fill(weight, generator=nt.Generator().manual_seed(3))
    assert found is weight and weight.requires_grad and weight.is_leaf and weight.grad_fn is None
    assert bool((nt.get_rng_state() == state).all())
    again = fill(nt.zeros(6, 5), generator=nt.Generator().manual_seed(3))
    assert_close(weight, again, "exact")
    assert bool((weight != fill(nt.zeros(6, 5), generator=nt.Generator().manual_seed(4))).any())


def test_a_view_is_written_through() -> None:
    whole = nt.zeros(4, 3)
    init.ones_(whole[1:3])
    init.eye_(whole[:, :2].T[:, 2:])
    assert_close(whole, [[0, 0, 0], [1, 1, 1], [1, 0, 1], [0, 1, 0]], "exact")


def test_nothing_is_computed_before_it_is_read() -> None:
    for fill in (init.uniform_, init.kaiming_normal_, init.trunc_normal_, init.xavier_uniform_):
        x = fill(nt.empty(30, 20))
        assert x.node.buffer is None
        assert len(nt.debug.kernels(x)) == 1
    assert len(nt.debug.kernels(init.dirac_(nt.empty(8, 4, 3, 3), 2))) == 1
    assert len(nt.debug.kernels(init.eye_(nt.empty(8, 4)))) == 1


def test_gains() -> None:
    assert init.calculate_gain("leaky_relu", 2) == math.sqrt(2 / 5)
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 0.01**2))
    with pytest.raises(ValueError, match="no gain for 'swish'\n  there is for linear"):
        init.calculate_gain("swish")  # type: ignore[arg-type]
    for slope in (True, "1"):
        with pytest.raises(ValueError, match="is no number"):
            init.calculate_gain("leaky_relu", slope)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fill",
    [init.xavier_uniform_, init.xavier_normal_, init.kaiming_uniform_, init.kaiming_normal_],
)
def test_a_vector_has_no_fans(fill: Any) -> None:
    for shape in ((3,), ()):
        with pytest.raises(ShapeError, match=rf"^{fill.__name__}: fan_in and fan_out"):
            fill(nt.empty(shape))


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match=r"^eye_: takes a matrix, not "):
        init.eye_(nt.empty(3))
    with pytest.raises(ShapeError, match=r"^sparse_: takes a matrix"):
        init.sparse_(nt.empty(3, 2, 2), 0.1)
    with pytest.raises(ShapeError, match=r"^orthogonal_: takes a tensor of two"):
        init.orthogonal_(nt.empty(3))
    with pytest.raises(ShapeError, match=r"^dirac_: takes weights of 3, 4 or 5"):
        init.dirac_(nt.empty(3, 3))
    for groups in (2, 0, -1):
        with pytest.raises(ShapeError, match=f"3 channels do not make {groups} groups"):
            init.dirac_(nt.empty(3, 3, 3), groups)
    for mode in ("fan", "in"):
        with pytest.raises(ValueError, match=r"^kaiming_uniform_: the mode is fan_in or fan_out"):
            init.kaiming_uniform_(nt.empty(3, 3), mode=mode)  # type: ignore[arg-type]
    with pytest.raises(OutOfRange, match=r"^uniform_: there is no range from 2"):
        init.uniform_(nt.empty(3), 2.0, 1.0)
    with pytest.raises(OutOfRange, match=r"^normal_: the standard deviation -1"):
        init.normal_(nt.empty(3), 0.0, -1.0)
    for sparsity in (-0.1, 1.1, math.nan):
        with pytest.raises(OutOfRange, match="is not in"):
            init.sparse_(nt.empty(3, 3), sparsity)
    for fill in (init.uniform_, init.normal_, init.trunc_normal_, init.xavier_normal_):
        with pytest.raises(DTypeError, match=f"^{fill.__name__}: needs floats"):
            fill(nt.empty(3, 3, dtype=nt.int64))
    with pytest.raises(TypeError, match=r"^ones_: "):
        init.ones_([1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^kaiming_normal_: "):
        init.kaiming_normal_(np.zeros((2, 2)))  # type: ignore[arg-type]


def test_bad_truncation() -> None:
    for std in (0.0, -1.0, math.nan):
        with pytest.raises(OutOfRange, match="is not above 0"):
            init.trunc_normal_(nt.empty(3), std=std)
    for a, b in ((1.0, 1.0), (2.0, 1.0), (math.nan, 1.0)):
        with pytest.raises(OutOfRange, match="there is no range"):
            init.trunc_normal_(nt.empty(3), a=a, b=b)
    with (
        pytest.warns(UserWarning, match="away from"),
        pytest.raises(OutOfRange, match="has no probability"),
    ):
        init.trunc_normal_(nt.empty(3), 100.0)


def test_tensors_without_elements() -> None:
    empty = nt.empty(0, 3)
    for kaiming in (init.kaiming_uniform_, init.kaiming_normal_):
        with pytest.warns(UserWarning, match=rf"^{kaiming.__name__}: .* no elements"):
            assert kaiming(empty) is empty
    for fill in (init.xavier_uniform_, init.xavier_normal_, init.orthogonal_, init.uniform_):
        assert fill(empty) is empty and fill(nt.empty(0, 0)).shape == (0, 0)
    assert init.dirac_(nt.empty(2, 0, 3)).shape == (2, 0, 3)
