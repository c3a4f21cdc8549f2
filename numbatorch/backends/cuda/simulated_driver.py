"""The driver without a GPU: host memory, and kernels in numba-cuda's simulator.

It is device "cuda" in a process that was started with NUMBA_ENABLE_CUDASIM=1. Everything above it,
the runtime included, is what runs on a GPU. It is slow: each thread of a kernel is one of Python's.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbatorch.backends.cuda.driver import Driver, DriverError
from numbatorch.backends.cuda.simulated_memory import region_at, register, unregister
from numbatorch.backends.outcome import Outcome
from numbatorch.errors import out_of_memory
from numbatorch.language.kernel import KernelSpec, call_parameters

TOTAL = 1 << 30  # bytes of the memory that it pretends to have
ALIGNMENT = 256
SHARE_GROUPS, SHARE_THREADS = 2, 3  # threads of a kernel that shares its work among any number

Array = np.ndarray[Any, Any]
Kernel = Callable[[int, int, int], None]  # of groups, threads, address of the argument block


@dataclass(frozen=True)
class Simulated:
    """What stands for compiled code: the image is a function that runs the kernel."""

    image: Kernel
    symbol: str


def compile_kernels(
    kernels: Sequence[tuple[KernelSpec, KernelSpec | None]], capability: tuple[int, int]
) -> list[Simulated]:
    """The kernels as functions that run them in the simulator."""
    return [Simulated(_simulated(spec, epilogue), spec.symbol) for spec, epilogue in kernels]


def _simulated(spec: KernelSpec, epilogue: KernelSpec | None) -> Kernel:
    from numbatorch.backends.cuda import simulated

    shares = bool(call_parameters(spec.bind()[0]))

    def run(groups: int, threads: int, argument: int) -> None:
        if shares:
            groups, threads = min(groups, SHARE_GROUPS), min(threads, SHARE_THREADS)
        simulated.run(spec, epilogue, groups, threads, argument)

    return run


class SimulatedDriver(Driver):
    """One GPU. Whatever is asked for happens at once, but for what a capture notes."""

    def __init__(self) -> None:
        self._handles = 0
        self._memory: dict[int, Array] = {}
        self._used = 0
        self._pinned: dict[int, Array] = {}
        self._functions: dict[int, Kernel] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._captured: list[Callable[[], None]] | None = None

    def _handle(self) -> int:
        self._handles += 1
        return self._handles

    def _queue(self, action: Callable[[], None]) -> None:
        """What is given to the stream: noted in a capture, else done."""
        if self._captured is None:
            action()
        else:
            self._captured.append(action)

    def version(self) -> tuple[int, int]:
        """The version of CUDA that the simulator follows."""
        return 12, 9

    def count(self) -> int:
        """One GPU."""
        return 1

    def name(self, index: int) -> str:
        """What the GPU is called."""
        return "simulator of numba-cuda"

    def attribute(self, index: int, name: str) -> int:
        """Numbers of a GPU that is not there."""
        return {"COMPUTE_CAPABILITY_MAJOR": 9, "MULTIPROCESSOR_COUNT": 1}.get(name, 0)

    def total_memory(self, index: int) -> int:
        """Bytes that can be allocated."""
        return TOTAL

    def context(self, index: int) -> int:
        """The only context."""
        return 1

    def current(self) -> int:
        """The only context is every thread's."""
        return 1

    def enter(self, context: int) -> None:
        """There is nothing to do."""

    def memory(self) -> tuple[int, int]:
        """Free and all bytes."""
        total = self.total_memory(0)
        return total - self._used, total

    def allocate(self, nbytes: int) -> int:
        """Host memory that simulated kernels know, filled with a pattern."""
        free, total = self.memory()
        if nbytes > free:
            raise out_of_memory("cuda", nbytes, free, total)
        memory = np.full(nbytes + ALIGNMENT, 0xA5, np.uint8)  # what is read unwritten shows
        address = _address(memory)
        address += -address % ALIGNMENT
        self._memory[address] = memory
        register(address, nbytes)
        self._used += nbytes
        return address

    def free(self, address: int) -> None:
        """Forget memory."""
        unregister(address)
        self._used -= self._memory.pop(address).nbytes - ALIGNMENT

    def allocate_pinned(self, nbytes: int) -> int:
        """Host memory."""
        memory = np.zeros(nbytes, np.uint8)
        address = _address(memory)
        self._pinned[address] = memory
        return address

    def free_pinned(self, address: int) -> None:
        """Forget host memory."""
        del self._pinned[address]

    def upload(self, target: int, host: int, nbytes: int, stream: int) -> None:
        """Copy from host memory."""
        self._queue(lambda: self._move(target, host, nbytes))

    def download(self, host: int, source: int, nbytes: int, stream: int) -> None:
        """Copy to host memory."""
        self._queue(lambda: self._move(host, source, nbytes))

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """Copy within what stands for the GPU's memory."""
        self._queue(lambda: self._move(target, source, nbytes))

    def _move(self, target: int, source: int, nbytes: int) -> None:
        self._bytes(target, nbytes)[:] = self._bytes(source, nbytes).copy()

    def clear(self, address: int, nbytes: int, stream: int) -> None:
        """Set bytes to 0."""
        self._queue(lambda: self._bytes(address, nbytes).fill(0))

    def _bytes(self, address: int, nbytes: int) -> Array:
        """Bytes of one allocation, of the GPU or pinned."""
        region = region_at(address)
        start = address - region.address
        if region.address and start + nbytes <= len(region.bytes):
            return region.bytes[start : start + nbytes]
        for base, memory in self._pinned.items():
            start = address - base
            if 0 <= start and start + nbytes <= memory.nbytes:
                return memory[start : start + nbytes]
        raise AssertionError(f"{nbytes} bytes at {address:#x} are in no allocation")

    def load_module(self, image: Any) -> int:
        """Keep a kernel under a number."""
        module = self._handle()
        self._functions[module] = image
        return module

    def function(self, module: int, symbol: str) -> int:
        """The kernel of a module has the module's number."""
        return module

    def prepared(
        self, function: int, groups: int, threads: int, argument: int, stream: int
    ) -> tuple[Any, ...]:
        """What `launch` needs."""
        return self._functions[function], groups, threads, argument

    def launch(self, launch: tuple[Any, ...]) -> None:
        """Run a kernel to its end."""
        kernel, *arguments = launch
        self._queue(lambda: kernel(*arguments))

    def launch_all(self, launches: Sequence[tuple[Any, ...]], outcome: Outcome) -> int:
        """Run kernels to their end."""
        made = 0

        def run() -> None:
            nonlocal made
            for launch in launches:
                self.launch(launch)
                made += 1

        with suppress(DriverError):
            outcome.complete(run)
        return made

    def stream(self) -> int:
        """A number."""
        return self._handle()

    def synchronize(self, stream: int) -> None:
        """All is done already."""

    def event(self) -> int:
        """A number."""
        return self._handle()

    def record(self, event: int, stream: int) -> None:
        """All is done already."""

    def wait(self, event: int) -> None:
        """All is done already."""

    def free_event(self, event: int) -> None:
        """There is nothing to do."""

    def begin_capture(self, stream: int) -> None:
        """Note what follows."""
        self._captured = []

    def end_capture(self, stream: int) -> int:
        """Keep what was noted under a number."""
        assert self._captured is not None
        graph = self._handle()
        self._graphs[graph], self._captured = self._captured, None
        return graph

    def launch_graph(self, graph: int, stream: int, outcome: Outcome) -> None:
        """Do what was noted."""

        def run() -> None:
            for action in self._graphs[graph]:
                self._queue(action)

        outcome.complete(run)

    def free_graph(self, graph: int) -> None:
        """Forget what was noted."""
        del self._graphs[graph]


def _address(memory: Array) -> int:
    return int(memory.__array_interface__["data"][0])
