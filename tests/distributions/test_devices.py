"""Every family, divergence and transform of tensors that are not on the default device."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import numbatorch as nt
from numbatorch import distributions as d
from numbatorch.distributions import kl


@pytest.fixture(autouse=True)
def _default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors are made on "numpy", which compiles nothing, and "cpu" is what is not told."""
    monkeypatch.setenv("NUMBATORCH_DEVICE", "cpu")


def t(*values: Any) -> nt.Tensor:
    return nt.tensor(values, device="numpy")


def normal() -> d.Normal:
    return d.Normal(t(0.0, 1.0), 2.0)


def unit() -> nt.Tensor:
    return nt.eye(2, device="numpy")


FAMILIES: dict[str, Callable[[], d.Distribution]] = {
    "Bernoulli": lambda: d.Bernoulli(t(0.2, 0.7)),
    "Beta": lambda: d.Beta(t(0.5, 2.0), 1.5),
    "Binomial": lambda: d.Binomial(3, t(0.2, 0.7)),
    "Categorical": lambda: d.Categorical(t(1.0, 2.0)),
    "Cauchy": lambda: d.Cauchy(t(0.0, 1.0), 2.0),
    "Chi2": lambda: d.Chi2(t(1.0, 3.0)),
    "ContinuousBernoulli": lambda: d.ContinuousBernoulli(t(0.2, 0.5)),
    "Dirichlet": lambda: d.Dirichlet(t(1.0, 3.0)),
    "ExpRelaxedCategorical": lambda: d.ExpRelaxedCategorical(0.5, t(1.0, 3.0)),
    "Exponential": lambda: d.Exponential(t(1.0, 3.0)),
    "FisherSnedecor": lambda: d.FisherSnedecor(t(3.0, 5.0), 6.0),
    "Gamma": lambda: d.Gamma(t(0.5, 3.0), 2.0),
    "Geometric": lambda: d.Geometric(t(0.2, 0.7)),
    "Gumbel": lambda: d.Gumbel(t(0.0, 1.0), 2.0),
    "HalfCauchy": lambda: d.HalfCauchy(t(1.0, 2.0)),
    "HalfNormal": lambda: d.HalfNormal(t(1.0, 2.0)),
    "Independent": lambda: d.Independent(normal(), 1),
    "InverseGamma": lambda: d.InverseGamma(t(3.0, 4.0), 2.0),
    "Kumaraswamy": lambda: d.Kumaraswamy(t(1.0, 2.0), 1.5),
    "Laplace": lambda: d.Laplace(t(0.0, 1.0), 2.0),
    "LogNormal": lambda: d.LogNormal(t(0.0, 1.0), 0.5),
    "LogisticNormal": lambda: d.LogisticNormal(t(0.0, 1.0), t(1.0, 1.0)),
    "LogitRelaxedBernoulli": lambda: d.LogitRelaxedBernoulli(0.5, t(0.2, 0.7)),
    "LowRankMultivariateNormal": lambda: d.LowRankMultivariateNormal(
        t(0.0, 1.0), t([1.0], [0.5]), t(1.0, 2.0)
    ),
    "MixtureSameFamily": lambda: d.MixtureSameFamily(d.Categorical(t(1.0, 2.0)), normal()),
    "Multinomial": lambda: d.Multinomial(3, t(1.0, 2.0)),
    "MultivariateNormal": lambda: d.MultivariateNormal(t(0.0, 1.0), precision_matrix=unit()),
    "NegativeBinomial": lambda: d.NegativeBinomial(3, t(0.2, 0.7)),
    "Normal": normal,
    "OneHotCategorical": lambda: d.OneHotCategorical(t(1.0, 2.0)),
    "OneHotCategoricalStraightThrough": lambda: d.OneHotCategoricalStraightThrough(t(1.0, 2.0)),
    "Pareto": lambda: d.Pareto(t(1.0, 2.0), 3.0),
    "Poisson": lambda: d.Poisson(t(1.0, 3.0)),
    "RelaxedBernoulli": lambda: d.RelaxedBernoulli(0.5, t(0.2, 0.7)),
    "RelaxedOneHotCategorical": lambda: d.RelaxedOneHotCategorical(0.5, t(1.0, 3.0)),
    "StudentT": lambda: d.StudentT(t(3.0, 5.0), 0.0, 2.0),
    "TransformedDistribution": lambda: d.TransformedDistribution(normal(), d.ExpTransform()),
    "Uniform": lambda: d.Uniform(t(0.0, 0.5), 1.0),
    "VonMises": lambda: d.VonMises(t(0.0, 1.0), 2.0),
    "Weibull": lambda: d.Weibull(t(1.0, 2.0), 1.5),
}
TRANSFORMS: dict[str, Callable[[], d.Transform]] = {
    "AbsTransform": d.AbsTransform,
    "AffineTransform": lambda: d.AffineTransform(1.0, 2.0),
    "CatTransform": lambda: d.CatTransform([d.ExpTransform(), d.TanhTransform()], lengths=[1, 1]),
    "ComposeTransform": lambda: d.ComposeTransform([d.AffineTransform(1.0, 2.0), d.ExpTransform()]),
    "CorrCholeskyTransform": d.CorrCholeskyTransform,
    "CumulativeDistributionTransform": lambda: d.CumulativeDistributionTransform(normal()),
    "ExpTransform": d.ExpTransform,
    "IndependentTransform": lambda: d.IndependentTransform(d.ExpTransform(), 1),
    "LowerCholeskyTransform": d.LowerCholeskyTransform,
    "PositiveDefiniteTransform": d.PositiveDefiniteTransform,
    "PowerTransform": lambda: d.PowerTransform(2.0),
    "ReshapeTransform": lambda: d.ReshapeTransform((2,), (2, 1)),
    "SigmoidTransform": d.SigmoidTransform,
    "SoftmaxTransform": d.SoftmaxTransform,
    "SoftplusTransform": d.SoftplusTransform,
    "StackTransform": lambda: d.StackTransform([d.ExpTransform(), d.TanhTransform()]),
    "StickBreakingTransform": d.StickBreakingTransform,
    "TanhTransform": d.TanhTransform,
}


