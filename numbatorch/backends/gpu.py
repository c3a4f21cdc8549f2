"""What CUDA and Metal have in common: a runtime that holds memory and launches, driven by plans.

A kernel of a GPU takes one argument, the address of its argument block among the words of the
plan. So the launches of a plan never change, and a replay patches words only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from numbatorch.backends.arguments import float32_word, float64_word
from numbatorch.backends.memory import Buffer, Pool
from numbatorch.backends.outcome import Outcome, Stale
from numbatorch.backends.planned import PlanBackend
from numbatorch.backends.program import Frame, Program, as_elements
from numbatorch.determinism import are_deterministic_algorithms_enabled
from numbatorch.dtype import DType
from numbatorch.errors import KernelError, message
from numbatorch.graph import Node
from numbatorch.language.kernel import KernelSpec
from numbatorch.ops.operands import describe
from numbatorch.passes.plan import EPILOGUE, Launch, Plan
from numbatorch.shape import Shape, numel

Array = np.ndarray[Any, Any]

POOL_BYTES = 1 << 62  # a pool gives memory back when the device has no more


class Owner(Protocol):
    """Memory of a device, freed when this is dropped.

    Attributes:
        failure: of a run that gave up and had this memory, which is undefined since.
    """

    address: int
    nbytes: int
    failure: Exception | None


@dataclass(frozen=True)
class Step:
    """One launch.

    Attributes:
        function: what `Runtime.load` gave for the kernel.
        groups, threads: of the grid.
        block: where the launch's argument block begins among the words, in bytes.
        name: kernel and fused operators, for errors.
    """

    function: Any
    groups: int
    threads: int
    block: int
    name: str


def check_grid(step: Step, max_groups: int, max_threads: int) -> None:
    """Raise KernelError for a grid beyond a GPU's limits."""
    limits = [("groups", step.groups, max_groups)]
    limits += [("threads in a group", step.threads, max_threads)]
    for what, asked, limit in limits:
        if asked > limit:
            problem = f"more {what} than the GPU can run"
            raise KernelError(message(step.name, problem, f"{asked}, of {limit} at most"))


class Recording(Protocol):
    """A list of launches that is run again and again."""

    def run(self, words: Array, owners: Sequence[Any]) -> None:
        """Copy `words`, then launch every step in order.

        Args:
            words: int64; may be changed when this returns.
            owners: all memory that the kernels may touch.
        """

    def run_step(self, number: int, words: Array, owners: Sequence[Any]) -> None:
        """As `run`, one step only."""


class CompleteRecording:
    """A recording that makes its launches with one call, which no interrupt cuts short."""

    def complete(self, words: Array, owners: Sequence[Any], outcome: Outcome) -> None:
        """As `run`; the outcome becomes final just before that call."""
        raise NotImplementedError


class Runtime(Protocol):
    """One GPU. What it is told to do happens in order; only `download` waits.

    The owners that its methods take are those that its `allocate` gave.

    Attributes:
        name: of the device, for people.
        kind: "cuda" or "metal".
        max_groups: groups in a grid at most.
        share_threads: threads in a group for kernels that need no groups.
        reclaim: set by whoever keeps freed memory: gives it back to the device.
    """

    name: str
    kind: str
    max_groups: int
    share_threads: int
    reclaim: Callable[[], None]

    def allocate(self, nbytes: int) -> Owner:
        """Memory, aligned to 64 bytes at least, undefined.

        Raises:
            OutOfMemory: the device refuses.
        """

    def upload(self, owner: Any, array: Array, offset: int = 0) -> None:
        """Copy host bytes, which may be changed when this returns."""

    def download(self, owner: Any, nbytes: int, offset: int = 0) -> Array:
        """Bytes in host memory, after all launches so far."""

    def copy(self, target: Any, source: Any, nbytes: int) -> None:
        """Copy within the device."""

    def clear(self, owner: Any, nbytes: int) -> None:
        """Fill with zeros."""

    def load(self, kernels: Sequence[tuple[KernelSpec, KernelSpec | None]]) -> list[Any]:
        """Functions of kernels with their epilogues, compiled where they were not yet."""

    def recording(self, steps: Sequence[Step]) -> Recording:
        """Steps made ready to run."""

    def synchronize(self) -> None:
        """Wait for all launches so far."""


