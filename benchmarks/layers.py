"""Layers of `nn` forward, and forward and backward, as ours and PyTorch spell them.

A line has a layer's call and its inputs, which are those of `inputs`. Images hold a million
elements, rows and sequences half a million. Forward rows take no gradient; a training row computes
the output and the gradients of the inputs and of all parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from benchmarks.timing import Work

CLASSES = 1000

LAYERS = """
Linear(512, 512) | rows
Bilinear(64, 64, 64) | narrow, narrow
Embedding(1000, 512) | classes
EmbeddingBag(1000, 512) | bags
Conv1d(64, 64, 3, padding=1) | signal
Conv2d(64, 64, 3, padding=1) | image
Conv2d(64, 64, 3, padding=1, groups=64) | image
Conv2d(64, 64, 1) | image
Conv3d(16, 16, 3, padding=1) | volume
ConvTranspose1d(64, 64, 4, 2, 1) | signal
ConvTranspose2d(64, 64, 4, 2, 1) | image
ConvTranspose3d(16, 16, 2, 2) | volume
MaxPool1d(2) | signal
MaxPool2d(3, 2, 1) | image
MaxPool3d(2) | volume
AvgPool1d(2) | signal
AvgPool2d(2) | image
AvgPool3d(2) | volume
LPPool2d(2, 2) | image
AdaptiveAvgPool2d(7) | image
AdaptiveMaxPool2d(7) | image
Upsample(scale_factor=2) | image
Upsample(scale_factor=2, mode="bilinear") | image
PixelShuffle(2) | image
Fold((32, 32), 3, padding=1) | windows
Unfold(3, padding=1) | few
ZeroPad2d(1) | image
ReflectionPad2d(1) | image
ReplicationPad2d(1) | image
BatchNorm1d(512) | rows
BatchNorm2d(64) | image
LayerNorm(512) | rows
RMSNorm(512) | rows
GroupNorm(8, 64) | image
InstanceNorm2d(64) | image
LocalResponseNorm(5) | image
Dropout(0.3) | rows
Dropout2d(0.3) | image
AlphaDropout(0.3) | rows
RNN(128, 256) | steps
LSTM(128, 256) | steps
LSTM(128, 256, num_layers=2, bidirectional=True) | steps
GRU(128, 256) | steps
LSTMCell(512, 256) | some
GRUCell(512, 256) | some
MultiheadAttention(256, 8, batch_first=True) | tokens, tokens, tokens
TransformerEncoderLayer(256, 8, 1024, 0.0, batch_first=True) | tokens
TransformerDecoderLayer(256, 8, 1024, 0.0, batch_first=True) | tokens, tokens
ReLU() | rows
LeakyReLU() | rows
PReLU() | rows
ELU() | rows
GELU() | rows
SiLU() | rows
Mish() | rows
Hardswish() | rows
Sigmoid() | rows
Tanh() | rows
Softplus() | rows
GLU() | rows
Softmax(-1) | rows
LogSoftmax(-1) | rows
CosineSimilarity() | rows, others
PairwiseDistance() | rows, others
L1Loss() | rows, others
MSELoss() | rows, others
SmoothL1Loss() | rows, others
CrossEntropyLoss() | rows, labels
NLLLoss() | rows, labels
KLDivLoss(reduction="batchmean") | rows, shares
BCEWithLogitsLoss() | rows, shares
GaussianNLLLoss() | rows, others, shares
MultiMarginLoss() | rows, labels
TripletMarginLoss() | rows, others, shares
CTCLoss() | spoken, spelled, lengths, spelling
"""


def calls() -> Iterator[tuple[str, str]]:
    """The call that makes each layer, and what it is given."""
    for line in LAYERS.strip().splitlines():
        call, given = line.split(" | ")
        yield call, given


def inputs() -> dict[str, np.ndarray]:
    """What lines name; floats are float32 and require gradients."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    spoken = normal(50, 16, 64)
    return {
        "rows": normal(1024, 512),
        "others": normal(1024, 512),
        "shares": rng.random((1024, 512), np.float32) + np.float32(0.01),
        "narrow": normal(512, 64),
        "some": normal(64, 512),
        "classes": rng.integers(0, CLASSES, (8, 128)),
        "bags": rng.integers(0, CLASSES, (128, 8)),
        "labels": rng.integers(0, 512, 1024),
        "signal": normal(16, 64, 1024),
        "image": normal(16, 64, 32, 32),
        "few": normal(2, 64, 32, 32),
        "windows": normal(2, 64 * 9, 1024),
        "volume": normal(4, 16, 16, 32, 32),
        "steps": normal(64, 16, 128),
        "tokens": normal(8, 128, 256),
        "spoken": spoken - np.log(np.exp(spoken).sum(-1, keepdims=True)),
        "spelled": rng.integers(1, 64, (16, 20)),
        "lengths": np.full(16, 50),
        "spelling": np.full(16, 20),
    }


def job(
    tensor: Callable[[np.ndarray], Any],
    library: Any,
    gradients: Callable[[], AbstractContextManager[Any]],
    device: Any,
    realize: Callable[..., object] = lambda *_results: None,
    wait: Callable[[], object] | None = None,
) -> Callable[[str, bool], Work]:
    """The job of an engine that calls a layer.

    Args:
        tensor: from an array.
        library: the module whose `nn` has the layers.
        gradients: a context in which graphs for gradients are built.
        device: where parameters lie.
        realize: what has its arguments computed.
    """
    scope: dict[str, Any] = {}

    def layer(name: str, training: bool) -> Work:
        if not scope:
            scope.update({key: tensor(array) for key, array in inputs().items()})
        module = eval(f"nn.{name}", {"nn": library.nn}).to(device).train(training)
        given = [scope[key] for key in dict(calls())[name].split(", ")]

        def forward() -> None:
            with library.no_grad():
                realize(*_results(module(*given)))

        if not training:
            return Work(forward, wait=wait)
        given = [_leaf(x) for x in given]
        leaves = [x for x in given if x.requires_grad]
        leaves += [p for p in module.parameters() if not any(p is x for x in leaves)]
        with gradients():
            shape = _results(module(*given))[0]
            cotangent = library.ones_like(shape.detach()) if shape.ndim else None

        def step() -> None:
            for x in leaves:
                x.grad = None
            with gradients():
                found = _results(module(*given))
                found[0].backward(cotangent)
            realize(*found, *(x.grad for x in leaves if x.grad is not None))

        return Work(step, wait=wait)

    return layer


def _leaf(x: Any) -> Any:
    """A tensor of its own that requires a gradient if it can."""
    own = x.detach()
    return own.requires_grad_() if own.is_floating_point() else own


def _results(found: Any) -> list[Any]:
    """The tensors of a result, in order."""
    if isinstance(found, list | tuple):
        return [x for part in found for x in _results(part)]
    return [] if found is None else [found]
