"""PyTorch eager, with transformers for the models."""

import os
from functools import lru_cache, partial
from pathlib import Path

import torch

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


@lru_cache(1)
def _llama(file: str):
    """The model of a GGUF file, from the safetensors beside it."""
    import transformers

    dtype = DTYPES.get(Path(file).stem.rpartition("-")[2])
    if dtype is None:
        raise NotImplementedError
    return transformers.LlamaForCausalLM.from_pretrained(Path(file).parent, dtype=dtype).to(WHERE)


def decode(file: str, tokens: int) -> Work:
    """A token after a short prompt, with the KV cache."""
    model = _llama(file)
    prompt, ids = torch.ones(1, 8, dtype=torch.long), torch.tensor([[5]])
    state = None

    def begin() -> None:
        nonlocal state
        state = model(prompt.to(WHERE), use_cache=True).past_key_values

    def run() -> torch.Tensor:
        return model(ids.to(WHERE), past_key_values=state, use_cache=True).logits.cpu()

    return Work(run, begin=begin, most=tokens)


def prefill(file: str, tokens: int) -> Work:
    """A prompt."""
    model = _llama(file)
    ids = torch.arange(tokens, device=WHERE)[None] * 7 % 250
    run = partial(model, ids, use_cache=True, logits_to_keep=1)
    return Work(lambda: run().logits.cpu(), units=tokens)


@lru_cache(1)
def _bert(folder: str):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer, transformers.BertModel.from_pretrained(folder).eval().to(WHERE)


def embed(folder: str, sentences: list[str]) -> Work:
    """A batch of sentences: tokenize, forward, mean over the tokens, normalise."""
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


def small(name: str) -> Work:
    """One of the calls in which little is computed."""
    work = calls.CALLS[name](API)
    work.wait = WAIT
    return work


def idle(size: int) -> Work:
    """x * y + x after a moment in which OpenMP's threads have gone to sleep."""
    return calls.idle(API, size)
