"""What nt.save and nt.load take: suffixes, open files, arrays, devices; and what they refuse."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

import numbatorch as nt
from numbatorch.errors import DTypeError, FormatError

X = {"x": nt.tensor([1.0, 2.0])}


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.bin", "m.ckpt", "a", "a.foo", "x.npz.gz"])
def test_other_suffixes_are_not_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(FormatError, match=r"written are \.safetensors, \.npy, \.npz") as told:
        nt.save(X, path)
    read_only = path.suffix in (".pt", ".pth", ".bin", ".ckpt")
    assert ("files of PyTorch are read only" in str(told.value)) == read_only
    assert not list(tmp_path.iterdir())
    if path.suffix:
        with open(path, "wb") as file, pytest.raises(FormatError, match="written are"):
            nt.save(X, file)


def test_a_suffix_in_capitals(tmp_path: Path) -> None:
    nt.save(X, tmp_path / "X.NPZ")
    np.testing.assert_array_equal(np.load(tmp_path / "X.NPZ")["x"], [1, 2])


def test_arrays_of_numpy_are_tensors(tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3).T
    nt.save({"x": array, "y": np.float32(2)}, tmp_path / "x.safetensors")
    found = load_safetensors((tmp_path / "x.safetensors").read_bytes())
    np.testing.assert_array_equal(found["x"], array)
    assert found["y"] == 2 and found["y"].dtype == np.float32
    nt.save(array, tmp_path / "x.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), array)
    with pytest.raises(DTypeError, match="'x' is an array of object"):
        nt.save({"x": np.array([None])}, tmp_path / "x.npz")


REFUSED: dict[str, tuple[Any, str]] = {
    "key": ({1: nt.ones(2)}, "save: name 1 is int, not str"),
    "nested": (
        {"model": {"layer.0": {"weight": nt.ones(2)}}},
        r"obj\['model'\] is a dict: a file holds tensors by name, in one level\n"
        r"  obj\['model'\]\['layer\.0'\]\['weight'\] is \(2,\) float32\n"
        r"  hint: save\(\{'model\.layer\.0\.weight': \.\.\.\}, path\)",
    ),
    "list": ({"a": [nt.ones(2)]}, r"obj\['a'\] is a list[\s\S]*obj\['a'\]\[0\] is \(2,\) float32"),
    "empty": ({"a": {}}, r"obj\['a'\] is a dict"),
    "number": ({"step": 3}, "'step' is int, not a tensor"),
    "module": (nt.nn.Linear(2, 2), r"not Linear\n  hint: save\(x\.state_dict\(\), path\)"),
    "text": ("abc", "takes tensors by name, not str"),
}


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_mapping_of_names_to_tensors(name: str, suffix: str, tmp_path: Path) -> None:
    made, told = REFUSED[name]
    with pytest.raises(TypeError, match=told):
        nt.save(made, tmp_path / f"x.{suffix}")
    assert not list(tmp_path.iterdir())


def test_names_and_metadata_that_the_library_does_not_take(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for name in ("__metadata__", "\ud800"):
        with pytest.raises(ValueError, match="no tensor can have the name"):
            nt.save({name: nt.ones(2)}, path)
    metadata: Any
    for metadata in ({"a": 1}, {1: "a"}):
        with pytest.raises(TypeError, match=r"save: metadata '?[a1]'?: .* is not str to str"):
            nt.save(X, path, metadata)
    assert not list(tmp_path.iterdir())


def test_open_files_without_a_name() -> None:
    file = io.BytesIO()
    nt.save(X, file, {"by": "a test"})
    np.testing.assert_array_equal(load_safetensors(file.getvalue())["x"], [1, 2])
    assert nt.load(io.BytesIO(file.getvalue()))["x"].tolist() == [1, 2]
    file = io.BytesIO()
    nt.save(X, file, compressed=True)
    file.seek(0)
    np.testing.assert_array_equal(np.load(file)["x"], [1, 2])
    file.seek(0)
    found = nt.load(file)
    assert found.files == ["x"] and found["x"].tolist() == [1, 2]
    with nt.load(io.BytesIO(file.getvalue())) as npz:
        assert npz["x"].tolist() == [1, 2]


def test_arrays_follow_each_other_in_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with open(path, "wb") as file:
        nt.save(nt.arange(3), file)
        np.save(file, np.ones((2, 2)))
    with open(path, "rb") as file:
        np.testing.assert_array_equal(np.load(file), [0, 1, 2])
        assert nt.load(file).tolist() == [[1, 1], [1, 1]]
    with open(path, "rb") as file:
        assert nt.load(file).tolist() == [0, 1, 2]
        np.testing.assert_array_equal(np.load(file), np.ones((2, 2)))
    with pytest.raises(FormatError, match="takes 24 bytes"):
        nt.load(path)


@pytest.fixture
def named_file() -> Iterator[Any]:
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        yield file


def test_an_open_file_with_a_name(named_file: Any) -> None:
    nt.save(X, named_file)
    named_file.seek(0)
    assert nt.load(named_file)["x"].tolist() == [1, 2]
    named_file.seek(0)
    np.testing.assert_array_equal(np.load(named_file)["x"], [1, 2])
    with tempfile.TemporaryFile() as file:  # its name is a number
        nt.save(nt.arange(3), file)
        file.seek(0)
        assert nt.load(file).tolist() == [0, 1, 2]


def test_files_of_text_and_no_files(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"does not take bytes[\s\S]*open\(path, 'wb'\)"):
        nt.save(X, io.StringIO())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"gives str, not bytes[\s\S]*open\(path, 'rb'\)"):
        nt.load(io.StringIO("abc"))  # type: ignore[arg-type]
    for call in (lambda: nt.load(3), lambda: nt.save(X, 3)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="takes a path or a file that is open in binary mode"):
            call()


class OnlyRead:
    """An open file that has no method but `read`."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def read(self) -> bytes:
        return self.raw


