"""Tiles: the accumulators of a matrix product, `rows` by `columns` vectors held in registers.

`tile_outer` adds an outer product (vectors run along columns of the result), `tile_dots` products
along k, which `tile_sums` adds up.
"""

from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.simd import pairs
from numbatorch.language.simd import vectors as simd


@intrinsic
def tile_vectors(typingctx: Any, pointer: Any) -> Any:
    """Vectors in a row of a six-row tile that fills the registers, a constant."""
    return simd.constant_result(4 if simd.vector_registers() == 32 else 2, pointer)


@intrinsic
def half_vectors(typingctx: Any, pointer: Any) -> Any:
    """Half of `tile_vectors`, a constant."""
    return simd.constant_result(2 if simd.vector_registers() == 32 else 1, pointer)


@intrinsic
def dots_rows(typingctx: Any, pointer: Any) -> Any:
    """Rows of a four-column `tile_dots` tile that fills the registers, a constant."""
    return simd.constant_result(4 if simd.vector_registers() == 32 else 2, pointer)


@intrinsic(literal=True)
def tile_zero(typingctx: Any, pointer: Any, rows: Any, columns: Any) -> Any:
    """A tile of zeros for what the pointer's elements are computed in."""
    from llvmlite import ir
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    n = simd.native_lanes(pointer.element)
    element = simd.held(pointer.element)
    tile = simd_types.TileType(element, simd.literal(rows), simd.literal(columns), n)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return ir.Constant(tile.llvm, None)

    return signature(tile, pointer, rows, columns), codegen


@intrinsic
def tile_outer(typingctx: Any, tile: Any, a: Any, a_row: Any, last: Any, b: Any, count: Any) -> Any:
    """tile[i] += a[i * a_row] * b[: columns * lanes]; row 0 stands for rows of a behind `last`.

    Of a tile one vector wide only the first `count` lanes of b are read.
    """
    from numba.core import types
    from numba.core.typing.templates import signature

    masked = tile.columns == 1

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        from numbatorch.language.simd import types as simd_types

        out, a_value, row_stride, last_value, b_value, n = values
        moves = range(0, tile.columns * tile.lanes, tile.lanes)
        places = [_at(builder, b.element, b_value, _word(move)) for move in moves]
        limit = n if masked else None
        vectors = [simd.load_vector(builder, b.element, p, tile.lanes, limit) for p in places]
        for i in range(tile.rows):
            place = _at(builder, a.element, a_value, _row(builder, i, last_value, row_stride))
            scalar = _load_scalar(builder, a.element, place)
            spread = simd_types.splat(builder, scalar, tile.lanes)
            for j, vector in enumerate(vectors):
                out = _add_product(builder, out, i * tile.columns + j, spread, vector)
        return out

    i64 = types.int64
    return signature(tile, tile, a, i64, i64, b, i64), codegen


@intrinsic
def tile_kept(typingctx: Any, tile: Any) -> Any:
    """The tile as it is, in registers; no load or store moves from one side of this to the other.

    LLVM unrolls a loop of products and loads first what several steps need. Where that is more
    than registers have room for, each step would read and write the tile in memory.
    """
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        from llvmlite import ir

        name = simd.vector_constraint()
        if name is None:
            return values[0]
        count = tile.rows * tile.columns
        vectors = [builder.extract_value(values[0], i) for i in range(count)]
        kinds = [vector.type for vector in vectors]
        operands = [f"={name}"] * count + list(map(str, range(count)))
        kind = ir.FunctionType(ir.LiteralStructType(kinds), kinds)
        nothing = ir.InlineAsm(kind, "", ",".join([*operands, "~{memory}"]), side_effect=True)
        kept = builder.call(nothing, vectors)
        out = values[0]
        for i in range(count):
            out = builder.insert_value(out, builder.extract_value(kept, i), i)
        return out

    return signature(tile, tile), codegen


