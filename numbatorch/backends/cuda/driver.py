"""The CUDA driver through `cuda.bindings`: plain ints for handles and addresses, errors raised.

`runtime.py` is written over this class; `simulated_driver.py` has the same methods without a GPU.
"""

import ctypes
import sys
from collections.abc import Sequence
from itertools import starmap, takewhile
from typing import Any

from numbatorch.backends.cuda.packages import INSTALL
from numbatorch.backends.outcome import Outcome
from numbatorch.errors import (
    BackendUnavailable,
    DeviceError,
    OutOfMemory,
    message,
    out_of_memory,
)

MINIMUM_CUDA = (12, 0)  # of the driver; the packages of the extra `cuda` are of CUDA 12
# https://docs.nvidia.com/deploy/cuda-compatibility: the first drivers of CUDA 12.
MINIMUM_DRIVER = "528" if sys.platform == "win32" else "525"
INSTALL_DRIVER = f"install the NVIDIA driver, version {MINIMUM_DRIVER} or later"
LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
NOT_FOUND = 500  # CUDA_ERROR_NOT_FOUND
# Codes of CUresult after which nothing in this process can use the context any more.
STICKY = frozenset({214, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719})
THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream
NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING


class DriverError(DeviceError):
    """A call of the driver that failed: which, its code and what the code means."""

    def __init__(self, call: str, code: int, name: str, meaning: str) -> None:
        super().__init__(message("cuda", f"{call} failed", f"{name} ({code}): {meaning}"))
        self.code = code
        self.sticky = code in STICKY
        self.reason = f"{call}: {name} ({code}): {meaning}"


