"""Printing a tensor looks as in PyTorch."""

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


@pytest.mark.parametrize("name", VALUES)
def test_repr_equals_torch(name: str) -> None:
    values = np.asarray(VALUES[name])
    expected = repr(torch.from_numpy(values.copy()))
    assert repr(nt.from_numpy(values)) == expected.replace("torch.", "numbatorch.")


def test_repr_of_a_tensor_with_gradient_equals_torch() -> None:
    assert repr(nt.tensor([1.0, 2.0], requires_grad=True)) == repr(
        torch.tensor([1.0, 2.0], requires_grad=True)
    )
