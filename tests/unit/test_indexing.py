"""Indexing, read and assigned, against NumPy where both agree and by hand where PyTorch differs."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch import DTypeError, OutOfRange, ShapeError


@pytest.fixture(autouse=True)
def _reference_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


@st.composite
def basic_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    items: list[Any] = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        bounds = st.one_of(st.none(), st.integers(-size - 2, size + 2))
        steps = st.sampled_from([None, 1, 2, 3, -1, -2])
        choices = [st.builds(slice, bounds, bounds, steps), st.just(slice(None))]
        if size:
            choices.append(st.integers(-size, size - 1))
        if draw(st.booleans()):
            items.append(None)
        items.append(draw(st.one_of(*choices)))
    if draw(st.booleans()):
        items.append(Ellipsis)
    return tuple(items)


def values(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)


@given(st.data())
def test_ints_slices_none_and_ellipsis_equal_numpy(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 5), max_size=4)))
    key = data.draw(basic_keys(shape))
    array = values(shape)
    x = nt.from_numpy(array.copy())
    np.testing.assert_array_equal(x[key].numpy(), array[key])
    part = np.asarray(-values(array[key].shape))
    array[key] = part
    x[key] = nt.from_numpy(part)
    np.testing.assert_array_equal(x.numpy(), array)


@given(st.data())
def test_integer_arrays_and_masks_equal_numpy(data: st.DataObject) -> None:
    """Without ints among them, where NumPy and PyTorch agree."""
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    key = tuple(
        rng.integers(-size, size, [(2, 3), (2, 1), (3,), (1,)][rng.integers(4)])
        if rng.random() < 0.5
        else slice(None)
        for size in shape
    )
    key = tuple(np.broadcast_to(k, (2, 3)) if isinstance(k, np.ndarray) else k for k in key)
    array = values(shape)
    x = nt.from_numpy(array)
    ours = tuple(nt.tensor(k) if isinstance(k, np.ndarray) else k for k in key)
    np.testing.assert_array_equal(x[ours].numpy(), array[key])
    mask = rng.random(shape[: rng.integers(1, len(shape) + 1)]) < 0.5
    np.testing.assert_array_equal(x[nt.tensor(mask)].numpy(), array[mask])


def test_placement_of_integer_tensors() -> None:
    x = nt.zeros(2, 3, 4, 5)
    i = nt.tensor([0, 1])
    assert x[:, i, :, :].shape == (2, 2, 4, 5)
    assert x[:, i, i].shape == (2, 2, 5)  # neighbours stay in place
    assert x[:, i, :, i].shape == (2, 2, 4)  # others move to the front
    assert x[0, :, i].shape == (3, 2, 5)  # an int selects first, as in PyTorch; NumPy: (2, 3, 5)
    assert x[i, 0, i].shape == (2, 5)
    assert x[i, None, i].shape == (2, 1, 4, 5)
    assert x[i[:, None], i].shape == (2, 2, 4, 5)
    assert x[..., i].shape == (2, 3, 4, 2) and x[nt.tensor(1)].shape == (3, 4, 5)
    assert x[True].shape == (1, 2, 3, 4, 5) and x[False].shape == (0, 2, 3, 4, 5)
    assert x[[0, 1], [1, 2]].shape == (2, 4, 5) and x[[]].shape == (0, 3, 4, 5)
    assert x[np.array([True, False])].shape == (1, 3, 4, 5)


def test_an_integer_tensor_as_index_is_not_read() -> None:
    ids = nt.tensor([0, 1]) + 1
    assert nt.arange(10)[ids].tolist() == [1, 2]
    x, y = nt.arange(10)[ids * 2], nt.arange(12).reshape(3, 4)[ids, -ids]
    assert ids.node.buffer is None
    assert x.tolist() == [2, 4] and y.tolist() == [7, 10]


def test_assignment_at_integers_and_masks() -> None:
    x = nt.zeros(3, 4)
    x[[0, 2], [1, 3]] = nt.tensor([5.0, 6.0])
    x[nt.tensor([1])] = 7
    x[x == 7] = 8
    x[:, 0] = nt.tensor([1, 2, 3])
    assert x.tolist() == [[1, 5, 0, 0], [2, 8, 8, 8], [3, 0, 0, 6]]
    x[x > 4] = nt.arange(5).float() * 10
    assert x.tolist() == [[1, 0, 0, 0], [2, 10, 20, 30], [3, 0, 0, 40]]
    x[[0, 0, 0], 0] = nt.tensor([7.0, 8.0, 9.0])  # the last one wins
    assert x[0, 0].item() == 9
    x[nt.tensor([True, False, True])] = nt.tensor([4.0, 3.0, 2.0, 1.0])
    assert x[0].tolist() == x[2].tolist() == [4, 3, 2, 1]
    x[0:0] = 5
    x[[]] = 5
    assert x[1].tolist() == [2, 10, 20, 30]


def test_assignment_converts_what_fits_and_views_see_it() -> None:
    x = nt.zeros(2, 2, dtype=nt.int64)
    row = x[0]
    x[0] = 2.0
    x[1] = nt.tensor([True, False])
    assert x.tolist() == [[2, 2], [1, 0]] and row.tolist() == [2, 2]
    for value in (2.5, float("nan"), nt.ones(2)):
        with pytest.raises(DTypeError):
            x[0] = value


@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        (2, OutOfRange, "index 2 is out of range for dimension 0 of size 2"),
        ((0, -4), OutOfRange, "dimension 1 of size 3"),
        ((0, 0, 0), OutOfRange, "3 indices for 2 dimensions"),
        ((..., ...), OutOfRange, "one ellipsis"),
        ([0, 2], OutOfRange, "index 2 is out of range"),
        (1.0, TypeError, "no int, slice"),
        ("a", TypeError, "no int, slice"),
        ([0.5], DTypeError, "float64"),
        (np.array([[True]]), OutOfRange, "mask"),
        (slice(None, None, 0), ValueError, "zero"),
    ],
)
def test_keys_that_do_not_fit(key: Any, error: type[Exception], text: str) -> None:
    x = nt.zeros(2, 3)
    with pytest.raises(error, match=text):
        _ = x[key]
    with pytest.raises(error, match=text):
        x[key] = 1


def test_tensors_that_are_no_indices_and_values_that_do_not_fit() -> None:
    x = nt.zeros(2, 3)
    with pytest.raises(DTypeError, match="float32"):
        _ = x[nt.zeros(2)]
    with pytest.raises(DTypeError, match="uint8 is a mask"):
        _ = x[nt.zeros(2, dtype=nt.uint8)]
    with pytest.raises(ShapeError, match="does not broadcast"):
        x[0] = nt.ones(2)
    with pytest.raises(ShapeError, match="does not broadcast"):
        x[x == 0] = nt.ones(2)
    with pytest.raises(TypeError, match="neither tensor nor number"):
        x[0] = "a"
    with pytest.raises(OutOfRange):
        x[nt.tensor([0, 5]), 0].numpy()
    with pytest.raises(OutOfRange):
        x[nt.tensor([0, 5]), nt.tensor([0, 0])].numpy()
