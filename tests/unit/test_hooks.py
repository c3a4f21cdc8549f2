"""Hooks of gradients, retain_grad, autograd.grad and autograd.Function."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.autograd import Function
from numbatorch.autograd.function import once_differentiable
from numbatorch.errors import DTypeError, GradientError, ShapeError

Array = np.ndarray[Any, Any]


def leaf(*values: float) -> nt.Tensor:
    return nt.tensor(values).requires_grad_()


def test_a_hook_sees_the_whole_gradient_and_may_replace_it() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    seen: list[list[float]] = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    first = y.register_hook(lambda g: g * 10)
    (y * y + y).sum().backward()
    assert seen == [[7.0, 13.0]]
    assert x.grad is not None
    assert x.grad.tolist() == [210.0, 390.0]
    first.remove()
    first.remove()
    x.grad = None
    (y * y + y).sum().backward()
    assert x.grad.tolist() == [21.0, 39.0]


def test_a_hook_of_a_leaf_stays_when_the_leaf_is_changed_in_place() -> None:
    x = leaf(1.0)
    x.register_hook(lambda g: g * 2)
    with nt.no_grad():
        x += 1
    x.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0]


def test_hooks_go_with_their_tensor() -> None:
    def hooked() -> weakref.ref[nt.Tensor]:
        y = leaf(1.0) * 2
        y.register_hook(lambda g: g * y.item())
        y.retain_grad()
        return weakref.ref(y)

    held = hooked()
    gc.collect()
    assert held() is None


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        (nt.zeros(3), ShapeError),
        (nt.zeros(1, dtype=nt.float64), DTypeError),
        (1.0, TypeError),
    ],
)
def test_what_a_hook_returns_is_checked(returned: Any, error: type[Exception]) -> None:
    x = leaf(1.0)
    x.register_hook(lambda _g: returned)
    with pytest.raises(error, match="hook"):
        x.sum().backward()


def test_hooks_of_a_tensor_without_gradient_are_refused() -> None:
    for register in ("register_hook", "register_post_accumulate_grad_hook"):
        with pytest.raises(GradientError, match="does not require"):
            getattr(nt.zeros(2), register)(print)
    with pytest.raises(GradientError, match="only a leaf"):
        (leaf(1.0) * 2).register_post_accumulate_grad_hook(print)
    with pytest.raises(GradientError, match="retain_grad"):
        nt.zeros(2).retain_grad()


def test_a_hook_after_accumulation_sees_the_sum() -> None:
    x = leaf(1.0)
    seen = []
    hook = x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.item()))
    for _ in range(2):
        (x * 3).sum().backward()
    hook.remove()
    (x * 3).sum().backward()
    assert seen == [3.0, 6.0]


def test_a_compiled_function_is_traced_anew_when_hooks_change() -> None:
    x = leaf(1.0, 2.0)

    @nt.compile
    def step(scale: nt.Tensor) -> nt.Tensor:
        (found,) = nt.autograd.grad((x * scale).sum(), x)
        assert found is not None
        return found

    scale = nt.tensor(3.0)
    assert step(scale).tolist() == [3.0, 3.0]
    handle = x.register_hook(lambda g: g * 5)
    assert step(scale).tolist() == [15.0, 15.0]
    handle.remove()
    assert step(scale).tolist() == [3.0, 3.0]


def test_retain_grad_fills_the_gradient_of_what_is_no_leaf() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    assert y.retains_grad
    assert not x.retains_grad
    for times in (1, 2):
        (y * y).sum().backward()
        assert y.grad is not None
        assert y.grad.tolist() == [4.0 * times, 8.0 * times]


def test_backward_fills_the_gradients_of_inputs_alone() -> None:
    x, w = leaf(2.0), leaf(3.0)
    y = x * w
    (y * w).backward(inputs=[w, y])
    assert x.grad is None
    assert w.grad is not None
    assert w.grad.tolist() == [12.0]
    assert y.grad is not None
    assert y.grad.tolist() == [3.0]


def test_grad_of_inputs_that_are_not_used() -> None:
    x, other = leaf(1.0), leaf(1.0, 2.0)
    y = (x * 2).sum()
    with pytest.raises(GradientError, match="do not depend on input 1"):
        nt.autograd.grad(y, [x, other])
    assert nt.autograd.grad(y, [x, other], allow_unused=True)[1] is None
    zeros = nt.autograd.grad(y, [x, other], materialize_grads=True)[1]
    assert zeros is not None
    assert zeros.tolist() == [0.0, 0.0]
    with pytest.raises(GradientError, match="does not require"):
        nt.autograd.grad(y, nt.zeros(1))
    with pytest.raises(ValueError, match="refuses"):
        nt.autograd.grad(y, x, allow_unused=False, materialize_grads=True)


def test_grad_of_several_outputs_with_cotangents() -> None:
    x = leaf(1.0, 2.0)
    y = x * x
    (found,) = nt.autograd.grad([y, x * 3], x, [nt.tensor([1.0, 10.0]), nt.tensor([1.0, 1.0])])
    assert found is not None
    assert found.tolist() == [5.0, 43.0]
    assert x.grad is None
    nt.autograd.backward([y, x * 3], [nt.tensor([1.0, 10.0]), nt.tensor([1.0, 1.0])])
    assert x.grad is not None
    assert x.grad.tolist() == [5.0, 43.0]


class Exponential(Function):
    """A result that is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: nt.Tensor) -> nt.Tensor:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: nt.Tensor) -> nt.Tensor:
        (y,) = ctx.saved_tensors
        return g * y


