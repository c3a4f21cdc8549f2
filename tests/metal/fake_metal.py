"""PyObjC's modules `Metal` and `objc`, as far as numbatorch/metal/runtime.py uses them.

Kernels run as C++, as late as Metal allows: when somebody waits. Selectors, the order of their
arguments and their results are those of PyObjC's metadata; what Metal's validation layer refuses
is an assertion.
"""

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from numbatorch.errors import KernelError
from tests.metal.device import LIMIT, Function, Memory, compile_sources

GIB = 1 << 30
MTLResourceStorageModeShared = 0
MTLResourceUsageRead = 1
MTLResourceUsageWrite = 2
MTLLanguageVersion3_1 = 196609
MTLCommandBufferStatusNotEnqueued = 0
MTLCommandBufferStatusCommitted = 2
MTLCommandBufferStatusCompleted = 4
MTLCommandBufferStatusError = 5
MTLCommandBufferErrorPageFault = 3
MTLCommandBufferErrorOutOfMemory = 8
MTLGPUFamilyMetal3 = 5001
MTLGPUFamilyApple7 = 1007
MTLGPUFamilyApple8 = 1008
MTLGPUFamilyApple9 = 1009


class NSError:
    def __init__(self, description: str, code: int = 0) -> None:
        self._description = description
        self._code = code

    def localizedDescription(self) -> str:
        return self._description

    def code(self) -> int:
        return self._code


class Varlist:
    """objc.varlist: a pointer of unknown length."""

    def __init__(self, data: np.ndarray[Any, Any]) -> None:
        self._data = data

    def as_buffer(self, length: int) -> memoryview:
        assert length <= self._data.size
        return memoryview(self._data[:length])


class MTLBuffer:
    def __init__(self, device: "MTLDevice", length: int) -> None:
        assert length > 0, "Metal has no empty buffers"
        device.buffers += 1
        self._memory = Memory(length, device.buffers)
        self._device = device
        device.allocated += length
        device.live[id(self)] = self._memory

    def __del__(self) -> None:
        self._device.allocated -= self._memory.nbytes
        self._device.live.pop(id(self), None)

    def length(self) -> int:
        return self._memory.nbytes

    def gpuAddress(self) -> int:
        return self._memory.address

    def contents(self) -> Varlist:
        return Varlist(self._memory.bytes)

    def holds(self, address: int) -> bool:
        return self.gpuAddress() <= address <= self.gpuAddress() + self.length()


class MTLCompileOptions:
    def __init__(self) -> None:
        self.language: int | None = None
        self.fast_math = True

    @classmethod
    def alloc(cls) -> SimpleNamespace:
        return SimpleNamespace(init=cls)

    def setLanguageVersion_(self, version: int) -> None:
        self.language = version

    def setFastMathEnabled_(self, enabled: bool) -> None:
        self.fast_math = enabled


class MTLLibrary:
    def __init__(self, text: str) -> None:
        self.functions = {}
        self.limits = [int(limit) for limit in LIMIT.findall(text)]  # of threads in a group
        for symbol in re.findall(r"kernel void (\w+)", text):
            source = SimpleNamespace(text=text, symbol=symbol, shared_bytes=0)
            (self.functions[symbol],) = compile_sources([source])

    def newFunctionWithName_(self, name: str) -> tuple[Function, list[int]]:
        return self.functions[name], self.limits


class MTLComputePipelineState:
    def __init__(self, function: Function, limit: int) -> None:
        self.function = function
        self._limit = limit

    def maxTotalThreadsPerThreadgroup(self) -> int:
        return self._limit


@dataclasses.dataclass
class Dispatch:
    function: Function
    block: np.ndarray[Any, Any]
    groups: int
    threads: int
    used: list[MTLBuffer]


class MTLComputeCommandEncoder:
    def __init__(self, commands: "MTLCommandBuffer") -> None:
        self._commands = commands
        self._used: list[MTLBuffer] = []
        self._pipeline: MTLComputePipelineState | None = None
        self._block: np.ndarray[Any, Any] | None = None
        self._shared = 0

    def useResources_count_usage_(self, resources: list[MTLBuffer], count: int, usage: int) -> None:
        assert len(resources) == count and usage == MTLResourceUsageRead | MTLResourceUsageWrite
        self._used.extend(resources)

    def setComputePipelineState_(self, pipeline: MTLComputePipelineState) -> None:
        self._pipeline = pipeline

    def setBytes_length_atIndex_(self, data: bytes, length: int, index: int) -> None:
        assert len(data) == length <= 4096 and index == 0
        self._block = np.frombuffer(data, np.int64).copy()

    def setBuffer_offset_atIndex_(self, buffer: MTLBuffer, offset: int, index: int) -> None:
        assert offset == 0 and index == 0
        self._block = np.frombuffer(buffer.contents().as_buffer(buffer.length()), np.int64)

    def setThreadgroupMemoryLength_atIndex_(self, length: int, index: int) -> None:
        assert length % 16 == 0 and 0 < length <= 32 << 10 and index == 0
        self._shared = length

    def dispatchThreadgroups_threadsPerThreadgroup_(
        self, groups: tuple[int, int, int], threads: tuple[int, int, int]
    ) -> None:
        assert self._pipeline is not None and self._block is not None and self._shared
        assert groups[0] > 0 and groups[1:] == (1, 1) and threads[1:] == (1, 1)
        assert 0 < threads[0] <= self._pipeline.maxTotalThreadsPerThreadgroup()
        function = dataclasses.replace(self._pipeline.function, shared_bytes=self._shared)
        self._commands.dispatches.append(
            Dispatch(function, self._block, groups[0], threads[0], self._used)
        )

    def endEncoding(self) -> None:
        self._commands.encoding = False

    def __del__(self) -> None:
        assert not self._commands.encoding, "an encoder is dropped that was not ended"