class DevicePool(Pool):
    """Memory of one GPU.

    It holds what it has lent. In a cycle of garbage a buffer's owner would be finalized, and so
    freed, together with the buffer that brings it back here.
    """

    def __init__(self, runtime: Runtime, limit: int = POOL_BYTES) -> None:
        super().__init__(limit)
        self._runtime = runtime
        self._lent: dict[int, Owner] = {}

    def allocate(self, nbytes: int) -> Buffer:
        """A buffer of at least `nbytes` with undefined contents."""
        buffer = super().allocate(nbytes)
        if buffer.owner.failure is not None:
            buffer.owner.failure = None
        self._lent[id(buffer.owner)] = buffer.owner
        return buffer

    def release(self, owner: Owner) -> None:
        """Keep memory for the next buffer of its size."""
        self._lent.pop(id(owner), None)
        super().release(owner)

    def fresh(self, size: int) -> Owner:
        """Memory that the driver gives."""
        return self._runtime.allocate(size)


class GPUBackend(PlanBackend):
    """Device "cuda" or "metal": buffers lie on the GPU, and copies go through the host."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime
        self.target = runtime.kind
        self.pool = DevicePool(runtime)
        self._apart = DevicePool(runtime, 0)
        runtime.reclaim = self.pool.clear

    def state(self) -> Any:
        """Whether sums must not depend on timing chooses kernels."""
        return super().state(), are_deterministic_algorithms_enabled()

    def program(self, plan: Plan) -> GPUProgram:
        """The plan with its kernels compiled and loaded."""
        return GPUProgram(plan, self.runtime, self.pool)

    def from_numpy(self, array: Array, dtype: DType) -> Buffer:
        """A copy of the array's elements on the device."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        buffer = self.pool.allocate(data.nbytes)
        if data.nbytes:
            self.runtime.upload(buffer.owner, data)
        return buffer

    def zeros(self, shape: Shape, dtype: DType) -> Buffer:
        """A buffer of zeros, whose memory the driver gets back once it is dropped."""
        buffer = self._apart.allocate(dtype.nbytes(numel(shape)))
        if buffer.nbytes:
            self.runtime.upload(buffer.owner, np.zeros(buffer.nbytes, np.uint8))
        return buffer

    def to_numpy(self, buffer: Buffer, node: Node) -> Array:
        """A copy of the buffer's elements in host memory; block types are bytes."""
        return as_elements(self.runtime.download(buffer.owner, buffer.nbytes), node)

    def copy(self, buffer: Buffer) -> Buffer:
        """A buffer with the same bytes."""
        fresh = self.pool.allocate(buffer.nbytes)
        self.runtime.copy(fresh.owner, buffer.owner, buffer.nbytes)
        return fresh

    def empty_cache(self) -> None:
        """Memory that waits goes back."""
        self.pool.clear()


class GPUFrame(Frame):
    """With the recordings of ranges of launches, which keep words on the device."""

    def __init__(self, program: GPUProgram) -> None:
        super().__init__(program)
        self.recordings: dict[tuple[int, int], Recording] = {}


