"""Words of kernels for CUDA: every one has a meaning, compiles, and computes what NumPy does.

There is no GPU: what NVVM is given for a word is compiled for this processor and run, where it is
plain instructions. What is left to libdevice or to the hardware is only compiled here.
"""

import ctypes
import re
from collections.abc import Callable
from types import FunctionType
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

from numbatorch.errors import KernelError
from numbatorch.language import groups, primitives, words
from numbatorch.language.groups import (
    add_atomically,
    barrier,
    finish_tile,
    group,
    group_max,
    group_sum,
    local,
    shared,
    thread,
    threads,
)
from numbatorch.language.groups import (
    groups as group_count,
)
from numbatorch.language.kernel import EmittedKernel, Epilogue, Pointer, T, kernel
from numbatorch.language.primitives import atomic_add
from numbatorch.language.words import Intrinsic, Word, float32, int32, int64
from tests.conftest import SIMULATED
from tests.run_kernel import argument_block
from tests.word_cases import CASES, Case

pytest.importorskip("numba_cuda")
if SIMULATED:
    pytest.skip("the simulator has no compiler", allow_module_level=True)

from numbatorch.backends.cuda import compiler
from numbatorch.backends.cuda.words import BUILTINS, TABLE, DeviceWord, definition_of

ALL_WORDS = {
    f"{module.__name__.rpartition('.')[2]}.{value.__name__}": value
    for module in (primitives, words, groups)
    for value in vars(module).values()
    if isinstance(value, Intrinsic | Word)
}


@pytest.mark.parametrize("word", ALL_WORDS.values(), ids=ALL_WORDS)
def test_every_word_has_a_definition(word: Any) -> None:
    definition, _literal = definition_of(word)
    assert callable(definition)


def test_a_word_of_cpus_is_refused() -> None:
    from numbatorch.language.simd.vectors import vload

    with pytest.raises(KernelError, match="vload: this word has no meaning on device cuda"):
        definition_of(vload)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_word_compiles(case: Case) -> None:
    assert f".visible .entry {case.spec().symbol}(" in compiler.compile_kernel(case.spec())


# Words that libdevice has, or whose definition is the CPU's.
LIBRARY = {"sqrt", "floor", "ceil", "trunc", "rint", "fabs", "copysign", "fmod", "fma"}


@pytest.mark.parametrize("case", [c for c in CASES if c.word not in LIBRARY], ids=lambda c: c.id)
def test_definition_computes_what_numpy_does(case: Case, monkeypatch: Any) -> None:
    operands = case.operands()
    out = np.zeros(len(operands[0]), _numpy(case.result))
    _run_on_this_processor(case.spec(), monkeypatch, out, *operands, len(out))
    case.check(out, operands)


def _numpy(element: str) -> Any:
    from numbatorch import dtype as dt

    return dt.by_name[element].numpy


def _run_on_this_processor(spec: EmittedKernel, monkeypatch: Any, *arguments: Any) -> None:
    """Compile a kernel for the CPU with CUDA's definitions of words, and run it."""
    from numbatorch.backends.cpu import compiler as cpu_compiler
    from numbatorch.backends.cpu import target
    from numbatorch.language import processor

    class Target(cpu_compiler._CPUTarget):
        def __init__(self, cpu: processor.CPU) -> None:
            super().__init__(cpu)
            self.key: Any = ("cuda", cpu)

        def definition(self, word: Any) -> tuple[Callable[..., Any], bool]:
            return definition_of(word)

    bind = spec.bind

    def bound() -> Any:
        function, kinds = bind()
        scope = {**function.__globals__, **BUILTINS}
        return FunctionType(function.__code__, scope, function.__name__), kinds

    monkeypatch.setattr(spec, "bind", bound, raising=False)
    monkeypatch.setattr(cpu_compiler, "_CPUTarget", Target)
    module = cpu_compiler.module(spec, processor.host())
    engine = llvm.create_mcjit_compiler(module, target.machine(processor.host(), jit=True))
    engine.finalize_object()
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(engine.get_function_address(spec.symbol))
    block = argument_block(spec, arguments)
    run(block.ctypes.data, 0, 1)


