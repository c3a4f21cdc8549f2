"""What a checkpoint may get wrong: each mistake is an error that names its place."""

import json
import pickle
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.models.blocks.rotary import Rope
from numbatorch.models.config import GGUF_HARMLESS
from tests.models.build import (
    BERT,
    bert_weights,
    llama_config,
    llama_weights,
    write_folder,
    write_gguf,
)

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


def fails(source: Path, *parts: str) -> None:
    """Loading is a FormatError that says all of the parts."""
    with pytest.raises(nt.FormatError) as caught:
        nt.models.from_pretrained(source)
    for part in parts:
        assert part in str(caught.value)


def without(weights: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {key: value for key, value in weights.items() if key != name}


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    """The seed gives what it gives without a model in between; later layers draw again."""
    config = llama_config()
    folder = write_folder(tmp_path, config, llama_weights(config))
    nt.manual_seed(3)
    expected = nt.rand(4).numpy()
    nt.manual_seed(3)
    nt.models.from_pretrained(folder)
    assert np.array_equal(nt.rand(4).numpy(), expected)
    assert nt.nn.Linear(4, 4).weight.detach().numpy().any()


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    weights = without(llama_weights(llama_config()), Q_PROJ)
    folder = write_folder(tmp_path, llama_config(), weights)
    fails(folder, f"tensor {Q_PROJ} (64, 64) is missing", str(folder / "model.safetensors"))


def test_a_tensor_without_a_place_is_named(tmp_path: Path) -> None:
    weights = {**llama_weights(llama_config()), "model.extra.weight": np.ones(3, np.float32)}
    folder = write_folder(tmp_path, llama_config(), weights)
    fails(folder, "tensor model.extra.weight (3,) has no place in the model")


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    weights = {**llama_weights(llama_config()), Q_PROJ: np.ones((64, 32), np.float32)}
    folder = write_folder(tmp_path, llama_config(), weights)
    fails(folder, f"tensor {Q_PROJ} is (64, 32), the configuration says (64, 64)")


def test_a_tensor_of_integers_is_named(tmp_path: Path) -> None:
    weights = {**llama_weights(llama_config()), Q_PROJ: np.ones((64, 64), np.int32)}
    folder = write_folder(tmp_path, llama_config(), weights)
    fails(folder, f"tensor {Q_PROJ} has type int32")


def test_many_mistakes_are_counted(tmp_path: Path) -> None:
    config = llama_config(intermediate_size=100)
    folder = write_folder(tmp_path, config, llama_weights(llama_config(num_hidden_layers=4)))
    fails(folder, "model.layers.0.mlp.gate_proj.weight", "more")


def test_bert_mistakes_are_named(tmp_path: Path) -> None:
    name = "encoder.layer.1.output.dense.bias"
    folder = write_folder(tmp_path, BERT, without(bert_weights(BERT), name))
    fails(folder, f"tensor {name} (48,) is missing")


def test_gguf_mistakes_are_named_as_in_the_file(tmp_path: Path) -> None:
    weights = without(llama_weights(llama_config()), Q_PROJ)
    file = write_gguf(tmp_path / "m.gguf", llama_config(), weights)
    fails(file, "tensor blk.1.attn_q.weight (64, 64) is missing", str(file))
    extra = {"blk.0.attn_q_norm.weight": np.ones(16, np.float32)}
    weights = llama_weights(llama_config())
    file = write_gguf(tmp_path / "n.gguf", llama_config(), weights, extra=extra)
    fails(file, "tensor blk.0.attn_q_norm.weight (16,) has no place")


def test_gguf_rope_factors_of_another_length_are_an_error(tmp_path: Path) -> None:
    extra = {"rope_freqs.weight": np.ones(4, np.float32)}
    weights = llama_weights(llama_config())
    file = write_gguf(tmp_path / "m.gguf", llama_config(), weights, extra=extra)
    fails(file, "rope_freqs.weight", "(4,)", "(8,)")


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_rope_factors_divide(wrong: float, tmp_path: Path) -> None:
    factors = np.array([1, 1, 1, 1, 1, 1, 1, wrong], np.float32)
    weights, extra = llama_weights(llama_config()), {"rope_freqs.weight": factors}
    file = write_gguf(tmp_path / "m.gguf", llama_config(), weights, extra=extra)
    fails(file, "rope_freqs.weight", f"a factor is {wrong}")


def test_a_tied_head_may_be_stored_twice_if_it_is_the_same(tmp_path: Path) -> None:
    config = llama_config(tie_word_embeddings=True)
    weights = llama_weights(config)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    nt.models.from_pretrained(write_folder(tmp_path / "same", config, weights))
    weights["lm_head.weight"] = weights["lm_head.weight"] + 1
    fails(
        write_folder(tmp_path / "other", config, weights), "lm_head.weight", "tie_word_embeddings"
    )


def test_old_checkpoints_may_hold_inverse_frequencies(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    weights = {**llama_weights(llama_config()), name: (10000.0 ** -(np.arange(8) / 8)).astype("f4")}
    nt.models.from_pretrained(write_folder(tmp_path / "same", llama_config(), weights))
    weights[name] = weights[name] * 2
    fails(write_folder(tmp_path / "other", llama_config(), weights), name)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "64"}, "hidden_size is '64', not a positive integer"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_attention_heads": 128}, "head_dim is missing"),
        ({"num_key_value_heads": 3}, "4 query heads do not share 3 key/value heads"),
        ({"head_dim": 15}, "the head size 15 is odd"),
        ({"hidden_act": "relu"}, "supported: silu"),
        ({"rms_norm_eps": None}, None),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps is inf"),
        ({"rope_theta": 10**400}, "rope_theta is 1000"),
        ({"attention_bias": "no"}, "attention_bias is 'no'"),
        ({"rope_scaling": {"type": "ntk", "factor": 4.0}}, "supported: default, linear, dynamic"),
        ({"rope_scaling": {"type": "longrope"}}, "short_factor is missing"),
        (
            {"rope_scaling": {"type": "longrope", "short_factor": [1.0, 0], "long_factor": [1.0]}},
            "short_factor is [1.0, 0], not a list of positive numbers",
        ),
        ({"rope_scaling": {"type": "linear"}}, "factor is missing"),
        ({"rope_parameters": 3}, "rope_parameters is 3, not an object"),
        ({"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}}, "low_freq_factor is 4.0"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"attention_bias": True}, "self_attn.q_proj.bias (64,) is missing"),
    ],
    ids=lambda value: json.dumps(value, default=str)[:40],
)
def test_configuration(changes: dict[str, Any], part: str | None, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, llama_config(**changes), llama_weights(llama_config()))
    if part is None:
        nt.models.from_pretrained(folder)
    else:
        fails(folder, part)


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"llama.context_length": None}, "llama.context_length is missing"),
        ({"llama.attention.head_count_kv": [2, 2]}, "llama.attention.head_count_kv is"),
        ({"llama.expert_count": 8}, "llama.expert_count is 8"),
        ({"llama.rope.dimension_count": 8}, "llama.rope.dimension_count is 8"),
        ({"llama.rope.scaling.type": "ntk"}, "llama.rope.scaling.type is 'ntk'"),
        (
            {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.yarn_ext_factor": 0.5},
            "llama.rope.scaling.yarn_ext_factor is 0.5",
        ),
        (
            {"llama.attention.sliding_window": 4, "llama.attention.sliding_window_pattern": [True]},
            "sliding_window_pattern has 1 of 2 layers",
        ),
        ({"llama.attention.head_count": 128}, "llama.attention.key_length is missing"),
        ({"llama.attention.value_length": 8}, "llama.attention.value_length is 8"),
        ({"llama.attention.causal": False}, "llama.attention.causal is False"),
        ({"llama.attention.scale": 0.5}, "llama.attention.scale is 0.5"),
        ({"llama.expert_count": [1, 2]}, "llama.expert_count is array"),
        (
            {"llama.vocab_size": 90},
            "token_embd.weight is (80, 64), the configuration says (90, 64)",
        ),
        ({"llama.rope.scaling.factor": 0.0}, "llama.rope.scaling.factor is 0.0"),
        (
            {"llama.rope.scaling.factor": 2.0, "llama.rope.scale_linear": 4.0},
            "llama.rope.scale_linear is 4.0",
        ),
    ],
    ids=str,
)
def test_gguf_metadata(keys: dict[str, Any], part: str, tmp_path: Path) -> None:
    weights = llama_weights(llama_config())
    fails(write_gguf(tmp_path / "m.gguf", llama_config(), weights, keys), part)


