"""GGUF files: equal to what the gguf package reads, and an error for everything malformed."""

import struct
import tracemalloc

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numbatorch import dtype
from numbatorch.errors import FormatError
from numbatorch.io.gguf import GGUFFile
from numbatorch.ops.blocks import dequantize, known
from tests.io.build import gguf_bytes, pair, record, small_gguf, string

NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "I32": "int32"}


def write(tmp_path, raw):
    path = tmp_path / "file.gguf"
    path.write_bytes(raw)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    small_gguf(path)
    return path


def assert_as_the_gguf_package_reads_it(path):
    ours, theirs = GGUFFile(path), gguf.GGUFReader(path)
    fields = {k: v.contents() for k, v in theirs.fields.items() if not k.startswith("GGUF.")}
    assert list(ours.metadata) == list(fields)
    for key, value in fields.items():
        if key != "test.nested":  # the package flattens it
            found = ours.metadata[key]
            assert found.tolist() == value if isinstance(found, np.ndarray) else found == value
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        info, kind = ours.tensors[tensor.name], tensor.tensor_type.name
        assert info.dtype.name == NAMES.get(kind, kind)
        assert info.shape == tuple(int(size) for size in reversed(tensor.shape))
        assert (info.offset, info.nbytes) == (tensor.data_offset, tensor.n_bytes)
        if info.dtype.kind != "q" or known(info.dtype):
            raw = ours.tensor(tensor.name)
            assert raw.tobytes() == tensor.data.tobytes()
    return ours


def test_small_file_reads_as_in_the_gguf_package(small):
    file = assert_as_the_gguf_package_reads_it(small)
    assert [row.tolist() for row in file.metadata["test.nested"]] == [[1, 2], [3]]
    assert file.metadata["test.bools"].dtype == np.bool_
    assert file.metadata["test.add_bool"] is True
    assert (file.version, file.alignment) == (3, 32)


@pytest.mark.parametrize("name", ["q4_0", "q4_k_m"])
def test_carried_fixture_reads_as_in_the_gguf_package(name, fixtures):
    assert_as_the_gguf_package_reads_it(fixtures / "pydoc-llama" / f"pydoc-llama-{name}.gguf")


def test_shared_fixtures_read_as_in_the_gguf_package(shared_fixtures):
    paths = sorted((shared_fixtures / "pydoc-llama").glob("*.gguf"))
    assert len(paths) == 14
    for path in paths:
        assert_as_the_gguf_package_reads_it(path)


def test_tensor_is_a_read_only_view_of_the_file(small):
    file = GGUFFile(small)
    assert np.shares_memory(file.tensor("vector"), file.tensor("vector"))
    packed = file.tensor("Q8_0")
    assert (packed.dtype, packed.shape) == (np.uint8, (4, 68))
    assert file.tensors["Q8_0"].shape == (4, 64)
    for name in file.tensors:
        assert not file.tensor(name).flags.writeable
    array = file.tensor("vector")
    del file
    assert np.isfinite(array).all()


def test_packed_tensor_decodes_as_in_the_gguf_package(small):
    file = GGUFFile(small)
    for tensor in gguf.GGUFReader(small).tensors:
        if tensor.name.startswith("Q"):
            info = file.tensors[tensor.name]
            ours = dequantize(file.tensor(tensor.name), info.dtype, info.shape)
            np.testing.assert_array_equal(ours, gguf.dequantize(tensor.data, tensor.tensor_type))


def test_type_table_is_ggmls():
    for number, kind in dtype.by_ggml_id.items():
        found = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(number)]
        if kind.name == "Q8_1":  # there with two float32, which ggml-common.h has as float16
            found = (32, 36)
        assert found == (kind.block, kind.itemsize)


def test_type_that_is_not_computed_on_is_listed_but_not_handed_out(tmp_path, monkeypatch):
    monkeypatch.setitem(dtype.by_ggml_id, 1003, dtype.DType("Q9_9", "q", 84, 256, ggml_id=1003))
    raw = gguf_bytes(records=[record("a", (256,), kind=1003)], data=bytes(84))
    file = GGUFFile(write(tmp_path, raw))
    assert file.tensors["a"].dtype.name == "Q9_9"
    with pytest.raises(FormatError, match="'a' has type Q9_9, which is not computed on yet"):
        file.tensor("a")


