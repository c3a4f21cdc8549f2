"""Random graphs give one result: fused and unfused on the CPU, and on device "numpy"."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch import debug
from numbatorch.tensor.core import realize
from tests.compare import assert_close

UNARY = ("neg", "exp", "tanh", "sigmoid", "relu", "abs", "square")
KINDS = ("unary", "binary", "scalar", "view", "reduce", "update", "matmul", "row", "cat", "where")
BINARY = ("add", "sub", "mul", "maximum", "minimum")


def grow(draw: Any, values: list[Any]) -> Any:
    """One more value computed from earlier ones."""
    x = values[draw(st.integers(0, len(values) - 1))]
    kind = draw(st.sampled_from(KINDS))
    if kind == "unary":
        return getattr(x * 0.5, draw(st.sampled_from(UNARY)))()
    if kind == "binary":
        y = values[draw(st.integers(0, len(values) - 1))]
        return getattr(x, draw(st.sampled_from(BINARY)))(_fit(y, x))
    if kind == "scalar":
        return x * draw(st.sampled_from([0.5, -1.0, 0.3])) + draw(st.sampled_from([0.0, 0.7]))
    if kind == "view":
        return _view(draw, x)
    if kind == "reduce":
        dim = draw(st.integers(0, x.ndim - 1))
        return getattr(x, draw(st.sampled_from(["sum", "mean", "amax"])))(dim, keepdim=True)
    if kind == "update":
        y = x.clone()
        y[..., 0] = values[draw(st.integers(0, len(values) - 1))].mean()
        return y
    if kind == "row":
        return getattr(x, draw(st.sampled_from(["softmax", "log_softmax"])))(-1)
    if kind == "cat":
        return nt.cat([x, x * 2], draw(st.integers(0, x.ndim - 1)))
    if kind == "where":
        return nt.where(x > 0.1, x, nt.arange(x.shape[-1], device=x.device) * 0.5)
    return (x @ x.transpose(-1, -2)) * 0.1


def _fit(y: Any, x: Any) -> Any:
    """`y` in a shape that broadcasts with x."""
    return y if y.shape == x.shape else y.mean()


def _view(draw: Any, x: Any) -> Any:
    view = draw(st.sampled_from(["transpose", "reshape", "narrow", "flip", "expand"]))
    if view == "transpose":
        return x.transpose(0, -1)
    if view == "reshape":
        return x.reshape(x.shape[-1], *x.shape[:-1])
    if view == "narrow":
        return x[..., : (x.shape[-1] + 1) // 2]
    if view == "flip":
        return x.flip(0)
    return (x[:1] if x.shape[0] else x).expand(max(x.shape[0], 1), *x.shape[1:])


def twins(data: Any, requires_grad: bool, steps: int, device: str = "cpu") -> list[list[Any]]:
    """The same random graph on device "numpy" and twice on another, by its values in order."""
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=3)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    arrays = [rng.standard_normal(shape).astype(np.float32) for _ in range(2)]
    graphs = [
        [nt.tensor(a, device=d, requires_grad=requires_grad) for a in arrays]
        for d in ("numpy", device, device)
    ]
    for _ in range(data.draw(st.integers(1, steps))):
        decisions: list[Any] = []

        def decide(strategy: Any, decisions: list[Any] = decisions) -> Any:
            decisions.append(data.draw(strategy))
            return decisions[-1]

        graphs[0].append(grow(decide, graphs[0]))
        for values in graphs[1:]:
            replay = iter(decisions)
            values.append(grow(lambda _strategy, replay=replay: next(replay), values))
    return graphs


@given(st.data())
def test_fused_unfused_and_reference_agree(data: Any) -> None:
    compare_values(data, "cpu")


@settings(max_examples=10)
@given(st.data())
def test_values_on_gpus(gpu: str, data: Any) -> None:
    compare_values(data, gpu)


def compare_values(data: Any, device: str) -> None:
    graphs = twins(data, False, 10, device)
    outputs = data.draw(st.integers(1, 3))
    expected, fused, unfused = (values[-outputs:] for values in graphs)
    realize(*fused)
    with debug.no_fuse():
        realize(*unfused)
    for want, one, other in zip(expected, fused, unfused, strict=True):
        assert_close(one.numpy(), want.numpy(), kind="model")
        assert_close(other.numpy(), want.numpy(), kind="model")


@given(st.data())
def test_gradients_of_fused_and_reference_agree(data: Any) -> None:
    compare_gradients(data, "cpu")


@settings(max_examples=10)
@given(st.data())
def test_gradients_on_gpus(gpu: str, data: Any) -> None:
    compare_gradients(data, gpu)


def compare_gradients(data: Any, device: str) -> None:
    graphs = twins(data, True, 6, device)
    found = []
    for values in graphs[:2]:
        values[-1].tanh().mean().backward()
        found.append([leaf.grad for leaf in values[:2]])
    for want, got in zip(*found, strict=True):
        assert (want is None) == (got is None)
        if want is not None:
            assert_close(got.numpy(), want.numpy(), kind="model")


@settings(max_examples=4)
@given(st.data())
def test_gradients_of_compiled_results_and_reference_agree(data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=3)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    arrays = [rng.standard_normal(shape).astype(np.float32) for _ in range(2)]
    steps, decisions = data.draw(st.integers(1, 6)), []

    def decide(strategy: Any) -> Any:
        decisions.append(data.draw(strategy))
        return decisions[-1]

    def program(values: list[Any], draw: Any) -> Any:
        for _ in range(steps):
            values.append(grow(draw, values))
        return values[-1].tanh().mean()

    leaves = [nt.tensor(a, device="numpy", requires_grad=True) for a in arrays]
    program(list(leaves), decide).backward()
    expected = [leaf.grad for leaf in leaves]

    taken, outside = (nt.tensor(a, device="cpu", requires_grad=True) for a in arrays)

    def replayed(taken: Any) -> Any:
        rest = iter(decisions)
        return program([taken, outside], lambda _strategy: next(rest))

    compiled = nt.compile(replayed)
    for how in ("computed again", "from results that are kept", "as a graph"):
        taken.grad = outside.grad = None
        compiled(taken).backward(create_graph=how == "as a graph")
        for want, leaf in zip(expected, (taken, outside), strict=True):
            assert (want is None) == (leaf.grad is None), how
            if want is not None and leaf.grad is not None:
                assert_close(leaf.grad.detach().numpy(), want.numpy(), kind="model")
    assert compiled.traces == 1
