"""Addresses of compiled kernels: loaded from the pack with llvmlite, compiled when missing.

Numba is imported only when something has to be compiled.
"""

import _thread
import importlib.util
import itertools
import os
import re
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from numbatorch import logs, settings
from numbatorch.backends.cpu import workers
from numbatorch.backends.cpu.packfile import Objects, PackFile
from numbatorch.errors import KernelError, message
from numbatorch.language.kernel import KernelSpec, digest

STACK = 16 << 20  # bytes; some systems give threads too little for a compiler

_lock = threading.RLock()
_addresses: dict[str, int] = {}
_libraries: list[Any] = []  # keep the loaded code alive
_numbers = itertools.count()  # of libraries: what failed or was interrupted has used up its name
_jit: Any = None
_file: PackFile | None = None
_used: list[str] = []
_warned = False


def addresses(specs: Iterable[KernelSpec]) -> dict[str, int]:
    """The function address of each kernel, by key.

    What the pack lacks is compiled together, in several processes when it is much, and added to it.

    Raises:
        KernelError: a kernel does not compile, or calls what does not exist.
    """
    wanted = {spec.key: spec for spec in specs}
    if not all(key in _addresses for key in wanted):
        with _lock:
            missing = [spec for key, spec in wanted.items() if key not in _addresses]
            _load(missing)
    return {key: _addresses[key] for key in wanted}


def _load(specs: list[KernelSpec]) -> None:
    """Read or compile, then link."""
    file = _pack_file()
    objects = file.read([spec.key for spec in specs])
    missing = [spec for spec in specs if spec.key not in objects]
    error: BaseException | None = None
    if missing:
        compiled, error = _compile_apart(missing)
        objects.update(compiled)
        _save(file, compiled)
    if objects:
        _link([spec for spec in specs if spec.key in objects], objects)
    if error is not None:
        raise error


def _link(specs: list[KernelSpec], objects: Objects) -> None:
    """Put object code into memory and note the addresses."""
    import llvmlite.binding as llvm

    builder = llvm.JITLibraryBuilder().add_current_process()
    for spec in specs:
        symbol, code = objects[spec.key]
        builder.add_object_img(code).export_symbol(symbol)
    try:
        library = builder.link(_jit_compiler(), f"kernels{next(_numbers)}")
    except RuntimeError as err:
        if len(specs) > 1:
            for spec in specs:
                _link([spec], objects)
            return
        spec = specs[0]
        raise KernelError(message(spec.name, "cannot be linked", spec.path(), str(err))) from err
    _libraries.append(library)
    for spec in specs:
        _addresses[spec.key] = library[objects[spec.key][0]]
        _used.append(spec.key)


def _jit_compiler() -> Any:
    global _jit
    if _jit is None:
        import llvmlite.binding as llvm

        from numbatorch.backends.cpu import target
        from numbatorch.language import processor

        machine = target.machine(processor.host(), jit=True)
        _jit = llvm.create_lljit_compiler(machine, suppress_errors=True)
    return _jit


def _compile_apart(specs: list[KernelSpec]) -> tuple[Objects, BaseException | None]:
    """As `_compile`, in a thread of its own: interrupts come to the main thread only.

    One that came while Numba works would leave Numba unusable. After an interrupt, which is the
    error then, no other kernel is begun; those that were finished are kept.
    """
    found: list[tuple[Objects, KernelError | None]] = []
    failed: list[BaseException] = []
    ended = threading.Lock()

    def work() -> None:
        try:
            found.append(_compile(specs))
        except BaseException as err:
            failed.append(err)
        ended.release()

    workers.stop.clear()
    ended.acquire()
    interrupt: KeyboardInterrupt | None = None
    stack = threading.stack_size(STACK)
    try:
        _thread.start_new_thread(work, ())  # `Thread` can be interrupted while it starts and joins
    except RuntimeError:  # the system refuses
        return _compile(specs)
    except KeyboardInterrupt as err:  # it has started
        interrupt = err
    finally:
        threading.stack_size(stack)
    while not found and not failed:
        try:
            if interrupt is not None:
                workers.stop.set()
            ended.acquire(timeout=0.1)  # without a limit not every system lets interrupts in
        except KeyboardInterrupt as err:
            interrupt = err
    if failed:
        raise failed[0]
    objects, error = found[0]
    return objects, interrupt or error


