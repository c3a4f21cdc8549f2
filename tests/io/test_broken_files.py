"""Files that are cut short, changed, empty or of another kind: an error that names file and format.

The whole files are those of NumPy and of the safetensors library; PyTorch's are in tests/peers.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import numbatorch as nt
from numbatorch.errors import FormatError

ARRAYS = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.array([True, False])}
WRITERS: dict[str, Callable[[Path], Any]] = {
    "x.npy": lambda path: np.save(path, ARRAYS["a"]),
    "x.npz": lambda path: np.savez(path, **ARRAYS),
    "packed.npz": lambda path: np.savez_compressed(path, **ARRAYS),
    "x.safetensors": lambda path: save_file(ARRAYS, path),
}


def read(source: Any) -> dict[str, nt.Tensor]:
    """What a file holds, all of it."""
    found = nt.load(source)
    return {"a": found.realize()} if isinstance(found, nt.Tensor) else dict(found)


@pytest.mark.parametrize("name", WRITERS)
def test_no_beginning_of_a_file_is_a_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    np.testing.assert_array_equal(read(path)["a"].numpy(), ARRAYS["a"])
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError) as told:
            read(path)
        assert str(path) in str(told.value)
        assert ("safetensors" in str(told.value)) == (path.suffix == ".safetensors")


@pytest.mark.parametrize("name", WRITERS)
def test_changed_bytes_are_read_or_refused(
    name: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(20_000 if pytestconfig.getoption("slow") else 500):
        raw = bytearray(whole)
        raw[random.integers(len(raw))] ^= 1 << int(random.integers(8))
        try:
            read(io.BytesIO(raw))
        except FormatError as told:
            assert "<BytesIO>" in str(told)


NO_FORMAT = {
    "x.npy": "no npy file",
    "x.npz": "no npz file, which is a zip archive",
    "x.pt": "no file of PyTorch, which is a zip archive or begins as a pickle",
    "x.pth": "no file of PyTorch",
    "x.BIN": "no file of PyTorch",
    "x": "of no format that is read here",
    "x.dat": "of no format that is read here",
}


@pytest.mark.parametrize("name", NO_FORMAT)
def test_the_suffix_says_what_a_file_should_have_been(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for raw, said in ((b"", "it is empty"), (b"abc", "it begins with b'abc'")):
        path.write_bytes(raw)
        with pytest.raises(FormatError) as told:
            nt.load(path)
        assert str(told.value).startswith(f"load: {NO_FORMAT[name]}")
        assert f": {said}\n  file {path}" in str(told.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [("x.npz", "an npz file"), ("x.pt", "a file of PyTorch"), ("x", "a file")],
)
def test_an_archive_that_is_cut_short(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\3\4")
    with pytest.raises(FormatError, match=f"load: {told} that is no zip archive, or one cut short"):
        nt.load(tmp_path / name)


def test_the_first_bytes_say_what_a_file_is(tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        write(tmp_path / name)
        (tmp_path / name).rename(tmp_path / "x.bin")
        np.testing.assert_array_equal(read(tmp_path / "x.bin")["a"].numpy(), ARRAYS["a"])
    (tmp_path / "x.bin").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(FormatError, match="version 0, where 1 to 3 are read"):
        nt.load(tmp_path / "x.bin")
