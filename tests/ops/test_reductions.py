"""Reductions and scans in every form that they are printed in, against NumPy in float64.

Sizes lie on both sides of what the code tells apart: 64 states of a block or a row, 16,384 elements
of a chunk, 32 results that are many, 256 threads of a group.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.testing import assert_close, assert_launches
from numbatorch.testing.teams import divided

Array = np.ndarray[Any, Any]

# rows of one state or a block, columns in several blocks, few results over several chunks
SHAPES = {
    "short rows": ((130, 50), 1),
    "long rows": ((40, 1000), 1),
    "columns": ((300, 150), 0),
    "columns of a middle dimension": ((3, 200, 70), 1),
    "split": ((3, 70_001), 1),
    "split, all of two dimensions": ((260, 301), None),
    "columns of few results": ((5_001, 3), 0),
}
REDUCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sum": (nt.sum, np.sum),
    "prod": (
        lambda x, d: nt.prod(nt.where(x > 3.5, 2.0, 1.0), d),
        lambda x, axis: np.prod(np.where(x > 3.5, 2.0, 1.0), axis=axis),
    ),
    "amax": (nt.amax, np.max),
    "argmin": (nt.argmin, np.argmin),
    "var": (nt.var, lambda x, axis: np.var(x, axis=axis, ddof=1)),
    "mean": (nt.mean, np.mean),
    "nanmean": (nt.nanmean, np.mean),
    "logsumexp": (
        lambda x, d: nt.logsumexp(x, (0, 1) if d is None else d),
        lambda x, axis: np.log(np.exp(x).sum(axis=axis)),
    ),
    "any": (lambda x, d: nt.any(x > 4, d), lambda x, axis: np.any(x > 4, axis=axis)),
    "all": (lambda x, d: nt.all(x < 4, d), lambda x, axis: np.all(x < 4, axis=axis)),
    "count_nonzero": (nt.count_nonzero, np.count_nonzero),
    "norm": (lambda x, d: nt.norm(x, 3, d), lambda x, axis: (abs(x) ** 3).sum(axis) ** (1 / 3)),
}
SCANS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "cumsum": (nt.cumsum, np.cumsum),
    "cumprod": (
        lambda x, d: nt.cumprod(nt.where(x > 3.5, 2.0, 1.0), d),
        lambda x, axis: np.cumprod(np.where(x > 3.5, 2.0, 1.0), axis=axis),
    ),
    "cummax": (lambda x, d: nt.cummax(x, d).values, np.maximum.accumulate),
    "logcumsumexp": (nt.logcumsumexp, np.logaddexp.accumulate),
}


def data(shape: tuple[int, ...]) -> Array:
    """Quarters of whole numbers, so that sums are exact in whatever order."""
    rng = np.random.default_rng(len(shape) + shape[0])
    return (np.rint(4 * rng.standard_normal(shape) + 1) / 4).astype(np.float32)


@pytest.mark.parametrize("form", SHAPES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_equals_numpy_in_every_form(name: str, form: str) -> None:
    shape, dim = SHAPES[form]
    x = data(shape)
    ours, reference = REDUCTIONS[name]
    out = ours(nt.tensor(x, device="cpu"), dim)
    expected = np.asarray(reference(x.astype(np.float64), axis=dim))
    assert_close(out, expected, kind="reduction" if out.is_floating_point() else "exact")
    assert_launches(ours(nt.tensor(x, device="cpu") * 2, dim), 1)


@pytest.mark.parametrize(
    "form", [form for form, (_shape, dim) in SHAPES.items() if dim is not None]
)
@pytest.mark.parametrize("name", SCANS)
def test_scan_equals_numpy_in_every_form(name: str, form: str) -> None:
    shape, dim = SHAPES[form]
    x = data(shape)
    ours, reference = SCANS[name]
    expected = reference(x.astype(np.float64), axis=dim)
    found = ours(nt.tensor(x, device="cpu"), dim)
    assert_close(found, expected, kind="reduction")
    assert_launches(ours(nt.tensor(x, device="cpu") * 2, dim), 1)
    if name != "cummax":  # whose two results take nothing along
        assert_launches(ours(nt.tensor(x, device="cpu"), dim) + 1, 1)


@pytest.mark.parametrize("name", ["cumsum", "cummax", "var", "logsumexp", "sum", "argmin"])
def test_groups_of_threads_and_several_tiles(name: str, metal: None) -> None:
    x = data((3, 700))
    ours, reference = {**REDUCTIONS, **SCANS}[name]
    out = ours(nt.tensor(x, device="metal"), 1)
    expected = np.asarray(reference(x.astype(np.float64), axis=1))
    assert_close(out, expected, kind="reduction" if out.is_floating_point() else "exact")


@pytest.mark.parametrize("form", ["long rows", "columns", "split"])
def test_bits_do_not_depend_on_the_number_of_threads(form: str) -> None:
    shape, dim = SHAPES[form]
    x = data(shape)
    found: list[list[bytes]] = []
    for parts in (1, 3):
        with divided(parts):
            held = nt.tensor(x, device="cpu")
            results = [nt.sum(held, dim), *nt.var_mean(held, dim), nt.cumsum(held, dim or 0)]
            results += [nt.logsumexp(held, dim), *nt.cummax(held, dim or 0)]
            found.append([result.numpy().tobytes() for result in results])
    assert found[0] == found[1]


@pytest.mark.parametrize("shape", [(37, 1001), (3, 1030, 70), (5, 2, 530)])
def test_bits_of_columns_do_not_depend_on_their_neighbours(shape: tuple[int, ...]) -> None:
    """How wide a block of columns is, and so what is left of its vectors, depends on the team."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found: list[list[bytes]] = []
    for parts in (1, 2, 3, 8):
        with divided(parts):
            held = nt.tensor(x, device="cpu")
            results = [nt.sum(held, -2), nt.sum(held * held, -2), nt.prod(held, -2)]
            results += [nt.var(held, -2), nt.mean(held * 2 + held, -2), nt.argmax(held, -2)]
            found.append([result.numpy().tobytes() for result in results])
    assert found[1:] == found[:1] * 3


