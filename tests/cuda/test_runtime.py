"""The CUDA runtime over a driver that does everything as late as it may."""

import gc
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest

from numbatorch.backends.cuda import staging
from numbatorch.backends.cuda.runtime import CudaRuntime
from numbatorch.backends.gpu import Step
from numbatorch.errors import BackendUnavailable, DeviceError, KernelError, OutOfMemory
from tests.cuda.fake_driver import (
    ILLEGAL_ADDRESS,
    INVALID_VALUE,
    NOT_SUPPORTED,
    OUT_OF_MEMORY,
    FakeDriver,
    PythonKernel,
    compile_python,
    memory,
)

LONG = 3 * staging.PART + 1000  # more than one part, not a whole number of them


def add(words: Any, groups: int, threads: int) -> None:
    out, x, n, value = words.tolist()
    memory(out, 8 * n).view(np.int64)[:] = memory(x, 8 * n).view(np.int64) + value


def grid(words: Any, groups: int, threads: int) -> None:
    memory(int(words[0]), 16).view(np.int64)[:] = groups, threads


ADD, GRID = PythonKernel(add, 4), PythonKernel(grid, 1)


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def runtime(driver: FakeDriver) -> Iterator[CudaRuntime]:
    made = CudaRuntime(driver, 0, compile_python)
    yield made
    made._lost = "the test is over"


def put(runtime: CudaRuntime, values: Any) -> Any:
    array = np.array(values, np.int64)
    owner = runtime.allocate(array.nbytes)
    runtime.upload(owner, array.view(np.uint8))
    return owner


def get(runtime: CudaRuntime, owner: Any) -> list[int]:
    found: list[int] = runtime.download(owner, owner.nbytes).view(np.int64).tolist()
    return found


def adding(runtime: CudaRuntime, out: Any, x: Any, values: list[int]) -> tuple[Any, Any, list[Any]]:
    """A recording that adds each value in turn, its words, and its memory."""
    (function,) = runtime.load([(ADD, None)])
    steps = [Step(function, 1, 32, 32 * i, f"kernel add of {v}") for i, v in enumerate(values)]
    words = np.array(
        [
            (out.address, (out if i else x).address, out.nbytes // 8, v)
            for i, v in enumerate(values)
        ],
        np.int64,
    ).reshape(-1)
    return runtime.recording(steps), words, [out, x]


@pytest.mark.parametrize("nbytes", [0, 1, 63, 4096, staging.PART, staging.PART + 1, LONG])
def test_bytes_come_back(runtime, nbytes) -> None:
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)
    owner = runtime.allocate(nbytes)
    sent = data.copy()
    runtime.upload(owner, sent)
    sent[:] = 0  # the copy has not happened yet, but what it reads is ours no more
    assert np.array_equal(runtime.download(owner, nbytes), data)


def test_many_uploads_share_the_ring(runtime, driver) -> None:
    data = np.random.default_rng(0).integers(0, 256, LONG, np.uint8)
    owner = runtime.allocate(4 * LONG)
    pieces = [(0, 7), (7, 5000), (5007, LONG - 5007)]
    for copy in range(4):
        for start, count in pieces:
            runtime.upload(owner, data[start : start + count], copy * LONG + start)
    assert driver.held()[1] == 1
    assert np.array_equal(runtime.download(owner, 4 * LONG), np.tile(data, 4))
    assert np.array_equal(runtime.download(owner, 9, LONG + 3), data[3:12])


def test_copy_and_clear_happen_in_order_with_launches(runtime) -> None:
    x, out = put(runtime, [1, 2, 3]), put(runtime, [0, 0, 0])
    recording, words, owners = adding(runtime, out, x, [10])
    recording.run(words, owners)
    kept = runtime.allocate(24)
    runtime.copy(kept, out, 24)
    runtime.clear(out, 16)
    assert get(runtime, kept) == [11, 12, 13]
    assert get(runtime, out) == [0, 0, 13]


