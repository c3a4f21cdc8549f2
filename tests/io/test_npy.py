"""npy and npz files: as NumPy writes and reads them, and an error for everything malformed."""

import io
import struct
import zipfile

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import DTypeError, FormatError
from numbatorch.io.npy import NpzFile

TYPES = "f8 f4 f2 i8 i4 i2 i1 u8 u4 u2 u1 ? c8 c16".split()


def arrays():
    made = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in TYPES}
    return {
        **made,
        "big": np.arange(6, dtype=">f4").reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 3), np.int16),
        "folder/name": np.ones(2),
    }


def assert_same(ours, theirs):
    assert ours.dtype is nt.dtype.from_numpy(theirs.dtype.newbyteorder("="))
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(ours.numpy(), theirs)


def test_every_array_of_numpy_is_loaded(tmp_path):
    path = tmp_path / "x.npy"
    for array in arrays().values():
        np.save(path, array)
        assert_same(nt.load(path), array)
        for version in ((2, 0), (3, 0)):
            with open(path, "wb") as file:
                np.lib.format.write_array(file, array, version=version)
            assert_same(nt.load(path), array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_numpy_are_read_one_array_at_a_time(tmp_path, save):
    path = tmp_path / "x.npz"
    save(path, **arrays())
    found = nt.load(path)
    assert list(found) == list(arrays()) and len(found) == len(arrays())
    for name, array in arrays().items():
        assert_same(found[name], array)
    assert "absent" not in found and "x.npz" in repr(found)
    with pytest.raises(KeyError):
        found["absent"]
    raw = bytearray(path.read_bytes())  # what is broken is found when it is asked for
    entry = NpzFile(path)._entries["f8"]
    raw[entry.offset + entry.packed - 1] ^= 1
    path.write_bytes(raw)
    found = nt.load(path)
    assert_same(found["f4"], arrays()["f4"])
    if save is np.savez_compressed:
        with pytest.raises(
            FormatError, match=r"entry 'f8\.npy' (has another check|does not|is not)"
        ):
            found["f8"]


def test_what_is_written_numpy_reads(tmp_path):
    made = {name: nt.tensor(np.ascontiguousarray(a)) for name, a in arrays().items()}
    made["columns"] = made["columns"].T
    made["leaf"] = nt.ones(3, requires_grad=True)
    for name, tensor in made.items():
        nt.save(tensor, tmp_path / "x.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), tensor.detach().numpy())
        assert nt.load(tmp_path / "x.npy").shape == tensor.shape, name
    sizes = []
    for compressed in (False, True):
        nt.save({**made, "zeros": nt.zeros(1000)}, tmp_path / "x.npz", compressed=compressed)
        sizes.append((tmp_path / "x.npz").stat().st_size)
        with np.load(tmp_path / "x.npz") as theirs:
            for name, tensor in made.items():
                np.testing.assert_array_equal(theirs[name], tensor.detach().numpy())
    assert sizes[1] < sizes[0]
    first = (tmp_path / "x.npz").read_bytes()
    nt.save({**made, "zeros": nt.zeros(1000)}, tmp_path / "x.npz", compressed=True)
    assert first == (tmp_path / "x.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy", "x.npz"]


def test_what_is_not_written(tmp_path):
    path = tmp_path / "x.npz"
    for name in ("../x", "/x", "a/../../x", "..\\x", "", "a\0b"):
        with pytest.raises(ValueError, match="no entry of an archive is called"):
            nt.save({name: nt.ones(2)}, path)
    for kind in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        with pytest.raises(DTypeError, match=f"npy has no type for 'x', which is {kind}"):
            nt.save({"x": nt.ones(2, dtype=kind)}, path)
    with pytest.raises(TypeError, match="npy holds one tensor, not dict"):
        nt.save({"x": nt.ones(2)}, tmp_path / "x.npy")
    with pytest.raises(TypeError, match="has no metadata"):
        nt.save({"x": nt.ones(2)}, path, {"a": "b"})
    with pytest.raises(TypeError, match="only npz is compressed"):
        nt.save({"x": nt.ones(2)}, tmp_path / "x.safetensors", compressed=True)
    with pytest.raises(TypeError, match="takes tensors by name, not Tensor"):
        nt.save(nt.ones(2), path)
    assert not list(tmp_path.iterdir())


def npy(header, data=b"", version=b"\1\0"):
    raw = header.encode() if isinstance(header, str) else header
    length = struct.pack("<H" if version == b"\1\0" else "<I", len(raw))
    return b"\x93NUMPY" + version + length + raw + data


def described(descr="'<f4'", order="False", shape="(2,)", more=""):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {more}}}"


