"""Gradients of parts that lie apart are written beside each other, by one launch."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.testing import assert_close, assert_launches


def gradient(x: Any, use: Any) -> nt.Tensor:
    x = nt.tensor(x).requires_grad_()
    use(x).backward()
    assert x.grad is not None
    return x.grad


X = np.arange(24.0, dtype=np.float32).reshape(4, 6) / 10


def test_the_gradient_of_split_is_one_launch() -> None:
    x = nt.tensor(X).requires_grad_()
    nt.realize(x)
    total = sum((part.exp() * (i + 1)).sum() for i, part in enumerate(x.split(2, 1)))
    total.backward()  # type: ignore[union-attr]
    assert_launches(x.grad, 1)
    assert_close(x.grad, np.exp(X) * np.repeat([1, 2, 3], 2).astype(np.float32), "elementwise")


def test_parts_that_leave_elements_out_and_parts_that_meet() -> None:
    def left_out(x: nt.Tensor) -> nt.Tensor:
        return (x[:, :2] ** 2).sum() + (x[1:3, 3:] * 3).sum()

    expected = np.zeros_like(X)
    expected[:, :2] = 2 * X[:, :2]
    expected[1:3, 3:] = 3
    assert_close(gradient(X, left_out), expected, "elementwise")

    def meeting(x: nt.Tensor) -> nt.Tensor:
        return (x[:, :3] ** 2).sum() + (x[:, 2:] * 3).sum() + x[::2].sum()

    expected = np.zeros_like(X)
    expected[:, :3] += 2 * X[:, :3]
    expected[:, 2:] += 3
    expected[::2] += 1
    assert_close(gradient(X, meeting), expected, "elementwise")


@pytest.mark.parametrize("size", [2, 3, 40])
def test_rows_and_steps(size: int) -> None:
    values = np.random.default_rng(0).standard_normal((size, 3)).astype(np.float32)

    def rows(x: nt.Tensor) -> nt.Tensor:
        return sum(((x[i] ** 2).sum() * i for i in range(size)), nt.tensor(0.0))

    expected = 2 * values * np.arange(size, dtype=np.float32)[:, None]
    assert_close(gradient(values, rows), expected, "elementwise")

    def steps(x: nt.Tensor) -> nt.Tensor:
        return (x[::2] ** 2).sum() + (x[1::2] * 5).sum()

    expected = np.where(np.arange(size)[:, None] % 2 == 0, 2 * values, np.float32(5))
    assert_close(gradient(values, steps), expected, "elementwise")


def test_second_derivatives_go_through_parts_that_are_written() -> None:
    def slope(x: nt.Tensor) -> nt.Tensor:
        found = nt.func.grad(lambda x: (x[:, :3] ** 3).sum() + (x[:, 3:] ** 2).sum())(x)
        return (found**2).sum()

    expected = np.concatenate([36 * X[:, :3] ** 3, 8 * X[:, 3:]], 1)
    assert_close(nt.func.grad(slope)(nt.tensor(X)), expected, "gradient")


def test_parts_that_meet_are_added_in_place() -> None:
    x = nt.tensor(X).requires_grad_()
    y = x[:3] * 2 + x[1:].exp()
    y.backward(nt.tensor(X[1:]))
    assert_launches(x.grad, 3)  # zeros, the one part, the other one on top
    expected = np.zeros_like(X)
    expected[1:] += X[1:] * np.exp(X[1:])
    expected[:3] += 2 * X[1:]
    assert_close(x.grad, expected, "elementwise")


def test_a_whole_and_its_parts() -> None:
    def use(x: nt.Tensor) -> nt.Tensor:
        return (x[:, 1:3] ** 2).sum() + (x**3).sum() + (x[::3, 2:] * 4).sum()

    expected = 3 * X**2
    expected[:, 1:3] += 2 * X[:, 1:3]
    expected[::3, 2:] += 4
    assert_close(gradient(X, use), expected, "elementwise")


@pytest.mark.parametrize("size", [3, 40])
def test_windows(size: int) -> None:
    values = np.random.default_rng(0).standard_normal((size, 3)).astype(np.float32)

    def windows(x: nt.Tensor) -> nt.Tensor:
        return sum(((x[i : i + 2] ** 2).sum() * i for i in range(size - 1)), nt.tensor(0.0))

    factors = np.zeros((size, 1), np.float32)
    for i in range(size - 1):
        factors[i : i + 2] += i
    assert_close(gradient(values, windows), 2 * values * factors, "elementwise")

    def slope(x: nt.Tensor) -> nt.Tensor:
        return (nt.func.grad(windows)(x) ** 3).sum()

    expected = 3 * (2 * values * factors) ** 2 * 2 * factors
    assert_close(nt.func.grad(slope)(nt.tensor(values)), expected, "gradient")


def test_the_gradient_of_parts_that_were_put_together_copies_nothing() -> None:
    a, b = nt.tensor(X[:1]).requires_grad_(), nt.tensor(X).requires_grad_()
    nt.cat([a, b]).backward(nt.tensor(np.concatenate([X[:1], X])))
    assert a.grad is not None
    assert b.grad is not None
    assert_launches([a.grad + 1, b.grad + 1], 2)


def test_the_gradient_of_a_value_that_is_written_later_has_zeros_there() -> None:
    base = nt.tensor(X).requires_grad_() * 1
    base.retain_grad()
    out = base.clone()
    out[1:3] = nt.tensor(X[:2])
    out.backward(nt.tensor(X))
    expected = X.copy()
    expected[1:3] = 0
    assert base.grad is not None
    assert_close(base.grad, expected, "elementwise")


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_adds_what_is_beside_to_the_inside(mode: Any) -> None:
    x = nt.tensor(X[None]).requires_grad_()
    g = np.random.default_rng(0).standard_normal((1, 7, 9)).astype(np.float32)
    nt.nn.functional.pad(x, (2, 1, 1, 2), mode=mode).backward(nt.tensor(g))
    places = nt.nn.functional.pad(nt.arange(24).reshape(1, 4, 6), (2, 1, 1, 2), mode=mode).numpy()
    expected = np.bincount(places.ravel(), g.ravel(), 24).reshape(X[None].shape)
    assert_close(x.grad, expected.astype(np.float32), "reduction")


@pytest.mark.drawn(2)
@pytest.mark.parametrize("number", range(40))
def test_any_slices_as_often_as_one_likes(number: int) -> None:
    """Their sizes may add up to the whole by chance: parts that meet fill less than that."""
    rng = np.random.default_rng(number)
    size = int(rng.integers(2, 7))
    expected = np.zeros(size, np.float32)
    x = nt.arange(float(size)).requires_grad_()
    total: Any = nt.zeros(())
    for weight in rng.integers(1, 5, int(rng.integers(1, 9))).tolist():
        start, end = sorted(rng.integers(0, size + 1, 2).tolist())
        where: Any = slice(start, end, int(rng.integers(1, 3)))
        where = int(rng.integers(size)) if rng.random() < 0.5 else where
        expected[where] += weight
        total = total + (x[where] * weight).sum()
    nt.full((size,), np.nan).realize()  # what memory without values may hold
    total.backward()
    assert x.grad is not None
    assert_close(x.grad, expected, "exact")
