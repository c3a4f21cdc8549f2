"""The kernels behind samplers: the largest of a row, and all of a chain on the few of these."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbatorch.generation.samplers import (
    XTC,
    Chain,
    LogitBias,
    MinP,
    Penalties,
    Random,
    Sampler,
    Temperature,
    Text,
    TopK,
    TopNSigma,
    TopP,
)
from numbatorch.generation.samplers.largest import LONG, MOST, by_kernel, largest
from numbatorch.ops.cpu.candidates import BLOCK, LIMIT, ROOM

Array = np.ndarray[Any, Any]


def rows(size: int, seed: int) -> dict[str, Array]:
    """Rows of all kinds: those in ascending order and of one number fill all memory."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(size)
    found = {
        "normal": normal,
        "few numbers": rng.integers(-2, 3, size),
        "ascending": np.arange(size),
        "descending": -np.arange(size),
        "one number": np.full(size, -7.5),
        "zeros": np.where(rng.random(size) < 0.5, -0.0, 0.0),
        "mostly ruled out": np.where(rng.random(size) < 0.99, -np.inf, normal),
        "ruled out": np.full(size, -np.inf),
        "infinite": np.where(rng.random(size) < 0.1, np.inf, normal),
        "subnormal": normal * 1e-40,
        "huge": normal * 1e38,
    }
    with np.errstate(over="ignore"):
        return {name: row.astype(np.float32) for name, row in found.items()}


@pytest.mark.parametrize("size", [LONG, LONG + 1, 4097 * BLOCK - 3, 3 * ROOM, 49152])
@pytest.mark.parametrize("count", [1, 2, 40, LIMIT])
def test_the_kernel_finds_what_a_stable_sort_puts_first(size: int, count: int) -> None:
    for name, row in rows(size, count).items():
        expected = np.argsort(-row, kind="stable")[:count]
        found = by_kernel(row, count)
        assert found is not None
        assert found.places.tolist() == expected.tolist(), name
        assert found.values.tobytes() == row[expected].tobytes(), name


@given(
    st.integers(LONG, LONG + 200),
    st.integers(1, LIMIT),
    st.integers(1, 50),
    st.integers(0, 2**32),
)
def test_of_equal_elements_the_kernel_finds_the_first(
    size: int, count: int, kinds: int, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(-kinds, kinds, size).astype(np.float32)
    found = by_kernel(values, count)
    assert found is not None
    assert found.places.tolist() == np.argsort(-values, kind="stable")[:count].tolist()


@pytest.mark.parametrize("place", [0, 1, 63, 64, 2047, 4999])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_nan_is_found_wherever_it_is(place: int, sign: int) -> None:
    row = np.linspace(-1, 1, 5000, dtype=np.float32)
    row[place] = np.copysign(np.float32(np.nan), sign)
    assert by_kernel(row, 40) is None
    with pytest.raises(FloatingPointError, match=f"logit is -?nan, at token {place}"):
        Chain([TopK(40)], Text()).choose(row)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_a_largest_logit_that_is_infinite_is_refused(value: float) -> None:
    row = np.full(5000, -np.inf, np.float32)
    row[7] = value
    with pytest.raises(FloatingPointError, match=f"the largest logit is {value}"):
        Chain([TopK(40), TopP(0.9)], Text()).choose(row)


def test_what_the_kernel_is_not_made_for_is_found_all_the_same() -> None:
    rng = np.random.default_rng(0)
    cases = {
        "float64": rng.standard_normal(5000),
        "steps": rng.standard_normal(10000).astype(np.float32)[::2],
        "short": rng.standard_normal(LONG - 1).astype(np.float32),
        "long": rng.standard_normal(MOST + 1).astype(np.float32),
    }
    for name, row in cases.items():
        assert by_kernel(row, 40) is None, name
        expected = np.argsort(-row, kind="stable")[:40]
        assert largest(row, 40).places.tolist() == expected.tolist(), name
    row = rng.standard_normal(5000).astype(np.float32)
    for count in (0, LIMIT + 1, 6000):
        expected = np.argsort(-row, kind="stable")[:count]
        assert largest(row, count).places.tolist() == expected.tolist()


CHAINS: dict[str, list[Sampler]] = {
    "default": [TopK(40), TopP(0.95), MinP(0.05), Temperature(0.8)],
    "transformers": [Temperature(0.7), TopK(50), TopP(0.9)],
    "temperature first": [TopK(64), Temperature(2.5), TopP(0.8), MinP(0.1)],
    "in between": [TopK(100), TopP(0.99), Temperature(0.5), TopP(0.7), MinP(0.02)],
    "some are kept": [TopK(30), TopP(0.2, 7), MinP(0.9, 9), Temperature(1.5)],
    "all are kept": [TopK(LIMIT), TopP(0.001, 1000), MinP(0.5, 2**40)],
    "one": [TopK(1), Temperature(0.8)],
    "tiny": [TopK(20), MinP(1e-60), Temperature(0.01)],
    "nearly all": [TopK(9), TopP(1 - 2**-53), Temperature(3.0)],
    "bias": [LogitBias({5: 9.0, 6: -np.inf}), TopK(40), TopP(0.5), Temperature(0.8)],
    "penalties": [Penalties(1.3, 0.2, 0.1), TopK(40), TopP(0.95), Temperature(0.8)],
    "exclusion": [TopK(40), XTC(0.5, 0.05), Temperature(0.8)],
    "sigma": [TopNSigma(2.0), TopK(10), MinP(0.2)],
    "twice": [TopK(40), Temperature(0.8), Temperature(1.2)],
    "greedy": [TopK(40), TopP(0.9), Temperature(0.0)],
    "greedy alone": [Temperature(0.0)],
    "greedy first": [Temperature(1e-60), TopP(0.9), Temperature(0.5)],
    "dynamic from 0": [Temperature(0.0, 2.0)],
    "alone": [Temperature(0.8)],
    "dynamic": [TopK(40), Temperature(1.0, 0.5)],
    "two": [TopK(90), TopK(12), TopP(0.9)],
}


@pytest.mark.parametrize("samplers", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("size", [300, 5000, 32000])
def test_a_chain_chooses_what_its_steps_leave_and_draw(samplers: list[Sampler], size: int) -> None:
    ids = [1, 5, 5, 9]
    rng, other = np.random.default_rng(size), Text(ids, Random(3))
    quick, slow = Chain(samplers, Text(ids, Random(3))), Chain(samplers, other)
    for number in range(200):
        scale = (0.1, 1.0, 4.0, 30.0)[number % 4]
        logits = (rng.standard_normal(size) * scale).astype(np.float32)
        if number % 5 == 0:
            logits = np.round(logits)
        if number % 7 == 0:
            logits[rng.random(size) < 0.9995] = -np.inf
            logits[size // 2] = 0
        found = slow.left(logits)
        assert quick.choose(logits) == found.ids[found.draw(other.random)]


def test_logits_that_overflow_over_a_temperature_are_drawn_too() -> None:
    logits = np.full(5000, -1e38, np.float32)
    logits[[3, 4]] = 3e38
    samplers: list[Sampler] = [TopK(10), Temperature(0.1)]
    drawn = Chain(samplers, Text(random=Random(0)))
    assert {drawn.choose(logits) for _ in range(50)} == {3, 4}


def test_numbers_are_those_that_numpy_draws_one_by_one() -> None:
    ours, theirs = Random(11), np.random.Generator(np.random.Philox(11))
    assert [ours() for _ in range(200)] == [theirs.random() for _ in range(200)]