def test_a_key_that_nothing_reads_is_an_error(tmp_path: Path) -> None:
    for config, weights in (
        (llama_config(logits_scaling=8.0, use_cache=True), llama_weights(llama_config())),
        (BERT | {"logits_scaling": 8.0, "mask_token": None}, bert_weights(BERT)),
    ):
        folder = write_folder(tmp_path / config["model_type"], config, weights)
        fails(folder, "config.json\n  logits_scaling is 8.0")
    for kind in ({"rope_type": "linear", "factor": 2.0}, {"rope_type": "default"}):
        config = llama_config(rope_parameters={**kind, "attention_factor": 0.5})
        folder = write_folder(tmp_path / kind["rope_type"], config, llama_weights(config))
        fails(folder, "rope_parameters\n  attention_factor is 0.5")
    keys = {"llama.logit_scale": 8.0, "llama.vocab_size": 80}
    file = write_gguf(tmp_path / "m.gguf", llama_config(), llama_weights(llama_config()), keys)
    fails(file, "m.gguf\n  llama.logit_scale is 8.0")


FIXED: list[tuple[str, str, Any]] = [
    ("llama", "is_causal", False),
    ("llama", "add_cross_attention", True),
    ("llama", "is_encoder_decoder", True),
    ("llama", "pruned_heads", {"0": [1]}),
    ("llama", "sliding_window", 4),
    ("llama", "layer_types", ["sliding_attention"] * 2),
    ("llama", "per_layer_config", {"0": {"rms_norm_eps": 1.0}}),
    ("bert", "is_causal", True),
    ("bert", "is_decoder", True),
    ("bert", "add_cross_attention", True),
    ("bert", "directionality", "uni"),
    ("bert", "pruned_heads", {"0": [1]}),
]


