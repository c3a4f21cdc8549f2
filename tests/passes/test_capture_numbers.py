"""numbatorch.compile: dynamic floats, random numbers as in a call, interrupts of a new trace."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.interrupts import interruptions


def ones(*shape: int) -> Any:
    return nt.ones(*shape, device="cpu")


def test_floats_may_be_dynamic() -> None:
    def step(x: Any, rate: float, n: int = 2) -> Any:
        return x - (1 - rate / 2) * x + rate**2, (x * n).clamp(max=rate), rate - x

    compiled = nt.compile(step, dynamic=("rate", "n"))
    rng = np.random.default_rng(0)
    for dtype in (nt.float32, nt.float64, nt.float16):
        x = nt.tensor(rng.standard_normal(5), device="cpu").to(dtype)
        for rate in (0.5, 0.25, -3.0, 1e-3):
            for n in (2, 5):
                for found, expected in zip(compiled(x, rate, n), step(x, rate, n), strict=True):
                    assert found.dtype is expected.dtype is dtype
                    assert found.tolist() == expected.tolist()
    assert compiled.traces == 3
    whole = nt.compile(lambda x, c: x * c, dynamic=("c",))
    assert whole(nt.tensor([1, 2], device="cpu"), 0.5).tolist() == [0.5, 1.0]
    assert whole(nt.tensor([1, 2], device="cpu"), 3).tolist() == [3, 6]
    assert whole(nt.tensor([1, 2], device="cpu"), 0.25).tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    "freeze",
    [
        lambda x, c: x * 2 if c > 1 else x,
        lambda x, c: x * float(c),
        lambda x, c: x * np.sqrt(c),
        lambda x, c: x * __import__("math").sqrt(c),
        lambda x, c: x * round(c),
        lambda x, c: x * int(f"{c:.0f}"),
        lambda x, c: x if c else -x,
        lambda x, c: x * {0.5: 1}[c],
    ],
)
def test_what_would_freeze_a_float_is_an_error(freeze: Any) -> None:
    with pytest.raises((TypeError, KeyError)):
        nt.compile(freeze, dynamic=("c",))(ones(2), 0.5)


def test_random_numbers_are_those_of_a_call() -> None:
    own = nt.Generator(3)

    def draw(x: Any) -> Any:
        nt.rand(3, device="cpu")  # drawn and not used
        seeded = nt.Generator(7)
        return (
            nt.nn.functional.dropout(x, 0.5),
            nt.randn(4, device="cpu"),
            nt.rand(2, generator=own, device="cpu"),
            nt.rand(2, generator=seeded, device="cpu"),
            nt.randperm(9, device="cpu"),
        )

    found = []
    for function in (draw, nt.compile(draw)):
        nt.manual_seed(5)
        own.manual_seed(3)
        found.append([[t.tolist() for t in function(ones(50))] for _ in range(4)])
    assert found[0] == found[1]
    streams = [[repr(call[i]) for call in found[1]] for i in range(5)]
    assert [len(set(stream)) for stream in streams] == [4, 4, 4, 1, 4]


def test_a_function_that_seeds_draws_the_same_each_time() -> None:
    @nt.compile
    def draw() -> Any:
        nt.manual_seed(1)
        return nt.rand(3, device="cpu")

    first = draw().tolist()
    assert draw().tolist() == draw().tolist() == first
    nt.manual_seed(1)
    assert nt.rand(3, device="cpu").tolist() == first


# What interrupts a finalizer goes no further.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:compile. .* is traced:RuntimeWarning")
def test_interrupts_of_new_traces_leave_a_function_that_goes_on(seed: int) -> None:
    scale, x = [2.0], ones(2)
    compiled = nt.compile(lambda x: x * scale[0])
    compiled(x)

    def change() -> None:
        scale[0] = 5.0 - scale[0]
        compiled._drop(next(iter(compiled._keys)))
        compiled(x)

    moments = 0
    for _moment in interruptions(change, step=29 + seed % 8):
        moments += 1
        for scale[0] in (2.0, 3.0):
            assert compiled(x).tolist() == [scale[0]] * 2
    assert moments > 5
    assert compiled.traces == sum(map(len, compiled._traces.values()))
