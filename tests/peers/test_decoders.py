"""Decoders of random weights beside transformers: prompts, and greedy steps through the cache."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import safetensors.numpy

import numbatorch as nt
from numbatorch.generation.decoder import Decoder
from numbatorch.models.registry import find
from tests.peers.sides import torch

transformers = pytest.importorskip("transformers", reason="pip install transformers")

SMALL = {
    "vocab_size": 80,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
Changes = dict[str, Any]
CASES: dict[str, tuple[str, Changes]] = {
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral window": ("Mistral", {"sliding_window": 5, "head_dim": 24}),
    "mistral tied": ("Mistral", {"sliding_window": 100, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {}),
    "qwen2 tied, one group": ("Qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    "qwen2 window": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    ),
    "qwen2 yarn": ("Qwen2", {"rope_parameters": YARN}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen3 tied": ("Qwen3", {"head_dim": 24, "tie_word_embeddings": True, "attention_bias": True}),
    "qwen3 window": (
        "Qwen3",
        {
            "head_dim": 16,
            "use_sliding_window": True,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "qwen3 yarn": ("Qwen3", {"head_dim": 16, "rope_parameters": {**YARN, "beta_fast": 8.0}}),
    "llama yarn, mscale": (
        "Llama",
        {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.2, "truncate": False}},
    ),
    "llama linear": ("Llama", {"rope_parameters": LINEAR}),
    "llama llama3": ("Llama", {"rope_parameters": LLAMA3}),
}
GEMMA = {
    "head_dim": 16,
    "query_pre_attn_scalar": 24,
    "sliding_window": 6,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    "long_factor": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5],
}
CASES |= {
    "gemma2": ("Gemma2", GEMMA),
    "gemma2 untied, capped": (
        "Gemma2",
        {
            **GEMMA,
            "tie_word_embeddings": False,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
            "attention_bias": True,
        },
    ),
    "gemma2 without caps": (
        "Gemma2",
        {**GEMMA, "attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
    "gemma3": ("Gemma3Text", {**GEMMA, "num_hidden_layers": 7}),
    "gemma3 linear, capped": (
        "Gemma3Text",
        {
            **GEMMA,
            "final_logit_softcapping": 3.0,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 5e4, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
            },
        },
    ),
    "phi3": ("Phi3", {}),
    "phi3 window, one group": ("Phi3", {"sliding_window": 7, "num_key_value_heads": 1}),
    "phi3 partial, short": (
        "Phi3",
        {
            "hidden_size": 96,
            "rope_parameters": {**LONG, "partial_rotary_factor": 0.7},
            "original_max_position_embeddings": 48,
        },
    ),
    "phi3 long": (
        "Phi3",
        {"rope_parameters": LONG, "original_max_position_embeddings": 16},
    ),
    "phi3 short, then long": (
        "Phi3",
        {"rope_parameters": LONG, "original_max_position_embeddings": 24},
    ),
    "llama dynamic": (
        "Llama",
        {
            "max_position_embeddings": 24,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        },
    ),
    "llama dynamic, long prompt": (
        "Llama",
        {
            "max_position_embeddings": 16,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        },
    ),
}
EXPERTS = {
    "head_dim": 16,
    "moe_intermediate_size": 40,
    "num_experts": 6,
    "num_experts_per_tok": 3,
}
CASES |= {
    "qwen3 moe": ("Qwen3Moe", EXPERTS),
    "qwen3 moe normalized, some layers dense": (
        "Qwen3Moe",
        {**EXPERTS, "norm_topk_prob": True, "mlp_only_layers": [1]},
    ),
    "qwen3 moe window": (
        "Qwen3Moe",
        {
            **EXPERTS,
            "decoder_sparse_step": 2,
            "use_sliding_window": True,
            "sliding_window": 5,
            "tie_word_embeddings": True,
        },
    ),
}
SHOWN = [
    *("mistral window", "qwen2 yarn", "qwen3 window", "gemma2 untied, capped", "gemma3"),
    *(
        "phi3 partial, short",
        "phi3 short, then long",
        "llama dynamic",
        "qwen3 moe normalized, some layers dense",
    ),
]
SHOWN_GGUF = ["mistral window", "qwen3 tied", "gemma3", "phi3 long", "qwen3 moe"]
PROMPT, STEPS = 21, 8
CLOSE = 1e-4  # of the largest logit: float32 in another order


def params(cases: dict[str, Any], shown: list[str]) -> list[Any]:
    """Those that are always run, and the others as slow ones."""
    assert not set(shown) - set(cases)
    marks = {name: [] if name in shown else [pytest.mark.slow] for name in cases}
    return [pytest.param(*case, id=name, marks=marks[name]) for name, case in cases.items()]


def peer(kind: str, changes: Changes, folder: Path) -> Any:
    """A model of transformers with random weights, saved to a folder."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **changes})
    config._attn_implementation = "eager"
    suffix = "ForCausalLM"
    model = getattr(transformers, kind.removesuffix("Text") + suffix)(config).eval()
    for name, parameter in model.named_parameters():
        around = 1.0 if name.endswith("norm.weight") and not kind.startswith("Gemma") else 0.0
        torch.nn.init.normal_(parameter, around, 0.2)
    model.save_pretrained(folder)
    return model


