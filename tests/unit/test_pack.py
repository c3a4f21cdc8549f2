"""Packs of compiled kernels: kept between processes, shared by them, never trusted when damaged."""

import _thread
import ctypes
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbatorch import private
from numbatorch.backends.cpu import pack, packfile, workers
from numbatorch.backends.cpu.identity import identity
from numbatorch.backends.cpu.packfile import PackFile
from numbatorch.errors import KernelError
from numbatorch.language.kernel import EmittedKernel, Pointer, kernel
from numbatorch.language.primitives import float32

ROOT = Path(__file__).parents[2]
ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)

# A module of eight kernels, and a program that runs them and prints their results.
MODULE = """
from numbatorch.language.kernel import Pointer, kernel
from numbatorch.language.primitives import float32

def made(number):
    @kernel
    def plus(out: Pointer["float32"], part: int, parts: int) -> None:
        out[0] = out[0] + float32(number)
    return plus

@kernel(T=("float32", "float64", "int32", "int64", "int16", "int8", "uint8", "uint16"))
def one(out: Pointer["T"], part: int, parts: int) -> None:
    out[0] = out[0] + 1
"""
PROGRAM = """
import ctypes, sys
from numbatorch.backends.cpu import pack
import kernels_of_test as module
specs = [module.one(T=t) for t in module.one.types["T"]]
found = pack.addresses(specs)
memory = (ctypes.c_double * 1)()
block = (ctypes.c_int64 * 1)(ctypes.addressof(memory))
entry = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)
entry(found[specs[1].key])(ctypes.addressof(block), 0, 1)
print(memory[0], len(found), "numba" in sys.modules)
"""

# Fills the holes of memory, so that code lies below 6 GB and single pages are free above them only.
FULL = """
import ctypes
import numbatorch as nt

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

def mapped(pages):
    return libc.mmap(None, 4096 * pages, 3, 0x4022, -1, 0)  # read, write; private, not reserved

def fill(sizes):
    for pages in sizes:
        last, below = mapped(pages), 0
        while below < 300:
            found = mapped(pages)
            below = below + 1 if found == last - 4096 * pages else 0
            last = found

def long(x):
    return nt.lgamma(x) + nt.digamma(x) + nt.tan(x)

long(nt.tensor([0.5, 2.0])).sin().tolist()
sizes = [256, 64, 16, 8, 4, 3, 2]
fill(sizes)
singles = [mapped(1) for _ in range(2000)]
mapped(6 << 18)
for page in singles[::2]:
    libc.munmap(page, 4096)
fill(sizes)
long(nt.tensor([0.5, 2.0])).cos().tolist()
print("linked")
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no kernels in memory."""
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pack, "_addresses", {})
    monkeypatch.setattr(pack, "_used", [])
    monkeypatch.setattr(pack, "_warned", False)
    return tmp_path / "cache"


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module above, importable here and in other processes."""
    (tmp_path / "kernels_of_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.delitem(sys.modules, "kernels_of_test", raising=False)
    import kernels_of_test  # type: ignore[import-not-found]

    yield kernels_of_test
    sys.modules.pop("kernels_of_test")


def start() -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=pipe, stderr=pipe, text=True)


def finished(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.strip()


def value_of(spec: Any) -> float:
    out = np.zeros(1, np.float32)
    block = np.array([out.ctypes.data], np.int64)
    ENTRY(pack.addresses([spec])[spec.key])(block.ctypes.data, 0, 1)
    return float(out[0])


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process started anew."""
    monkeypatch.setattr(pack, "_addresses", {})
    monkeypatch.setattr(pack, "_file", None)


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "_compile", lambda specs: pytest.fail(f"compiles {specs}"))


def pack_path(cache: Path) -> Path:
    (path,) = (cache / "packs").glob("*.pack")
    return path


def test_a_second_process_loads_without_numba(cache: Path, kernels: Any) -> None:
    assert finished(start()) == "1.0 8 True"
    assert finished(start()) == "1.0 8 False"


