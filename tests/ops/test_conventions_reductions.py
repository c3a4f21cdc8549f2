"""Corner cases of reductions, scans and losses, written down once for all devices."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import ShapeError, Tensor
from numbatorch.nn import functional as F

NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def _default_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", device)


def slope(function: Callable[[Tensor], Tensor], at: Any, dtype: Any = nt.float32) -> list[float]:
    x = nt.tensor(at, dtype=dtype, requires_grad=True)
    function(x).sum().backward()
    assert x.grad is not None
    found: list[float] = x.grad.tolist()
    return found


def test_ties_of_half_types_are_counted_whole() -> None:
    for dtype, count in ((nt.float16, 70_000), (nt.bfloat16, 300)):
        for name in ("max", "min", "amax", "amin"):
            x = nt.ones(2, count, dtype=dtype, requires_grad=True)
            getattr(x, name)(*(() if name in ("max", "min") else (1,))).sum().backward()
            assert x.grad is not None
            share = 1 / (2 * count if name in ("max", "min") else count)
            assert set(x.grad.numpy().ravel().tolist()) == {nt.tensor(share, dtype=dtype).item()}


def test_nan_that_wins_takes_the_gradient() -> None:
    for function in (Tensor.max, Tensor.min, Tensor.amax, Tensor.amin):
        assert slope(function, [1.0, NAN, NAN, 3.0]) == [0.0, 0.5, 0.5, 0.0]


def test_loss_of_many_rows_of_half_types_is_summed_in_float32() -> None:
    rows = 20_000
    target = nt.zeros(rows, dtype=nt.int64)
    for dtype in (nt.float16, nt.bfloat16):
        logits = nt.zeros(rows, 4, dtype=dtype)
        expected = nt.tensor(math.log(4), dtype=dtype).item()
        assert F.cross_entropy(logits, target).item() == expected
        assert F.nll_loss(logits - 5, target).item() == 5.0


@pytest.mark.parametrize("dtype", [nt.float32, nt.int32, nt.bool], ids=lambda d: d.name)
def test_extremes_of_nothing_to_produce_are_empty(dtype: Any) -> None:
    x = nt.zeros(0, 3, dtype=dtype)
    for name in ("amax", "amin", "argmax", "argmin"):
        method = getattr(Tensor, name)
        assert method(x, 1).shape == (0,)
        assert method(x, 1, keepdim=True).shape == (0, 1)
        assert nt.compile(method)(x, 1).shape == (0,)
        with pytest.raises((ShapeError, IndexError)):
            method(x, 0)
    for name in ("amax", "amin"):
        assert getattr(nt.zeros(2, 0, 3, dtype=dtype), name)((0, 2)).shape == (0,)
    assert x.max(1).values.shape == x.min(1).indices.shape == (0,)


def test_mean_of_ones_is_exact_for_every_count() -> None:
    for count in range(1, 400, 1 if str(nt.device()) == "cpu" else 40):
        ones = nt.from_numpy(np.ones(count, np.float32)).to(nt.device())
        assert ones.mean().item() == 1.0
        assert count == 1 or ones.std().item() == 0.0


def test_second_derivatives_of_products_with_zeros() -> None:
    for function in (lambda x: x.prod(), lambda x: x.cumprod(0)[2]):
        for at, expected in (([0.0, 2.0, 3.0], [5.0, 3.0, 2.0]), ([0.0, 0.0, 3.0], [3.0, 3.0, 0])):
            assert slope(nt.grad(function), at) == expected


def test_deviations_of_equal_and_of_too_few_numbers() -> None:
    assert slope(lambda x: x.std(), [2.0, 2.0, 2.0]) == [0.0, 0.0, 0.0]
    assert slope(lambda x: nt.std_mean(x)[0], [2.0, 2.0]) == [0.0, 0.0]
    two = nt.tensor([1.0, 2.0])
    assert two.var(correction=3).item() == two.std(correction=3).item() == INF


def test_rows_and_columns_of_complex_numbers_are_told_apart() -> None:
    whole = np.arange(15).reshape(3, 5) * (0.6 + 0.8j)
    x = nt.from_numpy(whole.astype(np.complex64)).to(nt.device())
    for dim in (1, 0):
        expected = np.arange(15.0).reshape(3, 5).max(dim)
        np.testing.assert_allclose(x.abs().amax(dim).numpy(), expected, rtol=1e-6)
