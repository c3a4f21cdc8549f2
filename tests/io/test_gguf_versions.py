"""GGUF of every version and byte order, and split files, as the gguf package writes them or by hand
from the specification, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import struct

import gguf
import numpy as np
import pytest

from numbatorch.errors import FormatError
from numbatorch.io.gguf import GGUFFile
from numbatorch.ops.blocks import dequantize

KIND = gguf.GGMLQuantizationType


def fill(writer, tensors):
    writer.add_uint32("test.count", 70000)
    writer.add_float32("test.half", 0.5)
    writer.add_string("test.text", "caf\u00e9")
    writer.add_array("test.strings", ["a", "bc", "\u4f60"])
    writer.add_array("test.numbers", [1, -2, 3])
    for name, (values, kind) in tensors.items():
        writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    weights = random.standard_normal((4, 256)).astype(np.float32)
    return {
        "single": (random.standard_normal((2, 3, 5)).astype(np.float32), None),
        "half": (random.standard_normal((3, 4)).astype(np.float16), None),
        "integers": (np.arange(6, dtype=np.int32), None),
        "q8": (gguf.quantize(weights, KIND.Q8_0), KIND.Q8_0),
        "q4": (gguf.quantize(weights, KIND.Q4_1), KIND.Q4_1),
    }


def test_big_endian_file_of_the_package_reads_as_its_little_endian_one(tmp_path, tensors):
    for order in gguf.GGUFEndian:
        writer = gguf.GGUFWriter(tmp_path / f"{order.name}.gguf", "llama", endianess=order)
        plain = {name: pair for name, pair in tensors.items() if pair[1] is None}
        fill(writer, plain)
    big, little = (GGUFFile(tmp_path / f"{name}.gguf") for name in ("BIG", "LITTLE"))
    assert (tmp_path / "BIG.gguf").read_bytes() != (tmp_path / "LITTLE.gguf").read_bytes()
    for key, value in little.metadata.items():
        np.testing.assert_array_equal(big.metadata[key], value)
    assert big.metadata["test.strings"] == ["a", "bc", "\u4f60"]
    for name, (values, _) in plain.items():
        np.testing.assert_array_equal(big.tensor(name), values)
        assert b"".join(piece.tobytes() for piece in big.pieces(name, 16)) == values.tobytes()


def numbers_of(blocks, halves):
    """Blocks with the 16-bit numbers at these bytes swapped, one by one."""
    found = blocks.copy()
    for row in found.reshape(-1, found.shape[-1]):
        for at in halves:
            row[at], row[at + 1] = row[at + 1], row[at]
    return found


@pytest.mark.parametrize(
    ("kind", "halves"), [(KIND.Q8_0, [0]), (KIND.Q4_1, [0, 2]), (KIND.Q6_K, [208])]
)
def test_blocks_of_a_big_endian_file_have_their_scales_swapped(tmp_path, kind, halves):
    size, nbytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.random.default_rng(1).integers(0, 256, (6, nbytes), np.uint8)
    for at in halves:
        blocks[:, at : at + 2] = np.array([0x34, 0x2C], np.uint8)  # 0.065...
    head = b"GGUF" + struct.pack(">IQQ", 3, 1, 0)
    head += struct.pack(">Q", 1) + b"t" + struct.pack(">IQQ", 2, 2 * size, 3)
    head += struct.pack(">IQ", kind, 0)
    head += bytes(-len(head) % 32)
    path = tmp_path / "big.gguf"
    path.write_bytes(head + numbers_of(blocks, halves).tobytes())
    file = GGUFFile(path)
    info = file.tensors["t"]
    found = dequantize(file.tensor("t"), info.dtype, info.shape)
    expected = gguf.dequantize(blocks, kind).reshape(3, 2 * size)
    np.testing.assert_array_equal(found, expected)


def test_version_1_counts_in_32_bits(tmp_path):
    def text(value):
        return struct.pack("<I", len(value)) + value

    head = b"GGUF" + struct.pack("<III", 1, 1, 3)
    head += text(b"a") + struct.pack("<II", 4, 7)
    head += text(b"b") + struct.pack("<I", 8) + text(b"words")
    head += text(b"c") + struct.pack("<III", 9, 8, 2) + text(b"x") + text(b"yz")
    head += text(b"t") + struct.pack("<III", 2, 4, 2) + struct.pack("<IQ", 0, 0)
    head += bytes(-len(head) % 32)
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    path = tmp_path / "one.gguf"
    path.write_bytes(head + values.tobytes())
    file = GGUFFile(path)
    assert file.version == 1
    assert dict(file.metadata) == {"a": 7, "b": "words", "c": ["x", "yz"]}
    np.testing.assert_array_equal(file.tensor("t"), values)


def split(tmp_path, tensors):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=2)
    fill(writer, tensors)
    return [tmp_path / f"m-{part:05}-of-00003.gguf" for part in (1, 2, 3)]


def test_split_file_of_the_package_reads_as_one(tmp_path, tensors):
    paths = split(tmp_path, tensors)
    file = GGUFFile(paths[0])
    assert file.paths == tuple(paths)
    assert file.metadata["test.count"] == 70000
    assert list(file.tensors) == list(tensors)
    for name, (values, _) in tensors.items():
        assert file.tensor(name).tobytes() == values.tobytes()
        assert b"".join(piece.tobytes() for piece in file.pieces(name)) == values.tobytes()


def test_split_file_that_lacks_something_is_refused(tmp_path, tensors):
    paths = split(tmp_path, tensors)
    with pytest.raises(FormatError, match=r"part 2 of 3[\s\S]*given by part 1.*m-00001-of-00003"):
        GGUFFile(paths[1])
    renamed = paths[0].rename(tmp_path / "whole.gguf")
    with pytest.raises(FormatError, match="part 1 of 3 has another name"):
        GGUFFile(renamed)
    renamed.rename(paths[0])
    second = paths[1].read_bytes()
    paths[1].unlink()
    with pytest.raises(FormatError, match=r"part 2 of 3 is missing[\s\S]*m-00002-of-00003"):
        GGUFFile(paths[0])
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(FormatError, match=r"split\.no is 2 in part 2, not 1"):
        GGUFFile(paths[0])
    paths[1].write_bytes(second)
    first = paths[0].read_bytes()
    key = b"split.tensors.count" + struct.pack("<I", 5)
    at = first.index(key) + len(key)
    paths[0].write_bytes(first[:at] + struct.pack("<i", 6) + first[at + 4 :])
    with pytest.raises(FormatError, match=r"split\.tensors\.count is 6, the parts have 5"):
        GGUFFile(paths[0])