def test_a_function_differentiates_through_a_result_that_it_kept() -> None:
    x = leaf(0.5)
    y: Any = Exponential.apply(x)
    for _ in range(3):
        assert abs(y.item() - np.exp(0.5)) < 1e-6
        (y,) = nt.autograd.grad(y.sum(), x, create_graph=True)


class Split(Function):
    """Two results, one of them an index, and an argument that is no tensor."""

    @staticmethod
    def forward(x: nt.Tensor, factor: float) -> tuple[nt.Tensor, nt.Tensor]:
        return x * factor, x.argmax()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.factor = inputs[1]
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, g: nt.Tensor, _index: nt.Tensor) -> Any:
        assert ctx.needs_input_grad == (True, False)
        return g * ctx.factor, None


def test_a_function_of_several_results_and_of_arguments_that_are_no_tensors() -> None:
    x = leaf(1.0, 5.0)
    y, index = Split.apply(x, 4.0)
    assert index.item() == 1
    assert not index.requires_grad
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [4.0, 4.0]
    assert not Split.apply(nt.ones(2), 2.0)[0].requires_grad


class Wrong(Exponential):
    @staticmethod
    def backward(ctx: Any, g: nt.Tensor) -> Any:
        return g[:1] if ctx.saved_tensors[0].shape[0] > 1 else (g, g)


def test_gradients_of_another_shape_or_number_are_refused() -> None:
    with pytest.raises(GradientError, match="Wrong: its gradient has not the shape of argument 0"):
        Wrong.apply(leaf(1.0, 2.0)).sum().backward()
    with pytest.raises(GradientError, match="2 gradients for 1 argument"):
        Wrong.apply(leaf(1.0)).sum().backward()


class Once(Exponential):
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: nt.Tensor) -> nt.Tensor:
        return g * ctx.saved_tensors[0]


def test_a_gradient_that_has_none_in_turn_says_so() -> None:
    x = leaf(1.0)
    (first,) = nt.autograd.grad(Once.apply(x).sum(), x, create_graph=True)
    assert first is not None
    with pytest.raises(GradientError, match="once_differentiable"):
        first.sum().backward()


def test_a_compiled_function_keeps_the_gradient_of_a_function() -> None:
    x = leaf(1.0, 2.0)
    y = nt.compile(lambda t: Exponential.apply(t) * 2)(x)
    assert y.sum().backward()[x].tolist() == pytest.approx((2 * np.exp([1.0, 2.0])).tolist())


def test_inference_mode_records_nothing_and_can_be_told_not_to() -> None:
    x = leaf(1.0)
    with nt.inference_mode():
        assert not (x * 2).requires_grad
    with nt.inference_mode(False):
        assert (x * 2).requires_grad
