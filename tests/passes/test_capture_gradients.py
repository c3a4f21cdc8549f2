"""Gradients flow through results of compiled functions, of any order; steps keep `.grad` right."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import errors, nn
from numbatorch.backends import planned
from numbatorch.graph import find
from tests.compare import assert_close


def rand(*shape: int, seed: int = 0) -> Any:
    data = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return nt.tensor(data, device="cpu")


def test_gradients_are_those_of_the_formula() -> None:
    weight, x = rand(4, 3).requires_grad_(), rand(5, 4, seed=1).requires_grad_()
    compiled = nt.compile(lambda x: (x @ weight).tanh())
    w, a = weight.detach().numpy(), x.detach().numpy()
    g = rand(5, 3, seed=2)
    slope = g.numpy() * (1 - np.tanh(a @ w) ** 2)
    for _ in range(3):  # computed again; then with results that are kept
        weight.grad = x.grad = None
        y = compiled(x)
        y.backward(g)
        assert_close(weight.grad, a.T @ slope, kind="gradient")
        assert_close(x.grad, slope @ w.T, kind="gradient")
    assert compiled.traces == 1
    with nt.no_grad():
        assert not compiled(x).requires_grad
    assert not compiled(x).detach().requires_grad


def test_a_gradient_reads_the_values_of_its_call() -> None:
    weight = rand(3).requires_grad_()
    compiled = nt.compile(lambda x: (x * weight * weight).sum())
    for _ in range(2):
        first, second = compiled(nt.ones(3)), compiled(nt.full((3,), 10.0))
        w = weight.detach().numpy().copy()
        weight.grad = None
        second.backward()
        assert_close(weight.grad, 20 * w, kind="gradient")
        weight.grad = None
        first.backward()
        first.backward()
        assert_close(weight.grad, 4 * w, kind="gradient")


def test_gradients_of_gradients() -> None:
    cube = nt.compile(lambda x: (x * x * x).sum())
    x = rand(3)
    for _ in range(2):
        assert_close(nt.grad(cube)(x), 3 * x.numpy() ** 2, kind="gradient")
        assert_close(nt.grad(lambda x: nt.grad(cube)(x).sum())(x), 6 * x.numpy(), kind="gradient")
    inside = nt.compile(nt.grad(lambda x: nt.grad(cube)(x).sum()))
    assert_close(inside(x), 6 * x.numpy(), kind="gradient")
    leaf = rand(3).requires_grad_()
    cube(leaf).backward(create_graph=True)
    assert leaf.grad is not None
    (leaf.grad * leaf.grad).sum().backward()


def test_several_results_some_of_which_are_used() -> None:
    a, b = rand(4).requires_grad_(), rand(4, seed=1).requires_grad_()
    compiled = nt.compile(lambda n: {"sum": a + b, "parts": [a * b, n * 2, a, (a * b).exp()]})
    for used in (0, 1, 2):
        a.grad = b.grad = None
        found = compiled(nt.arange(3, device="cpu"))
        assert not found["parts"][1].requires_grad
        first, second = a.detach().numpy(), b.detach().numpy()
        if used == 0:
            found["sum"].sum().backward()
            expected = np.ones(4), np.ones(4)
        elif used == 1:
            (found["parts"][0] + found["parts"][2]).sum().backward()
            expected = second + 1, first
        else:
            (found["parts"][3] * found["sum"]).sum().backward()
            e, s = np.exp(first * second), first + second
            expected = e * (second * s + 1), e * (first * s + 1)
        assert_close(a.grad, expected[0].astype(np.float32), kind="gradient")
        assert_close(b.grad, expected[1].astype(np.float32), kind="gradient")


def test_complex_results() -> None:
    weight = nt.tensor([1 + 2j, 3 - 1j], device="cpu").requires_grad_()
    compiled = nt.compile(lambda x: x * weight)
    compiled(nt.ones(2, device="cpu")).abs().square().sum().backward()
    assert_close(weight.grad, 2 * weight.detach().numpy(), kind="gradient")


def test_no_grad_and_detach_inside_of_the_function_cut_as_in_a_call() -> None:
    weight = rand(3).requires_grad_()

    def mixed(x: Any) -> Any:
        with nt.no_grad():
            scale = weight * 2
        return (x * weight * scale * weight.detach()).sum()

    for function in (mixed, nt.compile(mixed)):
        weight.grad = None
        function(nt.ones(3)).backward()
        assert_close(weight.grad, 2 * weight.detach().numpy() ** 2, kind="gradient")


def test_dropped_elements_are_those_of_the_call() -> None:
    x = nt.ones(200, device="cpu").requires_grad_()
    compiled = nt.compile(lambda x: nn.functional.dropout(x * 3, 0.5))
    for _ in range(3):
        x.grad = None
        y = compiled(x)
        y.sum().backward()
        assert_close(x.grad, y.detach().numpy(), kind="exact")


def net() -> Any:
    return nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3))


def test_a_compiled_model_trains_as_the_eager_one() -> None:
    x, target = rand(8, 6), nt.tensor([0, 1, 2, 0, 1, 2, 0, 1], device="cpu")
    losses, weights = [], []
    for compiled in (False, True):
        nt.manual_seed(0)
        model = net()
        forward = nt.compile(model) if compiled else model
        optimizer = nt.optim.AdamW(model.parameters(), lr=0.01)
        losses.append([])
        for _ in range(6):
            loss = nn.functional.cross_entropy(forward(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
        weights.append(model[0].weight.detach().numpy())
    assert losses[0][-1] < losses[0][0]
    assert_close(np.float32(losses[1]), np.float32(losses[0]), kind="composite")
    assert_close(weights[1], weights[0], kind="composite")
    assert forward.traces == 1


def test_the_backward_of_a_result_is_a_plan_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = net(), rand(8, 6)
    compiled = nt.compile(model)
    for _ in range(2):
        compiled(x).sum().backward()  # plans are made
        model.zero_grad()
    loss = compiled(x).sum()
    monkeypatch.setattr(planned, "make_plan", None)
    loss.backward()


def test_an_operator_without_a_gradient_is_named_when_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(find("exp"), "gradient", None)
    x = rand(4).requires_grad_()
    y = nt.compile(lambda x: x.exp().sum())(x)
    assert_close(y.detach(), np.exp(x.detach().numpy()).sum(), kind="composite")
    with pytest.raises(errors.GradientError, match="exp: has no gradient"):
        y.backward()


def test_a_result_of_what_the_function_changes_itself_has_no_gradient() -> None:
    weight = rand(3).requires_grad_()
    optimizer = nt.optim.SGD([weight], lr=0.1)

    @nt.compile
    def step(x: Any) -> Any:
        loss = (x * weight * weight).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for _ in range(2):
        loss = step(nt.ones(3))
        with pytest.raises(errors.GradientError, match=r"(?s)compile: the function changes in pl"):
            loss.backward()
    assert weight.grad is None


def training_step(optimizer: Any, weight: Any, zero: str) -> Any:
    def step(x: Any) -> Any:
        if zero == "before":
            optimizer.zero_grad()
        loss = (x * weight * weight).sum()
        loss.backward()
        optimizer.step()
        if zero == "after":
            optimizer.zero_grad()
        return loss.detach()

    return step


@pytest.mark.parametrize("zero", ["never", "before", "after"])
@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_gradients_after_a_compiled_step_are_those_of_a_call(zero: str, kind: str) -> None:
    found: list[Any] = []
    for compiled in (False, True):
        weight = rand(3).requires_grad_()
        step = training_step(getattr(nt.optim, kind)([weight], lr=0.1), weight, zero)
        run = nt.compile(step) if compiled else step
        rows = []
        for number in range(5):
            loss = run(nt.full((3,), 1.0 + number))
            gradient = None if weight.grad is None else weight.grad.tolist()
            rows.append((loss.item(), weight.tolist(), gradient))
        found.append(rows)
    assert run.traces == (2 if zero == "never" else 1)
    for eager, traced in zip(*found, strict=True):
        assert_close(np.float32(traced[:1]), np.float32(eager[:1]), kind="composite")
        assert_close(np.float32(traced[1]), np.float32(eager[1]), kind="composite")
        assert (traced[2] is None) == (eager[2] is None) == (zero == "after")
        if traced[2] is not None:
            assert_close(np.float32(traced[2]), np.float32(eager[2]), kind="composite")


def test_a_parameter_that_is_an_argument_too_is_an_error() -> None:
    weight = rand(3).requires_grad_()
    step = training_step(nt.optim.SGD([weight]), weight, "never")
    with pytest.raises(TypeError, match="the gradient of an argument is used"):
        nt.compile(lambda w: (w.sum().backward(), step(w))[1])(weight)


def test_a_compiled_update_reads_the_gradients_of_each_call() -> None:
    weight = rand(3).requires_grad_()
    optimizer = nt.optim.SGD([weight], lr=1.0)

    @nt.compile
    def update() -> None:
        nt.optim.clip_grad_norm_([weight], 1e9)
        optimizer.step()

    expected = weight.detach().numpy().copy()
    for number in range(1, 4):
        optimizer.zero_grad()
        (weight * number).sum().backward()
        update()
        expected -= number
        assert_close(weight.detach(), expected, kind="composite")
    optimizer.zero_grad()
    update()
    assert_close(weight.detach(), expected, kind="composite")


def test_arguments_get_gradients_too() -> None:
    @nt.compile
    def accumulate(x: Any) -> None:
        (x * x).sum().backward()

    for _ in range(2):
        x = rand(3).requires_grad_()
        for count in range(1, 4):
            accumulate(x)
            assert_close(x.grad, 2 * count * x.detach().numpy(), kind="gradient")


def test_options_of_an_optimizer_are_followed() -> None:
    def losses(compiled: bool) -> Any:
        weight = rand(4).requires_grad_()
        optimizer = nt.optim.SGD([weight], lr=0.1, momentum=0.5)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            ((x * weight).exp()).sum().backward()
            optimizer.step()
            return weight * 1.0

        run = nt.compile(step) if compiled else step
        found = []
        for number in range(8):
            if number == 2:
                optimizer.lr = 0.01
            if number == 4:
                optimizer.param_groups[0]["lr"] = 0.001
            if number == 5:
                optimizer.param_groups[0]["weight_decay"] = 0.5
            if number == 6:
                optimizer.param_groups[0]["momentum"] = 0.0
            found.append(run(nt.ones(4)).detach().numpy().copy())
        return np.stack(found), run

    eager, _ = losses(False)
    traced, run = losses(True)
    assert_close(traced, eager, kind="composite")
    assert run.traces == 3  # the options as given; weight_decay; momentum


def test_gradients_are_of_the_numbers_of_their_call() -> None:
    def function(x: Any, factor: float, n: int) -> Any:
        return (x * x * (factor * 2)).sum() + (x * n).sum()

    compiled = nt.compile(function, dynamic=("factor", "n"))
    x = rand(3).requires_grad_()
    array = x.detach().numpy()
    for _ in range(2):
        results = [(compiled(x, f, n), f, n) for f, n in ((0.5, 1), (2.0, 3), (-1.0, 7))]
        for result, factor, n in results:
            for graph in (False, True):
                x.grad = None
                result.backward(create_graph=graph)
                assert_close(x.grad.detach(), 4 * array * factor + n, kind="gradient")
    assert compiled.traces == 1
