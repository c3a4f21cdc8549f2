"""Written files read back equal, by the gguf package and here, and are whole or not there."""

import subprocess
import sys

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numbatorch import dtype
from numbatorch.errors import DTypeError, FormatError, ShapeError
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_writing import Outgoing, copied, write_gguf
from numbatorch.io.writing import check_output
from tests.io.build import small_gguf

KIND = gguf.GGMLQuantizationType


def plain(name, values):
    kind = dtype.from_numpy(values.dtype)
    return Outgoing(name, kind, values.shape, lambda: [values])


def contents(path):
    fields = gguf.GGUFReader(path).fields
    return {k: v.contents() for k, v in fields.items() if not k.startswith("GGUF.")}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    small_gguf(path)
    return path


def test_copy_of_a_file_of_the_package_has_its_bytes(small, tmp_path):
    file = GGUFFile(small)
    out = tmp_path / "out.gguf"
    write_gguf(out, file.typed_metadata(), [copied(file, name) for name in file.tensors])
    written, original = out.read_bytes(), small.read_bytes()
    assert written[: len(original)] == original
    assert written[len(original) :].strip(b"\0") == b""


def test_copy_of_every_fixture_reads_alike(shared_fixtures, tmp_path):
    for path in sorted((shared_fixtures / "pydoc-llama").glob("*_k*.gguf"))[::2]:
        file, out = GGUFFile(path), tmp_path / path.name
        write_gguf(out, file.typed_metadata(), [copied(file, name) for name in file.tensors])
        assert contents(out) == contents(path)
        for ours, theirs in zip(
            gguf.GGUFReader(out).tensors, gguf.GGUFReader(path).tensors, strict=True
        ):
            assert (ours.name, ours.tensor_type) == (theirs.name, theirs.tensor_type)
            np.testing.assert_array_equal(ours.data, theirs.data)


@pytest.mark.parametrize("alignment", [8, 32, 256])
def test_written_values_have_the_types_that_the_package_reads(tmp_path, alignment):
    path = tmp_path / "a.gguf"
    metadata = {
        "general.architecture": "llama",
        "general.alignment": alignment,
        "flag": True,
        "count": 7,
        "large": 2**40,
        "negative": -3,
        "number": 0.25,
        "byte": np.uint8(200),
        "wide": np.float64(1e300),
        "words": ["a", "", "\u4f60" * 99],
        "numbers": [1, 2, 3],
        "signed": np.array([-1, 5], np.int16),
        "flags": [True, False],
        "reals": [0.5, 1],
        "none": [],
    }
    values = np.arange(5, dtype=np.float32)
    write_gguf(path, metadata, [plain("a", values), plain("b", values.astype(np.int64))])
    reader = gguf.GGUFReader(path)
    kinds = {key: field.types[0].name for key, field in reader.fields.items()}
    assert [kinds[key] for key in ("flag", "count", "large", "negative", "number")] == (
        ["BOOL", "UINT32", "UINT64", "INT32", "FLOAT32"]
    )
    assert (kinds["byte"], kinds["wide"]) == ("UINT8", "FLOAT64")
    found = contents(path)
    for key, value in metadata.items():
        expected = value.tolist() if isinstance(value, np.ndarray) else value
        assert found[key] == expected, key
    for tensor in reader.tensors:
        assert tensor.data_offset % alignment == 0
        np.testing.assert_array_equal(tensor.data, values)
    ours = GGUFFile(path)
    assert ours.alignment == alignment
    assert ours.metadata["numbers"].dtype == np.int32


def test_nested_arrays_read_back(tmp_path):
    path = tmp_path / "a.gguf"
    write_gguf(path, {"k": [[1, 2], [3]], "t": [["a"], ["b", "c"]]}, [])
    file = GGUFFile(path)
    assert [row.tolist() for row in file.metadata["k"]] == [[1, 2], [3]]
    assert file.metadata["t"] == [["a"], ["b", "c"]]


