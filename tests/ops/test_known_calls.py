"""What a remembered call builds is what its function builds, node by node (ops/known_calls.py)."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
import numbatorch.nn.functional as F
from numbatorch.backends.cpu.program import CPUProgram
from numbatorch.backends.planned import structure
from numbatorch.graph import Node, toposort
from numbatorch.ops import known_calls
from numbatorch.ops.composed import Composed
from numbatorch.ops.drawing import Draw
from numbatorch.ops.families import all_ops
from numbatorch.ops.known_calls import KnownCalls, Recipe
from numbatorch.tensor import Tensor
from numbatorch.testing.cases import draw, dtypes_of

REMEMBERED = [
    op for op in all_ops() if isinstance(op, Composed) and getattr(op.public, "known", None)
]

CALLS = """
t.sum(x, 1) | t.sum(x, dim=(0, 1), keepdim=True) | t.mean(x, 0) | t.amax(x) | x.max()
t.argmin(x, 1, True) | t.all(b, 0) | t.std(x, correction=0) | t.clamp(x, -1, 0.5) | x.clamp(max=y)
t.roll(x, (1, -2), (0, 1)) | x.flip(0, 1) | x.repeat(2, 1, 1) | t.tril(x, -1) | t.diag(x, 1)
t.cat([x, y], 1) | t.stack((x, y), -1) | t.cat([x, i]) | F.pad(x, [1, 2], value=-0.0)
F.pad(x[None].clone().realize(), [1, 1], "circular") | t.cumsum(x, 1) | t.diff(x) | t.norm(x)
t.linalg.norm(x, 1, 0) | F.layer_norm(x, (4,)) | F.softmax(x, -1) | t.mv(x, x[0].clone().realize())
F.mse_loss(x, y) | t.index_select(x, 1, i[0].clone().realize()) | t.gather(x, 1, i)
t.topk(x, 2)[0].clone() | t.prod(x, 0) | t.nansum(x) | t.nanmean(x, 1) | t.logsumexp(x, 1)
x.index_add(0, i[:, 0].clone().realize(), y) | x.scatter_add(1, i, y) | x.masked_fill(b, 2.0)
t.lerp(x, y, 0.3) | t.addcmul(x, x, y, value=2) | t.addcdiv(x, y, y) | t.isclose(x, y)
t.nan_to_num(x) | t.dist(x, y) | t.argsort(x, 1) | t.msort(x) | t.bmm(z, z) | t.outer(v, v)
x.tile(2, 1) | t.dot(v, v) | t.mm(x, x.T) | F.group_norm(z, 2)
t.index_fill(x, 0, i[:2, 0], 2.0) | t.amax(ones, 0) | t.roll(ones[0], 1)
x.scatter(1, i, y) | t.kron(x, y) | F.normalize(x) | t.count_nonzero(i, 1) | t.amin(i, 0)
"""
TWO = """
t.max(x, 1) | x.min(0) | t.cummax(x, 0) | t.meshgrid(x[0].clone().realize(), y[0].clone().realize())
t.var_mean(x, 1) | t.std_mean(x) | t.sort(x, 0) | t.kthvalue(x, 2, 1)
"""


def each_call(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line]
    return [call.strip() for line in lines for call in line.split("|")]


def operands(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 3, 4), dtype=np.float32)
    found = {"x": x, "y": y, "i": rng.integers(0, 3, (3, 4)), "b": x > 0}
    found |= {"v": x[0], "z": rng.standard_normal((2, 4, 4), dtype=np.float32)}
    tensors = {name: nt.tensor(array, device="cpu").realize() for name, array in found.items()}
    return {**tensors, "ones": nt.ones(2, 3, device="cpu").realize()}


def graph(found: Any) -> tuple[Any, list[int]]:
    """The structure of what a call gives, and which buffers it reads."""
    results = found if isinstance(found, tuple | list) else (found,)
    nodes = [x.node if isinstance(x, Tensor) else x for x in results]
    assert all(isinstance(node, Node) for node in nodes)
    key, leaves = structure(toposort(nodes), nodes)
    return (key, [node.requires_grad for node in nodes]), [id(leaf.buffer) for leaf in leaves]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that were followed so far."""
    found: list[Recipe] = []
    own = Recipe.make

    def make(recipe: Recipe, nodes: list[Node]) -> Any:
        found.append(recipe)
        return own(recipe, nodes)

    monkeypatch.setattr(Recipe, "make", make)
    return found


