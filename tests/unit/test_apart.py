"""Calls and imports that nothing comes in between of; a fork that waits for imports."""

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import numbatorch as nt
from numbatorch import apart
from numbatorch.apart import Call, import_module, whole
from tests.interrupts import interruptions

ROOT = Path(__file__).parents[2]

# While a family of operators loads, its module exists and is empty yet.
PREPARED = f"""
import os, signal, sys, threading, time
sys.path.insert(0, {str(ROOT)!r})
import numbatorch as nt

class Slow:
    "Loads a module of the library after `act`, which finds it as it was when its import began."
    def __init__(self, name, act):
        self.name, self.act = name, act
        sys.meta_path.insert(0, self)
    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = __import__("importlib").util.find_spec(name)
        load, act = spec.loader.exec_module, self.act
        def exec_module(module):
            act()
            load(module)
        spec.loader.exec_module = exec_module
        return spec

def softmax():
    return nt.tensor([[1.0, 1.0]], device="numpy").softmax(-1).tolist()
"""
HANDLER = """
x = nt.tensor([[1.0, 2.0]], device="numpy")
values = []
signal.signal(signal.SIGUSR1, lambda *_: values.append({call}))
Slow("{module}", lambda: (os.kill(os.getpid(), signal.SIGUSR1), time.sleep(0.1)))
wanted = {call}
assert values == [wanted], (values, wanted)
"""
FINALIZER = """
import gc
values = []
class Garbage:
    def __init__(self):
        self.me = self
    def __del__(self):
        values.append(softmax())
def act():
    Garbage()
    [[] for _ in range(5000)]
gc.set_threshold(500, 2, 2)
Slow("numbatorch.ops.softmax", act)
assert softmax() == [[0.5, 0.5]]
gc.collect()
assert values == [[[0.5, 0.5]]], values
"""
# The collector may start in any thread, also in one that compiles.
MADE = """
from numbatorch.backends.cpu import compiler, pack
from numbatorch.language.kernel import Pointer, kernel

def made(number):
    @kernel
    def store(out: Pointer["int64"], part: int, parts: int) -> None:
        out[0] = number
    return store()
"""
COMPILING = """
import gc
found = []

class Garbage:
    def __init__(self):
        self.me = self
    def __del__(self):
        found.append(pack.addresses([made(2)]))

real = compiler.compile_object

def compile_object(spec, cpu):
    if spec == made(1):
        Garbage()
        [[] for _ in range(5000)]  # the collector starts
    return real(spec, cpu)

compiler.compile_object = compile_object
gc.set_threshold(500, 2, 2)
assert pack.addresses([made(1)])[made(1).key]
gc.collect()
assert found == [pack.addresses([made(2)])] and all(found[0].values())
assert gc.isenabled()
"""
FORK = """
import warnings
warnings.simplefilter("ignore")
begun = threading.Event()
Slow("numbatorch.linalg", lambda: (begun.set(), time.sleep(0.3)))
thread = threading.Thread(target=lambda: nt.linalg)
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    nt.linalg.eigh
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
thread.join()
"""


FORK_OF_COMPILER = """
import warnings
warnings.simplefilter("ignore")
begun = threading.Event()
within = threading.Lock()  # as compilers have
real = compiler.compile_object

def compile_object(spec, cpu):
    with within:
        begun.set()
        time.sleep(0.3)
        return real(spec, cpu)

compiler.compile_object = compile_object
thread = threading.Thread(target=lambda: pack.addresses([made(1)]))
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(7 if all(pack.addresses([made(2)]).values()) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
thread.join()
assert all(pack.addresses([made(3)]).values())
"""


