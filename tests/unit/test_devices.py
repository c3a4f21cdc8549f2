"""Devices by name, "auto", and the table of what there is."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

import numbatorch as nt
from numbatorch.backends import cuda, devices
from numbatorch.backends.devices import Found
from numbatorch.errors import BackendUnavailable, DeviceError, message
from tests.cuda.fake_driver import FakeDriver


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    devices.best.cache_clear()
    yield
    devices.best.cache_clear()


def with_gpus(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    """Make the driver one of GPUs with these compute capabilities."""

    class Several(FakeDriver):
        def count(self) -> int:
            return len(capabilities)

        def attribute(self, index: int, name: str) -> int:
            major, minor = capabilities[index]
            numbers = {"COMPUTE_CAPABILITY_MAJOR": major, "COMPUTE_CAPABILITY_MINOR": minor}
            return numbers.get(name, 46)

    monkeypatch.setattr(cuda, "open_driver", Several)


def without_gpus(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cuda, "open_driver", fail)


def rows() -> dict[str, Found]:
    return {row.device: row for row in devices.describe()}


def test_the_cpu_and_numpy_are_always_there() -> None:
    found = rows()
    assert list(found)[:2] == ["cpu", "numpy"]
    assert not found["cpu"].problem
    assert "thread" in found["cpu"].features
    assert found["cpu"].driver.startswith("Numba 0.")
    if sys.platform != "win32":
        memory = found["cpu"].memory
        assert memory is not None
        assert memory > 1 << 28


def test_every_gpu_has_a_row(monkeypatch) -> None:
    with_gpus(monkeypatch, (9, 0), (6, 1))
    found = rows()
    assert found["cuda"].features == "compute capability 9.0, 46 multiprocessors"
    assert found["cuda"].memory == 1 << 30
    assert found["cuda"].driver == "CUDA 12.9"
    assert not found["cuda"].problem
    assert "6.1, and at least 7.5 is needed" in found["cuda:1"].problem
    assert found["cuda:1"].hint


@pytest.mark.parametrize(
    ("error", "problem", "hint"),
    [
        (
            BackendUnavailable(message("cuda", "not there", "a fact", "another", hint="do this")),
            "not there (a fact, another)",
            "do this",
        ),
        (OSError("a library is broken"), "a library is broken", ""),
        (RuntimeError(), "RuntimeError", ""),
    ],
    ids=["ours", "text", "no text"],
)
def test_what_a_probe_raises_is_a_reason(monkeypatch, error, problem, hint) -> None:
    without_gpus(monkeypatch, error)
    row = rows()["cuda"]
    assert (row.problem, row.hint) == (problem, hint)
    assert nt.device("auto").kind != "cuda"


def test_auto_is_the_first_gpu_that_works(monkeypatch) -> None:
    with_gpus(monkeypatch, (6, 1), (7, 5), (9, 0))
    assert nt.device("auto") == nt.device("cuda:1")
    monkeypatch.setenv("NUMBATORCH_DEVICE", "auto")
    assert nt.device() == nt.device("cuda:1")


@pytest.mark.skipif(sys.platform == "darwin", reason="Metal may be there")
def test_auto_is_the_cpu_without_a_gpu(monkeypatch) -> None:
    without_gpus(monkeypatch, BackendUnavailable("none"))
    assert nt.device("auto") == nt.device("cpu")
    assert nt.zeros(2, device="auto").device == nt.device("cpu")


@pytest.mark.skipif(sys.platform == "darwin", reason="Metal may be there")
def test_auto_is_no_simulator(monkeypatch) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    with_gpus(monkeypatch, (9, 0))
    assert nt.device("auto") == nt.device("cpu")


def test_importing_asks_nothing_of_gpu_libraries() -> None:
    code = (
        "import sys; before = set(sys.modules); import numbatorch, numbatorch.backends.devices; "
        "print([name for name in set(sys.modules) - before if name.split('.')[0] in "
        "('cuda', 'numba', 'numba_cuda', 'llvmlite', 'Metal', 'objc')])"
    )
    environment = {**os.environ, "NUMBATORCH_DEVICE": "auto"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["gpu", "cudda", "cpu:1", "cuda:", "cuda:x", "metal:1", "mps", ""])
def test_names_of_no_device(name: str) -> None:
    known = "auto, cpu, numpy, cuda, metal; .* cuda:0"
    with pytest.raises(DeviceError, match=rf"there is no device {name!r}\n  devices are {known}"):
        nt.device(name)


@pytest.mark.parametrize("name", [0, ["cuda"], 1.5])
def test_what_is_no_name(name: object) -> None:
    with pytest.raises(TypeError, match="is no name of a device"):
        nt.ones(2, device=name)  # type: ignore[arg-type]


def test_the_default_device_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "cudda")
    with pytest.raises(DeviceError, match="NUMBATORCH_DEVICE: there is no device 'cudda'"):
        nt.ones(2)
    monkeypatch.setenv("NUMBATORCH_DEVICE", "")
    assert nt.ones(2).device.kind == "cpu"