def test_fields_are_typed(small):
    file = GGUFFile(small)
    assert file.field("test.add_uint8", int) == 200
    assert file.field("test.add_uint8", float) == 200.0
    assert file.field("absent", str, "default") == "default"
    with pytest.raises(FormatError, match="'absent' is missing"):
        file.field("absent", int)
    with pytest.raises(FormatError, match=r"'test\.add_bool' is of type bool instead of int"):
        file.field("test.add_bool", int)
    with pytest.raises(FormatError, match="no tensor 'absent'"):
        file.tensor("absent")


def test_version_2_reads_as_version_3(small, tmp_path):
    raw = bytearray(small.read_bytes())
    raw[4:8] = struct.pack("<I", 2)
    file = GGUFFile(write(tmp_path, raw))
    assert file.version == 2
    assert list(file.tensors) == list(GGUFFile(small).tensors)


def test_unaligned_tensor_is_copied(tmp_path):
    values = np.arange(4, dtype=np.float32)
    raw = gguf_bytes(
        [pair("general.alignment", 4, struct.pack("<I", 1))],
        [record("a", (1,), 24, 0), record("b", (4,), 0, 1)],
        b"\x07" + values.tobytes(),
        alignment=1,
    )
    file = GGUFFile(write(tmp_path, raw))
    np.testing.assert_array_equal(file.tensor("b"), values)
    assert not file.tensor("b").flags.writeable


def test_empty_tensors_and_files_without_tensors(tmp_path):
    raw = gguf_bytes(records=[record("a", (0, 32), 8), record("b", (8,), 0, 0)], data=bytes(32))
    assert GGUFFile(write(tmp_path, raw)).tensor("a").shape == (0, 34)
    assert GGUFFile(write(tmp_path, gguf_bytes())).tensors == {}


U32, U64, FLAG, TEXT, LIST = 4, 10, 7, 8, 9
one = struct.pack("<I", 1)


def array(kind, count, payload=b""):
    return struct.pack("<IQ", kind, count) + payload


def nested(depth):
    return array(LIST, 1, nested(depth - 1)) if depth else array(U32, 0)


