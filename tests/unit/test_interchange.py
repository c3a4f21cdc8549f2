"""Memory shared with NumPy and other libraries, and copies of tensors."""

import array as arrays
import copy
import pickle
import sys

import ml_dtypes
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import GradientError, ShapeError
from numbatorch.ops.blocks import quantize

NARROW = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


class Old:
    """A library of a version of DLPack before 1.0."""

    def __init__(self, values: np.ndarray, device: tuple[int, int] = (1, 0)) -> None:
        self.values, self.device = values, device

    def __dlpack__(self, stream: object = None) -> object:
        return self.values.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def test_numpy_reads_the_memory_of_a_tensor_and_cannot_write_to_it() -> None:
    x = nt.arange(6, device="cpu").reshape(2, 3).realize()
    for read in (np.asarray, np.from_dlpack):
        found = read(x)
        assert np.shares_memory(found, x.numpy()) and not found.flags.writeable
        assert found.tolist() == x.tolist()
    x.add_(1)
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]] and x.tolist() == [[1, 2, 3], [4, 5, 6]]
    del x
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.asarray(nt.empty(0, 3)).shape == (0, 3) and np.asarray(nt.tensor(2.5)).item() == 2.5
    for name in NARROW:
        narrow = np.asarray(nt.ones(2, dtype=name))
        assert narrow.dtype == getattr(ml_dtypes, name) and narrow.tolist() == [1, 1]


def test_who_cannot_be_told_that_memory_is_read_only_gets_a_copy() -> None:
    x = nt.arange(3, device="cpu").realize()
    capsule = x.__dlpack__()
    assert "versioned" not in repr(x.__dlpack__(copy=False))
    assert "dltensor" in repr(capsule) and "versioned" not in repr(capsule)
    assert "versioned" in repr(x.__dlpack__(max_version=(1, 0)))
    assert x.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="is exported to the host only"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="has no streams"):
        x.__dlpack__(stream=1)
    with pytest.raises(GradientError, match=r"detach\(\)"):
        np.from_dlpack(nt.ones(2, requires_grad=True))
    packed = nt.from_blocks(quantize(np.ones((1, 32), np.float32), nt.dtype.Q8_0), "Q8_0", (1, 32))
    with pytest.raises(BufferError, match="nothing reads Q8_0 by DLPack"):
        packed.__dlpack__()


def test_memory_of_others_is_shared_until_the_tensor_changes() -> None:
    for source in (np.zeros(3, np.float32), Old(np.zeros(3, np.float32))):
        x = nt.from_dlpack(source, device="cpu")
        values = source.values if isinstance(source, Old) else source
        values[0] = 5
        assert x.tolist() == [5, 0, 0]
        x.add_(1)
        assert x.tolist() == [6, 1, 1] and values.tolist() == [5, 0, 0]
    copied = nt.from_dlpack(values, copy=True)
    values[0] = 7
    assert copied.tolist() == [5, 0, 0]
    assert nt.from_dlpack(np.arange(6).reshape(2, 3).T).tolist() == [[0, 3], [1, 4], [2, 5]]
    for name in NARROW:
        x = nt.tensor([1.5, -2.0], dtype=name)
        again = nt.from_dlpack(_Through(x))
        assert again.dtype is x.dtype and again.tolist() == x.tolist()
        assert nt.tensor(_Through(x)).dtype is x.dtype
    with pytest.raises(TypeError, match="takes an object with __dlpack__, not list"):
        nt.from_dlpack([1, 2])
    with pytest.raises(BufferError, match=r"on device \(2, 0\) is not exported to the host"):
        nt.from_dlpack(Old(np.zeros(3), (2, 0)))
    used = np.zeros(3).__dlpack__()
    taken = type("Used", (Old,), {"__dlpack__": lambda self, **_: used})(np.zeros(3))
    nt.from_dlpack(taken)
    with pytest.raises(BufferError, match=r"cannot be taken|no capsule"):
        nt.from_dlpack(taken)


