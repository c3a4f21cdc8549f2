"""Functions that change their arguments in place, within checkpoint, grad and vmap, as PyTorch."""

from collections.abc import Callable
from typing import Any

import pytest

import numbatorch as nt
from numbatorch.errors import GradientError
from tests.peers.sides import torch

torch_checkpoint = pytest.importorskip("torch.utils.checkpoint").checkpoint


def of_torch(function: Any, *args: Any, **options: Any) -> Any:
    return torch_checkpoint(function, *args, use_reentrant=False, **options)


def listed(*tensors: Any) -> list[Any]:
    return [None if t is None else (t.tolist(), t.requires_grad) for t in tensors]


def value_without_gradient(P: Any, run: Any) -> Any:
    x = P.ones(3)
    result = run(lambda x: x.add_(1), x)
    return listed(x, result), result is x


def computed_value(P: Any, run: Any) -> Any:
    x = P.ones(3, requires_grad=True)
    y = x * 2
    result = run(lambda y: y.add_(1), y)
    found = listed(y, result), result is y
    (y + result).sum().backward()
    return found, listed(x.grad)


def with_a_weight(P: Any, run: Any) -> Any:
    x, w = P.zeros(3), P.ones(3, requires_grad=True)

    def function(x: Any, w: Any) -> Any:
        x[0] = w[0] * 5
        return w * 2

    result = run(function, x, w)
    found = listed(x, result)
    (x.sum() + result.sum()).backward()
    return found, listed(w.grad)


def without_recording(P: Any, run: Any) -> Any:
    x = P.ones(3, requires_grad=True)

    def function(x: Any) -> Any:
        with P.no_grad():
            x.add_(1)
        return x * 3

    result = run(function, x)
    result.sum().backward()
    return listed(x, result, x.grad), x.is_leaf


def through_data(P: Any, run: Any) -> Any:
    x = P.ones(3, requires_grad=True)

    def function(x: Any) -> Any:
        x.data.add_(1)
        return x * 3

    result = run(function, x)
    result.sum().backward()
    return listed(x, result, x.grad), x.is_leaf


def one_tensor_twice(P: Any, run: Any) -> Any:
    x = P.ones(3)

    def function(a: Any, b: Any) -> Any:
        a.add_(1)
        return b * 1

    return listed(run(function, x, x), x)


def a_view(P: Any, run: Any) -> Any:
    x, w = P.zeros(3), P.ones(1, requires_grad=True)

    def function(view: Any, w: Any) -> Any:
        view.copy_(w * 3)
        return w * 1

    run(function, x[:1], w)
    found = listed(x)
    x.sum().backward()
    return found, listed(w.grad)


def by_keyword(P: Any, run: Any) -> Any:
    x = P.ones(3)
    result = run(lambda y, x: x.add_(y), P.ones(3), x=x)
    return listed(x, result)


def integers(P: Any, run: Any) -> Any:
    x = P.ones(3, dtype=P.int64)
    run(lambda x: x.add_(1), x)
    return listed(x)


PROGRAMS: list[Callable[[Any, Any], Any]] = [
    value_without_gradient,
    computed_value,
    with_a_weight,
    without_recording,
    through_data,
    one_tensor_twice,
    a_view,
    by_keyword,
    integers,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_checkpoint_changes_what_its_function_changes(program: Any) -> None:
    assert program(nt, nt.checkpoint) == program(torch, of_torch)


def changes(x: Any) -> Any:
    return x.add_(1)


def changes_a_view(x: Any) -> Any:
    x[0].mul_(2)
    return x


@pytest.mark.parametrize("function", [changes, changes_a_view])
def test_a_leaf_is_refused_as_without_a_checkpoint(function: Any) -> None:
    x = nt.ones(3, requires_grad=True)
    for call in (lambda: function(x), lambda: nt.checkpoint(function, x)):
        with pytest.raises(GradientError, match=r"^(add|mul)_: a.* leaf that requires a gradient"):
            call()
    with pytest.raises(RuntimeError, match="leaf"):
        of_torch(function, torch.ones(3, requires_grad=True))
    assert x.tolist() == [1.0] * 3


def test_gradients_through_a_change_equal_those_of_the_formula() -> None:
    x = nt.ones(3, requires_grad=True)
    y = x * 2

    def function(y: nt.Tensor) -> nt.Tensor:
        y.mul_(x)
        return y + 1

    result = nt.checkpoint(function, y)
    (y * 3 + result).sum().backward()  # 4 * 2 x^2
    assert x.grad is not None and x.grad.tolist() == [16.0] * 3


def test_arguments_of_one_memory_are_not_changed_within_a_checkpoint() -> None:
    x = nt.ones(3)
    with pytest.raises(RuntimeError, match=r"checkpoint: .* that is of another's memory"):
        nt.checkpoint(lambda a, b: a.add_(1) + b.sum(), x, x[:2])
    with pytest.raises(ValueError, match="checkpoint: the function changes the shape"):
        nt.checkpoint(lambda a: a.unsqueeze_(0), x)
    assert x.tolist() == [1.0] * 3


def mapped_alone(P: Any) -> Any:
    x = P.ones(2, 3)
    return listed(P.vmap(lambda x: x.add_(1))(x), x)


def mapped_by_views(P: Any) -> Any:
    x = P.ones(2, 3)
    return listed(P.vmap(lambda x: x[0].mul_(5))(x), x)


def mapped_elsewhere(P: Any) -> Any:
    x, y = P.ones(3, 2), P.arange(2.0)
    found = P.vmap(lambda x, y: x.mul_(y), (1, 0))(x, y)
    return listed(found, x, y)


def mapped_in_chunks(P: Any) -> Any:
    x = P.arange(10.0).reshape(5, 2)
    return listed(P.vmap(lambda x: x.add_(x), chunk_size=2)(x), x)


def shared_by_all(P: Any) -> Any:
    x, y = P.ones(2, 3), P.zeros(3)
    return listed(P.vmap(lambda _x, y: y.add_(1), (0, None))(x, y), y)


MAPPED = [mapped_alone, mapped_by_views, mapped_elsewhere, mapped_in_chunks, shared_by_all]


@pytest.mark.parametrize("program", MAPPED, ids=lambda program: program.__name__)
def test_a_mapped_function_changes_its_arguments(program: Any) -> None:
    assert program(nt) == program(torch)


def test_what_all_examples_share_does_not_become_that_of_one() -> None:
    x, y = nt.ones(2, 3), nt.zeros(3)
    with pytest.raises(RuntimeError, match="vmap: an argument that all examples share is changed"):
        nt.vmap(lambda x, y: y.add_(x), (0, None))(x, y)
    assert y.tolist() == [0.0] * 3