def _compile(specs: list[KernelSpec]) -> tuple[Objects, KernelError | None]:
    """Object code of what compiles, and the first error."""
    from tqdm import tqdm

    start = time.perf_counter()
    by_key = {spec.key: spec for spec in specs}
    objects: Objects = {}
    error: KernelError | None = None
    show = None if sys.stderr is not None else True  # None: only on a terminal
    columns, lines = shutil.get_terminal_size()  # a terminal that tells no size hides the bar
    size = {"ncols": columns, "nrows": lines}
    with tqdm(
        total=len(specs), desc="compiling kernels", delay=0.5, leave=False, disable=show, **size
    ) as bar:
        one_at_a_time = threading.Lock()

        def answer(result: workers.Answer) -> None:
            key, code = result
            if code is not None:
                with one_at_a_time:
                    objects[key] = by_key[key].symbol, code
                    bar.update()

        with workers.Workers(specs, answer) as others:
            error = _compile_here(others.mine, answer)
        left = [spec for spec in specs if spec.key not in objects and spec not in others.mine]
        error = _compile_here(left, answer) or error
    seconds = time.perf_counter() - start
    names = ", ".join(by_key[key].name for key in objects)
    logs.info("kernels", "compiled %d kernels in %.2f s: %s", len(objects), seconds, names)
    return objects, error


def _compile_here(specs: list[KernelSpec], answer: Any) -> KernelError | None:
    if not specs:
        return None
    from numbatorch.backends.cpu import compiler
    from numbatorch.language import processor

    error: KernelError | None = None
    for spec in specs:
        if workers.stop.is_set():
            break
        try:
            answer((spec.key, compiler.compile_object(spec, processor.host())))
        except KernelError as err:
            error = error or err
    return error


def _save(file: PackFile, compiled: Objects) -> None:
    """Add to the pack, or warn once that what was compiled stays in memory only."""
    global _warned
    if not compiled:
        return
    try:
        file.append(compiled, _used)
    except OSError as err:
        if not _warned:
            _warned = True
            warnings.warn(
                f"kernels are compiled again in every process: {file.path.parent}: {err}",
                RuntimeWarning,
                stacklevel=5,
            )


def _pack_file() -> PackFile:
    """The pack of this version and processor in the current cache folder."""
    global _file
    name, identity = _identity()
    path = settings.cache_dir() / "packs" / name
    if _file is None or _file.path != path:
        _file = PackFile(path, identity)
    return _file


@cache
def _identity() -> tuple[str, str]:
    """File name of the pack, and all that its object code depends on besides the kernels."""
    import llvmlite

    import numbatorch
    from numbatorch.language import processor

    cpu = processor.host()
    here = Path(__file__).parent
    files = [here / name for name in ("compiler.py", "target.py")]
    language = here.parents[1] / "language"
    names = ("elements.py", "numba_pointers.py", "numba_types.py", "simd/types.py")
    files += [language / name for name in names]
    sources = [_text(file) for file in files]
    version = getattr(numbatorch, "__version__", "0")
    parts = (
        f"numbatorch-{version}",
        f"numba-{_numba_version()}",
        f"llvmlite-{llvmlite.__version__}",
        sys.implementation.cache_tag or sys.implementation.name,
        cpu.triple,
        cpu.name,
    )
    identity = digest(*parts, cpu.features, *sources)
    return f"{'-'.join(parts)}-{identity[:12]}.pack", identity


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _numba_version() -> str:
    """Numba's version, without the time that importing it takes."""
    spec = importlib.util.find_spec("numba")
    if spec is not None and spec.origin is not None:
        text = _text(Path(spec.origin).with_name("_version.py"))
        found = re.search(r'"version": "([^"]+)"', text)
        if found is not None:
            return found.group(1)
    from importlib.metadata import version

    return version("numba")


def _after_fork() -> None:
    """Another thread of the parent may have held the lock."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
