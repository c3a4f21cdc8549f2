"""Products of 8-bit integers in kernels, and rounding to them. Codes come in words of four.

A tile of sums has a row of x for each of its vectors, and a row of the weight in each lane.
"""

from collections.abc import Iterable
from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.processor import current_cpu
from numbatorch.language.simd import vectors as simd


def signed_bias() -> int:
    """What has to be added to signed codes, so that they can be multiplied."""
    return 128 if _has_vnni() else 0


def _has_vnni() -> bool:
    cpu = current_cpu()
    return cpu.has("avxvnni") or (cpu.has("avx512vnni") and cpu.has("avx512vl"))


def dot_bytes(builder: Any, total: Any, codes: Any, values: Any, signed: bool = True) -> Any:
    """IR of total[i] + the sum over j < 4 of codes[4 * i + j] * values[4 * i + j].

    Args:
        total: vector of int32.
        codes: as many words of four codes; those with VNNI unsigned, others signed.
        values: as many words of four signed bytes.
        signed: whether codes may be negative where they are signed.
    """
    from llvmlite import ir

    n = total.type.count
    bits = 32 * n
    if bits > 8 * simd.vector_bytes():
        parts = zip(*(simd.halves(builder, value) for value in (total, codes, values)), strict=True)
        low, high = (dot_bytes(builder, a, b, c, signed) for a, b, c in parts)
        return simd.take(builder, low, range(n), high)
    if _has_vnni():
        name = f"llvm.x86.avx512.vpdpbusd.{bits}"
        kind = ir.FunctionType(total.type, [total.type] * 3)
        return builder.call(simd.declare(builder, name, kind), [total, codes, values])
    bytes_ = ir.VectorType(ir.IntType(8), 4 * n)
    codes, values = builder.bitcast(codes, bytes_), builder.bitcast(values, bytes_)
    cpu = current_cpu()
    if cpu.triple.startswith(("aarch64", "arm64")) and cpu.has("dotprod") and bits == 128:
        kind = ir.FunctionType(total.type, [total.type, bytes_, bytes_])
        function = simd.declare(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", kind)
        return builder.call(function, [total, codes, values])
    if cpu.has("avx2") and bits == 256:
        return builder.add(total, _dot_avx2(builder, codes, values, signed))
    return builder.add(total, _dot_plain(builder, codes, values))


def _dot_avx2(builder: Any, codes: Any, values: Any, signed: bool) -> Any:
    """|codes| * (values with the signs of codes) fits 16 bits in pairs: |values| is at most 127."""
    from llvmlite import ir

    words = ir.VectorType(ir.IntType(16), 16)
    result = ir.VectorType(ir.IntType(32), 8)

    def call(name: str, kind: Any, *args: Any) -> Any:
        function = simd.declare(
            builder, f"llvm.x86.avx2.{name}", ir.FunctionType(kind, [a.type for a in args])
        )
        return builder.call(function, args)

    if signed:
        values = call("psign.b", codes.type, values, codes)
        codes = call("psign.b", codes.type, codes, codes)
    pairs = call("pmadd.ub.sw", words, codes, values)
    return call("pmadd.wd", result, pairs, ir.Constant(words, [1] * 16))


def _dot_plain(builder: Any, codes: Any, values: Any) -> Any:
    from llvmlite import ir

    count = codes.type.count
    wide = ir.VectorType(ir.IntType(16), count)
    products = builder.mul(builder.sext(codes, wide), builder.sext(values, wide))
    products = builder.sext(products, ir.VectorType(ir.IntType(32), count))
    while products.type.count > count // 4:
        n = products.type.count
        even = simd.take(builder, products, range(0, n, 2))
        products = builder.add(even, simd.take(builder, products, range(1, n, 2)))
    return products


def runs(builder: Any, value: Any, quarter: int, n: int) -> Any:
    """IR of `n` lanes from a quarter of those of a vector, each in a run of its own."""
    count = value.type.count // 4
    return simd.take(builder, value, [quarter * count + lane * count // n for lane in range(n)])


@intrinsic
def tile_height(typingctx: Any, pointer: Any) -> Any:
    """Rows of x that are multiplied together, a constant."""
    return simd.constant_result(8 if simd.vector_registers() == 32 else 4, pointer)


@intrinsic
def tile_rows(typingctx: Any, tile: Any) -> Any:
    """Rows of a tile, a constant."""
    return simd.constant_result(tile.rows, tile)


@intrinsic(literal=True)
def sums_begin(typingctx: Any, total: Any, first: Any, bias: Any) -> Any:
    """A tile of int32 for the rows of `total`: row r is first[r], or 0 if the literal bias is."""
    from llvmlite import ir
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    tile = simd_types.TileType("int32", total.rows, 1, total.lanes)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        if bias.literal_value == 0:
            return ir.Constant(tile.llvm, None)
        numbers = _scalars(builder, values[1], tile.vec.llvm.element, tile.rows)
        return _build(
            builder, tile, (simd_types.splat(builder, number, tile.lanes) for number in numbers)
        )

    return signature(tile, total, first, bias), codegen


@intrinsic(literal=True)
def sums_up(typingctx: Any, sums: Any, first: Any, bias: Any) -> Any:
    """256 * sums, and to row r first[r] unless the literal bias is 0."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        kind = sums.vec.llvm
        out = [
            builder.shl(vector, splat_constant(kind, 8))
            for vector in _vectors(builder, sums, values[0])
        ]
        if bias.literal_value:
            numbers = _scalars(builder, values[1], kind.element, sums.rows)
            spread = (simd_types.splat(builder, number, sums.lanes) for number in numbers)
            out = [builder.add(*pair) for pair in zip(out, spread, strict=True)]
        return _build(builder, sums, out)

    return signature(sums, sums, first, bias), codegen


@intrinsic(literal=True)
def sums_add(typingctx: Any, sums: Any, codes: Any, x: Any, signed: Any) -> Any:
    """Row r: add to lane i the product of codes[i] and x[r], each a word of four bytes.

    Args:
        signed: literal, whether codes may be negative; see `dot_bytes`.
    """
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        kind = sums.vec.llvm
        weight = builder.load(builder.bitcast(values[1], kind.as_pointer()), align=4)
        words = _scalars(builder, values[2], kind.element, sums.rows)
        out = []
        for total, word in zip(_vectors(builder, sums, values[0]), words, strict=True):
            spread = simd_types.splat(builder, word, sums.lanes)
            out.append(dot_bytes(builder, total, weight, spread, bool(signed.literal_value)))
        return _build(builder, sums, out)

    return signature(sums, sums, codes, x, signed), codegen


@intrinsic
def add_scaled(typingctx: Any, total: Any, sums: Any, scales: Any, x_scales: Any) -> Any:
    """Row r: total += sums * scales * x_scales[r], with a scale a lane."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        kind = total.vec.llvm
        scale = builder.load(builder.bitcast(values[2], kind.as_pointer()), align=4)
        numbers = _scalars(builder, values[3], kind.element, total.rows)
        rows = zip(
            _vectors(builder, total, values[0]),
            _vectors(builder, sums, values[1]),
            numbers,
            strict=True,
        )
        out = []
        for before, products, number in rows:
            both = builder.fmul(scale, simd_types.splat(builder, number, total.lanes))
            out.append(simd.fma_vector(builder, builder.sitofp(products, kind), both, before))
        return _build(builder, total, out)

    return signature(total, total, sums, scales, x_scales), codegen


@intrinsic
def add_outer(typingctx: Any, total: Any, a: Any, x: Any) -> Any:
    """Row r: total += a * x[r], for a vector at `a`."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        kind = total.vec.llvm
        vector = builder.load(builder.bitcast(values[1], kind.as_pointer()), align=4)
        numbers = _scalars(builder, values[2], kind.element, total.rows)
        out = []
        for before, number in zip(_vectors(builder, total, values[0]), numbers, strict=True):
            spread = simd_types.splat(builder, number, total.lanes)
            out.append(simd.fma_vector(builder, vector, spread, before))
        return _build(builder, total, out)

    return signature(total, total, a, x), codegen


def _build(builder: Any, tile: Any, vectors: Iterable[Any]) -> Any:
    """IR of a tile of these vectors."""
    from llvmlite import ir

    out = ir.Constant(tile.llvm, ir.Undefined)
    for i, vector in enumerate(vectors):
        out = builder.insert_value(out, vector, i)
    return out


def _vectors(builder: Any, tile: Any, value: Any) -> list[Any]:
    return [builder.extract_value(value, i) for i in range(tile.rows * tile.columns)]


def _scalars(builder: Any, pointer: Any, kind: Any, count: int) -> list[Any]:
    """IR of `count` numbers that lie behind a pointer."""
    from llvmlite import ir

    place = builder.bitcast(pointer, kind.as_pointer())
    places = [builder.gep(place, [ir.IntType(64)(i)], inbounds=True) for i in range(count)]
    return [builder.load(at, align=4) for at in places]


SMALLEST = 2.0**-100  # magnitudes below it round to 0: their scale could not be inverted


@intrinsic(literal=True)
def quantize_block(
    typingctx: Any, like: Any, q: Any, sums: Any, x: Any, group: Any, bias: Any
) -> Any:
    """Round 32 numbers to q * d with d = max |x| / 127; NaN or infinity among them make d NaN.

    Args:
        like: a tile; sums are stored as far apart as it has rows.
        q: pointer to words of four codes.
        sums: pointer to int32, for minus the sums of each `group` codes, times the bias if not 0.
        x: pointer to float32.
        group: literal 16 or 32.
        bias: literal.
    Returns:
        d.
    """
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        codes, scale = _rounded(builder, values[3], 127)
        totals = _group_sums(builder, codes, group.literal_value)
        _store_sums(builder, values[2], totals, like, bias)
        _store_bytes(builder, values[1], codes)
        return scale

    return signature(types.float32, like, q, sums, x, group, bias), codegen


@intrinsic(literal=True)
def quantize_finely(
    typingctx: Any, like: Any, high: Any, low: Any, sums: Any, x: Any, group: Any, bias: Any
) -> Any:
    """As `quantize_block` to 16 bits: q = 256 * high + low, d = max |x| / (127 * 256).

    A low byte is -127 at least, so that its sign can be turned.

    Args:
        high, low: pointers to words of four codes.
    """
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        codes, scale = _rounded(builder, values[4], 127 * 256)
        kind = codes.type
        shift = splat_constant(kind, 8)
        upper = builder.ashr(builder.add(codes, splat_constant(kind, 128)), shift)
        lower = builder.sub(codes, builder.shl(upper, shift))
        least = splat_constant(kind, -127)
        lower = builder.select(builder.icmp_signed("<", lower, least), least, lower)
        rounded = builder.add(builder.shl(upper, shift), lower)
        totals = _group_sums(builder, rounded, group.literal_value)
        _store_sums(builder, values[3], totals, like, bias)
        _store_bytes(builder, values[1], upper)
        _store_bytes(builder, values[2], lower)
        return scale

    return signature(types.float32, like, high, low, sums, x, group, bias), codegen


def _store_bytes(builder: Any, pointer: Any, codes: Any) -> None:
    """Store 32 codes, given as int32, in as many bytes."""
    from llvmlite import ir

    narrow = builder.trunc(codes, ir.VectorType(ir.IntType(8), 32))
    words = builder.bitcast(narrow, ir.VectorType(ir.IntType(32), 8))
    builder.store(words, builder.bitcast(pointer, words.type.as_pointer()), align=4)


def _store_sums(builder: Any, pointer: Any, totals: list[Any], like: Any, bias: Any) -> None:
    """Store minus the sums, times the bias; see `quantize_block`."""
    from llvmlite import ir

    place = builder.bitcast(pointer, totals[0].type.as_pointer())
    for i, total in enumerate(totals):
        at = builder.gep(place, [ir.IntType(64)(i * like.rows)], inbounds=True)
        factor = total.type(-(bias.literal_value or 1))
        builder.store(builder.mul(total, factor), at, align=4)


def _group_sums(builder: Any, codes: Any, per_sum: int) -> list[Any]:
    from llvmlite import ir

    kind = ir.VectorType(ir.IntType(32), per_sum)
    name = f"llvm.vector.reduce.add.v{per_sum}i32"
    function = simd.declare(builder, name, ir.FunctionType(ir.IntType(32), [kind]))
    starts = range(0, 32, per_sum)
    return [
        builder.call(function, [simd.take(builder, codes, range(i, i + per_sum))]) for i in starts
    ]


def _rounded(builder: Any, pointer: Any, top: int) -> tuple[Any, Any]:
    """IR of the codes of 32 numbers as int32, of which the largest is `top`, and of their scale."""
    from llvmlite import ir

    from numbatorch.language.simd import types as simd_types

    i32, f32 = ir.IntType(32), ir.FloatType()
    ints, floats = ir.VectorType(i32, 32), ir.VectorType(f32, 32)

    def call(name: str, result: Any, *args: Any) -> Any:
        kind = ir.FunctionType(result, [a.type for a in args])
        return builder.call(simd.declare(builder, name, kind), args)

    bits = builder.load(builder.bitcast(pointer, ints.as_pointer()), align=4)
    size = builder.and_(bits, splat_constant(ints, 0x7FFFFFFF))
    largest = call("llvm.vector.reduce.umax.v32i32", i32, size)  # the order of bits is that of size
    finite = builder.icmp_unsigned("<", largest, i32(0x7F800000))
    kept = builder.and_(bits, simd_types.splat(builder, builder.sext(finite, i32), 32))
    least = ir.Constant(f32, SMALLEST)
    most = builder.bitcast(builder.select(finite, largest, i32(0)), f32)
    most = builder.select(builder.fcmp_ordered(">", most, least), most, least)
    inverse = builder.fdiv(ir.Constant(f32, top), most)
    scaled = builder.fmul(builder.bitcast(kept, floats), simd_types.splat(builder, inverse, 32))
    codes = builder.fptosi(call("llvm.rint.v32f32", floats, scaled), ints)
    scale = builder.fdiv(most, ir.Constant(f32, top))
    nan = ir.Constant(f32, float("nan"))
    return codes, builder.select(finite, scale, nan)


def splat_constant(kind: Any, number: float) -> Any:
    """A vector constant with a number in each lane."""
    from llvmlite import ir

    return ir.Constant(kind, [number] * kind.count)
