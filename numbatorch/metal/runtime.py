"""One Apple GPU's memory, kernels and queue: what `backends/gpu.py` runs plans with on "metal".

The only file that talks to Metal, through PyObjC. A run is one command buffer with one serial
encoder, and is not waited for; memory is shared, and the host touches it once the GPU is done.
Sources: https://developer.apple.com/documentation/metal, https://pyobjc.readthedocs.io/
"""

from __future__ import annotations

import operator
import os
import platform
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from numbatorch import settings
from numbatorch.backends.gpu import CompleteRecording, Step, check_grid
from numbatorch.backends.outcome import Outcome
from numbatorch.errors import (
    BackendUnavailable,
    KernelError,
    OutOfMemory,
    message,
    out_of_memory,
)
from numbatorch.language.kernel import KernelSpec, write_source
from numbatorch.locks import Lock
from numbatorch.metal.printer import GROUP_THREADS, print_kernel

INSTALL = 'pip install "numbatorch[metal]"'
MINIMUM_SYSTEM = 14  # macOS: the first with Metal Shading Language 3.1, which has bfloat
SET_BYTES_LIMIT = 4096  # of an argument that is copied into the command buffer
COMPILERS = 4  # threads
SHOWN = 8  # kernels that an error names

# Products and sums round separately; the compiler has no option for that.
PRAGMA = "#pragma METAL fp contract(off)\n"

Array = np.ndarray[Any, Any]
Kernels = tuple[KernelSpec, KernelSpec | None]


class Memory:
    """A buffer in memory that host and GPU share.

    Attributes:
        buffer: the MTLBuffer.
        bytes: the host's view of it.
        failure: of a run that gave up and had this memory, which is undefined since.
    """

    __slots__ = ("__weakref__", "address", "buffer", "bytes", "failure", "nbytes")

    def __init__(self, buffer: Any, nbytes: int) -> None:
        self.failure: Exception | None = None
        self.buffer = buffer
        self.address = int(buffer.gpuAddress())
        self.nbytes = nbytes
        self.bytes = np.frombuffer(buffer.contents().as_buffer(buffer.length()), np.uint8)


@dataclass(frozen=True)
class Function:
    """A kernel that the GPU can run.

    Attributes:
        words: in its argument block.
    """

    pipeline: Any
    name: str
    words: int
    shared_bytes: int


@dataclass(frozen=True)
class Submitted:
    """A command buffer that the GPU may not be done with, and what it uses."""

    commands: Any
    owners: dict[int, Memory]
    names: tuple[str, ...]


