"""CTranslate2's model.bin: every type, and files that are cut, changed or of something else."""

import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.io.ctranslate2 import CTranslate2File
from tests.io.ct2_file import packed, quantized

KINDS = [np.float32, np.float16, ml_dtypes.bfloat16, np.int32]


def opened(path: Path, raw: bytes) -> CTranslate2File:
    path.write_bytes(raw)
    return CTranslate2File(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


def sample() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {f"a/{np.dtype(k).name}": rng.standard_normal((3, 5)).astype(k) for k in KINDS}
    arrays["heads"] = np.array(6, np.int16)
    rows = rng.standard_normal((4, 6)).astype("f4")
    arrays["q/weight"], arrays["q/weight_scale"] = quantized(rows)
    arrays["s/weight"] = np.rint(rows * 300).astype(np.int16)
    arrays["s/weight_scale"] = np.array(300, np.float32)
    return arrays


@pytest.mark.parametrize("version", [4, 5, 6])
def test_variables_are_read(version: int, path: Path) -> None:
    arrays = sample()
    file = opened(path, packed(arrays, "AnySpec", {"other": "q/weight"}, version))
    assert (file.version, file.spec, file.revision) == (version, "AnySpec", 3)
    assert file.scalars == {"heads": 6}
    assert file.aliases == {"other": "q/weight"}
    assert list(file.tensors) == [*list(arrays)[:4], "q/weight", "s/weight"]
    for name in list(arrays)[:4]:
        np.testing.assert_array_equal(file.tensor(name), arrays[name])
        np.testing.assert_array_equal(file.tensor(name, slice(1, 3)), arrays[name][1:3])
    for name in ("q/weight", "s/weight"):
        scale = arrays[f"{name}_scale"].reshape(-1, 1)
        expected = arrays[name].astype("f4") / scale
        np.testing.assert_array_equal(file.tensor(name), expected)
        np.testing.assert_array_equal(file.tensor(name, slice(2, 4)), expected[2:])
        assert file.tensors[name].dtype is nt.float32


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    raw = packed(sample(), aliases={"other": "q/weight"})
    for size in range(len(raw)):
        with pytest.raises(nt.FormatError, match=r"file .*model\.bin"):
            opened(path, raw[:size])
    with pytest.raises(nt.FormatError, match="3 bytes behind the last alias"):
        opened(path, raw + b"abc")


def test_a_cut_names_what_is_missing(path: Path) -> None:
    raw = packed({"a/weight": np.zeros((3, 5), "f4")})
    problem = r"the data of variable 'a/weight' takes 60 bytes, the file ends after 56"
    with pytest.raises(nt.FormatError, match=problem + r"\n  file .*, byte 51"):
        opened(path, raw[:-8])


def test_changed_bytes_are_read_or_refused(path: Path) -> None:
    raw = packed(sample(), aliases={"other": "q/weight"})
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(raw)
        changed[rng.integers(len(raw))] = rng.integers(256)
        try:
            file = opened(path, bytes(changed))
        except nt.FormatError:
            continue
        for name in file.tensors:
            with np.errstate(all="ignore"):
                file.tensor(name)


def test_what_is_no_such_file(path: Path) -> None:
    with pytest.raises(nt.FormatError, match="version 67324752 of the format"):
        opened(path, b"PK\x03\x04" + bytes(100))
    with pytest.raises(nt.FormatError, match="version 3 of the format; known are 4 to 6"):
        opened(path, packed({}, version=3))
    two = struct.pack("<I", 2)
    twice = packed({"a": np.zeros(2, "f4")})
    begin = twice.index(b"\x02\x00a\0")
    head, body = twice[: begin - 4], twice[begin:-4]
    with pytest.raises(nt.FormatError, match="variable 'a' appears twice"):
        opened(path, head + two + body + body + bytes(4))
    with pytest.raises(nt.FormatError, match=r"has 8 bytes, float32 \(3,\) are 12"):
        opened(path, twice.replace(struct.pack("<BI", 1, 2), struct.pack("<BI", 1, 3)))
    with pytest.raises(nt.FormatError, match="'b' of 'c', which there is not"):
        opened(path, packed({}, aliases={"b": "c"}))
    wrong = {"a": np.zeros((2, 2), np.int8), "a_scale": np.zeros(3, "f4")}
    with pytest.raises(nt.FormatError, match=r"a_scale is \(3,\) float32, of a variable \(2, 2\)"):
        opened(path, packed(wrong))
    with pytest.raises(FileNotFoundError):
        CTranslate2File(path.with_name("absent.bin"))
