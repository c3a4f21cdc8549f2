"""Corner cases of reading and writing at places: repeated, empty and negative ones, zeros, ties."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DTypeError, OutOfRange, ShapeError
from numbatorch.testing import gradcheck
from numbatorch.testing.teams import divided

INDEX = [1, 0, 1, 1]


@pytest.fixture(autouse=True)
def _default_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", device)


def lists(*values: Any) -> list[Any]:
    return [nt.tensor(value) for value in values]


def test_of_equal_places_the_last_counts() -> None:
    x, index, source = lists([9, 9, 9], INDEX, [1, 2, 3, 4])
    assert x.scatter(0, index, source).tolist() == [2, 4, 9]
    assert x.index_copy(0, index, source).tolist() == [2, 4, 9]
    assert nt.put(x, index, source).tolist() == [2, 4, 9]
    assert nt.put(x, index, source, accumulate=True).tolist() == [11, 17, 9]
    x[index] = source
    assert x.tolist() == [2, 4, 9]
    value = nt.tensor([1.0, 2.0, 3.0, 4.0]).requires_grad_()
    nt.zeros(3).scatter(0, index, value).sum().backward()
    assert value.grad is not None and value.grad.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce(include_self: bool) -> None:
    x, index, source = lists([5, 2, 7], INDEX, [1, 2, 3, -4])
    found = [
        x.scatter_reduce(0, index, source, reduce, include_self=include_self).tolist()
        for reduce in ("sum", "prod", "mean", "amax", "amin")
    ]
    with_self = [[7, 2, 7], [10, -24, 7], [3, 0, 7], [5, 3, 7], [2, -4, 7]]
    without = [[2, 0, 7], [2, -12, 7], [2, 0, 7], [2, 3, 7], [2, -4, 7]]
    assert found == (with_self if include_self else without)


def test_extremes_share_their_gradient_and_nan_wins() -> None:
    x = nt.tensor([3.0, 1.0]).requires_grad_()
    source = nt.tensor([3.0, 2.0, 3.0]).requires_grad_()
    nt.scatter_reduce(x, 0, nt.tensor([0, 0, 0]), source, "amax").sum().backward()
    assert x.grad is not None and source.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [1 / 3, 1])
    np.testing.assert_allclose(source.grad.numpy(), [1 / 3, 0, 1 / 3])
    found = nt.zeros(2).index_reduce(0, nt.tensor([1, 1]), nt.tensor([np.nan, 4.0]), "amin")
    assert np.isnan(found[1].item()) and found[0].item() == 0


def test_second_derivative_of_products_where_factors_are_zero() -> None:
    def product(values: nt.Tensor) -> nt.Tensor:
        return nt.ones(1).scatter_reduce(0, nt.tensor([0, 0, 0]), values, "prod").sum()

    values = nt.tensor([0.0, 3.0, 0.0])
    assert nt.grad(product)(values).tolist() == [0, 0, 0]
    assert nt.grad(lambda x: nt.grad(product)(x)[0])(values).tolist() == [0, 0, 3]


def test_gradients_of_writes(device: str) -> None:
    if device != "numpy":
        return  # kernels have the registry's properties
    rng = np.random.default_rng(0)
    x, y = (nt.tensor(rng.permutation(12).reshape(3, 4) / 4, dtype=nt.float64) for _ in range(2))
    index = nt.tensor(rng.integers(0, 3, (3, 4)))
    rows = nt.tensor([2, 0, 2])
    for reduce in ("prod", "mean", "amax"):
        for include in (True, False):
            gradcheck(
                lambda x, y, r=reduce, i=include: nt.scatter_reduce(
                    x, 0, index, y, r, include_self=i
                ).square(),
                x,
                y,
            )
    gradcheck(lambda x, y: nt.index_add(x, 0, rows, y, alpha=3).square(), x, y)
    gradcheck(lambda x, y: nt.masked_scatter(x, nt.tensor([True, False, True, True]), y), x, y)


def test_places_counted_from_the_end() -> None:
    x = nt.tensor([[1, 2], [3, 4]])
    assert nt.take(x, nt.tensor([-1, 0])).tolist() == [4, 1]
    assert nt.put(x, nt.tensor(-1), nt.tensor(9)).tolist() == [[1, 2], [3, 9]]
    assert x.index_fill(1, nt.tensor(-1), 0).tolist() == [[1, 0], [3, 0]]
    assert nt.take_along_dim(x, nt.tensor([[-1]]), 1).tolist() == [[2], [4]]
    for read in (lambda i: x.gather(0, i), lambda i: x.index_select(0, i[0])):
        with pytest.raises(OutOfRange, match="index -1"):
            read(nt.tensor([[-1]])).tolist()
    with pytest.raises(OutOfRange):
        nt.take(x, nt.tensor([-5])).tolist()


def test_an_error_names_the_index_as_it_was_given(device: str) -> None:
    x = nt.arange(6, device=device).reshape(2, 3)
    for given, number in (
        ([-3], -3),
        ([2], 2),
        (([0, 1], [1, 7]), 7),
        (([5], [0]), 5),
        (([0], [-4]), -4),
    ):
        lists = given if isinstance(given, tuple) else (given,)
        indices = tuple(nt.tensor(i, device=device) for i in lists)
        with pytest.raises(OutOfRange, match=f"index {number} is out of range"):
            x[indices].tolist()
    far = nt.tensor([-7], device=device)
    for read in (
        lambda: nt.take(x, far),
        lambda: nt.put(x, far, far),
        lambda: x.index_fill(1, far, 0),
        lambda: nt.take_along_dim(x, far, None),
    ):
        with pytest.raises(OutOfRange, match="index -7 is out of range"):
            read().tolist()
    for one in (3, -1):
        with pytest.raises(OutOfRange, match=f"index {one} is out of range"):
            nt.nn.functional.one_hot(nt.tensor([0, one], device=device), 3).tolist()


def test_nothing_to_write_and_nothing_to_read() -> None:
    x, none = nt.tensor([1.0, 2.0]), nt.tensor([], dtype=nt.int64)
    nothing, place = nt.zeros(0), nt.tensor([0])
    for write in (nothing.index_add, nothing.index_copy, nothing.scatter, nothing.scatter_add):
        with pytest.raises(OutOfRange, match="nothing to write to in a dimension of size 0"):
            write(0, place, nt.ones(1))
    for call in (lambda: nothing.index_fill(0, place, 1), lambda: nothing.put(place, nt.ones(1))):
        with pytest.raises(OutOfRange, match="nothing to write to"):
            call()
    with pytest.raises(OutOfRange, match="num_classes is -5"):
        nt.nn.functional.one_hot(nt.tensor([1]), -5)
    for number in (-1, 3):
        with pytest.raises(OutOfRange, match=f"index {number}"):
            nt.nn.functional.one_hot(nt.tensor([number]), 3).tolist()
    assert (
        x.gather(0, none).shape == nt.take(x, none).shape == x.index_select(0, none).shape == (0,)
    )
    assert x.scatter(0, none, nothing).tolist() == x.index_add(0, none, nothing).tolist() == [1, 2]
    assert nt.put(nothing, none, nothing).shape == (0,)
    assert nt.masked_scatter(x, nt.tensor([False, False]), nothing).tolist() == [1, 2]
    with pytest.raises(OutOfRange):
        nt.masked_scatter(x, nt.tensor([False, True]), nothing).tolist()
    scalar = nt.tensor(1.0)
    assert scalar.scatter(0, nt.tensor(0), 5).item() == 5
    assert scalar.index_add(0, nt.tensor(0), nt.tensor(2.0)).item() == 3


def test_truths_and_halves() -> None:
    flags = nt.tensor([True, False])
    assert flags.index_add(0, nt.tensor([1, 1]), nt.tensor([True, True])).tolist() == [True, True]
    ones = nt.zeros(1, dtype=nt.float16).index_add(
        0, nt.zeros(4099, dtype=nt.int64), nt.ones(4099, dtype=nt.float16)
    )
    assert ones.item() == 4100


def test_more_threads_than_places() -> None:
    for parts in (1, 2, 8):
        with divided(parts):
            index, ones = nt.tensor([0, 1, 0] * 9), nt.ones(27)
            assert nt.zeros(2).index_add(0, index, ones).tolist() == [18, 9]
            assert nt.zeros(2).index_copy(0, index, ones).tolist() == [1, 1]


def test_slices_are_replaced() -> None:
    x = nt.zeros(2, 3, dtype=nt.int64)
    assert nt.select_scatter(x, nt.tensor([1, 2]), 1, -1).tolist() == [[0, 0, 1], [0, 0, 2]]
    assert nt.slice_scatter(x, nt.tensor([[7], [8]]), 1, -1).tolist() == [[0, 0, 7], [0, 0, 8]]
    assert nt.diagonal_scatter(x, nt.tensor([5, 6]), 1).tolist() == [[0, 5, 0], [0, 0, 6]]
    with pytest.raises(OutOfRange, match="step is 0"):
        nt.slice_scatter(x, x, 0, 0, 2, 0)


def test_what_does_not_fit_is_refused() -> None:
    x, index = nt.zeros(3), nt.tensor([0, 1])
    with pytest.raises(DTypeError, match="another dtype"):
        x.scatter(0, index, nt.tensor([1, 2]))
    with pytest.raises(DTypeError, match="integers"):
        x.gather(0, nt.tensor([0.0]))
    with pytest.raises(ShapeError, match="not within"):
        x.scatter_add(0, nt.zeros(4, dtype=nt.int64), nt.zeros(3))
    with pytest.raises(ShapeError, match="must be"):
        x.index_add(0, index, nt.zeros(3))
    with pytest.raises(OutOfRange):
        x.index_copy(0, nt.tensor([3]), nt.ones(1)).tolist()
    with pytest.raises(TypeError, match="one of them"):
        x.scatter(0, index)
