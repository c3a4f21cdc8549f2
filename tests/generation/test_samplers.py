"""Samplers against their definitions, token by token, and the frequencies that they draw."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbatorch.generation.samplers import (
    DRY,
    XTC,
    Candidates,
    Chain,
    Grammar,
    JSONSchema,
    LogitBias,
    MinP,
    Mirostat,
    MirostatV2,
    Penalties,
    Random,
    Sampler,
    Temperature,
    Text,
    TopK,
    TopNSigma,
    TopP,
    Typical,
)
from numbatorch.generation.samplers.chain import KINDS, Options, chain
from numbatorch.generation.samplers.dry import breakers_of
from numbatorch.generation.samplers.largest import places_of_largest

# Few distinct values, so that ties are common.
LOGITS = st.lists(st.integers(-8, 8).map(lambda n: n / 2), min_size=1, max_size=12).map(
    lambda values: np.array(values, np.float32)
)
SHARES = st.floats(0.05, 0.99)
NEAR = 1e-5  # sums of probabilities this near to a threshold are decided by rounding


def softmax(values: list[float]) -> list[float]:
    most = max(values)
    powers = [math.exp(value - most) for value in values]
    total = sum(powers)
    return [power / total for power in powers]


def left(sampler: Sampler, logits: np.ndarray, text: Text | None = None) -> Candidates:
    return Chain([sampler], text or Text()).left(logits)


def pairs(found: Candidates) -> dict[int, float]:
    """Logits by token, without those that are ruled out."""
    every = zip(found.ids.tolist(), found.logits.tolist(), strict=True)
    return {token: logit for token, logit in every if logit > -math.inf}


def fewest(order: list[int], shares: list[float], share: float, beyond: bool) -> list[int] | None:
    """The first of an order that reach a share; None where rounding decides how many."""
    total, kept = 0.0, []
    for token in order:
        kept.append(token)
        total += shares[token]
        if abs(total - share) < NEAR:
            return None
        if total > share if beyond else total >= share:
            break
    return kept


@given(LOGITS, st.integers(1, 14))
def test_top_k_keeps_the_largest_and_of_ties_the_first(logits: np.ndarray, k: int) -> None:
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    assert left(TopK(k), logits).ids.tolist() == order[:k]


@given(LOGITS, SHARES, st.integers(0, 4), st.booleans())
def test_top_p_keeps_the_fewest_that_reach_the_share(
    logits: np.ndarray, share: float, least: int, ordered: bool
) -> None:
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    kept = fewest(order, softmax(logits.tolist()), share, beyond=False)
    if kept is not None:
        steps: list[Sampler] = [TopK(len(logits))] * ordered + [TopP(share, least)]
        found = Chain(steps, Text()).left(logits)
        assert found.ids.tolist() == order[: max(len(kept), least)]


@given(LOGITS, SHARES, st.integers(0, 4), st.booleans())
def test_min_p_keeps_what_is_near_the_likeliest(
    logits: np.ndarray, share: float, least: int, ordered: bool
) -> None:
    shares = softmax(logits.tolist())
    kept = {token for token, p in enumerate(shares) if p >= share * max(shares)}
    if all(abs(p - share * max(shares)) > NEAR * share for p in shares):
        steps: list[Sampler] = [TopK(len(logits))] * ordered + [MinP(share, least)]
        found = set(Chain(steps, Text()).left(logits).ids.tolist())
        if len(kept) >= least:
            assert found == kept
        else:
            assert kept <= found and len(found) == min(least, len(logits))


@given(LOGITS, SHARES)
def test_typical_keeps_the_surprise_that_is_expected(logits: np.ndarray, share: float) -> None:
    shares = softmax(logits.tolist())
    entropy = -sum(p * math.log(p) for p in shares)
    distance = [abs(-math.log(p) - entropy) for p in shares]
    order = sorted(range(len(logits)), key=lambda token: distance[token])
    kept = fewest(order, shares, share, beyond=True)
    if kept is None or len(kept) == len(order):
        return
    if distance[order[len(kept)]] - distance[kept[-1]] > NEAR:
        assert set(left(Typical(share), logits).ids.tolist()) == set(kept)


@given(LOGITS, st.floats(0.1, 3.0))
def test_top_n_sigma_keeps_what_is_near_the_largest(logits: np.ndarray, n: float) -> None:
    values = logits.astype(np.float64)
    least = values.max() - n * values.std()
    if np.abs(values - least).min() > NEAR or len(logits) == 1:
        found = pairs(left(TopNSigma(n), logits))
        kept = [0] if len(logits) == 1 else np.flatnonzero(values >= least).tolist()
        assert list(found) == kept


@given(LOGITS, st.floats(0.05, 0.5))
def test_xtc_leaves_the_least_likely_of_the_top(logits: np.ndarray, threshold: float) -> None:
    shares = softmax(logits.tolist())
    if any(abs(p - threshold) < NEAR for p in shares):
        return
    order = sorted(range(len(logits)), key=lambda token: (-shares[token], token))
    top = [token for token in order if shares[token] >= threshold]
    kept = [token for token in order if token not in top[:-1]]
    assert set(left(XTC(1.0, threshold), logits).ids.tolist()) == set(kept)


def test_xtc_acts_as_often_as_it_is_likely() -> None:
    logits = np.zeros(4, np.float32)
    steps = Chain([XTC(0.3, 0.2)], Text(random=Random(0)))
    acted = sum(len(steps.left(logits)) == 1 for _ in range(2000))
    assert abs(acted - 600) <= 4 * math.sqrt(2000 * 0.3 * 0.7)


@given(LOGITS, st.floats(0.1, 4.0), st.floats(0.0, 2.0), st.floats(0.5, 2.0))
def test_dynamic_temperature_follows_the_entropy(
    logits: np.ndarray, temperature: float, around: float, exponent: float
) -> None:
    found = left(Temperature(temperature, around, exponent), logits)
    divisor = temperature
    if around and len(logits) > 1:
        shares = softmax(logits.tolist())
        entropy = -sum(p * math.log(p) for p in shares) / math.log(len(logits))
        least, most = max(0.0, temperature - around), temperature + around
        divisor = least + (most - least) * entropy**exponent
    elif around:
        divisor = 1.0
    if divisor > 1e-3:
        np.testing.assert_allclose(found.logits, logits / divisor, rtol=1e-4, atol=1e-6)


@given(
    LOGITS,
    st.lists(st.integers(0, 15), max_size=20),
    st.floats(0.5, 2.0),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.integers(-1, 25),
)
def test_penalties_count_the_last_tokens(
    logits: np.ndarray, ids: list[int], repeat: float, frequency: float, presence: float, last: int
) -> None:
    found = left(Penalties(repeat, frequency, presence, last), logits, Text(ids))
    window = ids if last < 0 else ids[len(ids) - min(last, len(ids)) :]
    for token, value in enumerate(logits.tolist()):
        wanted, times = value, window.count(token)
        if times:
            wanted = value * repeat if value <= 0 else value / repeat
            wanted -= times * frequency + presence
        assert found.logits[token] == pytest.approx(wanted, rel=1e-5, abs=1e-5)


@given(LOGITS, st.lists(st.integers(0, 11), min_size=1, max_size=20))
def test_penalties_and_bias_find_their_tokens_behind_a_filter(
    logits: np.ndarray, ids: list[int]
) -> None:
    later: list[Sampler] = [Penalties(1.5, 0.1), LogitBias({1: 1.5, 40: 3.0})]
    whole = pairs(Chain(later, Text(ids)).left(logits))
    found = pairs(Chain([TopK(5), *later], Text(ids)).left(logits))
    kept = left(TopK(5), logits).ids.tolist()
    assert found == {token: whole[token] for token in kept}


def test_a_bias_is_added_and_rules_out() -> None:
    logits = np.array([0.0, 5.0, 1.0], np.float32)
    steps = Chain([LogitBias({1: -math.inf, 2: 0.5}), Temperature(0.0)], Text())
    assert steps.choose(logits) == 2
    assert steps.left(logits).logits.tolist() == [1.5]
    with pytest.raises(FloatingPointError, match="all tokens are ruled out"):
        Chain([LogitBias(dict.fromkeys(range(3), -math.inf))], Text()).choose(logits)


def repeated(ids: list[int], breakers: set[int]) -> dict[int, int]:
    """By the definition: for each token the longest end of the text that is before it in it."""
    found: dict[int, int] = {}
    end = max((place + 1 for place, id in enumerate(ids) if id in breakers), default=0)
    for place in range(1, len(ids)):
        size = 0
        while size < min(place, len(ids) - end) and ids[place - 1 - size] == ids[-1 - size]:
            size += 1
        if ids[place] not in breakers:
            found[ids[place]] = max(found.get(ids[place], 0), size)
    return found


class Words:
    """A tokenizer as far as DRY knows it: each letter is a token, and a pair of the last two."""

    vocab_size = 6

    def token_bytes(self, id: int) -> bytes:
        return (b"a", b"b", b"c", b"d", b"e", b"de")[id]

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return ["abcde".index(letter) for letter in text]


@given(
    st.lists(st.integers(0, 4), max_size=30),
    st.integers(1, 4),
    st.integers(-1, 32),
    st.sampled_from(["", "c", "ce"]),
)
def test_dry_grows_with_the_repetition(ids: list[int], least: int, last: int, cuts: str) -> None:
    tokenizer: Any = Words()
    sampler = DRY(0.5, 1.5, least, last, tuple(cuts))
    found = left(sampler, np.zeros(6, np.float32), Text(ids, tokenizer=tokenizer)).logits
    window = ids if last < 0 else ids[len(ids) - min(last, len(ids)) :]
    lengths = repeated(window, {"abcde".index(cut) for cut in cuts})
    for token in range(6):
        length = lengths.get(token, 0)
        wanted = -0.5 * 1.5 ** (length - least) if length >= least else 0.0
        assert found[token] == pytest.approx(wanted, rel=1e-5)


def test_a_breaker_of_several_tokens() -> None:
    tokenizer: Any = Words()
    assert breakers_of(tokenizer, ("dec",)) == {3: [(4, 2)], 5: [(2,)]}
    assert breakers_of(tokenizer, ("e",)) == {4: [()], 5: [()]}
    sampler = DRY(1.0, 2.0, 1, -1, ("dec",))
    for ids, wanted in (
        ([0, 1, 0], [(1, -1.0)]),
        ([0, 1, 3, 4, 2, 0], [(1, -1.0)]),
        ([2, 0, 1, 3, 4, 2, 0], [(1, -1.0)]),  # c a would be two, but c ends a breaker
        ([2, 0, 1, 5, 2, 0], [(1, -1.0)]),
        ([2, 0, 1, 4, 2, 0], [(1, -2.0)]),
        ([0, 1, 3, 4, 2], []),
    ):
        found = left(sampler, np.zeros(6, np.float32), Text(ids, tokenizer=tokenizer)).logits
        assert [(token, value) for token, value in enumerate(found.tolist()) if value] == wanted


def test_dry_does_not_overflow() -> None:
    sampler = DRY(1.0, 1.75, 2, -1, ())
    found = left(sampler, np.zeros(3, np.float32), Text([1] * 2000)).logits
    assert np.isfinite(found).all() and found[1] < -1e38


def test_mirostat_by_its_formulas() -> None:
    rng = np.random.default_rng(0)
    logits = np.sort(rng.standard_normal(300).astype(np.float32) * 3)[::-1].copy()
    shares = np.array(softmax(logits.tolist()))
    for version, sampler in ((1, Mirostat(3.0, 0.2)), (2, MirostatV2(3.0, 0.2))):
        step = sampler.begin(Text(random=Random(0)))
        numbers, mu = Random(0), 6.0
        for _ in range(20):
            if version == 1:
                t = np.log(np.arange(2, 101) / np.arange(1, 100))
                b = np.log(shares[:99] / shares[1:100])
                s = (t * b).sum() / (t * t).sum()
                k = ((s - 1) * 2**mu / (1 - 300.0 ** (1 - s))) ** (1 / s)
                kept = shares[: max(int(k), 1)]
            else:
                kept = shares[-np.log2(shares) <= mu]
            kept = kept / kept.sum()
            token = int(np.searchsorted(kept.cumsum(), numbers()))
            assert step(Candidates(logits)).ids.tolist() == [token]
            mu -= 0.2 * (-np.log2(kept[token]) - 3.0)


@pytest.mark.parametrize("sampler", [Mirostat(), MirostatV2()])
def test_mirostat_of_few_tokens(sampler: Any) -> None:
    for values in ([0.0], [0.0, 0.0, 0.0], [0.0, -np.inf], [5.0, -5.0]):
        step = sampler.begin(Text(random=Random(0)))
        for _ in range(20):
            (token,) = step(Candidates(np.array(values, np.float32))).ids.tolist()
            assert values[token] > -np.inf


def test_mirostat_brings_the_surprise_to_its_goal() -> None:
    logits = np.random.default_rng(0).standard_normal(5000).astype(np.float32) * 2
    logs = (logits - np.log(np.exp(logits).sum())) / -math.log(2)
    for sampler in (Mirostat(4.0), MirostatV2(4.0)):
        step = sampler.begin(Text(random=Random(0)))
        seen = [logs[step(Candidates(logits)).ids[0]] for _ in range(600)]
        assert abs(np.mean(seen[100:]) - 4.0) < 3.0


@given(LOGITS, st.integers(0, 2**32))
def test_a_drawn_token_is_a_candidate(logits: np.ndarray, seed: int) -> None:
    steps = Chain(chain({"temperature": 0.8, "top_k": 4, "top_p": 0.9}), Text(random=Random(seed)))
    assert steps.choose(logits) in pairs(steps.left(logits))


@given(LOGITS)
def test_greedy_is_the_first_of_the_largest(logits: np.ndarray) -> None:
    for steps in (chain({}), chain({"top_k": 3, "top_p": 0.5}), [TopK(1)]):
        assert Chain(steps, Text()).choose(logits) == logits.tolist().index(logits.max())


@pytest.mark.parametrize("size", [4, 5000])
def test_frequencies_follow_the_probabilities(size: int) -> None:
    logits = np.full(size, -np.inf, np.float32)
    shares = (0.5, 0.25, 0.15, 0.1)
    logits[:: size // 4][:4] = np.log(shares)
    steps, draws = Chain([], Text(random=Random(1))), 10000
    found = [steps.choose(logits) for _ in range(draws)]
    for place, share in enumerate(shares):
        count = found.count(place * (size // 4))
        assert abs(count - draws * share) <= 4 * math.sqrt(draws * share * (1 - share))


@given(
    st.integers(0, 3000),
    st.integers(1, 400),
    st.integers(1, 50),
    st.integers(0, 2**32),
)
def test_few_of_many_are_found_in_order(size: int, count: int, kinds: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, kinds, size).astype(np.float32)
    values[values == 0] = -np.inf
    expected = np.argsort(-values, kind="stable")[:count]
    assert places_of_largest(values, count).tolist() == expected.tolist()


@pytest.mark.parametrize("sampler", [TopP(0.97), Typical(0.97), TopP(0.1, min_keep=700)])
def test_a_large_vocabulary_is_ordered_as_far_as_needed(sampler: TopP | Typical) -> None:
    logits = np.random.default_rng(0).standard_normal(20000).astype(np.float32)
    shares = np.array(softmax(logits.tolist()))
    values = shares
    if isinstance(sampler, Typical):
        values = -np.abs(-np.log(shares) + (shares * np.log(shares)).sum())
    order = np.argsort(-values, kind="stable")
    goal = sampler.typical_p if isinstance(sampler, Typical) else sampler.top_p
    count = int(np.searchsorted(shares[order].cumsum(), goal)) + 1
    found = set(left(sampler, logits).ids.tolist())
    wanted = set(order[: max(count, sampler.min_keep)].tolist())
    assert len(found ^ wanted) <= 2  # rounding decides at the margin


def test_the_default_order_is_that_of_llama_cpp() -> None:
    """Filters before the temperature: at 0.1 after it, min_p would leave one token."""
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    how: dict[str, Any] = {"temperature": 0.1, "min_p": 0.3}
    assert len(Chain(chain(how), Text()).left(logits)) == 3
    other = chain(how, ["temperature", "min_p"])
    assert [type(sampler) for sampler in other] == [Temperature, MinP]
    assert len(Chain(other, Text()).left(logits)) == 1


def test_a_chain_of_names_and_objects() -> None:
    mixed = chain({"top_k": 3, "logit_bias": {2: 1}}, ["top_k", TopP(0.5), "temperature"])
    assert mixed == (LogitBias({2: 1.0}), TopK(3), TopP(0.5), Temperature(0.0))
    assert chain({"mirostat": 2, "mirostat_tau": 3, "temperature": 0.7}) == (
        JSONSchema(),
        Grammar(),
        LogitBias(),
        Temperature(0.7),
        MirostatV2(3.0),
    )
    assert chain({"top_k": 5}, ["top_k"], {"top_k": 7, "top_p": 0.5}) == (TopK(5),)


def test_options_are_the_fields_of_the_samplers() -> None:
    from dataclasses import fields

    from numbatorch.generation.samplers.chain import KINDS, Options

    names = {field.name for kind in KINDS.values() for field in fields(kind)}
    assert set(Options.__annotations__) == names | {"mirostat"}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_an_error(bad: float, temperature: float) -> None:
    logits = np.array([0.0, bad, 1.0], np.float32)
    with pytest.raises(FloatingPointError, match=r"largest logit is (nan|inf), at token 1"):
        Chain([Temperature(temperature)], Text()).choose(logits)


def test_nothing_but_minus_infinity_is_an_error() -> None:
    with pytest.raises(FloatingPointError):
        Chain([], Text()).choose(np.full(3, -np.inf, np.float32))


SAMPLERS: list[Callable[[], Sampler]] = [
    lambda: TopP(0.5),
    lambda: TopK(2),
    lambda: MinP(0.1),
    lambda: Typical(0.5),
    lambda: TopNSigma(1.0),
    lambda: XTC(1.0),
    lambda: Temperature(2.0, 0.5),
    lambda: Mirostat(),
    lambda: MirostatV2(),
    lambda: Penalties(1.1),
]


@pytest.mark.parametrize("make", SAMPLERS)
def test_tokens_at_minus_infinity_are_never_drawn(make: Callable[[], Sampler]) -> None:
    logits = np.array([-np.inf, 0.0, -np.inf], np.float32)
    for seed in range(20):
        assert Chain([make()], Text([0, 1], Random(seed))).choose(logits) == 1


EXTREMES = [0.0, -1.0, 1e-300, 1e-50, 1e-44, 1e-30, 0.5, 1.0, 1e30, 3e38, 1e300, math.inf, math.nan]
NUMBERS = [name for name, kind in Options.__annotations__.items() if kind in (float, int)]


@given(st.data())
def test_any_argument_is_refused_or_leaves_tokens_to_draw_from(data: st.DataObject) -> None:
    """By name and without a warning, whatever the order of samplers."""
    options: dict[str, Any] = {}
    for name in data.draw(st.lists(st.sampled_from(NUMBERS), min_size=1, unique=True)):
        if name != "mirostat":
            whole = Options.__annotations__[name] is int
            kinds = [0, 1, 2, 5, 2**70, -1, 1.5, None] if whole else [*EXTREMES, 10**400, "a"]
            options[name] = data.draw(st.sampled_from(kinds))
    options["dry_sequence_breakers"] = []
    options["logit_bias"] = {0: data.draw(st.sampled_from([-math.inf, -3e38, 3e38, 1e-50, 1e39]))}
    names = [name for name in KINDS if name not in ("grammar", "json_schema")]
    order = data.draw(st.permutations(names))
    try:
        made = chain(options, order)
    except (IndexError, TypeError, ValueError) as error:
        assert any(name in str(error) for name in options), error
        return
    chosen = [-math.inf, -1e30, -3.0, 0.0, 1.0, 1e30]
    some = st.lists(st.sampled_from(chosen), min_size=3, max_size=20)
    logits = np.array([1.0, 2.0, *data.draw(some)], np.float32)
    text = Text([0, 1, 0, 1, 0], Random(0))
    steps = Chain(made, text)
    for _ in range(3):
        found = steps.left(logits)
        assert not np.isnan(found.logits).any()
        assert -math.inf < found.logits.max() < math.inf
        text.ids.append(int(found.ids[found.draw(text.random)]))
