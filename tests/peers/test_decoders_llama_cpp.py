"""GGUF files of decoders in llama.cpp: its logits of a text are ours, but for its roundings."""

from pathlib import Path

import numpy as np
import pytest

import numbatorch as nt
from tests.peers.sides import torch  # noqa: F401  # skips where PyTorch is absent
from tests.peers.test_decoders import GGUF_CASES, PROMPT, SMALL, Changes, params, peer, write_gguf

llama_cpp = pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python")

FLOAT32 = 0  # GGML's number of the type, for keys and values
# Of the largest logit. llama.cpp takes gelu, which Gemma has, from a table of float16.
CLOSE = {"gemma2": 1e-3, "gemma3": 1e-3}


def stated(name: str) -> tuple[str, Changes, str, Changes]:
    """A case as far as llama.cpp reads it: no windows but Gemma's, and no scale of scores."""
    kind, changes, arch, keys = GGUF_CASES[name]
    keys = {key: value for key, value in keys.items() if key != "attention.scale"}
    if arch.startswith("gemma"):
        return kind, {**changes, "query_pre_attn_scalar": 16}, arch, keys
    if arch == "qwen3moe":
        del keys["expert_weights_norm"]
        return kind, {**changes, "norm_topk_prob": True}, arch, keys
    if "sliding_window" in changes:
        keys |= {"attention.sliding_window": 0}
        return kind, {**changes, "sliding_window": None}, arch, keys
    return kind, changes, arch, keys


# It knows no biases of queries in a Qwen3, and takes long factors for all contexts from 256 on.
CASES = {
    name: (name, *stated(name))
    for name in GGUF_CASES
    if name not in ("qwen3 tied", "phi3 partial, short")
}


@pytest.mark.parametrize(
    ("name", "kind", "changes", "arch", "keys"), params(CASES, ["gemma3", "phi3 long", "qwen3 moe"])
)
def test_logits_equal_those_of_llama_cpp(
    name: str, kind: str, changes: Changes, arch: str, keys: Changes, tmp_path: Path
) -> None:
    file = write_gguf(tmp_path, peer(kind, changes, tmp_path).config, arch, keys)
    ids = np.random.default_rng(0).integers(0, SMALL["vocab_size"], PROMPT).tolist()
    theirs = llama_cpp.Llama(
        str(file),
        n_ctx=64,
        logits_all=True,
        verbose=False,
        n_threads=1,
        type_k=FLOAT32,
        type_v=FLOAT32,
        swa_full=True,
    )
    theirs.eval(ids)
    expected = np.array(theirs.scores[: len(ids)])
    found = nt.models.from_pretrained(file).logits(ids)
    assert np.abs(found - expected).max() <= CLOSE.get(name, 1e-5) * np.abs(expected).max()
