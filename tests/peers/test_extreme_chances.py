"""Densities of chances near 0 and 1 in float32, relative to PyTorch's in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import assert_close
from tests.peers.sides import torch

LOGITS = np.float32([-16, -10, -3, 0.5, 3, 10, 16])
PROBS = np.float32([1e-6, 1e-3, 0.4, 0.999, 1 - 1e-6])
Make = Callable[..., Any]
# How each is made of one chance, and values.
FAMILIES: dict[str, tuple[Make, list[float]]] = {
    "Bernoulli": (lambda d, x: d.Bernoulli(**x), [0, 1]),
    "Geometric": (lambda d, x: d.Geometric(**x), [0, 1, 7]),
    "Binomial": (lambda d, x: d.Binomial(3, **x), [0, 2, 3]),
    "NegativeBinomial": (lambda d, x: d.NegativeBinomial(3, **x), [0, 1, 7]),
    "ContinuousBernoulli": (lambda d, x: d.ContinuousBernoulli(**x), [0, 0.25, 1]),
}


@pytest.fixture(autouse=True)
def _formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


def pair(name: str, at: np.ndarray[Any, Any], make: Make) -> tuple[Any, Any]:
    ours = make(nt.distributions, {name: nt.tensor(at)})
    return ours, make(torch.distributions, {name: torch.tensor(at.astype(np.float64))})


@pytest.mark.parametrize(("name", "at"), [("logits", LOGITS), ("probs", PROBS)])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_digit_of_a_density_cancels(family: str, name: str, at: Any) -> None:
    make, values = FAMILIES[family]
    ours, theirs = pair(name, at, make)
    for value in values:
        expected = theirs.log_prob(torch.tensor(value, dtype=torch.float64))
        found = ours.log_prob(nt.tensor(float(value)))
        told = f"{family}.log_prob({value})"
        assert_close(found, expected.numpy(), "composite", operator=told, absolute=0.0)


@pytest.mark.parametrize(("name", "at"), [("logits", LOGITS), ("probs", PROBS)])
@pytest.mark.parametrize("family", ["Bernoulli", "Geometric", "Binomial", "ContinuousBernoulli"])
def test_no_digit_of_an_entropy_cancels(family: str, name: str, at: Any) -> None:
    at = at[np.abs(at - 0.5) > 0.2] if family == "ContinuousBernoulli" else at  # 0 at 1/2
    ours, theirs = pair(name, at, FAMILIES[family][0])
    expected = theirs.entropy().numpy()
    assert_close(ours.entropy(), expected, "composite", operator=f"{family}.entropy", absolute=0.0)


@pytest.mark.parametrize("family", ["Bernoulli", "Geometric", "Binomial"])
def test_no_digit_of_a_variance_or_a_divergence_cancels(family: str) -> None:
    make = FAMILIES[family][0]
    ours, theirs = pair("logits", LOGITS, make)
    assert_close(ours.variance, theirs.variance.numpy(), "composite", absolute=0.0)
    q, other = pair("logits", LOGITS[::-1].copy() + np.float32(1), make)
    expected = torch.distributions.kl_divergence(theirs, other).numpy()
    assert_close(nt.distributions.kl_divergence(ours, q), expected, "composite", absolute=0.0)
