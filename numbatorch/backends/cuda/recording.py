"""Launches that are made again and again: their argument blocks, and a CUDA graph of them.

The first run launches one by one; the second notes the launches as a graph, which from then on is
one call of the driver, whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from ctypes import c_int64
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from numbatorch.backends.cuda.driver import Driver, DriverError
from numbatorch.backends.gpu import CompleteRecording, Owner, Step
from numbatorch.backends.outcome import Outcome
from numbatorch.errors import KernelError, message

Array = np.ndarray[Any, Any]


Made = TypeVar("Made")


class Runtime(Protocol):
    """What a recording asks of the runtime that keeps it, see runtime.py.

    Attributes:
        stream: that launches are made in.
    """

    stream: int

    def entered(self) -> AbstractContextManager[Driver]:
        """Hold the lock in the GPU's context; errors of the driver are explained."""

    def discard(self, free: Callable[[int], None], handle: int) -> None:
        """Give something back when memory is next asked for, or when all is waited for."""

    def launched(self, names: tuple[str, ...]) -> None:
        """Note kernels that the stream was given, for errors that show later."""

    def allocate(self, nbytes: int) -> Owner:
        """Memory with undefined contents."""

    def or_reclaim(self, allocate: Callable[[], Made]) -> Made:
        """What `allocate` gives; if memory runs out it is called again after `reclaim`."""


@dataclass(frozen=True)
class Words:
    """The argument blocks: on the GPU, in pinned memory, and the event of the copy between.

    Attributes:
        launches: the steps over them, as the driver takes them.
    """

    device: Owner
    address: int
    pinned: Array
    copied: int
    launches: list[Any]


class CudaRecording(CompleteRecording):
    """Steps over one array of argument words, which lies in pinned memory and on the GPU."""

    def __init__(self, runtime: Runtime, steps: Sequence[Step]) -> None:
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
        self.complete(words, owners, Outcome())

    def complete(self, words: Array, owners: Sequence[Owner], outcome: Outcome) -> None:
        """As `run`; the outcome becomes final just before the one call of the driver."""
        with self._runtime.entered() as driver:
            launches = self._send(driver, words)
            self._runtime.launched(self._names)
            self._runs += 1
            if self._may_capture and self._runs > 1 and not self._graph:
                self._graph = self._captured(driver, launches)
            if self._graph:
                driver.launch_graph(self._graph, self._runtime.stream, outcome)
                return
            made = driver.launch_all(launches, outcome)
            if made < len(launches):
                outcome.final = False
                self._launch(driver, launches, range(made, len(launches)))  # says what is wrong
                outcome.final = True

    def run_step(self, number: int, words: Array, owners: Sequence[Owner]) -> None:
        """As `run`, one step only."""
        with self._runtime.entered() as driver:
            launches = self._send(driver, words)
            self._runtime.launched((self._steps[number].name,))
            self._launch(driver, launches, [number])

    def _send(self, driver: Driver, words: Array) -> list[Any]:
        """Bring changed words to the GPU; returns the launches over them."""
        sent = self._words
        if sent is None:
            sent = self._words = self._make_words(driver, words.nbytes)
        elif self._sent and np.array_equal(words, sent.pinned):
            return sent.launches
        self._sent = False
        driver.wait(sent.copied)  # the copy of what is replaced is over
        sent.pinned[:] = words
        stream = self._runtime.stream
        driver.upload(sent.device.address, sent.address, words.nbytes, stream)
        driver.record(sent.copied, stream)
        self._sent = True
        return sent.launches

    def _make_words(self, driver: Driver, nbytes: int) -> Words:
        runtime = self._runtime
        device = runtime.or_reclaim(lambda: runtime.allocate(nbytes))
        copied = driver.event()
        self._owned.append((driver.free_event, copied))
        address = runtime.or_reclaim(lambda: driver.allocate_pinned(nbytes))
        self._owned.append((driver.free_pinned, address))
        pinned = np.ctypeslib.as_array((c_int64 * (nbytes // 8)).from_address(address))
        launches = [
            driver.prepared(
                step.function.handle,
                step.groups,
                step.threads,
                device.address + step.block,
                runtime.stream,
            )
            for step in self._steps
        ]
        return Words(device, address, pinned, copied, launches)

    def _launch(self, driver: Driver, launches: list[Any], numbers: Iterable[int]) -> None:
        for number in numbers:
            try:
                driver.launch(launches[number])
            except DriverError as error:
                if error.sticky:
                    raise
                step = self._steps[number]
                grid = f"{step.groups} groups of {step.threads} threads"
                problem = "cannot be launched"
                raise KernelError(message(step.name, problem, error.reason, grid)) from error

    def _captured(self, driver: Driver, launches: list[Any]) -> int:
        """The steps as a graph; 0 where the driver cannot make one, which is not asked again."""
        self._may_capture = False
        stream = self._runtime.stream
        try:
            driver.begin_capture(stream)
            try:
                self._launch(driver, launches, range(len(launches)))
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