class MetalRuntime:
    """The Apple GPU of this machine.

    Args:
        metal, objc: PyObjC's modules.
        device: an MTLDevice.
    """

    kind = "metal"
    max_groups = (1 << 24) - 1  # a grid counts its threads in 32 bits
    share_threads = GROUP_THREADS

    def __init__(self, metal: Any, objc: Any, device: Any) -> None:
        self.metal = metal
        self.name = str(device.name())
        self._objc = objc
        self._device = device
        self._queue = device.newCommandQueue()
        self._functions: dict[tuple[str, str], Function] = {}
        self._submitted: deque[Submitted] = deque()
        self._unraised: Exception | None = None  # of a run that gave up
        self._lock = Lock()
        self._process = os.getpid()
        self.reclaim: Callable[[], None] = lambda: None

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """Hold the lock; what Metal makes meanwhile is freed at the end, if nothing holds it."""
        if os.getpid() != self._process:
            problem = "a forked process cannot use the GPU of its parent"
            hint = 'start processes with the method "spawn"'
            raise KernelError(message("metal", problem, hint=hint))
        with self._lock, self._objc.autorelease_pool():
            yield

    def allocate(self, nbytes: int) -> Memory:
        """Memory with undefined contents.

        Raises:
            OutOfMemory: the GPU has not that much.
        """
        self._let_go(only_done=True)
        try:
            return self._allocated(nbytes)
        except OutOfMemory:
            self._let_go(only_done=False)
            return self._allocated(nbytes)

    def _let_go(self, only_done: bool) -> None:
        """Drop what runs hold that are done, or of all; what Metal made for them is freed too."""
        with self._entered():
            self._retire(self._done() if only_done else len(self._submitted))

    def _allocated(self, nbytes: int) -> Memory:
        with self._entered():
            device = self._device
            total = int(device.recommendedMaxWorkingSetSize())
            free = total - int(device.currentAllocatedSize())
            if free < nbytes or int(device.maxBufferLength()) < nbytes:
                raise out_of_memory("metal", nbytes, max(free, 0), total)
            shared = self.metal.MTLResourceStorageModeShared
            buffer = device.newBufferWithLength_options_(max(nbytes, 16), shared)
            if buffer is None:
                raise out_of_memory("metal", nbytes, max(free, 0), total)
            return Memory(buffer, nbytes)

    def _retried(self, nbytes: int) -> Memory:
        try:
            return self.allocate(nbytes)
        except OutOfMemory:
            self.reclaim()
            return self.allocate(nbytes)

    def upload(self, owner: Memory, array: Array, offset: int = 0) -> None:
        """Copy bytes into memory, once the launches that use it are done."""
        assert array.flags.c_contiguous and offset + array.nbytes <= owner.nbytes
        with self._entered(), self._written(owner, array.nbytes):
            owner.bytes[offset : offset + array.nbytes] = array.reshape(-1).view(np.uint8)

    def download(self, owner: Memory, nbytes: int, offset: int = 0) -> Array:
        """Bytes of memory as they are after all launches so far."""
        assert offset + nbytes <= owner.nbytes
        with self._entered():
            self._settle(owner)
            self._check([owner])
            return owner.bytes[offset : offset + nbytes].copy()

    def copy(self, target: Memory, source: Memory, nbytes: int) -> None:
        """Copy between two allocations."""
        assert nbytes <= min(target.nbytes, source.nbytes)
        with self._entered(), self._written(target, nbytes):
            self._settle(source)
            self._check([source])
            target.bytes[:nbytes] = source.bytes[:nbytes]

    def clear(self, owner: Memory, nbytes: int) -> None:
        """Set bytes to 0."""
        assert nbytes <= owner.nbytes
        with self._entered(), self._written(owner, nbytes):
            owner.bytes[:nbytes] = 0

    def synchronize(self) -> None:
        """Wait for all launches so far."""
        with self._entered():
            self._retire(len(self._submitted))
            if self._unraised is not None:
                self._raise(self._unraised)

    @contextmanager
    def _written(self, owner: Memory, nbytes: int) -> Iterator[None]:
        """Write to memory when no launch uses it; what is written whole is defined again."""
        before = owner.failure
        self._settle(owner)
        if owner.failure is not before:
            self._check([owner])
        yield
        if nbytes == owner.nbytes:
            owner.failure = None

    def _check(self, owners: Sequence[Memory]) -> None:
        """Raise if memory is what a run that gave up has left."""
        for owner in owners:
            if owner.failure is not None:
                self._raise(owner.failure)

    def _raise(self, failure: Exception) -> NoReturn:
        if self._unraised is failure:
            self._unraised = None
        raise type(failure)(*failure.args)  # of its own, for it is raised wherever memory is used

    def _settle(self, owner: Memory) -> None:
        """Wait for the launches that may use an allocation."""
        for count in range(len(self._submitted), 0, -1):
            if id(owner) in self._submitted[count - 1].owners:
                self._retire(count)
                return

    def _retire(self, count: int) -> None:
        """Wait for the first command buffers of the queue, which run in order.

        If one has failed, its memory is marked, and that of the runs behind it which use it.
        """
        for _ in range(count):
            submitted = self._submitted[0]
            if self._is_committed(submitted):
                submitted.commands.waitUntilCompleted()
            if submitted.commands.status() == self.metal.MTLCommandBufferStatusError:
                self._mark(submitted, self._failure(submitted))
            self._submitted.popleft()

    def _mark(self, submitted: Submitted, failure: Exception) -> None:
        lost = dict(submitted.owners)
        for later in self._submitted:
            if lost.keys() & later.owners.keys():
                lost |= later.owners
        for owner in lost.values():
            owner.failure = owner.failure or failure
        self._unraised = failure

    def _is_committed(self, submitted: Submitted) -> bool:
        """False after an interrupt between the note of a run and the run."""
        status = submitted.commands.status()
        return bool(status >= self.metal.MTLCommandBufferStatusCommitted)

    def _failure(self, submitted: Submitted) -> Exception:
        """The error of a command buffer that the GPU gave up."""
        error = submitted.commands.error()
        names = list(dict.fromkeys(submitted.names))
        shown = ", ".join(names[:SHOWN])
        shown += f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lost = "the tensors that it used are undefined now"
        rows = (str(error.localizedDescription()), f"launches: {shown}", lost)
        if error.code() == self.metal.MTLCommandBufferErrorOutOfMemory:
            return OutOfMemory(message("metal", "out of memory", *rows))
        hint = None
        if len(names) > 1:
            hint = "with NUMBATORCH_DEBUG=1 launches run one at a time, which names the one"
        return KernelError(message("metal", "the GPU gave up a run", *rows, hint=hint))

    def load(self, kernels: Sequence[Kernels]) -> list[Function]:
        """Kernels with their epilogues, ready to launch.

        Raises:
            KernelError: a kernel cannot be compiled.
        """
        keys = [(spec.key, epilogue.key if epilogue else "") for spec, epilogue in kernels]
        missing = {
            key: pair for key, pair in zip(keys, kernels, strict=True) if key not in self._functions
        }
        if len(missing) > 1:
            with ThreadPoolExecutor(COMPILERS) as pool:
                found = list(pool.map(self._compile, missing.values()))
        else:
            found = [self._compile(pair) for pair in missing.values()]
        self._functions.update(zip(missing, found, strict=True))
        return [self._functions[key] for key in keys]

    def _compile(self, kernels: Kernels) -> Function:
        spec, epilogue = kernels
        source = print_kernel(spec, epilogue)
        text = PRAGMA + source.text
        path = settings.cache_dir() / "source" / f"{source.symbol[:96]}.metal"
        write_source(str(path), text)
        with self._objc.autorelease_pool():
            options = self.metal.MTLCompileOptions.alloc().init()
            options.setLanguageVersion_(self.metal.MTLLanguageVersion3_1)
            options.setFastMathEnabled_(False)
            # Each gives its result and the NSError of its last argument.
            library, error = self._device.newLibraryWithSource_options_error_(text, options, None)
            pipeline = None
            if library is not None:
                function = library.newFunctionWithName_(source.symbol)
                pipeline, error = self._device.newComputePipelineStateWithFunction_error_(
                    function, None
                )
            if pipeline is None:
                rows = str(error.localizedDescription()).splitlines()
                raise KernelError(
                    message(spec.name, "Metal cannot compile it", *rows[:SHOWN], str(path))
                )
        extra = len(epilogue.signature) if epilogue is not None else 0
        words = sum(extra if word == "epilogue" else 1 for word in spec.signature)
        return Function(pipeline, spec.name, words, source.shared_bytes)

    def recording(self, steps: Sequence[Step]) -> MetalRecording:
        """Launches made ready to run.

        Raises:
            KernelError: a grid beyond the GPU's limits.
        """
        for step in steps:
            threads = int(step.function.pipeline.maxTotalThreadsPerThreadgroup())
            check_grid(step, self.max_groups, threads)
        return MetalRecording(self, steps)

    def submit(
        self, steps: Sequence[Step], words: Array, owners: Sequence[Memory], outcome: Outcome
    ) -> None:
        """Launch steps in order, in one command buffer.

        After an interrupt nothing was launched, or the run is among those that are waited for and
        the outcome is final.
        """
        if not steps:
            outcome.final = True
            return
        assert words.dtype == np.int64 and words.flags.c_contiguous
        metal = self.metal
        with self._entered():
            self._retire(self._done())
            commands = self._queue.commandBuffer()
            held = {id(owner): owner for owner in owners}
            submitted = Submitted(commands, held, tuple(step.name for step in steps))
            usage = metal.MTLResourceUsageRead | metal.MTLResourceUsageWrite
            buffers = [owner.buffer for owner in held.values()]
            # Metal ends a process that drops an open encoder: no interrupt comes between it and the
            # list, as none does inside of C.
            encoders: list[Any] = []
            try:
                encoders += map(operator.call, [commands.computeCommandEncoder])
                (encoder,) = encoders
                if buffers:
                    encoder.useResources_count_usage_(buffers, len(buffers), usage)
                for step in steps:
                    self._encode(encoder, step, words)
            finally:
                for encoder in encoders:
                    encoder.endEncoding()
            self._check(owners)
            self._submitted.append(submitted)
            outcome.final = True  # no interrupt comes between this and the commit
            commands.commit()

    def _encode(self, encoder: Any, step: Step, words: Array) -> None:
        function = step.function
        start = step.block // 8
        block = words[start : start + function.words].tobytes()
        encoder.setComputePipelineState_(function.pipeline)
        if len(block) <= SET_BYTES_LIMIT:
            encoder.setBytes_length_atIndex_(block, len(block), 0)
        else:
            memory = self._retried(len(block))
            memory.bytes[: len(block)] = np.frombuffer(block, np.uint8)
            encoder.setBuffer_offset_atIndex_(memory.buffer, 0, 0)  # the command buffer holds it
        encoder.setThreadgroupMemoryLength_atIndex_(max(-(-function.shared_bytes // 16), 1) * 16, 0)
        encoder.dispatchThreadgroups_threadsPerThreadgroup_(
            (step.groups, 1, 1), (step.threads, 1, 1)
        )

    def _done(self) -> int:
        """How many command buffers at the front of the queue need not be waited for."""
        done = self.metal.MTLCommandBufferStatusCompleted
        for count, submitted in enumerate(self._submitted):
            if self._is_committed(submitted) and submitted.commands.status() < done:
                return count
        return len(self._submitted)


class MetalRecording(CompleteRecording):
    """Launches of a plan, encoded anew in each run."""

    def __init__(self, runtime: MetalRuntime, steps: Sequence[Step]) -> None:
        self._runtime = runtime
        self._steps = list(steps)

    def run(self, words: Array, owners: Sequence[Memory]) -> None:
        """Launch every step; nothing is waited for."""
        self._runtime.submit(self._steps, words, owners, Outcome())

    def complete(self, words: Array, owners: Sequence[Memory], outcome: Outcome) -> None:
        """As `run`; the outcome becomes final with the launches."""
        self._runtime.submit(self._steps, words, owners, outcome)

    def run_step(self, number: int, words: Array, owners: Sequence[Memory]) -> None:
        """Launch one step."""
        self._runtime.submit(self._steps[number : number + 1], words, owners, Outcome())


def open_runtime(index: int = 0) -> MetalRuntime:
    """The GPU of this machine.

    Raises:
        BackendUnavailable: there is none, or it, macOS or a package is missing or too old.
    """
    if index:
        problem = f"no GPU has the number {index}"
        raise BackendUnavailable(message("metal", problem, "there is one, metal"))
    metal, objc, device = _open()
    return MetalRuntime(metal, objc, device)


def probe() -> tuple[str, int, str, str]:
    """Name, bytes that kernels can use, features, and system of the GPU.

    Raises:
        BackendUnavailable: as open_runtime() does.
    """
    metal, objc, device = _open()
    with objc.autorelease_pool():
        names = [name for name in dir(metal) if name.startswith("MTLGPUFamilyApple")]
        families = [
            int(name.removeprefix("MTLGPUFamilyApple"))
            for name in names
            if device.supportsFamily_(getattr(metal, name))
        ]
        features = f"Metal 3, Apple family {max(families)}"
        memory = int(device.recommendedMaxWorkingSetSize())
        return str(device.name()), memory, features, f"macOS {platform.mac_ver()[0]}"


def _open() -> tuple[Any, Any, Any]:
    """PyObjC's modules and the device."""
    if platform.system() != "Darwin":
        hint = 'use device "cpu" or "cuda"'
        raise BackendUnavailable(message("metal", "Metal needs macOS", hint=hint))
    system = platform.mac_ver()[0]
    if int(system.partition(".")[0] or 0) < MINIMUM_SYSTEM:
        row = f"this is macOS {system}, and at least {MINIMUM_SYSTEM} is needed"
        raise BackendUnavailable(message("metal", "the system is too old", row))
    try:
        import Metal
        import objc
    except ImportError as error:
        problem = "the Python packages for Metal are not installed"
        raise BackendUnavailable(message("metal", problem, hint=INSTALL)) from error
    device = Metal.MTLCreateSystemDefaultDevice()
    if device is None:
        raise BackendUnavailable(message("metal", "macOS offers no GPU to this process"))
    # Simdgroups have 32 threads, and memory is shared, on Apple's own GPUs.
    needed = (Metal.MTLGPUFamilyMetal3, Metal.MTLGPUFamilyApple7)
    if not all(device.supportsFamily_(family) for family in needed):
        row = f"{device.name()} is not one of Apple's from M1 on, which have Metal 3"
        hint = 'use device "cpu"'
        raise BackendUnavailable(message("metal", "the GPU is not supported", row, hint=hint))
    return Metal, objc, device
