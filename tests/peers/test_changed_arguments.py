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


def beside_what_is_made_of_it(P: Any, run: Any) -> Any:
    x, c = P.ones(3), P.zeros(3)
    w = x * 2
    result = run(lambda a: (c.add_(1), a.add_(w.sum()))[1], x)
    return listed(result, x, w, c)


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
    beside_what_is_made_of_it,
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
    with pytest.raises(RuntimeError, match=r"checkpoint: .* that it reads from outside too"):
        nt.checkpoint(lambda a: (a.add_(1), x.sum())[1], x)
    with pytest.raises(ValueError, match="checkpoint: the function changes the shape"):
        nt.checkpoint(lambda a: a.unsqueeze_(0), x)
    assert x.tolist() == [1.0] * 3
    with pytest.raises(RuntimeError, match="checkpoint: the function changes from outside what it"):
        nt.checkpoint(lambda a: (x.add_(1), a * 1)[1], x)


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


def mapped_twice(P: Any) -> Any:
    def function(a: Any, b: Any) -> Any:
        a.add_(1)
        b.add_(10)
        return a + b

    x = P.zeros(2, 3)
    return listed(P.vmap(function)(x, x), P.vmap(function, (1, -1))(x, x), x)


def mapped_twice_and_changed_once(P: Any) -> Any:
    x = P.zeros(2, 3)
    return listed(P.vmap(lambda a, b: (a.add_(1), b * 1)[1])(x, x), x)


def beside_another(P: Any) -> Any:
    x = P.ones(2, 3)
    w = x * 2
    return listed(P.vmap(lambda a: a.add_(w[0]))(x), x, w)


def outside_by_a_number(P: Any) -> Any:
    x, c = P.ones(2, 3), P.zeros(3)
    return listed(P.vmap(lambda a: (c.add_(1), a * 2)[1])(x), x, c)


def made_within(P: Any) -> Any:
    x = P.ones(2, 3)
    found = P.vmap(lambda a: P.zeros_like(a).add_(a).mul_(a + 1))(x)
    inner = P.vmap(lambda a: P.vmap(lambda b: b.mul_(3))(a * 2))(x)
    return listed(found, inner, x)


MAPPED = [
    mapped_alone,
    mapped_by_views,
    mapped_elsewhere,
    mapped_in_chunks,
    shared_by_all,
    mapped_twice,
    mapped_twice_and_changed_once,
    beside_another,
    outside_by_a_number,
    made_within,
]


def of_one(P: Any) -> Any:
    """What calls a function mapped over a single example, as a checkpoint calls it."""

    def run(function: Any, *args: Any) -> Any:
        known = {id(x): x[None] for x in args}
        return P.vmap(function)(*(known[id(x)] for x in args))[0]

    return run


OF_LEAVES = (without_recording, through_data)
RECORDED = [p for p in PROGRAMS if p not in (by_keyword, *OF_LEAVES)]


@pytest.mark.parametrize("program", RECORDED, ids=lambda program: program.__name__)
def test_a_mapped_function_changes_what_a_checkpoint_does(program: Any) -> None:
    assert program(nt, of_one(nt)) == program(torch, of_one(torch))


@pytest.mark.parametrize("program", OF_LEAVES, ids=lambda program: program.__name__)
def test_a_leaf_is_not_changed_through_vmap(program: Any) -> None:
    with pytest.raises(GradientError, match=r"view .*changed in place"):
        program(nt, of_one(nt))


@pytest.mark.parametrize("program", MAPPED, ids=lambda program: program.__name__)
def test_a_mapped_function_changes_its_arguments(program: Any) -> None:
    assert program(nt) == program(torch)


def changes_first(a: Any, b: Any) -> Any:
    a.add_(1)
    return b * 1


def test_what_shares_memory_is_not_changed_within_vmap() -> None:
    x = nt.arange(4.0).reshape(2, 2)
    views: list[Any] = [x[:, :1], x.t(), x.detach()]
    for y, dims in [(x, (0, 1)), (x, (0, None)), *((view, 0) for view in views)]:
        for arguments in ((x, y), (y, x)) if dims == 0 else ((x, y),):
            with pytest.raises(RuntimeError, match="argument in place that is of another's memory"):
                nt.vmap(changes_first, dims)(*arguments)
    for read in (x, *views):
        with pytest.raises(RuntimeError, match="that it reads from outside too"):
            nt.vmap(lambda a, read=read: (a.add_(1), read.sum())[1])(x)
        with pytest.raises(RuntimeError, match="add_ changes a tensor that shares memory with a"):
            nt.vmap(lambda a, read=read: (read.add_(1), a * 1)[1])(x)
    assert x.tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_what_is_outside_does_not_become_that_of_one_example() -> None:
    c, x = nt.arange(3.0), nt.ones(2, 3)
    p = nt.arange(3.0).requires_grad_()
    changes: list[Any] = [
        lambda a: c.add_(a),
        lambda a: c[:2].copy_(a[:2]),
        lambda a: c.mul_(1).add_(a),
        lambda a: c.__setitem__(0, a[0]),
        lambda a: setattr(c, "data", a),
        lambda a: p.data.add_(a),
        lambda a: nt.vmap(lambda b: c.add_(a) + b)(nt.ones(4, 3)),
    ]
    for change in changes:
        with pytest.raises(RuntimeError, match="changes a tensor from outside by a value"):
            nt.vmap(change)(x)
        assert c.tolist() == p.tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(RuntimeError, match="shape"):
        torch.vmap(lambda a: torch.zeros(3).add_(a))(torch.ones(2, 3))


def test_what_all_examples_share_does_not_become_that_of_one() -> None:
    x, y = nt.ones(2, 3), nt.zeros(3)
    with pytest.raises(RuntimeError, match="add_ changes an argument that all examples share"):
        nt.vmap(lambda x, y: y.add_(x), (0, None))(x, y)
    assert y.tolist() == [0.0] * 3
