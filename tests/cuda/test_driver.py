"""Our use of `cuda.bindings`: calls by their signatures, and through a libcuda that we compile."""

import ast
import ctypes
import inspect
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from numbatorch.backends import cuda
from numbatorch.backends.cuda import driver as module
from numbatorch.backends.cuda import packages
from numbatorch.backends.cuda.driver import Driver
from numbatorch.backends.cuda.simulated_driver import SimulatedDriver
from numbatorch.errors import BackendUnavailable

bindings = pytest.importorskip("cuda.bindings.driver", exc_type=ImportError)


def calls() -> list[ast.Call]:
    tree = ast.parse(inspect.getsource(module))
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "_call"
    ]


def length(argument: ast.expr) -> int:
    """How many arguments one stands for; a starred one is a prepared launch."""
    if not isinstance(argument, ast.Starred):
        return 1
    return len(Driver.prepared(None, 1, 1, 1, 1, 1))


@pytest.mark.parametrize("call", calls(), ids=lambda call: call.args[0].value)
def test_calls_have_the_arguments_of_the_bindings(call) -> None:
    name = call.args[0].value
    signature = getattr(bindings, name).__doc__.splitlines()[0]
    parameters = re.fullmatch(rf"{name}\((.*)\)", signature)[1]
    parameters = re.sub(r"\[[^]]*\]+", "", parameters)  # types may hold commas
    assert sum(map(length, call.args[1:])) == len([p for p in parameters.split(",") if p])


def test_every_constant_is_the_one_of_its_name() -> None:
    assert bindings.CUresult.CUDA_ERROR_OUT_OF_MEMORY == module.OUT_OF_MEMORY
    assert bindings.CUresult.CUDA_ERROR_NOT_FOUND == module.NOT_FOUND
    mode = bindings.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    assert mode == module.THREAD_LOCAL
    assert bindings.CUstream_flags.CU_STREAM_NON_BLOCKING == module.NON_BLOCKING
    assert bindings.CUevent_flags.CU_EVENT_DISABLE_TIMING == module.NO_TIMING
    sticky = {bindings.CUresult(code).name.removeprefix("CUDA_ERROR_") for code in module.STICKY}
    assert sticky == {
        "ECC_UNCORRECTABLE",
        "ILLEGAL_ADDRESS",
        "LAUNCH_TIMEOUT",
        "CONTEXT_IS_DESTROYED",
        "ASSERT",
        "HARDWARE_STACK_ERROR",
        "ILLEGAL_INSTRUCTION",
        "MISALIGNED_ADDRESS",
        "INVALID_ADDRESS_SPACE",
        "INVALID_PC",
        "LAUNCH_FAILED",
    }


def test_the_simulated_driver_has_every_call() -> None:
    public = {name for name in vars(Driver) if not name.startswith("_")} - {"capability"}
    assert public <= set(vars(SimulatedDriver))
    for name in public:
        ours, theirs = getattr(Driver, name), getattr(SimulatedDriver, name)
        assert list(inspect.signature(ours).parameters) == list(
            inspect.signature(theirs).parameters
        )


def compiled(folder: Path, *options: str) -> Path:
    """The folder with a libcuda.so.1 made from libcuda.c."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    source = Path(__file__).with_name("libcuda.c")
    command = [compiler, "-shared", "-fPIC", "-O1", *options, str(source)]
    subprocess.run([*command, "-o", str(folder / "libcuda.so.1")], check=True)
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return compiled(tmp_path_factory.mktemp("libcuda"))


def run(code: str, library: Path | None, **settings: str) -> list[str]:
    """What a process prints that has this libcuda."""
    environment = {**os.environ, **settings}
    environment.pop("NUMBA_ENABLE_CUDASIM", None)
    if library is not None:
        environment["LD_LIBRARY_PATH"] = str(library)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


START = """
import numpy as np
from types import SimpleNamespace
from numbatorch.backends.cuda.driver import Driver
from numbatorch.backends.cuda.runtime import CudaRuntime
from numbatorch.backends.gpu import Step
"""

PASS = """
driver = Driver()
print(driver.version(), driver.count(), driver.name(1), driver.capability(0))
print(driver.total_memory(0))
image = SimpleNamespace(image=b"module of add\\0", symbol="add")
runtime = CudaRuntime(driver, 1, lambda kernels, capability: [image])
spec = SimpleNamespace(key="add", name="add", path=lambda: "add.py")
(function,) = runtime.load([(spec, None)])
x = np.arange(5, dtype=np.int64)
memory = [runtime.allocate(40) for _ in range(3)]
runtime.upload(memory[0], x.view(np.uint8))
steps = [Step(function, 1, 32, 32 * i, f"step {i}") for i in range(2)]
recording = runtime.recording(steps)
for value in range(4):
    words = [memory[1].address, memory[0].address, 5, value]
    words += [memory[2].address, memory[1].address, 5, 100]
    recording.run(np.array(words), memory)
    print(runtime.download(memory[2], 40).view(np.int64).tolist(), recording._graph != 0)
