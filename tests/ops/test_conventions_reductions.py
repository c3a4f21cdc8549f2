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


def test_losses_of_half_types_do_not_overflow_on_the_way() -> None:
    far, zero = nt.full((2,), 300.0, dtype=nt.float16), nt.zeros(2, dtype=nt.float16)
    assert F.mse_loss(far, zero, reduction="none").tolist() == [INF, INF]  # 90,000 rounded once
    assert F.mse_loss(far, zero, weight=nt.full((2,), 1e-3, dtype=nt.float16)).item() == INF
    assert F.huber_loss(far, zero, delta=64.0).item() == 17_152.0
    assert F.smooth_l1_loss(far, zero, beta=300.0).item() == 150.0
    many = nt.ones(20_000, dtype=nt.float16)
    assert F.l1_loss(many * 5, many * 0, weight=many).item() == 5.0


def test_losses_at_special_points() -> None:
    assert slope(lambda x: F.binary_cross_entropy_with_logits(x, nt.zeros(1)), [0.0]) == [0.5]
    edge = F.binary_cross_entropy(nt.tensor([0.0, 1.0]), nt.tensor([1.0, 0.0]), reduction="none")
    assert edge.tolist() == [100.0, 100.0]
    assert F.kl_div(nt.tensor([-1.0]), nt.tensor([0.0])).item() == 0.0
    assert slope(lambda x: F.soft_margin_loss(x, nt.ones(1)), [-1000.0]) == [-1.0]
    assert slope(lambda x: F.smooth_l1_loss(x, nt.zeros(2), beta=0.0), [0.0, 2.0]) == [0.0, 0.5]
    assert math.isnan(F.gaussian_nll_loss(nt.zeros(1), nt.zeros(1), nt.tensor([-1.0])).item())
    assert F.mse_loss(nt.ones(2), nt.zeros(2), size_average=False).item() == 2.0
    assert math.isnan(F.mse_loss(nt.ones(0), nt.zeros(0)).item())


def test_losses_of_integers_are_those_of_exact_differences() -> None:
    near, far = nt.tensor([2**24 + 1]), nt.tensor([2**24])
    assert F.margin_ranking_loss(near, far, nt.tensor([-1])).item() == 1.0
    assert F.pairwise_distance(near, far, 1.0, eps=0.0).item() == 1.0
    x = nt.tensor([[1, 3]], dtype=nt.uint8)  # PyTorch's differences of them wrap around
    assert F.triplet_margin_loss(x * 0, x, x, eps=0.0, p=1).item() == 1.0
    assert F.margin_ranking_loss(x * 0, x, x * 0 + 1, reduction="none").tolist() == [[1.0, 3.0]]
    with pytest.raises(nt.DTypeError, match="triplet_margin_loss: has no meaning for bool"):
        F.triplet_margin_loss(x > 0, x > 0, x > 0)


def test_ctc_of_targets_that_do_not_fit() -> None:
    logs = nt.zeros(2, 1, 3).log_softmax(-1)
    lengths: Any = nt.tensor([[1, 1]]), [2], [2]  # equal labels take a blank between them
    assert F.ctc_loss(logs, *lengths).item() == INF
    assert F.ctc_loss(logs, *lengths, zero_infinity=True).item() == 0.0
    x = nt.zeros(2, 1, 3, requires_grad=True)
    F.ctc_loss(x, *lengths, zero_infinity=True).backward()
    assert x.grad is not None and x.grad.abs().sum().item() == 0.0
    assert F.ctc_loss(logs, nt.tensor([[1, 1]]), [2], [0]).item() == pytest.approx(2 * math.log(3))
    for labels, times, sizes, problem in (
        ([[1, 7]], [2], [2], "class"),
        ([[1, -1]], [2], [2], "class"),
        ([[1, 2]], [3], [2], "input length"),
        ([[1, 2]], [-1], [2], "input length"),
        ([[1, 2]], [2], [3], "target length"),
        ([1, 2], [2], [-1], "target length"),
        ([1, 2], [2], [3], "target length"),
    ):
        with pytest.raises(nt.OutOfRange, match=f"ctc_loss: .*{problem}"):
            F.ctc_loss(logs, nt.tensor(labels), times, sizes).item()


