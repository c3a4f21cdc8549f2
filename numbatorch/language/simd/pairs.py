"""Words of two bfloat16 in kernels, which are multiplied and added pair by pair.

The lower half of a word is the number of an even k, the upper half that of the next.
"""

from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.processor import CPU, current_cpu
from numbatorch.language.simd import vectors as simd

VECTORS = "avx512bf16"  # LLVM's name of instructions for vectors of words
AMD = "AuthenticAMD"
WORD = "uint32"  # the element type of words
WHOLE = 16  # of so many words a row is made, the last of zeros, as tiles take them (simd/amx.py)


def multiplies_pairs(cpu: CPU) -> bool:
    """Whether a processor multiplies words of two bfloat16 as fast as as many float32.

    AMD's do, and those with tiles (simd/amx.py).
    """
    return multiplies_tiles(cpu) or multiplies_vectors(cpu)


def multiplies_tiles(cpu: CPU) -> bool:
    """Whether it multiplies tiles of them, whose squares fit panels of vectors of 512 bits only."""
    return cpu.has("amx-bf16") and cpu.has("amx-tile") and simd.bytes_of(cpu) == 64


def multiplies_vectors(cpu: CPU) -> bool:
    """Whether it does so in vectors: AMD's do, and one of which NUMBATORCH_CPU asks for them.

    On Intel's AVX512-BF16 takes four times as long (Sapphire Rapids: 115 GFLOP/s, and 232 of
    float32).
    """
    return _has_vectors(cpu) and (cpu.vendor == AMD or VECTORS in cpu.named)


def _has_vectors(cpu: CPU) -> bool:
    """Whether it has an instruction for vectors of them, of any width that kernels use."""
    return cpu.has(VECTORS) and simd.bytes_of(cpu) == 64


@intrinsic
def numbers(typingctx: Any, pointer: Any) -> Any:
    """Numbers in a word of a matrix product, a constant: two bfloat16, or one of another type."""
    return simd.constant_result(2 if pointer.element == WORD else 1, pointer)


def words_for(K: int, each: int) -> int:
    """Words of K numbers, `each` in a word."""
    return K if each == 1 else (K + 2 * WHOLE - 1) // (2 * WHOLE) * WHOLE


@intrinsic
def in_place(typingctx: Any, pointer: Any, words: Any) -> Any:
    """Elements at a pointer that are a word as they lie, a constant; 0 if they are none."""
    same = int(pointer.element == words.element)
    joined = words.element == WORD and pointer.element == "bfloat16"
    return simd.constant_result(2 if joined else same, pointer, words)


@intrinsic
def view_words(typingctx: Any, pointer: Any) -> Any:
    """Memory for words of what the pointer's elements are: of two bfloat16, or of one number."""
    from numba.core.typing.templates import signature

    from numbatorch.language import numba_pointers

    element = WORD if pointer.element == "bfloat16" else simd.held(pointer.element)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return values[0]

    return signature(numba_pointers.PointerType(element), pointer), codegen


@intrinsic
def as_words(typingctx: Any, pointer: Any, like: Any) -> Any:
    """Memory of bfloat16 read as words of two where `like` are those; else it stays as it is."""
    from numba.core.typing.templates import signature

    from numbatorch.language import numba_pointers

    element = WORD if like.element == WORD else pointer.element

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return values[0]

    return signature(numba_pointers.PointerType(element), pointer, like), codegen


@intrinsic
def view_as(typingctx: Any, pointer: Any, like: Any) -> Any:
    """Memory read as what another pointer's elements are."""
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return values[0]

    return signature(like, pointer, like), codegen


def words_along(builder: Any, element: str, place: Any, n: int) -> Any:
    """IR of `n` words of twice as many consecutive elements."""
    from llvmlite import ir

    stored = _rounded(builder, element, place, 2 * n)
    return builder.bitcast(stored, ir.VectorType(ir.IntType(32), n))


def words_across(builder: Any, element: str, low: Any, high: Any, n: int) -> Any:
    """IR of `n` words of the elements at `low` and, as upper halves, those at `high`."""
    from llvmlite import ir

    kind = ir.VectorType(ir.IntType(32), n)
    lower, upper = (builder.zext(_rounded(builder, element, at, n), kind) for at in (low, high))
    return builder.or_(lower, builder.shl(upper, _all(kind, 16)))


