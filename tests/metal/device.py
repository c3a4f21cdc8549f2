"""Runs printed Metal kernels as C++: a runtime of device "metal" for tests, on host memory.

Kernels are compiled against `metal_stdlib` and run by `runner.cpp`. What a GPU would do silently
is an error here: writing beside an allocation, memory that a launch was not told of, a barrier
that not all threads reach.
"""

import ctypes
import functools
import hashlib
import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from numbatorch import settings
from numbatorch.errors import KernelError, message, out_of_memory
from numbatorch.language.kernel import KernelSpec
from tests.metal import clang

Array = np.ndarray[Any, Any]

HERE = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("c++")
AVAILABLE = COMPILER is not None and sys.platform == "linux"
COMPILERS = 2  # processes at once

# Metal's literals are float, its char is signed; nothing is contracted into fma.
FLAGS = (
    *("-std=c++17", "-O1", "-fsingle-precision-constant", "-ffp-contract=off", "-fsigned-char"),
    *("-fno-exceptions", "-fno-rtti", "-fno-asynchronous-unwind-tables", "-fno-math-errno"),
    *("-Wno-attributes", "-Wno-literal-suffix", "-Wno-unknown-pragmas", "-Werror=narrowing"),
    # What Metal leaves undefined is an error; runner.cpp has what the compiler calls then.
    "-fsanitize=signed-integer-overflow,shift,integer-divide-by-zero,float-cast-overflow",
    *("-fsanitize=bounds,alignment,null", "-shared", "-fPIC", "-nodefaultlibs"),
)
RUNNER_FLAGS = ("-std=c++17", "-O2", "-U_FORTIFY_SOURCE", "-shared", "-fPIC")

LIMIT = re.compile(r"\[\[max_total_threads_per_threadgroup\((\d+)\)\]\]")

PAGE = mmap.PAGESIZE
ALIGNMENT = 64
GUARD = 0xA5  # bytes of an allocation's pages that do not belong to it
POISON = 0xFF  # fresh memory: NaN in every float type


class Source(Protocol):
    """What numbatorch.metal.printer.print_kernel gives."""

    text: str
    symbol: str
    shared_bytes: int


@functools.cache
def _compiler_identity() -> str:
    assert COMPILER is not None
    status = Path(COMPILER).resolve().stat()
    headers = [HERE / "metal_stdlib", *sorted(HERE.glob("*.h"))]
    texts = [path.read_text(encoding="utf-8") for path in headers]
    compiler = f"{COMPILER} {status.st_size} {status.st_mtime_ns}, clang {clang.INSTALLED}"
    return "\n".join([compiler, *FLAGS, *texts])


def _compile(source: Path, target: Path, flags: Sequence[str], name: str) -> None:
    """Make a shared library; other processes may do the same at the same time."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".so")
    os.close(handle)
    command = [
        str(COMPILER),
        *flags,
        f"-I{HERE}",
        "-x",
        "c++",
        str(source),
        "-lgcc",
        "-o",
        temporary,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        os.unlink(temporary)
        problem = "the C++ compiler refuses its text"
        rows = done.stderr.strip().splitlines()[:20]
        raise KernelError(message(name, problem, *rows, str(source)))
    os.replace(temporary, target)


def _compile_kernel(source: Path, target: Path, name: str) -> None:
    clang.check(source, name)
    _compile(source, target, FLAGS, name)


def library_of(source: Source) -> tuple[Path, Path]:
    """Where a kernel's text and its shared library lie; the text is written, if it is not there."""
    # The preprocessor would take the word for an address space inside of the attribute too, and
    # C++ has no attributes before the `extern "C"` that `kernel` is there.
    text = source.text.replace("[[threadgroup(", "[[threadgroup_memory(")
    text = LIMIT.sub("", text)
    key = hashlib.sha256(f"{_compiler_identity()}\n{text}".encode()).hexdigest()[:24]
    stem = settings.cache_dir() / "metal-cpp" / f"{source.symbol[:80]}-{key}"
    path, library = stem.with_suffix(".metal"), stem.with_suffix(".so")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    return path, library