@intrinsic
def tile_apart(typingctx: Any, tile: Any, a: Any, a_row: Any, last: Any, b: Any) -> Any:
    """tile[i] += (a[i * a_row] - b[: columns * lanes])**2; rows of a as in `tile_outer`."""
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        from numbatorch.language.simd import types as simd_types

        out, a_value, row_stride, last_value, b_value = values
        moves = range(0, tile.columns * tile.lanes, tile.lanes)
        places = [_at(builder, b.element, b_value, _word(move)) for move in moves]
        vectors = [simd.load_vector(builder, b.element, place, tile.lanes) for place in places]
        for i in range(tile.rows):
            place = _at(builder, a.element, a_value, _row(builder, i, last_value, row_stride))
            scalar = _load_scalar(builder, a.element, place)
            spread = simd_types.splat(builder, scalar, tile.lanes)
            for j, vector in enumerate(vectors):
                apart = builder.fsub(spread, vector)
                out = _add_product(builder, out, i * tile.columns + j, apart, apart)
        return out

    i64 = types.int64
    return signature(tile, tile, a, i64, i64, b), codegen


@intrinsic
def tile_dots(
    typingctx: Any,
    tile: Any,
    a: Any,
    a_row: Any,
    last_row: Any,
    b: Any,
    b_row: Any,
    last_column: Any,
) -> Any:
    """tile[i, j] += a[i * a_row + lane] * b[j * b_row + lane]; row 0 stands for rows not there."""
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return _dots(builder, tile, a, b, values, None)

    i64 = types.int64
    return signature(tile, tile, a, i64, i64, b, i64, i64), codegen


@intrinsic
def tile_dots_first(
    typingctx: Any,
    tile: Any,
    a: Any,
    a_row: Any,
    last_row: Any,
    b: Any,
    b_row: Any,
    last_column: Any,
    count: Any,
) -> Any:
    """As `tile_dots` with the first `count` lanes only: the end of k."""
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return _dots(builder, tile, a, b, values[:-1], values[-1])

    i64 = types.int64
    return signature(tile, tile, a, i64, i64, b, i64, i64, i64), codegen


def _dots(builder: Any, tile: Any, a: Any, b: Any, values: Any, count: Any) -> Any:
    out, a_value, a_row, last_row, b_value, b_row, last_column = values
    columns = []
    for j in range(tile.columns):
        place = _at(builder, b.element, b_value, _row(builder, j, last_column, b_row))
        columns.append(simd.load_vector(builder, b.element, place, tile.lanes, count))
    for i in range(tile.rows):
        place = _at(builder, a.element, a_value, _row(builder, i, last_row, a_row))
        vector = simd.load_vector(builder, a.element, place, tile.lanes, count)
        for j, column in enumerate(columns):
            out = _add_product(builder, out, i * tile.columns + j, vector, column)
    return out


@intrinsic
def tile_along(typingctx: Any, tile: Any, a: Any, b: Any) -> Any:
    """To each vector of the tile, the product of the next one at `a` and the next one at `b`."""
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        out, *places = values
        for i in range(tile.rows * tile.columns):
            pair = [
                simd.load_vector(builder, pointer.element, at, tile.lanes)
                for pointer, place in zip((a, b), places, strict=True)
                for at in [_at(builder, pointer.element, place, _word(i * tile.lanes))]
            ]
            out = _add_product(builder, out, i, *pair)
        return out

    return signature(tile, tile, a, b), codegen


@intrinsic
def tile_load(typingctx: Any, tile: Any, pointer: Any, stride: Any) -> Any:
    """A tile like `tile` from memory, `stride` elements from row to row.

    A tile of words takes two consecutive numbers for each, rounded to bfloat16.
    """
    from numba.core import types
    from numba.core.typing.templates import signature

    joins = tile.element == pairs.WORD and pointer.element != pairs.WORD
    each, load = (2, pairs.words_along) if joins else (1, simd.load_vector)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        out, place, stride_value = values
        for i in range(tile.rows):
            for j in range(tile.columns):
                row = builder.mul(stride_value, _word(i))
                index = builder.add(row, _word(j * tile.lanes * each))
                at = _at(builder, pointer.element, place, index)
                vector = load(builder, pointer.element, at, tile.lanes)
                out = builder.insert_value(out, vector, i * tile.columns + j)
        return out

    return signature(tile, tile, pointer, types.int64), codegen


