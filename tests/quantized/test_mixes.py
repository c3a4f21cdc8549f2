"""Mixes give every tensor the type that llama.cpp's files have, and know their numbers."""

import gguf
import pytest

from numbatorch import dtype
from numbatorch.errors import DTypeError, FormatError
from numbatorch.io.gguf import GGUFFile
from numbatorch.quantized.mixes import MIXES, fitting, mix_named, type_named, types_in, types_of

FILES = "q2_k q3_k_m q4_1 q4_k_m q5_0 q5_1 q5_k_m q6_k q8_0 iq4_nl iq4_xs f16 bf16".split()


@pytest.mark.parametrize("name", FILES)
def test_types_are_those_of_llama_cpps_file(name, shared_fixtures):
    folder = shared_fixtures / "pydoc-llama"
    peer = GGUFFile(folder / f"pydoc-llama-{name}.gguf")
    mix = mix_named(name)
    found = types_in(GGUFFile(folder / "pydoc-llama-f16.gguf"), mix)
    expected = {key: info.dtype for key, info in peer.tensors.items()}
    assert found == {key: expected[key] for key in found}
    assert len(found) == len(expected)
    assert peer.metadata["general.file_type"] == MIXES[mix][0]


def test_numbers_are_those_of_the_gguf_package():
    theirs = {
        kind.name.removeprefix("MOSTLY_").removeprefix("ALL_"): kind.value
        for kind in gguf.LlamaFileType
    }
    theirs["MXFP4"] = theirs.get("MXFP4_MOE", 38)
    for name, (number, _) in MIXES.items():
        assert theirs[name] == number


def layers(count, shape=(256, 256), extra=()):
    names = [
        f"blk.{layer}.{part}.weight"
        for layer in range(count)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_down", "ffn_up", *extra)
    ]
    return dict.fromkeys(names, (dtype.float16, shape))


def facts(**values):
    known = {"block_count": 16, "attention.head_count": 8, "attention.head_count_kv": 8}
    known.update({key.replace("__", "."): value for key, value in values.items()})
    return {"general.architecture": "llama"} | {f"llama.{k}": v for k, v in known.items()}


def test_layers_that_get_more_bits_are_the_ends_and_every_third():
    found = types_of(layers(16), facts(), "Q4_K_M")
    more = [n for n in range(16) if found[f"blk.{n}.ffn_down.weight"] is dtype.Q6_K]
    assert more == [0, 1, 4, 7, 10, 13, 14, 15]
    assert found["blk.2.ffn_up.weight"] is dtype.Q4_K
    small = types_of(layers(16), facts(), "Q4_K_S")
    assert [small[f"blk.{n}.attn_v.weight"].name for n in (3, 4)] == ["Q5_K", "Q4_K"]
    assert [small[f"blk.{n}.ffn_down.weight"].name for n in (1, 2)] == ["Q5_K", "Q4_K"]


def test_eight_experts_and_shared_heads_get_more_bits():
    eight = types_of(layers(16), facts(expert_count=8), "Q4_K_M")
    assert eight["blk.5.attn_k.weight"] is eight["blk.5.attn_v.weight"] is dtype.Q8_0
    assert eight["blk.5.attn_output.weight"] is dtype.Q5_K
    shared = types_of(layers(16), facts(attention__head_count_kv=2), "IQ4_XS")
    assert shared["blk.5.attn_v.weight"] is dtype.Q5_K
    assert types_of(layers(16), facts(), "IQ4_XS")["blk.5.attn_v.weight"] is dtype.IQ4_XS
    large = types_of(layers(80), facts(block_count=80, attention__head_count_kv=1), "Q4_K_M")
    assert large["blk.11.attn_v.weight"] is dtype.Q5_K


def test_an_importance_matrix_changes_the_first_layers_of_4_bits():
    found = types_of(layers(16), facts(), "Q4_0", has_importance=True)
    assert [found[f"blk.{n}.ffn_down.weight"].name for n in (1, 2)] == ["Q4_1", "Q4_0"]


def test_experts_are_mxfp4_and_the_rest_8_bits():
    shapes = layers(2) | {"blk.0.ffn_up_exps.weight": (dtype.bfloat16, (4, 64, 64))}
    shapes["blk.0.ffn_gate_inp.weight"] = (dtype.float32, (4, 64))
    found = types_of(shapes, facts(expert_count=4), "MXFP4")
    assert found["blk.0.ffn_up_exps.weight"] is dtype.MXFP4
    assert found["blk.1.ffn_up.weight"] is dtype.Q8_0
    assert found["blk.0.ffn_gate_inp.weight"] is dtype.float32


def test_norms_biases_and_vectors_stay():
    shapes = {
        "blk.0.attn_norm.weight": (dtype.float32, (256,)),
        "blk.0.attn_q_norm.weight": (dtype.float32, (2, 256)),
        "blk.0.attn_q.bias": (dtype.float32, (2, 256)),
        "blk.0.ssm_conv1d.weight": (dtype.float32, (256, 32)),
    }
    assert set(types_of(shapes, facts(), "Q4_0").values()) == {dtype.float32}


def test_rows_that_do_not_fit_get_a_narrower_block_or_float16():
    pairs = {kind.name: fitting(kind, 96).name for kind in dtype.BLOCKS if kind.block == 256}
    assert pairs | {"Q2_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"} == pairs
    assert pairs["IQ4_XS"] == "IQ4_NL"
    assert fitting(dtype.Q8_0, 80) is fitting(dtype.Q2_K, 80) is dtype.float16


def test_kept_patterns_go_first():
    keep = [("attn_v", dtype.Q8_0), ("blk.0", dtype.float16)]
    found = types_of(layers(2), facts(), "Q4_0", keep)
    assert found["blk.0.attn_v.weight"] is found["blk.1.attn_v.weight"] is dtype.Q8_0
    assert found["blk.0.attn_q.weight"] is dtype.float16
    with pytest.raises(FormatError, match="no matrix has a name with 'ssm'"):
        types_of(layers(2), facts(), "Q4_0", [("ssm", dtype.Q8_0)])
    with pytest.raises(FormatError, match="is no pattern"):
        types_of(layers(2), facts(), "Q4_0", [("(", dtype.Q8_0)])


def test_vectors_are_not_kept_in_blocks():
    shapes = {**layers(1), "blk.0.attn_norm.weight": (dtype.float32, (256,))}
    found = types_of(shapes, facts(), "Q4_0", [("attn", dtype.Q8_0)])
    assert found["blk.0.attn_norm.weight"] is dtype.float32
    assert found["blk.0.attn_q.weight"] is dtype.Q8_0
    with pytest.raises(FormatError, match="no matrix has a name with 'norm'"):
        types_of(shapes, facts(), "Q4_0", [("norm", dtype.Q8_0)])


def test_names_are_known_in_any_case():
    assert (mix_named("q4_k_m"), mix_named("Q5_K")) == ("Q4_K_M", "Q5_K_M")
    assert (type_named("f16"), type_named("q6_k")) == (dtype.float16, dtype.Q6_K)
    with pytest.raises(DTypeError, match="there is no type 'Q9' of a file"):
        mix_named("Q9")
    with pytest.raises(DTypeError, match="'int4' is no type"):
        type_named("int4")
    for wrong in (5, None, dtype.int64, dtype.complex64, dtype.bool_, "int64"):
        with pytest.raises(DTypeError, match=f"{wrong!r} is no type"):
            type_named(wrong)
