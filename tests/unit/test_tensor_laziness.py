"""Nothing runs before it is read; graphs that nobody reads stay small; threads do not interfere."""

import gc
import threading
import weakref

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.backends import base
from numbatorch.graph import DEPTH_LIMIT, find


class Counting:
    """The reference backend, which counts plans and notes what they computed."""

    def __init__(self, inner: base.Backend) -> None:
        self.inner = inner
        self.plans: list[int] = []

    def realize(self, nodes, order=None):  # type: ignore[no-untyped-def]
        self.plans.append(len(nodes))
        self.inner.realize(nodes, order)

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(self.inner, name)


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")
    found = Counting(base.backend(nt.device("numpy")))
    monkeypatch.setitem(base._backends, nt.device("numpy"), found)
    return found


def test_building_a_graph_runs_nothing(counting: Counting) -> None:
    x = nt.ones(3, 4, requires_grad=True)
    y = (x @ x.T).softmax(-1)[0, 1:] + nt.rand(2)
    y.sum().backward()
    assert y.shape == (2,) and x.grad.shape == (3, 4)
    assert counting.plans == []
    y.sum().item()
    assert len(counting.plans) == 1


@pytest.mark.parametrize("read", [repr, lambda x: x.numpy, float, bool, lambda x: x.tolist()])
def test_reading_realizes(read, counting: Counting) -> None:  # type: ignore[no-untyped-def]
    x = nt.ones(1) + 1
    value = read(x)
    if callable(value):
        value()
    assert counting.plans == [1] and x.node.buffer is not None


def test_realize_takes_several_in_one_plan(counting: Counting) -> None:
    x = nt.ones(3) + 1
    a, b = x * 2, x * 3
    nt.realize(a, b, a)
    assert counting.plans == [2]
    nt.realize(a, b)
    assert counting.plans == [2]


def test_a_realized_value_forgets_its_inputs_unless_a_gradient_needs_them() -> None:
    x = nt.ones(2)
    y = x + 1
    source = weakref.ref(x.node)
    y.realize()
    del x
    gc.collect()
    assert source() is None and y.node.inputs == ()
    w = nt.ones(2, requires_grad=True)
    z = (w * 2).realize()
    z.sum().backward()
    assert w.grad.tolist() == [2, 2]


def test_a_running_sum_of_losses_holds_no_graph() -> None:
    w = nt.ones(3, requires_grad=True)
    optimizer = nt.optim.SGD([w], lr=0.1)
    total = nt.zeros(())
    old = []
    for _ in range(3):
        loss = (w * w).sum()
        total = total + loss.detach()
        old.append(weakref.ref(w.node))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    del loss
    gc.collect()
    assert [reference() for reference in old] == [None] * 3
    assert abs(total.item() - 3 * (1 + 0.64 + 0.4096)) < 1e-5


def test_a_running_sum_stays_shallow_and_right() -> None:
    total = nt.zeros(2)
    for _ in range(3 * DEPTH_LIMIT):
        total = total + 1
        assert total.node.depth <= DEPTH_LIMIT + 1
    assert total.tolist() == [3 * DEPTH_LIMIT] * 2


def test_a_long_differentiable_chain_neither_recurses_nor_overflows() -> None:
    x = nt.ones(1, requires_grad=True)
    y = x
    for _ in range(6000):
        y = y * 1.0
    y.sum().backward()
    assert x.grad.item() == 1.0
    del y, x
    gc.collect()


def test_a_fresh_parameter_is_drawn_once(counting: Counting) -> None:
    w = nt.randn(3, requires_grad=True)
    first = (w * 2).tolist()
    assert w.node.buffer is not None
    assert [2 * v for v in w.tolist()] == first


def test_a_loss_is_computed_with_the_step_that_follows_it(counting: Counting) -> None:
    w = nt.ones(3, requires_grad=True)
    optimizer = nt.optim.SGD([w], lr=0.1)
    optimizer.step()
    counting.plans.clear()
    loss = (w * w).sum()
    loss.backward()
    optimizer.step()
    assert loss.item() == 3.0
    assert len(counting.plans) == 1


def test_many_threads_share_graphs() -> None:
    x = nt.arange(100).float()
    shared = (x * 2 + 1).sum()
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(50):
                assert shared.item() == 10000.0
                assert (x + number).sum().item() == 4950 + 100 * number
                y = nt.ones(3, requires_grad=True)
                (y * number).sum().backward()
                assert y.grad.tolist() == [number] * 3
        except BaseException as err:
            errors.append(err)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_streams_are_seeded_independent_and_the_same_everywhere() -> None:
    nt.manual_seed(3)
    first, second = nt.rand(4), nt.rand(4)
    nt.manual_seed(3)
    assert nt.rand(4).tolist() == first.tolist() != second.tolist()
    own = nt.Generator(3)
    assert nt.rand(4, generator=own).tolist() == first.tolist()
    assert nt.rand(2, 2, generator=nt.Generator(3)).flatten().tolist() == first.tolist()


def test_random_values_have_their_distributions() -> None:
    nt.manual_seed(0)
    for dtype in (nt.float16, nt.bfloat16, nt.float32, nt.float64):
        uniform = nt.rand(20000, dtype=dtype).double().numpy()
        assert 0 <= uniform.min() and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.01
        normal = nt.randn(20000, dtype=dtype).double().numpy()
        assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.03
    drawn = nt.randint(-3, 4, (7000,)).numpy()
    assert set(drawn) == set(range(-3, 4)) and np.bincount(drawn + 3).min() > 850
    assert sorted(nt.randperm(50).tolist()) == list(range(50))
    kept = nt.nn.functional.dropout(nt.ones(10000), 0.25)
    assert abs((kept == 0).float().mean().item() - 0.25) < 0.02
    assert abs(kept.max().item() - 4 / 3) < 1e-6
    assert nt.nn.functional.dropout(kept, training=False) is kept


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """Lists a 1 for each time that the operator's reference is computed."""
    op, calls = find(name), []
    reference = op.reference

    def count(*arrays, **attrs):  # type: ignore[no-untyped-def]
        calls.append(1)
        return reference(*arrays, **attrs)

    monkeypatch.setattr(op, "reference", count)
    return calls


def test_a_costly_result_that_is_still_held_is_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    products = counted(monkeypatch, "matmul")
    x = nt.ones(4, 4)
    logits = (x @ x + 1).relu()
    assert logits.sum().item() == 80.0 and logits.max().item() == 5.0
    assert logits.shape == (4, 4) and len(products) == 1
    (x @ x).sum().item()
    assert len(products) == 2


def test_reading_a_loss_before_its_gradient_computes_no_product_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    w = nt.ones(4, 4, requires_grad=True)
    x = nt.ones(2, 4)
    products = counted(monkeypatch, "matmul")
    loss = ((x @ w).tanh() @ w).square().sum()
    assert loss.item() > 0 and len(products) == 2
    loss.backward()
    w.grad.realize()
    assert len(products) == 5  # one for each operand that needs a gradient


def test_what_nothing_holds_gets_no_memory(counting: Counting) -> None:
    x = nt.ones(4, 4)
    h = x @ x
    h = (h @ x).relu()
    h.sum().item()
    assert counting.plans == [2]  # the sum, and h's product