@intrinsic
def tile_across(typingctx: Any, tile: Any, pointer: Any, step: Any) -> Any:
    """Row i of a one-vector-wide tile is word i of each of the vector's elements.

    Numbers lie `step` behind each other: one for each word, or two of words of bfloat16.
    """
    from numba.core import types
    from numba.core.typing.templates import signature

    each = 2 if tile.element == pairs.WORD else 1

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        out, place, distance = values
        for i in range(tile.rows):
            low, high = (
                _at(builder, pointer.element, place, builder.mul(distance, _word(each * i + half)))
                for half in (0, 1)
            )
            if each == 2:
                words = pairs.words_across(builder, pointer.element, low, high, tile.lanes)
            else:
                words = simd.load_vector(builder, pointer.element, low, tile.lanes)
            out = builder.insert_value(out, words, i)
        return out

    return signature(tile, tile, pointer, types.int64), codegen


@intrinsic
def tile_transpose(typingctx: Any, tile: Any) -> Any:
    """Row i of a one-vector-wide square tile becomes lane i of every row."""
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        rows = [builder.extract_value(values[0], i) for i in range(tile.rows)]
        n = tile.lanes
        half = n // 2
        while half:
            # Swap the off-diagonal blocks of `half` rows and lanes.
            low = [i if not i & half else n + i - half for i in range(n)]
            high = [i + half if not i & half else n + i for i in range(n)]
            for i in range(n):
                if not i & half:
                    a, b = rows[i], rows[i + half]
                    rows[i] = simd.take(builder, a, low, b)
                    rows[i + half] = simd.take(builder, a, high, b)
            half //= 2
        out = values[0]
        for i, row in enumerate(rows):
            out = builder.insert_value(out, row, i)
        return out

    return signature(tile, tile), codegen


@intrinsic
def tile_store(typingctx: Any, out: Any, stride: Any, tile: Any, rows: Any, count: Any) -> Any:
    """Store the first `rows` rows and `count` columns of a tile, rows `stride` elements apart."""
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        out_value, stride_value, value, rows_value, count_value = values
        lines = [
            [builder.extract_value(value, i * tile.columns + j) for j in range(tile.columns)]
            for i in range(tile.rows)
        ]
        _store_rows(builder, out.element, out_value, stride_value, lines, rows_value, count_value)
        return context.get_dummy_value()

    i64 = types.int64
    return signature(types.void, out, i64, tile, i64, i64), codegen


@intrinsic
def tile_sums(typingctx: Any, tile: Any) -> Any:
    """A vector of the sum over the lanes of each of the tile's vectors, row by row."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    count = tile.rows * tile.columns

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        vectors = [builder.extract_value(values[0], i) for i in range(count)]
        return vector_sums(builder, vectors)

    return signature(simd_types.VecType(tile.element, count), tile), codegen


@intrinsic
def tile_total(typingctx: Any, tile: Any) -> Any:
    """The sum of the tile's vectors, halves added to halves; their number is a power of two."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        count = tile.rows * tile.columns
        vectors = [builder.extract_value(values[0], i) for i in range(count)]
        while count > 1:
            count //= 2
            vectors = [builder.fadd(vectors[i], vectors[i + count]) for i in range(count)]
        return vectors[0]

    return signature(simd_types.VecType(tile.element, tile.lanes), tile), codegen


