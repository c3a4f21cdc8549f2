"""Settings: what is wrong with a variable, and the cache folder of a user without a home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from numbatorch import settings


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("DEBUG", "verbose", "'verbose' is not an integer"),
        ("DEBUG", "9", "9 is not in 0 to 4"),
        ("THREADS", "two", "'two' is not an integer"),
        ("THREADS", "-1", "-1 is negative"),
        ("THREADS", "99999999999", "99999999999 threads, at most 4096 are possible"),
        ("THREADS", "9" * 5000, f"{'9' * 40 + '...'!r} is not an integer"),
    ],
)
def test_errors_name_the_variable_and_its_meaning(
    name: str, text: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"NUMBATORCH_{name}", text)
    with pytest.raises(ValueError) as caught:
        (settings.debug if name == "DEBUG" else settings.threads)()
    meaning = settings.SETTINGS[name].meaning
    assert str(caught.value) == f"NUMBATORCH_{name}: {problem}\n  {meaning}"


def test_a_setting_that_there_is_not_is_told_where_numbatorch_is_imported(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os\nimport numbatorch\nimport numbatorch.settings\n")
    known = {f"NUMBATORCH_{name}": "" for name in settings.SETTINGS}
    unknown = {"NUMBATORCH_THREAD": "1", "numbatorch_cpus": "native", "NUMBATORCH_": "x"}
    told = []
    for variables in (known, {**known, **unknown}):
        environment = {**os.environ, **variables}
        done = subprocess.run(
            [sys.executable, str(program)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told.append([line for line in done.stderr.splitlines() if line])
    assert told[0] == []
    lines = [line.partition(": UserWarning: ") for line in told[1] if "UserWarning" in line]
    assert {place for place, _, _ in lines} == {f"{program}:2"}
    names = {name.upper() if sys.platform == "win32" else name for name in unknown}
    assert {text for _, _, text in lines} == {f"{name}: there is no such setting" for name in names}
    hints = {line.strip() for line in told[1] if "hint" in line}
    assert hints == {f"hint: did you mean NUMBATORCH_{name}" for name in ("THREADS", "CPU")}


def test_a_tilde_in_the_cache_folder_is_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("NUMBATORCH_CACHE", "~/x")
    assert settings.cache_dir() == tmp_path / "x"
    monkeypatch.setenv("NUMBATORCH_CACHE", "~nobody-has-this-name/x")
    with pytest.raises(
        ValueError, match="NUMBATORCH_CACHE: '~nobody-has-this-name/x' names a home"
    ):
        settings.cache_dir()


def test_a_relative_xdg_folder_is_ignored_as_its_specification_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NUMBATORCH_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "downloads")
    assert settings.cache_dir() == tmp_path / ".cache" / "numbatorch"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert settings.cache_dir() == tmp_path / "other" / "numbatorch"


@pytest.mark.parametrize("platform", ["win32", sys.platform])
def test_cache_of_a_user_without_a_home(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("could not determine home directory")

    for name in ("NUMBATORCH_CACHE", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(sys, "platform", platform)
    if platform == "win32":
        monkeypatch.delattr("os.getuid", raising=False)
    assert settings.cache_dir().name == "numbatorch"
