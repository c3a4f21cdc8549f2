"""Files beside llama.cpp: its quantizer gives the same types, and it reads what is written here."""

import ctypes
import re
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

import numbatorch as nt
from numbatorch import dtype
from numbatorch.io.gguf import GGUFFile
from numbatorch.ops import blocks
from numbatorch.pipelines.convert import to_gguf
from numbatorch.pipelines.imatrix import collect
from numbatorch.quantized import quantize_file
from numbatorch.quantized.mixes import MIXES, misfits, types_in

llama_cpp = pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python")

TEXT = "Return the index of the first item, or raise an error if there is no such item in the list."


@pytest.fixture(scope="module", autouse=True)
def quiet():
    callback = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    yield callback


def small_model(path: Path, experts: int, groups: int, wide: int, tied: bool) -> Path:
    """A Llama of 17 layers of random weights as float16."""
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(17)
    writer.add_context_length(64)
    writer.add_embedding_length(256)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(8)
    writer.add_head_count_kv(groups)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(32)
    writer.add_vocab_size(64)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)

    def add(name: str, *shape: int) -> None:
        kind = np.float16 if len(shape) > 1 else np.float32
        writer.add_tensor(name, random.standard_normal(shape).astype(kind))

    add("token_embd.weight", 64, 256)
    add("output_norm.weight", 256)
    if not tied:
        add("output.weight", 64, 256)
    for layer in range(17):
        for name, rows in (("q", 256), ("k", 32 * groups), ("v", 32 * groups), ("output", 256)):
            add(f"blk.{layer}.attn_{name}.weight", rows, 256)
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{name}.weight", 256)
        end, stack = ("_exps", (experts,)) if experts else ("", ())
        for name, shape in (("gate", (wide, 256)), ("up", (wide, 256)), ("down", (256, wide))):
            add(f"blk.{layer}.ffn_{name}{end}.weight", *stack, *shape)
        if experts:
            add(f"blk.{layer}.ffn_gate_inp.weight", experts, 256)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def theirs(source: Path, out: Path, mix: str) -> GGUFFile:
    """The file that llama.cpp's quantizer makes."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = MIXES[mix][0], 2
    done = llama_cpp.llama_model_quantize(
        str(source).encode(), str(out).encode(), ctypes.byref(params)
    )
    assert done == 0
    return GGUFFile(out)


def often(values, names):
    """Parameters of which only those of `names` run without `--slow`."""
    return [
        pytest.param(value, id=name, marks=() if name in names else pytest.mark.slow)
        for name, value in values.items()
    ]


SIZES = {
    "plain": (0, 8, 512, True),
    "rows that do not fit": (0, 2, 288, False),
    "eight experts": (8, 2, 256, False),
    "experts": (4, 4, 64, True),
}


@pytest.mark.parametrize("sizes", often(SIZES, ["rows that do not fit"]))
def test_every_mix_gives_the_types_of_llama_cpp(sizes, tmp_path):
    source = small_model(tmp_path / "in.gguf", *sizes)
    for mix in MIXES:
        if mix in ("F32", "F16"):
            continue
        expected = theirs(source, tmp_path / "out.gguf", mix)
        found = types_in(GGUFFile(source), mix)
        wrong = {
            name: (kind.name, expected.tensors[name].dtype.name)
            for name, kind in found.items()
            if kind is not expected.tensors[name].dtype
        }
        assert not wrong, mix


def test_as_many_types_do_not_fit_as_llama_cpp_says(tmp_path, quiet):
    """Rows of 288: its quantizer counts the tensors that it has stored in another type."""
    source, said = small_model(tmp_path / "in.gguf", *SIZES["rows that do not fit"]), []
    listen = llama_cpp.llama_log_callback(lambda level, text, data: said.append(text.decode()))
    llama_cpp.llama_log_set(listen, ctypes.c_void_p(0))
    try:
        for mix in ("Q8_0", "Q4_K_M", "Q6_K", "IQ4_XS"):
            said.clear()
            theirs(source, tmp_path / "theirs.gguf", mix)
            found = re.search(r"WARNING: (\d+) of \d+ tensor", "".join(said))
            quantize_file(source, tmp_path / "ours.gguf", mix)
            ours = misfits(tmp_path / "ours.gguf", mix)
            assert len(ours) == (int(found[1]) if found else 0), mix
            assert all(columns == 288 for *_, columns in ours)
    finally:
        llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))


MIXED = ("F16", "Q8_0", "Q4_K_M", "Q6_K")


def log_probabilities(path: Path, ids: list[int]) -> np.ndarray:
    """What llama.cpp expects after each token."""
    model = llama_cpp.Llama(str(path), n_ctx=128, logits_all=True, verbose=False, n_threads=2)
    model.eval(ids)
    logits = np.array(model.scores[: len(ids)], np.float64)
    return (
        logits
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - (logits.max(1, keepdims=True))
    )


def exact(path: Path, ids: list[int]) -> np.ndarray:
    """The same in float32 on the decoded weights."""
    file = GGUFFile(path)
    model = nt.models.from_pretrained(path)
    for name, parameter in model.named_parameters():
        info = file.tensors[model.names.gguf(name)]
        values = blocks.dequantize(file.tensor(info.name), info.dtype, info.shape)
        parameter.data = nt.from_numpy(values)
    with nt.no_grad():
        logits = model(nt.tensor([ids]))[0]
        return nt.nn.functional.log_softmax(logits, -1).numpy().astype(np.float64)


@pytest.mark.parametrize("mix", often({mix: mix for mix in MIXED}, ["Q4_K_M"]))
def test_converted_and_quantized_files_run_in_llama_cpp(mix, shared_fixtures, tmp_path):
    folder = shared_fixtures / "pydoc-llama"
    plain, path = tmp_path / "f16.gguf", tmp_path / f"{mix}.gguf"
    to_gguf(folder, plain)
    kinds = set(types_in(GGUFFile(plain), mix).values())
    if any(kind.kind == "q" and blocks.find("test", kind).encode is None for kind in kinds):
        pytest.skip(f"a type of {mix} has no encoder yet")
    quantize_file(plain, path, mix)
    ids = nt.TextGenerator(path).tokenizer.encode(TEXT)
    reader = gguf.GGUFReader(path)
    assert {tensor.name for tensor in reader.tensors} == set(GGUFFile(path).tensors)
    ours = np.abs(log_probabilities(path, ids) - exact(path, ids)).mean()
    peer = folder / f"pydoc-llama-{mix.lower()}.gguf"
    noise = np.abs(log_probabilities(peer, ids) - exact(peer, ids)).mean()
    assert ours <= 1.2 * noise + 1e-5
    tokens = llama_cpp.Llama(str(path), vocab_only=True, verbose=False).tokenize(TEXT.encode())
    assert tokens == ids


def test_blocks_of_ours_are_those_of_llama_cpp(shared_fixtures, tmp_path):
    source = shared_fixtures / "pydoc-llama" / "pydoc-llama-f16.gguf"
    for mix in ("Q8_0", "BF16"):
        expected = theirs(source, tmp_path / "theirs.gguf", mix)
        quantize_file(source, tmp_path / "ours.gguf", mix)
        found = GGUFFile(tmp_path / "ours.gguf")
        for name, info in expected.tensors.items():
            assert info.dtype is found.tensors[name].dtype
            same = np.mean(
                found.tensor(name).view(np.uint8) == expected.tensor(name).view(np.uint8)
            )
            assert same > 0.999 if info.dtype is dtype.Q8_0 else same == 1


SMALL = {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
HEADS = {"head_dim": 16, "query_pre_attn_scalar": 16}
KINDS: dict[str, dict[str, object]] = {
    "Llama": {},
    "Mistral": {"sliding_window": None},
    "Qwen2": {},
    "Qwen3": {"head_dim": 32},
    "Qwen3Moe": {
        "head_dim": 16,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "norm_topk_prob": True,
    },
    "Gemma2": HEADS,
    "Gemma3": HEADS,
    "Phi3": {},
}


@pytest.mark.parametrize("kind", often({kind: kind for kind in KINDS}, ["Llama", "Qwen3Moe"]))
def test_a_converted_model_of_every_kind_expects_the_same_here_and_there(
    kind, shared_fixtures, tmp_path
):
    transformers = pytest.importorskip("transformers")
    name = "Gemma3Text" if kind == "Gemma3" else kind
    config = getattr(transformers, f"{name}Config")(**{**SMALL, **KINDS[kind]})
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    folder, path = tmp_path / "folder", tmp_path / "model.gguf"
    model.save_pretrained(folder)
    shutil.copy(shared_fixtures / "pydoc-llama" / "tokenizer.json", folder)
    to_gguf(folder, path, "F32")
    (tmp_path / "text.txt").write_text(TEXT)
    matrix = collect(path, tmp_path / "text.txt", 16)
    for name, entry in matrix.entries.items():
        assert matrix.of(name, GGUFFile(path).tensors[name].shape) is not None
        assert entry.counts.sum() == 16 * matrix.chunk_count * (2 if "_exps" in name else 1)
    ids = nt.TextGenerator(path).tokenizer.encode(TEXT)
    logits = []
    for source in (folder, path):
        with nt.no_grad():
            logits.append(nt.models.from_pretrained(source)(nt.tensor([ids]))[0])
    np.testing.assert_allclose(logits[1].numpy(), logits[0].numpy(), rtol=1e-3, atol=1e-4)
    expected = nt.nn.functional.log_softmax(logits[0], -1).numpy()
    assert np.abs(log_probabilities(path, ids) - expected).max() < 2e-2  # it rounds keys to float16
