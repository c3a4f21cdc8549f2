"""A layout after any run of views reads the elements that NumPy's views read."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from numbatorch.layout import Layout, collapse


def read(layout: Layout, memory: Any) -> Any:
    """The elements that a layout names, by its definition."""
    out = np.empty(layout.shape, memory.dtype)
    for index in np.ndindex(*layout.shape):
        steps = (i * stride for i, stride in zip(index, layout.strides, strict=True))
        out[index] = memory[layout.offset + sum(steps)]
    return out


def step(data: Any, layout: Layout, array: Any) -> tuple[Layout | None, Any]:
    """One random view of both."""
    kind = data.draw(st.sampled_from(["permute", "expand", "slice", "reshape"]))
    if kind == "permute":
        dims = tuple(data.draw(st.permutations(range(array.ndim))))
        return layout.permute(dims), array.transpose(dims)
    if kind == "expand":
        shape = (2, *(3 if n == 1 else n for n in array.shape))
        return layout.expand(shape), np.broadcast_to(array, shape)
    if kind == "slice":
        starts, sizes, steps = [], [], []
        for n in array.shape:
            size = data.draw(st.integers(0, n))
            stride = data.draw(st.sampled_from([1, 2, -1])) if size * 2 <= n + 1 else 1
            reach = max(size - 1, 0) * abs(stride)
            first = data.draw(st.integers(0, max(n - 1 - reach, 0)))
            starts.append(first + reach if stride < 0 else first)
            sizes.append(size)
            steps.append(stride)
        picked = np.ix_(
            *(
                [start + i * stride for i in range(size)]
                for start, size, stride in zip(starts, sizes, steps, strict=True)
            )
        )
        out = array[tuple(np.asarray(p, int) for p in picked)]
        return layout.slice(tuple(starts), tuple(sizes), tuple(steps)), out
    split = [n for n in array.shape if n != 1]
    shape = data.draw(st.sampled_from([(array.size,), (1, *split), (*split, 1), array.shape[::-1]]))
    return layout.reshape(shape), array.reshape(shape)


@given(st.data())
def test_views_of_a_layout_are_numpys_views(data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    memory = np.arange(int(np.prod(shape)))
    layout, array = Layout.contiguous(shape), memory.reshape(shape)
    for _ in range(data.draw(st.integers(1, 4))):
        found, array = step(data, layout, array)
        if found is None:  # no strides express it: NumPy had to copy as well
            return
        layout = found
        assert layout.shape == array.shape
        np.testing.assert_array_equal(read(layout, memory), array)


def test_reshape_is_refused_only_where_numpy_copies() -> None:
    layout = Layout.contiguous((3, 4)).permute((1, 0))
    assert layout.reshape((12,)) is None
    assert layout.reshape((2, 2, 3)) == Layout((2, 2, 3), (2, 1, 4))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_collapsed_dimensions_visit_the_same_offsets(sizes: list[int], data: Any) -> None:
    strides = [
        tuple(data.draw(st.lists(st.integers(-6, 6), min_size=len(sizes), max_size=len(sizes))))
        for _ in range(2)
    ]
    merged, steps = collapse(tuple(sizes), strides)

    def offsets(shape: Any, strides: Any) -> list[tuple[int, ...]]:
        return [
            tuple(sum(i * s for i, s in zip(index, one, strict=True)) for one in strides)
            for index in np.ndindex(*shape)
        ]

    assert offsets(sizes, strides) == offsets(merged, steps)
