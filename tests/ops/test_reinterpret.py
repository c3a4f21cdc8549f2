"""Elements read as bytes of another dtype: `Tensor.view(dtype)`, on every device, beside NumPy."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.dtype import by_name
from numbatorch.errors import GradientError, ShapeError
from tests.compare import assert_close, assert_launches

BYTES = np.random.default_rng(0).integers(0, 100, (5, 6, 16), np.uint8)
PAIRS = [
    ("float32", "int32"),
    ("int64", "int16"),
    ("uint8", "int32"),
    ("int16", "float32"),
    ("bfloat16", "uint16"),
    ("complex64", "float32"),
    ("int32", "complex64"),
    ("bool", "uint8"),
]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_bytes_are_those_that_numpy_views(source: str, target: str, device: str) -> None:
    data = BYTES % 2 if source == "bool" else BYTES
    a = data.view(by_name[source].numpy)
    x = nt.tensor(a, device=device)
    dtype = by_name[target]
    assert_close(x.view(dtype), a.view(dtype.numpy), "exact")
    assert_close(x[1:, ::2].view(dtype=target), a[1:, ::2].copy().view(dtype.numpy), "exact")
    assert_close(x.view(dtype).view(x.dtype), a, "exact")
    turned = nt.tensor(a.swapaxes(0, 1).copy(), device=device).transpose(0, 1)
    assert_close(turned.view(dtype), a.view(dtype.numpy), "exact")
    if x.element_size() == dtype.itemsize:
        assert_close(x[..., ::2].T.view(dtype), a[..., ::2].T.view(dtype.numpy), "exact")


def test_bytes_of_what_is_computed_are_computed_first(device: str) -> None:
    a = np.float32([[1, 2], [3, -4]])
    x = nt.tensor(a, device=device)
    assert_close((x * 2).view(nt.int32) + 1, (a * 2).view(np.int32) + 1, "exact")
    assert_close((x.sum(0) + x).view(nt.uint8), (a.sum(0) + a).view(np.uint8), "exact")
    assert_close(nt.arange(3, device=device).view(nt.int32), np.arange(3).view(np.int32), "exact")
    one = nt.ones(2, device=device).view(nt.int32)
    assert_close(one, np.ones(2, np.float32).view(np.int32), "exact")
    assert_close(nt.stack([one, one * 0]).view(nt.float32), np.float32([[1, 1], [0, 0]]), "exact")
    bits = (x * 2).view(nt.int32)
    whole = (a * 2).view(np.int32)
    assert_close(bits.sum() + (bits[0] - bits[1]).sum(), whole.sum() + (whole[0] - whole[1]).sum())


def test_memory_is_read_where_it_lies() -> None:
    x = nt.tensor(np.float32([1, 2, 3, 4])).realize()
    assert_launches(x.view(nt.int32) + 1, 1)
    assert_launches(x.view(nt.uint8), 0)
    assert_launches((x * 2).view(nt.uint8), 1)
    assert_launches(x[1:].view(nt.uint8).reshape(3, 4).T.to(nt.float32), 1)


def test_an_update_in_place_does_not_change_what_was_read() -> None:
    @nt.compile
    def bits(x: nt.Tensor) -> Any:
        return x.view(nt.int32) + 1, x * 2

    for number in (1.0, 3.0, 5.0):
        whole, doubled = bits(nt.full((70,), number))
        assert whole.tolist() == [int(np.float32(number).view(np.int32)) + 1] * 70
        assert doubled.tolist() == [2 * number] * 70


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="not whole elements of float64"):
        nt.ones(3).view(nt.float64)
    with pytest.raises(ShapeError, match="not whole elements of uint8"):
        nt.tensor(1.0).view(nt.uint8)
    with pytest.raises(ShapeError, match=r"no view of .* has dtype uint8"):
        nt.ones(4)[::2].view(nt.uint8)
    with pytest.raises(TypeError, match="a shape or a dtype"):
        nt.ones(4).view(2, 2, dtype=nt.int32)
    x = nt.ones(4, requires_grad=True)
    with pytest.raises(GradientError, match="bytes of float32 as float64"):
        x.view(nt.float64).sum().backward()
    h = x * 2
    with pytest.raises(GradientError, match="the bytes that a view reads as another dtype"):
        h.view(nt.int32).add_(1)


def test_bytes_are_changed_as_another_dtype(device: str) -> None:
    a = np.float32([[1, 2, 3], [-4, 5, 6]])
    x = nt.tensor(a, device=device).clone()
    bits, whole = x.view(nt.int32), a.view(np.int32)
    bits[:, 1:] &= -(1 << 23)
    whole[:, 1:] &= -(1 << 23)
    assert_close(x, a, "exact")
    x.T[0].view(nt.int32).add_(1)
    a.T[0].view(np.int32)[...] += 1
    x[1].view(nt.uint8).reshape(3, 4)[:, 3] = 64
    a[1].view(np.uint8).reshape(3, 4)[:, 3] = 64
    assert_close(x, a, "exact")
    assert_close(bits, whole, "exact")


def test_bytes_are_changed_in_place() -> None:
    x = (nt.zeros(3, 4, device="cpu") + 1).realize()
    address = x.node.buffer.address
    x.view(nt.int32)[1].add_(1)
    assert x.realize().node.buffer.address == address
    assert x.tolist()[0] == [1.0] * 4 and x.tolist()[1] == [1.0 + 2**-23] * 4
    z = (nt.zeros(5, dtype=nt.complex64, device="cpu") + 2j).realize()
    address = z.node.buffer.address
    z.real.add_(3)
    z.imag.mul_(2)
    assert z.realize().node.buffer.address == address
    assert z.tolist() == [3 + 4j] * 5


def test_bytes_of_what_the_same_kernel_computes_are_read_after_it(device: str) -> None:
    x = nt.tensor([1.0, 2.0, -3.0], device=device).bfloat16()
    nearer = nt.where(x > 1.5, x, 0.0).float() + (x.view(nt.int16) - 1).float()
    assert nearer.tolist() == [16255.0, 16385.0, -16321.0]
