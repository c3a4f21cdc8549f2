"""What is no regular file, has no possible name or says a key twice is refused by every reader."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import numbatorch as nt
from numbatorch.errors import FormatError
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.hub import resolve
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.inspect import describe
from numbatorch.io.reading import open_file, parse_json, read_json
from numbatorch.io.safetensors import INDEX, SafetensorsFile, open_checkpoint
from tests.io.build import safetensors_bytes

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among files here")

READERS: dict[str, Callable[[Path], Any]] = {
    "safetensors": SafetensorsFile,
    "gguf": GGUFFile,
    "inspect": lambda path: list(describe(path)),
    "load": nt.load,
    "json": lambda path: read_json(path, "test"),
    "tokenizer": Tokenizer.from_file,
}


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail instead of waiting for ever."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def make(kind: str, path: Path) -> Path:
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as found:
            found.bind(os.path.relpath(path))
    return path


@posix
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a socket", "a folder"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused(
    reader: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = make(kind, tmp_path / "x.safetensors")
    with within(10), pytest.raises(FormatError) as caught:
        READERS[reader](path)
    if (reader, kind) != ("inspect", "a folder"):
        assert f"is {kind}, not a file" in str(caught.value)


@posix
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder"])
def test_what_is_no_file_is_not_replaced(kind: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path / "x.safetensors")
    before = os.stat(path)
    with pytest.raises(FormatError, match=f"is {kind}, not a file"):
        nt.save({"x": nt.ones(3)}, path)
    assert os.path.samestat(os.stat(path), before)
    assert list(tmp_path.iterdir()) == [path]


@posix
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder"])
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"]
)
def test_no_file_of_a_model_may_be_something_else(
    name: str, kind: str, fixtures: Path, tmp_path: Path
) -> None:
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        if file != name:
            (tmp_path / file).symlink_to(fixtures / "pydoc-llama" / file)
    make(kind, tmp_path / name)
    with within(10), pytest.raises(FormatError, match=f"is {kind}, not a file"):
        nt.TextGenerator(tmp_path)


@posix
def test_a_pipe_that_took_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and opening the file may be replaced."""
    pipe, file = make("a pipe", tmp_path / "pipe"), tmp_path / "file"
    file.write_bytes(b"x")
    looked = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: looked(file, **how))
    with within(10), pytest.raises(FormatError, match="is a pipe"):
        open_file(pipe, "test")


NAMES = {"NUL": "a\0b", "long": "x" * 5000, "long folder": "x" * 5000 + "/a", "lone": "\ud800"}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("reader", READERS)
def test_a_name_that_no_file_has_is_named(reader: str, name: str) -> None:
    with pytest.raises(FormatError) as caught:
        READERS[reader](Path(name))
    assert len(str(caught.value)) < 300
    assert "\0" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_source_that_no_path_has_is_not_there(name: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such") as caught:
        resolve(f"./{name}")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000], ids=["NUL", "long"])
def test_a_shard_of_an_impossible_name_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(FormatError) as caught:
        open_checkpoint(tmp_path)
    assert "is not the name of a file beside the index" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", INDEX])
def test_a_key_that_is_there_twice_is_refused(name: str, fixtures: Path, tmp_path: Path) -> None:
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        if file != name and (file, name) != ("model.safetensors", INDEX):
            (tmp_path / file).symlink_to(fixtures / "pydoc-llama" / file)
    (tmp_path / name).write_text('{"a": {"rope_theta": 1, "rope_theta": 2}}')
    with pytest.raises(FormatError, match="key 'rope_theta' appears twice"):
        nt.TextGenerator(tmp_path)


@posix
def test_keys_that_are_there_twice_are_found_in_linear_time(tmp_path: Path) -> None:
    keys = [f'"k{number}": 0' for number in range(200_000)]
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes(f"{{{', '.join([*keys, keys[-1]])}}}".encode()))
    with within(20), pytest.raises(FormatError, match="key 'k199999' appears twice"):
        SafetensorsFile(path)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b"1" * 5000, "an integer of 5000 digits"),
        (b"-" + b"1" * 5000, "an integer of 5001 digits"),
        (b"\xff", "utf-8"),
        (b"{", "Expecting"),
        (rb'{"a": ["b\ud800"]}', r"a text holds a lone surrogate, U\+D800 behind .*b'"),
        (rb'{"\uDFFF\uD83D": 1}', r"a text holds a lone surrogate, U\+DFFF behind"),
    ],
    ids=str,
)
def test_what_is_no_json_says_why(text: bytes, part: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=part):
        parse_json(text)
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(FormatError, match=rf"test: not JSON: .*{part}.*\n  file .*x\.json"):
        read_json(tmp_path / "x.json", "test")


def test_a_character_in_two_escapes_is_one() -> None:
    assert parse_json(rb'{"\ud83d\ude42": "\\ud800"}') == {"\U0001f642": "\\ud800"}