def test_quantiles_and_medians_at_the_ends() -> None:
    x = nt.tensor([3.0, NAN, 1.0, 2.0, 2.0])
    assert x.median(0).indices.item() == 1 and math.isnan(x.median().item())
    assert tuple(part.item() for part in x.nanmedian(0)) == (2.0, 3)
    assert math.isnan(x.quantile(0.0).item()) and x.nanquantile(1.0).item() == 3.0
    assert nt.tensor([INF, INF]).quantile(0.5).item() == INF
    assert nt.tensor([1.0, 2.0, 4.0]).quantile(nt.tensor([0.0, 0.75])).tolist() == [1.0, 3.0]
    assert slope(Tensor.median, [1.0, 1.0, 1.0, 5.0]) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])
    for wrong in (lambda: x.quantile(1.5), lambda: x.quantile(nt.tensor(1.5)).item()):
        with pytest.raises(nt.OutOfRange):
            wrong()
    with pytest.raises(ShapeError):
        nt.zeros(0, 3).median(0)
    assert nt.zeros(0, 3).mode(1).values.shape == (0,)


def test_reductions_give_the_dtype_that_they_are_given() -> None:
    x = nt.tensor([100, 100, 100], dtype=nt.int8)
    assert x.sum(dtype=nt.int8).item() == 44 and x.prod(dtype=nt.bool).item() is True
    assert x.cumsum(0, dtype=nt.int32).dtype is nt.int32
    assert x.cumsum_(0).tolist() == [100, -56, 44]


def test_scans_of_truths() -> None:
    found = nt.tensor([False, True, False]).cummax(0)
    assert found.values.tolist() == [False, True, True] and found.indices.tolist() == [0, 1, 1]


def test_no_dimensions_are_all() -> None:
    x = nt.arange(6.0).reshape(2, 3)
    for dims in ((), []):
        assert x.mean(dims).item() == 2.5 and x.sum(dims).item() == 15.0


def test_moments_of_rows_with_what_is_no_number(device: str) -> None:
    """As PyTorch's: the mean of one infinity is that, from any other row of them NaN may come."""
    x = nt.tensor([[INF], [1.0], [-INF], [NAN]], device=device)
    variance, mean = nt.var_mean(x, 1, correction=0)
    np.testing.assert_array_equal(variance.numpy(), [NAN, 0.0, NAN, NAN])
    np.testing.assert_array_equal(mean.numpy(), [INF, 1.0, -INF, NAN])
    wide = nt.tensor([[INF, 1.0, 2.0], [1.0, INF, 2.0], [NAN, 1.0, 2.0]], device=device)
    assert np.isnan(nt.var(wide, 1).numpy()).all()


@pytest.mark.parametrize("centre", [0.0, 1e4, -1e6])
def test_variances_far_from_zero(centre: float) -> None:
    """Differences to an element of the row are exact, and small: the mean's digits are not lost."""
    rng = np.random.default_rng(0)
    for shape, dim in (((1000,), 0), ((37, 300), 1), ((300, 37), 0), ((3, 40, 5), (0, 1))):
        x = (rng.standard_normal(shape) + centre).astype(np.float32)
        expected = x.astype(np.float64).var(axis=dim, ddof=1)
        for found in (nt.tensor(x).var(dim), nt.tensor(x).std(dim) ** 2):
            np.testing.assert_allclose(found.numpy(), expected, rtol=5e-6)
        mean = nt.var_mean(nt.tensor(x), dim)[1]
        np.testing.assert_allclose(mean.numpy(), x.astype(np.float64).mean(axis=dim), 2e-7, 2e-6)