@pytest.mark.parametrize(
    "kind",
    [kind for kind in dtype.BLOCKS if kind.name != "Q8_1"],  # gguf has the size of old blocks
    ids=lambda kind: kind.name,
)
def test_blocks_of_every_type_are_written_as_they_are(kind, tmp_path):
    path = tmp_path / "a.gguf"
    raw = np.random.default_rng(0).integers(0, 256, (3, 2 * kind.itemsize), np.uint8)
    write_gguf(path, {}, [Outgoing("w", kind, (3, 2 * kind.block), lambda: list(raw))])
    (tensor,) = gguf.GGUFReader(path).tensors
    assert tensor.tensor_type == KIND[kind.name]
    assert tensor.data.tobytes() == raw.tobytes()
    assert b"".join(map(bytes, GGUFFile(path).pieces("w"))) == raw.tobytes()


SCALARS = st.one_of(
    st.booleans(),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=9),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(width=32, allow_nan=False),
)


@given(values=st.dictionaries(st.text("abc.", min_size=1, max_size=6), SCALARS, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_values_read_back(values, tmp_path):
    values.pop("general.alignment", None)
    path = tmp_path / "a.gguf"
    write_gguf(path, values, [])
    assert dict(GGUFFile(path).metadata) == values
    assert contents(path) == values


REFUSED = {
    "rows of 48": (ShapeError, Outgoing("a", dtype.Q8_0, (2, 48), list), "48 columns are not"),
    "type": (DTypeError, Outgoing("a", dtype.uint8, (2,), list), "uint8, which the format"),
    "dims": (ShapeError, Outgoing("a", dtype.float32, (1,) * 5, list), "more than 4"),
    "name": (FormatError, Outgoing("a" * 64, dtype.float32, (1,), list), "name of 64 bytes"),
    "short": (ShapeError, Outgoing("a", dtype.float32, (2,), lambda: [bytes(4)]), "4 bytes inst"),
    "long": (ShapeError, Outgoing("a", dtype.float32, (2,), lambda: [bytes(9)]), "more bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tensor_without_a_place_in_the_format_is_refused_and_leaves_no_file(case, tmp_path):
    error, tensor, part = REFUSED[case]
    with pytest.raises(error, match=part):
        write_gguf(tmp_path / "a.gguf", {}, [tensor])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [None, {}, 2**64, ["a", 1], 1j, "\ud800", np.zeros(2, complex)])
def test_value_that_the_format_lacks_is_refused(value, tmp_path):
    with pytest.raises(FormatError):
        write_gguf(tmp_path / "a.gguf", {"k": value}, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left"), ValueError])
def test_error_within_a_tensor_leaves_what_was_there(error, tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"before")

    def broken():
        yield bytes(4)
        raise error

    with pytest.raises(error if isinstance(error, type) else OSError):
        write_gguf(path, {}, [Outgoing("a", dtype.float32, (2,), broken)])
    assert [file.name for file in tmp_path.iterdir()] == ["a.gguf"]
    assert path.read_bytes() == b"before"


def test_full_disk_leaves_no_file(tmp_path):
    code = """
import errno, resource, signal, sys
from numbatorch import dtype
from numbatorch.io.gguf_writing import Outgoing, write_gguf
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
pieces = lambda: [bytes(1 << 16)] * 64
try:
    write_gguf(sys.argv[1], {}, [Outgoing("a", dtype.float32, (1 << 20,), pieces)])
except OSError as error:
    print(type(error).__name__, error.errno == errno.EFBIG, error.filename == sys.argv[1])
"""
    path = tmp_path / "a.gguf"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "OSError True True\n"
    assert list(tmp_path.iterdir()) == []


def test_input_is_not_replaced(small, tmp_path):
    other = tmp_path / "link.gguf"
    other.symlink_to(small)
    with pytest.raises(FormatError, match="replace the file that it reads"):
        check_output(other, [small], "quantize")
    check_output(tmp_path / "new.gguf", [small], "quantize")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    code = """
import sys
import numpy as np
from numbatorch import dtype
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_writing import Outgoing, copied, write_gguf
from numbatorch.io.writing import check_output
piece = np.zeros(1 << 20, np.float32)
source, out = sys.argv[1:]
write_gguf(source, {}, [Outgoing("a", dtype.float32, (64, 1 << 20), lambda: [piece] * 64)])
file = GGUFFile(source)
write_gguf(out, {}, [copied(file, "a")])
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) >> 10)
"""
    paths = [str(tmp_path / name) for name in ("a.gguf", "b.gguf")]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 200
