"""Tensor.grad_fn: what made a tensor, as far as gradients flow."""

from typing import Any

import pytest

import numbatorch as nt


def test_what_no_gradient_flows_through_has_none() -> None:
    x = nt.ones(2).requires_grad_()
    with nt.no_grad():
        made = x * 2
    for tensor in (x, nt.ones(2), nt.ones(2) * 3, made, (x * 2).detach(), x.argmax(), x > 0):
        assert tensor.grad_fn is None
    assert x[0].grad_fn is not None


def test_it_names_the_operator_as_the_text_does() -> None:
    x = nt.ones(2, 2).requires_grad_()
    for made, name in (
        (x * 2, "mul"),
        (x.exp(), "exp"),
        (x.sort().values, "sort"),
        (x @ x, "matmul"),
    ):
        assert made.grad_fn is not None
        assert repr(made.grad_fn) == f"<{made.grad_fn.name()}>"
        assert made.grad_fn.name().startswith(name)
        assert f"grad_fn=<{made.grad_fn.name()}>" in repr(made)
        assert made.grad_fn == made.grad_fn and hash(made.grad_fn) == hash(made.grad_fn)


def test_it_follows_changes_in_place_and_realizing() -> None:
    x = nt.ones(2).requires_grad_()
    y = x * 2
    y.exp_()
    assert y.grad_fn is not None and y.grad_fn.name() == "exp"
    y.realize()
    assert y.grad_fn.name() == "exp"
    y.zero_()
    assert y.grad_fn is not None
    y.detach_()
    assert y.grad_fn is None


def test_next_functions_lead_to_the_leaves() -> None:
    x, w = nt.ones(2).requires_grad_(), nt.ones(2)
    y = (x * w).exp()
    assert y.grad_fn is not None
    ((product, place),) = y.grad_fn.next_functions
    assert product == (x * w).grad_fn or product.name() == "mul"
    assert place == 0
    (left, _), (right, _) = product.next_functions
    assert right is None
    assert left.name() == "accumulate_grad"
    assert left.variable is x
    assert left.next_functions == ()
    with pytest.raises(AttributeError, match="mul has no variable"):
        _ = product.variable


def test_a_second_output_says_which_it_is() -> None:
    x = nt.eye(2).requires_grad_()
    values, vectors = nt.linalg.eigh(x)
    y, z = values.exp(), vectors.exp()
    assert y.grad_fn is not None and z.grad_fn is not None
    assert y.grad_fn.next_functions == ((values.grad_fn, 0),)
    assert z.grad_fn.next_functions == ((values.grad_fn, 1),)
    assert values.grad_fn == vectors.grad_fn


class Cube(nt.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: nt.Tensor, factor: float) -> nt.Tensor:
        ctx.save_for_backward(x)
        return x * x * x * factor

    @staticmethod
    def backward(ctx: Any, g: nt.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g * 3 * x * x, None


def test_a_function_of_a_program_has_its_name() -> None:
    x = nt.ones(2).requires_grad_()
    y = Cube.apply(x, 1.0)
    assert repr(y.grad_fn) == "<Cube>"
    assert "grad_fn=<Cube>" in repr(y)
    ((leaf, _),) = y.grad_fn.next_functions
    assert leaf.variable is x
    assert repr(nt.checkpoint(lambda x: x.exp(), x).grad_fn) == "<checkpoint>"


def test_it_is_read_only() -> None:
    with pytest.raises(AttributeError):
        nt.ones(2).grad_fn = None  # type: ignore[misc]
