"""Raw files of both formats, well formed or broken in one place."""

import json
import struct

import gguf
import numpy as np


def string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key, kind, payload):
    """One metadata entry: key, number of the value type, its bytes."""
    return string(key) + struct.pack("<I", kind) + payload


def record(name, shape=(8,), kind=0, offset=0, dims=None):
    """One entry of the tensor table; `shape` is row-major."""
    count = len(shape) if dims is None else dims
    return (
        string(name)
        + struct.pack("<I", count)
        + b"".join(struct.pack("<Q", size) for size in reversed(shape))
        + struct.pack("<IQ", kind, offset)
    )


def gguf_bytes(pairs=(), records=(), data=b"", version=3, magic=b"GGUF", counts=None, alignment=32):
    tensors, keys = counts or (len(records), len(pairs))
    head = magic + struct.pack("<IQQ", version, tensors, keys)
    head += b"".join(pairs) + b"".join(records)
    return head + b"\0" * (-len(head) % alignment) + data


def small_gguf(path):
    """A file with every kind of value and several types of tensors, by the gguf package."""
    writer = gguf.GGUFWriter(str(path), "llama")
    for add, value in [
        (writer.add_uint8, 200),
        (writer.add_int8, -100),
        (writer.add_uint16, 60000),
        (writer.add_int16, -30000),
        (writer.add_uint32, 4_000_000_000),
        (writer.add_int32, -2_000_000_000),
        (writer.add_float32, 0.5),
        (writer.add_bool, True),
        (writer.add_string, "caf\u00e9"),
        (writer.add_uint64, 2**63),
        (writer.add_int64, -(2**62)),
        (writer.add_float64, 1e300),
    ]:
        add(f"test.{add.__name__}", value)
    writer.add_array("test.strings", ["", "a", "\u4f60", "long " * 40])
    writer.add_array("test.short_strings", ["a", "bc", "\u00e9"])
    writer.add_array("test.integers", [1, -2, 3])
    writer.add_array("test.floats", [0.5, 1.5])
    writer.add_array("test.bools", [True, False])
    writer.add_array("test.nested", [[1, 2], [3]])
    random = np.random.default_rng(0)
    writer.add_tensor("vector", random.standard_normal(7).astype(np.float32))
    writer.add_tensor("half", random.standard_normal((2, 3)).astype(np.float16))
    writer.add_tensor("integers", np.arange(24, dtype=np.int32).reshape(2, 3, 4))
    weights = random.standard_normal((4, 64)).astype(np.float32)
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
        writer.add_tensor(kind.name, gguf.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def safetensors_bytes(header, data=b"", length=None):
    """`header`: a map, or the bytes of the header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(kind="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(offsets)}