def _rounded(builder: Any, element: str, place: Any, n: int) -> Any:
    """IR of the bits of `n` elements as bfloat16."""
    from llvmlite import ir

    if element == "bfloat16":
        bits = ir.VectorType(ir.IntType(16), n)
        return builder.load(builder.bitcast(place, bits.as_pointer()), align=2)
    return _narrowed(builder, simd.load_vector(builder, element, place, n))


def _narrowed(builder: Any, values: Any) -> Any:
    """IR of the bits of numbers as bfloat16; subnormal ones may be 0, as products take them."""
    from llvmlite import ir

    from numbatorch.language import elements

    n = values.type.count
    if not _has_vectors(current_cpu()) or n < 8 or str(values.type.element) != "float":
        return elements.narrow(builder, "bfloat16", values)
    each = min(n, 32)
    bits, half = ir.VectorType(ir.IntType(16), each), ir.VectorType(ir.FloatType(), each // 2)
    name = f"llvm.x86.avx512bf16.cvtne2ps2bf16.{16 * each}"
    function = simd.declare(builder, name, ir.FunctionType(bits, [half, half]))
    parts = []
    for start in range(0, n, each):
        both = simd.take(builder, values, range(start, start + each))
        low, high = simd.halves(builder, both)
        parts.append(builder.call(function, [high, low]))
    while len(parts) > 1:
        count = 2 * parts[0].type.count
        turns = zip(parts[::2], parts[1::2], strict=True)
        parts = [simd.take(builder, a, range(count), b) for a, b in turns]
    return parts[0]


@intrinsic
def vpairs(typingctx: Any, values: Any) -> Any:
    """Words of neighbours of a float32 vector."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    words = simd_types.VecType(WORD, values.lanes // 2)

    def codegen(context: Any, builder: Any, sig: Any, values_: Any) -> Any:
        return builder.bitcast(_narrowed(builder, values_[0]), words.llvm)

    return signature(words, values), codegen


def add_products(builder: Any, total: Any, a: Any, b: Any) -> Any:
    """IR of total[i] + the products of both numbers of a[i] and b[i]."""
    from llvmlite import ir

    n = total.type.count
    if _has_vectors(current_cpu()):
        kind = ir.FunctionType(total.type, [total.type, a.type, b.type])
        name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * n}"
        return builder.call(simd.declare(builder, name, kind), [total, a, b])
    upper, sixteen = _all(a.type, 0xFFFF0000), _all(a.type, 16)
    for pair in (
        [builder.shl(x, sixteen) for x in (a, b)],
        [builder.and_(x, upper) for x in (a, b)],
    ):
        first, second = (builder.bitcast(x, total.type) for x in pair)
        total = simd.fma_vector(builder, first, second, total)
    return total


@intrinsic
def vwords(typingctx: Any, words: Any, pointer: Any, step: Any) -> Any:
    """The vector that `words` takes of the elements at a pointer and those `step` behind them."""
    from numba.core import types
    from numba.core.typing.templates import signature

    from numbatorch.language import elements
    from numbatorch.language.simd import types as simd_types

    n = simd.native_lanes(words.element)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        _, place, distance = values
        if words.element != WORD:
            return simd.load_vector(builder, pointer.element, place, n)
        stored = elements.storage(pointer.element)
        next_ = simd.pointer_to(builder, place, stored, distance)
        return words_across(builder, pointer.element, place, next_, n)

    vector = simd_types.VecType(words.element, n)
    return signature(vector, words, pointer, types.int64), codegen


@intrinsic
def word_of(typingctx: Any, words: Any, number: Any, next_: Any, left: Any) -> Any:
    """What `words` takes of two numbers, of which `left` are there: both, or the first."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing.templates import signature

    from numbatorch.language import elements, numba_pointers

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        if words.element != WORD:
            return context.cast(builder, values[1], number, sig.return_type)
        word = ir.IntType(32)
        pair = [elements.narrow(builder, "bfloat16", value) for value in values[1:3]]
        lower, upper = (builder.zext(half, word) for half in pair)
        there = [builder.icmp_signed(">", values[3], values[3].type(i)) for i in (0, 1)]
        upper = builder.select(there[1], builder.shl(upper, word(16)), word(0))
        return builder.select(there[0], builder.or_(lower, upper), word(0))

    result = numba_pointers.held(words.element)
    return signature(result, words, number, number, types.int64), codegen


def _all(kind: Any, number: int) -> Any:
    from llvmlite import ir

    return ir.Constant(kind, [number] * kind.count)
