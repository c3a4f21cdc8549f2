"""Distributions beside PyTorch's: shapes, densities, moments and divergences, with gradients."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import assert_close
from tests.peers.sides import our_dtype, torch, torch_dtype

Array = np.ndarray[Any, Any]
Make = Callable[[np.random.Generator, tuple[int, ...]], Array]


@pytest.fixture(autouse=True)
def _formulas(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared are formulas: kernels, which operators' own tests prove, with --slow."""
    if not request.config.getoption("--slow"):
        monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


SHAPES = [(3, 1), (4,)]  # of the first and of the other parameters, which broadcast
DTYPES = ["float64", "float32"]
MOMENTS = ["mean", "mode", "variance", "stddev"]


def real(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def off_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.uniform(0.4, 3.5, shape)


def chance(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.uniform(0.05, 0.95, shape)


def off_half(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 0.5 + rng.uniform(0.1, 0.45, shape) * rng.choice([-1, 1], shape)


def above(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.uniform(4, 6, shape)


def count(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.integers(1, 9, shape)


def weights(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.uniform(0.1, 2, (*shape, 3))


def logits(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal((*shape, 3))


def factor(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal((*shape, 3, 2))


def lower(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.tril(rng.standard_normal((*shape, 3, 3)), -1) + np.eye(3) * rng.uniform(1, 2, 3)


def definite(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    found = lower(rng, shape)
    return found @ found.swapaxes(-1, -2)


@dataclass(frozen=True)
class Case:
    """A family, how its tensors are made, and what else it is given."""

    family: str
    make: dict[str, Make]
    options: dict[str, Any] = field(default_factory=dict)

    def arrays(self, seed: int) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        shapes = [SHAPES[0], *SHAPES[1:] * len(self.make)]
        return {n: self.make[n](rng, shape) for n, shape in zip(self.make, shapes, strict=False)}

    def both(self, dtype: str, seed: int = 0) -> tuple["Side", "Side"]:
        arrays = self.arrays(seed)
        ours, theirs = {}, {}
        for name, x in arrays.items():
            wide = x if name == "total_count" else x.astype(dtype)
            ours[name] = nt.tensor(wide)
            theirs[name] = torch.tensor(wide)
            if name != "total_count":
                ours[name].requires_grad_()
                theirs[name].requires_grad_()
        options = dict(self.options)
        if "temperature" in options:
            options["temperature"] = torch.tensor(options["temperature"], dtype=torch_dtype(dtype))
        return (
            Side(getattr(nt.distributions, self.family)(**ours, **self.options), ours),
            Side(getattr(torch.distributions, self.family)(**theirs, **options), theirs),
        )

    def __str__(self) -> str:
        return f"{self.family}({', '.join([*self.make, *self.options])})"


@dataclass
class Side:
    """A distribution of one of the two and the tensors it was made of."""

    of: Any
    given: dict[str, Any]

    def gradients(self, result: Any, weight: Any, others: tuple[Any, ...] = ()) -> list[Any]:
        """Of the weighted sum of a result, by the parameters and others; None if it has none."""
        leaves = [x for x in (*self.given.values(), *others) if x.requires_grad]
        if not result.requires_grad:
            return [None for _ in leaves]
        for x in leaves:
            x.grad = None
        try:
            (result * weight).sum().backward()
        except NotImplementedError:  # PyTorch has no gradient of igamma by the shape
            return [Ellipsis for _ in leaves]
        return [x.grad for x in leaves]


CASES = [
    Case("Normal", {"loc": real, "scale": positive}),
    Case("Laplace", {"loc": real, "scale": positive}),
    Case("Cauchy", {"loc": real, "scale": positive}),
    Case("Uniform", {"low": real, "high": above}),
    Case("Exponential", {"rate": positive}),
    Case("VonMises", {"loc": real, "concentration": positive}),
    Case("Bernoulli", {"probs": chance}),
    Case("Bernoulli", {"logits": real}),
    Case("Geometric", {"probs": chance}),
    Case("Geometric", {"logits": real}),
    Case("Binomial", {"total_count": count, "probs": chance}),
    Case("Binomial", {"logits": real}, {"total_count": 5}),
    Case("Poisson", {"rate": positive}),
    Case("NegativeBinomial", {"total_count": count, "probs": chance}),
    Case("NegativeBinomial", {"total_count": count, "logits": real}),
    Case("ContinuousBernoulli", {"probs": off_half}),  # theirs cancels beside 1/2
    Case("ContinuousBernoulli", {"logits": off_zero}),
    Case("LogNormal", {"loc": real, "scale": positive}),
    Case("HalfNormal", {"scale": positive}),
    Case("HalfCauchy", {"scale": positive}),
    Case("Gumbel", {"loc": real, "scale": positive}),
    Case("Weibull", {"scale": positive, "concentration": positive}),
    Case("Pareto", {"scale": positive, "alpha": above}),
    Case("Kumaraswamy", {"concentration1": positive, "concentration0": positive}),
    Case("LogisticNormal", {"loc": logits, "scale": weights}),
    Case("Gamma", {"concentration": positive, "rate": positive}),
    Case("Chi2", {"df": positive}),
    Case("InverseGamma", {"concentration": positive, "rate": positive}),
    Case("Beta", {"concentration1": positive, "concentration0": positive}),
    Case("Dirichlet", {"concentration": weights}),
    Case("StudentT", {"df": positive, "loc": real, "scale": positive}),
    Case("FisherSnedecor", {"df1": above, "df2": above}),
    Case("Categorical", {"probs": weights}),
    Case("Categorical", {"logits": logits}),
    Case("OneHotCategorical", {"probs": weights}),
    Case("OneHotCategorical", {"logits": logits}),
    Case("OneHotCategoricalStraightThrough", {"probs": weights}),
    Case("Multinomial", {"probs": weights}, {"total_count": 4}),
    Case("Multinomial", {"logits": logits}, {"total_count": 4}),
    Case("MultivariateNormal", {"loc": logits, "covariance_matrix": definite}),
    Case("MultivariateNormal", {"loc": logits, "precision_matrix": definite}),
    Case("MultivariateNormal", {"loc": logits, "scale_tril": lower}),
    Case("LowRankMultivariateNormal", {"loc": logits, "cov_factor": factor, "cov_diag": weights}),
    Case("RelaxedBernoulli", {"probs": chance}, {"temperature": 0.7}),
    Case("RelaxedBernoulli", {"logits": real}, {"temperature": 0.7}),
    Case("RelaxedOneHotCategorical", {"probs": weights}, {"temperature": 0.7}),
    Case("RelaxedOneHotCategorical", {"logits": logits}, {"temperature": 0.7}),
]
# What a peer computes otherwise, and by how much more it may be off.
COARSE = {
    "VonMises": 3e-7,  # polynomials of seven digits for i0 and i1
    "Multinomial": 2e-7,  # log(total_count!) in float32
}
TRIGAMMA = 1e-9  # how far PyTorch's is off, in float64
# Modes that PyTorch has as NaN: of a concentration below 1, which is 0, and of any above.
OTHERWISE = {("Weibull", "mode"), ("Kumaraswamy", "mode")}
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def compare(ours: Any, theirs: Any, kind: str, case: Case, what: str) -> None:
    """Within the table, whose absolute part counts in units of the largest element."""
    expected = theirs.detach().numpy()
    finite = np.abs(expected[np.isfinite(expected)])
    size = max(1.0, finite.max(initial=0.0))
    name = str(ours.dtype.name)
    coarse = COARSE.get(case.family, 0.0) * size
    ulp = 2.0**-52 if name == "float64" else 2.0**-23
    units = {"composite": 64, "gradient": 256, "elementwise": 4, "exact": 0}[kind]
    if kind == "gradient" and what.startswith(("entropy", "perplexity", "kl_divergence")):
        coarse = max(coarse, TRIGAMMA * size)
    absolute = max(units * ulp * size, coarse)
    assert_close(ours, expected, kind, operator=f"{case.family}.{what}", absolute=absolute)


def same(
    case: Case, sides: tuple[Side, Side], call: Callable[[Side], Any], what: str, *others: Any
) -> None:
    """A result of both, and its gradients, are the same; or neither has it."""
    ours, theirs = sides
    if (case.family, what) in OTHERWISE:
        return
    try:
        expected = call(theirs)
    except NotImplementedError:
        with pytest.raises(NotImplementedError):
            call(ours)
        return
    found = call(ours)
    compare(found, expected, "composite", case, what)
    if not expected.requires_grad:
        return
    weight = np.random.default_rng(1).uniform(0.5, 1.5, expected.shape)
    weight = weight.astype(str(found.dtype.name))
    beside = others or ((), ())
    for mine, peer in zip(
        ours.gradients(found, nt.tensor(weight), beside[0]),
        theirs.gradients(expected, torch.tensor(weight), beside[1]),
        strict=True,
    ):
        if peer is Ellipsis:
            assert np.isfinite(mine.numpy()).all()
        elif peer is None or mine is None:  # none, or one that is 0 or NaN
            other = mine if peer is None else peer
            assert other is None or not np.nan_to_num(other.numpy()).any()
        else:
            compare(mine, peer, "gradient", case, f"{what}, its gradient")


@every_case
def test_shapes_support_and_repr_are_the_same(case: Case) -> None:
    ours, theirs = (side.of for side in case.both("float32"))
    assert ours.batch_shape == tuple(theirs.batch_shape)
    assert ours.event_shape == tuple(theirs.event_shape)
    assert ours.has_rsample == theirs.has_rsample
    assert ours.has_enumerate_support == theirs.has_enumerate_support
    assert type(ours.support).__name__ == type(theirs.support).__name__
    assert ours.support.is_discrete == theirs.support.is_discrete
    assert ours.support.event_dim == theirs.support.event_dim
    assert set(ours.arg_constraints) == set(theirs.arg_constraints)
    told = repr(theirs).replace("torch.Size([", "(").replace("])", ")")
    if not told.endswith("()"):  # where theirs does not say the parameters
        assert repr(ours).replace(",)", ")") == told


@every_case
@every_dtype
def test_moments_are_the_same(case: Case, dtype: str) -> None:
    for name in [*MOMENTS, "entropy", "perplexity"]:
        sides = case.both(dtype)

        def call(side: Side, name: str = name) -> Any:
            value = getattr(side.of, name)
            return value() if callable(value) else value

        same(case, sides, call, name)


def drawn(theirs: Any, dtype: str, *shape: int) -> tuple[Any, Any]:
    """The same draws on both sides, with gradients where values may have them."""
    torch.manual_seed(3)
    value = theirs.sample(shape)
    pair = nt.tensor(value.numpy()), value
    return tuple(x.requires_grad_() for x in pair) if value.is_floating_point() else pair  # type: ignore[return-value]


@every_case
@every_dtype
def test_densities_are_the_same(case: Case, dtype: str) -> None:
    for name in ("log_prob", "cdf"):
        sides = case.both(dtype)
        values = drawn(sides[1].of, dtype, 2)
        by_side = dict(zip(map(id, sides), values, strict=True))

        def call(side: Side, name: str = name, by_side: Any = by_side) -> Any:
            return getattr(side.of, name)(by_side[id(side)])

        discrete = sides[0].of.support.is_discrete
        others = ((), ()) if discrete else tuple((x,) for x in values)
        same(case, sides, call, name, *others)


@every_case
@every_dtype
def test_quantiles_are_the_same(case: Case, dtype: str) -> None:
    sides = case.both(dtype)
    shape = (2, *sides[0].of.batch_shape)
    at = np.random.default_rng(5).uniform(0.02, 0.98, shape).astype(dtype)
    pairs = {id(sides[0]): nt.tensor(at), id(sides[1]): torch.tensor(at)}
    same(case, sides, lambda side: side.of.icdf(pairs[id(side)]), "icdf")


@every_case
def test_expanded_is_the_same(case: Case) -> None:
    ours, theirs = case.both("float64")
    shape = (2, *ours.of.batch_shape)
    wide, peer = ours.of.expand(shape), theirs.of.expand(torch.Size(shape))
    assert type(wide) is type(ours.of)
    assert (wide.batch_shape, wide.event_shape) == (shape, tuple(peer.event_shape))
    mine, value = drawn(peer, "float64")
    compare(wide.log_prob(mine), peer.log_prob(value), "composite", case, "expand")


@every_case
def test_enumerated_support_is_the_same(case: Case) -> None:
    ours, theirs = (side.of for side in case.both("float32"))
    for expand in (True, False):
        try:
            expected = theirs.enumerate_support(expand=expand)
        except NotImplementedError:
            with pytest.raises(NotImplementedError):
                ours.enumerate_support(expand=expand)
            continue
        assert_close(ours.enumerate_support(expand=expand), expected, "exact")


def pairs() -> list[tuple[Case, Case, str]]:
    """Cases between which PyTorch knows a divergence: each way to say one family beside itself."""
    found = torch.distributions.kl._KL_REGISTRY
    first = {case.family: case for case in reversed(CASES)}
    first["Binomial"] = next(case for case in CASES if case.options.get("total_count") == 5)
    same = [(case, first[case.family], dtype) for case in CASES for dtype in DTYPES]
    same = [x for x in same if x[0] is x[1] or x[0].family != "Binomial"]
    known = [(p, q) for p in first.values() for q in first.values() if p is not q]
    kinds = torch.distributions
    return [x for x in same if (getattr(kinds, x[0].family),) * 2 in found] + [
        (p, q, "float64")
        for p, q in known
        if (getattr(kinds, p.family), getattr(kinds, q.family)) in found
    ]


@pytest.mark.parametrize(("first", "second", "dtype"), pairs(), ids=str)
def test_divergences_are_the_same(first: Case, second: Case, dtype: str) -> None:
    (p, peer_p), (q, peer_q) = first.both(dtype, 1), second.both(dtype, 2)
    both = [
        Side((x.of, y.of), {**{f"p.{n}": z for n, z in x.given.items()}, **y.given})
        for x, y in ((p, q), (peer_p, peer_q))
    ]
    libraries = dict(zip(map(id, both), (nt.distributions, torch.distributions), strict=True))

    def call(side: Side) -> Any:
        return libraries[id(side)].kl_divergence(*side.of)

    expected = call(both[1]).detach()
    if not np.isfinite(expected.numpy()).all():  # theirs has no gradient there, or NaN
        found = call(both[0])  # and may have the shape of p alone
        compare(found, expected.expand(found.shape), "composite", first, f"from {second}")
        return
    same(first, (both[0], both[1]), call, f"kl_divergence from {second}")


REFUSED = {
    "a scale of 0": lambda d, t: d.Normal(t([0.0]), t([0.0])),
    "NaN": lambda d, t: d.Normal(t([float("nan")]), t([1.0])),
    "a probability of 1.5": lambda d, t: d.Bernoulli(probs=t([1.5])),
    "two ways to say a chance": lambda d, t: d.Bernoulli(probs=t([0.5]), logits=t([0.5])),
    "neither": lambda d, t: d.Bernoulli(),
    "negative weights": lambda d, t: d.Categorical(t([1.0, -1.0])),
    "infinite weights": lambda d, t: d.Categorical(t([1.0, float("inf")])),
    "a number for weights": lambda d, t: d.Categorical(t(1.0)),
    "a category beyond": lambda d, t: d.Categorical(t([1.0, 1.0])).log_prob(t([2.0])),
    "high below low": lambda d, t: d.Uniform(t([1.0]), t([0.0])),
    "a value below": lambda d, t: d.Exponential(t([1.0])).log_prob(t([-1.0])),
    "a half": lambda d, t: d.Poisson(t([1.0])).log_prob(t([0.5])),
    "two ones": lambda d, t: d.OneHotCategorical(t([1.0, 1.0])).log_prob(t([1.0, 1.0])),
    "more than there are": lambda d, t: d.Binomial(2, t([0.5])).log_prob(t([3.0])),
    "an event too long": lambda d, t: d.Multinomial(2, t([0.5, 0.5])).log_prob(t([1.0, 1.0, 0.0])),
    "a shape that does not fit": lambda d, t: d.Normal(t([0.0, 1.0]), 1.0).log_prob(t([1.0] * 3)),
    "no default": lambda d, t: d.Distribution.set_default_validate_args("no"),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_there_is_refused_here(call: Callable[[Any, Any], Any]) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        call(torch.distributions, torch.tensor)
    with pytest.raises(ValueError, match=r"^\w+: "):
        call(nt.distributions, nt.tensor)


CONSTRAINTS = {
    "boolean": [0.0, 1.0, 0.5],
    "nonnegative_integer": [0.0, 3.0, -1.0, 1.5],
    "positive_integer": [0.0, 1.0],
    "real": [0.0, float("inf"), float("nan")],
    "positive": [0.0, 1.0, -1.0],
    "nonnegative": [0.0, 1.0, -1.0],
    "unit_interval": [0.0, 1.0, 1.5],
    "real_vector": [[0.0, 1.0], [float("nan"), 0.0]],
    "simplex": [[0.5, 0.5], [1.5, -0.5], [0.5, 0.4]],
    "one_hot": [[0.0, 1.0], [1.0, 1.0]],
    "lower_triangular": [[[1.0, 0.0], [2.0, -1.0]], [[1.0, 1.0], [0.0, 1.0]]],
    "lower_cholesky": [[[1.0, 0.0], [2.0, -1.0]], [[1.0, 0.0], [0.0, 1.0]]],
    "corr_cholesky": [[[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.5, 1.0]]],
    "square": [[[1.0, 0.0], [0.6, 0.8]]],
    "symmetric": [[[1.0, 0.5], [0.5, 0.8]], [[1.0, 0.0], [0.5, 1.0]]],
    "positive_semidefinite": [[[1.0, 0.5], [0.5, 0.8]], [[1.0, 2.0], [2.0, 1.0]]],
    "positive_definite": [[[1.0, 0.5], [0.5, 0.8]], [[1.0, 2.0], [2.0, 1.0]]],
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_hold_for_the_same(name: str) -> None:
    ours = getattr(nt.distributions.constraints, name)
    theirs = getattr(torch.distributions.constraints, name)
    values = CONSTRAINTS[name]
    np.testing.assert_array_equal(
        ours.check(nt.tensor(values)).numpy(), theirs.check(torch.tensor(values)).numpy()
    )
    assert repr(ours) == repr(theirs)
    assert (ours.is_discrete, ours.event_dim) == (theirs.is_discrete, theirs.event_dim)


def test_names_are_those_of_torch() -> None:
    ours = nt.distributions.constraints
    theirs = torch.distributions.constraints
    assert set(theirs.__all__) - set(dir(ours)) == set()


def test_dtypes_meet_as_arithmetic_says() -> None:
    normal = nt.distributions.Normal(nt.zeros(2), nt.ones(2, dtype=nt.float64))
    assert normal.loc.dtype is normal.scale.dtype is our_dtype("float64")
    assert (
        torch_dtype("float64")
        == torch.distributions.Normal(torch.zeros(2, dtype=torch.float64), 1.0).scale.dtype
    )
