"""32-bit words in kernels and the four bytes in each: how packed weights are taken apart."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from numbatorch.language.kernel import Intrinsic, intrinsic
from numbatorch.language.processor import current_cpu
from numbatorch.language.simd import vectors as simd
from numbatorch.language.simd.int8 import runs, signed_bias, splat_constant


def constant_by_element(
    name: str, entries: Iterable[tuple[str, int | Callable[[], int]]]
) -> Intrinsic:
    """A constant that depends on the element type of a pointer.

    Args:
        name: of the word.
        entries: element type and the constant, or what computes it for the target.
    """
    pairs = tuple(entries)

    def definition(typingctx: Any, pointer: Any) -> Any:
        value = dict(pairs)[pointer.element]
        return simd.constant_result(value if isinstance(value, int) else value(), pointer)

    definition.__name__ = name
    return Intrinsic(definition, False)


def helper_by_element(name: str, entries: Iterable[tuple[str, Any]]) -> Intrinsic:
    """A word that calls the helper for the element type of its first argument, a pointer.

    Args:
        name: of the word.
        entries: element type and helper, all of the same parameters, the first a pointer to bytes.
    """
    pairs = tuple(entries)

    def call(typingctx: Any, *args: Any) -> Any:
        from numba.core.typing.templates import signature

        from numbatorch.language import numba_pointers, numba_types

        function = dict(pairs)[args[0].element].function
        inner = (numba_pointers.PointerType("uint8"), *args[1:])
        called, codegen = numba_types.call(function, inner)
        return signature(called.return_type, *args), codegen

    parameters = inspect.signature(pairs[0][1].function).parameters
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [inspect.Parameter(parameter, kind) for parameter in ("typingctx", *parameters)]
    call.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    call.__name__ = name
    return Intrinsic(call, False)


@intrinsic(literal=True)
def words_at(typingctx: Any, pointer: Any, n: Any) -> Any:
    """The vector of `n` 32-bit words at any address."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    result = simd_types.VecType("uint32", n.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.load(builder.bitcast(values[0], result.llvm.as_pointer()), align=1)

    return signature(result, pointer, n), codegen


