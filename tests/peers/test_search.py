"""Searching and stepping between numbers of two dtypes, beside PyTorch."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

import numbatorch as nt
from tests.peers.sides import torch

DTYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()
CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "searchsorted": lambda t, x, y: t.searchsorted(x, y),
    "to the right": lambda t, x, y: t.searchsorted(x, y, right=True, out_int32=True),
    "rows": lambda t, x, y: t.searchsorted(t.stack([x, x]), y),
    "one value": lambda t, x, y: t.searchsorted(x, y[0, 1]),
    "sorter": lambda t, x, y: t.searchsorted(x.flip(0), y, sorter=t.tensor([3, 2, 1, 0])),
    "bucketize": lambda t, x, y: t.bucketize(y, x),
    "nextafter": lambda t, x, y: t.nextafter(x[:2], y[0]),
}


@pytest.mark.parametrize("name", CALLS)
def test_dtypes_meet_as_in_torch(name: str) -> None:
    for one, other in product(DTYPES, DTYPES):
        found = []
        for side in (nt, torch):
            x = side.tensor([0, 1, 3, 5]).to(getattr(side, one))
            y = side.tensor([[0.0, 2.5], [3.0, 9.0]]).to(getattr(side, other))
            try:
                made = CALLS[name](side, x, y)
                found.append((made.tolist(), str(made.dtype).rpartition(".")[2]))
            except (TypeError, RuntimeError):
                found.append("an error")
        assert found[0] == found[1], (one, other)


@pytest.mark.parametrize("number", [1.5, 1, True, -0.5, 2**40])
def test_numbers_meet_a_sequence_as_in_torch(number: float) -> None:
    for dtype in DTYPES[number is True :]:  # a bool has no order with a bool, in both
        for call in (
            lambda t, x: t.searchsorted(x, number).item(),
            lambda t, x: t.bucketize(number, x).item(),
        ):
            ours, theirs = (
                call(side, side.tensor([0, 1, 1, 2]).to(getattr(side, dtype)))
                for side in (nt, torch)
            )
            assert ours == theirs, dtype
