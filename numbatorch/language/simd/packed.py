"""Integers of a few bits that blocks hold, and scales of blocks, as vectors.

Kernels read a row in steps of 256 values, one block or several. A step may have less: `last` is the
last run of 32 values that there is, and the blocks after that which holds it repeat it.
"""

from dataclasses import dataclass
from typing import Any

from numbatorch.language.kernel import Intrinsic
from numbatorch.language.processor import current_cpu
from numbatorch.language.simd import vectors as simd
from numbatorch.language.simd.int8 import signed_bias, splat_constant
from numbatorch.language.words import Table

STEP = 256

Plane = tuple[int, int, int]  # byte of the block, bits, span: see ops/blocks/layout.py


@dataclass(frozen=True)
class Numbers:
    """Integers of a block.

    Attributes:
        planes: their bits, the lowest first.
        four: or a helper (block, place) -> four of them, a byte each.
        signed: they are int8.
        bias: what is taken off.
        table: or they are indices of this, 16 of int8.
    """

    planes: tuple[Plane, ...]
    four: Any
    signed: bool
    bias: int
    table: Table | None

    @property
    def adapts(self) -> bool:
        """Whether `signed_bias` is added to them, to make them what products take."""
        return self.signed or self.table is not None


@dataclass(frozen=True)
class Step:
    """Where blocks lie.

    Attributes:
        values: of a block, at most STEP.
        nbytes: of a block.
    """

    values: int
    nbytes: int

    @property
    def blocks(self) -> int:
        """In a step."""
        return STEP // self.values

    def place(self, builder: Any, pointer: Any, last: Any, number: int) -> Any:
        """IR of the address of a block, or of the last one that there is."""
        from llvmlite import ir

        word = ir.IntType(64)
        if self.values == STEP:
            return pointer
        bound = builder.lshr(last, word((self.values // 32).bit_length() - 1))
        inside = builder.icmp_signed("<", word(number), bound)
        there = builder.select(inside, word(number), bound)
        return builder.gep(pointer, [builder.mul(there, word(self.nbytes))], inbounds=True)


def code_words(codes: Numbers, step: Step) -> Intrinsic:
    """A word (block, last, pair) -> values 64 * pair to 64 * pair + 63 of a step in order.

    They are 16 words of four bytes; `signed_bias` is added to those that may be negative. `pair`
    is a literal.
    """

    def codes_of(typingctx: Any, block: Any, last: Any, pair: Any) -> Any:
        from numba.core import types
        from numba.core.typing.templates import signature

        from numbatorch.language.simd import types as simd_types

        result = simd_types.VecType("uint32", 16)
        call = _caller(codes.four)
        first = 64 * pair.literal_value
        count = min(step.values, 64)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            numbers = range(first // step.values, first // step.values + 64 // count)
            places = [step.place(builder, args[0], args[1], number) for number in numbers]
            parts = [(place, first % step.values) for place in places]
            words = _words(builder, codes, call, context, parts, count)
            return _multipliable(builder, words, codes)

        return signature(result, block, types.int64, pair), codegen

    return Intrinsic(codes_of, True)


Part = tuple[Any, int]  # the address of a block, and the first of its values that are read


def words_of(context: Any, builder: Any, codes: Numbers, parts: list[Part], count: int) -> Any:
    """IR of the words of `count` values of each of one or two parts, as `code_words` gives them."""
    found = _words(builder, codes, _caller(codes.four), context, parts, count)
    return _multipliable(builder, found, codes)


def _multipliable(builder: Any, words: Any, codes: Numbers) -> Any:
    """IR of words of codes as products take them."""
    if codes.table is not None:
        words = _looked_up(builder, words, codes.table)
    if not codes.adapts:
        return words
    return builder.xor(words, splat_constant(words.type, 0x01010101 * signed_bias()))


@dataclass(frozen=True)
class Factors:
    """The scales of a step, or what is subtracted: one for each of `lanes` groups of values.

    Attributes:
        byte: of the block, where a float stands.
        code: or a helper (block, group) -> its bits, those of each of `count` if there are no
            numbers.
        element: float16 or float32.
        numbers: `count` integers that it is multiplied with, if there are any.
        negative: the scales are minus that.
        times: a power of 2 that they are multiplied with, too.
    """

    byte: int
    code: Any
    element: str
    numbers: Numbers | None
    count: int
    lanes: int
    negative: bool
    times: float
    step: Step

    def word(self) -> Intrinsic:
        """A word (block, last) -> these."""

        def scales_of(typingctx: Any, block: Any, last: Any) -> Any:
            from numba.core import types
            from numba.core.typing.templates import signature

            from numbatorch.language.simd import types as simd_types

            result = simd_types.VecType("float32", self.lanes)
            return signature(result, block, types.int64), self._codegen()

        return Intrinsic(scales_of, True)

    def _codegen(self) -> Any:
        step = self.step
        halves = self.code is None and self.element == "float16"

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer, last = args[:2]
            places = [step.place(builder, pointer, last, i) for i in range(step.blocks)]
            floats = _block_halves(builder, pointer, last, self.byte, step) if halves else None
            return self.vector(context, builder, places, self.lanes, floats)

        return codegen

    def vector(
        self, context: Any, builder: Any, places: list[Any], lanes: int, floats: Any = None
    ) -> Any:
        """IR of the factors of blocks at these places, as many for each.

        Args:
            floats: those of the blocks, if they have been loaded.
        """
        numbers = self.numbers
        found = self._floats(builder, context, places) if floats is None else floats
        if numbers is not None:
            call = _caller(numbers.four)
            parts = []
            for i, place in enumerate(places):
                integers = _integers(builder, numbers, call, context, place, self.count)
                spread = simd.take(builder, found, [i] * self.count)
                parts.append(builder.fmul(integers, spread))
            found = _joined(builder, parts)
        if found.type.count != lanes:
            have = found.type.count
            found = simd.take(builder, found, [i * have // lanes for i in range(lanes)])
        if self.times != 1:
            found = builder.fmul(found, splat_constant(found.type, self.times))
        return builder.fneg(found) if self.negative else found

    def _floats(self, builder: Any, context: Any, places: list[Any]) -> Any:
        """IR of the floats of each block."""
        from numbatorch.language import elements

        width = 16 if self.element == "float16" else 32
        if self.code is None:
            bits = _loaded(builder, places, self.byte, width)
        else:
            per = 1 if self.numbers is not None else self.count
            bits = _coded(builder, _caller(self.code), context, places, per, width)
        if self.element == "float16":
            return elements.widen(builder, "float16", bits)
        return _as_floats(builder, bits)


def _as_floats(builder: Any, bits: Any) -> Any:
    from llvmlite import ir

    return builder.bitcast(bits, ir.VectorType(ir.FloatType(), bits.type.count))


def _coded(builder: Any, call: Any, context: Any, places: list[Any], per: int, width: int) -> Any:
    """IR of so many bits that a helper gives for each of `per` groups of blocks."""
    from llvmlite import ir

    word = ir.IntType(width)
    out = ir.Constant(ir.VectorType(word, len(places) * per), ir.Undefined)
    for i, block in enumerate(places):
        for group in range(per):
            code = call(context, builder, block, group)
            code = builder.trunc(code, word) if width < 32 else code
            out = builder.insert_element(out, code, ir.IntType(32)(i * per + group))
    return out


def _looked_up(builder: Any, words: Any, table: Table) -> Any:
    """IR of the entries of a table of 16 that the bytes of words are the numbers of.

    Each processor shuffles a vector by another one in 16 bytes; without, bytes are picked one by
    one.
    """
    from llvmlite import ir

    cpu = current_cpu()
    nbytes = 4 * words.type.count
    name, width = "", nbytes
    if cpu.triple.startswith(("aarch64", "arm64")):
        name, width = "llvm.aarch64.neon.tbl1.v16i8", 16
    elif cpu.has("avx2"):
        width = min(simd.vector_bytes(), nbytes)
        name = "llvm.x86.avx512.pshuf.b.512" if width == 64 else "llvm.x86.avx2.pshuf.b"
    kind = ir.VectorType(ir.IntType(8), width)
    codes = builder.bitcast(words, ir.VectorType(ir.IntType(8), nbytes))
    entries = ir.Constant(kind, list(table) * (width // 16))
    found = []
    for start in range(0, nbytes, width):
        part = simd.take(builder, codes, range(start, start + width))
        if name:
            function = simd.declare(builder, name, ir.FunctionType(kind, [kind, kind]))
            found.append(builder.call(function, [entries, part]))
        else:
            found.append(_picked_bytes(builder, entries, part))
    return builder.bitcast(_joined(builder, found), words.type)


def _picked_bytes(builder: Any, entries: Any, codes: Any) -> Any:
    from llvmlite import ir

    out = ir.Constant(codes.type, ir.Undefined)
    for i in range(codes.type.count):
        lane = ir.IntType(32)(i)
        entry = builder.extract_element(entries, builder.extract_element(codes, lane))
        out = builder.insert_element(out, entry, lane)
    return out


def _caller(helper: Any) -> Any:
    """What calls a helper, if there is one: (context, builder, place, number) -> IR of int32."""
    if helper is None:
        return None
    from llvmlite import ir
    from numba.core import types

    from numbatorch.language import numba_pointers, numba_types

    pointer = numba_pointers.PointerType("uint8")
    sig, codegen = numba_types.call(helper.function, (pointer, types.int64))

    def call(context: Any, builder: Any, place: Any, number: int) -> Any:
        word = codegen(context, builder, sig, [place, ir.IntType(64)(number)])
        return builder.trunc(word, ir.IntType(32))

    return call


def _words(
    builder: Any, numbers: Numbers, call: Any, context: Any, parts: list[Part], count: int
) -> Any:
    """IR of `count` numbers of each part, in words."""
    from llvmlite import ir

    if call is None:
        words, up = None, 0
        for plane in numbers.planes:
            found = _plane(builder, plane, parts, count, up)
            words = found if words is None else builder.or_(words, found)
            up += plane[1]
        return words
    found = [
        call(context, builder, place, number)
        for place, start in parts
        for number in range(start, start + count, 4)
    ]
    words = ir.Constant(ir.VectorType(ir.IntType(32), len(found)), ir.Undefined)
    for i, word in enumerate(found):
        words = builder.insert_element(words, word, ir.IntType(32)(i))
    return words


def _plane(builder: Any, plane: Plane, parts: list[Part], count: int, up: int) -> Any:
    """IR of the bits of a plane, `up` bits from the lowest on."""
    from llvmlite import ir

    byte, bits, span = plane
    per = 8 // bits
    if per > 1 and span == 1:
        return _single_bits(builder, byte, parts, count, up)
    found: list[Any] = []
    lanes, moves = [], []
    for place, start in parts:
        numbers = range(start, start + count, 4)
        bytes_ = [i // (span * per) * span + i % span for i in numbers]
        low, length = min(bytes_), (max(bytes_) + 4 - min(bytes_)) // 4
        at = builder.gep(place, [ir.IntType(64)(byte + low)], inbounds=True)
        kind = ir.VectorType(ir.IntType(32), length)
        lanes += [(at - low) // 4 + length * len(found) for at in bytes_]
        moves += [i // span % per * bits for i in numbers]
        found.append(builder.load(builder.bitcast(at, kind.as_pointer()), align=1))
    words = simd.take(builder, found[0], lanes, found[-1])
    if any(moves):
        words = builder.lshr(words, ir.Constant(words.type, moves))
    if bits < 8:
        words = builder.and_(words, splat_constant(words.type, 0x01010101 * ((1 << bits) - 1)))
    return builder.shl(words, splat_constant(words.type, up)) if up else words


def _single_bits(builder: Any, byte: int, parts: list[Part], count: int, up: int) -> Any:
    """IR of bytes of 1 << up where a bit is set, and else 0."""
    from llvmlite import ir

    total = count * len(parts)
    part, whole = ir.IntType(count), ir.IntType(total)
    bits = whole(0)
    for i, (place, start) in enumerate(parts):
        at = builder.gep(place, [ir.IntType(64)(byte + start // 8)], inbounds=True)
        found = builder.load(builder.bitcast(at, part.as_pointer()), align=1)
        found = builder.zext(found, whole) if total > count else found
        bits = builder.or_(bits, builder.shl(found, whole(count * i)))
    mask = builder.bitcast(bits, ir.VectorType(ir.IntType(1), total))
    kind = ir.VectorType(ir.IntType(8), total)
    chosen = builder.select(mask, splat_constant(kind, 1 << up), splat_constant(kind, 0))
    return builder.bitcast(chosen, ir.VectorType(ir.IntType(32), total // 4))


def _integers(
    builder: Any, numbers: Numbers, call: Any, context: Any, place: Any, count: int
) -> Any:
    """IR of the first numbers of a block as float32."""
    from llvmlite import ir

    words = _words(builder, numbers, call, context, [(place, 0)], count)
    bytes_ = builder.bitcast(words, ir.VectorType(ir.IntType(8), count))
    kind = ir.VectorType(ir.IntType(32), count)
    wide = (builder.sext if numbers.signed else builder.zext)(bytes_, kind)
    if numbers.bias:
        wide = builder.sub(wide, splat_constant(kind, numbers.bias))
    return builder.sitofp(wide, ir.VectorType(ir.FloatType(), count))


def _joined(builder: Any, parts: list[Any]) -> Any:
    """IR of a power of 2 of vectors, one after the other."""
    while len(parts) > 1:
        count = 2 * parts[0].type.count
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [simd.take(builder, low, range(count), high) for low, high in pairs]
    return parts[0]


def _block_halves(builder: Any, pointer: Any, last: Any, byte: int, step: Step) -> Any:
    """IR of the float16 at a byte of each block of a step as a float32 vector."""
    from llvmlite import ir

    from numbatorch.language import elements

    def inserted() -> Any:
        places = [step.place(builder, pointer, last, i) for i in range(step.blocks)]
        return _loaded(builder, places, byte, 16)

    if step.blocks != 8 or not current_cpu().has("avx512bw"):
        return elements.widen(builder, "float16", inserted())
    all_there = builder.icmp_signed(">=", last, ir.IntType(64)(7))
    with builder.if_else(all_there) as (then, otherwise):
        with then:
            picked = _picked_halves(builder, pointer, byte, step.nbytes)
            picked_at = builder.block
        with otherwise:
            one_by_one = inserted()
            inserted_at = builder.block
    out = builder.phi(picked.type)
    out.add_incoming(picked, picked_at)
    out.add_incoming(one_by_one, inserted_at)
    return elements.widen(builder, "float16", out)


def _loaded(builder: Any, places: list[Any], byte: int, width: int) -> Any:
    """IR of a number of each block, loaded one by one."""
    from llvmlite import ir

    word = ir.IntType(width)
    out = ir.Constant(ir.VectorType(word, len(places)), ir.Undefined)
    for i, block in enumerate(places):
        place = builder.gep(block, [ir.IntType(64)(byte)], inbounds=True)
        code = builder.load(builder.bitcast(place, word.as_pointer()), align=1)
        out = builder.insert_element(out, code, ir.IntType(32)(i))
    return out


def _picked_halves(builder: Any, pointer: Any, byte: int, stride: int) -> Any:
    """IR of eight of them, picked from vectors of 32 that lie inside of the eight blocks."""
    from llvmlite import ir

    kind = ir.VectorType(ir.IntType(16), 32)
    wanted = [(i * stride + byte) // 2 for i in range(8)]
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
