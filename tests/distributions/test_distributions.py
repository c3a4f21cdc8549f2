"""Draws of distributions against SciPy's cdfs, their gradients, fusion, checks and their errors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import numbatorch as nt
from numbatorch import distributions as d
from numbatorch.distributions.gamma import log_slope
from tests.compare import assert_close, assert_launches

COUNT = 4000
SURE = 1e-4  # how unlikely a failure of a test of draws was before its seed was chosen


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws are the same on every device: on the reference one nothing has to be compiled."""
    if not request.config.getoption("--slow"):
        monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")
    nt.manual_seed(11)


Make = Callable[[], d.Distribution]


CONTINUOUS = {
    "Normal": (lambda: d.Normal(1.0, 2.0), stats.norm(1, 2)),
    "LogNormal": (lambda: d.LogNormal(0.5, 0.7), stats.lognorm(0.7, scale=np.exp(0.5))),
    "Laplace": (lambda: d.Laplace(1.0, 2.0), stats.laplace(1, 2)),
    "Cauchy": (lambda: d.Cauchy(1.0, 2.0), stats.cauchy(1, 2)),
    "HalfNormal": (lambda: d.HalfNormal(2.0), stats.halfnorm(scale=2)),
    "HalfCauchy": (lambda: d.HalfCauchy(2.0), stats.halfcauchy(scale=2)),
    "Uniform": (lambda: d.Uniform(-1.0, 2.0), stats.uniform(-1, 3)),
    "Exponential": (lambda: d.Exponential(2.0), stats.expon(scale=0.5)),
    "Gumbel": (lambda: d.Gumbel(1.0, 2.0), stats.gumbel_r(1, 2)),
    "Weibull": (lambda: d.Weibull(2.0, 1.5), stats.weibull_min(1.5, scale=2)),
    "Pareto": (lambda: d.Pareto(2.0, 3.0), stats.pareto(3, scale=2)),
    "Gamma of a small shape": (lambda: d.Gamma(0.2, 2.0), stats.gamma(0.2, scale=0.5)),
    "Gamma of a large shape": (lambda: d.Gamma(30.0, 2.0), stats.gamma(30, scale=0.5)),
    "Chi2": (lambda: d.Chi2(3.0), stats.chi2(3)),
    "InverseGamma": (lambda: d.InverseGamma(3.0, 2.0), stats.invgamma(3, scale=2)),
    "Beta": (lambda: d.Beta(0.5, 2.0), stats.beta(0.5, 2)),
    "Beta of small shapes": (lambda: d.Beta(0.3, 0.4), stats.beta(0.3, 0.4)),
    "StudentT": (lambda: d.StudentT(3.0, 1.0, 2.0), stats.t(3, 1, 2)),
    "FisherSnedecor": (lambda: d.FisherSnedecor(3.0, 5.0), stats.f(3, 5)),
    "VonMises": (lambda: d.VonMises(0.5, 2.0), stats.vonmises(2, 0.5)),
}


