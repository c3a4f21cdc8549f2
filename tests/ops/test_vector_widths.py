"""Elementwise kernels fill the widest registers of a processor: their machine code is read.

They are compiled for processors that need not be this one, and not run. Without `--slow` the
operators are drawn, by the number that `--seed` gives.
"""

import re
from collections.abc import Iterator

import numpy as np
import pytest

from numbatorch import debug
from numbatorch import dtype as dt
from numbatorch.backends.cpu import compiler, target
from numbatorch.dtype import DType
from numbatorch.language.kernel import EmittedKernel
from numbatorch.ops.drawing import Draw
from numbatorch.ops.families import all_ops
from numbatorch.ops.registry import Elementwise
from numbatorch.tensor import Tensor
from numbatorch.testing.cases import Case, draw, dtypes_of
from tests.processors import PROCESSORS

WIDEST = {"znver4": "zmm", "sapphirerapids": "zmm", "x86-64-v3": "ymm"}
DTYPES = (dt.float32, dt.float64)
OPS = [op for op in all_ops() if isinstance(op, Elementwise) and {*dtypes_of(op)} & {*DTYPES}]

# What has no vectors of its own, and what stands in the machine code instead.
COPIES = {"after": "memcpy"}  # of what it waits for
# The quotient has as many bits as its exponent says, found one after the other by a library. Only
# what is rarely so large takes that loop.
CALLS = {"fmod": "fmod", "remainder": "fmod", "floor_divide": "fmod"}


def kernels(op: Elementwise, dtype: DType, seed: int = 0) -> list[EmittedKernel]:
    """What computes the operator on 4,096 elements in order."""
    case = draw(op, Draw(seed), dtype)
    assert case is not None
    attrs = case.attrs
    if op.name == "cast":  # to its own dtype it is nothing
        attrs = {"dtype": dt.float64}
    operands = tuple(np.resize(x, 4096) for x in case.operands)
    flat = Case(op, operands, case.dtypes, attrs)
    (node,) = flat.apply(flat.nodes("numpy"))
    return debug.emitted(Tensor(node), "cpu")


def blocks_that_repeat(assembly: str) -> Iterator[list[str]]:
    """The instructions of each block that ends in a jump to its own start."""
    label, block = "", list[str]()
    for line in assembly.splitlines():
        if start := re.match(r"(\S+):", line):
            label, block = start[1], []
        else:
            block.append(line)
            if label and re.match(rf"\s+j\w+\s+{re.escape(label)}$", line):
                yield block


# A vector that goes to memory, and neither a number of it nor to the stack.
STORE = re.compile(r"\s+v(?!movss|movsd|pextr)\w+\s.*%[xyz]mm\d+, [^%]*\((?!%rsp)[^)]*\)")


def loops_of(register: str, assembly: str) -> int:
    """Loops that compute in these registers and store vectors."""
    return sum(
        any(f"%{register}" in line for line in block) and any(map(STORE.match, block))
        for block in blocks_that_repeat(assembly)
    )


def narrow_or_calling(spec: EmittedKernel, name: str) -> str:
    """What is wrong with a kernel's machine code for a processor, if anything is."""
    cpu, register = PROCESSORS[name], WIDEST[name]
    assembly = target.machine(cpu, wide=spec.wide).emit_assembly(compiler.module(spec, cpu))
    text = spec.source()
    wanted = text.count("for i in range(") - text.count("rare = rare |")
    assert wanted > 0
    found = loops_of(register, assembly)
    called = sorted({*re.findall(r"\b(?:call\w*|jmp)\s+(\w+)", assembly)})
    if found >= wanted and not called:
        return ""
    return f"{found} of {wanted} loops in %{register}, calls {called}"


# The instruction that narrows float64 reads it from memory, so no register of that width is named.
READ_FROM_MEMORY = ("cast", dt.float64)
CASES = [
    (op, dtype)
    for op in OPS
    for dtype in DTYPES
    if dtype in dtypes_of(op) and (op.name, dtype) != READ_FROM_MEMORY
]


@pytest.mark.drawn(32)
@pytest.mark.parametrize("name", WIDEST)
@pytest.mark.parametrize(("op", "dtype"), CASES, ids=lambda x: x.name)
def test_elementwise_kernels_fill_the_widest_registers(
    op: Elementwise, dtype: DType, name: str
) -> None:
    problems = [problem for s in kernels(op, dtype) if (problem := narrow_or_calling(s, name))]
    listed = COPIES.get(op.name) or CALLS.get(op.name)
    if listed is None:
        assert not problems, f"{op.name} of {dtype.name} for {name}: {problems}"
    else:
        assert problems, f"{op.name} need not be listed"
        assert all(f"calls ['{listed}" in problem for problem in problems)
        if op.name in CALLS:
            assert not any(problem.startswith("0 ") for problem in problems)


SCALAR = """
from numbatorch.language.kernel import Pointer
def kernel(out: Pointer["float32"], x: Pointer["float32"], n: int, part: int, parts: int) -> None:
    for i in range(1, n):
        out[i] = out[i - 1] * x[i]
"""
CALLING = """
from numbatorch.language.kernel import Pointer
from numbatorch.language.primitives import fmod
def kernel(out: Pointer["float32"], x: Pointer["float32"], n: int, part: int, parts: int) -> None:
    for i in range(n):
        out[i] = fmod(x[i], x[i] + 1.5)
"""


@pytest.mark.parametrize("name", WIDEST)
def test_a_loop_without_vectors_and_a_call_are_noticed(name: str) -> None:
    words = ("pointer", "pointer", "int")
    alone = EmittedKernel("alone", ("test", SCALAR), words, lambda: SCALAR)
    assert narrow_or_calling(alone, name).startswith("0 of 1")
    calling = EmittedKernel("calling", ("test", CALLING), words, lambda: CALLING)
    assert "fmod" in narrow_or_calling(calling, name)


def test_vectors_of_half_the_width_are_noticed() -> None:
    """Such as LLVM makes where wider ones slow a processor down."""
    spec = next(spec for op in OPS if op.name == "exp" for spec in kernels(op, dt.float32))
    cpu = PROCESSORS["skylake-avx512"]
    assembly = target.machine(cpu).emit_assembly(compiler.module(spec, cpu))
    assert not loops_of("zmm", assembly)
    assert loops_of("ymm", assembly)