# NumPy's error state does not survive that a finalizer sets it while it is being set.
ERROR_STATE = """
import gc
x = nt.tensor([[2.0, 1.0], [1.0, 2.0]], device="numpy")
wrong = []

def compute():
    if nt.linalg.eigh(x)[0].round().tolist() != [1.0, 3.0] or (x + 1).sum().item() != 10:
        wrong.append(1)

class Garbage:
    def __init__(self):
        self.me = self
    def __del__(self):
        compute()

compute()
for i in range(600):
    Garbage()
    gc.set_threshold(1 + i % 90)
    compute()
gc.set_threshold(700)
assert not wrong
"""
# The last finalizers run when no other thread does any more, and nothing more can be imported.
ENDING = """
x, other = nt.tensor([1.0, 2.0]), nt.tensor([1.0, 2.0], dtype=nt.float64)
assert (x * 3 - 1).tolist() == [2.0, 5.0]

class Garbage:
    def __init__(self):
        self.me = self
    def __del__(self, x=x, other=other):
        for value in (x, other):
            try:
                print((value * 3 - 1).tolist(), flush=True)
            except ImportError as error:
                print(error, flush=True)

kept = [Garbage()]
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PREPARED + program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("numbatorch.ops.softmax", "x.softmax(-1).tolist()"),
        ("numbatorch.ops.compact", "(x > 1).nonzero().tolist()"),
        ("numbatorch.ops.blocks", "nt.quantize(x.expand(1, 2).repeat(1, 16), 'Q8_0').shape"),
        ("numbatorch.ops.random", "nt.rand(2, device='numpy').shape"),
        ("numbatorch.ops.complex", "(x.to(nt.complex64) ** 2).tolist()"),
        ("numbatorch.linalg", "nt.linalg.eigh(x.T @ x)[0].shape"),
        ("numbatorch.tensor.capture", "nt.compile(lambda y: y + 1)(x).tolist()"),
        ("numbatorch.backends.cpu.backend", "nt.ones(2).numpy().shape"),
    ],
)
def test_a_signal_handler_that_needs_what_is_being_loaded(module: str, call: str) -> None:
    run(HANDLER.format(module=module, call=call))


def test_a_finalizer_that_needs_the_family_which_loads() -> None:
    run(FINALIZER)


def test_a_finalizer_that_needs_a_kernel_while_one_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path))
    run(MADE + COMPILING)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_is_forked_while_another_thread_imports() -> None:
    run(FORK)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_is_forked_while_another_thread_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path))
    run(MADE + FORK_OF_COMPILER)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_wait_for_an_import_that_never_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(apart, "_others_import", lambda: True)
    monkeypatch.setattr(apart, "PATIENCE", 0.05)
    child = os.fork()
    if child == 0:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_finalizers_while_numpy_computes() -> None:
    run(ERROR_STATE)


def test_a_finalizer_that_needs_a_kernel_when_the_interpreter_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path))
    known, unknown = run(ENDING).splitlines()
    assert known == "[2.0, 5.0]"
    assert unknown in ("[2.0, 5.0]", "sys.meta_path is None, Python is likely shutting down")


def test_a_call_gives_its_result_and_raises_its_error() -> None:
    assert Call(lambda: 3).result == 3
    with pytest.raises(ZeroDivisionError):
        Call(lambda: 1 // 0)
    assert Call(lambda: threading.current_thread()).result is not threading.main_thread()
    assert whole(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        whole(lambda: 1 // 0)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_an_interrupt_is_raised_when_the_call_is_over() -> None:
    ended = []
    told = threading.Event()

    def work() -> int:
        signal.raise_signal(signal.SIGINT)
        told.wait(10)
        ended.append(True)
        return 3

    call = Call(work, told.set)
    assert call.result == 3 and isinstance(call.late, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        whole(work)
    assert ended == [True, True]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_handlers_come_when_the_call_is_over_also_after_one_that_raises() -> None:
    came: list[int] = []

    def handler(number: int, frame: object) -> None:
        came.append(number)
        raise ValueError(number)

    def work() -> None:
        for number in before:
            signal.raise_signal(number)
        whole(lambda: signal.raise_signal(signal.SIGUSR1))
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        came.append(0)

    before = {n: signal.signal(n, handler) for n in (signal.SIGUSR1, signal.SIGUSR2)}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        with pytest.raises(ValueError):
            whole(work)
        assert came[0] == 0 and sorted(came[1:]) == [signal.SIGUSR1, signal.SIGUSR2]
        assert signal.getsignal(signal.SIGUSR1) is signal.getsignal(signal.SIGUSR2) is handler
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN  # what the call has set stays
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@pytest.fixture
def alarms() -> Iterator[list[int]]:
    """The signals of SIGUSR1 that its handler was called for."""
    if sys.platform == "win32":
        pytest.skip("signals are sent otherwise there")
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: came.append(number))
    yield came
    signal.signal(signal.SIGUSR1, before)


def trace_of(work: Callable[[], Any]) -> None:
    """Call it within a trace, where handlers are replaced too."""
    nt.compile(lambda x: (work(), x * 2)[1])(nt.ones(2, device="cpu"))


@pytest.mark.parametrize("block", [whole, trace_of])
def test_a_signal_is_told_once_to_an_event_loop(
    block: Callable[[Callable[[], Any]], Any], alarms: list[int]
) -> None:
    """Such as asyncio's: it learns of signals from the descriptor, and calls back for each byte."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing)
    try:
        block(lambda: signal.raise_signal(signal.SIGUSR1))
        assert os.read(reading, 10) == bytes(alarms) == bytes([signal.SIGUSR1])
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("goes_on", [True, False])
@pytest.mark.parametrize("block", [whole, trace_of])
def test_what_siginterrupt_has_set_stays(
    block: Callable[[Callable[[], Any]], Any], goes_on: bool, alarms: list[int]
) -> None:
    """Whether a call of the system goes on after a signal, within the block and after it."""
    read = ctypes.CDLL(None, use_errno=True).read
    found = []

    def interrupted() -> None:
        reading, writing = os.pipe()
        main = threading.main_thread().ident
        assert main is not None
        timers = [
            threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGUSR1)),
            threading.Timer(0.15, lambda: os.write(writing, b"x")),
        ]
        for timer in timers:
            timer.start()
        found.append(read(reading, ctypes.create_string_buffer(1), 1))
        for timer in timers:
            timer.join()
        os.close(reading)
        os.close(writing)

    signal.siginterrupt(signal.SIGUSR1, not goes_on)
    block(interrupted)
    interrupted()
    assert found == [1 if goes_on else -1] * 2
    assert alarms == [signal.SIGUSR1] * 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_moment_leaves_handlers_and_collector_as_they_were() -> None:
    handler = signal.getsignal(signal.SIGINT)
    moments = 0
    for _ in interruptions(lambda: whole(lambda: None)):
        assert signal.getsignal(signal.SIGINT) is handler and gc.isenabled()
        moments += 1
    assert moments > 10