class _Through:
    """A tensor as another library would hand it out."""

    def __init__(self, x: nt.Tensor) -> None:
        self.x = x

    def __dlpack__(self, **options: object) -> object:
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.x.__dlpack_device__()


def test_buffers_are_shared_from_an_offset_on() -> None:
    raw = bytearray(np.arange(4, dtype=np.float32).tobytes())
    x = nt.frombuffer(raw, dtype=nt.float32)
    assert x.tolist() == [0, 1, 2, 3]
    raw[:4] = np.float32(7).tobytes()
    assert x.tolist() == [7, 1, 2, 3]
    assert nt.frombuffer(raw, dtype=nt.float32, count=2, offset=4).tolist() == [1, 2]
    assert nt.frombuffer(b"", dtype=nt.int8).shape == (0,)
    assert nt.frombuffer(b"\0\0\x80?", dtype=nt.float32, requires_grad=True).requires_grad
    assert nt.frombuffer(arrays.array("d", [1.5]), dtype=nt.float64).tolist() == [1.5]
    assert nt.frombuffer(b"\1" + bytes(8), dtype=nt.int64, offset=1).tolist() == [0]
    for options in ({"count": 5}, {"offset": 17}, {"offset": 1}, {"offset": -1}):
        with pytest.raises(ShapeError, match="frombuffer: 16 bytes from"):
            nt.frombuffer(raw, dtype=nt.float32, **options)
    view = nt.arange(3, device="cpu").realize().__buffer__(0)
    assert view.readonly and view.tolist() == [0, 1, 2]
    with pytest.raises(BufferError, match="read-only"):
        nt.ones(2).__buffer__(1)
    with pytest.raises(BufferError, match="no format for bfloat16"):
        nt.ones(2, dtype=nt.bfloat16).__buffer__(0)
    if sys.version_info >= (3, 12):
        assert bytes(nt.tensor([1, 2], dtype=nt.uint8)) == b"\1\2"


def test_a_copy_shares_memory_and_a_deep_one_does_not() -> None:
    x = nt.arange(4.0)
    shared, own = copy.copy(x), copy.deepcopy(x)
    x[0] = 5
    assert shared.tolist() == [5, 1, 2, 3] and own.tolist() == [0, 1, 2, 3]
    leaf = nt.ones(2, requires_grad=True)
    leaf.grad = nt.ones(2)
    for again in (copy.copy(leaf), copy.deepcopy(leaf), pickle.loads(pickle.dumps(leaf))):
        assert again.is_leaf and again.requires_grad and again.tolist() == [1, 1]
    assert copy.deepcopy(leaf).grad.tolist() == [1, 1]
    assert copy.deepcopy(leaf).grad is not leaf.grad
    with pytest.raises(GradientError, match="only a leaf is copied"):
        copy.deepcopy(leaf * 2)


def test_views_that_are_copied_together_share_the_copy() -> None:
    base = nt.zeros(4)
    made = copy.deepcopy({"part": base[1:3], "base": base, "turned": base.reshape(2, 2).T})
    made["base"][1] = 7
    assert made["part"].tolist() == [7, 0] and made["turned"].tolist() == [[0, 0], [7, 0]]
    assert base.tolist() == [0, 0, 0, 0]
    again = copy.deepcopy([base, base])
    assert again[0] is again[1]


@pytest.mark.parametrize("name", sorted(nt.dtype.by_name))
def test_every_dtype_is_pickled(name: str) -> None:
    kind = nt.dtype.by_name[name]
    assert pickle.loads(pickle.dumps(kind)) is kind
    if kind.kind != "q":
        x = nt.ones(2, 3, device="cpu").to(kind)
        for protocol in range(2, 6):
            again = pickle.loads(pickle.dumps(x, protocol))
            assert again.dtype is kind and again.shape == (2, 3)
            assert again.numpy().tobytes() == x.numpy().tobytes()
