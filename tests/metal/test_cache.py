"""Kernels compiled as C++ are kept for later processes, and by several at a time."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numbatorch.errors import KernelError
from tests.metal import device
from tests.metal.text import run, source

pytestmark = pytest.mark.skipif(
    not device.AVAILABLE, reason="there is no C++ compiler, or no Linux"
)

SCRIPT = """
import numpy as np
from tests.metal.text import run
x = run("x[i] = i + 5;", threads=4, x=np.zeros(4, np.float32))["x"]
assert x.tolist() == [5, 6, 7, 8], x
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path))
    return tmp_path / "metal-cpp"


def test_processes_share_a_cache(cache: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", SCRIPT]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    names = sorted(path.name.split("-")[0] for path in cache.iterdir())
    assert names == ["run", "run", "runner"], "a text, its library, the runner, nothing else"


def test_kernels_are_compiled_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros(4, np.float32)
    first = run("x[i] = 1;", threads=4, x=x)["x"]

    def refuse(*arguments: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(device, "_compile_kernel", refuse)
    np.testing.assert_array_equal(run("x[i] = 1;", threads=4, x=x)["x"], first)
    with pytest.raises(AssertionError, match="compiled again"):
        run("x[i] = 2;", threads=4, x=x)


def test_kernels_that_do_not_compile_leave_no_library(cache: Path) -> None:
    texts = [source(f"x[i] = {value};", {"x": np.zeros(1, np.float32)}) for value in ("y", 2)]
    with pytest.raises(KernelError, match="y"):
        device.compile_sources(texts)
    assert all(path.suffix == ".metal" or "run-" in path.name for path in cache.iterdir())
    (function,) = device.compile_sources(texts[1:])
    assert function.path.parent == cache