@intrinsic
def vbits(typingctx: Any, a: Any, element: Any) -> Any:
    """The bits of a vector read as elements of another type."""
    from numba.core.typing.templates import signature

    from numbatorch import dtype as dtypes
    from numbatorch.language.simd import types as simd_types

    size = dtypes.by_name[a.element].itemsize * a.lanes
    result = simd_types.VecType(element.element, size // dtypes.by_name[element.element].itemsize)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.bitcast(values[0], result.llvm)

    return signature(result, a, element), codegen


@intrinsic(literal=True)
def shift_runs(typingctx: Any, a: Any, run: Any, step: Any) -> Any:
    """Every second run of `run` words is shifted right by `step`; both are literals."""
    from llvmlite import ir
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        moves = [i // run.literal_value % 2 * step.literal_value for i in range(a.lanes)]
        return builder.lshr(values[0], ir.Constant(a.llvm, moves))

    return signature(a, a, run, step), codegen


@intrinsic(literal=True)
def scattered_bits(typingctx: Any, low: Any, high: Any, value: Any) -> Any:
    """16 words whose byte i is the literal `value` where bit i is set, else 0.

    Bits 0 to 31 lie behind the pointer `low`, bits 32 to 63 behind `high`.
    """
    from llvmlite import ir
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    result = simd_types.VecType("uint32", 16)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        i32, i64 = ir.IntType(32), ir.IntType(64)
        first, second = (
            builder.zext(builder.load(builder.bitcast(v, i32.as_pointer()), align=1), i64)
            for v in values[:2]
        )
        bits = builder.or_(first, builder.shl(second, i64(32)))
        bytes_ = ir.VectorType(ir.IntType(8), 64)
        mask = builder.bitcast(bits, ir.VectorType(ir.IntType(1), 64))
        chosen = builder.select(
            mask, splat_constant(bytes_, value.literal_value), splat_constant(bytes_, 0)
        )
        return builder.bitcast(chosen, result.llvm)

    return signature(result, low, high, value), codegen


@intrinsic
def words_signed(typingctx: Any, words: Any) -> Any:
    """Words of signed codes made what products take: `signed_bias` added to each."""
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.xor(values[0], splat_constant(words.llvm, 0x01010101 * signed_bias()))

    return signature(words, words), codegen


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


@intrinsic
def repeat_to(typingctx: Any, a: Any, like: Any) -> Any:
    """Each lane so often in a row that there are as many as in `like`."""
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        times = like.lanes // a.lanes
        return simd.take(builder, values[0], [lane // times for lane in range(like.lanes)])

    return signature(like, a, like), codegen


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
def block_halves(typingctx: Any, pointer: Any, stride: Any, last: Any) -> Any:
    """The float16 at the start of each of eight blocks, as a float32 vector.

    Args:
        stride: bytes of a block, an even literal.
        last: the last block there is; those after it repeat it.
    """
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing.templates import signature

    from numbatorch.language import elements
    from numbatorch.language.simd import types as simd_types

    result = simd_types.VecType("float32", 8)
    nbytes = stride.literal_value

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        if not current_cpu().has("avx512bw"):
            return elements.widen(
                builder, "float16", _halves(builder, values[0], nbytes, values[2])
            )
        all_there = builder.icmp_signed(">=", values[2], ir.IntType(64)(7))
        with builder.if_else(all_there) as (then, otherwise):
            with then:
                picked = _picked_halves(builder, values[0], nbytes)
                picked_at = builder.block
            with otherwise:
                inserted = _halves(builder, values[0], nbytes, values[2])
                inserted_at = builder.block
        out = builder.phi(picked.type)
        out.add_incoming(picked, picked_at)
        out.add_incoming(inserted, inserted_at)
        return elements.widen(builder, "float16", out)

    return signature(result, pointer, stride, types.int64), codegen


def _halves(builder: Any, pointer: Any, stride: int, last: Any) -> Any:
    """IR of eight 16-bit numbers, loaded one by one."""
    from llvmlite import ir

    half, word = ir.IntType(16), ir.IntType(64)
    out = ir.Constant(ir.VectorType(half, 8), ir.Undefined)
    for i in range(8):
        row = builder.select(builder.icmp_signed("<", word(i), last), word(i), last)
        place = builder.gep(pointer, [builder.mul(row, word(stride))], inbounds=True)
        code = builder.load(builder.bitcast(place, half.as_pointer()), align=1)
        out = builder.insert_element(out, code, ir.IntType(32)(i))
    return out


def _picked_halves(builder: Any, pointer: Any, stride: int) -> Any:
    """IR of the same, picked from vectors of 32 that lie inside of the eight blocks."""
    from llvmlite import ir

    kind = ir.VectorType(ir.IntType(16), 32)
    wanted = [i * stride // 2 for i in range(8)]
    windows: list[tuple[Any, list[int]]] = []  # a vector, and the lane of each number in it
    found = 0
    while found < 8:
        start = min(wanted[found], 4 * stride - 32)
        place = builder.gep(pointer, [ir.IntType(64)(2 * start)], inbounds=True)
        vector = builder.load(builder.bitcast(place, kind.as_pointer()), align=1)
        inside = [i - start for i in wanted[found:] if i < start + 32]
        windows.append((vector, inside))
        found += len(inside)
    while len(windows) > 1:
        (a, left), (b, right), *rest = windows
        lanes = left + [32 + lane for lane in right]
        joined = simd.take(builder, a, lanes + [0] * (32 - len(lanes)), b)
        windows = [(joined, list(range(len(lanes)))), *rest]
    return simd.take(builder, windows[0][0], range(8))


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
