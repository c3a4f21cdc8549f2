"""The cache is its user's alone under any umask; what others can write is not run or followed."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from numbatorch import private
from numbatorch.backends.cpu.packfile import PackFile
from numbatorch.language.kernel import write_source

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes of files")

KEY = "0" * 32
MINE, THEIRS = {KEY: ("mine", b"mine")}, {KEY: ("theirs", b"theirs")}

PROGRAM = """
import os
os.umask(0)
from pathlib import Path
from numbatorch import settings
from numbatorch.backends.cpu.packfile import PackFile
from numbatorch.language.kernel import write_source
PackFile(settings.cache_dir() / "packs" / "a.pack", "me").append({"0" * 32: ("mine", b"mine")}, [])
write_source(str(settings.cache_dir() / "source" / "a.py"), "text")
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def pack(tmp_path: Path) -> PackFile:
    """A pack in a folder that does not exist yet."""
    return PackFile(tmp_path / "cache" / "packs" / "a.pack", "me")


def test_what_is_made_is_for_this_user_alone_under_any_umask(tmp_path: Path) -> None:
    cache = tmp_path / "home" / "cache"
    variables = {**os.environ, "NUMBATORCH_CACHE": str(cache)}
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env=variables)
    made = [cache.parent, cache, *cache.rglob("*")]
    assert {path.name for path in made} >= {"a.pack", "a.py", "packs", "source"}
    for path in made:
        assert mode_of(path) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_pack_that_others_can_write_is_not_loaded_and_made_anew(
    pack: PackFile, mode: int
) -> None:
    pack.append(THEIRS, [])
    pack.path.chmod(mode)
    again = PackFile(pack.path, "me")
    assert again.read([KEY]) == {}
    again.append(MINE, [])
    assert mode_of(pack.path) == 0o600
    assert PackFile(pack.path, "me").read([KEY]) == MINE


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_can_write_is_left_for_another(pack: PackFile, mode: int) -> None:
    pack.append(THEIRS, [])
    pack.path.parent.chmod(mode)
    assert PackFile(pack.path, "me").read([KEY]) == {}
    PackFile(pack.path, "me").append(MINE, [])
    assert PackFile(pack.path, "me").read([KEY]) == MINE
    PackFile(pack.path, "me").append({"1" * 32: ("more", b"more")}, [])
    folders = sorted(pack.path.parents[1].iterdir())
    assert len(folders) == 2 and folders[0] == pack.path.parent
    assert mode_of(folders[1]) == 0o700


def test_a_folder_of_another_user_is_left_for_another(
    pack: PackFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack.append(THEIRS, [])
    real = os.fstat

    def fstat(number: int) -> os.stat_result:
        found = real(number)
        if found.st_ino != pack.path.parent.stat().st_ino:
            return found
        return os.stat_result([*found[:4], os.getuid() + 12345, *found[5:10]])

    monkeypatch.setattr(os, "fstat", fstat)
    assert PackFile(pack.path, "me").read([KEY]) == {}
    PackFile(pack.path, "me").append(MINE, [])
    assert PackFile(pack.path, "me").read([KEY]) == MINE


@pytest.mark.parametrize("name", ["a.pack", "a.lock"])
def test_no_link_of_a_known_name_is_followed(pack: PackFile, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    pack.path.parent.mkdir(parents=True)
    pack.path.with_name(name).symlink_to(victim)
    if name == "a.pack":
        pack.append(MINE, [])
        assert pack.read([KEY]) == MINE and not pack.path.is_symlink()
    else:
        with pytest.raises(OSError, match="symbolic"):
            pack.append(MINE, [])
    assert victim.read_text() == "precious"


def test_a_link_to_a_folder_is_not_followed(pack: PackFile, tmp_path: Path) -> None:
    other = PackFile(tmp_path / "other" / "a.pack", "me")
    other.append(THEIRS, [])
    pack.path.parents[1].mkdir()
    pack.path.parent.symlink_to(other.path.parent)
    assert pack.read([KEY]) == {}
    pack.append(MINE, [])
    assert pack.read([KEY]) == MINE and other.read([KEY]) == THEIRS


def test_source_is_not_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "source" / "a.py"
    path.parent.mkdir(mode=0o700)
    path.symlink_to(victim)
    write_source(str(path), "text")
    assert victim.read_text() == "precious" and path.read_text() == "text"


def test_code_of_gpus_that_others_can_write_is_compiled_again(tmp_path: Path) -> None:
    from numbatorch.backends.cuda import compiler

    path = tmp_path / "cuda" / "sm_90" / "kernel.bin"
    compiler._write(path, b"image")
    assert compiler._read(path) == b"image" and mode_of(path) == 0o600
    path.chmod(0o622)
    assert compiler._read(path) is None
    compiler._write(path, b"again")
    assert compiler._read(path) == b"again"
    path.parent.chmod(0o777)
    assert compiler._read(path) is None


def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(pack: PackFile) -> None:
    pack.path.parent.mkdir(parents=True, mode=0o700)
    os.mkfifo(pack.path, 0o600)
    with private.find(pack.path.parent) as folder:
        with pytest.raises(private.Refused, match=r"a\.pack: is no regular file"):
            folder.open("a.pack")
    pack.append(MINE, [])
    assert pack.read([KEY]) == MINE


def test_a_failed_write_leaves_the_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "file"
    private.write(path, b"old")

    def refuse(*names: str, **folders: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        private.write(path, b"new")
    assert private.read(path) == b"old"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


def test_no_descriptor_is_left_open(pack: PackFile) -> None:
    pack.append(MINE, [])
    pack.path.chmod(0o666)
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        pack.read([KEY])
        pack.append(MINE, [])
        with pytest.raises(OSError):
            private.read(pack.path.parent / "absent")
    assert len(os.listdir("/dev/fd")) == before
