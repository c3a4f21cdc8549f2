"""The short ways to views and to single elements give what the long ways give."""

import itertools
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.graph import DEPTH_LIMIT, Node, trace_mode
from numbatorch.layout import Layout
from numbatorch.ops.view import element, part, select, slice_
from numbatorch.ops.write_through import Step, layout_through
from numbatorch.tensor import conversion, index, views
from numbatorch.tensor.base import any_depth
from numbatorch.tensor.host import number
from numbatorch.tensor.views import Alias, layout_of, memory_of
from tests.unit.test_indexing import basic_keys, values


@contextmanager
def long_ways() -> Iterator[None]:
    """Within a block indices and elements go the long ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "element", lambda node, key: None)
        patch.setattr(index, "basic", lambda node, key: None)
        patch.setattr(conversion, "number", lambda node: None)
        yield


def both(call: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """What a call gives by the short ways and by the long ones; or how it fails."""
    found = []
    for long in (False, True):
        try:
            if long:
                with long_ways():
                    found.append(call(*args))
            else:
                found.append(call(*args))
        except (IndexError, TypeError, ValueError) as error:
            found.append((type(error), str(error)))
    return found[0], found[1]


def described(base: nt.Tensor, key: Any) -> Any:
    """What a view is: all but its values and its steps."""
    view = base[key]
    node, place = view.node, view._place
    return (
        node.shape,
        node.dtype,
        node.device,
        node.requires_grad,
        node.trace,
        view is base,
        memory_of(view) is memory_of(base),
        layout_of(view),
        place.recorded if isinstance(place, Alias) else None,
    )


KEYS: tuple[Any, ...] = (
    *(0, -1, 3, -4, 5, True, np.int64(2), slice(None), slice(None, None, -1), slice(9, 2, 0)),
    *((), (0, 1), (0, 1, 2, 3), (slice(1, None), 2), (1, slice(None, None, 2)), 1.5, None, ...),
)


@pytest.mark.parametrize("key", KEYS, ids=repr)
@pytest.mark.parametrize("shape", [(), (4,), (4, 3), (0, 2), (4, 1, 3)])
def test_each_key_gives_the_same_view_or_error(shape: tuple[int, ...], key: Any) -> None:
    x = nt.from_numpy(values(shape))
    short, long = both(described, x, key)
    assert short == long


@given(st.data())
def test_views_by_the_short_way_are_those_by_the_long_one(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    first = data.draw(basic_keys(shape))
    array = values(shape)
    x = nt.from_numpy(array.copy())
    if data.draw(st.booleans()):
        x.requires_grad_()
    with nt.no_grad() if data.draw(st.booleans()) else nt.enable_grad():
        second = data.draw(basic_keys(array[first].shape))
        for key in (first, second):
            short, long = both(described, x, key)
            assert short == long
            x, array = x[key], array[key]
    np.testing.assert_array_equal(x.detach().numpy(), array)
    for place in itertools.islice(np.ndindex(array.shape), 5):
        assert x[place].item() == array[place]


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("recorded", [False, True])
def test_nodes_known_to_fit_are_those_that_are_checked(required: bool, recorded: bool) -> None:
    x = (nt.ones(3, 4, 5, requires_grad=required) * 2).node
    slices = {"starts": (0, 3, 1), "sizes": (3, 2, 2), "steps": (1, -2, 2)}
    with trace_mode(), nt.enable_grad() if recorded else nt.no_grad():
        pairs = [(element(x, d, 1), select.apply(x, dim=d, index=1)) for d in range(3)]
        pairs.append((part(x, **slices), slice_.apply(x, **slices)))
    names = [name for name in Node.__slots__ if not name.startswith("__")]
    for short, long in pairs:
        found, wanted = ([getattr(node, name, None) for name in names] for node in (short, long))
        assert found == wanted


@pytest.mark.parametrize("key", [1, (1, 2), slice(1, None)], ids=repr)
def test_views_of_deep_graphs_are_computed_as_by_the_long_way(key: Any) -> None:
    x = nt.ones(2, 3, device="cpu")
    for _ in range(DEPTH_LIMIT - 2):
        x = x + 1

    def depth() -> int:
        view = x
        for _ in range(3):
            view = x[key] if view is x else view[...].unsqueeze(0)[0]
        return view.node.depth

    with any_depth():
        short, long = both(depth)
    assert short == long > DEPTH_LIMIT
    assert depth() < DEPTH_LIMIT


PLACES: dict[str, Callable[[nt.Tensor], nt.Tensor]] = {
    "itself": lambda x: x[1, 2].clone().realize(),
    "select": lambda x: x[1, 2],
    "a row of one": lambda x: x[1:2][0, 2:3],
    "along a column": lambda x: x.T[2][1],
    "of a row": lambda x: x.reshape(-1)[6],
    "a slice": lambda x: x[1::7, 2::2],
    "expanded": lambda x: x[1, 2].expand(1, 1)[0],
    "turned round": lambda x: x[::-1][1][2],
}


@pytest.mark.parametrize("dtype", dt.PLAIN + dt.COMPLEX, ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_an_element_is_the_same_number_in_every_dtype(dtype: Any, place: str) -> None:
    x = nt.tensor([[0, 1, 1, 0], [1, 0, 3, 1], [1, 1, 0, 0]], device="cpu").to(dtype).realize()
    view = PLACES[place](x)
    short, long = both(view.item)
    assert short == long == (1 if dtype is dt.bool_ else 3) and type(short) is type(long)
    if dtype.kind in "fiub" and dtype.itemsize > (dtype.kind == "f"):
        assert number(view.node) == short


@pytest.mark.parametrize("value", [-0.0, np.inf, np.nan, 65504.0, 6e-8, -1.5])
@pytest.mark.parametrize("dtype", [dt.float16, dt.bfloat16, dt.float32, dt.float64], ids=str)
def test_special_numbers_are_read_as_they_are(dtype: Any, value: float) -> None:
    x = nt.tensor([0.0, value], dtype=dtype, device="cpu").realize()
    short, long = both(x[1].item)
    assert repr(short) == repr(long) and repr(np.float32(short)) == repr(x.float().numpy()[1])


def test_elements_follow_changes_and_gradients_flow_through_them() -> None:
    x = nt.arange(4.0, device="cpu").realize()
    view = x[1]
    assert view.item() == 1
    x += 1
    assert view.item() == 2
    view += 5
    assert x.tolist() == [1, 7, 3, 4] and [v.item() for v in x] == [1, 7, 3, 4]
    for row in x.reshape(2, 2):
        row *= 2
    assert x.tolist() == [2, 14, 6, 8]
    w = nt.arange(4.0, device="cpu").requires_grad_()
    sum((v * i for i, v in enumerate(w)), w[-1] * w[-1]).backward()
    assert w.grad is not None and w.grad.tolist() == [0, 1, 2, 9]
    assert [v.requires_grad for v in w] == [True] * 4


def test_elements_that_are_taken_one_by_one_are_those_of_the_tensor_as_it_is() -> None:
    x = nt.zeros(3, device="cpu").realize()
    found = []
    for i, value in enumerate(x):
        x += 1
        found.append(value.item())
        assert value.item() == i + 1
    assert found == [1, 2, 3]
    with pytest.raises(TypeError, match="0-d"):
        iter(x[0])


def test_reading_an_element_computes_nothing_and_a_traced_function_refuses_it() -> None:
    x = nt.arange(4.0, device="cpu").realize()
    view = x[2]
    assert view.item() == 2 and view.node.buffer is None
    with pytest.raises(RuntimeError, match="read while its function is traced"):
        nt.compile(lambda y: y[1].item())(x)


def test_a_loop_over_elements_and_many_views_keep_nothing() -> None:
    x = nt.zeros(4096, device="cpu").realize()

    def loop() -> None:
        for value in x:
            value.item()

    loop()
    tracemalloc.start()
    loop()
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    memory = memory_of(x)
    assert most < 100_000 and memory is not None and len(memory.fresh) < 20
    held = list(x)
    assert len(memory.fresh) < 3 * len(held)
    held.clear()
    _last = x[0], x[1]
    for _ in range(9000):
        x[3]
    assert len(memory.fresh) < 20


def test_each_view_of_a_view_is_placed_by_its_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = 0

    def counting(layout: Layout, steps: Sequence[Step]) -> Layout | None:
        nonlocal walked
        walked += len(steps)
        return layout_through(layout, steps)

    monkeypatch.setattr(views, "layout_through", counting)
    x = nt.zeros(400, device="cpu").realize()
    rest = x
    for i in range(300):
        rest = rest[1:] if i % 2 else rest.reshape(-1, 1).T[0]
    assert layout_of(rest) == Layout((250,), (1,), 150) and walked < 1000
    rest += 1
    assert x.sum().item() == 250 and x[149].item() == 0


@given(st.data())
def test_a_view_of_a_view_lies_where_all_its_steps_lead(data: st.DataObject) -> None:
    x = nt.zeros(3, 4, 5, device="numpy")
    view = x
    for _ in range(4):
        rank = view.ndim
        kind = data.draw(st.integers(0, 3))
        if kind == 0:
            view = view[data.draw(basic_keys(view.shape))]
        elif kind == 1:
            view = view.permute(*data.draw(st.permutations(range(rank))))
        elif kind == 2:
            view = view.reshape(-1) if 0 not in view.shape else view
        else:
            view = view.unsqueeze(data.draw(st.integers(0, rank)))
    place = view._place
    if isinstance(place, Alias) and place.layout is not None:
        whole = layout_through(place.memory.layout, place.steps)
        assert whole is not None and whole.same_walk(place.layout)
