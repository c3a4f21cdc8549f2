"""Settings: what is wrong with a variable, and the cache folder of a user without a home."""

import sys
from pathlib import Path

import pytest

from numbatorch import settings


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("DEBUG", "verbose", "'verbose' is not an integer"),
        ("THREADS", "two", "'two' is not an integer"),
        ("THREADS", "-1", "-1 is negative"),
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