@functools.cache
def _runner() -> Any:
    """`metal_run` of runner.cpp, whose barriers all kernels of the process call."""
    source = HERE / "runner.cpp"
    text = source.read_text(encoding="utf-8") + " ".join(RUNNER_FLAGS)
    key = hashlib.sha256(text.encode()).hexdigest()[:24]
    library = settings.cache_dir() / "metal-cpp" / f"runner-{key}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        _compile(source, library, RUNNER_FLAGS, "runner.cpp")
    run = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL).metal_run
    run.restype = ctypes.c_char_p
    run.argtypes = (
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64),
        *(ctypes.c_uint, ctypes.c_uint, ctypes.c_uint64),
    )
    return run


_LIBC = ctypes.CDLL(None, use_errno=True)
_RUNNING = threading.Lock()  # the runner has one set of threads


@dataclass
class Function:
    """A compiled kernel.

    Attributes:
        signature: "pointer", "int" or "float" for each word of its argument block.
    """

    address: int
    shared_bytes: int
    signature: tuple[str, ...]
    path: Path
    library: Any

    def run(self, block: int, groups: int, threads: int, seed: int, name: str) -> None:
        """One launch with the argument block at an address."""
        with _RUNNING:
            problem = _runner()(self.address, block, self.shared_bytes, groups, threads, seed)
            if problem is not None:
                raise KernelError(message(name, problem.decode(), str(self.path)))


def compile_sources(sources: Sequence[Source], signatures: Sequence[tuple[str, ...]] = ()) -> Any:
    """Functions of texts, which are compiled where the cache lacks them."""
    _runner()
    found = [library_of(source) for source in sources]
    missing = {
        library: (path, library, source.symbol)
        for source, (path, library) in zip(sources, found, strict=True)
        if not library.exists()
    }
    with ThreadPoolExecutor(COMPILERS) as pool:
        list(pool.map(lambda x: _compile_kernel(*x), missing.values()))
    functions = []
    for i, (source, (path, library)) in enumerate(zip(sources, found, strict=True)):
        loaded = ctypes.CDLL(str(library))
        address = ctypes.cast(getattr(loaded, source.symbol), ctypes.c_void_p).value
        assert address is not None
        signature = signatures[i] if signatures else ()
        functions.append(Function(address, source.shared_bytes, signature, path, loaded))
    return functions


class Memory:
    """An allocation between pages that nothing can touch, filled with NaN.

    Attributes:
        name: for errors.
    """

    failure: Exception | None = None

    def __init__(self, nbytes: int, number: int) -> None:
        self.nbytes = nbytes
        self.name = f"allocation {number} of {nbytes} bytes"
        size = -(-nbytes // PAGE) * PAGE
        whole = np.frombuffer(mmap.mmap(-1, size + 2 * PAGE), np.uint8)
        for page in (whole.ctypes.data, whole.ctypes.data + PAGE + size):
            if _LIBC.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 0):
                raise OSError("mprotect")
        end = PAGE + size - -nbytes % ALIGNMENT
        self._before = whole[PAGE : end - nbytes]
        self.bytes = whole[end - nbytes : end]
        self._after = whole[end : PAGE + size]
        self.address = self.bytes.ctypes.data if nbytes else whole.ctypes.data + PAGE
        self.bytes[:] = POISON
        self._before[:] = self._after[:] = GUARD

    def check(self) -> None:
        """Raise if something wrote beside it."""
        for side, guard in (("before", self._before), ("after", self._after)):
            if not guard.size or (guard == GUARD).all():
                continue
            wrong = int(np.flatnonzero(guard != GUARD)[0])
            distance = guard.size - wrong if side == "before" else wrong + 1
            guard[:] = GUARD
            place = "before its start" if side == "before" else "after its end"
            raise KernelError(message(self.name, f"a byte was written, {distance} {place}"))

    def __del__(self) -> None:
        self.check()


class Recording:
    """Steps to run on a CppRuntime."""

    def __init__(self, runtime: "CppRuntime", steps: Sequence[Any]) -> None:
        self._runtime = runtime
        self._steps = list(steps)

    def run(self, words: Array, owners: Sequence[Any]) -> None:
        """Launch every step."""
        for number in range(len(self._steps)):
            self.run_step(number, words, owners)

    def run_step(self, number: int, words: Array, owners: Sequence[Any]) -> None:
        """Launch one step, and check what it was given and what it left."""
        step = self._steps[number]
        assert words.dtype == np.int64 and words.flags.c_contiguous
        copy = words.copy()
        start = step.block // 8
        for i, word in enumerate(step.function.signature):
            if word == "pointer":
                _check_pointer(int(copy[start + i]), owners, f"{step.name}: argument {i}")
        block, seed = copy.ctypes.data + step.block, self._runtime.seed
        step.function.run(block, step.groups, step.threads, seed, step.name)
        for owner in owners:
            try:
                owner.check()
            except KernelError as error:
                raise KernelError(
                    message(step.name, "wrote beside its memory", str(error))
                ) from None


