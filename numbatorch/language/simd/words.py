"""32-bit words in kernels and the four bytes in each: how packed weights are taken apart."""

from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.simd import vectors as simd
from numbatorch.language.simd.int8 import runs, signed_bias, splat_constant


@intrinsic(literal=True)
def code_values(typingctx: Any, words: Any, bias: Any) -> Any:
    """The codes in words, less their bias, as float32."""
    from llvmlite import ir
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    result = simd_types.VecType("float32", 4 * words.lanes)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        kind = ir.VectorType(ir.IntType(32), result.lanes)
        codes = builder.bitcast(values[0], ir.VectorType(ir.IntType(8), result.lanes))
        wide = (builder.zext if signed_bias() else builder.sext)(codes, kind)
        moved = builder.sub(wide, splat_constant(kind, bias.literal_value))
        return builder.sitofp(moved, result.llvm)

    return signature(result, words, bias), codegen


@intrinsic(literal=True)
def lane_runs(typingctx: Any, a: Any, quarter: Any, n: Any) -> Any:
    """A vector of `n` lanes from a quarter of those of `a`, each in a run of its own."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    result = simd_types.VecType(a.element, n.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return runs(builder, values[0], quarter.literal_value, result.lanes)

    return signature(result, a, quarter, n), codegen


@intrinsic(literal=True)
def turn_words(typingctx: Any, out: Any, pointer: Any, stride: Any, rows: Any) -> Any:
    """Word t < 8 of row r becomes lane r of vector t at `out`, which may be where the rows are.

    Args:
        out: pointer to words.
        pointer: to the first word of the first row.
        stride: bytes from row to row.
        rows: a literal power of 2, at least 4.
    """
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing.templates import signature

    n = rows.literal_value

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        piece = min(8, n)
        kind = ir.VectorType(ir.IntType(32), piece)
        word = ir.IntType(64)
        place = builder.bitcast(values[0], ir.VectorType(ir.IntType(32), n).as_pointer())
        turned = []
        for start in range(0, 8, piece):
            found = []
            for i in range(n):
                offset = builder.add(builder.mul(values[2], word(i)), word(4 * start))
                at = builder.gep(values[1], [offset], inbounds=True)
                found.append(builder.load(builder.bitcast(at, kind.as_pointer()), align=4))
            turned += _transposed(builder, found)
        for i, vector in enumerate(turned):
            builder.store(vector, builder.gep(place, [word(i)], inbounds=True), align=4)
        return context.get_dummy_value()

    return signature(types.void, out, pointer, types.int64, rows), codegen


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """IR of as many vectors of `len(rows)` lanes as a row has lanes: lane r of i is lane i of r."""
    count = rows[0].type.count
    vectors = []
    for i in range(count):
        parts = rows[i::count]
        while len(parts) > 1:
            width = 2 * parts[0].type.count
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [simd.take(builder, a, range(width), b) for a, b in pairs]
        vectors += parts
    n = len(rows)
    half = count // 2
    while half:
        low = [i if not i & half else n + i - half for i in range(n)]
        high = [i + half if not i & half else n + i for i in range(n)]
        for i in range(count):
            if not i & half:
                a, b = vectors[i], vectors[i + half]
                vectors[i] = simd.take(builder, a, low, b)
                vectors[i + half] = simd.take(builder, a, high, b)
        half //= 2
    return vectors