@pytest.mark.parametrize(("model", "key", "value"), FIXED, ids=str)
def test_a_key_that_asks_for_what_is_not_here(
    model: str, key: str, value: Any, tmp_path: Path
) -> None:
    llama = model == "llama"
    config = llama_config() if llama else BERT
    weights = llama_weights(config) if llama else bert_weights(config)
    fails(write_folder(tmp_path, {**config, key: value}, weights), f"{key} is {value!r}"[:60])


def test_two_names_of_a_rotary_scaling_have_to_agree(tmp_path: Path) -> None:
    scaling = {"rope_type": "linear", "type": "llama3", "factor": 2.0}
    config = llama_config(rope_scaling=scaling)
    fails(write_folder(tmp_path / "a", config, llama_weights(config)), "type is 'llama3'")
    config = llama_config(rope_scaling={"type": "linear", "factor": 2.0}, rope_parameters={})
    fails(write_folder(tmp_path / "b", config, llama_weights(config)), "rope_scaling is {")


@pytest.mark.parametrize("theta", ["1e400", "-1.0", "0", "NaN", "1" + "0" * 500])
def test_wavelengths_are_finite(theta: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, llama_config(), llama_weights(llama_config()))
    text = json.dumps(llama_config()).replace("10000.0", theta)
    (folder / "config.json").write_text(text)
    fails(folder, "theta is ")
    with pytest.raises(nt.FormatError, match="the angle of a position is not finite"):
        Rope(1024, theta=1e-320)


@pytest.mark.parametrize("kind", ["bert", "mistral", 3])
def test_a_model_type_that_contradicts_is_named(kind: Any, tmp_path: Path) -> None:
    config = llama_config(model_type=kind)
    folder = write_folder(tmp_path, config, llama_weights(config))
    fails(folder, f"architectures is LlamaForCausalLM, but model_type is {kind}")


@pytest.mark.parametrize("layers", [3, 2**16])
def test_layers_that_the_file_lacks_are_counted_before_a_model_is_built(
    layers: int, tmp_path: Path
) -> None:
    wrong = {"num_hidden_layers": layers}
    part = f"the configuration says {layers} layers, the file has 2"
    weights = llama_weights(llama_config())
    fails(write_folder(tmp_path / "llama", llama_config(**wrong), weights), part, "model.layers.N")
    fails(
        write_folder(tmp_path / "bert", BERT | wrong, bert_weights(BERT)), part, "encoder.layer.N"
    )
    fails(write_gguf(tmp_path / "m.gguf", llama_config(**wrong), weights), part, "blk.N")


@pytest.mark.parametrize(
    "key", ["hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings"]
)
def test_sizes_that_the_file_lacks_take_no_memory(key: str, tmp_path: Path) -> None:
    size = 2**30
    llama, bert = llama_config(**{key: size}), {**BERT, key: size}
    if key == "hidden_size":
        llama["head_dim"] = 16
        bert["num_attention_heads"] = 2
    if key != "max_position_embeddings":
        folder = write_folder(tmp_path / "llama", llama, llama_weights(llama_config()))
        fails(folder, "weights and configuration disagree")
    folder = write_folder(tmp_path / "bert", bert, bert_weights(BERT))
    fails(folder, "weights and configuration disagree")


