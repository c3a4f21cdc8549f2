"""What CPU kernels read of a block type, in vectors: from the layout that its file declares.

They decode steps of 256 values of a row, one block or several, as (code - bias) * scale - min.
"""

from collections.abc import Callable
from typing import Any

from numbatorch.language.kernel import Intrinsic
from numbatorch.language.simd import vectors as simd
from numbatorch.language.simd.block_dots import Blocks, add_block_of, add_run_of
from numbatorch.language.simd.int8 import signed_bias
from numbatorch.language.simd.packed import STEP, Factors, Numbers, Step, code_words
from numbatorch.language.words import Word
from numbatorch.ops.blocks.kernel import BlockKernel, block_kernel
from numbatorch.ops.blocks.layout import BlockType, Factor, Packed

# Words of kernels of `vector_kernel`, and of the helpers that they call.
codes_of: Any = Word("codes_of", "(block, last, pair): see simd/packed.py, code_words.")
scales_of: Any = Word("scales_of", "(block, last): float32, one for each group of values.")
mins_of: Any = Word("mins_of", "(block, last): as scales_of, of types that have mins.")
bias: Any = Word("bias", "(block): of the codes, which may depend on the processor.")
summed_bias: Any = Word("summed_bias", "(block): the bias, or 0 of types that have mins.")
add_block: Any = Word("add_block", "(sums, block, stride, ...): see simd/block_dots.py.")
add_run: Any = Word("add_run", "(sums, block, stride, ...): see simd/block_dots.py.")
GROUP, GROUPS = 32, 8  # values that share a scale, 16 or 32, and how many groups a step has
HAS_MINS = 0
SIGNED = 0  # whether codes may be negative, and the bias is what products need
TOGETHER = 1  # blocks that `add_block` takes, if so many are left
BLOCK_VALUES, BLOCK_BYTES = 1, 1  # of a block


def meanings(block: BlockType) -> dict[str, Any]:
    """What these names mean for a block type."""
    return {
        "add_block": add_block_of(_blocks(block)),
        "add_run": add_run_of(_blocks(block)),
        "codes_of": code_words(_numbers(block, block.codes), _step(block)),
        "scales_of": _factors(block, block.scale).word(),
        "mins_of": _factors(block, block.least or block.scale).word(),
        "bias": _bias("bias", _numbers(block, block.codes)),
        "summed_bias": _bias("summed_bias", _numbers(block, block.codes), block.least is None),
        "GROUP": block.group,
        "GROUPS": STEP // block.group,
        "HAS_MINS": int(block.least is not None),
        "SIGNED": int(_numbers(block, block.codes).adapts),
        "TOGETHER": _blocks(block).together,
        "BLOCK_VALUES": block.dtype.block,
        "BLOCK_BYTES": block.dtype.itemsize,
    }


def vector_kernel(function: Callable[..., None]) -> BlockKernel:
    """Make a function over a weight in blocks, `Pointer[T]`, a kernel for each block type."""
    return block_kernel(function, meanings)


def _step(block: BlockType) -> Step:
    return Step(block.dtype.block, block.dtype.itemsize)


def _numbers(block: BlockType, packed: Packed) -> Numbers:
    planes = tuple((block.offset(p.field), p.bits, p.span) for p in packed.planes)
    return Numbers(planes, packed.four, packed.signed, packed.bias, packed.table)


def _blocks(block: BlockType) -> Blocks:
    codes, scale = _numbers(block, block.codes), _factors(block, block.scale)
    mins = None if block.least is None else _factors(block, block.least)
    return Blocks(codes, scale, mins, block.dtype.block, block.dtype.itemsize, block.group)


def _factors(block: BlockType, factor: Factor) -> Factors:
    return Factors(
        byte=block.offset(factor.field) if factor.field else 0,
        code=factor.code,
        element="float32" if block.wide(factor) else "float16",
        numbers=None if factor.numbers is None else _numbers(block, factor.numbers),
        count=factor.count,
        lanes=STEP // block.group,
        negative=factor.negative,
        times=factor.times,
        step=_step(block),
    )


def _bias(name: str, codes: Numbers, counts: bool = True) -> Intrinsic:
    def definition(typingctx: Any, block: Any) -> Any:
        found = signed_bias() if codes.adapts else codes.bias
        return simd.constant_result(found if counts else 0, block)

    definition.__name__ = name
    return Intrinsic(definition, False)
