"""Random numbers: the same bits on every device, and what they are made of."""

import copy
from collections.abc import Callable

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.ops.random import box_muller
from numbatorch.ops.scalar_run import run
from numbatorch.tensor.random import COMPILED
from tests.conftest import SIMULATED

COUNT = 60 if SIMULATED else 5000
DRAWS: dict[str, Callable[[str], nt.Tensor]] = {
    "rand": lambda device: nt.rand(COUNT, device=device),
    "randn": lambda device: nt.randn(COUNT, device=device),
    "randn in float16": lambda device: nt.randn(COUNT, dtype=nt.float16, device=device),
    "randint": lambda device: nt.randint(-5, 2**40, (COUNT,), device=device),
    "randint of a wide range": lambda device: nt.randint(-5, 2**31, (COUNT,), device=device),
    "randperm": lambda device: nt.randperm(COUNT, device=device),
    "randperm by kernels": lambda device: nt.randperm(COMPILED + COUNT, device=device),
    "compiled randperm": lambda device: nt.compile(lambda: nt.randperm(COUNT, device=device))(),
    "dropout": lambda device: nt.nn.functional.dropout(nt.ones(COUNT, device=device), 0.3),
    "exponential": lambda device: nt.empty(COUNT, device=device).exponential_(),
    "bernoulli": lambda device: nt.bernoulli(nt.full((COUNT,), 0.3, device=device)),
    "poisson": lambda device: nt.poisson(nt.full((COUNT,), 12.5, device=device)),
    "in a fused sum": lambda device: nt.randn(COUNT, device=device) + 0.7,
}


def bits(x: nt.Tensor) -> np.ndarray:
    """What tells every number from every other, the signs of zeros too."""
    return np.frombuffer(x.numpy().tobytes(), np.uint8)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("seed", [0, 2**63 + 7])
def test_a_seed_gives_the_same_bits_on_every_device(
    draw: Callable[[str], nt.Tensor], seed: int, device: str
) -> None:
    nt.manual_seed(seed)
    expected = draw("numpy")
    nt.manual_seed(seed)
    np.testing.assert_array_equal(bits(draw(device)), bits(expected))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 257, COMPILED, COMPILED + 1, 3 * COMPILED])
def test_a_permutation_holds_every_number_once(n: int) -> None:
    found = nt.randperm(n)
    assert found.dtype is nt.int64
    np.testing.assert_array_equal(np.sort(found.numpy()), np.arange(n))


def test_permutations_of_few_numbers_are_equally_likely() -> None:
    nt.manual_seed(0)
    found = np.array([nt.randperm(3).numpy() for _ in range(3000)])
    _, counts = np.unique(found @ [9, 3, 1], return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 500).max() < 5 * 500**0.5


@pytest.mark.parametrize(("first", "end"), [(0, 1), (0, 100), (-5, 2**31), (3, 2**32 + 2)])
def test_integers_are_random_bits_times_their_range(first: int, end: int) -> None:
    nt.manual_seed(1)
    bits = nt.randint(-(2**63), 2**63, (1000,)).numpy().astype(np.uint64)
    nt.manual_seed(1)
    expected = [first + (int(word) * (end - first) >> 64) for word in bits]
    assert nt.randint(first, end, (1000,)).tolist() == expected


def words() -> tuple[np.ndarray, np.ndarray]:
    """Pairs of 32 random bits: any, u near its ends, and angles beside quarters of a turn."""
    rng = np.random.default_rng(0)
    x0, x1 = rng.integers(0, 2**32, (2, 400_000))
    x0[:1000] = np.arange(1000)
    x0[1000:2000] = 2**32 - 1 - np.arange(1000)
    x0[2000:100_000] = 2**32 - rng.integers(1, 2**20, 98_000)
    x1[100_000:200_000] = (rng.integers(0, 8, 100_000) << 29) + rng.integers(-4096, 4096, 100_000)
    return x0.astype(np.uint32), (x1 % 2**32).astype(np.uint32)