def test_words_may_change_after_each_run(runtime) -> None:
    x, outs = put(runtime, [1]), [put(runtime, [0]) for _ in range(5)]
    recording, words, owners = adding(runtime, outs[0], x, [100])
    for i, out in enumerate(outs):
        words[0], words[3] = out.address, i
        recording.run(words, [*owners, *outs])
        words[:] = -1  # nobody reads them any more
        words[:] = out.address, x.address, 1, 0
    assert [get(runtime, out) for out in outs] == [[1], [2], [3], [4], [5]]


def test_unchanged_words_are_copied_once(runtime, driver) -> None:
    x, out = put(runtime, [1]), put(runtime, [0])
    recording, words, owners = adding(runtime, out, x, [5])
    before = driver.calls.count("upload")
    for _ in range(3):
        recording.run(words, owners)
    assert driver.calls.count("upload") == before + 1
    assert get(runtime, out) == [6]


def test_the_second_run_becomes_a_graph(runtime, driver) -> None:
    x, out = put(runtime, [1, 2]), put(runtime, [0, 0])
    recording, words, owners = adding(runtime, out, x, [1, 2, 3])
    recording.run(words, owners)
    assert driver.calls.count("launch") == 3
    assert "begin_capture" not in driver.calls
    for value in range(4):
        words[3] = value
        recording.run(words, owners)
        assert get(runtime, out) == [1 + value + 5, 2 + value + 5]
    assert driver.calls.count("begin_capture") == 1
    assert driver.calls.count("captured launch") == 3
    assert driver.calls.count("launch") == 3
    assert driver.calls.count("launch_graph") == 4


def test_a_single_launch_needs_no_graph(runtime, driver) -> None:
    x, out = put(runtime, [1]), put(runtime, [0])
    recording, words, owners = adding(runtime, out, x, [1])
    for _ in range(3):
        recording.run(words, owners)
    assert "begin_capture" not in driver.calls


@pytest.mark.parametrize("call", ["begin_capture", "captured launch", "end_capture"])
def test_without_graphs_launches_stay_plain(runtime, driver, call) -> None:
    driver.failing[call] = NOT_SUPPORTED
    x, out = put(runtime, [1]), put(runtime, [0])
    recording, words, owners = adding(runtime, out, x, [1, 2])
    for value in range(4):
        words[3] = value
        recording.run(words, owners)
        assert get(runtime, out) == [3 + value]
    assert driver.calls.count("begin_capture") == 1


def test_run_step_runs_one(runtime) -> None:
    x, out = put(runtime, [1]), put(runtime, [50])
    recording, words, owners = adding(runtime, out, x, [1, 2])
    recording.run_step(1, words, owners)
    assert get(runtime, out) == [52]
    recording.run_step(0, words, owners)
    assert get(runtime, out) == [2]


def test_the_grid_reaches_the_kernel(runtime) -> None:
    out = put(runtime, [0, 0])
    (function,) = runtime.load([(GRID, None)])
    recording = runtime.recording([Step(function, 2**31 - 1, 256, 0, "grid")])
    recording.run(np.array([out.address], np.int64), [out])
    assert get(runtime, out) == [2**31 - 1, 256]


@pytest.mark.parametrize(
    ("groups", "threads", "text"),
    [
        (2**31, 32, "kernel grid of add: more groups than the GPU can run\n  2147483648, of"),
        (1, 2048, "more threads in a group than the GPU can run\n  2048, of 1024 at most"),
    ],
)
def test_a_grid_beyond_the_limits_is_an_error(runtime, groups, threads, text) -> None:
    (function,) = runtime.load([(GRID, None)])
    with pytest.raises(KernelError, match=text):
        runtime.recording([Step(function, groups, threads, 0, "kernel grid of add")])


def test_kernels_are_loaded_once(runtime, driver) -> None:
    first = runtime.load([(ADD, None), (GRID, None), (ADD, None)])
    assert runtime.load([(ADD, None), (GRID, None)]) == [first[0], first[1]]
    assert first[0] is first[2]
    assert driver.calls.count("load_module") == 2