def test_a_part_of_a_gguf_model_is_named(tmp_path: Path) -> None:
    weights = llama_weights(llama_config())
    keys: dict[str, Any] = {"split.no": 1, "split.count": 3, "split.tensors.count": 21}
    file = write_gguf(tmp_path / "m-00002-of-00003.gguf", llama_config(), weights, keys)
    fails(file, "part 2 of 3", "m-00002-of-00003.gguf", "given by part 1")
    file = write_gguf(tmp_path / "one.gguf", llama_config(), weights, {"split.count": 1})
    nt.models.from_pretrained(file)


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8"])
def test_a_folder_of_another_quantization_is_refused_by_name(method: str, tmp_path: Path) -> None:
    config = {**llama_config(), "quantization_config": {"quant_method": method, "bits": 4}}
    folder = write_folder(tmp_path / "llama", config, llama_weights(llama_config()))
    fails(folder, f"weights are quantized by {method}")


@pytest.mark.parametrize("kind", ["adapter", "mmproj", "imatrix"])
def test_a_gguf_file_that_is_no_model_is_named(kind: str, tmp_path: Path) -> None:
    weights = llama_weights(llama_config())
    file = write_gguf(tmp_path / "m.gguf", llama_config(), weights, {"general.type": kind})
    fails(file, f"general.type is {kind}")


METADATA = sorted(
    value.format(arch="llama", dense="dense")
    for group in (gguf.Keys.LLM, gguf.Keys.Attention, gguf.Keys.Rope, gguf.Keys.SSM)
    for value in vars(group).values()
    if isinstance(value, str) and value.startswith("{arch}.")
)


SIZES = {  # which errors name by what follows from them
    f"llama.{name}"
    for name in (
        *("attention.head_count", "attention.head_count_kv", "attention.key_length"),
        *("block_count", "embedding_length", "feed_forward_length", "vocab_size"),
    )
}


@pytest.mark.parametrize("key", METADATA)
def test_a_key_of_metadata_is_refused_or_changes_the_logits(key: str, tmp_path: Path) -> None:
    """Or is known to change nothing. What it has to change, llama.cpp says in tests/peers."""
    config, ids = llama_config(), [3, 1, 4, 1, 5]
    weights = llama_weights(config)
    plain = nt.models.from_pretrained(write_gguf(tmp_path / "plain.gguf", config, weights))
    expected = plain.logits(ids)
    file = write_gguf(tmp_path / "m.gguf", config, weights, {key: 3})
    try:
        found = nt.models.from_pretrained(file).logits(ids)
    except nt.FormatError as error:
        assert key in str(error) or key in SIZES
    except nt.OutOfRange:
        assert key == "llama.context_length"
    else:
        harmless = key.removeprefix("llama.") in GGUF_HARMLESS
        assert harmless == np.array_equal(found, expected)


def test_an_unknown_architecture_lists_the_known(tmp_path: Path) -> None:
    config = llama_config(architectures=["GPT2LMHeadModel"], model_type="gpt2")
    fails(write_folder(tmp_path, config, {}), "GPT2LMHeadModel", "LlamaForCausalLM", "BertModel")
    file = write_gguf(tmp_path / "m.gguf", llama_config(), {}, architecture="gpt2")
    fails(file, "general.architecture is gpt2", "known: gemma2, gemma3, llama")


def test_model_type_serves_without_architectures(tmp_path: Path) -> None:
    config = llama_config(architectures=None)
    folder = write_folder(tmp_path, config, llama_weights(config))
    assert isinstance(nt.models.from_pretrained(folder), nt.models.Llama)


def test_a_folder_without_or_with_a_broken_configuration(tmp_path: Path) -> None:
    fails(tmp_path, "no config.json", str(tmp_path))
    (tmp_path / "config.json").write_text("[1]")
    fails(tmp_path, "not a JSON object")
    (tmp_path / "config.json").write_text("{")
    fails(tmp_path, "not JSON")
    (tmp_path / "config.json").write_text(json.dumps(llama_config()))
    fails(tmp_path, "no safetensors weights")


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        nt.models.from_pretrained("./not-there")


def test_every_prefix_of_a_small_gguf_model_is_an_error(tmp_path: Path) -> None:
    config = llama_config(num_hidden_layers=1, vocab_size=8, intermediate_size=8, hidden_size=8)
    file = write_gguf(tmp_path / "m.gguf", config, llama_weights(config))
    data = file.read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in [*range(0, 2000, 61), len(data) - 1]:
        cut.write_bytes(data[:size])
        fails(cut)


def test_code_beside_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    """Neither Python files that a configuration names, nor pickles."""
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    named = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "modeling_llama.Llama")
    config = llama_config(auto_map=named)
    folder = write_folder(tmp_path / "model", config, llama_weights(config))
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    for name in ("modeling_llama", "configuration_llama", "__init__"):
        (folder / f"{name}.py").write_text(code)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    nt.models.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    fails(folder, "pytorch_model.bin, a pickle")
    assert not marker.exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())
    assert marker.exists()  # it would have been seen
