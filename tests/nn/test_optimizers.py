"""Optimizers against their formulas in NumPy; one plan a step; steps inside compiled functions."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import GradientError, OutOfRange, nn
from numbatorch.testing import assert_close


@pytest.fixture(autouse=True)
def _default_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", device)


def wide() -> Any:
    """The widest float of the default device."""
    return nt.float64 if nt.device().has_float64 else nt.float32


def start() -> Any:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(wide().numpy) for shape in ((3, 4), (5,))]


def gradient(p: np.ndarray) -> np.ndarray:
    return 3 * p * p + 1


def run(make: Any, steps: int) -> list[nt.Tensor]:
    params = [nt.tensor(p, requires_grad=True) for p in start()]
    optimizer = make(params)
    for _ in range(steps):
        optimizer.zero_grad()
        sum((p**3 + p).sum() for p in params).backward()
        optimizer.step()
    return params


def test_adamw_equals_its_formula() -> None:
    lr, (beta1, beta2), eps, decay = 0.01, (0.8, 0.9), 1e-6, 0.1
    found = run(lambda ps: nt.optim.AdamW(ps, lr, (beta1, beta2), eps, decay), 4)
    for result, p in zip(found, start(), strict=True):
        m = v = np.zeros_like(p)
        for t in range(1, 5):
            g = gradient(p)
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
            step = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
            p = p * (1 - lr * decay) - lr * step
        assert_close(result, p, "gradient")


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.1},
                                     {"momentum": 0.9, "nesterov": True},
                                     {"momentum": 0.5, "dampening": 0.3}])  # fmt: skip
def test_sgd_equals_its_formula(options: dict[str, Any]) -> None:
    momentum, dampening = options.get("momentum", 0.0), options.get("dampening", 0.0)
    found = run(lambda ps: nt.optim.SGD(ps, 0.01, **options), 3)
    for result, p in zip(found, start(), strict=True):
        buffer = None
        for _ in range(3):
            d = gradient(p) + options.get("weight_decay", 0.0) * p
            if momentum:
                buffer = d if buffer is None else momentum * buffer + (1 - dampening) * d
                d = d + momentum * buffer if options.get("nesterov") else buffer
            p = p - 0.01 * d
        assert_close(result, p, "gradient")


def test_parameters_that_sit_steps_out_keep_their_own_count() -> None:
    a, b = (nt.ones(1, dtype=wide(), requires_grad=True) for _ in range(2))
    alone = nt.ones(1, dtype=wide(), requires_grad=True)
    both, single = nt.optim.AdamW([a, b], lr=0.1), nt.optim.AdamW([alone], lr=0.1)
    for number in range(5):
        for optimizer in (both, single):
            optimizer.zero_grad()
        loss = (a * a).sum()
        if number % 2:
            loss = loss + (b**3).sum()
            (alone**3).sum().backward()
            single.step()
        loss.backward()
        both.step()
    assert_close(b, alone, "gradient")


def test_learning_rates_and_groups() -> None:
    a, b = nt.ones(1, requires_grad=True), nt.ones(1, requires_grad=True)
    groups = [{"params": [a], "lr": 1.0}, {"params": [b]}]
    optimizer = nt.optim.SGD(groups, lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        (a + b).sum().backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.25
    assert a.item() == -0.25 and b.item() == 0.0
    assert optimizer.lr == 0.25
    optimizer.lr = 0.0
    optimizer.step()
    assert a.item() == -0.25 and b.item() == 0.0


def test_clipping_scales_all_gradients_together() -> None:
    a, b = nt.ones(2, requires_grad=True), nt.ones(1, requires_grad=True)
    (a * 2 + b).sum().backward()
    norm = nt.optim.clip_grad_norm_([a, b], 1.0)
    size = np.sqrt(4 + 4 + 4)
    assert_close(norm, np.float32(size), "composite")
    assert_close(a.grad, np.float32([2, 2]) / np.float32(size), "gradient")
    nt.optim.clip_grad_norm_([a, b], 100.0)
    assert_close(b.grad, np.float32([2]) / np.float32(size), "gradient")


def test_mistakes() -> None:
    p = nt.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="no parameters"):
        nt.optim.SGD([])
    with pytest.raises(GradientError, match="no leaf"):
        nt.optim.SGD([p * 2])
    with pytest.raises(ValueError, match="twice"):
        nt.optim.AdamW([p, p])
    with pytest.raises(OutOfRange, match="negative"):
        nt.optim.AdamW([p], lr=-1.0)
    with pytest.raises(OutOfRange, match="betas"):
        nt.optim.AdamW([p], betas=(0.9, 1.0))


def model() -> nn.Module:
    nt.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))


def test_a_compiled_training_step_equals_the_eager_one() -> None:
    x, y = nt.linspace(-1, 1, 30).reshape(10, 3), nt.linspace(0, 1, 10).reshape(10, 1)
    losses = []
    for compiled in (False, True):
        net = model()
        optimizer = nt.optim.AdamW(net.parameters(), lr=0.05)

        def step(x: nt.Tensor, y: nt.Tensor, net: Any, optimizer: Any) -> nt.Tensor:
            loss = nn.functional.mse_loss(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        def bound(x: nt.Tensor, y: nt.Tensor, net: Any = net, opt: Any = optimizer) -> nt.Tensor:
            return step(x, y, net, opt)

        run_step = nt.compile(lambda x, y, f=bound: f(x, y)) if compiled else bound
        nt.manual_seed(1)
        losses.append([run_step(x, y).item() for _ in range(12)])
    assert losses[0][-1] < losses[0][0]
    assert_close(np.float32(losses[1]), np.float32(losses[0]), "composite")


def test_what_cannot_be_optimized_is_named() -> None:
    with pytest.raises(
        TypeError, match=r"AdamW: takes a list of parameters, not one tensor \(3,\)"
    ):
        nt.optim.AdamW(nt.ones(3))
    with pytest.raises(TypeError, match="SGD: a parameter is float, not a tensor"):
        nt.optim.SGD([1.0])
    with pytest.raises(GradientError, match="none of the parameters requires a gradient"):
        nt.optim.SGD([nt.ones(3)])
    nt.optim.SGD([nt.ones(3), nt.ones(2, requires_grad=True)])  # some are frozen


def test_clipping_of_half_gradients_does_not_overflow() -> None:
    p = nt.zeros(4, dtype=nt.float16, requires_grad=True)
    p.grad = nt.full((4,), 1000.0, dtype=nt.float16)
    assert nt.optim.clip_grad_norm_([p], 1.0).item() == 2000.0
    assert p.grad.dtype is nt.float16
    assert_close(p.grad, np.full(4, 0.5), "gradient")


@pytest.mark.parametrize("make", [nt.optim.AdamW, nt.optim.SGD])
def test_a_model_moves_between_making_the_optimizer_and_its_first_step(
    make: Any, device: str
) -> None:
    net = nn.Linear(2, 1).to("cpu" if device != "cuda" else "numpy")
    optimizer = make(net.parameters(), lr=0.1)
    net.to(device)
    for _ in range(2):
        net(nt.ones(1, 2)).sum().backward()
        optimizer.step()
    assert net.weight.device.kind == device


def test_a_model_that_moves_after_a_step_is_a_mistake(device: str) -> None:
    net = nn.Linear(2, 1)
    optimizer = nt.optim.AdamW(net.parameters(), lr=0.1)
    net(nt.ones(1, 2)).sum().backward()
    optimizer.step()
    other = "numpy" if device != "numpy" else "cpu"
    net.to(other)
    net(nt.ones(1, 2, device=other)).sum().backward()
    with pytest.raises(nt.DeviceError, match=f"AdamW: parameters moved from {device} to {other}"):
        optimizer.step()


@pytest.mark.parametrize("dtype", [nt.float16, nt.bfloat16], ids=lambda d: d.name)
def test_steps_of_half_types_are_taken_in_float32(dtype: Any) -> None:
    start, slope = np.full(3, 0.01, np.float32), np.float32(1e-4)
    for make in (
        lambda ps: nt.optim.AdamW(ps, 1e-3),
        lambda ps: nt.optim.SGD(ps, 0.5, momentum=0.9, dampening=0.1, weight_decay=0.1),
    ):
        results = []
        for kind in (dtype, nt.float32):
            p = nt.tensor(start).to(dtype).to(kind).requires_grad_()
            optimizer = make([p])
            p.grad = nt.full((3,), slope).to(dtype).to(kind)
            optimizer.step()
            state = optimizer._state[p]
            kept = state[0] if isinstance(state, tuple) else state.mean
            assert kept.dtype is nt.float32
            results.append(p.detach().to(dtype).tolist())
        assert results[0] == results[1]


def test_adamw_of_half_types_stays_finite() -> None:
    for gradient in (0.0, 1e-4, 6e-8):
        p = nt.ones(3, dtype=nt.float16).requires_grad_()
        optimizer = nt.optim.AdamW([p])
        for _ in range(3):
            p.grad = nt.full((3,), gradient, dtype=nt.float16)
            optimizer.step()
        assert p.isfinite().all() and (p > 0.99).all()
