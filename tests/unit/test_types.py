"""dtypes: in which one values meet, what they hold, and the default of floats."""

from collections.abc import Iterator

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import DTypeError


@pytest.fixture(autouse=True)
def default_as_before() -> Iterator[None]:
    yield
    nt.set_default_dtype(nt.float32)


@pytest.mark.parametrize("kind", [nt.float64, nt.bfloat16, nt.float16])
def test_the_default_dtype_is_that_of_everything_made_without_one(kind: nt.DType) -> None:
    nt.set_default_dtype(kind)
    assert nt.get_default_dtype() is kind and nt.finfo().dtype == kind.name
    wide = nt.complex128 if kind is nt.float64 else nt.complex64
    made = (nt.zeros(2), nt.ones(2), nt.empty(2), nt.eye(2), nt.rand(2), nt.randn(2))
    made += (nt.tensor([1.5]), nt.tensor(1.5), nt.full((2,), 0.5), nt.linspace(0, 1, 3))
    made += (nt.arange(0.5, 3), nt.scalar_tensor(2), nt.tensor([]))
    made += (
        nt.nn.Linear(2, 2).weight,
        nt.tensor([1]) * 1.5,
        nt.tensor([1]) / 2,
        nt.tensor([1]).sqrt(),
    )
    counted = nt.tensor([1, 2])
    made += (nt.hann_window(2), nt.fft.fftfreq(2), nt.cov(counted), nt.logsumexp(counted, 0))
    made += (*nt.gradient(counted), nt.special.zeta(counted, 1))
    assert {x.dtype for x in made} == {kind}
    if kind is nt.float64:
        assert nt.fft.fft(counted).dtype is wide
    assert nt.tensor([1j]).dtype is wide and (nt.tensor([1]) * 1j).dtype is wide
    assert nt.ones(2, dtype=nt.float32).dtype is nt.float32
    assert (nt.ones(2, dtype=nt.float32) * 1.5).dtype is nt.float32
    assert nt.tensor([1]).dtype is nt.int64 and nt.tensor(np.ones(2)).dtype is nt.float64
    assert repr(nt.tensor([1.5])) == "tensor([1.5000])"
    assert "float32" in repr(nt.ones(1, dtype=nt.float32))


def test_what_is_no_default() -> None:
    for kind in (nt.int64, nt.complex64, nt.float8_e5m2, nt.bool):
        with pytest.raises(DTypeError, match="is not float64, float32, float16 or bfloat16"):
            nt.set_default_dtype(kind)


def test_a_compiled_function_asks_for_the_default_again() -> None:
    made = nt.compile(lambda x: x + nt.ones(2))
    x = nt.ones(2)
    assert made(x).dtype is nt.float32 and made(x).dtype is nt.float32
    nt.set_default_dtype(nt.float64)
    assert made(x).dtype is nt.float64


def test_limits_are_those_of_each_kind_of_number() -> None:
    assert nt.finfo(nt.float32).eps == 2.0**-23 and nt.finfo("float64").max == np.finfo("d").max
    assert nt.finfo(nt.float8_e4m3fn).max == 448 and nt.finfo(nt.float8_e5m2).bits == 8
    assert nt.finfo(nt.complex64) == nt.finfo(nt.float32)
    assert (nt.iinfo(nt.uint8).min, nt.iinfo(nt.int64).max) == (0, 2**63 - 1)
    with pytest.raises(DTypeError, match="use iinfo"):
        nt.finfo(nt.int8)
    for kind in (nt.float32, nt.bool):
        with pytest.raises(DTypeError, match="is no type of integers"):
            nt.iinfo(kind)


def test_numbers_of_python_do_not_widen_what_holds_them() -> None:
    assert nt.promote_types(nt.uint8, nt.int8) is nt.int16
    assert nt.promote_types("float16", np.float32) is nt.float32
    small = nt.ones(2, dtype=nt.int8)
    assert nt.result_type(small, 1.5) is nt.float32 and nt.result_type(small, 300) is nt.int8
    assert nt.result_type(small, nt.tensor(2.5, dtype=nt.float64)) is nt.float64
    assert nt.result_type(1, 2.5) is nt.float32 and nt.result_type(True, 1) is nt.int64
    assert nt.result_type(nt.ones(2, dtype=nt.float16), np.float64(1)) is nt.float16
    with pytest.raises(TypeError, match="neither a tensor nor a number"):
        nt.result_type(small, "1")
    assert nt.can_cast(nt.uint8, nt.int8) and not nt.can_cast(nt.complex64, nt.float64)
    assert nt.is_tensor(small) and not nt.is_tensor(np.ones(1))


def test_a_complex_number_becomes_real_with_a_warning() -> None:
    z = nt.tensor([1 + 2j, 0 + 3j], requires_grad=True)
    with pytest.warns(UserWarning, match=r"complex64 as float32 loses the imaginary part"):
        x = z.float()
    assert x.tolist() == [1, 0] and z.bool().tolist() == [True, True]
    x.sum().backward()
    assert z.grad is not None and z.grad.tolist() == [1, 1]
    with pytest.warns(UserWarning, match="loses the imaginary part"):
        assert z.detach().to(nt.int8).tolist() == [1, 0]
    with pytest.warns(UserWarning, match="softmax: .* loses the imaginary part") as found:
        assert (
            nt.softmax(z, 0, dtype=nt.float64).tolist() == nt.softmax(z.real.double(), 0).tolist()
        )
    assert found[0].filename == __file__
    with pytest.warns(UserWarning, match="cumsum: .* loses the imaginary part"):
        assert z.cumsum(0, dtype=nt.float32).tolist() == [1, 1]