def _check_pointer(address: int, owners: Sequence[Any], what: str) -> None:
    """Metal maps only the memory that a launch names."""
    if address and not any(x.address <= address <= x.address + x.nbytes for x in owners):
        rows = [f"{x.name} at {x.address:#x}" for x in owners]
        raise KernelError(message(what, f"{address:#x} is in no memory of the launch", *rows))


class CppRuntime:
    """A numbatorch.backends.gpu.Runtime.

    Args:
        seed: of the order in which threads and groups run; 0 is ascending.
        limit: bytes that can be allocated in all.
    """

    name = "metal through C++"
    kind = "metal"
    max_groups = (1 << 31) - 1
    share_threads = 64

    def __init__(self, seed: int = 1, limit: int = 1 << 34) -> None:
        self.seed = seed
        self.limit = limit
        self.reclaim: Callable[[], None] = lambda: None
        self._allocations = 0
        self._live: weakref.WeakSet[Memory] = weakref.WeakSet()
        self._functions: dict[tuple[str, str], Function] = {}

    def allocate(self, nbytes: int) -> Memory:
        """Memory between guards, filled with NaN."""
        used = sum(memory.nbytes for memory in self._live)
        if used + nbytes > self.limit:
            raise out_of_memory("metal", nbytes, self.limit - used, self.limit)
        self._allocations += 1
        memory = Memory(nbytes, self._allocations)
        self._live.add(memory)
        return memory

    def check(self) -> None:
        """Raise if something wrote beside an allocation that is still held."""
        for memory in list(self._live):
            memory.check()

    def upload(self, owner: Memory, array: Array, offset: int = 0) -> None:
        """Copy host bytes."""
        assert 0 <= offset and offset + array.nbytes <= owner.nbytes
        owner.bytes[offset : offset + array.nbytes] = array.reshape(-1).view(np.uint8)

    def download(self, owner: Memory, nbytes: int, offset: int = 0) -> Array:
        """A copy of bytes."""
        assert 0 <= offset and offset + nbytes <= owner.nbytes
        return owner.bytes[offset : offset + nbytes].copy()

    def copy(self, target: Memory, source: Memory, nbytes: int) -> None:
        """Copy between two allocations."""
        assert nbytes <= min(target.nbytes, source.nbytes)
        target.bytes[:nbytes] = source.bytes[:nbytes]

    def clear(self, owner: Memory, nbytes: int) -> None:
        """Fill with zeros."""
        assert nbytes <= owner.nbytes
        owner.bytes[:nbytes] = 0

    def load(self, kernels: Sequence[tuple[KernelSpec, KernelSpec | None]]) -> list[Function]:
        """Functions of kernels with their epilogues."""
        from numbatorch.metal.printer import print_kernel

        keys = [(spec.key, epilogue.key if epilogue else "") for spec, epilogue in kernels]
        missing = {
            key: pair for key, pair in zip(keys, kernels, strict=True) if key not in self._functions
        }
        sources = [print_kernel(spec, epilogue) for spec, epilogue in missing.values()]
        signatures = [block_signature(spec, epilogue) for spec, epilogue in missing.values()]
        functions = compile_sources(sources, signatures)
        self._functions.update(zip(missing, functions, strict=True))
        return [self._functions[key] for key in keys]

    def recording(self, steps: Sequence[Any]) -> Recording:
        """Steps to run."""
        for step in steps:
            if step.groups > self.max_groups:
                row = f"{step.groups}, of {self.max_groups} at most"
                raise KernelError(message(step.name, "more groups than the GPU can run", row))
        return Recording(self, steps)

    def synchronize(self) -> None:
        """Nothing is ever under way."""


def block_signature(spec: KernelSpec, epilogue: KernelSpec | None) -> tuple[str, ...]:
    """The words of the argument block, those of the epilogue in its place."""
    words: list[str] = []
    for word in spec.signature:
        if word == "epilogue":
            words.extend(epilogue.signature if epilogue is not None else ())
        else:
            words.append(word)
    return tuple(words)