@pytest.mark.parametrize("text", each_call(CALLS + TWO))
def test_a_remembered_call_builds_the_same_graph(
    text: str, made: list[Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = compile(text, text, "eval")

    def run(seed: int) -> Any:
        return eval(call, {"t": nt, "F": F, **operands(seed)})

    run(0)
    fresh = run_without(monkeypatch, lambda: graph(run(1))[0])
    before = len(made)
    found = run(2)
    assert len(made) > before, "nothing was remembered"
    assert graph(found)[0] == fresh
    expected = run_without(monkeypatch, lambda: run(2))
    for ours, other in zip(as_tuple(found), as_tuple(expected), strict=True):
        assert type(found) is type(expected)
        np.testing.assert_array_equal(ours.numpy(), other.numpy())


def as_tuple(found: Any) -> tuple[Any, ...]:
    return tuple(found) if isinstance(found, tuple | list) else (found,)


def run_without(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> Any:
    """What a call gives when no call is remembered."""
    with monkeypatch.context() as patch:
        patch.setattr(KnownCalls, "ask", lambda *_args: None)
        return call()


@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in REMEMBERED])
def test_samples_of_remembered_functions_build_the_same_graph(
    op: Composed, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    for dtype in dtypes_of(op)[:3]:
        case = draw(op, Draw(seed), dtype)
        if case is None:
            continue
        tensors = [Tensor(node).realize() for node in case.nodes("cpu")]

        def run(tensors: list[Tensor] = tensors, attrs: dict[str, Any] = case.attrs) -> Any:
            return call_public(op, tensors, attrs)

        expected = run_without(monkeypatch, lambda run=run: graph(run()))
        run()
        assert graph(run()) == expected
        count += 1
    assert count


def test_numbers_that_are_equal_are_different_arguments(made: list[Recipe]) -> None:
    x = nt.tensor(np.ones((2, 2), np.float32), device="cpu")
    whole = nt.tensor(np.ones((2, 2), np.int64), device="cpu")
    ends = [nt.clamp(x, end).dtype.name for end in (1, 1.0, True) for _ in range(3)]
    assert ends == ["float32"] * 9 and made
    before = len(made)
    ints = [nt.clamp(whole, end).dtype.name for end in (1, 1.0, 1, 1.0)]
    assert ints == ["int64", "float32"] * 2 and len(made) == before + 2
    zeros = [F.pad(x, [1, 0], value=end) for _ in range(2) for end in (0.0, -0.0)]
    signs = [bool(np.signbit(found.numpy()[0, 0])) for found in zeros]
    assert signs == [False, True] * 2 and len(made) == before + 4


def test_gradients_and_modes_are_those_of_the_call(made: list[Recipe]) -> None:
    ones, whole = np.ones((2, 2), np.float32), np.ones((2, 2), np.int64)
    x = nt.tensor(ones, device="cpu")
    assert not any(nt.roll(x, 1, 0).requires_grad for _ in range(3)) and made
    y = nt.tensor(ones, device="cpu", requires_grad=True)
    nt.roll(y, 1, 0).sum().backward()
    assert y.grad is not None and (y.grad == 1).all()
    i = nt.tensor(whole, device="cpu")
    nt.logsumexp(i, 0)
    nt.set_default_dtype(nt.float64)
    try:
        assert nt.logsumexp(i, 0).dtype is nt.float64
    finally:
        nt.set_default_dtype(nt.float32)
    assert nt.logsumexp(i, 0).dtype is nt.float32


def test_calls_within_no_grad_are_remembered_and_others_record(made: list[Recipe]) -> None:
    x = nt.tensor(np.ones((2, 3), np.float32), device="cpu")
    weight = nt.tensor(np.full((4, 3), 2.0, np.float32), device="cpu", requires_grad=True)
    with nt.no_grad():
        found = [F.linear(x, weight) for _ in range(3)]
    assert len(made) == 2 and not any(y.requires_grad for y in found)
    assert [y.tolist() for y in found] == [[[6.0] * 4] * 2] * 3
    out = F.linear(x, weight)
    assert out.requires_grad and len(made) == 2
    out.sum().backward()
    assert weight.grad is not None and (weight.grad == 2).all()
    assert not F.linear(x, weight.detach()).requires_grad and len(made) == 3


def test_results_that_are_none_stay_none(made: list[Recipe]) -> None:
    attention = nt.nn.MultiheadAttention(4, 2, batch_first=True)
    x = nt.tensor(np.random.default_rng(0).random((2, 3, 4), np.float32), device="cpu")
    nt.realize(*attention.parameters())
    with nt.no_grad():
        expected, weights = attention(x, x, x)
        found = [attention(x, x, x, need_weights=False) for _ in range(3)]
    assert weights.shape == (2, 3, 3) and len(made) >= 2
    for out, nothing in found:
        assert nothing is None
        np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_calls_of_many_tensors_are_not_remembered(made: list[Recipe]) -> None:
    """To look whether each was met before takes time that grows with the square."""
    rows = [nt.tensor([float(i)], device="cpu") for i in range(2 * known_calls.MOST)]
    for count in (known_calls.MOST, len(rows)):
        for _ in range(2):
            assert nt.cat(rows[:count]).tolist() == list(range(count))
    assert len(made) == 1


def test_views_of_views_are_not_followed_for_ever() -> None:
    for depth in (3, known_calls.MOST, 3000):
        x = nt.ones(2, 3, device="cpu").realize()
        for _ in range(depth):
            x = x.T  # (3, 2) after an odd number
        assert nt.sum(x, 0).tolist() == ([3.0, 3.0] if depth % 2 else [2.0, 2.0, 2.0])
        assert nt.tril(x).sum().item() == np.tril(np.ones(x.shape)).sum()


def test_what_warns_warns_at_each_call() -> None:
    i = nt.tensor(np.ones((2, 2), np.int64), device="cpu")
    for _ in range(3):
        with pytest.warns(UserWarning, match="alpha"):
            nt.addmm(i, i, i, alpha=1.5)
    z = nt.tensor(np.ones(2, np.complex64), device="cpu")
    for _ in range(3):
        with pytest.warns(UserWarning, match="imaginary"):
            nt.sum(z, dtype=nt.float32)


def test_what_reads_values_reads_them_at_each_call(made: list[Recipe]) -> None:
    x = nt.tensor(np.arange(3), device="cpu")
    for often in ([1, 2, 0], [0, 0, 3], [2, 2, 2]):
        repeats = nt.tensor(np.array(often), device="cpu")
        assert nt.repeat_interleave(x, repeats).tolist() == np.repeat(np.arange(3), often).tolist()
    assert not made
    for _ in range(2):
        assert nt.repeat_interleave(x, 2).tolist() == [0, 0, 1, 1, 2, 2]
    assert made


def test_values_that_another_thread_reads_spoil_no_call() -> None:
    x = operands(0)["x"]
    out = nt.sum(x, 1)
    for here in (False, True):
        known = KnownCalls()
        asked = known.ask((x, 1), {}, Tensor)
        assert asked is not None
        thread = threading.Thread(target=known_calls.not_alone)
        thread.start()
        thread.join()
        if here:
            known_calls.not_alone()
        known.note(asked, out.node)
        assert bool(known.recipes) is not here


def test_results_without_operands_to_read_and_outputs_that_are_held_together() -> None:
    a = nt.tensor(np.zeros((3, 0), np.float32), device="cpu")
    for _ in range(4):
        assert nt.cdist(a, a).realize().tolist() == [[0.0] * 3] * 3
        x = operands(1)["x"]
        values, places = nt.max(x, 1)
        np.testing.assert_array_equal(places.realize().numpy(), x.numpy().argmax(1))
        np.testing.assert_array_equal(values.realize().numpy(), x.numpy().max(1))


@pytest.mark.parametrize("alone", [False, True])
def test_one_and_several_outputs_take_the_short_way(
    alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = operands(0)["x"]
    runs = 0
    own = CPUProgram.run_at_once

    def run(program: CPUProgram, leaves: Any) -> Any:
        nonlocal runs
        runs += 1
        return own(program, leaves)

    monkeypatch.setattr(CPUProgram, "run_at_once", run)
    for _ in range(3):
        if alone:
            nt.max(x, 1)[1].realize()
            continue
        values, places = nt.max(x, 1)
        values.realize()
        assert places.node.inputs[0].buffer is not None
    assert runs == 2


def test_what_another_graph_has_kept_on_the_way_is_not_computed_again() -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s, dtype=np.float32) for s in ((64, 64), (64, 64), 64))
    tensors = [nt.tensor(array, device="cpu") for array in (x, w, b)]
    for _ in range(4):
        F.linear(*tensors).realize()
    h = F.linear(*tensors)
    (h * 2).realize()
    np.testing.assert_allclose(h.realize().numpy(), x @ w.T + b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in REMEMBERED])
