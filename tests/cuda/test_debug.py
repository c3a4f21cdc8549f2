"""Runs on device "cuda" that are debugged, over a driver that does everything as late as it may."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.backends import base
from numbatorch.backends.cuda.driver import DriverError
from numbatorch.backends.cuda.runtime import CudaRuntime
from numbatorch.backends.cuda.simulated_driver import Simulated
from numbatorch.backends.gpu import GPUBackend
from numbatorch.errors import KernelError
from tests.cuda.fake_driver import ILLEGAL_ADDRESS, FakeDriver


class Watched:
    """Where a debug line goes: notes how many launches happened before it, and how many wait."""

    def __init__(self, happened: list[str], driver: FakeDriver) -> None:
        self.lines: list[tuple[str, int, int]] = []
        self._happened, self._driver = happened, driver

    def write(self, text: str) -> None:
        if text.strip():
            self.lines.append((text.split()[1], len(self._happened), len(self._driver._pending)))


def compile_noting(happened: list[str], failing: int = -1) -> Any:
    """Kernels that do nothing but note their names; the one with a number fails."""

    def compiled(kernels: Any, capability: tuple[int, int]) -> list[Simulated]:
        return [Simulated(noting(spec.name), spec.symbol) for spec, _ in kernels]

    def noting(name: str) -> Any:
        def run(groups: int, threads: int, argument: int) -> None:
            if len(happened) == failing:
                raise DriverError("fake kernel", *ILLEGAL_ADDRESS)
            happened.append(name)

        return run

    return compiled


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def debugged(monkeypatch, driver) -> Iterator[Any]:
    """A function of `failing` that makes device "cuda", debugged; gives what was launched."""
    monkeypatch.setenv("NUMBATORCH_DEBUG", "1")
    device = nt.device("cuda")
    happened: list[str] = []
    before = base._backends.get(device)

    def start(failing: int = -1) -> list[str]:
        runtime = CudaRuntime(driver, 0, compile_noting(happened, failing))
        base.install(device, GPUBackend(runtime))
        return happened

    yield start
    base.install(device, before)


def softmax_of_products() -> nt.Tensor:
    x = nt.tensor(np.ones((4, 8), np.float32), device="cuda")
    return (x @ x.transpose(0, 1)).softmax(-1).sum()


def test_a_debug_line_comes_when_its_launch_is_over(debugged, driver, monkeypatch) -> None:
    happened = debugged()
    lines = Watched(happened, driver)
    monkeypatch.setattr(sys, "stderr", lines)
    softmax_of_products().realize()
    monkeypatch.undo()
    assert len(happened) == len(lines.lines) >= 3
    assert lines.lines == [(name, i + 1, 0) for i, name in enumerate(happened)]
    assert driver.held()[1] == 2  # the ring and one copy of the words


def test_a_failing_kernel_is_named_alone_when_debugged(debugged, capsys) -> None:
    happened = debugged(failing=1)
    with pytest.raises(KernelError, match="context is lost") as caught:
        softmax_of_products().realize()
    (flight,) = re.findall("kernels in flight: (.*)", str(caught.value))
    assert len(happened) == 1
    assert flight.startswith("kernel ") and flight.count("kernel ") == 1
    assert happened[0] not in flight
