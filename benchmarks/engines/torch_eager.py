"""PyTorch eager, with transformers for the models."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from benchmarks import convolutions as resnet
from benchmarks import language, layers, operators, training
from benchmarks import small as calls
from benchmarks.timing import Work

DEVICE = os.environ["NUMBATORCH_DEVICE"]
KIND, _, INDEX = DEVICE.partition(":")
# Of the checkpoints that it reads; in float16 the CPU takes minutes over a prompt.
DTYPES = {"f32": torch.float32} if KIND == "cpu" else {"f32": torch.float32, "f16": torch.float16}


def _device() -> torch.device:
    """Ours by PyTorch's name."""
    if KIND == "cuda" and torch.cuda.is_available():
        return torch.device("cuda", int(INDEX or 0))
    if KIND == "metal" and torch.backends.mps.is_available():
        return torch.device("mps")
    if KIND == "cpu":
        return torch.device("cpu")
    raise ImportError(f"this PyTorch ({torch.__version__}) finds no device {DEVICE}")


WHERE = _device()
VERSION = torch.__version__
HARDWARE = torch.cuda.get_device_name(WHERE) if KIND == "cuda" else ""
# What waits until a GPU has done what it was given.
WAIT = {"cuda": lambda: torch.cuda.synchronize(WHERE), "metal": torch.mps.synchronize}.get(KIND)
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.set_grad_enabled(False)


def _llama(file: str):
    """The model of a GGUF file, from the safetensors beside it."""
    import transformers

    dtype = DTYPES.get(Path(file).stem.rpartition("-")[2])
    if dtype is None:
        raise NotImplementedError
    return transformers.LlamaForCausalLM.from_pretrained(Path(file).parent, dtype=dtype).to(WHERE)


class Session:
    """A model and its cache."""

    def __init__(self, file: str) -> None:
        self.model = _llama(file)
        self.cache = None

    def clear(self) -> None:
        """Forget all positions."""
        self.cache = None

    def feed(self, ids: Sequence[int]) -> torch.Tensor:
        """Append tokens and wait for the last one's logits."""
        given = torch.tensor([ids], device=WHERE)
        found = self.model(given, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.cache = found.past_key_values
        return found.logits.cpu()


decode, prefill = language.jobs(lru_cache(1)(Session))


@lru_cache(1)
def _bert(folder: str):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer, transformers.BertModel.from_pretrained(folder).eval().to(WHERE)


def embed(folder: str, sentences: list[str], compute: str) -> Work:
    """A batch of sentences: tokenize, forward, mean over the tokens, normalise."""
    if compute != "float32":
        raise NotImplementedError
    tokenizer, model = _bert(folder)

    def run() -> torch.Tensor:
        batch = tokenizer(sentences, padding=True, truncation=True, return_tensors="pt").to(WHERE)
        hidden = model(**batch).last_hidden_state  # (N, T, C)
        mask = batch["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean).cpu()

    return Work(run, units=len(sentences))


def gelu(size: int) -> Work:
    """gelu(x * y + x), exact as in PyTorch's default."""
    x, y = torch.randn(2, size, device=WHERE)
    return Work(lambda: torch.nn.functional.gelu(x * y + x), wait=WAIT)


def floor(size: int) -> Work:
    """Two vectors read and a third written that is already in memory."""
    x, y, out = torch.ones(3, size, device=WHERE)
    return Work(lambda: torch.add(x, y, out=out), wait=WAIT)


def matmul(size: int) -> Work:
    """A product."""
    lhs, rhs = torch.randn(2, size, size, device=WHERE)
    return Work(lambda: lhs @ rhs, wait=WAIT)


def chain(count: int) -> Work:
    """A chain of products, each of which needs the one before."""
    rhs = torch.eye(8, device=WHERE) * 0.99

    def run() -> torch.Tensor:
        value = rhs
        for _ in range(count):
            value = value @ rhs
        return value

    return Work(run, units=count, wait=WAIT)


API = calls.Api(
    tensor=lambda array: torch.from_numpy(array).to(WHERE),
    library=torch,
    gradients=torch.enable_grad,
)
small, idle = calls.jobs(API, WAIT)
convolutions = resnet.job(API.tensor, torch.nn.functional.conv2d, WAIT)
operator = operators.job(API.tensor, torch, wait=WAIT)
layer = layers.job(API.tensor, torch, torch.enable_grad, WHERE, wait=WAIT)
train = training.job(API, WHERE, WAIT, fused=True)
