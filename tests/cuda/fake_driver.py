"""A driver that does things as late as CUDA may: nothing happens before somebody waits for it.

So a copy that is overwritten too early, memory that is freed too early, or a read without a wait
shows. It keeps a list of calls, and can be told to fail. Kernels are functions of Python over the
words of their argument blocks, or simulated ones.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch.backends.cuda.driver import DriverError
from numbatorch.backends.cuda.simulated_driver import Simulated, SimulatedDriver
from numbatorch.backends.cuda.simulated_memory import region_at
from numbatorch.backends.outcome import Outcome
from numbatorch.language.kernel import KernelSpec

ILLEGAL_ADDRESS = (700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered")
NOT_SUPPORTED = (801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported")
OUT_OF_MEMORY = (2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory")
INVALID_VALUE = (1, "CUDA_ERROR_INVALID_VALUE", "invalid argument")

Array = np.ndarray[Any, Any]


class FakeDriver(SimulatedDriver):
    """A GPU with a stream that lags.

    Attributes:
        calls: the methods that were called, in order.
        failing: (code, name, meaning) by method; the method raises that instead.
        capacity: bytes of its memory.
    """

    def __init__(self, capacity: int = 1 << 30, capability: tuple[int, int] = (8, 0)) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.failing: dict[str, tuple[int, str, str]] = {}
        self.capacity = capacity
        self._capability = capability
        self._pending: list[Callable[[], None] | int] = []  # actions, and numbers of marks
        self._capturing = False

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise DriverError(f"fake {name}", *self.failing[name])

    def _queue(self, action: Callable[[], None]) -> None:
        if self._capturing:
            super()._queue(action)
        else:
            self._pending.append(action)

    def _run_until(self, mark: int | None) -> None:
        """Do what is pending: all of it, or up to the last place where a mark was put."""
        count = len(self._pending)
        if mark is not None:
            places = [i for i, item in enumerate(self._pending) if item == mark]
            count = places[-1] + 1 if places else 0
        for item in self._pending[:count]:
            if not isinstance(item, int):
                item()
        del self._pending[:count]

    def attribute(self, index: int, name: str) -> int:
        major, minor = self._capability
        return {"COMPUTE_CAPABILITY_MAJOR": major, "COMPUTE_CAPABILITY_MINOR": minor}[name]

    def total_memory(self, index: int) -> int:
        return self.capacity

    def allocate(self, nbytes: int) -> int:
        self._called("allocate")
        assert not self._capturing, "allocation in a capture"
        return super().allocate(nbytes)

    def free(self, address: int) -> None:
        self._called("free")
        assert not self._capturing, "memory freed in a capture"
        assert not self._pending, "memory freed while the stream may use it"
        super().free(address)

    def free_pinned(self, address: int) -> None:
        assert not self._pending, "pinned memory freed while the stream may use it"
        super().free_pinned(address)

    def upload(self, target: int, host: int, nbytes: int, stream: int) -> None:
        self._called("upload")
        super().upload(target, host, nbytes, stream)

    def download(self, host: int, source: int, nbytes: int, stream: int) -> None:
        self._called("download")
        super().download(host, source, nbytes, stream)

    def load_module(self, image: Any) -> int:
        self._called("load_module")
        return super().load_module(image)

    def launch(self, launch: tuple[Any, ...]) -> None:
        self._called("captured launch" if self._capturing else "launch")
        super().launch(launch)

    def synchronize(self, stream: int) -> None:
        self._called("synchronize")
        assert not self._capturing, "a wait in a capture"
        self._run_until(None)

    def record(self, event: int, stream: int) -> None:
        self._called("record")
        self._pending.append(event)

    def wait(self, event: int) -> None:
        self._called("wait")
        assert not self._capturing, "a wait in a capture"
        self._run_until(event)

    def begin_capture(self, stream: int) -> None:
        self._called("begin_capture")
        super().begin_capture(stream)
        self._capturing = True

    def end_capture(self, stream: int) -> int:
        self._capturing = False
        graph = super().end_capture(stream)
        self._called("end_capture")
        return graph

    def launch_graph(self, graph: int, stream: int, outcome: Outcome) -> None:
        self._called("launch_graph")
        super().launch_graph(graph, stream, outcome)

    def held(self) -> tuple[int, int, int]:
        """How many allocations, pinned allocations and graphs there are."""
        return len(self._memory), len(self._pinned), len(self._graphs)


class PythonKernel(KernelSpec):
    """A function of the words of an argument block, and of the grid."""

    def __init__(self, function: Callable[[Array, int, int], None], words: int) -> None:
        self.name = function.__name__
        self.key = f"{function.__name__}-{id(function)}"
        self.signature = ("int",) * words
        self.function = function

    def path(self) -> str:
        return __file__

    def __len__(self) -> int:  # as an image
        return 5000

    def __call__(self, groups: int, threads: int, argument: int) -> None:
        self.function(memory(argument, 8 * len(self.signature)).view(np.int64), groups, threads)


def memory(address: int, nbytes: int) -> Array:
    """Bytes of the fake GPU, checked as an access of a kernel is."""
    region = region_at(address)
    start = address - region.address
    if not region.address or start + nbytes > len(region.bytes):
        raise DriverError("fake kernel", *ILLEGAL_ADDRESS)
    return region.bytes[start : start + nbytes]


def compile_python(kernels: Any, capability: tuple[int, int]) -> list[Simulated]:
    """What `CudaRuntime` compiles with."""
    return [Simulated(spec, spec.symbol) for spec, _epilogue in kernels]