def test_other_threads_go_on_while_kernels_compile(driver) -> None:
    compiling, going_on = Event(), Event()

    def compile(kernels: Any, capability: tuple[int, int]) -> Any:
        compiling.set()
        assert going_on.wait(10), "the GPU is held while kernels compile"
        return compile_python(kernels, capability)

    runtime = CudaRuntime(driver, 0, compile)
    with ThreadPoolExecutor(2) as pool:
        loading = [pool.submit(runtime.load, [(ADD, None)]) for _ in range(2)]
        assert compiling.wait(10)
        assert get(runtime, put(runtime, [1, 2])) == [1, 2]
        going_on.set()
        first, second = (found.result()[0] for found in loading)
    assert first is second
    assert driver.calls.count("load_module") == 1


def test_a_kernel_that_does_not_load_is_named(runtime, driver) -> None:
    driver.failing["load_module"] = (218, "CUDA_ERROR_INVALID_PTX", "a PTX compilation failed")
    with pytest.raises(KernelError) as caught:
        runtime.load([(ADD, None)])
    assert str(caught.value).splitlines() == [
        "add: cannot be loaded",
        "  fake load_module: CUDA_ERROR_INVALID_PTX (218): a PTX compilation failed",
        "  compute capability 8.0",
        f"  {ADD.path()}",
    ]


def test_out_of_memory_states_sizes_and_leaves_all_usable(driver) -> None:
    driver.capacity = 10 << 20
    runtime = CudaRuntime(driver, 0, compile_python)
    held = runtime.allocate(6 << 20)
    with pytest.raises(OutOfMemory) as caught:
        runtime.allocate(5 << 20)
    assert isinstance(caught.value, MemoryError)
    assert str(caught.value).splitlines() == [
        "cuda: out of memory",
        "  requested 5.00 MiB (5242880 bytes)",
        "  free 4.00 MiB of 10.00 MiB",
    ]
    del held
    assert get(runtime, put(runtime, [1, 2])) == [1, 2]
    runtime.allocate(9 << 20)


def test_dropped_memory_is_freed_after_what_uses_it(runtime, driver) -> None:
    x, out = put(runtime, [1]), put(runtime, [0])
    recording, words, owners = adding(runtime, out, x, [1, 2])
    for _ in range(3):
        recording.run(words, owners)  # nothing has happened yet
    del x, owners, recording
    assert get(runtime, out) == [4]
    gc.collect()
    runtime.synchronize()
    assert driver.held() == (1, 1, 0)  # `out`, and the ring


def test_memory_dropped_in_a_capture_is_freed_later(runtime, driver, monkeypatch) -> None:
    x, out = put(runtime, [1]), put(runtime, [0])
    recording, words, owners = adding(runtime, out, x, [1, 2])
    recording.run(words, owners)
    dropped = [runtime.allocate(64)]
    plain = FakeDriver.launch
    monkeypatch.setattr(
        FakeDriver, "launch", lambda *arguments: (dropped.clear(), plain(*arguments))[1]
    )
    recording.run(words, owners)
    assert not dropped
    assert get(runtime, out) == [4]
    before = driver.held()[0]
    kept = runtime.allocate(8)
    assert driver.held()[0] == before
    del kept


def test_a_launch_that_is_refused_names_the_kernel(runtime, driver) -> None:
    x, out = put(runtime, [1]), put(runtime, [0])
    recording, words, owners = adding(runtime, out, x, [1])
    driver.failing["launch"] = INVALID_VALUE
    with pytest.raises(KernelError) as caught:
        recording.run(words, owners)
    assert str(caught.value).splitlines() == [
        "kernel add of 1: cannot be launched",
        "  fake launch: CUDA_ERROR_INVALID_VALUE (1): invalid argument",
        "  1 groups of 32 threads",
    ]
    driver.failing.clear()
    recording.run(words, owners)
    assert get(runtime, out) == [2]


def test_an_interrupted_capture_leaves_the_stream_usable(runtime, monkeypatch) -> None:
    x, out = put(runtime, [1]), put(runtime, [0])
    recording, words, owners = adding(runtime, out, x, [1, 2])
    recording.run(words, owners)

    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FakeDriver, "launch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            recording.run(words, owners)
    recording.run(words, owners)
    assert get(runtime, out) == [4]


