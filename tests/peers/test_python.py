"""What Python's own functions do with tensors and generators, as with PyTorch's."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import numbatorch as nt
from tests.peers.sides import torch

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda generator: pickle.loads(pickle.dumps(generator)),
    "clone_state": lambda generator: generator.clone_state(),
}


@pytest.mark.parametrize("made", COPIES)
@pytest.mark.parametrize("side", [nt, torch])
def test_a_copy_of_a_generator_draws_the_same_numbers(side: Any, made: str) -> None:
    generator = side.Generator(device="cpu").manual_seed(3)
    side.rand(5, generator=generator)
    copied = COPIES[made](generator)
    assert copied is not generator and type(copied) is side.Generator
    assert copied.device == generator.device and copied.initial_seed() == 3
    first = side.rand(4, generator=copied).tolist()
    assert first == side.rand(4, generator=generator).tolist()
    assert first != side.rand(4, generator=copied).tolist()


def test_a_copied_generator_keeps_its_device() -> None:
    copied = copy.deepcopy({"generator": nt.Generator(3, device="numpy")})["generator"]
    assert copied.device == nt.device("numpy")