def test_processes_that_start_together_lose_nothing(cache: Path, kernels: Any) -> None:
    several = [start() for _ in range(2)]
    assert [finished(process) for process in several] == ["1.0 8 True"] * 2
    held = PackFile(pack_path(cache), identity()[1])
    keys = [kernels.one(T=t).key for t in kernels.one.types["T"]]
    assert list(held.read(keys)) == keys
    assert finished(start()) == "1.0 8 False"


def test_new_kernels_are_added_to_the_pack(
    cache: Path, kernels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [kernels.made(i)() for i in range(3)]
    sizes = []
    for i, spec in enumerate(specs):
        assert value_of(spec) == i
        sizes.append(pack_path(cache).stat().st_size)
    assert sizes == sorted(set(sizes))
    forget(monkeypatch)
    forbid_compiling(monkeypatch)
    assert [value_of(spec) for spec in specs] == [0, 1, 2]


@pytest.mark.parametrize("damage", ["bytes", "cut", "header", "foreign", "empty"])
def test_damage_is_noticed_and_repaired(
    cache: Path, kernels: Any, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    specs = [kernels.made(i)() for i in range(3)]
    for spec in specs:
        value_of(spec)
    path = pack_path(cache)
    data = bytearray(path.read_bytes())
    if damage == "bytes":
        data[-50] ^= 0xFF
    elif damage == "cut":
        data = data[:-100]
    elif damage == "header":
        data[len(packfile.MAGIC) + 32] ^= 0xFF  # in the first record's own header
    elif damage == "foreign":
        data[10] ^= 0xFF
    else:
        data = bytearray()
    path.write_bytes(data)
    forget(monkeypatch)
    compiled = []
    real = pack._compile
    monkeypatch.setattr(pack, "_compile", lambda specs: compiled.extend(specs) or real(specs))
    assert [value_of(spec) for spec in specs] == [0, 1, 2]
    assert len(compiled) == (1 if damage in ("bytes", "cut") else 3)
    forget(monkeypatch)
    forbid_compiling(monkeypatch)
    assert [value_of(spec) for spec in specs] == [0, 1, 2]


def test_every_torn_write_leaves_a_pack_that_works(tmp_path: Path) -> None:
    file = PackFile(tmp_path / "a.pack", "me")
    file.append({f"{i:032}": (f"symbol{i}", b"code" * i) for i in range(1, 4)}, [])
    whole = file.path.read_bytes()
    for length in range(0, len(whole), 7):
        file.path.write_bytes(whole[:length])
        torn = PackFile(file.path, "me")
        keys = [f"{i:032}" for i in range(1, 5)]
        for key, (symbol, code) in torn.read(keys).items():
            assert code == b"code" * int(key) and symbol == f"symbol{int(key)}"
        torn.append({keys[3]: ("new", b"new")}, [])
        again = PackFile(file.path, "me").read(keys)
        assert again[keys[3]] == ("new", b"new")
        assert PackFile(file.path, "other").read(keys) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="says where memory is mapped as Linux does")
def test_constants_lie_beside_the_code_that_reads_them() -> None:
    """Code reaches 2 GB; in a process that has mapped more, holes are further apart."""
    command = [sys.executable, "-c", FULL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "linked\n", done.stderr[-1000:]


@pytest.mark.skipif(sys.platform == "win32", reason="files have another kind of owner there")
def test_a_pack_of_another_user_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = PackFile(tmp_path / "a.pack", "me")
    key = "0" * 32
    file.append({key: ("symbol", b"code")}, [])
    owner = file.path.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    if owner == 0:
        os.chown(file.path, 12345, -1)
    assert PackFile(file.path, "me").read([key]) == {}


def test_a_pack_that_grew_too_large_keeps_what_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packfile, "LARGEST", 500)
    file = PackFile(tmp_path / "a.pack", "me")
    keys = [f"{i:032}" for i in range(6)]
    for key in keys[:5]:
        file.append({key: (key, b"x" * 100)}, keys[1:2])
    assert set(file.read(keys)) == {keys[1], keys[3], keys[4]}
    assert file.path.stat().st_size < 1000


@pytest.mark.parametrize("error", [PermissionError(13, "read-only"), OSError(28, "No space left")])
def test_a_folder_that_cannot_be_written_warns_once(
    cache: Path, kernels: Any, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def refuse(*args: Any) -> None:
        raise error

    monkeypatch.setattr(PackFile, "append", refuse)
    with pytest.warns(RuntimeWarning, match="compiled again in every process"):
        assert value_of(kernels.made(7)()) == 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert value_of(kernels.made(8)()) == 8


def test_a_cache_folder_below_a_file_is_as_good_as_none(
    cache: Path, kernels: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(RuntimeWarning, match="compiled again"):
        assert value_of(kernels.made(9)()) == 9
    text = (
        "from numbatorch.language.kernel import Pointer\n"
        'def kernel(out: Pointer["float32"], part: int, parts: int) -> None:\n'
        "    out[0] = 3\n"
    )
    assert value_of(EmittedKernel("three", ("unwritten",), ("pointer",), lambda: text)) == 3


def test_a_full_disk_leaves_the_pack_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pack"
    PackFile(path, "me").append({"0" * 32: ("a", b"old")}, [])
    before = path.read_bytes()
    real = private.Folder.open

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *args: Any) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: bytes) -> int:
            self.file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

    def opened(self: private.Folder, name: str, *args: Any, **kwargs: Any) -> Any:
        file = real(self, name, *args, **kwargs)
        return Full(file) if "r+b" in args and name == path.name else file

    monkeypatch.setattr(private.Folder, "open", opened)
    with pytest.raises(OSError, match="No space"):
        PackFile(path, "me").append({"1" * 32: ("b", b"new" * 100)}, [])
    assert path.read_bytes() == before


def test_many_kernels_are_compiled_by_several_processes(
    cache: Path, kernels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_FEW_WHEN_WARM", 4)
    monkeypatch.setenv("NUMBATORCH_THREADS", "3")
    here = []
    real = pack._compile_here
    monkeypatch.setattr(
        pack, "_compile_here", lambda specs, answer: here.extend(specs) or real(specs, answer)
    )
    text = (
        "from numbatorch.language.kernel import Pointer\n"
        'def kernel(out: Pointer["float32"], part: int, parts: int) -> None:\n'
        "    out[0] = 3\n"
    )
    emitted = [EmittedKernel(f"e{i}", ("many",), ("pointer",), lambda: text) for i in range(2)]
    nested = [kernels.made(20 + i)() for i in range(2)]  # only this process can find these
    shared = [kernels.one(T=t) for t in kernels.one.types["T"]]
    found = pack.addresses(emitted + nested + shared)
    assert len(found) == 12 and all(found.values())
    assert set(nested) <= set(here) and 0 < len(here) < 10
    assert [value_of(spec) for spec in (*emitted, *nested, shared[0])] == [3, 3, 20, 21, 1]


FOREIGN = ("json", "pickle", "struct", "numba", "numbatorch", "llvmlite", "yaml", "sitecustomize")


@pytest.mark.parametrize("relative", ["", ".", None])
def test_workers_run_no_file_of_the_current_directory(
    cache: Path,
    kernels: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    relative: str | None,
) -> None:
    """`python -c` and notebooks search the current directory first; workers do not."""
    monkeypatch.setattr(workers, "_FEW_WHEN_WARM", 4)
    monkeypatch.setenv("NUMBATORCH_THREADS", "2")
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in FOREIGN:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(folder)
    if relative is not None:
        monkeypatch.setattr(sys, "path", [relative, *sys.path])
    here = []
    real = pack._compile_here
    monkeypatch.setattr(
        pack, "_compile_here", lambda specs, answer: here.extend(specs) or real(specs, answer)
    )
    found = pack.addresses([kernels.one(T=t) for t in kernels.one.types["T"]])
    assert len(found) == 8 and len(here) < 8  # a worker compiled the others
    assert not (folder / "ran").exists()


def test_a_worker_of_another_version_compiles_nothing(
    cache: Path, kernels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_FEW_WHEN_WARM", 4)
    monkeypatch.setenv("NUMBATORCH_THREADS", "2")
    monkeypatch.setattr(workers, "identity", lambda: ("name", "another"))
    answers: list[Any] = []
    with workers.Workers(
        [kernels.one(T=t) for t in kernels.one.types["T"]], answers.append
    ) as found:
        assert len(found.mine) < 8
    assert answers == []


def test_workers_that_die_are_replaced_by_this_process(
    cache: Path, kernels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_FEW_WHEN_WARM", 4)
    monkeypatch.setenv("NUMBATORCH_THREADS", "2")
    monkeypatch.setattr(workers, "_START", "import sys; sys.exit(1)")
    found = pack.addresses([kernels.one(T=t) for t in kernels.one.types["T"]])
    assert len(found) == 8 and all(found.values())


def test_an_error_names_its_kernel_and_keeps_the_others(cache: Path, kernels: Any) -> None:
    @kernel
    def wrong(out: Pointer["float32"], part: int, parts: int) -> None:
        out[0] = part.nothing  # type: ignore[attr-defined]

    good = kernels.made(5)()
    with pytest.raises(KernelError, match="wrong"):
        pack.addresses([wrong(), good])
    assert good.key in pack._addresses and value_of(good) == 5


def test_a_call_of_what_does_not_exist_names_the_kernel(cache: Path) -> None:
    @kernel
    def dangling(out: Pointer["float32"], part: int, parts: int) -> None:
        out[0] = float32(absent(part))

    with pytest.raises(KernelError, match="dangling: cannot be linked"):
        pack.addresses([dangling()])


def _absent() -> Any:
    from numbatorch.language.kernel import intrinsic

    @intrinsic
    def absent(typingctx: Any, number: Any) -> Any:
        from llvmlite import ir
        from numba.core import cgutils, types
        from numba.core.typing import signature

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            word = ir.IntType(64)
            kind = ir.FunctionType(word, [word])
            name = "numbatorch_absent_function"
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)

        return signature(types.int64, types.int64), codegen

    return absent


absent = _absent()


def test_linking_works_again_after_an_interrupt(
    cache: Path, kernels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llvmlite.binding import JITLibraryBuilder

    link = JITLibraryBuilder.link

    def interrupted(*arguments: Any) -> Any:
        link(*arguments)
        raise KeyboardInterrupt

    spec = kernels.made(3)()
    with monkeypatch.context() as patch:
        patch.setattr(JITLibraryBuilder, "link", interrupted)
        with pytest.raises(KeyboardInterrupt):
            value_of(spec)
    assert value_of(spec) == 3


@pytest.mark.parametrize("count", [1, 8])
def test_an_interrupt_waits_for_the_compiler(
    cache: Path, kernels: Any, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Numba does not survive one. What was finished is kept, the rest is not begun."""
    from numbatorch.backends.cpu import compiler

    monkeypatch.setattr(workers, "_FEW_WHEN_WARM", 3)
    compiled: list[Any] = []
    real = compiler.compile_object

    def interrupted(spec: Any, cpu: Any) -> bytes:
        if not compiled:
            _thread.interrupt_main()
            time.sleep(0.2)
        compiled.append(spec)
        return real(spec, cpu)

    specs = [kernels.one(T=t) for t in kernels.one.types["T"]][:count]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(compiler, "compile_object", interrupted)
        pack.addresses(specs)
    assert len(compiled) == 1
    monkeypatch.setattr(compiler, "compile_object", lambda *_: pytest.fail("compiled again"))
    assert value_of(compiled[0]) == 1
    monkeypatch.setattr(compiler, "compile_object", real)
    assert len(pack.addresses(specs)) == count
