"""numbatorch/metal/runtime.py over a fake of PyObjC that runs kernels as C++ when it must."""

import dis
import gc
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.backends.base import install
from numbatorch.backends.gpu import GPUBackend, Step
from numbatorch.backends.outcome import Outcome
from numbatorch.device import device
from numbatorch.errors import BackendUnavailable, KernelError, OutOfMemory
from numbatorch.language.kernel import EmittedKernel
from numbatorch.metal import runtime as metal_runtime
from numbatorch.metal.runtime import MetalRuntime, open_runtime, probe
from tests import interrupts
from tests.compare import assert_close
from tests.interrupts import interruptions, is_moment
from tests.metal import fake_metal
from tests.metal.device import AVAILABLE

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="there is no C++ compiler, or no Linux")

Array = np.ndarray[Any, Any]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_metal.MTLDevice]:
    """A Mac with a GPU, as far as Python sees."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("14.5", ("", "", ""), "arm64"))
    monkeypatch.setitem(sys.modules, "Metal", fake_metal)
    objc = SimpleNamespace(autorelease_pool=fake_metal.autorelease_pool)
    monkeypatch.setitem(sys.modules, "objc", objc)
    found = fake_metal.MTLDevice()
    fake_metal.install(found)
    yield found
    fake_metal.install(None)


@pytest.fixture
def runtime(gpu: fake_metal.MTLDevice) -> MetalRuntime:
    return open_runtime()


@contextmanager
def metal_on(runtime: MetalRuntime) -> Iterator[None]:
    """Device "metal" is on this runtime; what it was on for other tests comes back."""
    before = install(device("metal"), GPUBackend(runtime))
    try:
        yield
    finally:
        install(device("metal"), before)


SCALE = """
from numbatorch.language.words import Pointer, share

