"""From a kernel to PTX: numba-cuda types and lowers it, NVVM optimises.

The entry that is made around a kernel takes one int64, the address of its argument block on the
device; its parameters stand there one word each, the epilogue's words in the place of the
parameter `finish`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing import signature
from numba.cuda.compiler import compile_cuda, kernel_fixup
from numba.cuda.core.compiler_lock import global_compiler_lock
from numba.cuda.cudadrv import nvvm

from numbatorch.backends.cuda.words import (
    BUILTINS,
    GLOBAL,
    DeviceWord,
    FinishType,
    definition_of,
)
from numbatorch.language import targets
from numbatorch.language.kernel import KernelSpec, call_parameters
from numbatorch.language.numba_pointers import VALUE, PointerType
from numbatorch.language.numba_types import reject_raises
from numbatorch.language.words import Intrinsic, Word

# The IR is the same for all architectures; NVVM is told the real one.
LOWERED_FOR = (7, 5)

i64 = ir.IntType(64)


class _CudaTarget:
    """numba-cuda as words see it."""

    key = "cuda"
    converts_half = True
    constant_space = 4

    def definition(self, word: Intrinsic | Word) -> tuple[Callable[..., Any], bool]:
        """From the table of words.py."""
        return definition_of(word)

    def lower_called(self, function: FunctionType, args: tuple[Any, ...], inline: bool) -> Any:
        """The compile result of a device function."""
        key = (function, args, inline)
        if key not in _called:
            _called[key] = _compiled(function, args, inline)
        return _called[key]


_called: dict[Any, Any] = {}


def _compiled(function: FunctionType, args: tuple[Any, ...], inline: bool) -> Any:
    reject_raises(function.__code__)
    bound = _with_builtins(function)
    return compile_cuda(bound, None, args, forceinline=inline, cc=LOWERED_FOR)


def _with_builtins(function: FunctionType) -> FunctionType:
    """The function with `min` and `max` bound to words."""
    missing = BUILTINS.keys() - function.__globals__.keys()
    used = missing.intersection(function.__code__.co_names)
    if not used:
        return function
    scope = {**function.__globals__, **{name: BUILTINS[name] for name in used}}
    code, name = function.__code__, function.__name__
    bound = FunctionType(code, scope, name, function.__defaults__, function.__closure__)
    bound.__qualname__ = function.__qualname__
    bound.__module__ = function.__module__
    return bound


@dataclass(frozen=True)
class Lowered:
    """A kernel before NVVM has seen it.

    Attributes:
        symbol: name of the entry.
        modules: LLVM IR, in the text form of version 7.
    """

    symbol: str
    modules: tuple[str, ...]


def lower(spec: KernelSpec, epilogue: KernelSpec | None, symbol: str) -> Lowered:
    """LLVM IR of a kernel and all that it calls; `symbol` names the entry."""
    with global_compiler_lock, targets.lowering_for(_CudaTarget()):
        entry = _entry(spec, epilogue)
        compiled = compile_cuda(entry, types.void, (types.int64,), cc=LOWERED_FOR)
        inner = compiled.fndesc.llvm_func_name
        kernel_fixup(compiled.library.get_function(inner), False)
        modules = tuple(text.replace(inner, symbol) for text in compiled.library.llvm_strs)
    return Lowered(symbol, modules)


def _argument_type(word: str) -> Any:
    found = {"int": types.int64, "float": types.float64}.get(word)
    return found or PointerType(word)


def _finish_type(epilogue: KernelSpec | None) -> FinishType:
    if epilogue is None:
        return FinishType(None, (), "")
    function, words = epilogue.bind()
    return FinishType(function, tuple(map(_argument_type, words)), epilogue.key)


def _entry(spec: KernelSpec, epilogue: KernelSpec | None) -> FunctionType:
    """A function of the block's address; one word does everything."""
    function, words = spec.bind()
    kinds = [_finish_type(epilogue) if w == "epilogue" else _argument_type(w) for w in words]
    tail = call_parameters(function)
    args = (*kinds, *[types.int64] * len(tail))

    def define(typingctx: Any, block: Any) -> Any:
        compiled = _compiled(function, args, True)
        if epilogue is None:  # which would change what the kernel has written
            _mark_noalias(compiled)

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            block = builder.inttoptr(values[0], i64.as_pointer(GLOBAL))
            passed = _arguments(builder, context, block, kinds)
            if tail:
                passed += _thread_of_grid(builder)
            context.add_linking_libs([compiled.library])
            context.call_internal(builder, compiled.fndesc, signature(types.none, *args), passed)
            return context.get_dummy_value()

        return signature(types.none, types.int64), codegen

    enter: Any = DeviceWord(define, False)

    def entry(block: int) -> None:
        enter(block)

    assert isinstance(entry, FunctionType)
    return entry


def _mark_noalias(compiled: Any) -> None:
    """Pointer arguments of a kernel do not alias; the first of the function is its result's."""
    function = compiled.library.get_function(compiled.fndesc.llvm_func_name)
    for argument in function.args[1:]:
        if argument.type.is_pointer:
            argument.add_attribute("noalias")


def _arguments(builder: Any, context: Any, block: Any, kinds: Sequence[Any]) -> list[Any]:
    """The kernel's arguments from the words of the block."""
    out = []
    at = 0
    for kind in kinds:
        if isinstance(kind, FinishType):
            whole = ir.Constant(context.get_value_type(kind), ir.Undefined)
            for i, inner in enumerate(kind.words):
                whole = builder.insert_value(whole, _word(builder, block, at + i, inner), i)
            out.append(whole)
            at += len(kind.words)
        else:
            out.append(_word(builder, block, at, kind))
            at += 1
    return out


def _word(builder: Any, block: Any, at: int, kind: Any) -> Any:
    word = builder.load(builder.gep(block, [i64(at)], inbounds=True), align=8)
    word.set_metadata("invariant.load", builder.module.add_metadata([]))
    if isinstance(kind, PointerType):
        # That it is global memory is told here, and NVVM follows the pointer.
        place = builder.inttoptr(word, ir.IntType(8).as_pointer(GLOBAL))
        return builder.addrspacecast(place, VALUE)
    return builder.bitcast(word, ir.DoubleType()) if kind == types.float64 else word


def _thread_of_grid(builder: Any) -> list[Any]:
    """Number of this thread among all of the grid, and their count."""
    from numba.core import cgutils

    def register(name: str) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        full = f"llvm.nvvm.read.ptx.sreg.{name}"
        function = cgutils.get_or_insert_function(builder.module, kind, full)
        return builder.zext(builder.call(function, []), i64)

    threads = register("ntid.x")
    first = builder.mul(register("ctaid.x"), threads)
    return [builder.add(first, register("tid.x")), builder.mul(register("nctaid.x"), threads)]


def ptx(lowered: Lowered, cc: tuple[int, int]) -> str:
    """NVVM's PTX; a * b + c is contracted as on the CPU, nothing else is relaxed."""
    code = nvvm.compile_ir(list(lowered.modules), arch=f"compute_{cc[0]}{cc[1]}", opt=3)
    lines = code.decode().strip("\0").strip().splitlines()
    # Numba has a variable for the globals of each function, which nothing reads here.
    return "\n".join(line for line in lines if "_ZN08NumbaEnv" not in line) + "\n"
