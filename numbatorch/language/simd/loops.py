"""What a loop says about how LLVM makes vectors of it: a word within it, and who reads that."""

from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.processor import NEWER_512, current_cpu
from numbatorch.language.simd import vectors as simd

MARK = "numbatorch.narrow_vectors"
TURNS = 2  # vectors side by side, each of which waits for itself only


@intrinsic
def narrow_vectors(typingctx: Any) -> Any:
    """The loop around this goes by vectors of numbers of 32 bits, two of them at a time.

    By itself LLVM goes by the widest number that is stored, so that what is computed in 32 bits
    and stored in 64 fills half of a register. No word in the loop may branch.
    """
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(simd.declare(builder, MARK, kind), [])
        return context.get_dummy_value()

    return signature(types.void), codegen


def lanes() -> int:
    """Numbers of 32 bits in a vector that loops of emitted kernels are made of."""
    if current_cpu().has(NEWER_512):
        return 16
    return min(simd.vector_bytes(), 32) // 4


def tell_loops(function: Any) -> None:
    """Put what marks in a function of llvmlite's say on the loops, and take the marks out."""
    for number, block in enumerate(function.blocks):
        marks = [x for x in block.instructions if getattr(x, "callee", None) is not None]
        for mark in marks:
            if getattr(mark.callee, "name", "") == MARK:  # inline assembly has none
                block.instructions.remove(mark)
                _tell(function.module, _back(function.blocks, number))


def _back(blocks: Any, number: int) -> Any:
    """The jump back of the innermost loop around a block."""
    before = set(blocks[: number + 1])
    for block in blocks[number:]:
        target = getattr(block.terminator, "operands", (None,))
        if len(target) == 1 and target[0] in before:
            return block.terminator
    raise AssertionError("narrow_vectors stands in no loop")


def _tell(module: Any, jump: Any) -> None:
    from llvmlite import ir

    def hint(name: str, number: int) -> Any:
        return module.add_metadata([ir.MetaDataString(module, name), ir.IntType(32)(number)])

    hints = hint("llvm.loop.vectorize.width", lanes()), hint("llvm.loop.interleave.count", TURNS)
    loop = module.add_metadata([*hints, ir.IntType(32)(len(module.metadata))])
    loop.operands = (loop, *hints)  # a loop's name is a node that begins with itself
    jump.set_metadata("llvm.loop", loop)
