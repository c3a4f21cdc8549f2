"""From a kernel to object code: Numba types and lowers it, then LLVM optimises the linked module.

Numba's own optimisation passes, its execution engine and its allocation runtime are left out.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FunctionType
from typing import Any

import llvmlite.binding as llvm
from numba.core import types
from numba.core.codegen import CPUCodegen, CPUCodeLibrary
from numba.core.compiler import Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu_options import FastMathOptions
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target

import numbatorch.language.simd.types  # noqa: F401, operators on vectors become known to Numba
from numbatorch.backends.cpu import frontend, target
from numbatorch.errors import KernelError, message
from numbatorch.language import targets
from numbatorch.language.kernel import KernelSpec, call_parameters
from numbatorch.language.numba_pointers import PointerType
from numbatorch.language.numba_types import reject_raises
from numbatorch.language.processor import CPU, current_cpu
from numbatorch.language.simd.loops import tell_loops
from numbatorch.language.words import Intrinsic, Word

_active = threading.local()


class _Library(CPUCodeLibrary):  # type: ignore[misc]
    """Collects the modules of a kernel and what it calls, and leaves optimising to `emit`."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_specific(self) -> None:
        pass

    def add_linking_library(self, library: Any) -> None:
        """Link a called function, but not Numba's allocation runtime, which none needs."""
        if not library.name.startswith("nrt"):
            super().add_linking_library(library)

    def add_ir_module(self, ir_module: Any) -> None:
        """Pointer arguments of kernels do not alias; those of helpers may."""
        for function in ir_module.functions:
            if function.blocks and _active.noalias:
                _mark_noalias(function)
            tell_loops(function)
        super().add_ir_module(ir_module)


def _mark_noalias(function: Any) -> None:
    for argument in function.args[2:]:
        if argument.type.is_pointer:
            argument.add_attribute("noalias")


class _Codegen(CPUCodegen):  # type: ignore[misc]
    """Numba's code generator without its execution engine."""

    _library_class = _Library

    def __init__(self, cpu: CPU) -> None:
        self._cpu = cpu
        super().__init__("numbatorch")

    def _init(self, llvm_module: Any) -> None:
        self._tm = target.machine(self._cpu)
        self._tm_features = self._cpu.features
        self._target_data = self._tm.target_data
        self._data_layout = str(self._target_data)

    def _create_empty_module(self, name: str) -> Any:
        module = super()._create_empty_module(name)
        module.triple = self._cpu.triple
        return module

    def _add_module(self, module: Any) -> None:
        pass

    def _check_llvm_bugs(self) -> None:
        pass


@cache
def _context(cpu: CPU) -> Any:
    context = cpu_target.target_context
    return context.subtarget(_internal_codegen=_Codegen(cpu))


@cache
def _typing_context() -> Any:
    return frontend.TypingContext(cpu_target.typing_context)


class _CPUTarget:
    """A processor as words see it."""

    def __init__(self, cpu: CPU) -> None:
        self.key = self.cpu = cpu
        self.constant_space = 0
        arm = cpu.triple.startswith(("aarch64", "arm64"))
        self.converts_half = arm or cpu.has("f16c")  # LLVM would call a library otherwise

    def definition(self, word: Intrinsic | Word) -> tuple[Callable[..., Any], bool]:
        """What the word says itself."""
        if isinstance(word, Word):
            problem = f"{word.__name__} is a word of groups of threads, which a CPU has not"
            raise KernelError(message("kernel", problem))
        return word.definition, word.literal

    def lower_called(self, function: FunctionType, args: tuple[Any, ...], inline: bool) -> Any:
        """As `lower`, once for each processor."""
        key = (function, args, inline, self.cpu)
        if key not in _called:
            _called[key] = lower(function, args, None, inline)
        return _called[key]


_called: dict[Any, Any] = {}


@contextmanager
def compiling_for(cpu: CPU) -> Iterator[None]:
    """Kernels lowered inside are for this processor; intrinsics ask `current_cpu`."""
    with targets.lowering_for(_CPUTarget(cpu)):
        yield


def _flags(inline: bool) -> Any:
    flags = Flags()
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.no_compile = True
    flags.nrt = False
    flags.error_model = "numpy"
    flags.fastmath = FastMathOptions({"contract"})
    flags.forceinline = inline
    return flags


