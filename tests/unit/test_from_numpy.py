"""Arrays of users: what is done with one after a call changes no result, unless it is shared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.ops.blocks import quantize

USES: dict[str, Callable[[np.ndarray, str], nt.Tensor]] = {
    "from_numpy": lambda a, device: nt.from_numpy(a, device),
    "from_numpy of a part": lambda a, device: nt.from_numpy(a[1:], device),
    "from_numpy of a read-only view": lambda a, device: nt.from_numpy(read_only(a), device),
    "tensor": lambda a, device: nt.tensor(a, device=device),
    "tensor of a list": lambda a, device: nt.tensor([a, a], device=device),
    "assignment": lambda a, device: assigned(nt.zeros(4, device=device), ..., a),
    "assignment to picks": lambda a, device: assigned(nt.zeros(4, device=device), [3, 1, 2, 0], a),
    "mask": lambda a, device: assigned(nt.zeros(4, device=device), a.view(np.int32) == 0, 7),
    "indices": lambda a, device: nt.arange(4, device=device)[a.astype(np.int64)],
    "fill": lambda a, device: nt.full((2,), a[1], device=device),
}


def read_only(array: np.ndarray) -> np.ndarray:
    found = array.view()
    found.flags.writeable = False
    return found


def assigned(x: nt.Tensor, key: Any, value: Any) -> nt.Tensor:
    x[key] = value
    return x


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("where", ["cpu", "numpy"])
def test_a_buffer_that_is_refilled_changes_no_result(use: Any, where: str) -> None:
    array = np.arange(4, dtype=np.float32)
    expected = (use(array.copy(), where) * 2).tolist()
    lazy = use(array, where) * 2
    array[:] = 3
    assert lazy.tolist() == expected


def test_a_mask_that_is_refilled_changes_no_result() -> None:
    x, mask = nt.zeros(3), np.array([True, False, True])
    x[mask] = 1
    mask[:] = False
    assert x.tolist() == [1, 0, 1]


def test_a_shared_array_is_seen_until_a_result_is_computed() -> None:
    array = np.zeros(3, np.float32)
    x = nt.from_numpy(array, "cpu", share=True)
    before, after = (x + 1).realize(), x + 1
    array[:] = 5
    assert before.tolist() == [1.0] * 3 and after.tolist() == [6.0] * 3
    x.add_(1)
    assert x.tolist() == [6.0] * 3 and array.tolist() == [5.0] * 3


def test_memory_that_nobody_can_write_to_is_not_copied() -> None:
    array = np.arange(4, dtype=np.float32)
    array.flags.writeable = False
    for given in (array, array[1:], np.frombuffer(bytes(8), np.float32)):
        assert np.shares_memory(nt.from_numpy(given, "cpu").numpy(), given)
    assert not np.shares_memory(nt.from_numpy(array[::2], "cpu").numpy(), array)


def test_a_file_is_mapped_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    nt.save({"x": nt.arange(64).float()}, path)
    found = nt.load(path, "cpu")["x"]
    assert not found.node.buffer.pooled and not found.numpy().flags.writeable
    assert found.tolist() == list(range(64))


def test_blocks_are_copied_unless_they_are_shared() -> None:
    kind = nt.dtype.Q8_0
    data = quantize(np.ones((1, 32), np.float32), kind).reshape(-1)
    copied, before = nt.from_blocks(data, kind, (1, 32), "cpu"), data.copy()
    shared = nt.from_blocks(data, kind, (1, 32), "cpu", share=True)
    assert np.shares_memory(shared.numpy(), data)
    data[:] = 0
    np.testing.assert_array_equal(copied.numpy().reshape(-1), before)


def test_an_array_of_a_tensor_keeps_its_values() -> None:
    x = (nt.zeros(3, device="cpu") + 1).realize()
    array = x.numpy()
    x.add_(1)
    x.realize()
    assert array.tolist() == [1.0] * 3 and not array.flags.writeable