class MTLCommandBuffer:
    def __init__(self, queue: "MTLCommandQueue") -> None:
        self._queue = queue
        self._status = MTLCommandBufferStatusNotEnqueued
        self._error: NSError | None = None
        self.dispatches: list[Dispatch] = []
        self.encoding = False

    def computeCommandEncoder(self) -> MTLComputeCommandEncoder:
        assert not self.encoding
        self.encoding = True
        return MTLComputeCommandEncoder(self)

    def commit(self) -> None:
        assert not self.encoding and self._status == MTLCommandBufferStatusNotEnqueued
        self._status = MTLCommandBufferStatusCommitted
        self._queue.waiting.append(self)
        self._queue.device.commits += 1

    def waitUntilCompleted(self) -> None:
        assert self._status >= MTLCommandBufferStatusCommitted
        while self in self._queue.waiting:
            self._queue.waiting.pop(0).execute()

    def status(self) -> int:
        return self._status

    def error(self) -> NSError | None:
        return self._error

    def execute(self) -> None:
        """What the GPU does."""
        device = self._queue.device
        self._status = MTLCommandBufferStatusCompleted
        try:
            for dispatch in self.dispatches:
                device.launches += 1
                self._check_residency(device, dispatch)
                block = dispatch.block.ctypes.data
                dispatch.function.run(block, dispatch.groups, dispatch.threads, 0, "kernel")
        except KernelError as error:
            self._status = MTLCommandBufferStatusError
            self._error = NSError(str(error).splitlines()[0], MTLCommandBufferErrorPageFault)
        if device.refuses:
            self._status, self._error = MTLCommandBufferStatusError, device.refuses

    @staticmethod
    def _check_residency(device: "MTLDevice", dispatch: Dispatch) -> None:
        """Words that are addresses of buffers must be of buffers that the encoder was told of."""
        for word in map(int, dispatch.block):
            inside = [m for m in device.live.values() if 0 <= word - m.address < m.nbytes]
            if inside and not any(buffer.holds(word) for buffer in dispatch.used):
                raise KernelError(f"page fault: {inside[0].name} is not resident")


class MTLCommandQueue:
    def __init__(self, device: "MTLDevice") -> None:
        self.device = device
        self.waiting: list[MTLCommandBuffer] = []

    def commandBuffer(self) -> MTLCommandBuffer:
        return MTLCommandBuffer(self)


class MTLDevice:
    """A device that can be made to look old, small or broken."""

    def __init__(self, name: str = "Fake M2", family: int = 8, memory: int = 4 * GIB) -> None:
        self.buffers = self.allocated = self.launches = self.commits = 0
        self.live: dict[int, Memory] = {}
        self.refuses: NSError | None = None
        self.thread_limit = 1024
        self.options: list[MTLCompileOptions] = []
        self._name = name
        self._family = family
        self._memory = memory

    def name(self) -> str:
        return self._name

    def supportsFamily_(self, family: int) -> bool:
        if family == MTLGPUFamilyMetal3:
            return True
        return 1000 < family <= 1000 + self._family

    def recommendedMaxWorkingSetSize(self) -> int:
        return self._memory

    def currentAllocatedSize(self) -> int:
        return self.allocated

    def maxBufferLength(self) -> int:
        return self._memory // 2

    def newCommandQueue(self) -> MTLCommandQueue:
        return MTLCommandQueue(self)

    def newBufferWithLength_options_(self, length: int, options: int) -> MTLBuffer | None:
        assert options == MTLResourceStorageModeShared
        return MTLBuffer(self, length) if length <= self._memory - self.allocated else None

    def newBufferWithBytes_length_options_(
        self, data: bytes, length: int, options: int
    ) -> MTLBuffer:
        assert len(data) == length
        buffer = self.newBufferWithLength_options_(length, options)
        assert buffer is not None
        buffer.contents().as_buffer(length)[:] = data
        return buffer

    def newLibraryWithSource_options_error_(
        self, text: str, options: MTLCompileOptions, error: None
    ) -> tuple[MTLLibrary | None, NSError | None]:
        self.options.append(options)
        try:
            return MTLLibrary(text), None
        except KernelError as problem:
            return None, NSError(str(problem))

    def newComputePipelineStateWithFunction_error_(
        self, function: tuple[Function, list[int]], error: None
    ) -> tuple[MTLComputePipelineState | None, NSError | None]:
        compiled, limits = function
        return MTLComputePipelineState(compiled, *limits or [self.thread_limit]), None


_device: MTLDevice | None = None


def install(device: MTLDevice | None) -> None:
    """The device that is there from now on."""
    global _device
    _device = device


def MTLCreateSystemDefaultDevice() -> MTLDevice | None:
    return _device


@contextmanager
def autorelease_pool() -> Iterator[None]:
    yield
