"""What holds for every writer: permissions, full disks, names; nothing half written stays."""

import os
import resource  # of POSIX
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import dtype
from numbatorch.generation.chat import Chat
from numbatorch.io.gguf_writing import Outgoing
from numbatorch.io.safetensors_writing import stream_safetensors
from numbatorch.io.writing import replaced_folder
from numbatorch.quantized.files import quantize_file
from numbatorch.quantized.importance import Importance, write_importance

X = np.linspace(0, 1, 3000, dtype=np.float32)


def _save(path: Path) -> None:
    nt.save(X if path.suffix == ".npy" else {"x": X}, path)


def _stream(path: Path) -> None:
    stream_safetensors(path, [Outgoing("x", dtype.float32, X.shape, lambda: [X])], {})


def _folder(path: Path) -> None:
    with replaced_folder(path, "convert") as folder:
        _stream(folder / "model.safetensors")


def _quantize(path: Path) -> None:
    plain = Path(__file__).parent.parent / "fixtures/pydoc-llama/pydoc-llama-q4_0.gguf"
    quantize_file(plain, path, "Q4_0", requantize=True)


def _importance(path: Path) -> None:
    found = Importance()
    found.add("x", X[None])
    write_importance(path, found)


def _chat(path: Path) -> None:
    Chat.save(SimpleNamespace(messages=[{"role": "user", "content": "a" * 9000}]), path)


WRITERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys(("a.safetensors", "a.npy", "a.npz", "a.gguf"), _save),
    "streamed.safetensors": _stream,
    "folder": _folder,
    "quantized.gguf": _quantize,
    "importance.gguf": _importance,
    "chat.json": _chat,
}
POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions and limits of POSIX")


@pytest.fixture(params=WRITERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@POSIX
def test_files_have_the_permissions_that_the_umask_leaves(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    before = os.umask(0o027)
    try:
        WRITERS[name](path)
        written = path / "model.safetensors" if path.is_dir() else path
        assert stat.S_IMODE(written.stat().st_mode) == 0o640
        if path.is_file():  # what is nobody else's stays so
            path.chmod(0o600)
            WRITERS[name](path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


@POSIX
def test_a_full_disk_is_an_error_of_the_file_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            WRITERS[name](path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value.filename).startswith(str(path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_absent_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder") as caught:
        WRITERS[name](tmp_path / "absent" / name)
    assert str(tmp_path / "absent") in str(caught.value)
    assert not any(part.startswith(".") for part in str(caught.value).split("/"))


def test_a_name_may_be_as_long_as_names_are(name: str, tmp_path: Path) -> None:
    suffix = Path(name).suffix
    path = tmp_path / ("n" * (255 - len(suffix)) + suffix)
    WRITERS[name](path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