class Driver:
    """The calls that the runtime needs. Contexts, streams, events and functions are ints."""

    def __init__(self) -> None:
        self._cuda = _bindings()
        try:
            self._call("cuInit", 0)
        except DriverError as error:
            raise BackendUnavailable(message("cuda", "no usable GPU", error.reason)) from error
        if self.version() < MINIMUM_CUDA:
            raise _too_old(self.version())

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the driver; returns what it gives beside its code."""
        try:
            code, *found = getattr(self._cuda, name)(*arguments)
        except RuntimeError as error:  # an older driver has no such function
            raise DriverError(name, NOT_FOUND, "CUDA_ERROR_NOT_FOUND", str(error)) from error
        if code:
            raise DriverError(name, int(code), *self._meaning(code))
        return found[0] if len(found) == 1 else found

    def _meaning(self, code: Any) -> tuple[str, str]:
        texts = [self._cuda.cuGetErrorName(code), self._cuda.cuGetErrorString(code)]
        name, meaning = (text.decode() if text else "not a known code" for _code, text in texts)
        return name, meaning

    def version(self) -> tuple[int, int]:
        """The newest CUDA that the installed driver knows."""
        return _pair(self._call("cuDriverGetVersion"))

    def count(self) -> int:
        """How many GPUs there are."""
        return int(self._call("cuDeviceGetCount"))

    def _device(self, index: int) -> int:
        return int(self._call("cuDeviceGet", index))

    def name(self, index: int) -> str:
        """What a GPU is called."""
        text: bytes = self._call("cuDeviceGetName", 256, self._device(index))
        return text.split(b"\0")[0].decode()

    def attribute(self, index: int, name: str) -> int:
        """A number of a GPU, by its name in `CUdevice_attribute` after CU_DEVICE_ATTRIBUTE_."""
        kind = getattr(self._cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self._call("cuDeviceGetAttribute", kind, self._device(index)))

    def capability(self, index: int) -> tuple[int, int]:
        """A GPU's compute capability."""
        major = self.attribute(index, "COMPUTE_CAPABILITY_MAJOR")
        return major, self.attribute(index, "COMPUTE_CAPABILITY_MINOR")

    def total_memory(self, index: int) -> int:
        """Bytes of a GPU's memory."""
        return int(self._call("cuDeviceTotalMem", self._device(index)))

    def context(self, index: int) -> int:
        """The context of a GPU that all libraries of the process share."""
        return int(self._call("cuDevicePrimaryCtxRetain", self._device(index)))

    def current(self) -> int:
        """This thread's context, or 0."""
        return int(self._call("cuCtxGetCurrent"))

    def enter(self, context: int) -> None:
        """Make a context this thread's, or none; the calls below are about it."""
        self._call("cuCtxSetCurrent", context)

    def memory(self) -> tuple[int, int]:
        """Free and all bytes of the context's GPU."""
        free, total = self._call("cuMemGetInfo")
        return int(free), int(total)

    def allocate(self, nbytes: int) -> int:
        """Memory of the GPU. OutOfMemory says what was asked for and what is there."""
        try:
            return int(self._call("cuMemAlloc", nbytes))
        except DriverError as error:
            if error.code != OUT_OF_MEMORY:
                raise
            free, total = self.memory()
            raise out_of_memory("cuda", nbytes, free, total) from error

    def free(self, address: int) -> None:
        """Give memory of the GPU back."""
        self._call("cuMemFree", address)

    def allocate_pinned(self, nbytes: int) -> int:
        """Memory of the host that the GPU copies from and to by itself; or OutOfMemory."""
        try:
            return int(self._call("cuMemHostAlloc", nbytes, 0))
        except DriverError as error:
            if error.code != OUT_OF_MEMORY:
                raise
            row = f"requested {nbytes} bytes of the host that the GPU can copy from and to"
            raise OutOfMemory(message("cuda", "out of memory", row, error.reason)) from error

    def free_pinned(self, address: int) -> None:
        """Give pinned memory back."""
        self._call("cuMemFreeHost", address)

    def upload(self, target: int, host: int, nbytes: int, stream: int) -> None:
        """Copy from pinned memory to the GPU, in order with the stream."""
        self._call("cuMemcpyHtoDAsync", target, host, nbytes, stream)

    def download(self, host: int, source: int, nbytes: int, stream: int) -> None:
        """Copy from the GPU to pinned memory, in order with the stream."""
        self._call("cuMemcpyDtoHAsync", host, source, nbytes, stream)

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """Copy within the GPU, in order with the stream."""
        self._call("cuMemcpyDtoDAsync", target, source, nbytes, stream)

    def clear(self, address: int, nbytes: int, stream: int) -> None:
        """Set bytes of the GPU to 0, in order with the stream."""
        self._call("cuMemsetD8Async", address, 0, nbytes, stream)

    def load_module(self, image: Any) -> int:
        """Load a cubin, or PTX that ends in a zero byte."""
        return int(self._call("cuModuleLoadData", image))

    def function(self, module: int, symbol: str) -> int:
        """A kernel of a module."""
        return int(self._call("cuModuleGetFunction", module, symbol.encode()))

    def prepared(
        self, function: int, groups: int, threads: int, argument: int, stream: int
    ) -> tuple[Any, ...]:
        """The launch of a kernel of one int64 argument on a 1-D grid, as the next two take it."""
        parameters = ((argument,), (ctypes.c_int64,))
        return function, groups, 1, 1, threads, 1, 1, 0, stream, parameters, 0

    def launch(self, launch: tuple[Any, ...]) -> None:
        """Run a kernel."""
        self._call("cuLaunchKernel", *launch)

    def launch_all(self, launches: Sequence[tuple[Any, ...]], outcome: Outcome) -> int:
        """Run kernels up to the first that fails; returns how many are launched.

        The outcome becomes final. An interrupt is seen before that, or when all are launched: the
        interpreter looks for one where functions of Python begin and where calls from Python end.
        """
        call = self._cuda.cuLaunchKernel
        succeeded = (self._cuda.CUresult.CUDA_SUCCESS,).__eq__
        outcome.final = True
        return len(list(takewhile(succeeded, starmap(call, launches))))

    def stream(self) -> int:
        """A queue of copies and launches."""
        return int(self._call("cuStreamCreate", NON_BLOCKING))

    def synchronize(self, stream: int) -> None:
        """Wait for all that the stream has been given; errors of kernels show here."""
        self._call("cuStreamSynchronize", stream)

    def event(self) -> int:
        """A mark that can be put into a stream."""
        return int(self._call("cuEventCreate", NO_TIMING))

    def record(self, event: int, stream: int) -> None:
        """Put the mark behind all that the stream has been given."""
        self._call("cuEventRecord", event, stream)

    def wait(self, event: int) -> None:
        """Wait until the stream has passed the mark; at once if it was never put."""
        self._call("cuEventSynchronize", event)

    def free_event(self, event: int) -> None:
        """Give the mark back."""
        self._call("cuEventDestroy", event)

    def begin_capture(self, stream: int) -> None:
        """Note what this thread gives the stream instead of running it."""
        mode = self._cuda.CUstreamCaptureMode(THREAD_LOCAL)
        self._call("cuStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int:
        """What was noted, ready to be launched."""
        graph = self._call("cuStreamEndCapture", stream)
        try:
            return int(self._call("cuGraphInstantiate", graph, 0))
        finally:
            self._call("cuGraphDestroy", graph)

    def launch_graph(self, graph: int, stream: int, outcome: Outcome) -> None:
        """Give the stream all that was noted; as `launch_all`."""
        call = self._cuda.cuGraphLaunch
        outcome.final = True
        (code,) = call(graph, stream)
        if code:
            outcome.final = False
            raise DriverError("cuGraphLaunch", int(code), *self._meaning(code))

    def free_graph(self, graph: int) -> None:
        """Forget what was noted."""
        self._call("cuGraphExecDestroy", graph)


def _bindings() -> Any:
    """The module `cuda.bindings.driver` with the driver's library loaded."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        problem, row = "the NVIDIA driver was not found", f"{LIBRARY} cannot be loaded"
        raise BackendUnavailable(message("cuda", problem, row, hint=INSTALL_DRIVER)) from error
    try:
        from cuda.bindings import driver
    except ImportError as error:
        problem = "the Python packages for CUDA are not installed"
        raise BackendUnavailable(message("cuda", problem, hint=INSTALL)) from error
    try:
        driver.cuInit(0)
    except RuntimeError as error:  # the library lacks what the package calls
        number = ctypes.c_int()
        library.cuDriverGetVersion(ctypes.byref(number))
        raise _too_old(_pair(number.value)) from error
    return driver


def _pair(number: int) -> tuple[int, int]:
    return number // 1000, number % 1000 // 10


def _too_old(found: tuple[int, int]) -> BackendUnavailable:
    known, needed = (".".join(map(str, pair)) for pair in (found, MINIMUM_CUDA))
    row = f"it knows CUDA {known}, and at least {needed} is needed"
    problem = "the NVIDIA driver is too old"
    return BackendUnavailable(message("cuda", problem, row, hint=INSTALL_DRIVER))