def greedy(model: Any, ids: list[int], steps: int) -> tuple[list[int], list[np.ndarray]]:
    """Ids that transformers goes on with through its cache, and the logits of each step."""
    out = model.generate(
        torch.tensor([ids]),
        max_new_tokens=steps,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return out.sequences[0, len(ids) :].tolist(), [x[0].numpy() for x in out.logits]


def assert_near(actual: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(actual - expected).max() / np.abs(expected).max()
    assert difference <= CLOSE, difference


def assert_same(ours: Any, theirs: Any, prompt: int = PROMPT, steps: int = STEPS) -> None:
    """Logits of a prompt, those of it in chunks, and of greedy steps."""
    ids = np.random.default_rng(0).integers(0, SMALL["vocab_size"], prompt).tolist()
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0].numpy()
    assert_near(ours.logits(ids), expected)
    tokens, logits = greedy(theirs, ids, steps)
    decoder = Decoder(ours)
    fed = ids
    for token, wanted in zip(tokens, logits, strict=True):
        found = decoder.feed(fed)
        assert_near(found, wanted)
        assert int(found.argmax()) == token
        fed = [token]


@pytest.mark.parametrize(("kind", "changes"), params(CASES, SHOWN))
def test_a_folder_that_transformers_saved(kind: str, changes: Changes, tmp_path: Path) -> None:
    theirs = peer(kind, changes, tmp_path)
    assert_same(nt.models.from_pretrained(tmp_path), theirs)


# Which architecture of GGUF's a model is, and what the file says beside the usual sizes.
GGUF_CASES: dict[str, tuple[str, Changes, str, Changes]] = {
    "mistral window": (
        *CASES["mistral window"],
        "llama",
        {"attention.sliding_window": 5, "attention.key_length": 24, "attention.value_length": 24},
    ),
    "mistral tied": (*CASES["mistral tied"], "llama", {}),
    "qwen2": (*CASES["qwen2"], "qwen2", {}),
    "qwen2 tied, one group": (*CASES["qwen2 tied, one group"], "qwen2", {}),
    "qwen2 yarn": (
        *CASES["qwen2 yarn"],
        "qwen2",
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 16,
        },
    ),
    "qwen3": (*CASES["qwen3"], "qwen3", {}),
    "qwen3 tied": (
        *CASES["qwen3 tied"],
        "qwen3",
        {"attention.key_length": 24, "attention.value_length": 24},
    ),
    "qwen3 yarn": (
        *CASES["qwen3 yarn"],
        "qwen3",
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 16,
            "rope.scaling.yarn_beta_fast": 8.0,
        },
    ),
    "gemma2": (
        *CASES["gemma2"],
        "gemma2",
        {
            "attention.key_length": 16,
            "attention.value_length": 16,
            "attention.sliding_window": 6,
            "attention.scale": 24**-0.5,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
    ),
    "gemma3": (
        *CASES["gemma3"],
        "gemma3",
        {
            "attention.key_length": 16,
            "attention.value_length": 16,
            "attention.sliding_window": 6,
            "attention.scale": 24**-0.5,
            "rope.freq_base": 1e6,
        },
    ),
    "qwen3 moe": (
        *CASES["qwen3 moe"],
        "qwen3moe",
        {
            "expert_count": 6,
            "expert_used_count": 3,
            "expert_feed_forward_length": 40,
            "expert_weights_norm": False,
        },
    ),
    "phi3 window, one group": (
        *CASES["phi3 window, one group"],
        "phi3",
        {"attention.sliding_window": 7},
    ),
    "phi3 partial, short": (
        *CASES["phi3 partial, short"],
        "phi3",
        {
            "rope.dimension_count": 16,
            "rope.scaling.original_context_length": 48,
            "rope.scaling.attn_factor": math.sqrt(1 + math.log(64 / 48) / math.log(48)),
        },
    ),
    "phi3 long": (
        *CASES["phi3 long"],
        "phi3",
        {
            "rope.scaling.original_context_length": 16,
            "rope.scaling.type": "longrope",
            "rope.scaling.attn_factor": math.sqrt(1 + math.log(4) / math.log(16)),
        },
    ),
    "llama linear": (
        *CASES["llama linear"],
        "llama",
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    ),
}


