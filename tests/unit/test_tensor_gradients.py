"""backward, grad, value_and_grad: where gradients go, compose, stop, and what the errors say."""

import threading
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import BackendUnavailable, DTypeError, GradientError
from numbatorch.graph import find
from numbatorch.tensor import moving
from numbatorch.testing import gradcheck


@pytest.fixture(autouse=True)
def _reference_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


def leaf(*values: float) -> nt.Tensor:
    return nt.tensor(values, dtype=nt.float64, requires_grad=True)


def test_backward_fills_leaves_and_returns_the_store() -> None:
    x, y, unused = leaf(1, 2), leaf(3, 4), leaf(5)
    store = (x * x * y).sum().backward()
    assert x.grad.tolist() == [6, 16] and y.grad.tolist() == [1, 4] and unused.grad is None
    assert len(store) == 2 and x in store and unused not in store and set(store) == {x, y}
    assert store[y].tolist() == [1, 4] and not store[y].requires_grad
    with pytest.raises(GradientError, match="does not depend"):
        _ = store[unused]


def test_backward_accumulates() -> None:
    x = leaf(1, 2)
    for _ in range(3):
        store = (x * 2).sum().backward()
    assert x.grad.tolist() == [6, 6] and store[x].tolist() == [2, 2]
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_backward_of_several_elements_needs_a_cotangent() -> None:
    x = leaf(1, 2)
    with pytest.raises(GradientError, match="one element"):
        (x * 2).backward()
    (x * 2).backward(nt.tensor([1.0, 10.0], dtype=nt.float64))
    assert x.grad.tolist() == [2, 20]


