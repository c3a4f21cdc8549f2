"""What Python's own functions do with tensors and generators, as with PyTorch's."""

import copy
import math
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


VALUES = {"x": [3.75], "s": -2.5, "i": [1, 3], "m": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}
CALLS = """
math.floor(x); math.ceil(x); math.floor(i[0]); int(x); float(x); complex(x); bool(x); abs(s)
format(s, '.3f'); f'{s:8.2e}'; format(i[1], '04d'); f'{x}'; f'{m!s:>90}'
3.75 in x; 1 in x; s in m; 7 in i; i[1] in i; True in m; 1j in m
[1, 2, 3][i[0]]; len(m); list(range(i[1])); min(i, key=float); sum(i); sorted(m[1], reverse=True)
reversed(i); reversed(m); reversed(s); [row.tolist() for row in reversed(m)]
isinstance(x.shape, t.Size); t.Size([2, 3]) == (2, 3); m.shape == t.Size((2, 3))
m.size() == t.Size([2, 3]); isinstance([2, 3], t.Size); len(t.Size())
divmod(x, 2); divmod(7, x); round(x); round(x, 2); math.trunc(x); format(x, '.3f'); math.floor(m)
int(m); float(m); complex(m); bool(m); 'a' in x; None in x; [1] in x; len(s); iter(s); int('a', i)
t.typename(3); t.typename('a'); t.typename(int); t.typename([])
t.typename(t.nn.Linear).rpartition('.')[2]; t.typename(t.nn.Linear(1, 1)).rpartition('.')[2]
"""


def told(call: str, side: Any) -> Any:
    """What a call gives, or that it is an error."""
    tensors = {name: side.tensor(value) for name, value in VALUES.items()}
    try:
        found = eval(call, {"math": math, "t": side, **tensors})
    except (TypeError, ValueError, RuntimeError):
        return "an error"
    return repr(found).replace("torch.", "numbatorch.")


@pytest.mark.parametrize(
    "call", [c.strip() for c in CALLS.replace("\n", ";").split(";") if c.strip()]
)
def test_python_does_with_our_tensors_what_it_does_with_those_of_torch(call: str) -> None:
    assert told(call, nt) == told(call, torch)


def test_the_name_of_a_type_of_tensors() -> None:
    for tensor in (nt.ones(2), nt.ones(2, dtype=nt.int8)):
        assert nt.typename(tensor) == tensor.type()
    assert torch.typename(torch.ones(2)) == torch.ones(2).type()
