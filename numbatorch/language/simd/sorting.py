"""Words that order int32 or int64: a few in registers, and a vector taken apart by a pivot.

Source of the networks: https://en.wikipedia.org/wiki/Bitonic_sorter and
https://en.wikipedia.org/wiki/Batcher_odd-even_mergesort
"""

from collections.abc import Iterator
from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.simd import vectors as simd


def _bits(pointer: Any) -> int:
    """The size of what a pointer, by its Numba type, points to."""
    return {"int32": 32, "int64": 64}[pointer.element]


def _vector(pointer: Any) -> Any:
    """The LLVM type of a vector: 32 bytes where registers have so many, 64 anywhere else."""
    from llvmlite import ir

    bits = _bits(pointer)
    nbytes = 32 if simd.vector_bytes() == 32 else 64
    return ir.VectorType(ir.IntType(bits), 8 * nbytes // bits)


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


def _first(builder: Any, vector: Any, count: Any) -> Any:
    """Which of the lanes are below `count`, of a vector: a mask made of bits."""
    from llvmlite import ir

    bits, lanes = ir.IntType(32), ir.VectorType(ir.IntType(1), vector.count)
    ones = builder.sub(builder.shl(bits(1), builder.trunc(count, bits)), bits(1))
    return builder.bitcast(builder.trunc(ones, ir.IntType(vector.count)), lanes)


def _load(builder: Any, vector: Any, pointer: Any, start: int) -> Any:
    """A vector from `start` on."""
    place = builder.bitcast(_at(builder, vector, pointer, start), vector.as_pointer())
    value = builder.load(place)
    value.align = vector.element.width // 8
    return value


def _load_part(builder: Any, vector: Any, pointer: Any, mask: Any, start: int = 0) -> Any:
    """A vector from `start` on; lanes that a mask does not name are the highest number."""
    from llvmlite import ir

    place = builder.bitcast(_at(builder, vector, pointer, start), vector.as_pointer())
    kind = ir.FunctionType(vector, [place.type, ir.IntType(32), mask.type, vector])
    name = f"llvm.masked.load.{_named(vector)}.p0"
    width = vector.element.width
    rest = ir.Constant(vector, [(1 << (width - 1)) - 1] * vector.count)
    align = ir.IntType(32)(width // 8)
    return builder.call(simd.declare(builder, name, kind), [place, align, mask, rest])


def _store(builder: Any, pointer: Any, value: Any, mask: Any, start: int = 0) -> None:
    """The lanes of a vector that a mask names."""
    from llvmlite import ir

    vector = value.type
    place = builder.bitcast(_at(builder, vector, pointer, start), vector.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [vector, place.type, ir.IntType(32), mask.type])
    name = f"llvm.masked.store.{_named(vector)}.p0"
    align = ir.IntType(32)(vector.element.width // 8)
    builder.call(simd.declare(builder, name, kind), [value, place, align, mask])


def _extremes(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The smaller and the larger of each pair of lanes."""
    less = builder.icmp_signed("<", a, b)
    return builder.select(less, a, b), builder.select(less, b, a)


def _network(builder: Any, vectors: list[Any]) -> list[Any]:
    """All lanes of all vectors, a power of two of them, in ascending order.

    Each lane of all vectors is a column. Columns are sorted, which takes no shuffle, then merged
    by twos as one after the other, and last written out as rows.
    """
    count = len(vectors)
    for low, high in _merge_sort(0, count):
        vectors[low], vectors[high] = _extremes(builder, vectors[low], vectors[high])
    columns = 2
    while columns <= vectors[0].type.count:
        _compare_turned(builder, vectors, columns)
        apart = columns // 4
        while apart:
            for i in range(count):
                vectors[i] = _compare_lanes(builder, vectors[i], apart)
            apart //= 2
        apart = count // 2
        while apart:
            for i in range(count):
                if i & apart == 0:
                    pair = _extremes(builder, vectors[i], vectors[i + apart])
                    vectors[i], vectors[i + apart] = pair
            apart //= 2
        columns *= 2
    return _in_turns(builder, vectors)


def _merge_sort(start: int, count: int) -> Iterator[tuple[int, int]]:
    """What to compare to sort `count` places, a power of two, by Batcher's merges."""
    if count > 1:
        yield from _merge_sort(start, count // 2)
        yield from _merge_sort(start + count // 2, count // 2)
        yield from _merge(start, count, 1)


def _merge(start: int, count: int, step: int) -> Iterator[tuple[int, int]]:
    """What to compare to merge two sorted halves of places `step` apart."""
    if 2 * step == count:
        yield start, start + step
        return
    yield from _merge(start, count, 2 * step)
    yield from _merge(start + step, count, 2 * step)
    for low in range(start + step, start + count - step, 2 * step):
        yield low, low + step


def _compare_turned(builder: Any, vectors: list[Any], columns: int) -> None:
    """Each element of a group of columns with that as far from the group's end."""
    count, n = len(vectors), vectors[0].type.count
    turned = [lane ^ (columns - 1) for lane in range(n)]
    upper = [lane & (columns // 2) != 0 for lane in range(n)]
    of_first = [lane + n * above for lane, above in enumerate(upper)]
    of_last = [lane + n * (not above) for lane, above in enumerate(upper)]
    for i in range((count + 1) // 2):
        last = count - 1 - i
        partner = simd.take(builder, vectors[last], turned)
        low, high = _extremes(builder, vectors[i], partner)
        vectors[i] = simd.take(builder, low, of_first, high)
        if last != i:
            vectors[last] = simd.take(builder, simd.take(builder, low, of_last, high), turned)


def _compare_lanes(builder: Any, vector: Any, apart: int) -> Any:
    """Each lane with that `apart` from it."""
    n = vector.type.count
    partner = simd.take(builder, vector, [lane ^ apart for lane in range(n)])
    low, high = _extremes(builder, vector, partner)
    chosen = [lane + n * (lane & apart != 0) for lane in range(n)]
    return simd.take(builder, low, chosen, high)


def _in_turns(builder: Any, vectors: list[Any]) -> list[Any]:
    """The first lane of each vector, then the second of each, and so on."""
    if len(vectors) == 1:
        return vectors
    n = vectors[0].type.count
    even, odd = _in_turns(builder, vectors[::2]), _in_turns(builder, vectors[1::2])
    found = []
    for one, other in zip(even, odd, strict=True):
        for start in (0, n // 2):
            lanes_ = [
                lane + n * second for lane in range(start, start + n // 2) for second in (0, 1)
            ]
            found.append(simd.take(builder, one, lanes_, other))
    return found


@intrinsic
def lanes(typingctx: Any, pointer: Any) -> Any:
    """Numbers in a vector."""
    return simd.constant_result(_vector(pointer).count, pointer)


@intrinsic
def width(typingctx: Any, pointer: Any) -> Any:
    """Bits of a number."""
    return simd.constant_result(_bits(pointer), pointer)


@intrinsic(literal=True)
def sort_few(typingctx: Any, words: Any, count: Any, most: Any) -> Any:
    """`count` numbers in order, in `most` vectors, a power of two; they need more than the half."""
    from numba.core import types
    from numba.core.typing import signature

    vector = _vector(words)
    number = simd.literal(most)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, n, _ = args
        starts = [vector.count * i for i in range(number)]
        full, rest = starts[: number // 2], starts[number // 2 :]
        masks = [_mask(builder, vector, n, start) for start in rest]
        places = list(zip(masks, rest, strict=True))
        found = [_load(builder, vector, x, start) for start in full]
        found += [_load_part(builder, vector, x, mask, start) for mask, start in places]
        ordered = _network(builder, found)
        for value, start in zip(ordered[: len(full)], full, strict=True):
            place = builder.bitcast(_at(builder, vector, x, start), vector.as_pointer())
            builder.store(value, place).align = vector.element.width // 8
        for value, (mask, start) in zip(ordered[len(full) :], places, strict=True):
            _store(builder, x, value, mask, start)
        return context.get_dummy_value()

    return signature(types.none, words, types.int64, most), codegen


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


@intrinsic(literal=True)
def take_apart(
    typingctx: Any, target: Any, left: Any, right: Any, source: Any, pivot: Any, vectors: Any
) -> Any:
    """So many vectors: numbers up to the pivot to `left` and on, others to below `right`.

    Between the two there is room for a number of whole vectors, these among them, or at either room
    for these where the source lies there. Returns how many went to the left.
    """
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    vector = _vector(source)
    count = simd.literal(vectors)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, first, last, x, limit, _ = args
        word = ir.IntType(64)
        if vector.element.width < 64:
            limit = builder.trunc(limit, ir.IntType(vector.element.width))
        divide = {64: _compressed, 32: _permuted, 16: _one_by_one}[simd.vector_bytes()]
        values = [_load(builder, vector, x, vector.count * i) for i in range(count)]
        before = first
        for value in values:
            below = divide(builder, value, out, first, last, limit)
            first = builder.add(first, below)
            last = builder.sub(last, builder.sub(word(vector.count), below))
        return builder.sub(first, before)

    words = (types.int64, types.int64, source, types.int64, vectors)
    return signature(types.int64, target, *words), codegen


@intrinsic
def take_rest(
    typingctx: Any, target: Any, left: Any, right: Any, source: Any, count: Any, pivot: Any
) -> Any:
    """`take_apart` of `count` numbers, fewer than a vector, while there is room for two more.

    A whole vector of the source can be read.
    """
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    vector = _vector(source)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, first, last, x, number, limit = args
        if vector.element.width < 64:
            limit = builder.trunc(limit, ir.IntType(vector.element.width))
        if simd.vector_bytes() == 32:
            value = _load(builder, vector, x, 0)
            return _permuted(builder, value, out, first, last, limit, number)
        value = _load_part(builder, vector, x, _mask(builder, vector, number, 0))
        return _compressed(builder, value, out, first, last, limit, number)

    words = (types.int64, types.int64, source, types.int64, types.int64)
    return signature(types.int64, target, *words), codegen


def _compressed(
    builder: Any, value: Any, out: Any, left: Any, right: Any, pivot: Any, number: Any = None
) -> Any:
    """A vector, or the `number` first lanes of it, by compressions; returns how many go left.

    A store that compresses takes several times as long as one that follows a compression.
    """
    from llvmlite import ir

    from numbatorch.language.simd.types import splat

    vector, word = value.type, ir.IntType(64)
    above = builder.icmp_signed(">", value, splat(builder, pivot, vector.count))
    below = builder.not_(above)
    if number is not None:
        valid = _mask(builder, vector, number, 0)
        above, below = builder.and_(above, valid), builder.and_(below, valid)
    larger = _count(builder, above)
    smaller = builder.sub(word(vector.count) if number is None else number, larger)
    first = _compress(builder, value, below)
    if number is None:  # what is behind the smaller ones is written later
        place = builder.bitcast(_at(builder, vector, out, left), vector.as_pointer())
        builder.store(first, place).align = vector.element.width // 8
    else:
        _store(builder, _at(builder, vector, out, left), first, _first(builder, vector, smaller))
    behind = _at(builder, vector, out, builder.sub(right, larger))
    _store(builder, behind, _compress(builder, value, above), _first(builder, vector, larger))
    return smaller


def _permuted(
    builder: Any, value: Any, out: Any, left: Any, right: Any, pivot: Any, number: Any = None
) -> Any:
    """As `_compressed`, where no instruction does it: the larger lanes go behind the others.

    What is so put in order is written at both ends, from where the next writes over the rest.
    """
    from llvmlite import ir

    from numbatorch.language.simd.types import splat

    vector, word = value.type, ir.IntType(64)
    above = builder.icmp_signed(">", value, splat(builder, pivot, vector.count))
    if number is not None:
        above = builder.and_(above, _mask(builder, vector, number, 0))
    larger = _count(builder, above)
    smaller = builder.sub(word(vector.count) if number is None else number, larger)
    mixed = _larger_last(builder, value, above)
    behind = builder.sub(right, word(vector.count))
    for start in (left, behind):
        place = builder.bitcast(_at(builder, vector, out, start), vector.as_pointer())
        builder.store(mixed, place).align = vector.element.width // 8
    return smaller


def _larger_last(builder: Any, value: Any, above: Any) -> Any:
    """The lanes that are not set in a mask, then those that are, by a table of permutations.

    Source: https://arxiv.org/abs/1704.08579
    """
    from llvmlite import ir

    vector, word, byte = value.type, ir.IntType(64), ir.IntType(8)
    lane = ir.VectorType(ir.IntType(32), 8)
    rows = _table(builder, vector.count)
    index = builder.zext(builder.bitcast(above, ir.IntType(vector.count)), word)
    place = builder.gep(rows, [word(0), builder.mul(index, word(8))], inbounds=True)
    row = builder.load(builder.bitcast(place, ir.VectorType(byte, 8).as_pointer()))
    row.align = 8
    kind = ir.FunctionType(lane, [lane, lane])
    permute = simd.declare(builder, "llvm.x86.avx2.permd", kind)
    mixed = builder.call(permute, [builder.bitcast(value, lane), builder.zext(row, lane)])
    return builder.bitcast(mixed, vector)


def _table(builder: Any, count: int) -> Any:
    """For each mask of `count` lanes, whose are 8 of 32 bits: from where each of the 8 comes."""
    from llvmlite import ir

    name = f"numbatorch.larger_last.{count}"
    found = builder.module.globals.get(name)
    if found is not None:
        return found
    parts = 8 // count
    rows: list[int] = []
    for mask in range(1 << count):
        order = sorted(range(count), key=lambda lane: mask >> lane & 1)
        rows += [parts * lane + part for lane in order for part in range(parts)]
    values = ir.Constant(ir.ArrayType(ir.IntType(8), len(rows)), rows)
    table = ir.GlobalVariable(builder.module, values.type, name)
    table.linkage, table.global_constant, table.align = "internal", True, 64
    table.unnamed_addr = True
    table.initializer = values
    return table


def _count(builder: Any, mask: Any) -> Any:
    """How many lanes of a mask are set."""
    from llvmlite import ir

    bits = ir.IntType(mask.type.count)
    name = f"llvm.ctpop.i{bits.width}"
    count = simd.declare(builder, name, ir.FunctionType(bits, [bits]))
    return builder.zext(builder.call(count, [builder.bitcast(mask, bits)]), ir.IntType(64))


def _compress(builder: Any, value: Any, mask: Any) -> Any:
    """The lanes that are set in a mask, in front of others."""
    from llvmlite import ir

    kind = ir.FunctionType(value.type, [value.type, mask.type, value.type])
    name = f"llvm.experimental.vector.compress.{_named(value.type)}"
    rest = ir.Constant(value.type, ir.Undefined)
    return builder.call(simd.declare(builder, name, kind), [value, mask, rest])


def _one_by_one(builder: Any, value: Any, out: Any, left: Any, right: Any, pivot: Any) -> Any:
    """Each number is written at both ends, and one of the ends moves on."""
    from llvmlite import ir

    vector, word = value.type, ir.IntType(64)
    first, one = left, word(1)
    for i in range(vector.count):
        number = builder.extract_element(value, ir.IntType(32)(i))
        below = builder.zext(builder.icmp_signed("<=", number, pivot), word)
        builder.store(number, _at(builder, vector, out, left))
        builder.store(number, _at(builder, vector, out, builder.sub(right, one)))
        left = builder.add(left, below)
        right = builder.sub(right, builder.sub(one, below))
    return builder.sub(left, first)


__all__ = ["lanes", "median", "sort_few", "take_apart", "take_rest", "width"]
