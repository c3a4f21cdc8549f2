"""PyTorch eager, with transformers for the models."""

import os
import statistics
import time
from functools import lru_cache, partial
from pathlib import Path

import torch

from benchmarks.timing import seconds

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


@lru_cache(1)
def _llama(file: str):
    """The model of a GGUF file, from the safetensors beside it."""
    import transformers

    dtype = DTYPES.get(Path(file).stem.rpartition("-")[2])
    if dtype is None:
        raise NotImplementedError(f"only the checkpoints in {', '.join(DTYPES)}")
    return transformers.LlamaForCausalLM.from_pretrained(Path(file).parent, dtype=dtype).to(WHERE)


def decode(file: str, tokens: int) -> float:
    """Seconds a token, one at a time, with the KV cache."""
    model = _llama(file)
    state = model(torch.ones(1, 8, dtype=torch.long, device=WHERE), use_cache=True).past_key_values
    durations = []
    for position in range(tokens):
        start = time.perf_counter()
        ids = torch.tensor([[position % 250]], device=WHERE)
        model(ids, past_key_values=state, use_cache=True).logits.cpu()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def prefill(file: str, tokens: int) -> float:
    """Seconds a token of a prompt."""
    model = _llama(file)
    ids = torch.arange(tokens, device=WHERE)[None] * 7 % 250
    run = partial(model, ids, use_cache=True, logits_to_keep=1)
    return seconds(lambda: run().logits.cpu(), warm=1) / tokens


@lru_cache(1)
def _bert(folder: str):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer, transformers.BertModel.from_pretrained(folder).eval().to(WHERE)


def embed(folder: str, sentences: list[str]) -> float:
    """Seconds a sentence: tokenize, forward, mean over the tokens, normalise."""
    tokenizer, model = _bert(folder)

    def run() -> torch.Tensor:
        batch = tokenizer(sentences, padding=True, truncation=True, return_tensors="pt").to(WHERE)
        hidden = model(**batch).last_hidden_state  # (N, T, C)
        mask = batch["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean).cpu()

    return seconds(run) / len(sentences)


def gelu(size: int) -> float:
    """Seconds a call of gelu(x * y + x), exact gelu as in PyTorch's default."""
    x, y = torch.randn(2, size, device=WHERE)
    return seconds(lambda: torch.nn.functional.gelu(x * y + x), wait=WAIT)


def floor(size: int) -> float:
    """Seconds to read two vectors and write a third that is already in memory."""
    x, y, out = torch.ones(3, size, device=WHERE)
    return seconds(lambda: torch.add(x, y, out=out), wait=WAIT)


def matmul(size: int) -> float:
    """Seconds a product."""
    lhs, rhs = torch.randn(2, size, size, device=WHERE)
    return seconds(lambda: lhs @ rhs, wait=WAIT)


def chain(count: int) -> float:
    """Seconds a product of a chain in which each needs the one before."""
    rhs = torch.eye(8, device=WHERE) * 0.99

    def run() -> torch.Tensor:
        value = rhs
        for _ in range(count):
            value = value @ rhs
        return value

    return seconds(run, wait=WAIT) / count
