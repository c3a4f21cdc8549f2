"""numbatorch."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

import numpy as np

import numbatorch as nt
from benchmarks import block_types, language, layers, operators, training
from benchmarks import convolutions as resnet
from benchmarks import small as calls
from benchmarks.timing import Work
from numbatorch.backends.base import backend
from numbatorch.backends.devices import describe
from numbatorch.backends.gpu import GPUBackend
from numbatorch.dtype import DType
from numbatorch.generation.decoder import Decoder
from numbatorch.generation.samplers.candidates import Random, Text
from numbatorch.generation.samplers.chain import Chain
from numbatorch.generation.samplers.chain import chain as chain_of
from numbatorch.ops.matmul import Compute
from numbatorch.tensor import from_blocks

VERSION = nt.__version__
DEVICE = str(nt.device())
_BACKEND = backend(nt.device())
HARDWARE = next(found.name for found in describe() if found.device == DEVICE)
# What waits until a GPU has done what it was given.
WAIT = _BACKEND.runtime.synchronize if isinstance(_BACKEND, GPUBackend) else None


class Session(Decoder):
    """A model and its cache."""

    def __init__(self, file: str) -> None:
        self.generator = nt.TextGenerator(file, device=DEVICE)
        super().__init__(self.generator.model)

    clear = Decoder.reset

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Append tokens and wait for the last one's logits."""
        self.logits = super().feed(ids)
        return self.logits

    def choose_by(self, ids: Sequence[int], grammar: str) -> None:
        """Begin to choose what follows `ids`."""
        self.text = Text(list(ids), Random(0), self.generator.tokenizer)
        options = {"grammar": grammar} if grammar else language.SAMPLERS
        self.chain = Chain(chain_of(options), self.text)

    def choose(self) -> int:
        """The next token, by the logits of the last one."""
        id = self.chain.choose(self.logits)
        self.text.ids.append(id)
        return id

    def ends(self, id: int) -> bool:
        """Whether a token is the end of a text."""
        return id in self.generator.tokenizer.end_ids


_session = lru_cache(1)(Session)
decode, prefill = language.jobs(_session)
sampling = language.sampling_job(_session)


@lru_cache(1)
def _embedder(folder: str, compute: str) -> nt.Embedder:
    return nt.Embedder(folder, device=DEVICE, compute=cast(Compute, compute))


def embed(folder: str, sentences: list[str], compute: str) -> Work:
    """A batch of sentences, tokenizing included."""
    embedder = _embedder(folder, compute)
    return Work(lambda: embedder.encode(sentences), units=len(sentences))


def _normal(*shape: int) -> nt.Tensor:
    rng = np.random.default_rng(0)
    return nt.from_numpy(rng.standard_normal(shape, dtype=np.float32), DEVICE).realize()


def gelu(size: int) -> Work:
    """gelu(x * y + x)."""
    x, y = _normal(size), _normal(size)
    return Work(lambda: nt.nn.functional.gelu(x * y + x).realize(), wait=WAIT)


def matmul(size: int) -> Work:
    """A product."""
    lhs, rhs = _normal(size, size), _normal(size, size)
    return Work(lambda: (lhs @ rhs).realize(), wait=WAIT)


def chain(count: int) -> Work:
    """A compiled chain of products, each of which needs the one before."""
    rhs = nt.from_numpy(np.eye(8, dtype=np.float32) * np.float32(0.99), DEVICE)

    @nt.compile
    def run(value: nt.Tensor, factor: nt.Tensor) -> nt.Tensor:
        for _ in range(count):
            value = value @ factor
        return value

    return Work(lambda: run(rhs, rhs), units=count, wait=WAIT)


def _product(x: np.ndarray, data: np.ndarray, kind: DType) -> Callable[[], nt.Tensor]:
    given = nt.from_numpy(x, DEVICE).realize()
    weight = from_blocks(data, kind, (len(data), x.shape[1]), DEVICE, share=True)
    return lambda: nt.nn.functional.linear(given, weight).realize()


packed = block_types.job(_product, WAIT)


API = calls.Api(
    tensor=lambda array: nt.from_numpy(array, DEVICE).realize(),
    compiled=nt.compile,
    read=lambda call: lambda: call().realize(),
    library=nt,
)
small, idle = calls.jobs(API, WAIT)
convolutions = resnet.job(
    API.tensor, lambda x, w, **options: nt.nn.functional.conv2d(x, w, **options).realize(), WAIT
)
operator = operators.job(API.tensor, nt, API.read, WAIT)
layer = layers.job(API.tensor, nt, API.gradients, DEVICE, nt.realize, WAIT)
train = training.job(API, DEVICE, WAIT)