@intrinsic
def four_sums(typingctx: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """A vector of the sum over the lanes of each of four vectors, added as `vsum` does."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return vector_sums(builder, list(values))

    return signature(simd_types.VecType(a.element, 4), a, b, c, d), codegen


@intrinsic(literal=True)
def vstore_rows(
    typingctx: Any, out: Any, stride: Any, value: Any, width: Any, rows: Any, count: Any
) -> Any:
    """Store a vector as a matrix of literal `width`: the first `rows` rows and `count` columns."""
    from numba.core import types
    from numba.core.typing.templates import signature

    n = simd.literal(width)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        out_value, stride_value, vector, _, rows_value, count_value = values
        starts = range(0, value.lanes, n)
        lines = [[simd.take(builder, vector, range(i, i + n))] for i in starts]
        _store_rows(builder, out.element, out_value, stride_value, lines, rows_value, count_value)
        return context.get_dummy_value()

    i64 = types.int64
    return signature(types.void, out, i64, value, width, i64, i64), codegen


def vector_sums(builder: Any, vectors: list[Any]) -> Any:
    """IR of a vector of the sum over the lanes of each vector."""
    return _gather(builder, _sums(builder, vectors), 0, len(vectors))


def _sums(builder: Any, vectors: list[Any]) -> list[Any]:
    """Vectors whose lanes, counted through all, are the sums of those given in order.

    Two vectors become one whose lower half of segments belongs to the first; a segment halves
    each time, until it is one lane.
    """
    segment = vectors[0].type.count
    while segment > 1 and len(vectors) % 2 == 0:
        vectors = [
            _fold(builder, vectors[i], vectors[i + 1], segment) for i in range(0, len(vectors), 2)
        ]
        segment //= 2
    while segment > 1:
        vectors = [_fold(builder, vector, None, segment) for vector in vectors]
        segment //= 2
    return vectors


def _fold(builder: Any, first: Any, second: Any, segment: int) -> Any:
    lanes = first.type.count * (1 if second is None else 2)
    low = [start + i for start in range(0, lanes, segment) for i in range(segment // 2)]
    high = [lane + segment // 2 for lane in low]
    return builder.fadd(
        simd.take(builder, first, low, second), simd.take(builder, first, high, second)
    )


def _gather(builder: Any, vectors: list[Any], start: int, width: int) -> Any:
    """Lanes `start` to `start + width`, counted on through the vectors."""
    n = vectors[0].type.count
    parts = []
    while width:
        lane = start % n
        count = min(n - lane, width)
        parts.append(simd.take(builder, vectors[start // n], range(lane, lane + count)))
        start, width = start + count, width - count
    while len(parts) > 1:
        count = parts[0].type.count
        parts = [
            simd.take(builder, parts[i], range(2 * count), parts[i + 1])
            for i in range(0, len(parts), 2)
        ]
    return parts[0]


def _store_rows(
    builder: Any, element: str, out: Any, stride: Any, lines: Any, rows: Any, count: Any
) -> None:
    """Store vectors row by row, under masks unless the tile is full."""
    width = sum(vector.type.count for vector in lines[0])
    all_rows = builder.icmp_signed(">=", rows, _word(len(lines)))
    full = builder.and_(all_rows, builder.icmp_signed(">=", count, _word(width)))
    with builder.if_else(full, likely=True) as (then, otherwise):
        with then:
            for i, line in enumerate(lines):
                _store_row(builder, element, out, builder.mul(stride, _word(i)), line, None)
        with otherwise:
            for i, line in enumerate(lines):
                with builder.if_then(builder.icmp_signed("<", _word(i), rows)):
                    _store_row(builder, element, out, builder.mul(stride, _word(i)), line, count)


def _store_row(
    builder: Any, element: str, out: Any, offset: Any, line: list[Any], count: Any
) -> None:
    column = 0
    for vector in line:
        place = _at(builder, element, out, builder.add(offset, _word(column)))
        left = None if count is None else builder.sub(count, _word(column))
        simd.store_vector(builder, element, place, vector, left)
        column += vector.type.count


def _add_product(builder: Any, tile: Any, index: int, a: Any, b: Any) -> Any:
    """Words are two products; see simd/pairs.py."""
    from llvmlite import ir

    add = pairs.add_products if isinstance(a.type.element, ir.IntType) else _add_float
    total = add(builder, builder.extract_value(tile, index), a, b)
    return builder.insert_value(tile, total, index)


def _add_float(builder: Any, total: Any, a: Any, b: Any) -> Any:
    return simd.fma_vector(builder, a, b, total)


def _row(builder: Any, index: int, last: Any, stride: Any) -> Any:
    """Elements to row `index`, or 0 where there is none.

    Not a minimum, which LLVM would understand and compute anew in each step of the loop.
    """
    there = builder.icmp_signed("<=", _word(index), last)
    return builder.select(there, builder.mul(_word(index), stride), _word(0))


def _at(builder: Any, element: str, pointer: Any, index: Any) -> Any:
    from numbatorch.language import elements

    return simd.pointer_to(builder, pointer, elements.storage(element), index)


def _load_scalar(builder: Any, element: str, place: Any) -> Any:
    from numbatorch import dtype as dtypes
    from numbatorch.language import elements

    stored = builder.load(place, align=dtypes.by_name[element].itemsize)
    return elements.widen(builder, element, stored)


def _word(value: int) -> Any:
    from llvmlite import ir

    return ir.Constant(ir.IntType(64), value)