def lower(
    function: FunctionType, args: tuple[Any, ...], result: Any, inline: bool, noalias: bool = False
) -> Any:
    """Type a function for argument types and lower it to LLVM IR: Numba's compile result.

    Args:
        result: its type, or None to infer it.
        inline: its body goes into every caller.
        noalias: what its pointers point to does not overlap.
    """
    reject_raises(function.__code__)
    context = _context(current_cpu())
    before = getattr(_active, "noalias", False)
    _active.noalias = noalias
    try:
        return compile_extra(
            _typing_context(),
            context,
            function,
            args,
            result,
            _flags(inline),
            {},
            pipeline_class=frontend.Compiler,
        )
    finally:
        _active.noalias = before


_WORD_TYPES = {"int": types.int64, "float": types.float64}


def module(spec: KernelSpec, cpu: CPU) -> Any:
    """The linked and optimised LLVM module of a kernel; it defines `spec.symbol`."""
    try:
        return _module(spec, cpu)
    except KernelError:
        raise
    except Exception as err:  # Numba raises its own errors, and passes on those of intrinsics
        kind = "" if isinstance(err, NumbaError) else f"{type(err).__name__}: "
        text = message(spec.name, "does not compile", spec.path(), f"{kind}{err}")
        raise KernelError(text) from err


def _module(spec: KernelSpec, cpu: CPU) -> Any:
    text = spec.llvm()
    if text is not None:
        layout = target.machine(cpu).target_data
        head = f'target triple = "{cpu.triple}"\ntarget datalayout = "{layout}"\n'
        written = llvm.parse_assembly(head + text)
        _optimise(written, spec, cpu)
        return written
    function, words = spec.bind()
    argument_types = tuple(_WORD_TYPES.get(word) or PointerType(word) for word in words)
    tail = call_parameters(function)
    if not tail:
        problem = "a kernel for groups of threads does not run on the CPU"
        rule = "the last two parameters of a CPU kernel are `part, parts`"
        raise KernelError(message(spec.name, problem, rule))
    args = (*argument_types, *[types.int64] * len(tail))
    with global_compiler_lock, compiling_for(cpu):
        compiled = lower(function, args, types.void, inline=False, noalias=True)
        compiled.library.finalize()
        linked = compiled.library._final_module
        wrapper = llvm.parse_assembly(
            _wrapper(spec.symbol, compiled.fndesc.llvm_func_name, words, tail, linked)
        )
        linked.link_in(wrapper)
        _optimise(linked, spec, cpu)
    return linked


def _wrapper(
    symbol: str, inner: str, words: tuple[str, ...], tail: tuple[str, ...], linked: Any
) -> str:
    """IR of the C function that reads the argument block and calls the kernel."""
    lines = []
    values = []
    for index, word in enumerate(words):
        kind = {"int": "i64", "float": "double"}.get(word, "ptr")
        lines.append(f"  %p{index} = getelementptr i64, ptr %block, i64 {index}")
        lines.append(f"  %v{index} = load {kind}, ptr %p{index}, align 8")
        values.append(f"{kind} %v{index}")
    declared = ", ".join(
        ["ptr", "ptr", *(value.split()[0] for value in values), *["i64"] * len(tail)]
    )
    called = [f"i64 %{name}" for name in tail]
    passed = ", ".join(["ptr %result", "ptr %error", *values, *called])
    body = "\n".join(lines)
    return f"""
target triple = "{linked.triple}"
target datalayout = "{linked.data_layout}"
declare i32 @"{inner}"({declared})
define void @"{symbol}"({", ".join(["i64 %args", *called])}) {{
  %result = alloca ptr
  %error = alloca ptr
  %block = inttoptr i64 %args to ptr
{body}
  %status = call i32 @"{inner}"({passed})
  ret void
}}
"""


def _optimise(linked: Any, spec: KernelSpec, cpu: CPU) -> None:
    for value in (*linked.functions, *linked.global_variables):
        if not value.is_declaration and value.name != spec.symbol:
            value.linkage = "internal"
    machine = target.machine(cpu, wide=spec.wide)
    options = llvm.PipelineTuningOptions(speed_level=3)
    options.loop_vectorization = True
    options.slp_vectorization = True
    options.loop_unrolling = True
    builder = llvm.create_pass_builder(machine, options)
    passes = builder.getModulePassManager()
    passes.run(linked, builder)


def compile_object(spec: KernelSpec, cpu: CPU) -> bytes:
    """Object code of a kernel."""
    machine = target.machine(cpu, wide=spec.wide)
    return bytes(machine.emit_object(module(spec, cpu)))
