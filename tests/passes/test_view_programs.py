"""Programs that take views, change them in place and read them do what NumPy's views do."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt

SHAPE = (4, 6)


def half(x: Any) -> Any:
    """Pairs of elements; NumPy and PyTorch copy where no strides express it."""
    count = int(np.prod(x.shape))
    return x.reshape(count // 2, 2) if count % 2 == 0 else x.reshape(1, count)


# Views of a value by two numbers; NumPy and we spell them alike.
VIEWS: tuple[Callable[[Any, int, int], Any], ...] = (
    lambda x, a, b: x[a % x.shape[0], ...] if x.shape else x[...],
    lambda x, a, b: x[..., b % x.shape[-1] :] if x.shape else x[...],
    lambda x, a, b: x[a % 2 % x.shape[0] :: 1 + b % 2] if x.shape else x[...],
    lambda x, a, b: x[..., None],
    lambda x, a, b: x.swapaxes(0, -1) if x.shape else x[...],
    lambda x, a, b: x.T,
    lambda x, a, b: x.reshape(-1),
    lambda x, a, b: half(x),
    lambda x, a, b: x.squeeze(),
    lambda x, a, b: x[a % x.shape[0] - x.shape[0] * (b % 2)] if x.ndim > 1 else x[...],
    lambda x, a, b: x[b % x.shape[0] :, a % x.shape[1]] if x.ndim > 1 else x[...],
    lambda x, a, b: list(x)[a % x.shape[0]] if x.ndim > 1 else x[...],
)


def change(x: Any, other: Any, which: int, number: int) -> None:
    """One change in place of x; `other` may share its memory."""
    factor = number % 3 - 1
    match which % 6:
        case 0:
            x += factor
        case 1:
            x *= factor + 1
        case 2 if other.shape == x.shape:
            x[...] = other + factor
        case 3:
            x[...] = factor
        case 4 if x.shape:
            x[number % x.shape[0]] += factor
        case 5:
            x -= other.sum() * factor


Statement = tuple[int, int, int, int, int]
PROGRAMS = st.lists(
    st.tuples(*(st.integers(0, n) for n in (3, 99, 99, 99, 99))), min_size=1, max_size=8
)


def run(pool: list[Any], program: Sequence[Statement], read: Callable[[Any], Any]) -> list[Any]:
    """What is read on the way and at the end. The program may drop what the pool holds."""
    found = []
    for kind, i, which, a, b in program:
        at = i % len(pool)
        if kind == 0:
            pool.append(VIEWS[which % len(VIEWS)](pool[at], a, b))
        elif kind == 1:
            change(pool[at], pool[a % len(pool)], which, b)
        elif kind == 2:
            found.append(read(pool[at]))
        elif len(pool) > 1:
            del pool[at]
    return found + [read(value) for value in pool]


def start() -> np.ndarray:
    return np.arange(24).reshape(SHAPE)


def same(found: Sequence[Any], expected: Sequence[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(got), want)


@pytest.mark.parametrize("where", ["numpy", "cpu"])
@pytest.mark.parametrize("read", [lambda x: np.array(x.numpy()), lambda x: x * 1])
@given(program=PROGRAMS)
def test_programs_of_views(where: str, read: Any, program: list[Statement]) -> None:
    expected = run([start()], program, np.array)
    same(run([nt.tensor(start(), device=where)], program, read), expected)


def with_views(x: Any) -> list[Any]:
    """A value and views of it, which a function uses from outside."""
    return [x, x[1:3], x.T, x.reshape(-1), x[:, 1]]


@given(program=PROGRAMS)
def test_compiled_programs_of_views(program: list[Statement]) -> None:
    ours, theirs = (with_views(x) for x in (nt.tensor(start(), device="cpu"), start()))

    @nt.compile
    def step(x: Any) -> Any:
        pool = list(ours)
        pool[0] += x
        return run(pool, program, lambda value: value * 1)

    for call in range(3):
        found = step(nt.tensor(call, device="cpu"))
        pool = list(theirs)
        pool[0] += call
        same(found, run(pool, program, np.array))
        if call == 1:
            ours[1] += 1
            theirs[1] += 1
    same(ours, theirs)


def test_changes_through_views_happen_in_place() -> None:
    x = (nt.zeros(4, 6, device="cpu") + 1).realize()
    address = x.node.buffer.address
    for row in x:
        row += 1
    part = x.T[2:4]
    x[:, 1] *= 3
    part.mul_(2)
    x.reshape(-1)[20:] -= 1
    x.realize()
    assert x.node.buffer.address == address
    assert x.tolist() == [[2, 6, 4, 4, 2, 2]] * 3 + [[2, 6, 3, 3, 1, 1]]
    assert part.tolist() == [[4, 4, 4, 3]] * 2


def test_a_compiled_function_changes_what_is_viewed_outside_in_place() -> None:
    cache = (nt.zeros(4, 6, device="cpu") + 1).realize()
    rows, flat = cache[1:3], cache.view(-1)
    address = cache.node.buffer.address

    @nt.compile
    def step(x: nt.Tensor) -> nt.Tensor:
        rows.add_(x)
        cache[0] *= 2
        return rows.sum()

    for call in range(1, 4):
        assert step(nt.ones(6, device="cpu")).item() == 12 * (call + 1)
        assert cache.node.buffer.address == address
        assert flat[0].item() == 2**call and rows[0, 0].item() == call + 1


def test_the_last_view_of_a_value_does_not_hold_it() -> None:
    x = nt.ones(3, 4, device="cpu").realize()
    product = x @ x.T
    node = weakref.ref(product.node)
    view = product.transpose(0, 1)
    del product
    view.realize()
    assert node() is None
    view[0] += 1
    assert view.tolist() == [[5.0] * 3, [4.0] * 3, [4.0] * 3]
