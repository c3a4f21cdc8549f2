"""The comparison itself: it fails where it has to, and says where."""

import numpy as np
import pytest

from tests.compare import assert_close, tolerance


def test_equal_values_nan_and_infinity_pass() -> None:
    values = np.array([0.0, -1.5, np.nan, np.inf, -np.inf], np.float32)
    assert_close(values, values.copy(), "exact")


@pytest.mark.parametrize(
    ("actual", "expected"), [(np.inf, 1.0), (1.0, np.inf), (np.nan, 1.0), (1.0, np.nan)]
)
def test_nan_and_infinity_equal_nothing_else(actual: float, expected: float) -> None:
    with pytest.raises(AssertionError, match="1 of 1 values differ"):
        assert_close(np.float32([actual]), np.float32([expected]), "model")


def test_failure_names_the_worst_value_and_the_context() -> None:
    actual = np.zeros((2, 3), np.float32)
    actual[1, 2] = 0.5
    inputs = (np.zeros((2, 3), np.float32),)
    with pytest.raises(AssertionError) as failure:
        assert_close(actual, np.zeros((2, 3)), operator="add", inputs=inputs, device="cpu", seed=7)
    text = str(failure.value)
    for part in ("operator add", "device cpu", "input (2, 3) float32", "seed 7", "(1, 2)", "0.5"):
        assert part in text


def test_shapes_have_to_match_without_broadcast() -> None:
    with pytest.raises(AssertionError, match="shapes differ"):
        assert_close(np.zeros((2, 1)), np.zeros((2, 3)))


def test_integers_compare_exactly() -> None:
    with pytest.raises(AssertionError):
        assert_close(np.array([2**60 + 1]), np.array([2**60]), "model")


def test_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        tolerance("float32", "loose")
