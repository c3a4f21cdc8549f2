"""A checkpoint has the values and gradients of its function, and keeps less for them."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug

DEPTH = 6


def block(x: nt.Tensor, weight: nt.Tensor) -> nt.Tensor:
    hidden = nt.nn.functional.dropout(x @ weight, 0.25)
    return (hidden.tanh() @ weight).tanh()


def gradients(
    run: Callable[..., Any], weights: list[nt.Tensor], data: nt.Tensor
) -> tuple[nt.Tensor, list[nt.Tensor]]:
    nt.manual_seed(3)
    x = data
    for weight in weights:
        x = run(block, x, weight)
    loss = (x * x).sum()
    return loss, list(nt.autograd.grad(loss, [data, *weights]))  # type: ignore[arg-type]


def plain(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def operands(rows: int) -> tuple[list[nt.Tensor], nt.Tensor]:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((16, 16), dtype=np.float32) / 4 for _ in range(DEPTH)]
    data = nt.from_numpy(rng.standard_normal((rows, 16), dtype=np.float32)).requires_grad_()
    return [nt.from_numpy(a).requires_grad_() for a in arrays], data


def test_values_and_gradients_are_those_of_the_function(device: str) -> None:
    weights, data = operands(5)
    weights, data = [w.detach().to(device).requires_grad_() for w in weights], data.detach()
    data = data.to(device).requires_grad_()
    expected, found = gradients(plain, weights, data), gradients(nt.checkpoint, weights, data)
    assert found[0].item() == pytest.approx(expected[0].item(), rel=1e-6)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)


def test_the_memory_of_activations_shrinks() -> None:
    """In one plan, forward and backward: the activations of a block take turns."""
    weights, data = operands(4096)

    def arena(run: Callable[..., Any]) -> int:
        loss, found = gradients(run, weights, data)
        (line,) = re.findall(r"arena (\d+) bytes", debug.plan([loss, *found]))
        return int(line)

    assert arena(nt.checkpoint) < 0.7 * arena(plain)


def test_it_is_part_of_a_compiled_function() -> None:
    weights, data = operands(5)

    @nt.compile
    def step(data: nt.Tensor) -> list[nt.Tensor]:
        return gradients(nt.checkpoint, weights, data)[1]

    expected = gradients(plain, weights, data)[1]
    for _ in range(3):
        for ours, theirs in zip(step(data), expected, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)


def test_checkpoints_within_checkpoints_and_second_derivatives() -> None:
    x = nt.tensor([0.5, 1.0]).requires_grad_()

    def inner(x: nt.Tensor) -> nt.Tensor:
        return (x * x).exp()

    def outer(x: nt.Tensor) -> nt.Tensor:
        y: nt.Tensor = nt.checkpoint(inner, x)
        return (y * x).sum()

    def second(function: Callable[..., Any]) -> list[float]:
        (first,) = nt.autograd.grad(function(outer, x), x, create_graph=True)
        assert first is not None
        (found,) = nt.autograd.grad(first.sum(), x)
        assert found is not None
        return found.tolist()  # type: ignore[no-any-return]

    def whole(_outer: Any, x: nt.Tensor) -> nt.Tensor:
        return ((x * x).exp() * x).sum()

    assert second(nt.checkpoint) == pytest.approx(second(whole), rel=1e-6)


def test_a_nest_of_results_of_which_some_have_no_gradient() -> None:
    x = nt.tensor([1.0, 3.0]).requires_grad_()
    found = nt.checkpoint(lambda x: {"a": x * 2, "b": (x.argmax(), x.sum())}, x)
    assert found["b"][0].item() == 1
    (found["a"].sum() + found["b"][1]).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 3.0]


def test_what_is_no_tensor_is_refused() -> None:
    x = nt.ones(2).requires_grad_()
    with pytest.raises(TypeError, match="checkpoint: the function gives tensors, not int"):
        nt.checkpoint(lambda _x: 3, x)
