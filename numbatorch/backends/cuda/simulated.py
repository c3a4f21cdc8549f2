"""Kernels in numba-cuda's simulator: the same functions, their words bound to Python functions.

Imported only in a process where NUMBA_ENABLE_CUDASIM was set before numba was. An access outside
of the allocations that simulated_memory knows is a KernelError, and so is a barrier that some
threads of a group pass and others do not.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from numbatorch import dtype as dtypes
from numbatorch.backends.cuda.simulated_memory import Pointer, register, unregister
from numbatorch.backends.cuda.simulated_words import (
    FUNCTIONS,
    ElementWord,
    hold,
    kind_of,
    on_grid,
)
from numbatorch.dtype import DType
from numbatorch.errors import KernelError, message
from numbatorch.language.kernel import (
    TILE,
    Kernel,
    KernelSpec,
    PointerTo,
    call_parameters,
    with_types,
)
from numbatorch.language.scalar_word import Definition
from numbatorch.language.words import ElementType, Helper, Intrinsic, Word

__all__ = ["bind", "register", "run", "unregister"]

_SWITCH = 1e-4  # seconds between threads, for those of a group wait for each other
_running = threading.Lock()


def bind(value: Any) -> Any:
    """What a value that a kernel names is in the simulator."""
    try:
        known = _bound.get(value)
    except TypeError:  # no key of a table
        return value
    if known is None:
        known = _bind(value)
        if known is None:
            return value
        _bound[value] = known
    return known


_bound: dict[Any, Any] = {}


def _bind(value: Any) -> Any:
    if isinstance(value, ElementType):
        return ElementWord(value.element) if value.element in dtypes.by_name else None
    if isinstance(value, DType):
        return ElementWord(value.name)
    if isinstance(value, Intrinsic) and isinstance(value.definition, Definition):
        return _scalar_word(value.definition)
    if isinstance(value, Intrinsic | Word):
        if value not in FUNCTIONS:
            raise KernelError(message(value.__name__, "the CUDA simulator does not know this word"))
        return FUNCTIONS[value]
    if isinstance(value, Helper):
        return bind_function(value.function)
    if isinstance(value, Kernel):
        return _called_kernel(value)
    return None


def bind_function(function: FunctionType) -> FunctionType:
    """The function with all that it names bound; what it names in turn is bound when it is."""
    scope: dict[str, Any] = {"__builtins__": __builtins__, "__name__": function.__module__}
    for name in _names(function.__code__):
        if name in function.__globals__:
            scope[name] = bind(function.__globals__[name])
    cells = tuple(_cell(bind(cell.cell_contents)) for cell in function.__closure__ or ())
    return FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, cells or None
    )


def _names(code: Any) -> set[str]:
    inner = [const for const in code.co_consts if hasattr(const, "co_names")]
    return set(code.co_names).union(*(_names(const) for const in inner))


def _cell(value: Any) -> Any:
    return (lambda: value).__closure__[0]  # type: ignore[index]


def _scalar_word(definition: Definition) -> Callable[..., Any]:
    known: dict[tuple[str, ...], FunctionType] = {}

    def call(*values: Any) -> Any:
        kinds = tuple(kind_of(value) for value in values)
        if kinds not in known:
            known[kinds] = bind_function(definition.printed(kinds))
        return known[kinds](*(hold(v, k) for v, k in zip(values, kinds, strict=True)))

    return call


def _called_kernel(kernel: Kernel) -> Callable[..., Any]:
    known: dict[tuple[tuple[str, str], ...], FunctionType] = {}

    def call(*values: Any) -> Any:
        types = {
            word.element: value.element
            for word, value in zip(kernel.words, values, strict=False)
            if isinstance(word, PointerTo) and isinstance(value, Pointer)
        }
        key = tuple(types.items())
        if key not in known:
            known[key] = bind_function(with_types(kernel.function, types))
        return known[key](*values)

    return call


class _Launch:
    """One launch: what every thread calls, and what the groups' threads have done."""

    def __init__(self, spec: KernelSpec, epilogue: KernelSpec | None, block: Any) -> None:
        function, words = spec.bind()
        self.shares = bool(call_parameters(function))
        self.function = bind_function(function)
        self.arguments: list[Any] = []
        self.met: dict[int, set[int]] = {}
        at = 0
        for word in words:
            if word != "epilogue":
                self.arguments.append(_argument(word, block, at))
                at += 1
            elif epilogue is None:
                self.arguments.append(None)
            else:
                self.arguments.append(_epilogue(epilogue, block, at))
                at += len(epilogue.signature)

    def thread(self, number: int, count: int, group: int) -> None:
        """What one thread of the grid does."""
        tail = (number, count) if self.shares else ()
        with np.errstate(all="ignore"):
            self.function(*self.arguments, *tail)
        met = getattr(threading.current_thread(), "met", 0)
        self.met.setdefault(group, set()).add(met)


def _argument(word: str, block: Any, at: int) -> Any:
    """The value of a parameter from its word: numbers as they are, others are pointers."""
    if word == "int":
        return int(block[at])
    if word == "float":
        return block[at : at + 1].view(np.float64)[0]
    return Pointer.to(word, int(block[at]))


def _epilogue(spec: KernelSpec, block: Any, at: int) -> Callable[..., None]:
    function, words = spec.bind()
    assert call_parameters(function) == TILE, spec
    arguments = [_argument(word, block, at + i) for i, word in enumerate(words)]
    bound = bind_function(function)
    return lambda *tile: bound(*arguments, *tile)


def words_of(spec: KernelSpec, epilogue: KernelSpec | None) -> list[str]:
    """The words of the argument block: the epilogue's stand in the place of its parameter."""
    out: list[str] = []
    for word in spec.signature:
        if word != "epilogue":
            out.append(word)
        elif epilogue is not None:
            out += epilogue.signature
    return out


def _place_of(err: BaseException, spec: KernelSpec) -> str:
    """The deepest line of a kernel or helper that an error came through."""
    own = Path(__file__).parent
    for frame in reversed(traceback.extract_tb(err.__traceback__)):
        if Path(frame.filename).parent != own and "numba" + os.sep not in frame.filename:
            return f"in {frame.filename}:{frame.lineno}: {frame.line}"
    return f"in {spec.path()}"


def run(
    spec: KernelSpec, epilogue: KernelSpec | None, groups: int, threads: int, block_address: int
) -> None:
    """Launch a kernel and wait for it.

    Args:
        epilogue: applied to finished elements of the result, or None.
        groups: of the grid; with 0 nothing happens.
        threads: in each group; a kernel that shares its work by `part, parts` runs with any number.
        block_address: host address of the argument block, in registered memory.

    Raises:
        KernelError: an access outside of registered memory, or any other failure, with its text.
    """
    if groups <= 0:
        return
    count = len(words_of(spec, epilogue))
    pointer = Pointer.to("int64", block_address)
    try:
        array, at = pointer.place(0) if count else (np.zeros(0, np.int64), 0)
        launch = _Launch(spec, epilogue, array[at : at + count])
        with _running:
            before = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH)
            try:
                on_grid(launch.thread, groups, threads)
            finally:
                sys.setswitchinterval(before)
    except KernelError:
        raise
    except Exception as err:
        problem = f"{type(err).__name__}: {err}"
        raise KernelError(message(spec.name, problem, _place_of(err, spec))) from err
    for group, met in launch.met.items():
        if len(met) > 1:
            problem = f"the threads of group {group} did not all meet at the same barriers"
            raise KernelError(message(spec.name, problem, f"in {spec.path()}"))