def test_what_is_marked_can_be_remembered(op: Composed, seed: int) -> None:
    """A function that makes tables of its own, such as bands, asks in vain."""
    known_calls.forget()
    for number in range(20):
        case = draw(op, Draw(seed + number), dtypes_of(op)[0])
        if case is not None:
            call_public(op, [Tensor(node).realize() for node in case.nodes("cpu")], case.attrs)
    assert any(op.public.known.recipes.values())  # type: ignore[attr-defined]


def call_public(op: Composed, tensors: list[Tensor], attrs: dict[str, Any]) -> Any:
    """What the public function gives for a sample."""
    return op.public(*tensors, **attrs) if op.call is None else op.call(op.public, tensors, attrs)


@pytest.mark.parametrize(
    "call", ["x[1:].repeat(2, 1)", "F.pad(x[None], [1, 1], 'reflect')", "t.add(x.T, 1).T"]
)
def test_calls_on_views_read_what_the_view_shows(call: str) -> None:
    for seed in range(3):
        x = operands(seed)["x"]
        found = eval(call, {"t": nt, "F": F, "x": x})
        fresh = eval(call, {"t": nt, "F": F, "x": nt.tensor(x.numpy(), requires_grad=True)})
        np.testing.assert_array_equal(found.numpy(), fresh.detach().numpy())


def test_a_view_that_is_read_before_what_was_made_of_it() -> None:
    for _ in range(4):
        x = operands(0)["x"]
        view = x[1:]
        found = view.repeat(2, 1)
        view.realize()
        np.testing.assert_array_equal(found.realize().numpy(), np.tile(x.numpy()[1:], (2, 1)))
        assert x[1:].repeat(2, 1).realize().shape == (4, 4)


def test_a_result_is_right_although_its_operands_are_gone_or_were_changed() -> None:
    for _ in range(4):
        x = operands(0)["x"]
        before = x.numpy().copy()
        found, gone = x.roll(1, 0), operands(0)["y"].flip(0)
        x.add_(1)
        np.testing.assert_array_equal(found.numpy(), np.roll(before, 1, 0))
        np.testing.assert_array_equal(gone.numpy(), np.flip(operands(0)["y"].numpy(), 0))
