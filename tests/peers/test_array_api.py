"""The array namespace beside array-api-strict: names, signatures, promotion."""

import inspect
import itertools
from typing import Any

import pytest

from numbatorch import array_api as xp

strict = pytest.importorskip("array_api_strict", reason="pip install array-api-strict")

OWN = {"ArrayAPIStrictFlags", "__version__"} | {
    f"{verb}_array_api_strict_flags" for verb in ("set", "get", "reset")
}
NAMES = sorted(set(strict.__all__) - OWN)
DTYPES = """bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64
complex128""".split()


def parameters(function: Any) -> list[tuple[str, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(x.name, x.kind) for x in found]


@pytest.mark.parametrize("space", ["", "linalg", "fft"])
def test_names_and_signatures_are_those_of_the_standard(space: str) -> None:
    theirs = getattr(strict, space) if space else strict
    ours = getattr(xp, space) if space else xp
    names = NAMES if not space else theirs.__all__
    for name in names:
        assert hasattr(ours, name), name
        expected = getattr(theirs, name)
        if inspect.isfunction(expected) and name not in ("from_dlpack",):
            assert parameters(getattr(ours, name)) == parameters(expected), name


def test_promotion_of_every_pair() -> None:
    for first, second in itertools.product(DTYPES, DTYPES):
        a, b = getattr(strict, first), getattr(strict, second)
        x, y = getattr(xp, first), getattr(xp, second)
        try:
            expected = str(strict.result_type(a, b)).rsplit(".")[-1]
        except TypeError:
            continue  # which the standard leaves open
        assert xp.result_type(x, y) is getattr(xp, expected), (first, second)
        if first == second == "bool":
            continue
        for rank, other in itertools.product((0, 1), (0, 1)):
            lhs, rhs = xp.ones((1,) * rank, dtype=x), xp.ones((1,) * other, dtype=y)
            assert xp.multiply(lhs, rhs).dtype is getattr(xp, expected)


def test_arrays_behave_as_the_standard_says() -> None:
    x = xp.asarray([[1.0, 2.0], [3.0, 4.0]])
    assert x.size == 4 and x.T.tolist() == [[1, 3], [2, 4]] and type(x.mT) is xp.Array
    assert type(x + 1) is xp.Array and (2 - x).tolist() == [[1, 0], [-1, -2]]
    assert x.__array_namespace__() is xp and x[0, ...].size == 2
    assert (x @ x).tolist() == [[7, 10], [15, 22]] and (x == 1).dtype is xp.bool
    x += 1
    x[0, 0] = 7
    assert x.tolist() == [[7, 3], [4, 5]]
    assert x[xp.zeros((0, 2), dtype=xp.bool)].shape == (0,)  # a size may be 0 in a mask
    with pytest.raises(TypeError, match="complex64 does not become float32 by itself"):
        x[0, :] = xp.ones(2, dtype=xp.complex64)
    with pytest.raises(TypeError):
        xp.asarray([1]) + 1.5
    with pytest.raises(TypeError):
        y = xp.asarray([1], dtype=xp.int8)
        y += xp.asarray([1], dtype=xp.int32)
    with pytest.raises(ValueError, match=r"no version 2020\.12"):
        x.__array_namespace__(api_version="2020.12")
    assert xp.sum(xp.ones(3, dtype=xp.uint8)).dtype is xp.uint64
    assert xp.floor_divide(xp.asarray(float("inf")), 2.0).item() == float("inf")
    found = xp.unique_all(xp.asarray([3, 1, 3]))
    assert found.values.tolist() == [1, 3] and found.indices.tolist() == [1, 0]
    assert found.inverse_indices.tolist() == [1, 0, 1] and found.counts.tolist() == [1, 2]
    pairs = xp.unique_all(xp.asarray([1j, 1, complex(0.0, 1), float("nan"), float("nan")]))
    assert pairs.values.tolist()[:2] == [1j, 1] and pairs.counts.tolist() == [2, 1, 1, 1]
    assert xp.linalg.cross(x[:, :1] + xp.ones(3), xp.ones(3)).tolist() == [[0, 0, 0]] * 2
    assert xp.expand_dims(x, axis=(0, -1)).shape == (1, 2, 2, 1)
    info = xp.__array_namespace_info__()
    assert info.default_dtypes()["real floating"] is xp.float32
    assert set(info.dtypes(kind="integral")) == {n for n in DTYPES if "int" in n}