@pytest.mark.parametrize(
    ("shape", "dim"), [((9, 3), 1), ((7, 67), 1), ((4, 1300), 1), ((7, 70), 0), ((70_001,), 0)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_extremes_of_signs_zeros_infinities_and_nan(
    shape: tuple[int, ...], dim: int, dtype: Any, device: str
) -> None:
    if device == "metal" and dtype is np.float64:
        pytest.skip("has no float64")
    special = (-np.inf, -2.0, -1e-40, -0.0, 0.0, 1e-40, 3.0, np.inf, np.nan, -np.nan)
    rng = np.random.default_rng(1)
    for first, last in ((0, 4), (2, 4), (3, 5), (4, 6), (4, 8), (1, 7), (0, 10), (8, 10), (3, 4)):
        x = rng.choice(np.array(special[first:last]), shape).astype(dtype)
        held = nt.tensor(x, device=device)
        both = nt.aminmax(held, dim=dim)
        lowest, highest = (f(x, axis=dim) for f in (np.min, np.max))
        for ours, reference in zip(
            (nt.amin(held, dim), nt.amax(held, dim), both.min, both.max),
            (lowest, highest) * 2,
            strict=True,
        ):
            np.testing.assert_array_equal(ours.numpy(), reference)
        if device != "numpy":  # which takes whichever zero comes last
            negative = (np.signbit(x).any(dim), np.signbit(x).all(dim))
            for found, sign in zip((both.min.numpy(), both.max.numpy()), negative, strict=True):
                assert (np.signbit(found) == sign)[found == 0].all()
        np.testing.assert_array_equal(nt.argmin(held, dim).numpy(), np.argmin(x, dim))
        np.testing.assert_array_equal(nt.argmax(held, dim).numpy(), np.argmax(x, dim))


@pytest.mark.parametrize("place", [0, 63, 64, 511, 512, 575, 576, 1023, 1024, 1299])
def test_the_place_of_an_extreme_is_found_in_every_block(place: int, device: str) -> None:
    x = np.zeros((2, 1300), np.float32)
    x[0, place:] = 1.0
    x[1, place] = np.nan
    assert nt.argmax(nt.tensor(x, device=device), 1).tolist() == [place, place]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32"])
def test_sums_of_small_integers_are_exact(dtype: str) -> None:
    x = np.ones((3, 140_001), dtype)
    if dtype != "bool":
        x[0], x[1] = np.iinfo(dtype).max, np.iinfo(dtype).min
    for held in (x, x[:, :65_536], np.repeat(x[:, :300], 40, 0)):
        assert (nt.sum(nt.tensor(held, device="cpu"), 1).numpy() == held.sum(1, np.int64)).all()


@pytest.mark.parametrize("rows", range(1, 10))
def test_scans_of_rows_side_by_side(rows: int, device: str) -> None:
    x = np.random.default_rng(rows).standard_normal((rows, 90)).astype(np.float32)
    held = nt.tensor(x, device=device)
    assert_close(nt.cumsum(held, 1), np.cumsum(x.astype(np.float64), 1), kind="reduction")
    assert (nt.cummax(held, 1).values.numpy() == np.maximum.accumulate(x, 1)).all()


def test_ties_are_the_first_in_a_reduction_and_the_last_in_a_scan(device: str) -> None:
    x = np.zeros((2, 500), np.float32)
    x[:, [70, 300, 450]] = 1.0
    held = nt.tensor(x, device=device)
    assert nt.argmax(held, 1).tolist() == [70, 70]
    assert nt.max(held, 1).indices.tolist() == [70, 70]
    assert nt.argmax(held).item() == 70
    assert nt.cummax(held, 1).indices[:, [69, 71, 449, 499]].tolist() == [[69, 70, 300, 450]] * 2


def test_nan_wins_wherever_it_stands(device: str) -> None:
    x = np.ones((2, 500), np.float32)
    x[0, 130] = x[0, 480] = np.nan
    held = nt.tensor(x, device=device)
    assert nt.argmin(held, 1).tolist() == [130, 0]
    assert np.isnan(nt.amax(held, 1).numpy()).tolist() == [True, False]
    values, indices = nt.cummin(held, 1)
    assert np.isnan(values.numpy()).sum(1).tolist() == [370, 0]
    assert indices[:, -1].tolist() == [480, 499]
    assert nt.nanmean(held, 1).tolist() == [1.0, 1.0]


def test_half_types_accumulate_in_float32(device: str) -> None:
    ones = nt.ones(5000, dtype=nt.bfloat16, device=device)
    assert nt.cumsum(ones, 0)[4095].item() == 4096.0
    assert nt.sum(ones).item() == 4992.0  # 5000, rounded once
    assert nt.var(ones).item() == 0.0


def test_variance_of_far_away_numbers_does_not_cancel(device: str) -> None:
    x = np.random.default_rng(0).standard_normal((4, 900)).astype(np.float32) + 1000
    found = nt.var(nt.tensor(x, device=device), 1)
    assert_close(found, x.astype(np.float64).var(1, ddof=1), kind="reduction")


def test_infinities_in_sums_of_powers(device: str) -> None:
    x = np.array([[-np.inf, -np.inf], [-np.inf, 2.0], [np.inf, 1.0], [np.inf, np.inf]], np.float32)
    held = nt.tensor(x, device=device)
    assert nt.logsumexp(held, 1).tolist() == [-np.inf, 2.0, np.inf, np.inf]
    assert nt.logcumsumexp(held, 1)[:, 1].tolist() == [-np.inf, 2.0, np.inf, np.inf]
