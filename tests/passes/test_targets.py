"""Fusion is decided once: CUDA and Metal get the kernels that the CPU gets, of the same nodes."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.models.llama import Llama, LlamaConfig
from numbatorch.nn import functional
from tests.models.build import llama_config

GPUS = ("cuda", "metal")


def block_with_gradients() -> list[Any]:
    """Logits, loss and all gradients of a one-layer Llama, unrealized."""
    nt.manual_seed(3)
    config = llama_config(num_hidden_layers=1)
    model = Llama(LlamaConfig.from_hf(config))
    nt.realize(*model.parameters())
    ids = nt.tensor(np.arange(12).reshape(2, 6) % config["vocab_size"])
    logits = model(ids[:, :-1])
    labels = ids[:, 1:].reshape(10)
    loss = functional.cross_entropy(logits.reshape(10, -1), labels)
    store = loss.backward()
    return [loss, *(store[p] for p in model.parameters())]


def embedding_block() -> list[Any]:
    """What a BERT layer is made of, with a mask."""
    rng = np.random.default_rng(0)

    def rand(*shape: int) -> Any:
        return nt.tensor(rng.standard_normal(shape).astype(np.float32))

    x, w, b = rand(2, 5, 16), rand(16), rand(16)
    mask = nt.tensor(np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])) != 0
    h = functional.layer_norm(x, (16,), w, b)
    q, k, v = (
        functional.linear(h, rand(16, 16), rand(16)).reshape(2, 5, 2, 8).transpose(1, 2)
        for _ in range(3)
    )
    out = functional.attention(q, k, v, mask.reshape(2, 1, 1, 5))
    out = functional.linear(out.transpose(1, 2).reshape(2, 5, 16), rand(16, 16), rand(16)) + x
    return [functional.linear(out, rand(16, 16)).gelu().mean(1), out.softmax(-1).argmax(-1)]


GRAPHS = {
    "llama block": block_with_gradients,
    "bert block": embedding_block,
}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("target", GPUS)
def test_kernels_are_those_of_the_cpu(graph: str, target: str) -> None:
    found = GRAPHS[graph]()
    expected = [kernel.fused for kernel in debug.kernels(found, "cpu")]
    assert len(expected) > 0
    assert [kernel.fused for kernel in debug.kernels(found, target)] == expected
