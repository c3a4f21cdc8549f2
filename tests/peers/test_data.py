"""`Tensor.data`, read and set, beside PyTorch, and within compiled functions beside plain ones."""

from collections.abc import Callable
from typing import Any

import pytest

import numbatorch as nt
from numbatorch.errors import DeviceError, DTypeError, ShapeError
from tests.peers.sides import torch


def listed(*tensors: Any) -> list[Any]:
    return [None if t is None else (t.tolist(), t.is_leaf, t.requires_grad) for t in tensors]


def by_hand(P: Any) -> Any:
    x = P.ones(3, requires_grad=True)
    for _ in range(3):
        x.grad = None
        (x * x).sum().backward()
        x.data = x.data - 0.25 * x.grad
    return listed(x, x.grad)


def in_place(P: Any) -> Any:
    x = P.ones(3, requires_grad=True)
    (x * x).sum().backward()
    x.data -= 0.5 * x.grad
    x.data.copy_(x.data + 2).mul_(3)
    x.data[0] = 5
    x.grad.data.zero_()
    return listed(x, x.grad)


def memory_is_shared(P: Any) -> Any:
    x, v = P.ones(3, requires_grad=True), P.zeros(3)
    x.data = v
    v.add_(5)
    before = listed(x)
    x.data.add_(1)
    return before, listed(x, v)


def views_keep_the_old_memory(P: Any) -> Any:
    x = P.ones(3)
    w = x[1:]
    x.data = P.zeros(3)
    w.add_(2)
    return listed(x, w)


def flattened(P: Any) -> Any:
    parameters = [P.ones(2, 2, requires_grad=True), P.ones(3, requires_grad=True)]
    flat = P.cat([p.data.reshape(-1) for p in parameters])
    start = 0
    for p in parameters:
        p.data = flat[start : start + p.numel()].view_as(p)
        start += p.numel()
    sum((p * p).sum() for p in parameters).backward()
    flat.mul_(10)
    with P.no_grad():
        parameters[0].sub_(1)
        parameters[1][0] = 99
    return listed(flat, *parameters, *(p.grad for p in parameters))


def of_what_was_computed(P: Any) -> Any:
    x = P.ones(3, requires_grad=True)
    y = x * 2
    y.data = P.full((3,), 7.0)
    (y * y).sum().backward()
    return listed(x, y, x.grad)


def of_a_view(P: Any) -> Any:
    x = P.zeros(3)
    v = x[:2]
    v.data = P.ones(2)
    v.add_(1)
    return listed(x, v)


def of_another_leaf(P: Any) -> Any:
    x, q = P.ones(3, requires_grad=True), P.full((3,), 2.0, requires_grad=True)
    x.data = q.data
    optimizer = P.optim.SGD([x], lr=1.0)
    (x * 3).sum().backward()
    optimizer.step()
    return listed(x, q, x.grad, q.grad)


def of_a_value_with_a_history(P: Any) -> Any:
    x = P.ones(3, requires_grad=True)
    x.data = P.full((3,), 2.0, requires_grad=True) * 2
    (x * 2).sum().backward()
    return listed(x, x.grad)


def of_itself(P: Any) -> Any:
    x = P.ones(3)
    x.data = x
    y = x.view(-1)
    x.data = y
    y.add_(1)
    return listed(x, y)


def of_its_transpose(P: Any) -> Any:
    x = P.arange(4.0).reshape(2, 2)
    x.data = x.t()
    x[0, 1] = 9
    return listed(x)


def hooks_stay(P: Any) -> Any:
    x, v = P.ones(3, requires_grad=True), P.ones(3)
    x.register_hook(lambda g: g * 10)
    x.data = v
    v.add_(1)
    (x * 1).sum().backward()
    return listed(x, x.grad)


def within_no_grad(P: Any) -> Any:
    x = P.ones(3, requires_grad=True)
    with P.no_grad():
        x.data = P.zeros(3)
    return listed(x)


def of_modules(P: Any) -> Any:
    one, other = P.nn.Linear(2, 2), P.nn.Linear(2, 2)
    for layer in (one, other):
        layer.weight.data = P.eye(2)
        layer.bias.data = P.zeros(2)
    other.weight.data = one.weight.data
    optimizer = P.optim.SGD(one.parameters(), lr=0.25)
    for _ in range(2):
        optimizer.zero_grad()
        one(P.ones(1, 2)).sum().backward()
        optimizer.step()
    return listed(one.weight, one.bias, other.weight, other.bias), type(one.weight).__name__


def of_integers(P: Any) -> Any:
    x = P.ones(3, dtype=P.int64)
    x.data = P.zeros(3, dtype=P.int64)
    return listed(x)


def of_another_shape(P: Any) -> Any:
    x, v = P.ones(3, requires_grad=True), P.full((2, 2), 3.0, dtype=P.float64)
    x.data = v
    v.add_(1)
    (x * x).sum().backward()
    with P.no_grad():
        x.sub_(2)
    x.grad, grad = None, x.grad
    x.data = P.zeros(1)
    return listed(x, v, grad), str(x.dtype).split(".")[1], tuple(x.shape)


def of_another_dtype(P: Any) -> Any:
    x = P.ones(3)
    view = x[1:]
    x.data = P.zeros(2, dtype=P.int32)
    view.data = P.arange(4)
    view.add_(1)
    return listed(x, view), [str(t.dtype).split(".")[1] for t in (x, view)]


def of_a_layer_that_grows(P: Any) -> Any:
    layer = P.nn.Linear(2, 2)
    layer.weight.data = P.ones(3, 2)
    layer.bias.data = P.zeros(3)
    optimizer = P.optim.SGD(layer.parameters(), lr=0.25)
    layer(P.ones(1, 2)).sum().backward()
    optimizer.step()
    return listed(layer.weight, layer.bias, layer.weight.grad)


