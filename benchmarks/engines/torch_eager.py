"""PyTorch eager, with transformers for the models."""

import os
import statistics
import time
from functools import lru_cache
from pathlib import Path

import torch

from benchmarks.timing import seconds

VERSION = torch.__version__
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.set_grad_enabled(False)


@lru_cache(1)
def _llama(folder: Path):
    import transformers

    return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def _float32_folder(file: str) -> Path:
    if not file.endswith("-f32.gguf"):
        raise NotImplementedError("only the float32 checkpoint")
    return Path(file).parent


def decode(file: str, tokens: int) -> float:
    """Seconds a token, one at a time, with the KV cache."""
    model = _llama(_float32_folder(file))
    state = model(torch.ones(1, 8, dtype=torch.long), use_cache=True).past_key_values
    durations = []
    for position in range(tokens):
        start = time.perf_counter()
        model(torch.tensor([[position % 250]]), past_key_values=state, use_cache=True)
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def prefill(file: str, tokens: int) -> float:
    """Seconds a token of a prompt."""
    model = _llama(_float32_folder(file))
    ids = torch.arange(tokens)[None] * 7 % 250
    return seconds(lambda: model(ids, use_cache=True, logits_to_keep=1), warm=1) / tokens


@lru_cache(1)
def _bert(folder: str):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer, transformers.BertModel.from_pretrained(folder).eval()


def embed(folder: str, sentences: list[str]) -> float:
    """Seconds a sentence: tokenize, forward, mean over the tokens, normalise."""
    tokenizer, model = _bert(folder)

    def run() -> torch.Tensor:
        batch = tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
        hidden = model(**batch).last_hidden_state  # (N, T, C)
        mask = batch["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean)

    return seconds(run) / len(sentences)


def gelu(size: int) -> float:
    """Seconds a call of gelu(x * y + x), exact gelu as in PyTorch's default."""
    x, y = torch.randn(size), torch.randn(size)
    return seconds(lambda: torch.nn.functional.gelu(x * y + x))


def matmul(size: int) -> float:
    """Seconds a product."""
    lhs, rhs = torch.randn(size, size), torch.randn(size, size)
    return seconds(lambda: lhs @ rhs)


def chain(count: int) -> float:
    """Seconds a product of a chain in which each needs the one before."""
    rhs = torch.eye(8) * 0.99

    def run() -> torch.Tensor:
        value = rhs
        for _ in range(count):
            value = value @ rhs
        return value

    return seconds(run) / count
