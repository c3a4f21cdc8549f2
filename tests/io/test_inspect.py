"""Lines about a file: what `numbatorch inspect` prints."""

import gguf
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import FormatError
from numbatorch.io.file_types import GUESSED, file_type_name
from numbatorch.io.inspect import describe
from numbatorch.io.safetensors import save_safetensors


def test_gguf_file_is_described(fixtures):
    path = fixtures / "pydoc-llama" / "pydoc-llama-q4_k_m.gguf"
    lines = list(describe(path))
    assert lines[:2] == [f"{path}: GGUF version 3", "metadata: 22 keys"]
    assert "  llama.block_count = 5" in lines
    assert "  tokenizer.ggml.token_type = [3, 3, 1, 1, 1, 1, ...] (2048 int32)" in lines
    kinds = "Q4_K 28, float32 11, Q6_K 3, Q5_0 3, Q8_0 2"
    assert f"tensors: 47 ({kinds}), 4,213,504 elements, 2,779,648 bytes" in lines
    (row,) = [line for line in lines if line.startswith("  token_embd.weight ")]
    assert row.split(maxsplit=2)[1:] == ["Q6_K", "(2048, 256)         430,080 bytes"]


def test_folder_and_its_file_are_described_alike(fixtures):
    folder = fixtures / "pydoc-llama"
    lines = list(describe(folder))
    assert lines == list(describe(folder / "model.safetensors"))
    assert lines[0].endswith("model.safetensors: safetensors")
    assert "tensors: 47 (float16 47), 4,213,504 elements, 8,427,008 bytes" in lines


def test_blocks_are_described_alike_in_both_formats(tmp_path):
    values = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    w = nt.quantized.quantize(nt.from_numpy(values), "Q4_0")
    rows = []
    for suffix in ("gguf", "safetensors"):
        nt.save({"w": w, "b": nt.ones(3)}, tmp_path / f"x.{suffix}")
        lines = list(describe(tmp_path / f"x.{suffix}", stats=True))
        rows.append(sorted(line for line in lines if line.startswith(("  w ", "  b "))))
    assert rows[0] == rows[1]
    assert rows[0][1].split()[1:4] == ["Q4_0", "(6,", "64)"]
    save_safetensors(
        tmp_path / "own.safetensors",
        {"w": np.zeros((2, 14), np.uint8)},
        {"ggml.types": '{"w": ["NOBODYS", [2, 32]]}'},
    )
    assert "uint8" in list(describe(tmp_path / "own.safetensors"))[-1]


def test_file_without_tensors_and_types_not_computed_on(tmp_path, fixtures):
    lines = list(describe(fixtures / "sentencepiece" / "vocabulary.gguf"))
    assert lines[-1] == "tensors: 0 (), 0 elements, 0 bytes"
    writer = gguf.GGUFWriter(str(tmp_path / "a.gguf"), "llama")
    kind = gguf.GGMLQuantizationType.Q2_K
    writer.add_tensor("a", np.zeros((2, 84), np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert list(describe(tmp_path / "a.gguf"))[-1].split()[:4] == ["a", "Q2_K", "(2,", "256)"]


def test_text_that_a_terminal_would_obey_is_escaped(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"a\x1b[2J": np.zeros(1)}, {"k\x1b": "v\x1b" * 100})
    assert not any("\x1b" in line for line in describe(path))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(FormatError, match="not a weights file"):
        list(describe(tmp_path / "a.txt"))
    with pytest.raises(FormatError, match="no safetensors weights"):
        list(describe(tmp_path))


def test_files_of_pytorch_and_numpy_are_described(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.arange(6.0).reshape(2, 3), two=np.zeros(4, np.int8))
    lines = list(describe(tmp_path / "a.npz", stats=True))
    assert lines[0].endswith("a.npz: npz")
    assert lines[2] == "tensors: 2 (float64 1, int8 1), 10 elements, 52 bytes"
    assert lines[3].endswith("0 to 5, mean 2.5, deviation 1.71, 16.7% zeros")
    np.save(tmp_path / "b.npy", np.array([1.0, np.nan, -np.inf, 3.0], np.float32))
    assert list(describe(tmp_path / "b.npy", stats=True))[-1].endswith(
        "1 to 3, mean 2, deviation 1, 2 NaN or infinite"
    )


def test_statistics_are_those_of_the_values(fixtures):
    path = fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf"
    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == "blk.1.ffn_up.weight")
    values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
    (row,) = [line for line in describe(path, stats=True) if "blk.1.ffn_up.weight" in line]
    spread = f"{values.min():.4g} to {values.max():.4g}, mean {values.mean():.3g}"
    assert f"{spread}, deviation {values.std():.3g}, {(values == 0).mean():.1%} zeros" in row


def names_of(path):
    lines = list(describe(path))
    start = next(i for i, line in enumerate(lines) if line.startswith("tensors: "))
    return [line.split()[0] for line in lines[start + 1 :]]


def test_layers_are_in_the_order_of_their_numbers(tmp_path):
    """Writers of safetensors sort names as texts; what has no number stays where it is."""
    names = ["z.weight", *(f"blk.{i}.{k}" for i in (0, 1, 10, 11, 2) for k in ("up", "down"))]
    names += ["head.bias", *(f"blk.12.experts.{i}.w" for i in (10, 9)), "a.weight", "9" * 5000]
    path = tmp_path / "m.npz"
    np.savez(path, **{name: np.zeros(1, np.float32) for name in names})
    found = names_of(path)
    layers = [f"blk.{i}.{k}" for i in (0, 1, 2, 10, 11) for k in ("up", "down")]
    experts = ["blk.12.experts.9.w", "blk.12.experts.10.w"]
    assert found == ["z.weight", *layers, *experts, "head.bias", "a.weight", "9" * 5000]
    deep = {f"{'1.' * 3000}{i}": np.zeros(1, np.float32) for i in (1, 0)}
    np.savez(path, **deep)
    assert sorted(names_of(path)) == sorted(deep)


def test_file_types_have_the_names_of_the_package():
    for kind in gguf.LlamaFileType:
        wanted = kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        if kind.name in ("GUESSED", "MOSTLY_Q1_0"):  # a flag, and a type that is not read here
            continue
        assert file_type_name(kind.value) == wanted
    assert file_type_name(GUESSED + 15) == "Q4_K_M, guessed"
    for value in (99, -1, "15", 15.0, True, float("inf"), float("nan"), [15]):
        assert file_type_name(value) is None, value


def test_the_file_type_is_shown_with_its_name(fixtures):
    lines = list(describe(fixtures / "pydoc-llama" / "pydoc-llama-q4_k_m.gguf"))
    assert "  general.file_type = 15 (Q4_K_M)" in lines
