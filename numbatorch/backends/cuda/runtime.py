"""One GPU's memory, kernels and stream: what `backends/gpu.py` runs plans with on device "cuda".

All copies and launches go into one stream, so they happen in the order in which they are asked
for. Errors of kernels show at a later call; then the context is lost, as CUDA has it.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from numbatorch.backends.cuda.driver import OUT_OF_MEMORY, Driver, DriverError
from numbatorch.backends.cuda.recording import CudaRecording
from numbatorch.backends.cuda.staging import Staging
from numbatorch.backends.gpu import Step, check_grid
from numbatorch.errors import (
    BackendUnavailable,
    KernelError,
    OutOfMemory,
    message,
    out_of_memory,
)
from numbatorch.language.kernel import KernelSpec
from numbatorch.locks import Lock

MINIMUM_CAPABILITY = (7, 5)
SHOWN = 8  # kernels in flight that an error names

Array = np.ndarray[Any, Any]
Kernels = tuple[KernelSpec, KernelSpec | None]
Made = TypeVar("Made")


class Memory:
    """Memory of the GPU, given back when it is dropped."""

    __slots__ = ("__weakref__", "_runtime", "address", "nbytes")
    failure: Exception | None = None  # of a kernel takes all memory with it

    def __init__(self, runtime: CudaRuntime, address: int, nbytes: int) -> None:
        self._runtime = runtime
        self.address = address
        self.nbytes = nbytes

    def __del__(self) -> None:
        self._runtime.discard(self._runtime.driver.free, self.address)


@dataclass(frozen=True)
class Function:
    """A kernel that is loaded on the GPU."""

    handle: int
    name: str


class CudaRuntime:
    """The GPU with number `index`.

    Args:
        compile: (pairs of kernel and epilogue, compute capability) -> an image and a symbol for
            each; compiler.py's, or the simulator's.
    Attributes:
        reclaim: what drops memory that only waits to be used again; whoever keeps such sets it.
    Raises:
        BackendUnavailable: there is no such GPU, or it is too old.
    """

    kind = "cuda"
    max_groups = 2**31 - 1
    max_threads = 1024  # of a group
    share_threads = 256

    def __init__(self, driver: Driver, index: int, compile: Callable[..., Any]) -> None:
        count = driver.count()
        if index >= count:
            there = f"there are {count}, counted from 0" if count != 1 else "there is one, cuda:0"
            raise BackendUnavailable(message("cuda", f"no GPU has the number {index}", there))
        self.driver = driver
        self.name = driver.name(index)
        self.capability = driver.capability(index)
        check_capability(self.name, self.capability)
        self.reclaim: Callable[[], None] = lambda: None
        self._compile = compile
        self._lock = Lock()
        self._lost: str | None = None
        self._discarded: deque[tuple[Callable[[int], None], int]] = deque()
        self._functions: dict[tuple[str, str], Function] = {}
        self._in_flight: deque[tuple[str, ...]] = deque(maxlen=SHOWN)
        self._context = driver.context(index)
        with self.entered():
            self.stream = driver.stream()
        self._staging = Staging(driver, self.stream, self._pinned)
        _runtimes.add(self)

    @contextmanager
    def entered(self) -> Iterator[Driver]:
        """Hold the lock in the GPU's context; errors of the driver are explained."""
        with self._lock:
            self._check()
            try:
                before = self.driver.current()
                if before == self._context:
                    yield self.driver
                    return
                try:
                    self.driver.enter(self._context)
                    yield self.driver
                finally:  # other libraries have contexts too
                    self.driver.enter(before)
            except DriverError as error:
                raise self._explained(error) from error

    def _check(self) -> None:
        if self._lost is not None:
            raise KernelError(self._lost)

    def _explained(self, error: DriverError) -> Exception:
        """What a user can make of an error of the driver."""
        if not error.sticky:
            return error
        problem = "a kernel failed, and the GPU's context is lost"
        kernels = list(dict.fromkeys(name for names in self._in_flight for name in names))
        shown = ", ".join(kernels[-SHOWN:]) or "none"
        more = f", and {len(kernels) - SHOWN} before them" if len(kernels) > SHOWN else ""
        self._lost = message(
            self.kind,
            problem,
            error.reason,
            f"kernels in flight: {shown}{more}",
            hint="a new process can use the GPU again; with NUMBATORCH_DEBUG=1 kernels run one at "
            "a time, which names the one that fails",
        )
        return KernelError(self._lost)

    def discard(self, free: Callable[[int], None], handle: int) -> None:
        """Give something back when memory is next asked for, or when all is waited for.

        Finalizers call this from any thread, in the middle of other calls, so it takes no lock.
        """
        if self._lost is None:
            self._discarded.append((free, handle))

    def _free_discarded(self) -> None:
        if not self._discarded:
            return
        self.settle()
        while self._discarded:
            free, handle = self._discarded.popleft()
            free(handle)

    def settle(self) -> None:
        """Wait for the stream; the caller has entered."""
        self.driver.synchronize(self.stream)
        self._in_flight.clear()

    def launched(self, names: tuple[str, ...]) -> None:
        """Note kernels that the stream was given, for errors that show later."""
        self._in_flight.append(names)

    def allocate(self, nbytes: int) -> Memory:
        """Memory with undefined contents.

        Raises:
            OutOfMemory: the GPU has not that much.
        """
        with self.entered() as driver:
            self._free_discarded()
            return Memory(self, driver.allocate(max(nbytes, 1)), nbytes)

    def _pinned(self, nbytes: int) -> int:
        return self.or_reclaim(lambda: self.driver.allocate_pinned(nbytes))

    def or_reclaim(self, allocate: Callable[[], Made]) -> Made:
        """What `allocate` gives; if memory runs out it is called again after `reclaim`."""
        try:
            return allocate()
        except OutOfMemory:
            self.reclaim()
            self._free_discarded()
            return allocate()

    def upload(self, owner: Memory, array: Array, offset: int = 0) -> None:
        """Copy bytes into memory; the array may be changed once this returns."""
        assert array.flags.c_contiguous and offset + array.nbytes <= owner.nbytes
        with self.entered():
            self._staging.upload(owner.address + offset, array)

    def download(self, owner: Memory, nbytes: int, offset: int = 0) -> Array:
        """Bytes of memory as they are after all launches so far."""
        assert offset + nbytes <= owner.nbytes
        with self.entered():
            found = self._staging.download(owner.address + offset, nbytes)
            self._in_flight.clear()  # the copy came after them
            return found

    def copy(self, target: Memory, source: Memory, nbytes: int) -> None:
        """Copy within the GPU, in order with launches."""
        assert nbytes <= min(target.nbytes, source.nbytes)
        with self.entered() as driver:
            if nbytes:
                driver.copy(target.address, source.address, nbytes, self.stream)

    def clear(self, owner: Memory, nbytes: int) -> None:
        """Set bytes to 0, in order with launches."""
        assert nbytes <= owner.nbytes
        with self.entered() as driver:
            if nbytes:
                driver.clear(owner.address, nbytes, self.stream)

    def synchronize(self) -> None:
        """Wait for all copies and launches, and give back what was dropped."""
        with self.entered():
            self.settle()
            self._free_discarded()

    def load(self, kernels: Sequence[Kernels]) -> list[Function]:
        """Kernels with their epilogues, ready to launch; what is missing is compiled together.

        Raises:
            KernelError: a kernel cannot be compiled or loaded.
        """
        keys = [(spec.key, epilogue.key if epilogue else "") for spec, epilogue in kernels]
        self._check()
        functions = self._functions
        missing = {k: pair for k, pair in zip(keys, kernels, strict=True) if k not in functions}
        # This may take seconds, in which other threads go on.
        images = self._compile(list(missing.values()), self.capability) if missing else []
        with self.entered() as driver:
            for (key, (spec, _)), image in zip(missing.items(), images, strict=True):
                if key not in functions:
                    functions[key] = self.or_reclaim(partial(self._load, driver, spec, image))
        return [functions[key] for key in keys]

    def _load(self, driver: Driver, spec: KernelSpec, compiled: Any) -> Function:
        try:
            module = driver.load_module(compiled.image)
            return Function(driver.function(module, compiled.symbol), spec.name)
        except DriverError as error:
            if error.sticky:
                raise
            if error.code == OUT_OF_MEMORY:
                raise out_of_memory(self.kind, len(compiled.image), *driver.memory()) from error
            version = ".".join(map(str, self.capability))
            rows = (error.reason, f"compute capability {version}", spec.path())
            raise KernelError(message(spec.name, "cannot be loaded", *rows)) from error

    def recording(self, steps: Sequence[Step]) -> CudaRecording:
        """Launches made ready to run.

        Raises:
            KernelError: a grid beyond the GPU's limits.
        """
        for step in steps:
            check_grid(step, self.max_groups, self.max_threads)
        return CudaRecording(self, steps)


def check_capability(name: str, capability: tuple[int, int]) -> None:
    """Raise BackendUnavailable for a GPU that the kernels do not run on."""
    if capability >= MINIMUM_CAPABILITY:
        return
    found, needed = (".".join(map(str, pair)) for pair in (capability, MINIMUM_CAPABILITY))
    row = f"{name} has compute capability {found}, and at least {needed} is needed"
    hint = 'use device "cpu", or a GPU of 2018 or later'
    raise BackendUnavailable(message("cuda", "the GPU is too old", row, hint=hint))


_runtimes: weakref.WeakSet[CudaRuntime] = weakref.WeakSet()


def _after_fork() -> None:
    for runtime in _runtimes:
        runtime._lost = message(
            "cuda",
            "a forked process cannot use the GPU of its parent",
            hint='start processes with the method "spawn"',
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