def values(of: d.Distribution) -> Iterator[tuple[str, Any]]:
    """What a family has of draws, densities and moments."""
    drawn = of.sample((3,))
    yield "sample", drawn
    calls: dict[str, Callable[[], Any]] = {
        "log_prob": lambda: of.log_prob(drawn),
        "cdf": lambda: of.cdf(drawn),
        "icdf": lambda: of.icdf(t(0.2, 0.7)),
        "entropy": of.entropy,
        "enumerate_support": of.enumerate_support,
        "expand": lambda: of.expand((2, *of.batch_shape)).sample(),
        **{n: lambda n=n: getattr(of, n) for n in ("mean", "mode", "variance", "stddev")},
    }
    for name, call in calls.items():
        try:
            yield name, call()
        except NotImplementedError:
            continue


def test_no_class_is_left_out() -> None:
    kinds = {n: x for n in d.__all__ if isinstance(x := getattr(d, n), type)}
    families = {n for n, x in kinds.items() if issubclass(x, d.Distribution)}
    transforms = {n for n, x in kinds.items() if issubclass(x, d.Transform)}
    assert families - {"Distribution"} == set(FAMILIES)
    assert transforms - {"Transform"} == set(TRANSFORMS)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_gives_is_where_its_parameters_are(family: str) -> None:
    for name, value in values(FAMILIES[family]()):
        assert str(value.device) == "numpy", name
        value.realize()


PAIRS = [(p.__name__, q.__name__) for p, q in kl._PAIRS if q.__name__ in FAMILIES]


@pytest.mark.parametrize(("p", "q"), [x for x in PAIRS if x[0] in FAMILIES], ids=str)
def test_a_divergence_is_where_its_parameters_are(p: str, q: str) -> None:
    found = d.kl_divergence(FAMILIES[p](), FAMILIES[q]())
    assert str(found.device) == "numpy"
    assert not found.isnan().any()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_where_its_argument_is(name: str) -> None:
    transform = TRANSFORMS[name]()
    matrix = name in ("LowerCholeskyTransform", "PositiveDefiniteTransform")
    x = unit() * 2 if matrix else t(0.3) if name == "CorrCholeskyTransform" else t(0.3, 0.6)
    y = transform(x)
    found = [y, transform.inv(y)]
    try:
        found.append(transform.log_abs_det_jacobian(x, y))
    except NotImplementedError:
        assert not transform.bijective
    for value in found:
        assert str(value.device) == "numpy"
        value.realize()
    for side, value in ((transform.domain, x), (transform.codomain, y)):
        assert side.check(value).all()
