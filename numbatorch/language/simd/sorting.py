"""Words that order int32 or int64: a few in registers, and a vector taken apart by a pivot.

Source of the network: https://en.wikipedia.org/wiki/Bitonic_sorter
"""

from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.simd import vectors as simd

BYTES = 64  # of a vector, whatever the processor has


def _vector(pointer: Any) -> Any:
    """The LLVM type of a vector of what a pointer, by its Numba type, points to."""
    from llvmlite import ir

    bits = {"int32": 32, "int64": 64}[pointer.element]
    return ir.VectorType(ir.IntType(bits), 8 * BYTES // bits)


def _named(vector: Any) -> str:
    """How LLVM spells a vector type in the name of a function."""
    return f"v{vector.count}i{vector.element.width}"


def _at(builder: Any, vector: Any, pointer: Any, index: Any) -> Any:
    """The address of element `index`."""
    from llvmlite import ir

    place = builder.bitcast(pointer, vector.element.as_pointer())
    return builder.gep(place, [ir.IntType(64)(index) if isinstance(index, int) else index])


def _mask(builder: Any, vector: Any, count: Any, start: int) -> Any:
    """Which of the lanes from `start` on are below `count`."""
    from llvmlite import ir

    from numbatorch.language.simd.types import splat

    narrow = ir.VectorType(ir.IntType(32), vector.count)
    lanes = ir.Constant(narrow, [start + i for i in range(vector.count)])
    limit = splat(builder, builder.trunc(count, ir.IntType(32)), vector.count)
    return builder.icmp_signed("<", lanes, limit)


def _load(builder: Any, vector: Any, pointer: Any, count: Any, start: int) -> Any:
    """A vector from `start` on; lanes from `count` on are the highest number."""
    from llvmlite import ir

    place = builder.bitcast(_at(builder, vector, pointer, start), vector.as_pointer())
    mask = _mask(builder, vector, count, start)
    kind = ir.FunctionType(vector, [place.type, ir.IntType(32), mask.type, vector])
    name = f"llvm.masked.load.{_named(vector)}.p0"
    width = vector.element.width
    rest = ir.Constant(vector, [(1 << (width - 1)) - 1] * vector.count)
    align = ir.IntType(32)(width // 8)
    return builder.call(simd.declare(builder, name, kind), [place, align, mask, rest])


def _store(builder: Any, pointer: Any, value: Any, count: Any, start: int) -> None:
    """The lanes of a vector that are below `count`."""
    from llvmlite import ir

    vector = value.type
    place = builder.bitcast(_at(builder, vector, pointer, start), vector.as_pointer())
    mask = _mask(builder, vector, count, start)
    kind = ir.FunctionType(ir.VoidType(), [vector, place.type, ir.IntType(32), mask.type])
    name = f"llvm.masked.store.{_named(vector)}.p0"
    align = ir.IntType(32)(vector.element.width // 8)
    builder.call(simd.declare(builder, name, kind), [value, place, align, mask])


def _extremes(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The smaller and the larger of each pair of lanes."""
    less = builder.icmp_signed("<", a, b)
    return builder.select(less, a, b), builder.select(less, b, a)


def _network(builder: Any, vectors: list[Any]) -> list[Any]:
    """All lanes of all vectors, a power of two of them, in ascending order."""
    total = vectors[0].type.count * len(vectors)
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
    n = vectors[0].type.count
    if apart >= n:
        step = apart // n
        for i in range(len(vectors)):
            if i & step == 0:
                pair = _extremes(builder, vectors[i], vectors[i ^ step])
                vectors[i], vectors[i ^ step] = pair[::-1] if i * n & size else pair
        return
    for i, vector in enumerate(vectors):
        partner = simd.take(builder, vector, [lane ^ apart for lane in range(n)])
        low, high = _extremes(builder, vector, partner)
        places = range(i * n, (i + 1) * n)
        upper = [bool(place & apart) != bool(place & size) for place in places]
        chosen = [lane + n * above for lane, above in enumerate(upper)]
        vectors[i] = simd.take(builder, low, chosen, high)


@intrinsic
def lanes(typingctx: Any, pointer: Any) -> Any:
    """How many numbers `take_apart` takes."""
    return simd.constant_result(_vector(pointer).count, pointer)


@intrinsic(literal=True)
def sort_few(typingctx: Any, target: Any, source: Any, count: Any, most: Any) -> Any:
    """`count` numbers in order, at most `most`, a power of two; target may be source."""
    from numba.core import types
    from numba.core.typing import signature

    vector = _vector(source)
    number = max(simd.literal(most) // vector.count, 1)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, x, n, _ = args
        found = [_load(builder, vector, x, n, vector.count * i) for i in range(number)]
        for i, value in enumerate(_network(builder, found)):
            _store(builder, out, value, n, vector.count * i)
        return context.get_dummy_value()

    return signature(types.none, target, source, types.int64, most), codegen


@intrinsic
def median(typingctx: Any, source: Any, step: Any) -> Any:
    """The one behind the middle of a vector of numbers `step` apart, in their order."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    vector = _vector(source)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, apart = args
        value = ir.Constant(vector, ir.Undefined)
        for lane in range(vector.count):
            place = _at(builder, vector, x, builder.mul(apart, ir.IntType(64)(lane)))
            value = builder.insert_element(value, builder.load(place), ir.IntType(32)(lane))
        (ordered,) = _network(builder, [value])
        middle = builder.extract_element(ordered, ir.IntType(32)(vector.count // 2))
        return middle if middle.type.width == 64 else builder.sext(middle, ir.IntType(64))

    return signature(types.int64, source, types.int64), codegen


@intrinsic
def take_apart(typingctx: Any, target: Any, left: Any, right: Any, source: Any, pivot: Any) -> Any:
    """`lanes` numbers: those up to the pivot to `left` and on, others to below `right`.

    There is room for all of them between the two. Returns how many went to the left.
    """
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    vector = _vector(source)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, first, last, x, limit = args
        if vector.element.width < 64:
            limit = builder.trunc(limit, ir.IntType(vector.element.width))
        divide = _compressed if simd.vector_bytes() == BYTES else _one_by_one
        return divide(builder, vector, out, first, last, x, limit)

    words = (types.int64, types.int64, source, types.int64)
    return signature(types.int64, target, *words), codegen


@intrinsic
def take_rest(
    typingctx: Any, target: Any, left: Any, right: Any, source: Any, count: Any, pivot: Any
) -> Any:
    """`take_apart` of `count` numbers, fewer than `lanes`, for which there is just room."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    vector = _vector(source)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, first, last, x, number, limit = args
        if vector.element.width < 64:
            limit = builder.trunc(limit, ir.IntType(vector.element.width))
        return _compressed(builder, vector, out, first, last, x, limit, number)

    words = (types.int64, types.int64, source, types.int64, types.int64)
    return signature(types.int64, target, *words), codegen


def _compressed(
    builder: Any,
    vector: Any,
    out: Any,
    left: Any,
    right: Any,
    x: Any,
    pivot: Any,
    number: Any = None,
) -> Any:
    from llvmlite import ir

    from numbatorch.language.simd.types import splat

    n, word = vector.count, ir.IntType(64)
    whole = word(n) if number is None else number
    value = _load(builder, vector, x, whole, 0)
    above = builder.icmp_signed(">", value, splat(builder, pivot, n))
    below = builder.not_(above)
    if number is not None:
        valid = _mask(builder, vector, number, 0)
        above, below = builder.and_(above, valid), builder.and_(below, valid)
    bits = ir.IntType(n)
    count = simd.declare(builder, f"llvm.ctpop.i{n}", ir.FunctionType(bits, [bits]))
    larger = builder.zext(builder.call(count, [builder.bitcast(above, bits)]), word)
    place = _at(builder, vector, out, left)
    kind = ir.FunctionType(ir.VoidType(), [vector, place.type, above.type])
    store = simd.declare(builder, f"llvm.masked.compressstore.{_named(vector)}", kind)
    builder.call(store, [value, place, below])
    behind = _at(builder, vector, out, builder.sub(right, larger))
    builder.call(store, [value, behind, above])
    return builder.sub(whole, larger)


def _one_by_one(
    builder: Any, vector: Any, out: Any, left: Any, right: Any, x: Any, pivot: Any
) -> Any:
    """Each number is written at both ends, and one of the ends moves on."""
    from llvmlite import ir

    word = ir.IntType(64)
    first, one = left, word(1)
    for i in range(vector.count):
        value = builder.load(_at(builder, vector, x, i))
        below = builder.zext(builder.icmp_signed("<=", value, pivot), word)
        builder.store(value, _at(builder, vector, out, left))
        builder.store(value, _at(builder, vector, out, builder.sub(right, one)))
        left = builder.add(left, below)
        right = builder.sub(right, builder.sub(one, below))
    return builder.sub(left, first)


__all__ = ["lanes", "median", "sort_few", "take_apart", "take_rest"]
