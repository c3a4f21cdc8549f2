"""Densities at the ends of their parameters, against quadrature and closed forms in float64."""

import threading
from typing import Any

import numpy as np
import pytest
from scipy import special

import numbatorch as nt
from numbatorch import distributions as d


@pytest.fixture(autouse=True)
def _reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


# Nodes over [0, 1] that crowd at both ends, where a density falls within 1e-3.
_U, _W = np.polynomial.legendre.leggauss(400)
NODES = np.sin(np.pi * (_U + 1) / 4) ** 2
WEIGHTS = _W * np.pi / 4 * np.sin(np.pi * (_U + 1) / 2)


def continuous_bernoulli(name: str, at: float, dtype: nt.DType) -> d.ContinuousBernoulli:
    return d.ContinuousBernoulli(**{name: nt.tensor(at, dtype=dtype)})


ENDS = [("probs", x) for x in (0.0, 1e-12, 1e-5, 0.3, 0.4985, 0.5, 0.7, 1 - 1e-5, 1.0)]
ENDS += [("logits", x) for x in (-1000.0, -100.0, -20.0, 0.01, 20.0, 100.0, 1000.0)]


@pytest.mark.parametrize("dtype", [nt.float32, nt.float64], ids=str)
@pytest.mark.parametrize(("name", "at"), ENDS)
def test_a_continuous_bernoulli_density_sums_to_1(name: str, at: float, dtype: Any) -> None:
    of = continuous_bernoulli(name, at, dtype)
    density = of.log_prob(nt.tensor(NODES, dtype=dtype)).exp().numpy().astype(np.float64)
    # In float32 nodes beside 1 are rounded: by 6e-8, times log-odds of 1000 in the exponent.
    assert (WEIGHTS * density).sum() == pytest.approx(1, abs=1e-4 if dtype is nt.float32 else 1e-8)


@pytest.mark.parametrize(("name", "at"), ENDS)
def test_moments_of_a_continuous_bernoulli_are_integrals(name: str, at: float) -> None:
    of = continuous_bernoulli(name, at, nt.float64)
    x = nt.tensor(NODES)
    logs = of.log_prob(x).numpy()
    mass = WEIGHTS * np.exp(logs)
    mean = (mass * NODES).sum()
    assert of.mean.item() == pytest.approx(mean, rel=1e-8)
    assert of.variance.item() == pytest.approx((mass * (NODES - mean) ** 2).sum(), rel=1e-8)
    assert of.entropy().item() == pytest.approx(-(mass * logs).sum(), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("dtype", [nt.float32, nt.float64], ids=str)
@pytest.mark.parametrize(("name", "at"), ENDS)
def test_quantiles_of_a_continuous_bernoulli_invert_its_cdf(
    name: str, at: float, dtype: Any
) -> None:
    of = continuous_bernoulli(name, at, dtype)
    u = np.linspace(0, 1, 21)
    odds = float(of.logits.item())
    if abs(odds) > 1:
        with np.errstate(divide="ignore"):
            x = np.logaddexp(np.log1p(-u), np.log(u) + odds) / odds
    else:
        x = np.log1p(u * np.expm1(odds)) / odds if odds else u
    tolerance = 2e-5 if dtype is nt.float32 else 1e-12  # at 0.4985: eps / (2 probs - 1)
    found = of.icdf(nt.tensor(u, dtype=dtype))
    np.testing.assert_allclose(found.numpy(), x, atol=tolerance)
    np.testing.assert_allclose(of.cdf(found).numpy(), u, atol=max(1e-12, abs(odds) * tolerance))


FAR = np.array([-80.0, -30.0, 30.0, 80.0])


@pytest.mark.parametrize("dtype", [nt.float32, nt.float64], ids=str)
def test_log_odds_far_from_0_keep_all_digits(dtype: Any) -> None:
    logits = nt.tensor(FAR, dtype=dtype)
    ones, zeros = -np.logaddexp(0, -FAR), -np.logaddexp(0, FAR)
    small = -(np.exp(ones) * ones + np.exp(zeros) * zeros)
    limit = 1e-5 if dtype is nt.float32 else 1e-13  # exp(x) is off by x units
    for value in (0.0, 1.0):
        v = nt.tensor(value, dtype=dtype)
        for of, expected in (
            (d.Bernoulli(logits=logits), value * ones + (1 - value) * zeros),
            (d.Geometric(logits=logits), ones + value * zeros),
        ):
            np.testing.assert_allclose(of.log_prob(v).numpy(), expected, rtol=limit)
    np.testing.assert_allclose(d.Bernoulli(logits=logits).entropy().numpy(), small, rtol=limit)
    found = d.Geometric(logits=logits).entropy().numpy()
    np.testing.assert_allclose(found, small / np.exp(ones), rtol=limit)
    found = d.kl_divergence(d.Bernoulli(logits=logits * 0), d.Bernoulli(logits=logits)).numpy()
    np.testing.assert_allclose(found, np.log(0.5) - (ones + zeros) / 2, rtol=limit)


def test_a_sharp_von_mises_density_keeps_its_digits() -> None:
    for k in (1.0, 1e4, 1e8):
        x = np.float32([0, 1e-4, 3e-4, 1e-2, 3])
        of = d.VonMises(0.0, k)
        wide = x.astype(np.float64)
        expected = -2 * k * np.sin(wide / 2) ** 2 - np.log(2 * np.pi * special.i0e(k))
        found = of.log_prob(nt.tensor(x)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_inverses_of_gamma_numbers_diverge_as_these_do() -> None:
    a, b = nt.tensor([0.5, 3.0]), nt.tensor([1.0, 2.0])
    found = d.kl_divergence(d.InverseGamma(a, b), d.InverseGamma(b, 1.5))
    wide = np.linspace(-12, 40, 40001)[:, None]  # log(x)
    p, q = (
        s * np.log(r) - s * wide - r * np.exp(-wide) - special.gammaln(s)
        for s, r in ((a.numpy(), b.numpy()), (b.numpy(), 1.5))
    )
    expected = (np.exp(p) * (p - q)).sum(0) * (wide[1] - wide[0])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_under_vmap_no_value_is_looked_at() -> None:
    x, scale = nt.randn(5, 3), nt.rand(5) + 1
    found = nt.vmap(lambda x, s: d.Normal(x, s).log_prob(x + s))(x, scale)
    expected = d.Normal(x, scale[:, None]).log_prob(x + scale[:, None])
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    nt.vmap(lambda p: d.Categorical(p).log_prob(nt.tensor(0)))(nt.rand(5, 3))
    nt.vmap(lambda p: d.Geometric(p).mean)(nt.rand(5) / 2 + 0.1)
    nt.vmap(lambda p: d.Uniform(p, p + 1).mean)(nt.rand(5))
    with pytest.raises(ValueError, match="Normal: scale does not satisfy"):  # nor after it
        d.Normal(x, -scale[:, None])


def test_a_cache_that_another_thread_sets_gives_no_other_result() -> None:
    x, other = nt.tensor(1.0), nt.tensor(2.0)

    class Interrupted(d.ExpTransform):
        """Another thread's call comes after each look at what is cached."""

        armed = False

        def __getattribute__(self, name: str) -> Any:
            found = object.__getattribute__(self, name)
            if name == "_last" and self.armed:
                self.armed = False
                thread = threading.Thread(target=self, args=(other,))
                thread.start()
                thread.join()
            return found

    shared = Interrupted(cache_size=1)
    y = shared(x)
    shared.armed = True
    assert shared(x) is y
    shared(x)
    y = shared(x)
    shared.armed = True
    assert shared.inv(y) is x