def test_errors_of_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GradientError, match="requires a gradient"):
        nt.ones(1).backward()
    x = leaf(1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(find("exp"), "gradient", None)
        with pytest.raises(GradientError, match=r"exp: has no gradient"):
            x.exp().sum().backward()
    with pytest.raises(GradientError, match=r"detach\(\)"):
        x.numpy()
    with pytest.raises(GradientError, match="no_grad"):
        x[0] = 1
    with pytest.raises(GradientError, match="only a leaf"):
        (x * 2).requires_grad_(False)
    with pytest.raises(DTypeError, match="only floats"):
        nt.tensor([1]).requires_grad_()


def test_gradients_flow_across_devices() -> None:
    x = leaf(1, -2)
    away = "cpu" if x.node.device.kind == "numpy" else "numpy"
    y = (x.to(away) * 3).to(x.node.device) * x * x  # 3 x^3
    y.sum().backward(create_graph=True)
    assert x.grad.device == x.device and not x.detach().to(away).requires_grad
    np.testing.assert_array_equal(x.grad.detach().numpy(), [9.0, 36.0])
    x.grad.sum().backward()  # adds 18 x to what is there
    np.testing.assert_array_equal(x.grad.detach().numpy(), [27.0, 0.0])
    assert x.to(away).grad_fn.name() == "to"


@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_device_that_is_not_there_is_the_error(requires_grad: bool, monkeypatch: Any) -> None:
    def absent(device: Any) -> Any:
        raise BackendUnavailable("cuda: no driver")

    monkeypatch.setattr(moving, "backend", absent)
    x = nt.ones(2, requires_grad=requires_grad)
    with pytest.raises(BackendUnavailable, match="no driver"):
        x.cuda()


def test_no_grad_detach_and_enable_grad() -> None:
    x = leaf(1, 2)
    with nt.no_grad():
        silent = x * 2
        with nt.enable_grad():
            assert (x * 2).requires_grad
        assert not nt.is_grad_enabled()
    assert not silent.requires_grad and not x.detach().requires_grad
    (x * x.detach() + silent).sum().backward()
    assert x.grad.tolist() == [1, 2]

    @nt.no_grad()
    def quiet() -> nt.Tensor:
        return x * 2

    assert not quiet().requires_grad and nt.is_grad_enabled()


def test_grad_mode_belongs_to_the_thread() -> None:
    seen: list[bool] = []
    with nt.no_grad():
        thread = threading.Thread(target=lambda: seen.append(nt.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_leaves_change_in_place_without_recording() -> None:
    x = leaf(1, 2)
    with nt.no_grad():
        x[0] = 5
        x.sub_(1)
    assert x.tolist() == [4, 1] and x.requires_grad and x.is_leaf
    (x * x).sum().backward()
    assert x.grad.tolist() == [8, 2]


def test_assignment_is_differentiable_in_both_operands() -> None:
    x, value = leaf(1, 2, 3), leaf(10)
    y = x * 2
    y[1:2] = value * 3
    (y * nt.tensor([1.0, 10.0, 100.0], dtype=nt.float64)).sum().backward()
    assert x.grad.tolist() == [2, 0, 200] and value.grad.tolist() == [30]


def test_second_derivatives_through_backward() -> None:
    x = leaf(2)
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    x.grad = None
    first.sum().backward()
    assert x.grad.tolist() == [12]


def test_grad_composes_with_itself_and_with_backward() -> None:
    cube = lambda x: x * x * x  # noqa: E731
    assert nt.grad(cube)(nt.tensor(2.0)).item() == 12
    assert nt.grad(nt.grad(cube))(nt.tensor(2.0)).item() == 12
    assert nt.grad(nt.grad(nt.grad(cube)))(nt.tensor(2.0)).item() == 6
    w = leaf(3)
    slope = nt.grad(lambda x: (w * x * x).sum())(nt.tensor([2.0], dtype=nt.float64))
    slope.sum().backward()  # d/dw (2 w x)
    assert slope.item() == 12 and w.grad.item() == 4


def test_grad_of_a_perturbed_inner_function_keeps_variables_apart() -> None:
    # d/dx (x * d/dy (x + y)) = 1: an inner derivative that mistakes x for y gives 2.
    inner = lambda x: nt.grad(lambda y: x + y)(nt.tensor(1.0))  # noqa: E731
    assert nt.grad(lambda x: x * inner(x))(nt.tensor(1.0)).item() == 1.0


def test_value_and_grad_of_nests_and_auxiliary_results() -> None:
    params = {"w": nt.tensor([1.0, 2.0]), "b": [nt.tensor(3.0)]}

    def loss(p: Any, x: nt.Tensor, scale: float) -> Any:
        return ((p["w"] * x).sum() + p["b"][0]) * scale, "extra"

    (value, aux), grads = nt.value_and_grad(loss, has_aux=True)(params, nt.tensor([3.0, 4.0]), 2)
    assert value.item() == 28 and aux == "extra"
    assert grads["w"].tolist() == [6, 8] and grads["b"][0].item() == 2
    both = nt.grad(lambda x, y: x * y, argnums=(0, 1))(nt.tensor(2.0), nt.tensor(5.0))
    assert [g.item() for g in both] == [5, 2]
    assert nt.grad(lambda x: nt.tensor(1.0) + x * 0)(nt.tensor([7.0])).tolist() == [0]


def test_results_of_grad_keep_no_history_unless_asked() -> None:
    x = nt.tensor(2.0)
    value, slope = nt.value_and_grad(lambda x: x * x)(x)
    assert not value.requires_grad and not slope.requires_grad and not x.requires_grad
    p = leaf(2)
    with nt.no_grad():
        assert not nt.grad(lambda x: (x * x).sum())(p).requires_grad
    assert nt.grad(lambda x: (x * x).sum())(p).requires_grad
    for _ in range(5):
        x = x - 0.1 * nt.grad(lambda x: x * x)(x)
    x.realize()
    assert x.node.inputs == ()


def test_errors_of_grad() -> None:
    with pytest.raises(GradientError, match="not a tensor"):
        nt.grad(lambda x: 1.0)(nt.ones(1))
    with pytest.raises(GradientError, match="one element"):
        nt.grad(lambda x: x)(nt.ones(2))
    with pytest.raises(DTypeError, match="only floats"):
        nt.grad(lambda x: x)(nt.tensor(1))
    with pytest.raises(TypeError, match="not a tensor"):
        nt.grad(lambda x: x)(1.0)


def test_a_tensor_used_many_times_is_counted_once_each() -> None:
    x = nt.randn(1, 2, 3, 4, dtype=nt.float64)

    def attend(x: nt.Tensor) -> nt.Tensor:
        return nt.nn.functional.scaled_dot_product_attention(x, x * 2, x, is_causal=True)

    gradcheck(attend, x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.var(-1),
        lambda x: x.std(0),
        lambda x: x.softmax(1),
        lambda x: x.log_softmax(0),
        lambda x: nt.cat([x, x * 2], 1),
        lambda x: x.max(1).values,
        lambda x: x.topk(2).values,
        lambda x: x[[0, 0, 2], 1:],
        lambda x: x[:, None, ::2].flip(0),
        lambda x: x[x > 0],
        lambda x: x.gather(1, nt.tensor([[0, 0], [1, 2], [3, 1]])),
        lambda x: x.scatter_add(0, nt.tensor([[0, 1]]), x[:1, 2:]),
        lambda x: x.masked_fill(x > 0.5, 3.0),
        lambda x: x.clamp(-0.5, 0.5),
        lambda x: x.repeat(2, 1).repeat_interleave(2, 0),
        lambda x: nt.nn.functional.layer_norm(x, (4,), x[0], x[1]),
        lambda x: nt.nn.functional.rms_norm(x, (3, 4)),
        lambda x: nt.nn.functional.normalize(x),
        lambda x: nt.nn.functional.cross_entropy(x, nt.tensor([1, 0, 3]), label_smoothing=0.1),
        lambda x: nt.nn.functional.cross_entropy(x, nt.tensor([1, -100, 3])),
        lambda x: nt.nn.functional.linear(x, x[:2], x[0, :2]),
        lambda x: nt.nn.functional.embedding(nt.tensor([[2, 0], [2, 2]]), x),
        lambda x: nt.nn.functional.mse_loss(x, x.flip(0)),
        lambda x: x @ x.T @ x,
        lambda x: x.exp().log1p().sqrt() / (x * x + 1),
    ],
)
def test_composites_have_their_gradients(function: Any) -> None:
    x = nt.from_numpy(np.random.default_rng(0).standard_normal((3, 4)))
    gradcheck(function, x)


def test_norm_at_zero_and_of_narrow_floats() -> None:
    x = nt.zeros(3, requires_grad=True)
    x.norm().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0, 0.0]
    y = nt.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    y.norm(dim=1).sum().backward()
    assert y.grad is not None
    np.testing.assert_allclose(y.grad.numpy(), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert nt.full((4,), 1000.0, dtype=nt.float16).norm().item() == 2000.0
    assert nt.tensor([300.0, -300.0], dtype=nt.float16).std(correction=0).item() == 300.0


def test_a_gradient_is_by_the_argument_before_it_is_changed() -> None:
    def function(x: nt.Tensor) -> nt.Tensor:
        x.mul_(3)
        return (x * x).sum()

    assert nt.grad(function)(nt.tensor([1.0, 2.0])).tolist() == [18.0, 36.0]


@pytest.mark.parametrize(
    ("gradient", "error", "problem"),
    [
        ("x", TypeError, "grad: must be a tensor or None, not str"),
        (1.0, TypeError, "not float"),
        (np.zeros(3, np.float32), TypeError, "not ndarray"),
        (nt.zeros(2), nt.ShapeError, r"shape\n  gradient \(2,\) float32"),
        (nt.zeros(3, 1), nt.ShapeError, r"shape\n  gradient \(3, 1\)"),
        (nt.zeros(3, dtype=nt.float64), nt.DTypeError, r"dtype\n  gradient \(3,\) float64"),
        (nt.zeros(3, device="numpy"), nt.DeviceError, r"float32 on numpy\n  tensor"),
    ],
)
def test_a_gradient_is_of_its_tensor(gradient: Any, error: type[Exception], problem: str) -> None:
    w = nt.zeros(3, requires_grad=True, device="cpu")
    w.grad = kept = nt.ones(3, device="cpu")
    with pytest.raises(error, match=problem):
        w.grad = gradient
    assert w.grad is kept
    (w * 2).sum().backward()
    assert w.grad.tolist() == [3, 3, 3]
    w.grad = None
    assert w.grad is None


def test_gradients_follow_a_module_to_another_dtype() -> None:
    layer = nt.nn.Linear(2, 3)
    layer(nt.ones(1, 2)).sum().backward()
    layer.to(nt.float64)
    for parameter in layer.parameters():
        assert parameter.grad is not None and parameter.grad.dtype is nt.float64
    layer(nt.ones(1, 2, dtype=nt.float64)).sum().backward()
    assert layer.bias.grad.tolist() == [2, 2, 2]


def test_a_leaf_that_was_changed_in_place_gets_its_gradient() -> None:
    w = nt.tensor([1.0, 2.0], requires_grad=True)
    first = (w * w).sum()
    with nt.no_grad():
        w.mul_(5.0)
    both = first + (w * w).sum()
    first.backward()
    assert w.grad is not None and w.grad.tolist() == [2.0, 4.0]
    w.grad = None
    assert both.backward()[w].tolist() == [12.0, 24.0]
    assert w.grad is not None and w.grad.tolist() == [12.0, 24.0]
    w.grad = None
    w.requires_grad_(False)
    first.backward()
    assert w.grad is None