BROKEN = {
    "the file begins with b'GGML'": gguf_bytes(magic=b"GGML"),
    "version 5, where 1 to 3": b"GGUF" + struct.pack(">IQQ", 5, 0, 0),
    "32 tensors do not": b"GGUF" + struct.pack(">IQQ", 3, 32, 0),
    "version 4,": gguf_bytes(version=4),
    "version 0,": gguf_bytes(version=0),
    "1152921504606846976 tensors do not fit": gguf_bytes(counts=(1 << 60, 0)),
    "18446744073709551615 metadata keys do not": gguf_bytes(counts=(0, 2**64 - 1)),
    "a metadata key of 1099511627776 bytes": gguf_bytes(
        [struct.pack("<Q", 1 << 40)], data=bytes(9)
    ),
    "a metadata key is not UTF-8": gguf_bytes([pair(b"\xff", U32, one)]),
    "a metadata key has 0 bytes": gguf_bytes([pair("", U32, one)]),
    "a metadata key has 70000 bytes": gguf_bytes([pair("k" * 70000, U32, one)]),
    "'k' appears twice": gguf_bytes([pair("k", U32, one), pair("k", U32, one)]),
    "'k' has the unknown type 13": gguf_bytes([pair("k", 13, one)]),
    "a bool with the byte 2": gguf_bytes([pair("k", FLAG, b"\2")], data=bytes(9)),
    "'k' is not UTF-8": gguf_bytes([pair("k", TEXT, string(b"\xc3("))]),
    "4611686018427387904 elements of": gguf_bytes([pair("k", LIST, array(U32, 1 << 62))]),
    "4503599627370496 strings of": gguf_bytes([pair("k", LIST, array(TEXT, 1 << 52))]),
    "4611686018427387903 rows of": gguf_bytes([pair("k", LIST, array(LIST, (1 << 62) - 1))]),
    "elements of the unknown type 77": gguf_bytes([pair("k", LIST, array(77, 1))]),
    "holds a bool that": gguf_bytes([pair("k", LIST, array(FLAG, 2, b"\1\3"))]),
    "nests arrays more than 4 deep": gguf_bytes([pair("k", LIST, nested(4))]),
    "goes beyond the end": gguf_bytes(
        [pair("k", LIST, array(TEXT, 2, string("a") + struct.pack("<Q", 1 << 62)))], data=bytes(8)
    ),
    "is not UTF-8: invalid start": gguf_bytes(
        [pair("k", LIST, array(TEXT, 2, string("a") + string(b"\xff")))]
    ),
    "not a power of two": gguf_bytes([pair("general.alignment", U32, struct.pack("<I", 48))]),
    "general.alignment is 0": gguf_bytes([pair("general.alignment", U32, bytes(4))]),
    "general.alignment is 'a'": gguf_bytes([pair("general.alignment", TEXT, string("a"))]),
    "a tensor name is not UTF-8": gguf_bytes(records=[record(b"\xff")], data=bytes(32)),
    "has 5 dimensions": gguf_bytes(records=[record("t", (1,) * 5)], data=bytes(32)),
    "has 4000000000 dimensions": gguf_bytes(records=[record("t", dims=4 * 10**9)], data=bytes(32)),
    "unknown type 4000": gguf_bytes(records=[record("t", kind=4000)], data=bytes(32)),
    "unknown type 4$": gguf_bytes(records=[record("t", kind=4)], data=bytes(32)),
    "too many elements": gguf_bytes(records=[record("t", (1 << 40, 1 << 40))], data=bytes(32)),
    "too many elements: .0, ": gguf_bytes(records=[record("t", (0, 2**63, 2**63))]),
    "rows of 33 elements are not": gguf_bytes(records=[record("t", (33,), 8)], data=bytes(99)),
    "rows of 1 elements are not": gguf_bytes(records=[record("t", (), 8)], data=bytes(99)),
    "no multiple of 32": gguf_bytes(records=[record("t", offset=8)], data=bytes(99)),
    "ends at byte 96 of 95": gguf_bytes(records=[record("t")], data=bytes(31)),
    "ends at byte 18446744073709551648": gguf_bytes(
        records=[record("t", offset=2**64 - 64)], data=bytes(32)
    ),
    "'t' appears twice": gguf_bytes(records=[record("t"), record("t")], data=bytes(32)),
    "tensors 'a' and 'b' overlap": gguf_bytes(
        records=[record("a", (16,)), record("b", (8,), offset=32)], data=bytes(64)
    ),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_broken_file_is_refused(problem, tmp_path):
    path = write(tmp_path, BROKEN[problem])
    with pytest.raises(FormatError, match=rf"(?m){problem}") as caught:
        GGUFFile(path)
    assert str(path) in str(caught.value)


def test_folder_and_missing_and_empty_file(tmp_path):
    with pytest.raises(FormatError, match="is a folder"):
        GGUFFile(tmp_path)
    with pytest.raises(FileNotFoundError):
        GGUFFile(tmp_path / "absent.gguf")
    with pytest.raises(FormatError, match="magic of 4 bytes goes beyond the end"):
        GGUFFile(write(tmp_path, b""))


def test_every_prefix_is_refused(small, tmp_path):
    raw = small.read_bytes()
    path = tmp_path / "prefix.gguf"
    end = max(info.offset + info.nbytes for info in GGUFFile(small).tensors.values())
    for length in range(end):
        path.write_bytes(raw[:length])
        with pytest.raises(FormatError):
            GGUFFile(path)


def assert_sound(path):
    """What opens hands out exactly the bytes of the file, within its bounds."""
    file = GGUFFile(path)
    raw = path.read_bytes()
    for name, info in file.tensors.items():
        assert info.offset + info.nbytes <= len(raw)
        assert info.nbytes == info.dtype.nbytes(int(np.prod(info.shape, dtype=object)))
        if info.dtype.kind != "q" or known(info.dtype):
            expected = raw[info.offset : info.offset + info.nbytes]
            assert file.tensor(name).tobytes() == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_give_an_error_or_the_bytes_of_the_file(data, small, tmp_path):
    raw = bytearray(small.read_bytes())
    header = min(info.offset for info in GGUFFile(small).tensors.values())
    for _ in range(20):
        changed = bytearray(raw)
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, header - 1))
            changed[place] = data.draw(st.integers(0, 255))
        path = write(tmp_path, changed)
        tracemalloc.start()
        try:
            assert_sound(path)
        except FormatError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 2**20


@given(words=st.lists(st.text(max_size=5) | st.text("\0\u00e9a" * 50, max_size=150), max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_strings_of_any_length_and_content_read_back(words, tmp_path):
    payload = array(TEXT, len(words), b"".join(map(string, words)))
    file = GGUFFile(write(tmp_path, gguf_bytes([pair("k", LIST, payload)])))
    assert file.metadata["k"] == words


def test_dtype_of_bfloat16_tensor_is_ml_dtypes(tmp_path):
    raw = gguf_bytes(records=[record("a", (4,), 30)], data=np.arange(4, dtype=np.uint16).tobytes())
    assert GGUFFile(write(tmp_path, raw)).tensor("a").dtype == dtype.bfloat16.numpy