def test_the_collector_pauses_and_goes_on() -> None:
    assert gc.isenabled()
    inside: list[bool] = []
    whole(lambda: whole(lambda: inside.append(gc.isenabled())))
    assert inside == [False] and gc.isenabled()
    gc.disable()
    try:
        whole(lambda: None)
        assert not gc.isenabled()  # a user's choice stays
    finally:
        gc.enable()


def test_without_a_thread_the_caller_makes_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(apart._thread, "start_new_thread", refuse)
    assert Call(threading.current_thread).result is threading.main_thread()


def test_a_host_step_loads_nothing_of_numpys_lazily() -> None:
    """NumPy imports by itself what is named first, and a signal handler finds half of it."""
    compute = "nt.linalg.eigh(nt.eye(2))[0].tolist()"
    run(compute)  # compiles what it needs, for which Numba imports more of NumPy
    run(f"{compute}\nassert 'numpy.ctypeslib' not in sys.modules")


def test_a_module_that_is_loaded_costs_no_thread() -> None:
    start = time.perf_counter()
    for _ in range(100):
        assert import_module("numbatorch.apart") is apart
    assert time.perf_counter() - start < 0.01


def llvm_lock() -> Any:
    from llvmlite.binding import ffi

    return ffi.lib._lock


def numba_lock() -> Any:
    from numba.core.compiler_lock import global_compiler_lock

    return global_compiler_lock


@pytest.mark.parametrize("lock", [llvm_lock, numba_lock])
def test_who_holds_a_compilers_lock_makes_the_call_itself(lock: Callable[[], Any]) -> None:
    """As a signal handler does that came while the interpreter dropped a module of LLVM's."""
    with lock():
        assert Call(threading.current_thread).result is threading.main_thread()
        assert whole(threading.current_thread) is threading.main_thread()
    assert Call(threading.current_thread).result is not threading.main_thread()