PROGRAMS: list[Callable[[Any], Any]] = [
    of_another_shape,
    of_another_dtype,
    of_a_layer_that_grows,
    by_hand,
    in_place,
    memory_is_shared,
    views_keep_the_old_memory,
    flattened,
    of_what_was_computed,
    of_a_view,
    of_another_leaf,
    of_a_value_with_a_history,
    of_itself,
    of_its_transpose,
    hooks_stay,
    within_no_grad,
    of_modules,
    of_integers,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_data_does_what_it_does_in_pytorch(program: Callable[[Any], Any]) -> None:
    assert program(nt) == program(torch)


def test_a_value_that_is_unlike_is_refused() -> None:
    x = nt.ones(3, requires_grad=True, device="cpu")
    x.grad = nt.ones(3, device="cpu")
    for value, error, rule in (
        (
            nt.zeros(2, device="cpu"),
            ShapeError,
            "shape: .*\n  tensor \\(3,.*\n  value \\(2,\\) ",
        ),
        (
            nt.zeros(3, dtype=nt.float64, device="cpu"),
            DTypeError,
            "dtype: .*\n.*\n.* float64 on",
        ),
        (nt.zeros(3, dtype=nt.int32, device="cpu"), DTypeError, "only floats"),
        (nt.zeros(3, device="numpy"), DeviceError, "device\n.* on cpu\n.* on numpy"),
        (3.0, TypeError, "not float"),
        (None, TypeError, "not NoneType"),
    ):
        with pytest.raises(error, match=f"^data: .*{rule}"):
            x.data = value
    assert x.tolist() == [1.0] * 3
    y = nt.ones(3, requires_grad=True) * 2
    with pytest.raises(ShapeError, match="a gradient flows through it"):
        y.data = nt.zeros(2)
    z = nt.ones(3)
    with pytest.raises(ShapeError, match="it is from outside of a compiled function"):
        nt.compile(lambda a: setattr(z, "data", a) or a * 2)(nt.ones(2))
    assert z.tolist() == [1.0] * 3
    with pytest.raises(RuntimeError, match="must be floating point or complex"):
        torch.ones(3, requires_grad=True).data = torch.zeros(3, dtype=torch.int32)


def test_a_gradient_of_another_shape_is_not_cut() -> None:
    x = nt.ones(3, requires_grad=True)
    y, compiled = (x * 2).sum(), nt.compile(lambda: (x * 2).sum())
    assert compiled().item() == 6
    x.data = nt.full((2,), 5.0)
    assert compiled().item() == 20
    with pytest.raises(nt.GradientError, match=r"a leaf has another shape[\s\S]*now .*\(2,\)"):
        y.backward()
    assert x.grad is None


def step_by_step(compiled: Callable[[Any], Any]) -> Any:
    p, q = nt.ones(3, requires_grad=True), nt.full((3,), 2.0).requires_grad_()

    @compiled
    def step(x: nt.Tensor) -> nt.Tensor:
        p.grad = q.grad = None
        ((p * x - q) ** 2).sum().backward()
        assert p.grad is not None and q.grad is not None
        p.data = p.data - 0.125 * p.grad
        q.data -= 0.125 * q.grad
        return (p * 1).sum()

    return [(step(nt.full((3,), float(i))).item(), listed(p, q)) for i in range(6)]


def copied(compiled: Callable[[Any], Any]) -> Any:
    p = nt.ones(3, requires_grad=True)
    view = p.data

    @compiled
    def step(x: nt.Tensor) -> nt.Tensor:
        p.data.copy_(x * 2)
        p.data.mul_(3)
        return p * 1

    return [step(nt.full((3,), float(i))).tolist() for i in range(5)], listed(p, view)


def cloned(compiled: Callable[[Any], Any]) -> Any:
    p = nt.ones(3, requires_grad=True)

    @compiled
    def step(x: nt.Tensor) -> nt.Tensor:
        p.data = x.clone()
        return p * 2

    return [step(nt.full((3,), float(i))).tolist() for i in range(5)], listed(p)


def values_of_its_own(compiled: Callable[[Any], Any]) -> Any:
    @compiled
    def step(x: nt.Tensor) -> Any:
        y, v = x * 1, x * 2
        y.data = v
        v.add_(1)
        return y, v

    return [[t.tolist() for t in step(nt.full((3,), float(i)))] for i in range(5)]


def views_of_one_memory(compiled: Callable[[Any], Any]) -> Any:
    p, flat = nt.ones(3, requires_grad=True), nt.arange(3.0)
    p.data = flat

    @compiled
    def step(x: nt.Tensor) -> nt.Tensor:
        with nt.no_grad():
            p.mul_(x)
        return (p * 1).sum()

    return [step(nt.tensor(2.0)).item() for _ in range(5)], listed(p, flat)


COMPILED = [step_by_step, copied, cloned, values_of_its_own, views_of_one_memory]


@pytest.mark.parametrize("program", COMPILED, ids=lambda program: program.__name__)
def test_compiled_functions_set_it_as_plain_ones_do(program: Callable[[Any], Any]) -> None:
    assert program(nt.compile) == program(lambda function: function)


def test_a_compiled_function_does_not_join_memories_from_outside() -> None:
    p, q = nt.ones(3, requires_grad=True), nt.zeros(3)

    def outer(x: nt.Tensor) -> nt.Tensor:
        p.data = q
        return p * x

    def argument(x: nt.Tensor) -> nt.Tensor:
        p.data = x[0]
        return p * 2

    for function in (outer, argument):
        with pytest.raises(RuntimeError, match="two tensors from outside of it share memory"):
            nt.compile(function)(nt.ones(3, 3))
    assert p.tolist() == [1.0] * 3
