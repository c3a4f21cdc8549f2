"""reset_parameters: what every layer with parameters has, and what it makes of them."""

import inspect
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Linear": (40, 50),
    "Bilinear": (20, 30, 10),
    "Conv1d": (10, 20, 5),
    "Conv2d": (10, 20, 5),
    "Conv3d": (4, 8, 3),
    "ConvTranspose1d": (10, 20, 5),
    "ConvTranspose2d": (10, 20, 5),
    "ConvTranspose3d": (4, 8, 3),
    "Embedding": (50, 20, 3),
    "EmbeddingBag": (50, 20),
    "BatchNorm1d": (8,),
    "BatchNorm2d": (8,),
    "BatchNorm3d": (8,),
    "SyncBatchNorm": (8,),
    "GroupNorm": (2, 8),
    "InstanceNorm1d": (8, 1e-5, 0.1, True, True),
    "InstanceNorm2d": (8, 1e-5, 0.1, True, True),
    "InstanceNorm3d": (8, 1e-5, 0.1, True, True),
    "LayerNorm": (8,),
    "RMSNorm": (8,),
    "PReLU": (4, 0.3),
    "RNN": (8, 16),
    "LSTM": (8, 16),
    "GRU": (8, 16),
    "RNNCell": (8, 16),
    "LSTMCell": (8, 16),
    "GRUCell": (8, 16),
    "AdaptiveLogSoftmaxWithLoss": (64, 20, [5, 10]),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_reset_gives_first_values_again(name: str) -> None:
    kind = getattr(nn, name)
    given = ARGUMENTS[name]
    nt.manual_seed(0)
    layer, other = kind(*given), kind(*given)
    with nt.no_grad():
        for tensor in layer.state_dict().values():
            tensor.fill_(7)
    layer.reset_parameters()
    for (key, x), y in zip(layer.named_parameters(), other.parameters(), strict=True):
        a, b = x.detach().numpy(), y.detach().numpy()
        assert (a == 7).sum() == 0 and a.shape == b.shape, key
        assert np.array_equal(a == 0, b == 0), key
        if not name.startswith("Embedding"):  # which have no bound
            assert np.abs(a).max() <= 1.3 * np.abs(b).max(), key
    for (key, x), y in zip(layer.named_buffers(), other.buffers(), strict=True):
        assert x.tolist() == y.tolist(), key


def test_every_layer_of_pytorch_that_has_a_reset_has_one_here() -> None:
    torch = pytest.importorskip("torch", reason="pip install torch")
    ours = {name: kind for name, kind in vars(nn).items() if inspect.isclass(kind)}
    wanted = {
        name
        for name, kind in ours.items()
        if hasattr(getattr(torch.nn, name, None), "reset_parameters")
    }
    assert wanted - {name for name in wanted if hasattr(ours[name], "reset_parameters")} == set()
    assert {name for name in wanted if not name.startswith("Lazy")} - {
        "RNNBase",
        "RNNCellBase",
    } <= {*ARGUMENTS}
