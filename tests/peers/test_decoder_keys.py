"""Keys of decoders' config.json: what is not refused computes what transformers computes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.peers.sides import torch
from tests.peers.test_decoders import CASES, CLOSE, SMALL, Changes, peer, transformers
from tests.peers.test_keys import MORE, changed

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5]
MORE_OF_DECODERS = {
    **MORE,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 2.0,
    "decoder_sparse_step": 2,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "mlp_only_layers": [1],
    "norm_topk_prob": True,
    "num_experts": 3,
    "num_experts_per_tok": 1,
    "original_max_position_embeddings": 5,
    "query_pre_attn_scalar": 9,
    "rope_local_base_freq": 100.0,
    "sliding_window_pattern": 2,
    "use_bidirectional_attention": True,
}
KINDS = ["qwen2", "qwen3", "qwen3 moe", "gemma2", "gemma3", "phi3", "phi3 long"]


def theirs(kind: str, folder: Path) -> np.ndarray | None:
    """What transformers computes from a folder; None where it refuses or fails."""
    cls = getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")
    try:
        model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            out: np.ndarray = model.eval()(torch.tensor([IDS]))[0][0].numpy()
    except Exception:
        return None
    return out


def ours(folder: Path) -> np.ndarray | None:
    try:
        found: np.ndarray = nt.models.from_pretrained(folder).logits(IDS)
    except (nt.FormatError, nt.OutOfRange):
        return None
    return found


def outcomes(kind: str, changes: Changes, folder: Path) -> dict[str, bool]:
    """Keys of a configuration to whether they were refused, or meant the same."""
    peer(kind, changes, folder)
    path = folder / "config.json"
    written: dict[str, Any] = json.loads(path.read_text())
    found = {}
    for key in sorted({*written, *MORE_OF_DECODERS} - {"architectures", "model_type"}):
        value = MORE_OF_DECODERS.get(key, changed(written.get(key)))
        path.write_text(json.dumps({**written, key: value}))
        mine = ours(folder)
        wanted = None if mine is None else theirs(kind, folder)
        found[key] = (
            mine is None
            or wanted is None
            or bool(np.abs(mine - wanted).max() <= CLOSE * np.abs(wanted).max())
        )
    path.write_text(json.dumps(written))
    assert ours(folder) is not None
    return found


@pytest.mark.parametrize(
    "name", ["mistral window", *(pytest.param(name, marks=pytest.mark.slow) for name in KINDS)]
)
def test_a_key_is_refused_or_means_what_it_does_in_transformers(name: str, tmp_path: Path) -> None:
    kind, changes = CASES[name]
    small = {**changes, "num_hidden_layers": SMALL["num_hidden_layers"]}
    found = outcomes(kind, small, tmp_path)
    assert [key for key, same in found.items() if not same] == []
