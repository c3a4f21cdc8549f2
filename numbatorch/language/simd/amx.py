"""Tile registers of x86-64 (AMX) in kernels: 16 rows of 64 bytes, which are multiplied at once.

Of the eight, 0 to 3 hold sums, 4 and 5 rows of words, 6 and 7 words of columns. On processors
without them the words mean nothing, and `has_tiles` is 0.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, "TDPBF16PS".
"""

from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.processor import current_cpu
from numbatorch.language.simd import pairs
from numbatorch.language.simd import vectors as simd

SIDE = 32  # rows and columns of the square that four tiles of sums are
DEEP = 16  # words of a row of a tile
TILES = 8


@intrinsic
def has_tiles(typingctx: Any, words: Any) -> Any:
    """1 if words of this type are multiplied as tiles, else 0; a constant."""
    tiled = words.element == pairs.WORD and pairs.multiplies_tiles(current_cpu())
    return simd.constant_result(int(tiled), words)


def function(builder: Any, name: str, kind: Any) -> Any:
    """The instruction `name` as a function."""
    return simd.declare(builder, f"llvm.x86.{name}", kind)


def _emit(builder: Any, name: str, *operands: Any) -> None:
    from llvmlite import ir

    if pairs.multiplies_tiles(current_cpu()):
        kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
        builder.call(function(builder, name, kind), operands)


def _tile(number: Any) -> Any:
    from llvmlite import ir

    return ir.IntType(8)(number.literal_value)


@intrinsic
def tiles_begin(typingctx: Any) -> Any:
    """Give all tile registers their full size."""
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.core.typing.templates import signature

    rows, line = DEEP, 4 * DEEP
    # Palette 1; bytes of a row for each tile from byte 16 on, in two bytes; rows from byte 48 on.
    shapes = bytes([1, *[0] * 15, *[line, 0] * TILES, *[0] * 16, *[rows] * TILES, *[0] * 8])

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        place = cgutils.alloca_once_value(builder, cgutils.make_bytearray(shapes))
        _emit(builder, "ldtilecfg", builder.bitcast(place, ir.IntType(8).as_pointer()))
        return context.get_dummy_value()

    return signature(types.void), codegen


@intrinsic
def tiles_end(typingctx: Any) -> Any:
    """Give the tile registers back."""
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        _emit(builder, "tilerelease")
        return context.get_dummy_value()

    return signature(types.void), codegen


@intrinsic(literal=True)
def tile_clear(typingctx: Any, tile: Any) -> Any:
    """A tile of zeros."""
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        _emit(builder, "tilezero", _tile(tile))
        return context.get_dummy_value()

    return signature(types.void, tile), codegen


def _moved(name: str, tile: Any, place: Any, row: Any) -> Any:
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        where = builder.bitcast(values[1], ir.IntType(8).as_pointer())
        line = builder.mul(values[2], ir.IntType(64)(4))
        _emit(builder, name, _tile(tile), where, line)
        return context.get_dummy_value()

    return signature(types.void, tile, place, types.int64), codegen


@intrinsic(literal=True)
def tile_get(typingctx: Any, tile: Any, place: Any, row: Any) -> Any:
    """Read a tile, whose rows lie `row` elements of four bytes apart."""
    return _moved("tileloadd64", tile, place, row)


@intrinsic(literal=True)
def tile_put(typingctx: Any, tile: Any, place: Any, row: Any) -> Any:
    """Write a tile, whose rows lie `row` elements of four bytes apart."""
    return _moved("tilestored64", tile, place, row)


def _multiplied(name: str, sums: Any, rows: Any, columns: Any) -> Any:
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        _emit(builder, name, *map(_tile, (sums, rows, columns)))
        return context.get_dummy_value()

    return signature(types.void, sums, rows, columns), codegen


@intrinsic(literal=True)
def tile_pairs(typingctx: Any, sums: Any, rows: Any, columns: Any) -> Any:
    """sums[i, j] += over 16 words k the products of both numbers of rows[i, k], columns[k, j]."""
    return _multiplied("tdpbf16ps", sums, rows, columns)


@intrinsic(literal=True)
def tile_bytes(typingctx: Any, sums: Any, rows: Any, columns: Any) -> Any:
    """As `tile_pairs`, of the four signed bytes of each word; sums are int32."""
    return _multiplied("tdpbssd", sums, rows, columns)
