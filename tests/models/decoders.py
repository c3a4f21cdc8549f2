"""Seeded weights of small decoders, and what transformers computes with them.

`python -m tests.models.decoders` writes tests/fixtures/decoders/expected.json: for each model its
configuration, names and shapes of weights, and logits after the ids. It needs transformers and
torch; the tests that read the file do not.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.build import write_folder

FILE = Path(__file__).parent.parent / "fixtures" / "decoders" / "expected.json"
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
SMALL = {
    "vocab_size": 24,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 12, "sliding_window": 5}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 4,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.0, 1.5, 2.0, 2.5],
}
MODELS: dict[str, dict[str, Any]] = {
    "Mistral": {"sliding_window": 5},
    "Qwen2": {"rope_parameters": YARN},
    "Qwen3": {"head_dim": 12, "tie_word_embeddings": True},
    "Qwen3Moe": {
        "head_dim": 8,
        "moe_intermediate_size": 20,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
    },
    "Gemma2": {**GEMMA, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0},
    "Gemma3Text": {**GEMMA, "layer_types": ["sliding_attention", "full_attention"]},
    "Phi3": {"rope_parameters": LONG, "original_max_position_embeddings": 8},
}


def weight(name: str, shape: list[int], around: float) -> np.ndarray:
    """Values that the name draws, of norms around 1 or 0."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    center = around if name.endswith("norm.weight") else 0.0
    return (center + 0.2 * rng.standard_normal(shape)).astype(np.float32)


def write(folder: Path, record: dict[str, Any]) -> Path:
    """The checkpoint of a record as a Hugging Face folder."""
    around = 0.0 if record["config"]["model_type"].startswith("gemma") else 1.0
    weights = {name: weight(name, shape, around) for name, shape in record["weights"].items()}
    return write_folder(folder, record["config"], weights)


def record(kind: str, folder: Path) -> dict[str, Any]:
    """What transformers makes of a configuration."""
    import safetensors.numpy
    import torch
    import transformers

    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **MODELS[kind]})
    cls = getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")
    cls(config).save_pretrained(folder)
    stored = safetensors.numpy.load_file(folder / "model.safetensors")
    found = {
        "config": json.loads((folder / "config.json").read_text()),
        "weights": {name: list(array.shape) for name, array in sorted(stored.items())},
    }
    write(folder, found)
    model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        logits = model.eval()(torch.tensor([IDS])).logits[0].double().numpy()
    found["logits"] = [[round(float(x), 6) for x in row] for row in logits[[0, 6, -1]]]
    return found


def main() -> None:
    """Write the file anew."""
    import tempfile

    found = {}
    for kind in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            found[kind] = record(kind, Path(folder))
    FILE.parent.mkdir(exist_ok=True)
    lines = [f"{json.dumps(kind)}: {json.dumps(each)}" for kind, each in found.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
