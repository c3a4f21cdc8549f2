"""Types that only load, store and convert: the numbers of ml_dtypes, and an error for the rest."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.dtype import STORAGE
from numbatorch.errors import DTypeError, GradientError, OutOfRange


@pytest.mark.parametrize("kind", STORAGE, ids=[kind.name for kind in STORAGE])
@pytest.mark.parametrize("where", ["cpu", "numpy"])
def test_numbers_are_those_of_ml_dtypes(kind: nt.DType, where: str) -> None:
    some = [0, -0.0, 0.3, 0.5, 0.75, 1, -1, 1.5, 2.5, 7, -8, 15, 300, 57344, 1e9, np.inf, np.nan]
    for source in (np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_):
        with np.errstate(all="ignore"):
            array = np.array(some).astype(source)
            expected = array.astype(kind.elements)
        x = nt.from_numpy(array, where).to(kind)
        assert x.dtype is kind and x.device.kind == where and x.numpy().dtype == kind.elements
        assert x.numpy().tobytes() == expected.tobytes()
        again = nt.from_numpy(expected, where)
        assert again.dtype is kind and again.numpy().tobytes() == expected.tobytes()
        wide = expected.astype(np.float32)
        np.testing.assert_array_equal(x.float().numpy(), wide)
        np.testing.assert_array_equal(again.double().numpy(), wide.astype(np.float64))
    every = np.arange(256, dtype=np.uint8).view(kind.elements)
    read = nt.from_numpy(every, where).float().numpy()
    np.testing.assert_array_equal(read, every.astype(np.float32))
    assert nt.from_numpy(every, where).view(nt.uint8).tolist() == list(range(256))


def test_storage_types_in_every_shape_and_place() -> None:
    x = nt.tensor([[1, -2], [3, 9]]).to("int4")
    assert x.tolist() == [[1, -2], [3, -7]] and "dtype=numbatorch.int4" in repr(x)
    assert nt.tensor(2.0).to(nt.float8_e8m0fnu).item() == 2.0
    assert nt.ones(0, 3).to(nt.uint2).float().shape == (0, 3)
    assert nt.tensor([1, 2]).to(nt.int2).tolist() == [1, -2]
    assert x.reshape(4).clone().tolist() == [1, -2, 3, -7] and x.to(nt.uint4).tolist() == [
        [1, 14],
        [3, 9],
    ]
    assert nt.compile(lambda a: a.float() * 2)(x).tolist() == [[2, -4], [6, -14]]
    assert (x.float() + 1).tolist() == [[2, -1], [4, -6]] and x.bool().all()
    assert nt.iinfo(nt.int2).min == -2 and nt.finfo(nt.float4_e2m1fn).max == 6


REFUSED: dict[str, Any] = {
    "add": lambda x: x + 1,
    "sum": lambda x: x.sum(),
    "element": lambda x: x[0],
    "cat": lambda x: nt.cat([x, x]),
    "eq": lambda x: x == x,
    "zeros": lambda x: nt.zeros(2, dtype=nt.int4),
    "promote": lambda x: nt.promote_types(nt.int4, nt.float32),
    "default": lambda x: nt.set_default_dtype(nt.int4),
    "blocks": lambda x: x.to("Q4_0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_computes_on_them(name: str) -> None:
    with pytest.raises(DTypeError, match=r"int4|Q4_0"):
        REFUSED[name](nt.tensor([1, 2, 3]).to(nt.int4))


def test_numbers_that_they_do_not_hold_are_refused() -> None:
    for kind, number in (("int4", 8), ("int4", -9), ("uint4", -1), ("uint2", 4), ("int2", -3)):
        with pytest.raises(OutOfRange, match=f"{number} does not fit {kind}"):
            nt.tensor([0, number], dtype=kind)
    with pytest.raises(DTypeError, match=r"1\.5 is no value of int4"):
        nt.tensor([1.5], dtype="int4")
    assert nt.tensor([-8, 7.0], dtype="int4").to(nt.int8).tolist() == [-8, 7]


def test_no_gradient_is_cut() -> None:
    with pytest.raises(GradientError, match="no gradient flows through int4"):
        nt.ones(2, requires_grad=True).to(nt.int4)