EIGHT = bytes(8)
MALFORMED = {
    "objects": (npy(described("'|O'")), "holds Python objects as a pickle"),
    "text": (npy(described("'<U5'")), "elements of '<U5' have no dtype here"),
    "records": (npy(described("[('a', '<f4')]")), "have no dtype here"),
    "two": (npy(described("'f4,O'")), "have no dtype here"),
    "long double": (npy(described("'<f16'"), bytes(32)), "have no dtype here"),
    "dates": (npy(described("'<M8[s]'")), "have no dtype here"),
    "order": (npy(described(order="0")), "the impossible shape"),
    "negative": (npy(described(shape="(-2,)")), r"the impossible shape \(-2,\)"),
    "list": (npy(described(shape="[2]")), "the impossible shape"),
    "truth": (npy(described(shape="(True,)")), "the impossible shape"),
    "huge": (npy(described(shape="(2**62, 4)")), "no dict of Python"),
    "large": (npy(described(shape="(4611686018427387904, 4)")), "the impossible shape"),
    "digits": (npy(described(shape="(0x" + "f" * 8000 + ",)")), "integers too long to write"),
    "dimensions": (npy(described(shape="(" + "1," * 65 + ")")), "the impossible shape"),
    "call": (npy("__import__('os').system('true')"), "no dict of Python"),
    "deep": (npy("(" * 9000), "no dict of Python"),
    "more": (npy(described(more="'a': 1")), "does not have descr, fortran_order and shape"),
    "short": (npy(described(), bytes(7)), r"float32 \(2,\) takes 8 bytes, not 7"),
    "long": (npy(described(), bytes(9)), "takes 8 bytes, not 9"),
    "version": (npy(described(), EIGHT, b"\4\0"), r"version 4\.0 of npy is unknown"),
    "limit": (b"\x93NUMPY\2\0" + b"\xff" * 4 + bytes(99), "above the limit of 10000"),
    "cut": (b"\x93NUMPY\1\0\x50\0{", "a header of 80 bytes is cut short"),
    "bool": (npy(described("'|b1'"), b"\0\2"), "a bool is neither 0 nor 1"),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("packed", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_malformed_arrays_are_refused(tmp_path, name, packed):
    raw, told = MALFORMED[name]
    path = tmp_path / "x.npy"
    if packed is None:
        path.write_bytes(raw)
    else:
        with zipfile.ZipFile(path, "w", packed) as file:
            file.writestr("a.npy", raw)
    with pytest.raises(FormatError, match=told) as error:
        found = nt.load(path)
        found["a"]
    assert str(path) in str(error.value) and "byte" in str(error.value)


def test_archives_that_unpack_to_more_than_they_say(tmp_path):
    path = tmp_path / "x.npz"
    whole = npy(described(shape="(1000,)"), bytes(4000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", whole)
    raw = bytearray(path.read_bytes())
    start = raw.index(b"PK\1\2")
    for size, told in ((len(whole) - 4, "takes 4000 bytes"), (2**31, "cannot hold the")):
        struct.pack_into("<I", raw, start + 24, size)
        path.write_bytes(raw)
        with pytest.raises(FormatError, match=told):
            nt.load(path)["a"]
    shorter = npy(described(shape="(999,)"), bytes(4000))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", shorter)
    raw = bytearray(packed.getvalue())
    struct.pack_into("<I", raw, raw.index(b"PK\1\2") + 24, len(shorter) - 4)
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=r"is not of the \d+ bytes it says"):
        nt.load(path)["a"]
    for name in ("a.txt", "__pycache__/"):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a.npy", whole)
            file.writestr(name, b"")
        with pytest.raises(FormatError, match="is no array"):
            nt.load(path)
    with zipfile.ZipFile(path, "w") as file:
        pass
    assert dict(nt.load(path)) == {}
