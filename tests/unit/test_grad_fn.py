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
    assert y.grad_fn is not None and y.grad_fn.name() == "zero"
    y.detach_()
    assert y.grad_fn is None


# What changes y = x * 2, its grad_fn then, and those it leads to; beside what torch says.
CHANGES: dict[str, tuple[Any, str, list[str | None]]] = {
    "data": (lambda P, x, y: setattr(y, "data", P.ones(2, 3)), "mul", ["accumulate_grad", None]),
    "unrecorded": (lambda P, x, y: unrecorded(P, y), "mul", ["accumulate_grad", None]),
    "zero": (lambda P, x, y: y.zero_(), "zero", ["mul", None]),
    "zero_twice": (lambda P, x, y: y.zero_().zero_(), "zero", ["zero", None]),
    "zero_a_row": (lambda P, x, y: y[0].zero_(), "zero", ["mul", None]),
    "zero_a_view": (lambda P, x, y: y.view(-1).zero_(), "zero", ["mul", None]),
    "exp_a_row": (lambda P, x, y: y[0].exp_(), "exp", ["mul", "reshape"]),
    "fill": (lambda P, x, y: y.fill_(2), "fill", ["mul", None]),
    "copy": (lambda P, x, y: y.copy_(x), "copy", ["mul", "accumulate_grad"]),
    "copy_a_constant": (lambda P, x, y: y.copy_(P.ones(3)), "copy", ["mul", None]),
    "uniform": (lambda P, x, y: y.uniform_(), "uniform", ["mul", None]),
    "eq": (lambda P, x, y: y.eq_(1), "eq", ["mul", None]),
    "a_row": (lambda P, x, y: y.__setitem__(0, 5), "index_assignment", ["mul", None]),
    "add": (lambda P, x, y: y.add_(1), "add", ["mul", None]),
}


def unrecorded(P: Any, y: Any) -> None:
    with P.no_grad():
        y.zero_()


@pytest.mark.parametrize("name", CHANGES)
def test_it_names_the_function_that_has_changed_a_tensor(name: str) -> None:
    change, expected, following = CHANGES[name]
    x = nt.ones(2, 3).requires_grad_()
    y = x * 2
    change(nt, x, y)
    assert y.grad_fn is not None and y.grad_fn.name() == expected
    assert [step and step.name() for step, _ in y.grad_fn.next_functions] == following
    assert repr(y).endswith(f"grad_fn=<{expected}>)")
    torch = pytest.importorskip("torch")
    x = torch.ones(2, 3, requires_grad=True)
    y = x * 2
    change(torch, x, y)
    theirs = y.grad_fn.name().lower().removeprefix("torch::autograd::")
    assert theirs.startswith((expected, "copyslices"))


def test_a_value_that_is_set_keeps_what_made_the_tensor() -> None:
    x = nt.ones(2).requires_grad_()
    y = x * 2
    made = y.grad_fn
    y.data = nt.zeros(2)
    assert y.grad_fn == made


def test_next_functions_lead_to_the_leaves() -> None:
    x, w = nt.ones(2).requires_grad_(), nt.ones(2)
    y = (x * w).exp()
    assert y.grad_fn is not None
    ((product, place),) = y.grad_fn.next_functions
    assert product.name() == "mul"
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
