"""Launches that are made again and again: their argument blocks, and a CUDA graph of them.

The first run launches one by one; the second notes the launches as a graph, which from then on is
one call of the driver, whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import c_int64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.backends.cuda.driver import Driver, DriverError
from numbatorch.backends.gpu import Owner, Step
from numbatorch.errors import KernelError, message

if TYPE_CHECKING:
    from numbatorch.backends.cuda.runtime import CudaRuntime

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Words:
    """The argument blocks: on the GPU, in pinned memory, and the event of the copy between."""

    device: Owner
    address: int
    pinned: Array
    copied: int


class CudaRecording:
    """Steps over one array of argument words, which lies in pinned memory and on the GPU."""

    def __init__(self, runtime: CudaRuntime, steps: Sequence[Step]) -> None:
        self._runtime = runtime
        self._steps = list(steps)
        self._names = tuple(step.name for step in steps)
        self._owned: list[tuple[Callable[[int], None], int]] = []
        self._words: Words | None = None
        self._sent = False
        self._runs = 0
        self._graph = 0
        self._may_capture = len(steps) > 1

    def __del__(self) -> None:
        for free, handle in self._owned:
            self._runtime.discard(free, handle)

    def run(self, words: Array, owners: Sequence[Owner]) -> None:
        """Copy the words if they changed, and launch all steps in order."""
        with self._runtime.entered() as driver:
            base = self._send(driver, words)
            self._runtime.launched(self._names)
            self._runs += 1
            if self._may_capture and self._runs > 1 and not self._graph:
                self._graph = self._captured(driver, base)
            if self._graph:
                driver.launch_graph(self._graph, self._runtime.stream)
            else:
                for step in self._steps:
                    self._launch(driver, step, base)

    def run_step(self, number: int, words: Array, owners: Sequence[Owner]) -> None:
        """As `run`, one step only."""
        with self._runtime.entered() as driver:
            base = self._send(driver, words)
            step = self._steps[number]
            self._runtime.launched((step.name,))
            self._launch(driver, step, base)

    def _send(self, driver: Driver, words: Array) -> int:
        """Bring changed words to the GPU; returns where they lie there."""
        sent = self._words
        if sent is None:
            sent = self._words = self._make_words(driver, words.nbytes)
        elif self._sent and np.array_equal(words, sent.pinned):
            return sent.device.address
        self._sent = False
        driver.wait(sent.copied)  # the copy of what is replaced is over
        sent.pinned[:] = words
        stream = self._runtime.stream
        driver.upload(sent.device.address, sent.address, words.nbytes, stream)
        driver.record(sent.copied, stream)
        self._sent = True
        return sent.device.address

    def _make_words(self, driver: Driver, nbytes: int) -> Words:
        device = self._runtime.or_reclaim(lambda: self._runtime.allocate(nbytes))
        copied = driver.event()
        self._owned.append((driver.free_event, copied))
        address = driver.allocate_pinned(nbytes)
        self._owned.append((driver.free_pinned, address))
        pinned = np.ctypeslib.as_array((c_int64 * (nbytes // 8)).from_address(address))
        return Words(device, address, pinned, copied)

    def _launch(self, driver: Driver, step: Step, base: int) -> None:
        handle, argument = step.function.handle, base + step.block
        try:
            driver.launch(handle, step.groups, step.threads, argument, self._runtime.stream)
        except DriverError as error:
            if error.sticky:
                raise
            grid = f"{step.groups} groups of {step.threads} threads"
            problem = "cannot be launched"
            raise KernelError(message(step.name, problem, error.reason, grid)) from error

    def _captured(self, driver: Driver, base: int) -> int:
        """The steps as a graph; 0 where the driver cannot make one, which is not asked again."""
        self._may_capture = False
        stream = self._runtime.stream
        try:
            driver.begin_capture(stream)
            try:
                for step in self._steps:
                    self._launch(driver, step, base)
            except BaseException:
                with suppress(DriverError):  # the stream has left the capture all the same
                    driver.free_graph(driver.end_capture(stream))
                raise
            graph = driver.end_capture(stream)
        except KernelError:
            return 0
        except DriverError as error:
            if error.sticky:
                raise
            return 0
        self._owned.append((driver.free_graph, graph))
        return graph