runtime.copy(memory[0], memory[2], 16)
runtime.clear(memory[0], 8)
print(runtime.download(memory[0], 24).view(np.int64).tolist())
free = driver.memory()[0]
del memory, recording
runtime.synchronize()
print(driver.memory()[0] - free)
"""


def test_the_runtime_works_through_the_bindings(library) -> None:
    printed = run(START + PASS, library, FAKE_MEMORY="1000000")
    assert printed[:2] == ["(12, 4) 2 Fake GPU 1 (8, 0)", "1000000"]
    for value in range(4):
        sums = [100 + value + i for i in range(5)]
        assert printed[2 + value] == f"{sums} {value > 0}"
    assert printed[6:] == ["[0, 104, 2]", str(3 * 40 + 64)]


def test_graphs_that_cannot_be_made_are_done_without(library) -> None:
    for call in ("cuStreamBeginCapture", "cuGraphInstantiate"):
        printed = run(START + PASS, library, FAKE_FAIL=f"{call}=801", FAKE_MEMORY="1000000")
        assert printed[5] == "[103, 104, 105, 106, 107] False"


INTERRUPTED = """
import sys
from numbatorch.backends.outcome import Outcome
from tests.interrupts import interruptions
sys.unraisablehook = lambda lost: None
driver = Driver()
image = SimpleNamespace(image=b"module of add\\0", symbol="add")
runtime = CudaRuntime(driver, 0, lambda kernels, capability: [image])
spec = SimpleNamespace(key="add", name="add", path=lambda: "add.py")
(function,) = runtime.load([(spec, None)])
memory = runtime.allocate(40)
runtime.clear(memory, 40)
recording = runtime.recording([Step(function, 1, 32, 32 * i, f"step {i}") for i in range(STEPS)])
words = np.array([(memory.address, memory.address, 5, 10**i) for i in range(STEPS)]).reshape(-1)
outcome = Outcome()
def run():
    global outcome
    outcome = Outcome()
    recording.complete(words, [memory], outcome)
runs = moments = 0
for _ in interruptions(run):
    moments += 1
    runs += outcome.final
    found = runtime.download(memory, 40).view(np.int64)
    assert (found == runs * sum(words[3::4])).all(), (moments, runs, found)
print(moments > 20, 0 < runs < moments, recording._graph != 0)
"""


@pytest.mark.parametrize(
    ("steps", "settings", "graph"),
    [(3, {}, True), (3, {"FAKE_FAIL": "cuStreamBeginCapture=801"}, False), (1, {}, False)],
)
def test_an_interrupt_comes_before_all_launches_or_after_them(
    library, steps, settings, graph
) -> None:
    code = START + INTERRUPTED.replace("STEPS", str(steps))
    assert run(code, library, **settings) == [f"True True {graph}"]


def test_a_launch_that_fails_among_others_leaves_the_outcome_open(library) -> None:
    code = """
from numbatorch.backends.outcome import Outcome
runtime = CudaRuntime(Driver(), 0, None)
functions = [SimpleNamespace(handle=handle) for handle in (0x3001, 1, 0x3001)]
steps = [Step(function, 1, 32, 0, f"step {i}") for i, function in enumerate(functions)]
outcome = Outcome()
try:
    runtime.recording(steps).complete(np.zeros(1, np.int64), [], outcome)
except Exception as error:
    print(error)
print(outcome.final)
"""
    assert run(START + code, library) == [
        "step 1: cannot be launched",
        "  cuLaunchKernel: not a known code (400): not a known code",
        "  1 groups of 32 threads",
        "False",
    ]


def test_other_libraries_find_their_context_as_they_left_it(library) -> None:
    code = """
from cuda.bindings import driver as bindings
def current():
    return int(bindings.cuCtxGetCurrent()[1])
driver = Driver()
theirs, ours = driver.context(0), driver.context(1)
print(current())
driver.enter(theirs)
runtime = CudaRuntime(driver, 1, None)
owner = runtime.allocate(8)
runtime.upload(owner, np.ones(8, np.uint8))
with runtime.entered():
    print(current() == ours)
print(runtime.download(owner, 8).sum(), current() == theirs)
try:
    with runtime.entered():
        driver.free_graph(driver.end_capture(0))
except Exception as error:
    print(current() == theirs)
"""
    printed = run(START + code, library, FAKE_FAIL="cuGraphInstantiate=801")
    assert printed == ["0", "True", "8 True", "True"]


def test_pinned_memory_that_runs_out_is_asked_for_again(library) -> None:
    code = """runtime = CudaRuntime(Driver(), 0, None)
runtime.reclaim = lambda: print("reclaimed")
owner = runtime.allocate(8)
"""
    upload = "runtime.upload(owner, np.zeros(8, np.uint8))"
    recording = "runtime.recording([]).run(np.zeros(2, np.int64), [])"
    for use, nbytes in ((upload, 16 << 20), (recording, 16)):
        assert failure(code + use, library, FAKE_FAIL="cuMemHostAlloc=2").splitlines() == [
            "reclaimed",
            "OutOfMemory: cuda: out of memory",
            f"  requested {nbytes} bytes of the host that the GPU can copy from and to",
            "  cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory",
        ]


def test_functions_at_exit_can_read_the_gpu(library) -> None:
    code = """