def exact(x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
    """What Box and Muller say, in float64; the cosine from the rest of the nearest quarter."""
    uniform = (x0.astype(np.float32) * 2.0**-32 + 2.0**-33).astype(np.float32)
    turn = (x1 >> 8) * 2.0**-24
    quarter = np.rint(4 * turn)
    rest = (4 * turn - quarter) * (np.pi / 2)
    sine, cosine = np.sin(rest), np.cos(rest)
    of_turn = np.choose(quarter.astype(int) % 4, [cosine, -sine, -cosine, sine])
    return np.sqrt(-2 * np.log(uniform.astype(np.float64))) * of_turn


def test_normal_numbers_are_within_3_ulp_of_box_and_muller() -> None:
    x0, x1 = words()
    actual, expected = run(box_muller, x0, x1), exact(x0, x1)
    assert actual.dtype == np.float32
    errors = np.abs(actual - expected) / np.spacing(np.abs(expected).astype(np.float32))
    worst = int(np.argmax(errors))
    assert errors[worst] <= 3, (x0[worst], x1[worst], actual[worst], expected[worst])
    assert errors.mean() < 0.5


def test_normal_numbers_at_the_ends_of_their_bits() -> None:
    first, last, half = np.uint32([0]), np.uint32([2**32 - 1]), np.uint32([2**31])
    largest = np.float32(np.sqrt(2 * 33 * np.log(2)))
    assert run(box_muller, first, first).item() == pytest.approx(largest, rel=2**-22)
    assert run(box_muller, first, half).item() == pytest.approx(-largest, rel=2**-22)
    assert (
        run(box_muller, last, first).item()
        == run(box_muller, first, np.uint32([2**30])).item()
        == 0
    )


def full(value: float) -> nt.Tensor:
    return nt.full((20_000,), value, dtype=nt.float64, device="numpy")


# What is drawn, its mean and its standard deviation.
DISTRIBUTIONS: dict[str, tuple[Callable[[], nt.Tensor], float, float]] = {
    "uniform": (lambda: full(0).uniform_(-1, 3), 1, 4 / 12**0.5),
    "normal": (lambda: nt.normal(full(3), 0.5), 3, 0.5),
    "log_normal": (lambda: full(0).log_normal_(0, 0.5), 1.13315, 0.6039),
    "exponential": (lambda: full(0).exponential_(4), 0.25, 0.25),
    "geometric": (lambda: full(0).geometric_(0.25), 4, 12**0.5),
    "bernoulli": (lambda: full(0).bernoulli_(full(0.3)), 0.3, 0.21**0.5),
    "random": (lambda: full(0).random_(-3, 5), 0.5, (63 / 12) ** 0.5),
    "few of Poisson": (lambda: nt.poisson(full(2.5)), 2.5, 2.5**0.5),
    "many of Poisson": (lambda: nt.poisson(full(250)), 250, 250**0.5),
    "few of tries": (lambda: nt.binomial(full(40), full(0.9)), 36, 3.6**0.5),
    "many of tries": (lambda: nt.binomial(full(400), full(0.6)), 240, 96**0.5),
    "gamma": (lambda: nt.gamma(full(9), 2.0), 4.5, 1.5),
    "gamma of a small shape": (lambda: nt.gamma(full(0.1)), 0.1, 0.1**0.5),
    "beta": (lambda: nt.beta(full(2), full(6)), 0.25, (12 / 576) ** 0.5),
}


@pytest.mark.parametrize("draw, mean, deviation", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_moments_of_distributions(
    draw: Callable[[], nt.Tensor], mean: float, deviation: float
) -> None:
    nt.manual_seed(7)
    values = draw().numpy()
    spread = deviation / len(values) ** 0.5
    assert abs(values.mean() - mean) < 5 * spread
    assert values.std() == pytest.approx(deviation, rel=0.1)


def test_what_distributions_are_given_is_checked() -> None:
    x = nt.zeros(3)
    for fill in (
        lambda: x.uniform_(3, -1),
        lambda: x.normal_(0, -1),
        lambda: x.exponential_(0),
        lambda: x.geometric_(1),
        lambda: x.cauchy_(0, 0),
        lambda: x.log_normal_(0, 0),
        lambda: x.bernoulli_(1.5),
        lambda: x.random_(5, 5),
        lambda: nt.normal(x, -nt.ones(3)),
        lambda: nt.multinomial(nt.tensor([1.0, -1.0]), 1),
        lambda: nt.multinomial(nt.tensor([1.0, 0.0]), 2),
    ):
        with pytest.raises(nt.OutOfRange):
            fill()
    with pytest.raises(nt.DTypeError):
        x.long().normal_()
    assert x.tolist() == [0, 0, 0]


def test_multinomial_draws_by_weight_and_without_replacement_each_once() -> None:
    nt.manual_seed(0)
    weights = nt.tensor([[1.0, 0.0, 3.0, 0.0], [0.0, 2.0, 2.0, 4.0]])
    drawn = nt.multinomial(weights, 4000, replacement=True).numpy()
    shares = np.stack([np.bincount(row, minlength=4) / 4000 for row in drawn])
    np.testing.assert_allclose(shares, [[0.25, 0, 0.75, 0], [0, 0.25, 0.25, 0.5]], atol=0.04)
    once = nt.multinomial(weights, 2).numpy()
    assert sorted(once[0]) == [0, 2] and len(set(once[1])) == 2 and 0 not in once[1]


def test_a_generator_goes_on_from_its_state() -> None:
    generator = nt.Generator(3)
    nt.rand(2, generator=generator)
    state = generator.get_state()
    first = [nt.bernoulli(nt.full((9,), 0.5), generator=generator).tolist() for _ in range(2)]
    generator.set_state(state)
    again = [nt.bernoulli(nt.full((9,), 0.5), generator=generator).tolist() for _ in range(2)]
    assert first == again and first[0] != first[1]


def test_a_generator_says_what_device_it_was_made_for() -> None:
    made = nt.Generator(device="cpu").manual_seed(3)
    assert made.device == nt.device("cpu") and made.initial_seed() == 3


def test_a_compiled_function_does_not_copy_a_generator() -> None:
    generator = nt.Generator(3)

    def step() -> nt.Tensor:
        return nt.rand(2, generator=copy.deepcopy(generator))

    with pytest.raises(RuntimeError, match="copy: a compiled function reads a generator's state"):
        nt.compile(step)()
