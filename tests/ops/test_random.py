"""Random numbers: the same bits on every device, and what they are made of."""

from collections.abc import Callable

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.ops.random import box_muller
from numbatorch.ops.scalar_run import run
from tests.conftest import SIMULATED

COUNT = 60 if SIMULATED else 5000
DRAWS: dict[str, Callable[[str], nt.Tensor]] = {
    "rand": lambda device: nt.rand(COUNT, device=device),
    "randn": lambda device: nt.randn(COUNT, device=device),
    "randn in float16": lambda device: nt.randn(COUNT, dtype=nt.float16, device=device),
    "randint": lambda device: nt.randint(-5, 2**40, (COUNT,), device=device),
    "randperm": lambda device: nt.randperm(COUNT, device=device),
    "dropout": lambda device: nt.nn.functional.dropout(nt.ones(COUNT, device=device), 0.3),
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
