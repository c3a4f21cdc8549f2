"""Adaptive softmax, cross entropy of a linear layer and Gumbel-softmax: errors, traces, draws."""

import re
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DTypeError, OutOfRange, ShapeError, nn
from numbatorch.nn import functional as F
from numbatorch.testing import assert_close


@pytest.fixture(autouse=True)
def _reference_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


@pytest.mark.parametrize("cutoffs", [[], [0, 3], [3, 3], [5, 3], [3, 10], [2.5], [-1, 2]])
def test_cutoffs_increase_within_the_classes(cutoffs: Any) -> None:
    with pytest.raises(ValueError, match="cutoffs are integers that increase from 1 to 9"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 10, cutoffs)


WRONG = [
    ((3, 8), [0, 1], ShapeError, r"\(N, I\) and \(N,\)"),
    ((8,), [0], ShapeError, r"\(N, I\) and \(N,\)"),
    ((1, 3, 8), [[0, 1, 2]], ShapeError, r"\(N, I\) and \(N,\)"),
    ((2, 8), [0.0, 1.0], DTypeError, "targets are integers"),
    ((2, 8), [0, 10], OutOfRange, r"in \[0, 10\), and 10 is not"),
    ((2, 8), [-1, 0], OutOfRange, r"in \[0, 10\), and -1 is not"),
    ((2, 7), [0, 1], ShapeError, "linear"),
]


@pytest.mark.parametrize(("shape", "target", "error", "text"), WRONG)
def test_wrong_targets(shape: Any, target: Any, error: type, text: str) -> None:
    loss = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6])
    with pytest.raises(error, match=text):
        loss(nt.zeros(shape), nt.tensor(target))


def test_log_prob_takes_rows() -> None:
    loss = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6])
    for method in (loss.log_prob, loss.predict):
        with pytest.raises(ShapeError, match=r"input must be \(N, 8\)"):
            method(nt.zeros(8))
    total = loss.log_prob(nt.randn(4, 8)).exp().sum(1)
    assert_close(total.detach(), np.ones(4, np.float32), "composite")


def test_compiled_and_mapped_functions_read_no_targets() -> None:
    loss = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], head_bias=True)
    x, target = nt.randn(6, 8), nt.tensor([0, 9, 3, 5, 6, 2])
    expected = loss(x, target)
    compiled = nt.compile(lambda x, target: tuple(loss(x, target)))
    for _ in range(3):
        output, mean = compiled(x, target)
        assert_close(output, expected.output.detach(), "composite")
        assert_close(mean, expected.loss.detach(), "composite")
    other = nt.tensor([9, 9, 9, 0, 1, 2])
    assert_close(compiled(x, other)[0], loss(x, other).output.detach(), "composite")
    each = nt.func.vmap(lambda x, target: loss(x, target).output)(x, target)
    assert_close(each, expected.output.detach(), "composite")
    rows = nt.randn(5, 8)
    assert_close(nt.compile(loss.predict)(rows), loss.predict(rows), "exact")


def test_compiled_functions_refuse_targets_that_are_no_classes() -> None:
    loss = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6])
    compiled = nt.compile(lambda x, target: loss(x, target).output)
    x = nt.randn(2, 8)
    compiled(x, nt.tensor([0, 9])).detach().numpy()
    for wrong in (10, -1):
        with pytest.raises((OutOfRange, IndexError)):
            compiled(x, nt.tensor([0, wrong])).detach().numpy()


def test_no_rows() -> None:
    loss = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6])
    assert loss(nt.zeros(0, 8), nt.zeros(0, dtype=nt.int64)).output.shape == (0,)
    assert loss.predict(nt.zeros(0, 8)).shape == (0,)


def test_parameters_are_drawn_anew() -> None:
    loss = nn.AdaptiveLogSoftmaxWithLoss(16, 10, [3, 6], head_bias=True)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss.reset_parameters()
    for name, value in loss.named_parameters():
        bound = value.shape[-1] ** -0.5 if value.ndim > 1 else 16**-0.5
        assert not nt.equal(value, before[name]) and value.abs().max().item() <= bound


def test_wrong_losses_of_linear_layers() -> None:
    with pytest.raises(ShapeError, match=r"weight must be \(5,\)"):
        nn.LinearCrossEntropyLoss(3, 5, weight=nt.ones(4))
    with pytest.raises(OutOfRange, match=r"label_smoothing is 1.5"):
        nn.LinearCrossEntropyLoss(3, 5, label_smoothing=1.5)
    with pytest.raises(ValueError, match="no reduction 'max'"):
        nn.LinearCrossEntropyLoss(3, 5, reduction="max")
    loss = nn.LinearCrossEntropyLoss(3, 5, options=nn.LinearCrossEntropyOptions())
    with pytest.raises(ShapeError, match="differ in the batch"):
        loss(nt.zeros(4, 3), nt.tensor([0, 1]))
    with pytest.raises(ShapeError, match="linear_cross_entropy: shapes must be"):
        loss(nt.zeros(4, 2), nt.tensor([0, 1, 2, 3]))
    with pytest.raises(ShapeError, match="linear_cross_entropy: shapes must be"):
        nn.LinearCrossEntropyLoss(3, 5, out_features=(2,))(nt.zeros(3), nt.tensor([0, 1]))


