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