def test_a_file_that_can_only_be_read(tmp_path: Path) -> None:
    for name, given in {"x.npy": X["x"], "x.npz": X, "x.safetensors": X}.items():
        nt.save(given, tmp_path / name)
        found: Any = nt.load(OnlyRead((tmp_path / name).read_bytes()))  # type: ignore[arg-type]
        assert (found if name == "x.npy" else found["x"]).tolist() == [1, 2]


def test_first_bytes_say_the_format_whatever_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    np.save(tmp_path / "x.npy", np.ones(2))
    path.write_bytes((tmp_path / "x.npy").read_bytes())
    assert nt.load(path).tolist() == [1, 1]
    for zipped in (True, False):
        torch = pytest.importorskip("torch")
        torch.save({"x": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
        assert nt.load(path)["x"].tolist() == [1, 1]
    path.write_bytes((128).to_bytes(8, "little"))  # as a pickle begins, but a length
    with pytest.raises(FormatError, match="header"):
        nt.load(path)


def test_where_loaded_tensors_go(tmp_path: Path) -> None:
    nt.save(X, tmp_path / "x.npz")
    nt.save(X, tmp_path / "x.safetensors")
    for path in tmp_path.iterdir():
        for place in ("numpy", nt.device("numpy")):
            assert nt.load(path, map_location=place)["x"].device == nt.device("numpy")
            assert nt.load(path, place)["x"].device == nt.device("numpy")
            assert nt.load(path, device=place)["x"].device == nt.device("numpy")
        assert nt.load(path, map_location=None)["x"].device == nt.device()
        with pytest.raises(TypeError, match="map_location and device are both given"):
            nt.load(path, "cpu", device="cpu")
        with pytest.raises(nt.DeviceError, match="no device 'nowhere'"):
            nt.load(path, "nowhere")
        other: Any
        for other in ({"cuda:0": "cpu"}, lambda storage, location: storage):
            with pytest.raises(TypeError, match=r"map_location is a (dict|function), not"):
                nt.load(path, map_location=other)


def test_arguments_that_change_nothing_or_mapping(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    nt.save(nt.ones(4), path)
    for options in ({"weights_only": True}, {"weights_only": None}, {"mmap": True}, {"mmap": None}):
        assert nt.load(path, **options).tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="weights_only is False: code in a file never runs"):
        nt.load(path, weights_only=False)
    with open(path, "rb") as file, pytest.raises(ValueError, match="takes a path, not an open"):
        nt.load(file, mmap=True)
    read = nt.load(path, mmap=False)
    with open(path, "r+b") as file:  # which what is mapped may see
        file.seek(-16, 2)
        file.write(np.zeros(4, "f4").tobytes())
    assert read.tolist() == [1, 1, 1, 1]
