"""Sampling against its definitions, token by token, and the frequencies that it draws."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch.generation.sampling import Sampling, candidates, choose, penalized

# Few distinct values, so that ties are common.
LOGITS = st.lists(st.integers(-8, 8).map(lambda n: n / 2), min_size=1, max_size=12).map(
    lambda values: np.array(values, np.float32)
)
SETTINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    top_k=st.integers(0, 14),
    top_p=st.floats(0.05, 1.0),
    min_p=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
)


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def expected_tokens(logits: list[float], sampling: Sampling) -> list[int]:
    """The filters, one after the other, as their papers and transformers define them."""
    kept = list(range(len(logits)))
    scaled = [value / sampling.temperature for value in logits]
    if sampling.top_k:
        least = sorted(scaled, reverse=True)[: sampling.top_k][-1]
        kept = [token for token in kept if scaled[token] >= least]
    if sampling.top_p < 1:
        probability = dict(zip(kept, softmax([scaled[t] for t in kept]), strict=True))
        nucleus: list[int] = []
        for token in sorted(kept, key=lambda t: (-probability[t], t)):
            if sum(probability[t] for t in nucleus) >= sampling.top_p:
                break
            nucleus.append(token)
        kept = sorted(nucleus)
    if sampling.min_p:
        probability = dict(zip(kept, softmax([scaled[t] for t in kept]), strict=True))
        most = max(probability.values())
        kept = [t for t in kept if probability[t] >= sampling.min_p * most]
    return kept


def near_a_threshold(logits: list[float], sampling: Sampling) -> bool:
    """Whether rounding decides if a token is in: sums of probabilities that meet top_p or min_p."""
    near = []
    for change in (1 - 1e-9, 1 + 1e-9):
        top_p, min_p = min(sampling.top_p * change, 1.0), min(sampling.min_p * change, 1.0)
        near.append(replace(sampling, top_p=top_p, min_p=min_p))
    found = expected_tokens(logits, sampling)
    return any(expected_tokens(logits, other) != found for other in near)


@given(LOGITS, SETTINGS)
def test_filters_keep_what_their_definitions_keep(logits: np.ndarray, sampling: Sampling) -> None:
    values = logits.tolist()
    if near_a_threshold(values, sampling):
        return
    tokens, weights = candidates(logits, sampling)
    assert tokens.tolist() == expected_tokens(values, sampling)
    shares = softmax([values[t] / sampling.temperature for t in tokens])
    np.testing.assert_allclose(weights / weights.sum(), shares, rtol=1e-9)


@given(LOGITS, SETTINGS, st.integers(0, 2**32))
def test_a_drawn_token_is_a_candidate(logits: np.ndarray, sampling: Sampling, seed: int) -> None:
    token = choose(logits, sampling, np.random.default_rng(seed))
    assert token in candidates(logits, sampling)[0]


@given(LOGITS, st.floats(0.1, 4.0))
def test_greedy_is_the_first_of_the_largest(logits: np.ndarray, top_p: float) -> None:
    assert choose(logits, Sampling(), None) == logits.tolist().index(logits.max())
    only = Sampling(temperature=1.0, top_k=1, top_p=min(top_p, 1.0))
    token = choose(logits, only, np.random.default_rng(0))
    assert logits[token] == logits.max()


@given(LOGITS, st.lists(st.integers(0, 11), max_size=20), st.floats(0.5, 2.0))
def test_penalty_works_once_on_each_token_seen(
    logits: np.ndarray, seen: list[int], penalty: float
) -> None:
    seen = [token % len(logits) for token in seen]
    found = penalized(logits, seen, penalty)
    for token, value in enumerate(logits.tolist()):
        wanted = value
        if token in seen:
            wanted = value / penalty if value > 0 else value * penalty
        assert found[token] == pytest.approx(wanted, rel=1e-6)


def test_frequencies_follow_the_probabilities() -> None:
    logits = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))
    rng, draws = np.random.default_rng(1), 20000
    counts = np.zeros(4)
    for _ in range(draws):
        counts[choose(logits, Sampling(temperature=1.0), rng)] += 1
    for count, share in zip(counts, (0.5, 0.25, 0.15, 0.1), strict=True):
        assert abs(count - draws * share) <= 4 * math.sqrt(draws * share * (1 - share))


def test_low_temperature_sharpens_and_high_flattens() -> None:
    logits = np.array([2.0, 1.0, 0.0], np.float32)
    shares = []
    for temperature in (0.2, 1.0, 5.0):
        _, weights = candidates(logits, Sampling(temperature=temperature))
        shares.append(weights[0] / weights.sum())
    assert shares[0] > shares[1] > shares[2] > 1 / 3


def test_a_large_vocabulary_keeps_its_order() -> None:
    logits = np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    tokens, weights = candidates(logits, Sampling(temperature=1.0, top_k=50, top_p=0.9))
    assert len(tokens) <= 50
    assert (logits[tokens] >= np.sort(logits)[-50]).all()
    assert len(weights) == len(tokens)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_an_error(bad: float, temperature: float) -> None:
    logits = np.array([0.0, bad, 1.0], np.float32)
    with pytest.raises(FloatingPointError, match=r"largest logit is (nan|inf), at token 1"):
        choose(logits, Sampling(temperature), np.random.default_rng(0))


def test_nothing_but_minus_infinity_is_an_error() -> None:
    with pytest.raises(FloatingPointError):
        choose(np.full(3, -np.inf, np.float32), Sampling(), None)


def test_tokens_at_minus_infinity_are_never_drawn() -> None:
    logits = np.array([-np.inf, 0.0, -np.inf], np.float32)
    for seed in range(20):
        assert choose(logits, Sampling(temperature=1.0), np.random.default_rng(seed)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repeat_penalty": 0.0},
    ],
    ids=str,
)
def test_an_argument_out_of_its_range_is_named(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(nt.OutOfRange, match=f"{name} is .*must be"):
        Sampling(**wrong)  # type: ignore[arg-type]