@pytest.mark.parametrize(("make", "theirs"), CONTINUOUS.values(), ids=CONTINUOUS)
def test_draws_have_the_distribution(make: Make, theirs: Any) -> None:
    ours = make()
    drawn = ours.expand((2,)).sample((COUNT // 2,))
    assert drawn.shape == (COUNT // 2, 2)
    assert not drawn.requires_grad
    values = drawn.numpy().astype(np.float64).reshape(-1)
    if isinstance(ours, d.VonMises):  # in [-pi, pi), where SciPy's is around loc
        values = 0.5 + (values - 0.5 + np.pi) % (2 * np.pi) - np.pi
    assert stats.kstest(values, theirs.cdf).pvalue > SURE


DISCRETE = {
    "Bernoulli": (lambda: d.Bernoulli(0.3), stats.bernoulli(0.3)),
    "Geometric": (lambda: d.Geometric(0.3), stats.geom(0.3, loc=-1)),
    "Binomial": (lambda: d.Binomial(12, 0.3), stats.binom(12, 0.3)),
    "Poisson": (lambda: d.Poisson(3.0), stats.poisson(3)),
    "NegativeBinomial": (lambda: d.NegativeBinomial(2.5, 0.4), stats.nbinom(2.5, 0.6)),
    "Categorical": (
        lambda: d.Categorical(nt.tensor([1.0, 2.0, 5.0])),
        stats.rv_discrete(values=(range(3), [1 / 8, 2 / 8, 5 / 8])),
    ),
}


@pytest.mark.parametrize(("make", "theirs"), DISCRETE.values(), ids=DISCRETE)
def test_counts_are_as_likely_as_scipy_says(make: Make, theirs: Any) -> None:
    values = make().expand((2,)).sample((COUNT // 2,)).numpy().astype(int).reshape(-1)
    most = int(theirs.ppf(0.995)) if values.max() > 2 else int(values.max())
    expected = COUNT * theirs.pmf(np.arange(most + 1))
    found = np.bincount(np.minimum(values, most + 1), minlength=most + 2)
    rest = COUNT - expected.sum()
    if rest > 1e-6:
        expected = np.append(expected, rest)
    else:
        found = found[: most + 1]
    assert stats.chisquare(found, expected, sum_check=False).pvalue > SURE


def test_vectors_have_their_means_and_sums() -> None:
    weights = nt.tensor([1.0, 2.0, 5.0])
    for distribution, sums in (
        (d.Dirichlet(weights), 1.0),
        (d.OneHotCategorical(weights), 1.0),
        (d.Multinomial(7, weights), 7.0),
        (d.Dirichlet(weights / 1000), 1.0),
    ):
        drawn = distribution.sample((COUNT,)).numpy()
        np.testing.assert_allclose(drawn.sum(-1), sums, rtol=1e-5)
        error = np.sqrt(distribution.variance.numpy() / COUNT)
        assert (np.abs(drawn.mean(0) - distribution.mean.numpy()) < 4.5 * error).all()


def test_a_seed_repeats_draws_and_no_seed_does_not() -> None:
    def draw(seed: int) -> list[Any]:
        nt.manual_seed(seed)
        return [make().sample((3,)).tolist() for make, _ in (CONTINUOUS | DISCRETE).values()]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


DRAWN: dict[str, Callable[[nt.Tensor, nt.Tensor], d.Distribution]] = {
    "Normal": d.Normal,
    "Laplace": d.Laplace,
    "Cauchy": d.Cauchy,
    "Uniform": lambda a, b: d.Uniform(-a, b),
    "Exponential": lambda a, b: d.Exponential(a),
    "LogNormal": d.LogNormal,
    "Gumbel": d.Gumbel,
    "Weibull": d.Weibull,
    "Pareto": d.Pareto,
    "Kumaraswamy": d.Kumaraswamy,
    "HalfNormal": lambda a, b: d.HalfNormal(b),
    "ContinuousBernoulli": lambda a, b: d.ContinuousBernoulli(logits=a),
    "LogisticNormal": lambda a, b: d.LogisticNormal(a, b),
}


@pytest.mark.parametrize("make", DRAWN.values(), ids=DRAWN)
def test_gradients_of_draws_are_differences_at_one_seed(
    make: Callable[[nt.Tensor, nt.Tensor], d.Distribution],
) -> None:
    at = np.random.default_rng(0).uniform(0.6, 2.0, (2, 3))
    direction = np.random.default_rng(1).standard_normal((2, 3))

    def total(values: np.ndarray, grad: bool) -> Any:
        nt.manual_seed(5)
        a, b = (nt.tensor(row).requires_grad_(grad) for row in values)
        drawn = (make(a, b).rsample((4,)) ** 2).sum()
        return (drawn, [a, b]) if grad else float(drawn.item())

    drawn, leaves = total(at, True)
    drawn.backward()
    grads = [np.zeros(3) if x.grad is None else x.grad.numpy() for x in leaves]
    slope = float((np.array(grads) * direction).sum())
    h = 1e-6
    expected = (total(at + h * direction, False) - total(at - h * direction, False)) / (2 * h)
    assert slope == pytest.approx(expected, rel=1e-6)


def test_gradients_of_gamma_draws_keep_their_quantile() -> None:
    special = pytest.importorskip("scipy.special")
    shapes = np.repeat([0.01, 0.3, 1.0, 1.7, 5.0, 40.0, 1000.0, 1e4], 7)
    chances = np.tile([1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-6], 8)
    z = special.gammaincinv(shapes, chances)
    use = z > 1e-200
    a, z, chances = shapes[use], z[use], chances[use]
    h = 1e-4 * a
    ends = [np.log(special.gammaincinv(a + i * h, chances)) for i in (-2, -1, 1, 2)]
    expected = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)
    found = log_slope(nt.tensor(a), nt.tensor(np.log(z)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7)
    narrow = log_slope(nt.tensor(a.astype(np.float32)), nt.tensor(np.log(z).astype(np.float32)))
    np.testing.assert_allclose(narrow.numpy(), expected, rtol=2e-4)
    assert_launches(log_slope(nt.tensor(a), nt.tensor(np.log(z))), 3)


MEANS: dict[str, Callable[[nt.Tensor], d.Distribution]] = {
    "Gamma": lambda a: d.Gamma(a, 2.0),
    "Chi2": d.Chi2,
    "Beta": lambda a: d.Beta(a, 1.5),
    "Dirichlet": lambda a: d.Dirichlet(nt.stack([a, a * a, nt.ones_like(a)], -1)),
    "InverseGamma": lambda a: d.InverseGamma(a + 4, 2.0),
    "StudentT": lambda a: d.StudentT(a + 8, 1.0, 2.0),
    "FisherSnedecor": lambda a: d.FisherSnedecor(a, a + 12),
}


@pytest.mark.parametrize("make", MEANS.values(), ids=MEANS)
def test_gradients_of_mean_squares_are_those_of_draws(
    make: Callable[[nt.Tensor], d.Distribution],
) -> None:
    count = 40_000
    for value in (0.4, 3.0):
        a = nt.full((count,), value, dtype=nt.float64).requires_grad_()
        (make(a).rsample() ** 2).sum().backward()
        each = a.grad.numpy()
        b = nt.tensor(value, dtype=nt.float64).requires_grad_()
        of = make(b)
        (of.variance + of.mean**2).sum().backward()
        error = each.std() / np.sqrt(count)
        assert abs(each.mean() - b.grad.item()) < 4.5 * error


def test_log_prob_is_one_launch() -> None:
    x = nt.randn(64).realize()
    loc, scale = nt.zeros(64).realize(), nt.ones(64).realize()
    for make in (d.Normal, d.Laplace, d.Cauchy, d.Gumbel, d.StudentT):
        assert_launches(make(scale, scale, validate_args=False).log_prob(x), 1)
    assert_launches(d.Normal(loc, scale, validate_args=False).log_prob(x).sum(), 1)
    assert_launches(d.Gamma(scale, scale, validate_args=False).log_prob(scale), 1)
    assert_launches(d.Weibull(scale, scale, validate_args=False).log_prob(scale), 1)
    assert_launches(d.kl_divergence(d.Normal(loc, scale), d.Normal(scale, scale)), 1)


def test_modes_are_where_densities_are_greatest() -> None:
    x = nt.linspace(0.001, 0.999, 999, dtype=nt.float64)
    for a, b in ((2.0, 3.0), (1.5, 1.0), (4.0, 1.5)):
        of = d.Kumaraswamy(nt.tensor(a, dtype=nt.float64), b)
        best = x[of.log_prob(x).argmax()].item()
        assert of.mode.item() == pytest.approx(best, abs=2e-3)
    assert d.Weibull(1.0, 0.5).mode.item() == 0.0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: d.Normal(nt.tensor([0.0, 1.0]), nt.tensor([1.0, -2.0])),
            "Normal: scale does not satisfy GreaterThan(lower_bound=0.0)\n"
            "  scale (2,) float32\n  scale[1] is -2.0",
        ),
        (
            lambda: d.Bernoulli(1.5),
            "Bernoulli: probs does not satisfy Interval(lower_bound=0.0, upper_bound=1.0)\n"
            "  probs () float32\n  probs is 1.5",
        ),
        (
            lambda: d.Categorical(nt.tensor([[1.0, 1.0], [2.0, -3.0]])),
            "Categorical: probs does not satisfy Simplex()\n"
            "  probs (2, 2) float32\n  probs[1, 1] is -3.0",
        ),
        (
            lambda: d.Categorical(nt.ones(3)).log_prob(nt.tensor([0, 3])),
            "Categorical: value is outside of the support "
            "IntegerInterval(lower_bound=0, upper_bound=2)\n"
            "  value (2,) int64\n  value[1] is 3",
        ),
        (
            lambda: d.Dirichlet(nt.ones(2)).log_prob(nt.tensor([[0.5, 0.5], [0.5, 0.25]])),
            "Dirichlet: value is outside of the support Simplex()\n"
            "  value (2, 2) float32\n  value[1] is [0.5, 0.25]",
        ),
        (
            lambda: d.Uniform(nt.tensor([0.0, 1.0]), 1.0),
            "Uniform: high is not greater than low\n  high (2,) float32\n  high[1] is 1.0",
        ),
        (lambda: d.Bernoulli(), "Bernoulli: needs one of probs and logits"),
        (
            lambda: d.Normal(nt.tensor(0), nt.tensor(1)),
            "Normal: needs parameters of floats\n  loc () int64\n  scale () int64",
        ),
        (lambda: d.Normal("0", 1), "Normal: loc is a number or a tensor, not str"),
        (lambda: d.Normal(0.0, 1.0).log_prob(0.0), "Normal: value is a tensor, not float"),
        (
            lambda: d.Normal(nt.zeros(2), 1.0).log_prob(nt.zeros(3)),
            "Normal: value does not broadcast with batch_shape\n"
            "  value (3,) float32\n  batch_shape (2,)",
        ),
        (
            lambda: d.Dirichlet(nt.ones(2)).log_prob(nt.ones(3)),
            "Dirichlet: value does not end with event_shape (2,)\n"
            "  value (3,) float32\n  batch_shape ()",
        ),
        (lambda: d.Poisson(1.0).rsample(), "Poisson: has no rsample"),
        (lambda: d.Poisson(1.0).cdf(nt.ones(1)), "Poisson: has no cdf"),
        (
            lambda: d.kl_divergence(d.Normal(0.0, 1.0), d.Poisson(1.0)),
            "kl_divergence: none is registered of Normal from Poisson",
        ),
        (lambda: d.register_kl(int, d.Normal), "register_kl: <class 'int'> is not a class of "),
    ],
)
def test_errors_name_the_argument_and_the_number(call: Callable[[], Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError, NotImplementedError)) as caught:
        call()
    assert str(caught.value).startswith(text)


def test_nothing_is_looked_at_where_nobody_asks() -> None:
    assert d.Normal(0.0, -1.0, validate_args=False).scale.item() == -1.0
    d.Distribution.set_default_validate_args(False)
    try:
        d.Normal(0.0, -1.0)
        with pytest.raises(ValueError, match="Normal: scale does not satisfy"):
            d.Normal(0.0, -1.0, validate_args=True)
    finally:
        d.Distribution.set_default_validate_args(True)


def test_compiled_functions_compute_densities() -> None:
    def loss(x: nt.Tensor, scale: nt.Tensor) -> nt.Tensor:
        return d.Normal(0.0, scale).log_prob(x).sum()

    x, scale = nt.randn(8), nt.rand(8) + 1
    assert_close(nt.compile(loss)(x, scale), loss(x, scale), "reduction")


def test_a_class_of_a_user_is_a_distribution() -> None:
    class Wide(d.Distribution):
        has_rsample = True
        support = d.constraints.real

        def rsample(self, sample_shape: Any = ()) -> nt.Tensor:
            return nt.zeros(self._extended_shape(sample_shape))

        def log_prob(self, value: nt.Tensor) -> nt.Tensor:
            return value * 2

    wide = Wide((2,))
    assert wide.sample((3,)).shape == (3, 2)
    assert d.Independent(wide, 1).log_prob(nt.ones(2)).item() == 4.0
    through = d.TransformedDistribution(wide, [d.AffineTransform(0.0, 1.0)])
    assert through.log_prob(nt.ones(2)).tolist() == [2.0, 2.0]
    with pytest.raises(NotImplementedError, match="Wide: has no entropy"):
        wide.entropy()


def test_the_nearer_divergence_is_taken_and_ties_are_told() -> None:
    class Near(d.Normal):
        pass

    p, q = Near(0.0, 1.0), d.Normal(1.0, 1.0)
    assert d.kl_divergence(p, q).item() == 0.5
    d.register_kl(Near, d.Normal)(lambda p, q: p.loc)
    assert d.kl_divergence(p, q).item() == 0.0
    d.register_kl(d.Normal, Near)(lambda p, q: q.loc)
    with pytest.warns(RuntimeWarning, match="are as near"):
        d.kl_divergence(p, p)
