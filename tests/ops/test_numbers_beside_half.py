"""Python numbers beside half types are not rounded to them; what is a tensor of a half type is."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.graph import find
from numbatorch.ops.registry import Elementwise
from tests.compare import assert_close

HALVES = ("float16", "bfloat16", "float8_e4m3fn")
# Operators whose float32 result is the nearest to the exact one, or chosen among operands.
EXACT = "add sub mul div floor_divide remainder maximum minimum eq ne lt le gt ge".split()
NUMBERS = (0.1, 1 / 3, -0.7, 2.0001, 1e-8, 3, 2049, float("inf"))


def operand(kind: str, device: str) -> Any:
    """Numbers of a half type, among them those that Python's are rounded to."""
    values = np.random.default_rng(0).standard_normal(300).astype(np.float32)
    values[: len(NUMBERS)] = NUMBERS
    return nt.tensor(values, device=device).to(getattr(nt, kind))


def bits(x: Any) -> list[float]:
    found = x.to(nt.float32).numpy()
    return [str(value) for value in found.tolist()]  # NaN and the sign of zero too


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("name", EXACT)
def test_devices_agree_and_compute_with_the_number_itself(name: str, kind: str) -> None:
    op = find(name)
    assert isinstance(op, Elementwise)
    for number in NUMBERS:
        for operands in (lambda x: (x, number), lambda x: (number, x)):  # noqa: B023
            found = {
                device: bits(nt.Tensor(op.apply(*(getattr(v, "node", v) for v in operands(x)))))
                for device in ("cpu", "numpy")
                for x in [operand(kind, device)]
            }
            assert found["cpu"] == found["numpy"], (name, number)
            x = operand(kind, "numpy")
            wide = [v.to(nt.float32) if isinstance(v, nt.Tensor) else v for v in operands(x)]
            exact = nt.Tensor(op.apply(*(getattr(v, "node", v) for v in wide)))
            if exact.dtype is not nt.bool:
                exact = exact.to(x.dtype)
            assert found["numpy"] == bits(exact), (name, number)


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_a_tensor_of_one_number_holds_it_rounded(kind: str, device: str) -> None:
    dtype = getattr(nt, kind)
    made = {
        "full": lambda: nt.full((3,), 0.1, dtype=dtype, device=device),
        "new_full": lambda: nt.ones(1, dtype=dtype, device=device).new_full((3,), 0.1),
        "full_like": lambda: nt.full_like(nt.ones(3, dtype=dtype, device=device), 0.1),
        "tensor": lambda: nt.tensor([0.1] * 3, dtype=dtype, device=device),
        "fill_": lambda: nt.ones(3, dtype=dtype, device=device).fill_(0.1),
    }
    expected = np.float32(0.1).astype(dtype.numpy).astype(np.float32)
    for name, make in made.items():
        assert make().to(nt.float32).tolist() == [expected] * 3, name
        assert (make() * 3).tolist() == (make().realize() * 3).tolist(), name
        assert bool((make() == make().realize()).all()), name
        assert make().expand(2, 3).to(nt.float32)[1].tolist() == [expected] * 3, name


@pytest.mark.parametrize("kind", HALVES)
def test_a_dynamic_number_is_as_one_that_is_not(kind: str) -> None:
    x = operand(kind, "cpu")
    scaled = nt.compile(lambda x, c: x * c + c, dynamic=["c"])
    for number in (0.1, 1 / 3, 0.7, 0.2):
        assert bits(scaled(x, number)) == bits(x * number + number)


def test_gradients_of_moments_divide_by_counts_that_no_half_holds() -> None:
    x = nt.ones(300, 300, dtype=nt.float16, requires_grad=True)
    (nt.var_mean(x * 1.0, dim=(0, 1))[1] * 30_000).backward()
    assert x.grad is not None
    assert_close(x.grad, np.full((300, 300), 1 / 3))
