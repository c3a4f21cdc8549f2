"""Numbers that become elements: what is held exactly, what is refused, and how dtypes are named."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DTypeError, OutOfRange, ShapeError, Tensor


@pytest.fixture(autouse=True)
def _reference_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


def test_python_floats_go_to_the_dtype_at_once() -> None:
    assert nt.tensor([0.1, 1e300], dtype=nt.float64).tolist() == [0.1, 1e300]
    assert nt.tensor(0.1, dtype=nt.float64).item() == 0.1
    assert nt.tensor([1e40]).tolist() == [math.inf]
    assert nt.tensor([1e40], dtype=nt.float16).tolist() == [math.inf]
    assert nt.tensor([2**70], dtype=nt.float64).tolist() == [2.0**70]


def test_large_integers_stay_exact() -> None:
    for data in ([2**63], [1, 2**63], [2**64 - 1, 0]):
        assert nt.tensor(data, dtype=nt.uint64).tolist() == data
    assert nt.tensor(2**63, dtype=nt.uint64).item() == 2**63
    for data in ([1, 2**63], [-1, 2**63], [2**70]):
        with pytest.raises(OutOfRange, match=r"tensor: \d+ does not fit int64"):
            nt.tensor(data)
    with pytest.raises(OutOfRange, match="tensor: -1 does not fit uint64"):
        nt.tensor([2**63, -1], dtype=nt.uint64)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nt.tensor([1.5], dtype=nt.int32),
        lambda: nt.tensor([math.nan], dtype=nt.int64),
        lambda: nt.tensor(np.array([1.7, 300.0]), dtype=nt.uint8),
        lambda: nt.tensor(nt.tensor([1.5]), dtype=nt.int8),
        lambda: nt.full((2,), 1.5, dtype=nt.int32),
        lambda: nt.full((2,), math.nan, dtype=nt.int32),
        lambda: nt.zeros(2, dtype=nt.int32).copy_(nt.ones(2)),
    ],
)
def test_no_fraction_is_cut(make: Callable[[], Tensor]) -> None:
    with pytest.raises(DTypeError):
        make()


def test_whole_floats_are_integers() -> None:
    assert nt.tensor([2.0, -3.0], dtype=nt.int32).tolist() == [2, -3]
    assert nt.tensor(nt.tensor([2.0]), dtype=nt.int8).tolist() == [2]
    assert nt.arange(0.0, 3.0, dtype=nt.int32).tolist() == [0, 1, 2]
    assert nt.arange(0.5, 3, dtype=nt.int32).tolist() == [0, 1, 2]  # the ends are cut
    assert nt.linspace(0, 2, 5, dtype=nt.int32).tolist() == [0, 0, 1, 1, 2]
    assert nt.tensor([1.5, 2.5]).int().tolist() == [1, 2]
    with pytest.raises(OutOfRange, match="arange: 299 does not fit uint8"):
        nt.arange(300, dtype=nt.uint8)


@pytest.mark.parametrize(
    ("name", "apply"),
    [
        ("add", lambda x: x + 300),
        ("sub", lambda x: 300 - x),
        ("mul", lambda x: x * -1),
        ("clamp", lambda x: x.clamp(-10, 300)),
        ("where", lambda x: nt.where(x > 1, x, 300)),
        ("add_", lambda x: x.add_(300)),
        ("bitwise_and", lambda x: x & 256),
        ("masked_fill", lambda x: x.masked_fill(x > 1, 300)),
    ],
)
def test_a_number_that_does_not_fit_is_refused(name: str, apply: Callable[[Tensor], Any]) -> None:
    x = nt.tensor([5, 0], dtype=nt.uint8)
    with pytest.raises(OutOfRange, match=rf"{name}: -?\d+ does not fit uint8") as caught:
        apply(x)
    assert "uint8 goes from 0 to 255" in str(caught.value)
    assert x.tolist() == [5, 0]


def test_numbers_at_the_ends_of_the_range_fit() -> None:
    x = nt.tensor([1], dtype=nt.uint8)
    assert (x * 255).tolist() == [255] and (x.to(nt.int8) * -128).tolist() == [-128]
    assert (nt.tensor([0], dtype=nt.uint64) + (2**64 - 1)).tolist() == [2**64 - 1]
    assert (x * 300.0).tolist() == [300.0] and (x / 300).dtype is nt.float32
    with pytest.raises(OutOfRange, match="mul: 1000 does not fit int8"):
        x.to(nt.int8) * 1000
    with pytest.raises(OutOfRange, match="add: 9223372036854775808 does not fit int64"):
        nt.tensor([1]) + 2**63
    with pytest.raises(OutOfRange, match="mul: an integer of 1329 bits does not fit float32"):
        nt.ones(1) * 10**400


@pytest.mark.parametrize("name", ["fill", "masked_fill", "index_fill"])
def test_a_fraction_in_a_tensor_is_not_cut(name: str) -> None:
    x, value = nt.tensor([5, 0]), nt.tensor(1.5)
    rest = {"masked_fill": (x > 1,), "index_fill": (0, nt.tensor([0]))}.get(name, ())
    with pytest.raises(DTypeError, match=rf"^{name}: .*int64") as caught:
        getattr(nt, name)(x, *rest, value)
    assert "float32" in str(caught.value) and "Node" not in str(caught.value)


def test_comparisons_with_numbers_out_of_range_are_right() -> None:
    x = nt.tensor([5, 0], dtype=nt.uint8)
    assert (x == 261).tolist() == [False, False] and (x != 261).tolist() == [True, True]
    assert (x > -1).tolist() == [True, True] and (x <= -1).tolist() == [False, False]
    assert (x < 300).tolist() == [True, True] and (-1 < x).tolist() == [True, True]
    assert (nt.tensor([7], dtype=nt.int32) < 2**40).tolist() == [True]
    assert (nt.tensor([7]) < -(2**70)).tolist() == [False]
    assert 261 not in x and 5 in x


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("float64", nt.float64),
        (np.float64, nt.float64),
        (np.dtype("int16"), nt.int16),
        (float, nt.float64),
        (int, nt.int64),
        (bool, nt.bool),
        ("bfloat16", nt.bfloat16),
    ],
)
def test_dtypes_have_several_names(given: Any, expected: nt.DType) -> None:
    x = nt.ones(2)
    made = (
        nt.tensor([1], dtype=given),
        nt.zeros(2, dtype=given),
        nt.full((2,), 1, dtype=given),
        nt.ones_like(x, dtype=given),
        nt.arange(2, dtype=given),
        nt.eye(2, dtype=given),
        x.new_zeros(2, dtype=given),
        x.to(given),
        x.to("numpy", given),
        x.to(dtype=given),
    )
    assert {t.dtype for t in made} == {expected}
    assert x.sum(dtype="float64").dtype is nt.float64
    assert nt.rand(2, dtype="float64").dtype is nt.float64


def test_an_unknown_dtype_is_named() -> None:
    for make in (lambda: nt.zeros(2, dtype="single"), lambda: nt.ones(1).to(dict)):
        with pytest.raises(DTypeError, match=r"is no element type\n  hint: nt.float32, 'float32'"):
            make()


def test_a_name_that_is_neither_dtype_nor_device_is_told() -> None:
    with pytest.raises(nt.DeviceError, match="to: 'float65' names neither a dtype nor a device"):
        nt.ones(1).to("float65")


def test_random_integers_fit_their_dtype() -> None:
    with pytest.raises(OutOfRange, match="randint: 299 does not fit uint8"):
        nt.randint(0, 300, (3,), dtype=nt.uint8)
    assert nt.randint(255, 256, (2,), dtype=nt.uint8).tolist() == [255, 255]


def test_normalize_of_zeros_in_half_is_zeros() -> None:
    out = nt.nn.functional.normalize(nt.zeros(3, dtype=nt.float16), dim=0)
    assert out.dtype is nt.float16 and out.tolist() == [0, 0, 0]


def test_shapes_that_no_memory_holds_are_refused() -> None:
    for make in (
        lambda: nt.zeros(2**40, 2**40),
        lambda: nt.ones(1).new_zeros(2**40, 2**40),
        lambda: nt.eye(2**40),
        lambda: nt.arange(2**65, dtype=nt.float32),
    ):
        with pytest.raises(ShapeError, match=r"has 2\*\*63 elements or more"):
            make()


@pytest.mark.parametrize("dtype", nt.dtype.PLAIN, ids=lambda dtype: dtype.name)
def test_an_element_is_the_number_that_numpy_reads(dtype: nt.dtype.DType) -> None:
    x = nt.tensor([1, 0, 100]).to(dtype)
    array = np.array(x.numpy().astype(np.float64))
    assert [x[i].item() for i in range(3)] == array.tolist()
    realized = (x[2:] * 1 if dtype is not nt.bool else x[2:]).clone().realize()
    assert realized.item() == array[2]
    assert isinstance(realized.item(), type(realized.numpy().astype(object).item()))


def test_a_long_chain_is_computed_at_once_and_in_steps() -> None:
    x = nt.tensor([1.0], requires_grad=True)
    total = x
    for _ in range(5000):
        total = total + x
    assert total.item() == 5001
    total.sum().backward()
    assert x.grad is not None and x.grad.item() == 5001
