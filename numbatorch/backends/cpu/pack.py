"""Addresses of compiled kernels: loaded from the pack with llvmlite, compiled when missing.

Numba is imported only when something has to be compiled.
"""

import atexit
import itertools
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

from numbatorch import logs, settings
from numbatorch.apart import Call, raise_once, whole
from numbatorch.backends.cpu import workers
from numbatorch.backends.cpu.identity import identity
from numbatorch.backends.cpu.packfile import Objects, PackFile
from numbatorch.errors import KernelError, message
from numbatorch.language.kernel import KernelSpec, digest

PATIENCE = 60.0  # seconds that a fork waits for a compiler, at most

_lock = threading.RLock()
_filing = threading.RLock()  # of the pack's file and LLVM's linker; nothing comes in between
_held: set[int] = set()  # threads that hold it while they fork
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


def recall(name: str) -> str | None:
    """What `remember` has put down under a name for this version and processor, if anything."""
    key = digest("measured", name)
    with _lock:
        found = whole(lambda: _read([key])).get(key)
    return None if found is None else found[1].decode("ascii", "replace")


def remember(name: str, text: str) -> None:
    """Keep a text beside the kernels; where nothing can be written, another process asks again."""
    key = digest("measured", name)
    with _lock:
        _used.append(key)
        whole(lambda: _save({key: ("measured", text.encode())}))


class _Loaded(NamedTuple):
    """What loading came to: kernels compiled, in how many seconds, what failed, what is unsaved."""

    compiled: list[str]
    seconds: float
    error: KernelError | None
    unsaved: OSError | None


def _load(specs: list[KernelSpec]) -> None:
    """Read or compile, and link, so that no other code comes in between: compile apart.

    An interrupt that came while Numba works would leave Numba unusable. A signal handler or a
    finalizer that needs a kernel would wait for the compiler's or LLVM's lock, which its own thread
    holds. After an interrupt no other kernel is begun; those that were finished are kept.
    """
    if whole(lambda: _link_known(specs)):
        return
    workers.stop.asked = False
    call = Call(lambda: _load_here(specs), workers.stop.ask)
    found = call.result
    if found.compiled:
        count, names = len(found.compiled), ", ".join(found.compiled)
        logs.info("kernels", "compiled %d kernels in %.2f s: %s", count, found.seconds, names)
    if found.unsaved is not None:
        _warn(found.unsaved)
    raise_once(call, "late")
    if found.error is not None:
        raise found.error


def _link_known(specs: list[KernelSpec]) -> bool:
    """Link kernels if the pack has all of them."""
    objects = _read([spec.key for spec in specs])
    if any(spec.key not in objects for spec in specs):
        return False
    with _filing:
        _link(specs, objects)
    return True


def _load_here(specs: list[KernelSpec]) -> _Loaded:
    start = time.perf_counter()
    objects = _read([spec.key for spec in specs])
    missing = [spec for spec in specs if spec.key not in objects]
    compiled: Objects = {}
    error, unsaved = None, None
    if missing:
        compiled, error = _compile(missing)
        objects.update(compiled)
        unsaved = _save(compiled)
    seconds = time.perf_counter() - start
    try:
        with _filing:
            _link([spec for spec in specs if spec.key in objects], objects)
    except KernelError as err:
        error = error or err
    names = [spec.name for spec in missing if spec.key in compiled]
    return _Loaded(names, seconds, error, unsaved)


def _link(specs: list[KernelSpec], objects: Objects) -> None:
    """Put object code into memory and note the addresses."""
    if not specs:
        return
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
        # RuntimeDyld may put constants further away from code than its addresses reach. On Windows,
        # where JITLink does not know the objects, kernels are of the large code model.
        near = sys.platform != "win32"
        _jit = llvm.create_lljit_compiler(machine, use_jit_link=near, suppress_errors=True)
    return _jit


@atexit.register
def _keep_code() -> None:
    """The interpreter's end takes no code away: a thread or a finalizer may still run it."""
    global _jit
    for held in (*_libraries, *filter(None, [_jit])):
        held.detach()
    _jit = None


def _compile(specs: list[KernelSpec]) -> tuple[Objects, KernelError | None]:
    """Object code of what compiles, and the first error."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # the thread that watches bars would stay

    by_key = {spec.key: spec for spec in specs}
    objects: Objects = {}
    error: KernelError | None = None
    show = None if sys.stderr is not None else True  # None: only on a terminal
    columns, lines = shutil.get_terminal_size()  # a terminal that tells no size hides the bar
    size = {"ncols": columns, "nrows": lines}
    with Bar(
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
    return objects, error


def _compile_here(specs: list[KernelSpec], answer: Any) -> KernelError | None:
    if not specs:
        return None
    from numbatorch.backends.cpu import compiler
    from numbatorch.language import processor

    error: KernelError | None = None
    for spec in specs:
        if workers.stop.asked:
            break
        try:
            answer((spec.key, compiler.compile_object(spec, processor.host())))
        except KernelError as err:
            error = error or err
    return error


def _read(keys: list[str]) -> Objects:
    with _filing:
        return _pack_file().read(keys)


def _save(compiled: Objects) -> OSError | None:
    """Add to the pack, or give the reason why what was compiled stays in memory only."""
    try:
        with _filing:
            _pack_file().append(compiled, _used)
    except OSError as err:
        return err
    return None


def _warn(problem: OSError) -> None:
    global _warned
    if not _warned:
        _warned = True
        folder = settings.cache_dir() / "packs"
        text = f"kernels are compiled again in every process: {folder}: {problem}"
        warnings.warn(text, RuntimeWarning, stacklevel=5)


def _pack_file() -> PackFile:
    """The pack of this version and processor in the current cache folder."""
    global _file
    name, key = identity()
    path = settings.cache_dir() / "packs" / name
    if _file is None or _file.path != path:
        _file = PackFile(path, key)
    return _file


def _before_fork() -> None:
    """Wait for another thread that compiles: its compiler's locks would stay taken in the child."""
    if _lock.acquire(timeout=PATIENCE):
        _held.add(threading.get_ident())


def _after_fork_in_parent() -> None:
    if threading.get_ident() in _held:
        _held.discard(threading.get_ident())
        _lock.release()


def _after_fork_in_child() -> None:
    """Another thread of the parent may have held the lock."""
    global _lock, _filing
    _lock, _filing = threading.RLock(), threading.RLock()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