def kernel(out: Pointer["float32"], n: int, factor: float, part: int, parts: int):
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        out[i] = out[i] * factor + 1.0
"""


def scale(name: str = "scale", text: str = SCALE) -> EmittedKernel:
    return EmittedKernel(name, (text,), ("pointer", "int", "float"), lambda: text)


def float_word(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


class Scaled:
    """An allocation and a recording that scales it."""

    def __init__(self, runtime: MetalRuntime, values: Array) -> None:
        self.runtime = runtime
        self.memory = runtime.allocate(values.nbytes)
        runtime.upload(self.memory, values.view(np.uint8))
        (function,) = runtime.load([(scale(), None)])
        self.recording = runtime.recording([Step(function, 2, 64, 8, "kernel scale of mul")])
        self.words = np.array([0, self.memory.address, values.size, float_word(2.0)], np.int64)

    def run(self) -> None:
        self.recording.run(self.words, [self.memory])

    def values(self) -> Array:
        return self.runtime.download(self.memory, self.memory.nbytes).view(np.float32)


@pytest.fixture
def scaled(runtime: MetalRuntime) -> Scaled:
    return Scaled(runtime, np.arange(100, dtype=np.float32))


def test_runs_wait_for_nobody_and_words_may_change(
    scaled: Scaled, gpu: fake_metal.MTLDevice
) -> None:
    scaled.run()
    scaled.words[3] = float_word(3.0)
    scaled.run()
    scaled.words[:] = 0
    assert gpu.commits == 2 and gpu.launches == 0
    np.testing.assert_array_equal(scaled.values(), (np.arange(100) * 2 + 1) * 3 + 1)
    assert gpu.launches == 2


def test_host_waits_for_launches_on_its_memory_only(
    scaled: Scaled, runtime: MetalRuntime, gpu: fake_metal.MTLDevice
) -> None:
    other = runtime.allocate(400)
    scaled.run()
    runtime.clear(other, 400)
    runtime.upload(other, np.full(100, 7, np.float32).view(np.uint8))
    np.testing.assert_array_equal(runtime.download(other, 8, 392).view(np.float32), [7, 7])
    assert gpu.launches == 0
    runtime.copy(other, scaled.memory, 400)
    assert gpu.launches == 1
    np.testing.assert_array_equal(
        runtime.download(other, 400).view(np.float32), np.arange(100) * 2 + 1
    )
    scaled.run()
    runtime.upload(scaled.memory, np.zeros(4, np.uint8), 4)
    assert gpu.launches == 2, "the upload overtook a launch"
    np.testing.assert_array_equal(scaled.values()[:3], [3, 0, 11])


def test_memory_lives_until_launches_are_done(runtime: MetalRuntime) -> None:
    scaled = Scaled(runtime, np.ones(10, np.float32))
    scaled.run()
    del scaled
    gc.collect()
    runtime.synchronize()


def test_done_runs_are_let_go(scaled: Scaled, runtime: MetalRuntime) -> None:
    for _ in range(5):
        scaled.run()
    assert len(runtime._submitted) == 5
    runtime._submitted[2].commands.waitUntilCompleted()
    scaled.run()
    assert len(runtime._submitted) == 3


def test_done_runs_are_let_go_when_memory_is_asked_for(
    runtime: MetalRuntime, gpu: fake_metal.MTLDevice
) -> None:
    gpu._memory = 8 << 20
    scaled = Scaled(runtime, np.ones(1 << 20, np.float32))
    scaled.run()
    runtime._submitted[0].commands.waitUntilCompleted()
    del scaled
    runtime.allocate(64)
    assert not runtime._submitted and gpu.allocated < 4 << 20
    scaled = Scaled(runtime, np.ones(1 << 20, np.float32))
    scaled.run()
    del scaled
    assert runtime._submitted and gpu.allocated >= 4 << 20
    kept = runtime.allocate(4 << 20), runtime.allocate(4 << 20)  # has to wait for the run
    with pytest.raises(OutOfMemory):
        runtime.allocate(64)
    del kept


def as_of_c(frame: FrameType, event: str) -> bool:
    """A moment for interrupts; functions of the fake are C, and Python that calls one may get it
    when it returns."""
    if frame.f_code.co_filename != fake_metal.__file__:
        return is_moment(frame, event)
    caller = frame.f_back
    if event != "return" or frame.f_code.co_name == "__del__":
        return False
    if caller is None or caller.f_code.co_filename == fake_metal.__file__:
        return False
    names = [dis.opname[code] for code in caller.f_code.co_code[caller.f_lasti :: -2]]
    return next(name for name in names if name != "CACHE").startswith("CALL")


def test_an_interrupted_run_is_waited_for_or_was_not_made(
    scaled: Scaled, gpu: fake_metal.MTLDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "is_moment", as_of_c)
    expected, commits, outcome = np.arange(100, dtype=np.float32), 0, Outcome()

    def run() -> None:
        nonlocal outcome
        outcome = Outcome()
        scaled.recording.complete(scaled.words, [scaled.memory], outcome)

    for moment in interruptions(run):
        assert outcome.final == (gpu.commits > commits), moment
        if outcome.final:
            expected, commits = expected * 2 + 1, gpu.commits
        np.testing.assert_array_equal(scaled.values(), expected, err_msg=f"at moment {moment}")
        assert not scaled.runtime._submitted
    assert 0 < commits < moment


def test_one_step_of_a_recording(scaled: Scaled, runtime: MetalRuntime) -> None:
    step = scaled.recording._steps[0]
    recording = runtime.recording([step, step, step])
    recording.run_step(1, scaled.words, [scaled.memory])
    np.testing.assert_array_equal(scaled.values(), np.arange(100) * 2 + 1)
    recording.run(scaled.words, [scaled.memory])
    np.testing.assert_array_equal(scaled.values(), np.arange(100) * 16 + 15)
    runtime.recording([]).run(scaled.words, [])


def test_kernels_are_compiled_once_and_without_fast_math(
    runtime: MetalRuntime, gpu: fake_metal.MTLDevice
) -> None:
    first, second, again = runtime.load(
        [(scale(), None), (scale("other", SCALE.replace("1.0", "2.0")), None), (scale(), None)]
    )
    assert first is again and first is not second
    assert runtime.load([(scale(), None)]) == [first]
    assert len(gpu.options) == 2
    for options in gpu.options:
        assert not options.fast_math and options.language == fake_metal.MTLLanguageVersion3_1


def test_argument_blocks_beyond_4_kb_lie_in_a_buffer(
    runtime: MetalRuntime, gpu: fake_metal.MTLDevice
) -> None:
    names = [f"n{i}" for i in range(600)]
    parameters = ", ".join(f"{name}: int" for name in names)
    text = f"""
from numbatorch.language.words import Pointer

def kernel(out: Pointer["int64"], {parameters}, part: int, parts: int):
    if part == 0:
        out[0] = n0 + n599