class GPUProgram(Program[GPUFrame]):
    """Launches with their grids; those before the check of indices, and the rest, each recorded."""

    def __init__(self, plan: Plan, runtime: Runtime, pool: DevicePool) -> None:
        self.runtime = runtime
        self.device = runtime.kind
        word = float64_word if runtime.kind == "cuda" else float32_word
        super().__init__(plan, pool, word)
        # A launch of no groups, or on the host, is none to a driver.
        running = [launch for launch in plan.launches if _groups(launch, runtime) > 0]
        kernels = [(x.spec, x.epilogue.spec if x.epilogue else None) for x in running]
        functions = runtime.load(kernels)
        steps = {
            id(launch): self._step(launch, function)
            for launch, function in zip(running, functions, strict=True)
        }
        self.arguments.finish()
        self._steps = [steps.get(id(launch)) for launch in plan.launches]
        self._overwrites = any(m.kind == "leaf" for x in plan.launches for m in x.writes)

    def frame(self) -> GPUFrame:
        """A frame that no run has."""
        return GPUFrame(self)

    def _step(self, launch: Launch, function: Any) -> Step:
        start = self.arguments.begin()
        for kind, argument in zip(launch.spec.signature, launch.arguments, strict=True):
            if argument is not EPILOGUE:
                self.arguments.append(kind, argument)
            elif launch.epilogue is not None:
                self.arguments.extend(launch.epilogue.spec.signature, launch.epilogue.arguments)
        operators = ", ".join(node.op.name for node in launch.group.fused()) or "copy"
        shapes = ", ".join(describe(node) for node in launch.group.outputs)
        name = f"kernel {launch.spec.name} of {operators} to {shapes}"
        groups = _groups(launch, self.runtime)
        threads = launch.threads or self.runtime.share_threads
        return Step(function, groups, threads, 8 * start, name)

    def clear(self, buffer: Buffer) -> None:
        """Fill a buffer with zeros."""
        if buffer.nbytes:
            self.runtime.clear(buffer.owner, buffer.owner.nbytes)

    def read(self, buffer: Buffer, nbytes: int, offset: int = 0) -> Array:
        """Bytes of a buffer, once all launches so far are done."""
        return self.runtime.download(buffer.owner, nbytes, offset)

    def write(self, buffer: Buffer, data: Array, offset: int = 0) -> None:
        """Put bytes into a buffer, once all launches so far are done."""
        self.runtime.upload(buffer.owner, data, offset)

    def walk(
        self, frame: GPUFrame, first: int, last: int, held: Sequence[Buffer], outcome: Outcome
    ) -> None:
        """Run launches in order."""
        if outcome.clock.last != outcome.seen:
            raise Stale
        recording = self._recording(frame, first, last)
        words, owners = frame.words, self._owners(frame, held)
        if isinstance(recording, CompleteRecording):
            recording.complete(words, owners, outcome)
        elif self._overwrites and last > self.plan.checkpoint:
            outcome.complete(partial(recording.run, words, owners))
        else:  # what an interrupt cuts short can be run again
            recording.run(words, owners)
            outcome.final = True

    def step(self, frame: GPUFrame, row: int, held: Sequence[Buffer]) -> None:
        """Run one launch, and wait for it."""
        if self._steps[row] is None:
            return
        recording = self._recording(frame, 0, len(self._steps))
        number = sum(step is not None for step in self._steps[:row])
        recording.run_step(number, frame.words, self._owners(frame, held))
        self.runtime.synchronize()

    def _recording(self, frame: GPUFrame, first: int, last: int) -> Recording:
        found = frame.recordings.get((first, last))
        if found is None:
            steps = [step for step in self._steps[first:last] if step is not None]
            found = frame.recordings[first, last] = self.runtime.recording(steps)
        return found

    def _owners(self, frame: GPUFrame, held: Sequence[Buffer]) -> list[Owner]:
        """All memory of a run; what the frame keeps is zero again after a run that gave up."""
        for buffer in frame.zeroed.values():
            if buffer.owner.failure is not None:
                self.clear(buffer)
        return [buffer.owner for buffer in (*held, *frame.zeroed.values())]


def _groups(launch: Launch, runtime: Runtime) -> int:
    if launch.threads:
        return launch.groups
    return min(-(-launch.items // runtime.share_threads), runtime.max_groups)