SIZE = 24


@kernel(T=("float32", "float64"))
def uses_groups(out: Pointer[T], x: Pointer[T], n: int, finish: Epilogue) -> None:
    """Every word of groups."""
    held = shared(T, SIZE)
    mine = local(float32, 4)
    at = group() * threads() + thread()
    mine[at % 4] = float32(x[at])
    held[thread() % SIZE] = x[at]
    barrier()
    total = group_sum(held[n % SIZE])
    top = group_max(T(mine[n % 4]))
    out[at] = total + top + T(group_count())
    finish_tile(finish, 0, 0, 1, at, at + 1)


@kernel
def adds(out: Pointer[float32], counts: Pointer[int32], total: Pointer[int64], n: int) -> None:
    """Words that add atomically."""
    add_atomically(out, n, 1.5)
    add_atomically(counts, n, 2)
    total[1] = atomic_add(total, 0, 1)


@pytest.mark.parametrize("element", ["float32", "float64"])
def test_words_of_groups_are_instructions_of_groups(element: str) -> None:
    code = compiler.compile_kernel(uses_groups(T=element))
    size = {"float32": 4, "float64": 8}[element]
    assert sorted(map(int, re.findall(r"\.shared .*\[(\d+)\];", code))) == sorted(
        [SIZE * size, 32 * size, 32 * size]
    )
    assert ".local" in code  # an index that is no constant keeps the array in memory
    for instruction in ("bar.sync", "shfl.sync.bfly", "%tid.x", "%ntid.x", "%ctaid.x", "%nctaid.x"):
        assert instruction in code


def test_atomic_words_are_atomic_instructions() -> None:
    code = compiler.compile_kernel(adds())
    assert re.search(r"(red|atom)\.global\.add\.f32", code)
    assert re.search(r"(red|atom)\.global\.add\.u32", code)
    assert re.search(r"membar\.gl;\s+atom\.global\.add\.u64 .*\s+membar\.gl;", code)


EPILOGUE = """from numbatorch.language.kernel import Pointer
from numbatorch.language.primitives import *

def kernel(o: Pointer["float32"], scale: float, N: int,
           batch: int, row0: int, row1: int, col0: int, col1: int) -> None:
    for row in range(row0, row1):
        for col in range(col0, col1):
            o[row * N + col] = o[row * N + col] * float32(scale)
"""


def test_epilogue_is_compiled_into_its_kernel() -> None:
    words = ("pointer", "float", "int")
    epilogue = EmittedKernel("doubled", ("test",), words, lambda: EPILOGUE)
    spec = uses_groups(T="float32")
    alone, joined = compiler.compile_kernel(spec), compiler.compile_kernel(spec, epilogue)
    assert "mul.f32" in joined
    assert "mul.f32" not in alone
    assert "call" not in joined
    assert compiler.symbol(spec, epilogue) != compiler.symbol(spec, None)


def test_size_of_an_array_is_a_constant() -> None:
    @kernel
    def wrong(out: Pointer[float32], n: int) -> None:
        out[0] = shared(float32, n)[0]

    with pytest.raises(KernelError, match="takes an element type and a constant"):
        compiler.compile_kernel(wrong())


def test_a_kernel_cannot_raise() -> None:
    @kernel
    def wrong(out: Pointer[float32], n: int) -> None:
        if n < 0:
            raise ValueError
        out[0] = 0.0

    with pytest.raises(KernelError, match="a kernel cannot raise or assert"):
        compiler.compile_kernel(wrong())


def test_table_names_no_word_twice() -> None:
    assert all(isinstance(word, Intrinsic | Word) for word in TABLE)
    assert all(isinstance(word, DeviceWord) for word in BUILTINS.values())