def add(writer: gguf.GGUFWriter, keys: dict[str, Any]) -> None:
    """Write keys under the writer's architecture."""
    kinds = {float: writer.add_float32, str: writer.add_string, bool: writer.add_bool}
    for key, value in keys.items():
        kinds.get(type(value), writer.add_uint32)(f"{writer.arch}.{key}", value)


def stacked(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of experts as one tensor for all of them."""
    found, experts = {}, defaultdict(list)
    for name, array in weights.items():
        before, between, after = name.partition(".experts.")
        number, _, part = after.partition(".")
        if between:
            experts[f"{before}{between}{part}"].append((int(number), array))
        else:
            found[name] = array
    stacks = {name: np.stack([x for _, x in sorted(each, key=lambda pair: pair[0])])
              for name, each in experts.items()}  # fmt: skip
    return {**found, **stacks}


def write_gguf(
    folder: Path, config: Any, kind: str, keys: Changes, packed: str = "no name has this"
) -> Path:
    """The weights of a folder as a GGUF file, by the names that the gguf package has for them.

    Those that have `packed` in their names are stored in Q8_0.
    """
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(str(path), kind)
    usual = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": 10000.0,
    }
    writer.add_string("tokenizer.ggml.model", "no_vocab")
    add(writer, {**usual, **keys, "vocab_size": config.vocab_size})
    number = {name: value for value, name in gguf.MODEL_ARCH_NAMES.items()}[kind]
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    for name, array in stacked(safetensors.numpy.load_file(folder / "model.safetensors")).items():
        for part, heads in (("q_proj", config.num_attention_heads),
                            ("k_proj", config.num_key_value_heads)):  # fmt: skip
            if kind == "llama" and f"{part}." in name:
                pairs = array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2)
                array = np.ascontiguousarray(pairs).reshape(array.shape)
        if kind.startswith("gemma") and name.endswith("norm.weight"):
            array = array + 1
        stored, raw = names.get_name(name, (".weight", ".bias")), None
        if packed in stored:
            raw = gguf.GGMLQuantizationType.Q8_0
            array = gguf.quantize(array, raw)
        writer.add_tensor(stored, array, raw_dtype=raw)
    for word in ("long", "short"):
        factors = config.rope_parameters.get(f"{word}_factor")
        if factors:
            writer.add_tensor(f"rope_factors_{word}.weight", np.array(factors, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(("kind", "changes", "arch", "keys"), params(GGUF_CASES, SHOWN_GGUF))
def test_a_gguf_file_of_the_same_weights(
    kind: str, changes: Changes, arch: str, keys: Changes, tmp_path: Path
) -> None:
    theirs = peer(kind, changes, tmp_path)
    file = write_gguf(tmp_path, theirs.config, arch, keys)
    ids = np.random.default_rng(0).integers(0, SMALL["vocab_size"], PROMPT).tolist()
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0].numpy()
    assert_near(nt.models.from_pretrained(file).logits(ids), expected)


@pytest.mark.parametrize(
    "arch", ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "qwen3moe"]
)
def test_names_of_weights_are_those_of_the_gguf_package(arch: str) -> None:
    names = find("gguf", arch).names
    number = {name: value for value, name in gguf.MODEL_ARCH_NAMES.items()}[arch]
    peers = gguf.get_tensor_name_map(number, 1)
    for part, wanted in names.parts.items():
        assert peers.get_name(f"model.layers.0.{part}") in (f"blk.0.{wanted}", None)
    for part, wanted in names.whole.items():
        assert peers.get_name(part) in (wanted, None)  # a head that is always tied has no name


def test_experts_of_a_gguf_file_stay_packed(tmp_path: Path) -> None:
    kind, changes, arch, keys = GGUF_CASES["qwen3 moe"]
    theirs = peer(kind, {**changes, "moe_intermediate_size": 64}, tmp_path)
    keys = {**keys, "expert_feed_forward_length": 64}
    file = write_gguf(tmp_path, theirs.config, arch, keys, "exps")
    ours, exact = (
        nt.models.from_pretrained(file),
        nt.models.from_pretrained(file, compute="float32"),
    )
    kinds = {name: each.dtype.name for name, each in ours.named_parameters() if "experts" in name}
    assert set(kinds.values()) == {"Q8_0"} and len(kinds) == 3 * SMALL["num_hidden_layers"]
    ids = np.random.default_rng(0).integers(0, SMALL["vocab_size"], PROMPT).tolist()
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0].numpy()
    # Weights of 8 bits; where rows are rounded too, a router that is near a tie chooses otherwise.
    near = 0.05 * np.abs(expected).max()
    assert np.abs(exact.logits(ids) - expected).max() <= near
    rows = np.abs(ours.logits(ids) - expected).max(axis=1)
    assert np.median(rows) <= near and (rows > near).sum() <= 1
