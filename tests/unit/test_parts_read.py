"""Parts of a value that are read or computed with one after the other take no plan each."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch.backends.base import backend
from numbatorch.backends.cpu.backend import CPUBackend
from numbatorch.tensor.host import MOST_ELEMENTS
from tests.unit.test_indexing import basic_keys, values


def cpu() -> CPUBackend:
    found = backend(nt.device("cpu"))
    assert isinstance(found, CPUBackend)
    return found


def plans() -> int:
    """How many programs the CPU keeps, of small graphs and others."""
    return len(cpu()._programs) + len(cpu()._small._known)


@pytest.mark.parametrize("required", [False, True])
def test_a_value_is_computed_whole_when_parts_of_it_are_read(required: bool) -> None:
    x = nt.arange(12.0, device="cpu").realize().requires_grad_(required)
    cpu().forget_programs()
    y, expected = (x * 2).reshape(3, 4), (np.arange(12.0) * 2).reshape(3, 4)
    assert [[value.item() for value in row] for row in y] == expected.tolist()
    assert y[1, 1:].tolist() == [10, 12, 14] and y.T[3].tolist() == [6, 14, 22]
    assert plans() == 1 and y.requires_grad == required
    if required:
        y[2, 1].backward()
        assert x.grad is not None and x.grad.tolist() == [0.0] * 9 + [2.0] + [0.0] * 2


def test_of_a_large_value_only_the_part_is_computed() -> None:
    x = nt.zeros(MOST_ELEMENTS + 1, device="cpu").realize()
    y, z = x + 1, x[1:] + 1
    assert y[5].item() == 1 and y.node.buffer is None
    assert z[5].item() == 1 and z.node.buffer is not None


def test_elements_share_the_program_of_what_is_computed_with_them() -> None:
    x = nt.arange(300.0, device="cpu").realize()
    assert x[0].item() * 2 == (x[0] * 2).item()
    cpu().forget_programs()
    assert sum(1 for value in x if value > 99.5) == 200
    assert max(x).item() == 299 and [float(v * 2 + 1) for v in x] == [2 * i + 1 for i in range(300)]
    rows = x.reshape(100, 3)
    assert [(row + 1).tolist() for row in rows] == (np.arange(300.0).reshape(100, 3) + 1).tolist()
    assert plans() <= 6


OPERATIONS: tuple[Any, ...] = (
    lambda x, y: x * 2 + 1,
    lambda x, y: x - y,
    lambda x, y: y * y,
    lambda x, y: (x > y) * 1.0,
    lambda x, y: abs(x - 3) + y,
)


@given(st.data())
def test_small_graphs_of_views_equal_numpy_also_after_changes(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    array = values(shape)
    x = nt.from_numpy(array.copy()).to("cpu")
    for _ in range(3):
        key = data.draw(basic_keys(shape))
        view, expected = x[key], array[key]
        if data.draw(st.booleans()):
            view, expected = view.T, expected.T
        which = data.draw(st.integers(0, len(OPERATIONS) - 1))
        found = OPERATIONS[which](view, view)
        changed = data.draw(st.booleans())
        if changed:
            x += 1
        np.testing.assert_array_equal(found.numpy(), OPERATIONS[which](expected, expected))
        if changed:
            array = array + 1
        np.testing.assert_array_equal(view.numpy(), expected + changed)


def test_a_view_of_memory_that_is_dropped_is_computed_with() -> None:
    found = [(nt.full((5,), float(i), device="cpu") + 1)[i % 5] * 3 for i in range(50)]
    assert [value.item() for value in found] == [3 * (i + 1) for i in range(50)]
    rows = [nt.tensor([[1.0, 2.0], [3.0, i]], device="cpu")[1] + 1 for i in range(50)]
    assert [row.tolist() for row in rows] == [[4, i + 1] for i in range(50)]
