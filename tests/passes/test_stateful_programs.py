"""Compiled functions that change what they use from outside do at each call what eager ones do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn
from tests.compare import assert_close

STEPS = 4

# Statements on two states `a` and `b` and an argument `x`, all (3,); each may use the others.
STATEMENTS: tuple[Callable[[Any, Any, Any], Any], ...] = (
    lambda a, b, x: a.copy_(x * 2 + b),
    lambda a, b, x: a.copy_(a.detach() * 0.5 + x),
    lambda a, b, x: a.mul_(0.5),
    lambda a, b, x: a.add_(b.clone() - x),
    lambda a, b, x: a.__setitem__(0, x[1] + b[2]),
    lambda a, b, x: a.__setitem__(slice(1, None), b.detach()[1:] * 0.5),
    lambda a, b, x: a.sub_((b.detach() * x).sum()),
    lambda a, b, x: a.copy_(b),
)
RESULTS: tuple[Callable[[Any, Any, Any], Any], ...] = (
    lambda a, b, x: a,
    lambda a, b, x: (a, b),
    lambda a, b, x: (a.detach(), a * 1),
    lambda a, b, x: (a + b).sum(),
    lambda a, b, x: [a.clone(), x + b.detach()],
)


def random_program(rng: np.random.Generator) -> Callable[[Any, Any, Any], Any]:
    """Up to five statements, some on a and some on b, before or after what the result reads."""
    chosen = [(STATEMENTS[rng.integers(len(STATEMENTS))], bool(rng.integers(2))) for _ in range(5)]
    chosen = chosen[: int(rng.integers(1, 6))]
    result = RESULTS[rng.integers(len(RESULTS))]
    early = bool(rng.random() < 0.3)

    def program(a: Any, b: Any, x: Any) -> Any:
        before = (a * 2, b.detach()) if early else ()
        for statement, swapped in chosen:
            statement(*((b, a, x) if swapped else (a, b, x)))
        return before, result(a, b, x)

    return program


def leaves(value: Any) -> list[np.ndarray]:
    """The tensors of a nest as arrays."""
    if isinstance(value, list | tuple):
        return [array for part in value for array in leaves(part)]
    return [np.array(value.numpy())]


def history(program: Any, compiled: bool, kept: bool, device: str) -> list[np.ndarray]:
    """What each call returns, read at once or (kept) after all calls, and the states at the end."""
    a, b = (nt.tensor(np.arange(3.0, dtype=np.float32) + i, device=device) for i in range(2))

    def function(x: Any) -> Any:
        return program(a, b, x)

    call = nt.compile(function) if compiled else function
    inputs = [nt.tensor(np.full(3, 0.25 * i, np.float32), device=device) for i in range(STEPS)]
    if kept:
        found = leaves([call(x) for x in inputs]) if compiled else None
    else:
        found = [array for x in inputs for array in leaves(call(x))]
    if found is None:  # eager results are handles, which change with the state
        found = [array for x in inputs for array in leaves(call(x))]
    return [*found, *leaves([a, b])]


@pytest.mark.drawn(2)
@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kept", [False, True])
def test_random_programs_on_the_cpu(seed: int, kept: bool) -> None:
    program = random_program(np.random.default_rng(seed))
    expected = history(program, False, kept, "cpu")
    found = history(program, True, kept, "cpu")
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        assert_close(got, want, kind="elementwise", seed=seed)


@pytest.mark.parametrize("seed", range(100, 108))
def test_random_programs_on_every_device(seed: int, device: str) -> None:
    program = random_program(np.random.default_rng(seed))
    expected = history(program, False, False, "numpy")
    for got, want in zip(history(program, True, False, device), expected, strict=True):
        assert_close(got, want, kind="elementwise", seed=seed, device=device)


def losses(make: Any, loss: Any, compiled: bool, device: str) -> list[float]:
    """Of a few steps of training."""
    nt.manual_seed(4)
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2)).to(device)
    w = nt.tensor([1.0, 2.0], device=device, requires_grad=True)
    optimizer = make([*net.parameters(), w])
    x = nt.tensor(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), device=device)

    def step(*arguments: Any) -> Any:
        value = loss(net, w, *(arguments or (x,)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value

    run = nt.compile(step) if compiled else step
    return [run().item() if loss is elementwise else run(x).item() for _ in range(5)]


def elementwise(net: Any, w: Any, x: Any) -> Any:
    """Of a parameter alone, without an argument."""
    return (w * w).sum() + w.exp().mean()


def whole(net: Any, w: Any, x: Any) -> Any:
    """Of layers, and of a parameter that is used elementwise."""
    return ((net(x) * w - 1) ** 2).mean()


OPTIMIZERS = {
    "sgd": lambda ps: nt.optim.SGD(ps, 0.05),
    "momentum": lambda ps: nt.optim.SGD(ps, 0.05, momentum=0.9),
    "adamw": lambda ps: nt.optim.AdamW(ps, 0.05),
}


@pytest.mark.parametrize("loss", [elementwise, whole])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_compiled_training_is_eager_training(make: Any, loss: Any, device: str) -> None:
    expected = losses(make, loss, False, device)
    assert len(set(expected)) == len(expected)
    found = losses(make, loss, True, device)
    assert_close(np.float32(found), np.float32(expected), kind="gradient")


def test_values_of_a_trace_are_not_computed_within() -> None:
    w = nt.tensor([1.0, 2.0])

    @nt.compile
    def reads(x: nt.Tensor) -> nt.Tensor:
        return x * (w * 2).realize()

    with pytest.raises(RuntimeError, match="a value is read while its function is traced"):
        reads(nt.ones(2))
    assert nt.compile(lambda x: x * nt.arange(2).sum().item())(nt.ones(2)).tolist() == [1, 1]
