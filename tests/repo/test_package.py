"""What is published: a wheel and an sdist that are whole, and run where there is no checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

import numbatorch as nt

ROOT = Path(__file__).parents[2]
TOOLS = ("build", "hatchling", "twine", "pip")
# A look for the module `pip` would have setuptools put its distutils in place.
ABSENT = [name for name in TOOLS if not [*distributions(name=name)]]

pytestmark = pytest.mark.skipif(
    bool(ABSENT), reason=f"pip install -e '.[dev]' brings {', '.join(ABSENT)}"
)


def run(*words: str, cwd: Path, **variables: str) -> str:
    """Standard output of a Python process, which has to succeed."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed to, without what it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(folder)]
    run("-m", "pip", "install", *options, str(wheel), cwd=folder)
    return folder


def test_the_index_would_take_them(built: Path) -> None:
    files = [str(path) for path in built.iterdir()]
    assert len(files) == 2
    run("-m", "twine", "check", "--strict", *files, cwd=built)


def test_the_version_is_that_of_the_module(built: Path, wheel: Path) -> None:
    assert (built / f"numbatorch-{nt.__version__}.tar.gz").is_file()
    assert wheel.name == f"numbatorch-{nt.__version__}-py3-none-any.whl"


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = (path for path in (ROOT / "numbatorch").rglob("*") if path.is_file())
    kept = {path.relative_to(ROOT) for path in package if "__pycache__" not in path.parts}
    assert names == {path.as_posix() for path in kept}
    assert "numbatorch/py.typed" in names


def test_the_sdist_holds_what_the_tests_need(built: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "tests", "numbatorch", "tools", "docs", "examples", "benchmarks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if tracked.returncode:
        pytest.skip("no checkout of git")
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in tracked.stdout.splitlines() if (ROOT / name).is_file()}
    assert not wanted - names
    assert {"pyproject.toml", "LICENSE", "README.md", "Makefile"} <= names


def test_the_installed_package_computes_without_the_checkout(installed: Path) -> None:
    code = (
        "import numbatorch as nt; print(nt.__file__);"
        "print(nt.tensor([3.0, 4.0]).square().sum().sqrt().item())"
    )
    place, value = run("-c", code, cwd=installed, PYTHONPATH=str(installed)).split("\n")[:2]
    assert Path(place) == installed / "numbatorch" / "__init__.py"
    assert value == "5.0"


def test_the_installed_command_runs(installed: Path) -> None:
    (command,) = (path for path in (installed / "bin").iterdir() if path.stem == "numbatorch")
    done = subprocess.run(
        [str(command), "--version"],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"numbatorch {nt.__version__}\n"


def test_a_kernel_pack_is_of_one_version() -> None:
    from numbatorch.backends.cpu.pack import _pack_file

    assert _pack_file().path.name.startswith(f"numbatorch-{nt.__version__}-")
