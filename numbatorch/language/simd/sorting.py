"""Words that order int64: a few of them in registers, and a vector taken apart by a pivot.

Source of the network: https://en.wikipedia.org/wiki/Bitonic_sorter
"""

from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.simd import vectors as simd

LANES = 8
HIGHEST = (1 << 63) - 1


def _vector() -> Any:
    from llvmlite import ir

    return ir.VectorType(ir.IntType(64), LANES)


def _at(builder: Any, pointer: Any, index: Any) -> Any:
    """The address of element `index`."""
    from llvmlite import ir

    word = ir.IntType(64)
    place = builder.bitcast(pointer, word.as_pointer())
    return builder.gep(place, [word(index) if isinstance(index, int) else index])


def _mask(builder: Any, count: Any, start: int) -> Any:
    """Which of the lanes from `start` on are below `count`."""
    from llvmlite import ir

    from numbatorch.language.simd.types import splat

    lanes = ir.Constant(_vector(), [start + i for i in range(LANES)])
    return builder.icmp_signed("<", lanes, splat(builder, count, LANES))


def _load(builder: Any, pointer: Any, count: Any, start: int) -> Any:
    """A vector from `start` on; lanes from `count` on are the highest number."""
    from llvmlite import ir

    vector = _vector()
    place = builder.bitcast(_at(builder, pointer, start), vector.as_pointer())
    mask = _mask(builder, count, start)
    kind = ir.FunctionType(vector, [place.type, ir.IntType(32), mask.type, vector])
    name = f"llvm.masked.load.v{LANES}i64.p0"
    rest = ir.Constant(vector, [HIGHEST] * LANES)
    return builder.call(simd.declare(builder, name, kind), [place, ir.IntType(32)(8), mask, rest])


def _store(builder: Any, pointer: Any, value: Any, count: Any, start: int) -> None:
    """The lanes of a vector that are below `count`."""
    from llvmlite import ir

    place = builder.bitcast(_at(builder, pointer, start), value.type.as_pointer())
    mask = _mask(builder, count, start)
    types_ = [value.type, place.type, ir.IntType(32), mask.type]
    kind = ir.FunctionType(ir.VoidType(), types_)
    name = f"llvm.masked.store.v{LANES}i64.p0"
    builder.call(simd.declare(builder, name, kind), [value, place, ir.IntType(32)(8), mask])


def _extremes(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The smaller and the larger of each pair of lanes."""
    less = builder.icmp_signed("<", a, b)
    return builder.select(less, a, b), builder.select(less, b, a)


def _network(builder: Any, vectors: list[Any]) -> list[Any]:
    """All lanes of all vectors, a power of two of them, in ascending order."""
    total = LANES * len(vectors)
    size = 2
    while size <= total:
        apart = size // 2
        while apart:
            _compare(builder, vectors, size, apart)
            apart //= 2
        size *= 2
    return vectors


def _compare(builder: Any, vectors: list[Any], size: int, apart: int) -> None:
    """One stage: elements `apart` in order, which is turned in every other run of `size`."""
    if apart >= LANES:
        step = apart // LANES
        for i in range(len(vectors)):
            if i & step == 0:
                pair = _extremes(builder, vectors[i], vectors[i ^ step])
                vectors[i], vectors[i ^ step] = pair[::-1] if i * LANES & size else pair
        return
    for i, vector in enumerate(vectors):
        partner = simd.take(builder, vector, [lane ^ apart for lane in range(LANES)])
        low, high = _extremes(builder, vector, partner)
        places = range(i * LANES, (i + 1) * LANES)
        upper = [bool(place & apart) != bool(place & size) for place in places]
        chosen = [lane + LANES * above for lane, above in enumerate(upper)]
        vectors[i] = simd.take(builder, low, chosen, high)


@intrinsic(literal=True)
def sort_few(typingctx: Any, target: Any, source: Any, count: Any, vectors: Any) -> Any:
    """`count` numbers in order, 8 * `vectors` at most, a power of two; target may be source."""
    from numba.core import types
    from numba.core.typing import signature

    number = simd.literal(vectors)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, x, n, _ = args
        found = [_load(builder, x, n, LANES * i) for i in range(number)]
        for i, vector in enumerate(_network(builder, found)):
            _store(builder, out, vector, n, LANES * i)
        return context.get_dummy_value()

    return signature(types.none, target, source, types.int64, vectors), codegen


@intrinsic
def median(typingctx: Any, source: Any, step: Any) -> Any:
    """The fifth of eight numbers `step` apart, in their order."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, apart = args
        vector = ir.Constant(_vector(), ir.Undefined)
        for lane in range(LANES):
            place = _at(builder, x, builder.mul(apart, ir.IntType(64)(lane)))
            vector = builder.insert_element(vector, builder.load(place), ir.IntType(32)(lane))
        (ordered,) = _network(builder, [vector])
        return builder.extract_element(ordered, ir.IntType(32)(LANES // 2))

    return signature(types.int64, source, types.int64), codegen


@intrinsic
def take_apart(typingctx: Any, target: Any, left: Any, right: Any, source: Any, pivot: Any) -> Any:
    """Eight numbers: those up to the pivot to `left` and on, others to below `right`.

    There is room for eight between the two. Returns how many went to the left.
    """
    from numba.core import types
    from numba.core.typing import signature

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = simd.vector_bytes() == 64
        return (_compressed if whole else _one_by_one)(builder, *args)

    words = (types.int64, types.int64, source, types.int64)
    return signature(types.int64, target, *words), codegen


def _compressed(builder: Any, out: Any, left: Any, right: Any, x: Any, pivot: Any) -> Any:
    from llvmlite import ir

    from numbatorch.language.simd.types import splat

    vector = _vector()
    value = builder.load(builder.bitcast(x, vector.as_pointer()), align=8)
    above = builder.icmp_signed(">", value, splat(builder, pivot, LANES))
    bits = ir.IntType(LANES)
    count = ir.FunctionType(bits, [bits])
    ones = builder.call(
        simd.declare(builder, f"llvm.ctpop.i{LANES}", count), [builder.bitcast(above, bits)]
    )
    larger = builder.zext(ones, ir.IntType(64))
    place = _at(builder, out, left)
    kind = ir.FunctionType(ir.VoidType(), [vector, place.type, above.type])
    store = simd.declare(builder, f"llvm.masked.compressstore.v{LANES}i64", kind)
    builder.call(store, [value, place, builder.not_(above)])
    builder.call(store, [value, _at(builder, out, builder.sub(right, larger)), above])
    return builder.sub(ir.IntType(64)(LANES), larger)


def _one_by_one(builder: Any, out: Any, left: Any, right: Any, x: Any, pivot: Any) -> Any:
    """Each number is written at both ends, and one of the ends moves on."""
    from llvmlite import ir

    word = ir.IntType(64)
    first, one = left, word(1)
    for i in range(LANES):
        value = builder.load(_at(builder, x, i))
        below = builder.zext(builder.icmp_signed("<=", value, pivot), word)
        builder.store(value, _at(builder, out, left))
        builder.store(value, _at(builder, out, builder.sub(right, one)))
        left = builder.add(left, below)
        right = builder.sub(right, builder.sub(one, below))
    return builder.sub(left, first)


__all__ = ["median", "sort_few", "take_apart"]