def test_an_error_of_earlier_kernels_in_a_capture_loses_the_context(runtime, driver) -> None:
    x, out = put(runtime, [1]), put(runtime, [0])
    recording, words, owners = adding(runtime, out, x, [1, 2])
    recording.run(words, owners)
    driver.failing["begin_capture"] = ILLEGAL_ADDRESS
    with pytest.raises(KernelError, match="context is lost"):
        recording.run(words, owners)


def test_memory_that_waits_is_dropped_for_words_and_kernels(driver) -> None:
    driver.capacity = 4096
    runtime = CudaRuntime(driver, 0, compile_python)
    x, out = put(runtime, [1]), put(runtime, [0])
    waiting = [runtime.allocate(driver.memory()[0])]
    recording, words, owners = adding(runtime, out, x, [1])
    with pytest.raises(OutOfMemory, match="requested 32 bytes"):
        recording.run(words, owners)
    runtime.reclaim = waiting.clear
    recording.run(words, owners)
    assert get(runtime, out) == [2]
    waiting.append(runtime.allocate(driver.memory()[0]))
    driver.failing["load_module"] = OUT_OF_MEMORY
    with pytest.raises(OutOfMemory, match=r"requested 4\.88 KiB"):
        runtime.load([(GRID, None)])
    assert not waiting


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("waits", ["synchronize", "download"])
def test_an_illegal_address_loses_the_context_and_names_what_ran(
    runtime, driver, waits, runs
) -> None:
    x, out = put(runtime, [1]), put(runtime, [0])
    good, good_words, good_owners = adding(runtime, out, x, [3])
    good.run(good_words, good_owners)
    if waits == "synchronize":  # this one is not to blame
        runtime.synchronize()
    else:
        assert get(runtime, out) == [4]
    recording, words, owners = adding(runtime, out, x, [1, 2])
    words[1] = 64  # nobody's memory
    for _ in range(runs):
        recording.run(words, owners)
    for _ in range(2):
        with pytest.raises(KernelError) as caught:
            runtime.download(out, 8)
        first, reason, flight, hint = str(caught.value).splitlines()
        assert first == "cuda: a kernel failed, and the GPU's context is lost"
        assert "CUDA_ERROR_ILLEGAL_ADDRESS (700)" in reason
        assert flight == "  kernels in flight: kernel add of 1, kernel add of 2"
        assert "a new process" in hint
    with pytest.raises(KernelError, match="context is lost"):
        runtime.allocate(8)
    assert driver.calls[-1] != "allocate"
    del x, out, owners, good_owners  # nothing is freed in a lost context, and nothing raised


def test_a_failed_copy_of_words_is_done_again(runtime, driver) -> None:
    x, out = put(runtime, [1]), put(runtime, [0])
    recording, words, owners = adding(runtime, out, x, [1])
    recording.run(words, owners)
    driver.failing["upload"] = INVALID_VALUE
    words[3] = 7
    with pytest.raises(DeviceError, match="upload failed"):
        recording.run(words, owners)
    driver.failing.clear()
    recording.run(words, owners)
    assert get(runtime, out) == [8]


def test_an_old_gpu_is_refused_with_both_numbers() -> None:
    with pytest.raises(BackendUnavailable, match=r"capability 6\.1, and at least 7\.5 is needed"):
        CudaRuntime(FakeDriver(capability=(6, 1)), 0, compile_python)


def test_a_gpu_that_is_not_there_is_refused(driver) -> None:
    with pytest.raises(BackendUnavailable, match="no GPU has the number 3\n  there is one, cuda:0"):
        CudaRuntime(driver, 3, compile_python)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_so(runtime) -> None:
    out = put(runtime, [7])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            runtime.download(out, 8)
        except KernelError as error:
            os.write(write, str(error).encode())
        sys.stdout = None  # nothing of the parent's is written twice
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    assert b"forked process" in os.read(read, 4096)
    os.close(read)
    assert get(runtime, out) == [7]
