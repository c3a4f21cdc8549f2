"""Updates, traces and detached values when a thread or an interrupt comes at any moment."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.tensor import base
from tests.interrupts import KINDS, interruptions, is_moment


@pytest.fixture(autouse=True)
def interrupts_in_finalizers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter prints them and goes on."""
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: None)


def at_every_moment(call: Callable[[], Any], other: Callable[[], Any]) -> None:
    """Run `call`, and `other` wherever the interpreter could let another thread run it."""

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if is_moment(frame, event) and argument is not sys.setprofile:
            other()

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)


def realized(value: float) -> nt.Tensor:
    return (nt.zeros(4, device="cpu") + value).realize()


def test_a_replay_during_an_update_does_not_keep_the_old_value() -> None:
    weight, one = realized(1).requires_grad_(), realized(1)
    plus = nt.compile(lambda x: x + weight)
    plus(one)

    with nt.no_grad():
        at_every_moment(lambda: weight.add_(1), lambda: plus(one))
        assert plus(one).tolist() == [3.0] * 4


@KINDS
def test_a_replay_after_an_interrupted_update_reads_what_the_tensor_holds(
    kind: type[BaseException],
) -> None:
    weight, one = realized(1), realized(1)
    plus = nt.compile(lambda x: x + weight)
    plus(one)
    value = nt.full((4,), 5.0, device="cpu").realize()
    for _ in interruptions(lambda: weight.copy_(value), kind=kind):
        np.testing.assert_array_equal(plus(one).numpy(), weight.numpy() + 1)
        weight.fill_(1)
        plus(one)


@KINDS
def test_an_interrupted_trace_leaves_tensors_what_they_hold(kind: type[BaseException]) -> None:
    tensors = [realized(i) for i in range(3)]
    nodes = [x.node for x in tensors]

    def trace() -> None:
        with base.tracing():
            for x in tensors:
                x.fill_(7)

    trace()  # loads what it needs, at thousands of moments
    moments = 0
    for _ in interruptions(trace, kind=kind):
        assert [x.node for x in tensors] == nodes
        assert not base.is_tracing()
        moments += 1
    assert moments > 10


def test_values_are_detached_while_another_thread_computes() -> None:
    waiting = [(realized(i) + 1).detach() for i in range(3)]
    kept: list[nt.Tensor] = []
    sources = [realized(i) * 2 for i in range(3)]

    def detach() -> None:
        if len(kept) < 200:
            kept.append(sources[len(kept) % 3].detach())

    result = realized(1) + 1
    at_every_moment(result.realize, detach)
    assert len(kept) > 10
    assert [x.tolist() for x in waiting] == [[float(i + 1)] * 4 for i in range(3)]
    assert kept[1].tolist() == [2.0] * 4


def test_views_follow_when_another_thread_reads_them_during_an_update() -> None:
    x = realized(1)
    views = [x[1:], x.reshape(2, 2), x[::2]]
    plus = nt.compile(lambda y: y + views[0])
    one = nt.ones(3, device="cpu").realize()
    plus(one)

    def read() -> None:
        assert float(views[1][0, 0]) in (1.0, 2.0)
        plus(one)

    at_every_moment(lambda: views[2].add_(1), read)
    assert x.tolist() == [2.0, 1.0, 2.0, 1.0]
    assert [view.tolist() for view in views] == [[1, 2, 1], [[2, 1], [2, 1]], [2, 2]]
    assert plus(one).tolist() == [2.0, 3.0, 2.0]


@KINDS
def test_views_and_base_agree_after_an_interrupted_update(kind: type[BaseException]) -> None:
    x = realized(1)
    views = [x[1:], x[::2]]
    views[1].add_(1)
    moments = 0
    for _ in interruptions(lambda: views[1].add_(1), kind=kind):
        array = np.array(x.numpy())
        np.testing.assert_array_equal(views[0].numpy(), array[1:])
        np.testing.assert_array_equal(views[1].numpy(), array[::2])
        moments += 1
    assert moments > 10


@KINDS
def test_an_interrupted_trace_leaves_views_what_they_were(kind: type[BaseException]) -> None:
    x = realized(1)
    view = x[1:]

    def trace() -> None:
        with base.tracing():
            view.mul_(7)
            x.add_(1)
            assert view.node.shape == (3,)

    trace()
    for _ in interruptions(trace, kind=kind):
        assert x.tolist() == [1.0] * 4 and view.tolist() == [1.0] * 3
