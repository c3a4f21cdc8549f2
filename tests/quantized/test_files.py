"""Quantized files: the bytes of the gguf package's encoders, errors that name the tensor, no half
file, and little memory.
"""

import re
import subprocess
import sys

import gguf
import numpy as np
import pytest

from numbatorch import dtype
from numbatorch.cli.main import main
from numbatorch.errors import DTypeError, FormatError
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_writing import Outgoing, write_gguf
from numbatorch.quantized.files import dequantize_file, quantize_file

KIND = gguf.GGMLQuantizationType


@pytest.fixture(scope="module")
def source(fixtures, tmp_path_factory):
    """The fixture Llama as floats, which the smallest of its files decodes to."""
    path = tmp_path_factory.mktemp("source") / "f32.gguf"
    dequantize_file(fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf", path, "F32")
    return path


def write(path, **tensors):
    found = [
        Outgoing(name, dtype.from_numpy(values.dtype), values.shape, lambda values=values: [values])
        for name, values in tensors.items()
    ]
    write_gguf(path, {"general.architecture": "llama"}, found)


def weights(shape=(64, 256), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_dequantized_file_has_the_values_of_the_package(fixtures, source):
    packed = fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf"
    ours, theirs = GGUFFile(source), gguf.GGUFReader(packed)
    assert dict(ours.metadata).keys() >= GGUFFile(packed).metadata.keys()
    for tensor in theirs.tensors:
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(ours.tensor(tensor.name), expected)


@pytest.mark.parametrize("mix", ["Q8_0", "F16", "BF16"])
def test_quantized_file_has_the_bytes_of_the_package(mix, source, tmp_path):
    path = tmp_path / "out.gguf"
    kinds = quantize_file(source, path, mix)
    written, plain = gguf.GGUFReader(path), GGUFFile(source)
    assert written.fields["general.quantization_version"].contents() == 2
    for tensor in written.tensors:
        values = plain.tensor(tensor.name)
        expected = gguf.quantize(values, tensor.tensor_type)
        assert tensor.data.tobytes() == expected.tobytes()
        assert kinds[tensor.name] is GGUFFile(path).tensors[tensor.name].dtype
    assert sum(kind.name in (mix, "float16", "bfloat16") for kind in kinds.values()) == 36


def test_pieces_of_any_size_give_one_file(tmp_path, monkeypatch):
    write(tmp_path / "in.gguf", **{"a.weight": weights((5, 300, 64)), "b.weight": weights((7, 96))})
    quantize_file(tmp_path / "in.gguf", tmp_path / "a.gguf", "Q8_0")
    monkeypatch.setattr("numbatorch.quantized.files.ELEMENTS", 1000)
    quantize_file(tmp_path / "in.gguf", tmp_path / "b.gguf", "Q8_0")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weight_that_is_not_finite_is_named_and_leaves_no_file(bad, tmp_path):
    values = weights()
    values[41, 7] = bad
    write(tmp_path / "in.gguf", **{"fine.weight": weights(), "bad.weight": values})
    before = (tmp_path / "in.gguf").read_bytes()
    with pytest.raises(FormatError, match=rf"'bad\.weight' holds {bad}\n  row 41, column 7 of"):
        quantize_file(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q8_0")
    assert [path.name for path in tmp_path.iterdir()] == ["in.gguf"]
    assert (tmp_path / "in.gguf").read_bytes() == before


@pytest.mark.parametrize("mix", ["F16", "Q8_0"])
def test_value_that_a_type_does_not_reach_is_named(mix, tmp_path):
    values = weights()
    values[3, 4] = 1e7
    write(tmp_path / "in.gguf", **{"far.weight": values})
    with pytest.raises(FormatError, match=r"'far\.weight' holds"):
        quantize_file(tmp_path / "in.gguf", tmp_path / "out.gguf", mix)
    quantize_file(tmp_path / "in.gguf", tmp_path / "out.gguf", "BF16")


@pytest.mark.parametrize("value", [0.0, 1e-41, 6e-8, -3.5])
def test_constant_and_tiny_weights_give_the_bytes_of_the_package(value, tmp_path):
    values = np.full((4, 64), value, np.float32)
    write(tmp_path / "in.gguf", **{"a.weight": values})
    quantize_file(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q8_0")
    (tensor,) = gguf.GGUFReader(tmp_path / "out.gguf").tensors
    with np.errstate(all="ignore"):
        expected = gguf.quantize(values, KIND.Q8_0)
    assert tensor.data.tobytes() == expected.tobytes()


def test_input_is_not_replaced(source):
    before = source.read_bytes()
    with pytest.raises(FormatError, match="would replace the file that it reads"):
        quantize_file(source, source, "Q8_0")
    assert source.read_bytes() == before


def test_weights_in_blocks_are_encoded_again_only_when_asked(fixtures, tmp_path):
    packed = fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf"
    with pytest.raises(DTypeError, match=r"is Q4_0 already"):
        quantize_file(packed, tmp_path / "out.gguf", "Q8_0")
    kinds = quantize_file(packed, tmp_path / "out.gguf", "Q8_0", requantize=True)
    assert dtype.Q4_0 not in kinds.values()


def test_split_input_becomes_one_file(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=1)
    for number in range(3):
        writer.add_tensor(f"blk.{number}.ffn_up.weight", weights(seed=number))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    quantize_file(tmp_path / "m-00001-of-00003.gguf", tmp_path / "out.gguf", "Q8_0")
    file = GGUFFile(tmp_path / "out.gguf")
    assert len(file.tensors) == 3
    assert not any(key.startswith("split.") for key in file.metadata)


def test_command_writes_and_reports(source, tmp_path, capsys):
    out = tmp_path / "out.gguf"
    arguments = ["quantize", str(source), str(out), "--type", "q8_0"]
    assert main([*arguments, "--keep", "attn_v=F16"]) == 0
    shown = capsys.readouterr()
    assert re.search(r"47 tensors \(Q8_0 31, float32 11, float16 5\)", shown.out)
    assert shown.err == ""
    assert main(["dequantize", str(out), str(tmp_path / "back.gguf"), "--type", "F32"]) == 0
    assert "47 tensors (float32 47)" in capsys.readouterr().out
    assert main([*arguments, "--keep", "attn_v"]) == 1
    assert "--keep 'attn_v' is not PATTERN=TYPE" in capsys.readouterr().err
    assert main(["quantize", str(source), str(out), "--type", "Q7"]) == 1
    assert "there is no type 'Q7' of a file" in capsys.readouterr().err


def test_command_says_what_is_encoded_again_and_what_does_not_fit(source, tmp_path, capsys):
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    assert main(["quantize", str(source), str(first), "--type", "q4_k"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "5 tensors are stored in another type than Q4_K_M says (Q4_K to Q5_0 3, Q6_K to Q8_0 2): "
        "rows of 704 are no multiple of blocks of 256"
    )
    again = ["quantize", str(first), str(second), "--type", "Q8_0"]
    assert main(again) == 1
    assert "--requantize" in capsys.readouterr().err
    assert main([*again, "--requantize"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (  # not the two that are Q8_0 already
        "34 tensors are encoded a second time (Q4_K 28, Q6_K 3, Q5_0 3 before): "
        "less exact than from floats"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    code = """
import sys
import numpy as np
from numbatorch import dtype
from numbatorch.io.gguf_writing import Outgoing, write_gguf
from numbatorch.quantized.files import quantize_file
piece = np.random.default_rng(0).standard_normal((256, 4096)).astype(np.float32)
source, out = sys.argv[1:]
shape = (64 * 256, 4096)
write_gguf(source, {}, [Outgoing("a.weight", dtype.float32, shape, lambda: [piece] * 64)])
quantize_file(source, out, "Q8_0")
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) >> 10)
"""
    paths = [str(tmp_path / name) for name in ("a.gguf", "b.gguf")]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 200
