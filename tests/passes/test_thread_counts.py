"""Whole graphs, fused and with gradients, give the same bits however many threads share them."""

from collections.abc import Callable

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.testing.teams import divided

F = nt.nn.functional
PARTS = (1, 2, 3, 8)


def leaf(*shape: int, seed: int = 0) -> nt.Tensor:
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return nt.tensor(values, device="cpu", requires_grad=True)


def layer_norm() -> list[nt.Tensor]:
    x, w, b = leaf(4000, 64), leaf(64, seed=1), leaf(64, seed=2)
    (F.layer_norm(x, (64,), w, b) ** 2).sum().backward()
    return [x.grad, w.grad, b.grad]


def rms_norm() -> list[nt.Tensor]:
    x, w = leaf(4000, 64), leaf(64, seed=1)
    (F.rms_norm(x, (64,), w) ** 2).sum().backward()
    return [x.grad, w.grad]


def classifier() -> list[nt.Tensor]:
    """Products with epilogues, a loss, sums over rows and columns."""
    x, w, b, out = leaf(517, 96), leaf(130, 96, seed=1), leaf(130, seed=2), leaf(37, 130, seed=3)
    target = nt.tensor(np.arange(517) % 37, device="cpu")
    loss = F.cross_entropy(F.gelu(x @ w.T + b) @ out.T, target)
    loss.backward()
    return [loss, x.grad, w.grad, b.grad, out.grad]


def embedding() -> list[nt.Tensor]:
    """Sums by index, attention and its gradient, a fused tail."""
    table = leaf(50, 48)
    ids = nt.tensor(np.arange(2 * 70).reshape(2, 70) * 7 % 50, device="cpu")
    x = F.embedding(ids, table).reshape(2, 70, 3, 16).transpose(1, 2)
    y = F.scaled_dot_product_attention(x, x * 0.5, x, is_causal=True)
    (y.softmax(-1).cumsum(2) * y.tanh()).mean().backward()
    return [y, table.grad]


def long_sums() -> list[nt.Tensor]:
    """Few results over many elements, in chunks that all threads share."""
    x = leaf(3, 50_021)
    found = [x.sum(1), x.exp().sum(), x.var(), x.logsumexp(1), x.amax(0), x.cumsum(1)]
    return [*found, (x * x).mean(0)]


def one_token() -> list[nt.Tensor]:
    """A query over many keys."""
    q, k, v = leaf(1, 5, 1, 24), leaf(1, 5, 1300, 24, seed=1), leaf(1, 5, 1300, 24, seed=2)
    return [F.scaled_dot_product_attention(q, k, v)]


@pytest.mark.parametrize(
    "graph", [layer_norm, rms_norm, classifier, embedding, long_sums, one_token]
)
def test_bits_do_not_depend_on_the_number_of_threads(
    graph: Callable[[], list[nt.Tensor]],
) -> None:
    found = []
    for parts in PARTS:
        with divided(parts):
            found.append([x.detach().numpy().tobytes() for x in graph()])
    for parts, bits in zip(PARTS, found, strict=True):
        same = [one == other for one, other in zip(found[0], bits, strict=True)]
        assert all(same), (parts, same)
