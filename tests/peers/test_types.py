"""dtypes beside PyTorch's: promotion, limits, conversion of every pair, and shared memory."""

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.peers.sides import torch

NAMES = """float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64
complex128""".split()
FLOAT8 = ("float8_e4m3fn", "float8_e5m2")


def of(module: Any, name: str) -> Any:
    return getattr(module, name)


def here(theirs: torch.dtype) -> str:
    """The name of a dtype; there is no complex32 here."""
    return "complex64" if theirs is torch.complex32 else str(theirs)[6:]


def test_promotion_and_casts_of_every_pair() -> None:
    for first, second in itertools.product(NAMES, NAMES):
        a, b = of(torch, first), of(torch, second)
        x, y = of(nt, first), of(nt, second)
        assert nt.promote_types(x, y) is of(nt, str(torch.promote_types(a, b))[6:])
        assert nt.can_cast(x, y) == torch.can_cast(a, b)
        for rank, other in itertools.product((0, 1), (0, 1)):
            left, right = torch.ones((1,) * rank, dtype=a), torch.ones((1,) * other, dtype=b)
            theirs = torch.result_type(left, right)
            ours = nt.result_type(nt.ones((1,) * rank, dtype=x), nt.ones((1,) * other, dtype=y))
            assert ours is of(nt, here(theirs)), (first, second, rank, other)
    for name, number in itertools.product(NAMES, (True, 2, 2.5, 2j)):
        theirs = torch.result_type(torch.ones(1, dtype=of(torch, name)), number)
        assert nt.result_type(nt.ones(1, dtype=of(nt, name)), number) is of(nt, here(theirs))


def test_limits_of_every_type() -> None:
    for name in (*NAMES, *FLOAT8, "uint16", "uint32", "uint64"):
        if name == "bool":
            continue
        theirs = of(torch, name)
        if theirs.is_floating_point or theirs.is_complex:
            info, other = nt.finfo(name), torch.finfo(theirs)
            fields = "bits eps max min tiny smallest_normal resolution dtype".split()
        else:
            info, other = nt.iinfo(name), torch.iinfo(theirs)
            fields = "bits max min dtype".split()
        for field in fields:
            assert getattr(info, field) == getattr(other, field), (name, field)


def values(name: str) -> np.ndarray:
    """Numbers of a type, among them those at which rounding to another is decided."""
    kind = nt.dtype.by_name[name].numpy
    random = np.random.default_rng(0)
    if kind.itemsize <= 2 and name != "bool":
        bits = np.arange(256**kind.itemsize, dtype=f"u{kind.itemsize}")
        return bits[:: 1 if kind.itemsize == 1 else 7].view(kind)
    if name == "bool":
        return np.array([False, True])
    if kind.kind in "iu":
        ends = np.iinfo(kind)
        some = [0, 1, 2, 127, 255, 257, 2049, 65504, 65520, 2**24 + 1, ends.min, ends.max]
        return np.concatenate(
            [np.array(some, kind), random.integers(ends.min, ends.max, 300, kind)]
        )
    half = random.integers(0, 2**16, 300, np.uint32) << 16 | 0x8000  # ties of bfloat16
    scale = 10.0 ** random.uniform(-9, 9, 600)
    some = [0.0, -0.0, 1.5, 2.5, 65504, 65519, 65520, 464, 480, 57344, 61440, 6e-8, 2.98e-8, 1e-45]
    parts = [np.array([*some, np.inf, -np.inf, np.nan, 3.4e38]), half.view(np.float32)]
    with np.errstate(all="ignore"):
        real = np.concatenate([*parts, random.standard_normal(600) * scale])
        return real.astype(kind) if kind.kind == "f" else (real + 1j * real[::-1]).astype(kind)


def bits(array: Any) -> np.ndarray:
    """The bytes of each element, with one NaN for all."""
    plain = np.array(array)
    with np.errstate(all="ignore"):
        parts = plain.view(plain.real.dtype) if plain.dtype.kind == "c" else plain
        if parts.dtype.kind not in "iub":
            parts[np.isnan(parts.astype(np.float64))] = 1
    return plain.view(np.uint8).reshape(plain.size, -1)


def theirs_of(array: np.ndarray, name: str) -> torch.Tensor:
    kind: torch.dtype = of(torch, name)
    plain = array if name in NAMES and name != "bfloat16" else array.view(f"u{array.itemsize}")
    found = torch.from_numpy(plain.copy())
    return found if found.dtype is kind else found.view(kind)


@pytest.mark.parametrize("source", [*NAMES, *FLOAT8])
def test_every_pair_of_dtypes_converts_as_there(source: str) -> None:
    """But where C leaves it undefined, and where a float8 has no such number, as in ml_dtypes."""
    array = values(source)
    for target in (*NAMES, *FLOAT8):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            ours = nt.from_numpy(array).to(of(nt, target)).numpy()
            theirs = theirs_of(array, source).to(of(torch, target))
        kind = ours.dtype if target in NAMES and target != "bfloat16" else f"u{ours.itemsize}"
        found = theirs.view(of(torch, str(np.dtype(kind)))).numpy().view(ours.dtype)
        with np.errstate(all="ignore"):
            real = np.asarray(array.real if array.dtype.kind == "c" else array, np.float64)
        sure = np.ones(array.shape, bool)
        if ours.dtype.kind in "iu" and array.dtype.kind not in "iub":
            ends = np.iinfo(ours.dtype)
            sure = (real >= ends.min) & (real < float(ends.max) + (ends.bits < 53))
        elif target == "float8_e4m3fn":
            sure = np.abs(real) <= 464
        np.testing.assert_array_equal(bits(ours)[sure], bits(found)[sure], f"{source} to {target}")


@pytest.mark.parametrize("name", ["bfloat16", *FLOAT8])
@pytest.mark.parametrize("source", ["float32", "float16", "bfloat16", "int32"])
def test_narrow_floats_are_those_of_ml_dtypes(name: str, source: str) -> None:
    array = values(source)
    ours = nt.from_numpy(array).to(of(nt, name)).numpy()
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(bits(ours), bits(array.astype(np.float64).astype(ours.dtype)))


def test_memory_is_shared_with_torch() -> None:
    x = nt.arange(6.0, device="cpu").reshape(2, 3).realize()
    for make in (torch.from_dlpack, torch.as_tensor, torch.asarray):
        assert make(x).data_ptr() == x.node.buffer.address
    assert torch.tensor(x).tolist() == x.tolist() and torch.tensor(nt.tensor(2.5)).item() == 2.5
    for name in (*NAMES, *FLOAT8):
        ours = nt.ones(2, 3).to(of(nt, name))
        theirs = torch.from_dlpack(ours)
        assert theirs.dtype is of(torch, name) and theirs.float().tolist() == [[1.0] * 3] * 2
        again = nt.from_dlpack(theirs)
        assert again.dtype is ours.dtype and nt.tensor(theirs).dtype is ours.dtype
    base = torch.zeros(4)
    seen = nt.from_dlpack(base[1:])
    base[1] = 5
    assert seen.tolist() == [5, 0, 0]
    with pytest.raises(BufferError):
        nt.from_dlpack(torch.ones(2, requires_grad=True))