@pytest.mark.parametrize(
    "options",
    [
        {"acc_policy": "best"},
        {"chunking_method": "aspect_ratio:0"},
        {"chunking_method": "aspect_ratio:"},
        {"chunking_method": "rows"},
        {"batch_chunk_size": 0},
        {"batch_chunk_size": 1.5},
        {"batch_chunk_size": True},
        {"acc_dtype": nt.int64},
    ],
    ids=str,
)
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="LinearCrossEntropyOptions: "):
        nn.LinearCrossEntropyOptions(**options)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_chunks_change_no_loss(reduction: str) -> None:
    x, target = nt.randn(10, 3), nt.randint(0, 5, (10,))
    loss = nn.LinearCrossEntropyLoss(3, 5, reduction=reduction, ignore_index=2)
    whole = loss(x, target)
    for size in (1, 3, 10, 11):
        loss.options = nn.LinearCrossEntropyOptions(batch_chunk_size=size)
        assert_close(loss(x, target).detach(), whole.detach(), "composite")


def test_chunks_keep_few_logits_where_no_gradient_is_taken() -> None:
    from numbatorch import debug

    def arena(size: int | None, gradient: bool) -> int:
        options = None if size is None else nn.LinearCrossEntropyOptions(batch_chunk_size=size)
        w = weight.clone().requires_grad_(gradient)
        nt.realize(w)
        wanted = [F.linear_cross_entropy(x, w, target, options=options)]
        if gradient:
            wanted += nt.autograd.grad(wanted[0], [w])  # type: ignore[arg-type]
        return sum(int(n) for n in re.findall(r"arena (\d+) bytes", debug.plan(wanted)))

    x, target = nt.randn(512, 64), nt.randint(0, 2000, (512,))
    weight, logits = nt.randn(2000, 64), 512 * 2000 * 4
    nt.realize(x, target, weight)
    assert arena(None, False) >= logits
    assert arena(32, False) < logits / 4
    assert arena(32, True) >= logits  # as the docstring says


def test_chunks_have_small_launches() -> None:
    from numbatorch import debug

    x, target = nt.randn(256, 4), nt.randint(0, 100, (256,))
    weight = nt.randn(100, 4)
    nt.realize(x, target, weight)
    largest = []
    for options in (None, nn.LinearCrossEntropyOptions(batch_chunk_size=16)):
        loss = F.linear_cross_entropy(x, weight, target, options=options)
        kernels = debug.kernels(loss)
        largest.append(max(kernel.bytes for kernel in kernels))
    assert largest[1] < largest[0] / 4


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("dtype", [nt.float32, nt.float64, nt.float16], ids=lambda d: d.name)
def test_gumbel_softmax_is_softmax_of_shifted_logits(dim: int, dtype: nt.dtype.DType) -> None:
    logits = nt.randn(4, 5).to(dtype)
    nt.manual_seed(3)
    soft = F.gumbel_softmax(logits, tau=0.7, dim=dim)
    nt.manual_seed(3)
    noise = F.gumbel_softmax(nt.zeros(4, 5), dim=dim).numpy()  # softmax of the numbers drawn
    shifted = np.exp((logits.numpy().astype(np.float64) + np.log(noise)) / 0.7)
    assert soft.dtype is dtype
    expected = shifted / shifted.sum(dim, keepdims=True)
    as_drawn = nt.float32 if dtype is nt.float64 else dtype  # the noise is known in float32
    assert_close(soft.to(as_drawn), nt.tensor(expected).to(as_drawn), "gradient")


def test_hard_choices_have_the_gradient_of_soft_ones() -> None:
    logits, factor = nt.randn(3, 6), nt.randn(3, 6)
    found = []
    for hard in (False, True):
        x = logits.clone().requires_grad_()
        nt.manual_seed(5)
        y = F.gumbel_softmax(x, hard=hard)
        (y * factor).sum().backward()
        found.append((y.detach(), x.grad))
    (soft, expected), (chosen, gradient) = found
    assert_close(gradient, expected, "gradient")
    assert_close(chosen, np.eye(6, dtype=np.float32)[soft.numpy().argmax(1)], "exact")


def test_classes_are_chosen_as_often_as_softmax_says() -> None:
    nt.manual_seed(0)
    probabilities = np.array([0.1, 0.2, 0.7], np.float32)
    logits = nt.tensor(np.log(probabilities)).expand(20000, 3)
    shares = F.gumbel_softmax(logits, tau=2.0, hard=True).mean(0).numpy()
    assert np.abs(shares - probabilities).max() < 4 * (0.25 / 20000) ** 0.5


def test_wrong_gumbel_softmax() -> None:
    with pytest.raises(OutOfRange, match="gumbel_softmax: tau 0 is not above 0"):
        F.gumbel_softmax(nt.zeros(3), tau=0)
    with pytest.raises(DTypeError, match="gumbel_softmax: needs floats"):
        F.gumbel_softmax(nt.zeros(3, dtype=nt.int64))
    with pytest.raises(ShapeError, match="gumbel_softmax: needs classes"):
        F.gumbel_softmax(nt.tensor(1.0))
    with pytest.raises(OutOfRange, match="gumbel_softmax"):
        F.gumbel_softmax(nt.zeros(3), dim=1)
    with pytest.warns(UserWarning, match="eps has no effect"):
        F.gumbel_softmax(nt.zeros(3), eps=0.1)
