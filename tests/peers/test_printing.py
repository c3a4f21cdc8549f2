"""Printing a tensor looks as in PyTorch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.peers.sides import torch

RNG = np.random.default_rng(0)
VALUES: dict[str, Any] = {
    "number": np.float32(1.5),
    "integer number": np.int64(-3),
    "empty": np.zeros((0,), np.float32),
    "empty rows": np.zeros((2, 0), np.float32),
    "vector": np.float32([1, 2.5, -3]),
    "whole floats": np.float32([1, 2, 3]),
    "integers": np.int64([[1, -200], [3, 4]]),
    "int32": np.int32([1, 2]),
    "bools": np.array([[True, False], [False, True]]),
    "float64": np.float64([1.23456789, 2]),
    "matrix": RNG.standard_normal((3, 4)).astype(np.float32),
    "cube": RNG.standard_normal((2, 3, 4)).astype(np.float32),
    "wide range": np.float32([1e-8, 1, 1e8]),
    "large": np.float32([123456.0, 1.5]),
    "whole large": np.float32([1e9, 1.0]),
    "special": np.float32([np.nan, np.inf, -np.inf, 1.5]),
    "only special": np.float32([np.nan, np.inf]),
    "zeros": np.zeros((2, 2), np.float32),
    "long row": RNG.standard_normal(40).astype(np.float32),
    "summarised": np.arange(2000, dtype=np.float32),
    "summarised matrix": np.arange(2500, dtype=np.int64).reshape(50, 50),
    "float16": np.float16([0.1, 2]),
    "complex": np.complex64([1.5 + 2j, -3.25 - 0.5j, 100j]),
    "whole complex": np.complex64([[1 + 2j, -3], [0, 4j]]),
    "complex128": np.complex128([1e-8 + 1j, 2 - 3j]),
    "complex number": np.complex64(1 - 1j),
    "long complex": (RNG.standard_normal(20) + 1j * RNG.standard_normal(20)).astype(np.complex64),
}


OPTIONS: list[dict[str, Any]] = [
    {"precision": 2},
    {"precision": 0},
    {"threshold": 3},
    {"threshold": 3, "edgeitems": 1},
    {"threshold": 3, "edgeitems": 0},
    {"linewidth": 30},
    {"linewidth": 0},
    {"sci_mode": True},
    {"sci_mode": False},
    {"profile": "short"},
    {"profile": "full"},
    {"profile": "full", "precision": 6, "sci_mode": True},
]


@pytest.fixture
def default_options() -> Iterator[None]:
    yield
    for side in (nt, torch):
        side.set_printoptions(profile="default")


@pytest.mark.usefixtures("default_options")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_are_those_of_torch(options: dict[str, Any]) -> None:
    for side in (nt, torch):
        side.set_printoptions(**options)
    for values in VALUES.values():
        assert_printed_alike(np.asarray(values))
    for side in (nt, torch):  # an option stays until it is set, but for sci_mode
        side.set_printoptions(threshold=50)
    for values in VALUES.values():
        assert_printed_alike(np.asarray(values))


def test_options_that_are_none() -> None:
    wrong: Any
    for wrong in ({"precision": 1.5}, {"threshold": "many"}, {"edgeitems": True}):
        with pytest.raises(TypeError, match=r"set_printoptions: .* is .*, not a number"):
            nt.set_printoptions(**wrong)
    with pytest.raises(ValueError, match="linewidth is -1, which is negative"):
        nt.set_printoptions(linewidth=-1)
    with pytest.raises(ValueError, match="profile is 'long', not 'default' or 'short' or 'full'"):
        nt.set_printoptions(profile="long")  # type: ignore[arg-type]


def assert_printed_alike(values: Any) -> None:
    expected = repr(torch.from_numpy(values.copy()))
    ours, expected = repr(nt.from_numpy(values)), expected.replace("torch.", "numbatorch.")
    if "numbatorch.complex128" in expected:  # a longer name, which a line may have no room for
        ours, expected = " ".join(ours.split()), " ".join(expected.split())
    assert ours == expected


@pytest.mark.parametrize("name", VALUES)
def test_repr_equals_torch(name: str) -> None:
    assert_printed_alike(np.asarray(VALUES[name]))


def test_repr_of_a_tensor_with_gradient_equals_torch() -> None:
    assert repr(nt.tensor([1.0, 2.0], requires_grad=True)) == repr(
        torch.tensor([1.0, 2.0], requires_grad=True)
    )
