"""Compiled functions that change, by Python, what they read: what replays would not do again."""

from functools import partial
from typing import Any

import pytest

import numbatorch as nt


class Toggled:
    """What the functions below change and read."""

    flag = False

    def __init__(self) -> None:
        self.on = 0
        self.kept: Any = None
        self.counts = {"calls": 0}
        self.rows = [nt.zeros(1), nt.ones(1)]
        self.weight = nt.tensor([1.0], requires_grad=True)
        self.optimizer = nt.optim.SGD([self.weight], lr=0.1)
        self.layer = nt.nn.Dropout(0.0)


def attribute(s: Toggled, x: Any) -> Any:
    s.on = 1 - s.on
    return x * s.on


def class_attribute(s: Toggled, x: Any) -> Any:
    Toggled.flag = not Toggled.flag
    return x * (2 if Toggled.flag else 3)


def count(s: Toggled, x: Any) -> Any:
    s.counts["calls"] = (s.counts["calls"] + 1) % 3
    return x * s.counts["calls"]


def exchanged(s: Toggled, x: Any) -> Any:
    s.rows[0], s.rows[1] = s.rows[1], s.rows[0]
    return x * s.rows[0]


def buffer(s: Toggled, x: Any) -> Any:
    if s.kept is None:
        s.kept = nt.zeros(1)
    s.kept.add_(x)
    return s.kept * 1


def accumulated(s: Toggled, x: Any) -> Any:
    loss = ((s.weight * x) ** 2).sum()
    loss.backward()
    s.counts["calls"] += 1
    if s.counts["calls"] == 3:
        s.counts["calls"] = 0
        s.optimizer.step()
        s.optimizer.zero_grad()
    return loss


def rate(s: Toggled, x: Any) -> Any:
    group = s.optimizer.param_groups[0]
    group["lr"] = 0.2 if group["lr"] == 0.1 else 0.1
    return x * group["lr"]


def mode(s: Toggled, x: Any) -> Any:
    s.layer.train(not s.layer.training)
    return x * (2 if s.layer.training else 3)


@pytest.mark.parametrize(
    "function",
    [attribute, class_attribute, count, exchanged, buffer, accumulated, rate, mode],
    ids=lambda function: function.__name__,
)
@pytest.mark.filterwarnings("ignore:compile")
def test_a_function_that_changes_what_it_reads_runs_each_time(function: Any) -> None:
    results = []
    for wrap in (lambda f: f, nt.compile):
        state, found = Toggled(), []
        Toggled.flag = False
        call = wrap(partial(function, state))
        for i in range(13):
            if i % 4 == 3:
                state.kept = None
            found.append(call(nt.tensor([1.0 + i])).tolist())
        results.append((found, state.weight.tolist(), state.counts, state.on))
    assert results[0] == results[1]


def test_lists_and_dicts_among_arguments_are_not_changed_in_silence() -> None:
    def put(xs: dict[str, Any]) -> Any:
        xs["y"] = xs["x"] * 2
        return xs["x"]

    def add(xs: list[Any], x: Any) -> Any:
        xs.append(7)
        return x

    def swap(xs: list[Any]) -> Any:
        xs[0], xs[1] = xs[1], xs[0]
        return xs[0]

    for call in (
        lambda: nt.compile(put)({"x": nt.ones(1)}),
        lambda: nt.compile(add)([1], nt.ones(1)),
        lambda: nt.compile(swap)([nt.ones(1), nt.zeros(1)]),
    ):
        with pytest.raises(TypeError, match="a list or dict among the arguments is") as caught:
            call()
        assert "argument xs" in str(caught.value)


def test_requires_grad_is_set_outside() -> None:
    weight = nt.ones(2)

    def function(x: Any) -> Any:
        weight.requires_grad_(not weight.requires_grad)
        return weight * x

    with pytest.raises(TypeError, match="requires_grad of a tensor from outside is changed"):
        nt.compile(function)(nt.ones(2))
    assert not weight.requires_grad


@pytest.mark.filterwarnings("ignore:compile")
def test_a_toggle_beside_an_argument_that_is_changed_is_done_once() -> None:
    def function(s: Toggled, x: Any) -> Any:
        s.on = 1 - s.on
        s.rows[0].add_(1)
        return x * s.on

    results = []
    for wrap in (lambda f: f, nt.compile):
        state = Toggled()
        call = wrap(partial(function, state))
        results.append([call(state.rows[i % 3 % 2]).tolist() for i in range(9)])
    assert results[0] == results[1]