import atexit
atexit.register(lambda: print(runtime.download(owner, 2)))
"""
    use = """
runtime = CudaRuntime(Driver(), 0, None)
owner = runtime.allocate(2)
runtime.upload(owner, np.array([3, 4], np.uint8))
"""
    assert run(code + START + use, library) == ["[3 4]"]


def test_tensors_get_as_far_as_the_gpu(library, tmp_path) -> None:
    code = """
import numbatorch as nt
x = nt.tensor([[1.0, 2.0]], device="auto")
print((x + 1).softmax(-1).device, nt.device("cuda:1"), (x * 3).numpy().shape)
"""
    printed = run(code, library, FAKE_CAPABILITY="90", NUMBATORCH_CACHE=str(tmp_path))
    assert printed == ["cuda cuda:1 (1, 2)"]
    (folder,) = (tmp_path / "cuda").iterdir()
    assert folder.name.startswith("sm_90")
    assert len(list(folder.iterdir())) == 1  # nobody has read the softmax


def failure(code: str, library: Path | None, **settings: str) -> str:
    wrapped = "\n".join(f"    {line}" for line in code.splitlines())
    handler = "except Exception as error:\n    print(type(error).__name__ + ': ' + str(error))"
    return "\n".join(run(f"{START}\ntry:\n{wrapped}\n{handler}", library, **settings))


OPEN = "from numbatorch.backends.cuda import open_runtime\nopen_runtime(0)"


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"FAKE_FAIL": "cuInit=100"}, ["BackendUnavailable: cuda: no usable GPU"]),
        (
            {"FAKE_VERSION": "11080"},
            [
                "BackendUnavailable: cuda: the NVIDIA driver is too old",
                "it knows CUDA 11.8, and at least 12.0 is needed",
                "hint: install the NVIDIA driver, version 525 or later",
            ],
        ),
        (
            {"FAKE_CAPABILITY": "61"},
            [
                "BackendUnavailable: cuda: the GPU is too old",
                "Fake GPU 0 has compute capability 6.1, and at least 7.5 is needed",
            ],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_said(library, settings, lines) -> None:
    text = failure(OPEN, library, **settings)
    assert all(line in text for line in lines), text


def test_a_driver_that_the_bindings_cannot_load_is_too_old(tmp_path) -> None:
    text = failure("Driver()", compiled(tmp_path, "-DOLD"), FAKE_VERSION="11040")
    assert "the NVIDIA driver is too old\n  it knows CUDA 11.4, and at least 12.0 is" in text


def test_errors_of_calls_say_which_code_and_meaning(library) -> None:
    code = "driver = Driver(); runtime = CudaRuntime(driver, 0, None); runtime.allocate(8)"
    assert failure(code, library, FAKE_FAIL="cuMemAlloc=2", FAKE_MEMORY="4096").splitlines() == [
        "OutOfMemory: cuda: out of memory",
        "  requested 8 bytes (8 bytes)",
        "  free 4.00 KiB of 4.00 KiB",
    ]
    assert failure(code, library, FAKE_FAIL="cuMemAlloc=400").splitlines() == [
        "DriverError: cuda: cuMemAlloc failed",
        "  not a known code (400): not a known code",
    ]
    code = "driver = Driver(); runtime = CudaRuntime(driver, 0, None); runtime.synchronize()"
    text = failure(code, library, FAKE_FAIL="cuStreamSynchronize=700")
    assert "KernelError: cuda: a kernel failed, and the GPU's context is lost" in text
    assert "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access" in text


def no_driver() -> bool:
    try:
        ctypes.CDLL(module.LIBRARY)
    except OSError:
        return True
    return False


@pytest.mark.skipif(not no_driver(), reason="there is an NVIDIA driver")
def test_without_a_driver_it_says_what_to_install() -> None:
    assert failure(OPEN, None).splitlines() == [
        "BackendUnavailable: cuda: the NVIDIA driver was not found",
        f"  {module.LIBRARY} cannot be loaded",
        f"  hint: install the NVIDIA driver, version {module.MINIMUM_DRIVER} or later",
    ]


def absent(name: str) -> str:
    raise PackageNotFoundError(name)


@pytest.mark.parametrize(
    ("found", "platform", "lines"),
    [
        (
            absent,
            "linux",
            [
                "cuda: the Python packages for CUDA are not installed",
                '  hint: pip install "numbatorch[cuda]"',
            ],
        ),
        (absent, "darwin", ["cuda: there is no CUDA on macOS", '  hint: use device "metal"']),
        (
            lambda name: "0.24.1rc1",
            "linux",
            [
                "cuda: a package is too old",
                "  numba-cuda 0.24.1rc1 is installed, and at least 0.30 is needed",
                '  hint: pip install "numbatorch[cuda]" --upgrade',
            ],
        ),
    ],
    ids=["absent", "macos", "old"],
)
def test_without_the_packages_it_says_what_to_install(found, platform, lines, monkeypatch) -> None:
    monkeypatch.setattr(packages, "version", found)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(BackendUnavailable) as caught:
        cuda.open_runtime()
    assert str(caught.value).splitlines() == lines