"""
    spec = EmittedKernel("many", (text,), ("pointer", *["int"] * 600), lambda: text)
    (function,) = runtime.load([(spec, None)])
    memory = runtime.allocate(8)
    words = np.array([memory.address, *range(5, 605)], np.int64)
    recording = runtime.recording([Step(function, 1, 32, 0, "many")])
    recording.run(words, [memory])
    assert runtime.download(memory, 8).view(np.int64)[0] == 5 + 604
    kept = [runtime.allocate(1 << 16)]
    gpu._memory = gpu.allocated
    runtime.reclaim = kept.clear
    words[1] = 6
    recording.run(words, [memory])  # the block finds room once the pool gives back its memory
    assert not kept and runtime.download(memory, 8).view(np.int64)[0] == 6 + 604
    gpu._memory = gpu.allocated
    with pytest.raises(OutOfMemory):
        recording.run(words, [memory])
    assert gpu.commits == 2


def test_failed_runs_name_kernels_and_leave_the_device_usable(
    scaled: Scaled, runtime: MetalRuntime
) -> None:
    scaled.recording.run(scaled.words, [])
    with pytest.raises(KernelError, match=r"metal: the GPU gave up a run\n.*not resident\n") as e:
        runtime.synchronize()
    assert "launches: kernel scale of mul" in str(e.value)
    np.testing.assert_array_equal(scaled.values(), np.arange(100))
    scaled.run()
    np.testing.assert_array_equal(scaled.values(), np.arange(100) * 2 + 1)


def test_what_a_failed_run_leaves_is_not_read(
    scaled: Scaled, runtime: MetalRuntime, gpu: fake_metal.MTLDevice
) -> None:
    other = runtime.allocate(400)
    gpu.refuses = fake_metal.NSError("Hang", 2)
    scaled.run()
    runtime.upload(other, np.ones(100, np.float32).view(np.uint8))
    runtime._submitted[0].commands.waitUntilCompleted()
    gpu.refuses = None
    problem = r"gave up a run\n  Hang\n.*scale.*\n.*undefined now"
    for use in (
        scaled.values,
        scaled.values,
        lambda: runtime.copy(other, scaled.memory, 4),
        lambda: runtime.upload(scaled.memory, np.zeros(4, np.uint8)) or scaled.values(),
        lambda: runtime.clear(scaled.memory, 399) or scaled.values(),
        scaled.run,
        lambda: scaled.recording.run_step(0, scaled.words, [other, scaled.memory]),
    ):
        with pytest.raises(KernelError, match=problem):
            use()
    runtime.synchronize()  # it has been said
    assert gpu.commits == 1 and runtime.download(other, 4).view(np.float32)[0] == 1
    runtime.upload(scaled.memory, np.arange(100, dtype=np.float32).view(np.uint8))
    scaled.run()
    np.testing.assert_array_equal(scaled.values(), np.arange(100) * 2 + 1)


def test_runs_behind_a_failed_one_have_what_it_left(
    scaled: Scaled, runtime: MetalRuntime, gpu: fake_metal.MTLDevice
) -> None:
    others = [Scaled(runtime, np.ones(10, np.float32)) for _ in range(3)]
    scaled.run()
    scaled.recording.run(scaled.words, [scaled.memory, others[0].memory])
    others[0].recording.run(others[0].words, [others[0].memory, others[1].memory])
    others[2].run()
    gpu.refuses = fake_metal.NSError("Hang", 2)
    runtime._submitted[0].commands.waitUntilCompleted()
    gpu.refuses = None
    assert others[2].values()[0] == 3
    for lost in (others[1], others[0], scaled):
        with pytest.raises(KernelError, match="Hang"):
            lost.values()


def test_memory_of_failed_runs_is_used_again(
    runtime: MetalRuntime, gpu: fake_metal.MTLDevice
) -> None:
    with metal_on(runtime):
        table = nt.tensor([[1.0], [2.0]], device="metal")

        def lost() -> nt.Tensor:
            index = nt.tensor([1, 0, 1], device="metal")
            return (table.index_select(0, index) * 2).realize()

        found = lost()
        assert found.tolist() == [[4.0], [2.0], [4.0]]
        gpu.refuses = fake_metal.NSError("Hang", 2)
        with pytest.raises(KernelError, match="Hang"):
            found = lost() + 1
            found.numpy()
        gpu.refuses = None
        del found
        with pytest.raises(KernelError, match="Hang"):
            table.numpy()
        table = nt.tensor([[1.0], [2.0]], device="metal")
        assert lost().tolist() == [[4.0], [2.0], [4.0]]


def test_failed_runs_of_several_kernels_say_how_to_find_it(
    scaled: Scaled, runtime: MetalRuntime
) -> None:
    function = scaled.recording._steps[0].function
    steps = [Step(function, 1, 32, 8, f"kernel {i}") for i in range(12)]
    runtime.recording(steps).run(scaled.words, [])
    with pytest.raises(KernelError, match=r"kernel 7, and 4 more\n.*\n  hint: with NUMBATORCH"):
        runtime.synchronize()
    runtime.synchronize()


def test_the_gpu_runs_out_of_memory_in_a_run(scaled: Scaled, gpu: fake_metal.MTLDevice) -> None:
    code = fake_metal.MTLCommandBufferErrorOutOfMemory
    gpu.refuses = fake_metal.NSError("Insufficient Memory", code)
    scaled.run()
    with pytest.raises(OutOfMemory, match="metal: out of memory\n  Insufficient Memory\n  launch"):
        scaled.values()


def test_out_of_memory_states_sizes(runtime: MetalRuntime, gpu: fake_metal.MTLDevice) -> None:
    gpu._memory = 8 << 20
    held = runtime.allocate(3 << 20)
    with pytest.raises(OutOfMemory) as error:
        runtime.allocate(6 << 20)
    assert "requested 6.00 MiB (6291456 bytes)\n  free 5.00 MiB of 8.00 MiB" in str(error.value)
    with pytest.raises(OutOfMemory):
        runtime.allocate(5 << 20)  # a single buffer may have half
    del held
    assert runtime.allocate(4 << 20).nbytes == 4 << 20
    assert runtime.allocate(0).nbytes == 0


def test_texts_that_metal_refuses(runtime: MetalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "#include <metal_stdlib>\nkernel void f() { double x; }\n"
    source = SimpleNamespace(text=text, symbol="f", shared_bytes=0)
    monkeypatch.setattr(metal_runtime, "print_kernel", lambda spec, epilogue: source)
    with pytest.raises(KernelError, match=r"scale: Metal cannot compile it\n(?s:.*)double") as e:
        runtime.load([(scale(), None)])
    path = str(e.value).splitlines()[-1].strip()
    with open(path) as file:
        assert file.read() == metal_runtime.PRAGMA + source.text


def test_kernels_run_in_groups_of_256_however_many_registers_they_take(
    runtime: MetalRuntime, gpu: fake_metal.MTLDevice
) -> None:
    gpu.thread_limit = 128
    assert runtime.share_threads == 256
    (function,) = runtime.load([(scale(), None)])
    runtime.recording([Step(function, 1, 256, 0, "wide")])


def test_grids_beyond_limits(scaled: Scaled, runtime: MetalRuntime) -> None:
    function = scaled.recording._steps[0].function
    with pytest.raises(KernelError, match="big: more groups than the GPU can run\n  16777216, of"):
        runtime.recording([Step(function, 1 << 24, 256, 0, "big")])
    function.pipeline._limit = 128
    with pytest.raises(KernelError, match=r"more threads in a group .*\n  256, of 128 at most"):
        runtime.recording([Step(function, 1, 256, 0, "big")])


def test_forked_processes_are_told(scaled: Scaled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(KernelError, match="a forked process cannot use the GPU of its parent"):
        scaled.run()


def test_probe(gpu: fake_metal.MTLDevice) -> None:
    assert probe() == ("Fake M2", 4 << 30, "Metal 3, Apple family 8", "macOS 14.5")


def test_what_is_missing_is_said(
    gpu: fake_metal.MTLDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendUnavailable, match="no GPU has the number 1\n  there is one, metal"):
        open_runtime(1)
    fake_metal.install(fake_metal.MTLDevice("AMD Radeon Pro", family=0))
    with pytest.raises(BackendUnavailable, match="AMD Radeon Pro is not one of Apple's from M1 on"):
        open_runtime()
    fake_metal.install(None)
    with pytest.raises(BackendUnavailable, match="offers no GPU"):
        probe()
    monkeypatch.setitem(sys.modules, "Metal", None)
    with pytest.raises(BackendUnavailable, match=r'hint: pip install "numbatorch\[metal\]"'):
        probe()
    monkeypatch.setattr(platform, "mac_ver", lambda: ("13.6.1", ("", "", ""), "arm64"))
    with pytest.raises(BackendUnavailable, match=r"this is macOS 13\.6\.1, and at least 14 is"):
        open_runtime()
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(BackendUnavailable, match="Metal needs macOS"):
        open_runtime()


def test_metal_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, numbatorch; assert not {'Metal', 'objc', 'numbatorch.metal.runtime'} & set("
    code += "sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tensors_on_device_metal(runtime: MetalRuntime, gpu: fake_metal.MTLDevice) -> None:
    with metal_on(runtime):
        rng = np.random.default_rng(0)
        x, w = (rng.standard_normal((40, 24)).astype(np.float32) for _ in range(2))
        results = {}
        for name in ("cpu", "metal"):
            a = nt.tensor(x, device=name, requires_grad=True)
            b = nt.tensor(w, device=name, requires_grad=True)
            commits = gpu.commits
            y = nt.nn.functional.gelu(a @ b.transpose(0, 1)).softmax(-1)
            loss = (y * y).sum()
            loss.backward()
            results[name] = [t.detach().numpy() for t in (y, a.grad, b.grad)]
        assert gpu.commits > commits
        for found, expected in zip(results["metal"], results["cpu"], strict=True):
            assert_close(found, expected, "gradient")
