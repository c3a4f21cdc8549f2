"""Reductions and scans beside PyTorch's: values, first and second derivatives at special points."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import as_numpy, assert_close
from tests.peers.sides import Sides, torch

CALLS = """
x.cumsum(0) x.cumsum(-1) i.cumsum(1) i.cumsum(0,dtype=f) x.cumprod(1) i.cumprod(0) x.logcumsumexp(0)
x.logcumsumexp(1) x.nansum() x.nansum(1) i.nansum(0) x.nanmean(0) x.nanmean(1,keepdim=True)
x.count_nonzero() i.count_nonzero(1) i.count_nonzero((0,1)) x.std(1) x.var(correction=30) x.any()
x.all(1) i.any(0,keepdim=True) x.norm(1) x.norm(0) x.norm(3,1) x.norm(float('inf'),0)
x.norm(-float('inf')) x.norm(2,(0,1)) x.var(1,correction=7)
""".split()
PAIRS = """
x.max(1) x.min(0,True) i.max(1) x.cummax(0) x.cummax(1) i.cummin(1) x.cummin(0)
""".split()
TUPLES = [
    (name, options)
    for name in ("var_mean", "std_mean")
    for options in ({}, {"dim": 1}, {"dim": (0, 1), "correction": 0, "keepdim": True})
]

# Functions of a float64 matrix, and points: zeros in products, ties, equal elements, infinities.
FUNCTIONS: dict[str, Any] = {
    "prod": lambda x: x.prod(1),
    "cumprod": lambda x: x.cumprod(1),
    "cumsum": lambda x: x.cumsum(1) ** 2,
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "logsumexp": lambda x: x.logsumexp(1),
    "var": lambda x: x.var(1),
    "nanmean": lambda x: x.nanmean(1) ** 2,
    "nansum": lambda x: x.nansum(1) ** 2,
    "max": lambda x: x.max(1)[0] ** 2,
    "amin": lambda x: x.amin(1) ** 2,
    "1-norm": lambda x: x.norm(1, 1) ** 2,
}
POINTS = {
    "numbers": [[0.5, -1.0, 2.0, 1.5], [3.0, 0.25, -0.75, 1.0]],
    "one zero": [[0.5, 0.0, 2.0, 1.5], [0.0, 0.25, -0.75, 1.0]],
    "two zeros": [[0.5, 0.0, 2.0, 0.0], [0.0, 0.0, -0.75, 1.0]],
    "three zeros": [[0.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
    "equal": [[1.5, 1.5, 1.5, 1.5], [2.0, 2.0, 1.0, 1.0]],
}


def names(sides: Sides, which: int) -> dict[str, Any]:
    """The tensors that the calls speak of, of one side."""
    sides.rng = np.random.default_rng(3)
    x = sides.rng.standard_normal((5, 6)).astype(np.float32)
    module = (nt, torch)[which]
    return {
        "x": sides.of(x)[which],
        "i": sides.integers(-3, 4, 4, 5)[which],
        "f": module.float32,
        "float": float,
    }


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")  # PyTorch's, of corrections too large
@pytest.mark.parametrize("call", CALLS)
def test_call_gives_what_torch_gives(call: str, sides: Sides) -> None:
    ours, theirs = (eval(call, {}, names(sides, which)) for which in (0, 1))
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert_close(ours, as_numpy(theirs), "composite", operator=call)


@pytest.mark.parametrize("call", PAIRS)
def test_values_and_indices_are_those_of_torch(call: str, sides: Sides) -> None:
    ours, theirs = (eval(call, {}, names(sides, which)) for which in (0, 1))
    assert_close(ours.values, as_numpy(theirs.values), "exact")
    assert_close(ours.indices, as_numpy(theirs.indices), "exact")


@pytest.mark.parametrize(("name", "options"), TUPLES)
def test_both_moments_are_those_of_torch(name: str, options: dict[str, Any], sides: Sides) -> None:
    x, y = sides.normal(5, 6)
    for ours, theirs in zip(
        getattr(nt, name)(x, **options), getattr(torch, name)(y, **options), strict=True
    ):
        assert_close(ours, as_numpy(theirs), "composite", operator=name)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_and_second_derivatives_are_those_of_torch(name: str, point: str) -> None:
    function = FUNCTIONS[name]
    values = np.array(POINTS[point])
    rng = np.random.default_rng(1)
    direction = rng.standard_normal(values.shape)
    theirs = torch.tensor(values, requires_grad=True)
    result = function(theirs)
    weight = rng.standard_normal(tuple(result.shape))
    (first,) = torch.autograd.grad((result * torch.tensor(weight)).sum(), theirs, create_graph=True)
    (second,) = torch.autograd.grad((first * torch.tensor(direction)).sum(), theirs)

    def weighted(x: nt.Tensor) -> nt.Tensor:
        total: nt.Tensor = (function(x) * nt.tensor(weight)).sum()
        return total

    def along(x: nt.Tensor) -> nt.Tensor:
        slope: nt.Tensor = (nt.grad(weighted)(x) * nt.tensor(direction)).sum()
        return slope

    x = nt.tensor(values)
    assert_close(nt.grad(weighted)(x), first.detach().numpy(), "gradient", operator=name)
    assert_close(nt.grad(along)(x), second.numpy(), "gradient", operator=name)


@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_gradient_of_running_extremes_goes_where_torch_sends_it(name: str, sides: Sides) -> None:
    values = np.array([[1.0, 3.0, 3.0, 2.0, 4.0], [2.0, 1.0, 1.0, 0.5, 0.5]], np.float32)
    x, y = sides.of(values, grad=True)
    for tensor in (x, y):
        found = getattr(tensor, name)(1)[0]
        (found * found * found).sum().backward()
    assert_close(x.grad, as_numpy(y.grad), "gradient", operator=name)


def test_slope_of_a_deviation_of_equal_numbers_is_that_of_torch(sides: Sides) -> None:
    x, y = sides.of(np.array([[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]], np.float32), grad=True)
    for tensor in (x, y):
        tensor.std(1).sum().backward()
    assert_close(x.grad, as_numpy(y.grad), "gradient", operator="std")
