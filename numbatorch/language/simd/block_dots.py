"""Products of 8-bit integers with blocks of several rows, which meet each run of x together.

What the words do for a block type is bound by ops/cpu/quant_blocks.py, as those of simd/packed.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numbatorch.language.kernel import Intrinsic, intrinsic
from numbatorch.language.simd import vectors as simd
from numbatorch.language.simd.int8 import dot_bytes, signed_bias
from numbatorch.language.simd.packed import Factors, Numbers, Part, words_of

RUN = 32  # values that share a scale of x
LANES = 8  # sums of a row, each of the products of four values of a run

# Sums are a tile with a vector for each row and one more, whose lane l is of row l % rows.


@intrinsic(literal=True)
def row_sums_begin(typingctx: Any, rows: Any) -> Any:
    """Sums of so many rows that `add_block` and `add_run` add to, 0."""
    from llvmlite import ir
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    tile = simd_types.TileType("float32", rows.literal_value + 1, 1, LANES)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return ir.Constant(tile.llvm, None)

    return signature(tile, rows), codegen


@intrinsic
def row_sums_end(typingctx: Any, sums: Any) -> Any:
    """A vector of the sum of each row."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types
    from numbatorch.language.simd.tile import vector_sums

    rows = sums.rows - 1

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        vectors = [builder.extract_value(values[0], row) for row in range(rows + 1)]
        found = vector_sums(builder, vectors[:rows])
        for start in range(0, LANES, rows):
            rest = simd.take(builder, vectors[rows], range(start, start + rows))
            found = builder.fadd(found, rest)
        return found

    return signature(simd_types.VecType("float32", rows), sums), codegen


@dataclass(frozen=True)
class Blocks:
    """A block type, as products read it: values are code * scale - min.

    Attributes:
        codes: less their bias.
        scales: one for each group.
        mins: the same, if there are any; such types have no bias.
        values: of a block.
        nbytes: of a block.
        group: values that share a scale, 16 or 32.
    """

    codes: Numbers
    scales: Factors
    mins: Factors | None
    values: int
    nbytes: int
    group: int

    @property
    def groups(self) -> int:
        """Of a block."""
        return self.values // self.group

    def taken(self) -> Factors | None:
        """What is taken off times `totals`, if there is anything."""
        return self.scales if self.mins is None and self.bias() else self.mins

    def bias(self) -> int:
        """What is taken off codes as products have them, by the processor that is compiled for."""
        return signed_bias() if self.codes.adapts else self.codes.bias

    def groups_of(self, start: int, lanes: int) -> list[int]:
        """Of the words of so many lanes from a value on."""
        return [(start + 4 * lane) // self.group for lane in range(lanes)]

    @property
    def together(self) -> int:
        """Blocks of a row that meet x together."""
        return 2 if self.groups == 1 and self.mixed else 1

    @property
    def piece(self) -> int:
        """Values in order that are multiplied at once; LLVM computes those of helpers by 64."""
        return RUN if self.codes.four is None else min(2 * RUN, self.values)

    @property
    def mixed(self) -> bool:
        """Whether two runs share vectors, half of each: bytes of several codes fall apart so."""
        several = any(bits < 8 for _, bits, _ in self.codes.planes)
        return self.group == RUN and several


def add_block_of(blocks: Blocks) -> Intrinsic:
    """A word that adds to each of `sums` the products of x with a block of its row.

    (sums, block, stride, last, left, x, scales, totals): the block of row r lies `stride` bytes
    behind that of row r - 1; rows after `last` repeat it. Where two blocks meet x together and but
    one is `left`, it is repeated. `x` points to words of int8, `scales` to a float32 for each run,
    `totals` to one for each group of what is taken off for it: minus the sum of x there, times the
    bias of types without mins.
    """

    def word(
        typingctx: Any,
        sums: Any,
        block: Any,
        stride: Any,
        last: Any,
        left: Any,
        x: Any,
        scales: Any,
        totals: Any,
    ) -> Any:
        from numba.core import types
        from numba.core.typing.templates import signature

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            emit = _Emit(context, builder, blocks)
            before, at, of_x = values[0], values[1:4], values[5:]
            if blocks.codes.four is None:
                rows = [emit.place(at, _number(row)) for row in range(sums.rows - 1)]
                return emit.add_rows([emit.together(row, values[4]) for row in rows], before, of_x)

            def of_row(place: Any) -> Any:
                alone = emit.add_rows([emit.together(place, values[4])], None, of_x)
                return builder.fadd(*(builder.extract_value(alone, i) for i in range(2)))

            return emit.row_by_row(before, at, of_row)

        i64 = types.int64
        given = (sums, block, i64, i64, i64, x, scales, totals)
        return signature(sums, *given), codegen

    return Intrinsic(word, False)


def add_run_of(blocks: Blocks) -> Intrinsic:
    """A word that adds to each of `sums` the products of a run of a block of its row with x.

    (sums, block, stride, last, run, x, scale): as `add_block`, but `x` points to the words of the
    run, and nothing is taken off.
    """

    def word(
        typingctx: Any, sums: Any, block: Any, stride: Any, last: Any, run: Any, x: Any, scale: Any
    ) -> Any:
        from numba.core import types
        from numba.core.typing.templates import signature

        from numbatorch.language.simd import types as simd_types

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            emit = _Emit(context, builder, blocks)
            before, at, number = values[0], values[1:4], values[4]
            given = emit.vector(values[5], "int32", LANES)
            spread = simd_types.splat(builder, values[6], LANES)

            def of_row(place: Any) -> Any:
                factors = blocks.scales.vector(context, builder, [place], blocks.groups)
                factors = builder.fmul(factors, simd.take(builder, spread, [0] * blocks.groups))
                return emit.one_run(number, place, factors, given)

            return emit.row_by_row(before, at, of_row)

        i64 = types.int64
        return signature(sums, sums, block, i64, i64, i64, x, types.float32), codegen

    return Intrinsic(word, False)


def _number(value: int) -> Any:
    from llvmlite import ir

    return ir.IntType(64)(value)


@dataclass(frozen=True)
class _Emit:
    """What emits the IR of the words above."""

    context: Any
    builder: Any
    blocks: Blocks

    def vector(self, pointer: Any, element: str, lanes: int, index: int = 0) -> Any:
        """The vector `index` elements behind a pointer."""
        from numbatorch.language.simd import types as simd_types

        kind = simd_types.VecType(element, lanes).llvm
        place = simd.pointer_to(self.builder, pointer, kind.element, _number(index))
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), align=4)

    def place(self, at: Any, row: Any) -> Any:
        """The address of the block of a row; `at` are block, stride and last."""
        block, stride, last = at
        there = self.builder.select(self.builder.icmp_signed("<", row, last), row, last)
        return self.builder.gep(block, [self.builder.mul(there, stride)], inbounds=True)

    def together(self, place: Any, left: Any) -> list[Any]:
        """The addresses of the blocks of a row that meet x together."""
        if self.blocks.together == 1:
            return [place]
        more = self.builder.icmp_signed(">", left, _number(1))
        step = self.builder.select(more, _number(self.blocks.nbytes), _number(0))
        return [place, self.builder.gep(place, [step], inbounds=True)]

    def row_by_row(self, sums: Any, at: Any, of_row: Callable[[Any], Any]) -> Any:
        """Sums with what `of_row` gives for the place of each row, in a loop."""
        from numba.core import cgutils

        builder = self.builder
        memory = cgutils.alloca_once(builder, sums.type)
        builder.store(sums, memory)
        with cgutils.for_range(builder, _number(sums.type.count - 1)) as loop:
            vector = builder.gep(memory, [_number(0), loop.index], inbounds=True)
            added = of_row(self.place(at, loop.index))
            builder.store(builder.fadd(builder.load(vector), added), vector)
        return builder.load(memory)

    def dots(self, parts: list[Part], count: int, first: Any, x: Any) -> Any:
        """`first` and the products of `count` values of each part with words of x."""
        codes = self.blocks.codes
        words = words_of(self.context, self.builder, codes, parts, count)
        return dot_bytes(self.builder, first, words, x, codes.adapts)

    def one_run(self, number: Any, place: Any, factors: Any, x: Any) -> Any:
        """The products of the run of a block of this number with x, times its factors."""
        builder, count = self.builder, self.blocks.values // RUN
        end = builder.append_basic_block("after_run")
        cases = [builder.append_basic_block(f"run_{run}") for run in range(count)]
        switch = builder.switch(number, cases[-1])
        found = []
        for run, case in enumerate(cases):
            switch.add_case(_number(run), case)
            builder.position_at_end(case)
            products = self.dots([(place, RUN * run)], RUN, _zeros("int32", LANES), x)
            factor = simd.take(builder, factors, self.blocks.groups_of(RUN * run, LANES))
            products = builder.fmul(builder.sitofp(products, factor.type), factor)
            found.append((products, builder.block))
            builder.branch(end)
        builder.position_at_end(end)
        out = builder.phi(found[0][0].type)
        for products, block in found:
            out.add_incoming(products, block)
        return out

    def add_rows(self, places: list[list[Any]], sums: Any, of_x: Any) -> Any:
        """`add_block` for rows that meet x side by side; to 0 if there are no sums.

        Args:
            places: of the blocks of each row.
            of_x: pointers to its words, scales and totals.
        """
        from numbatorch.language.simd import types as simd_types

        builder, blocks = self.builder, self.blocks
        x, scales, totals = of_x
        if sums is None:
            sums = simd_types.TileType("float32", len(places) + 1, 1, LANES).llvm(None)
        vectors = [builder.extract_value(sums, row) for row in range(len(places) + 1)]
        factors = self.of_rows(blocks.scales, places)
        taken = blocks.taken()
        if taken is not None:
            least = factors if taken is blocks.scales else self.of_rows(taken, places)
            self.take_off(vectors, least, totals)
        factors = self.times_scales(factors, scales)
        add, step = (self.add_two_runs, 2 * RUN) if blocks.mixed else (self.add_piece, blocks.piece)
        for start in range(0, blocks.together * blocks.values, step):
            add(places, vectors, factors, x, start)
        for row, vector in enumerate(vectors):
            sums = builder.insert_value(sums, vector, row)
        return sums

    def of_rows(self, factors: Factors, places: list[list[Any]]) -> list[Any]:
        """The factors of each row; of blocks of one group one vector, see `factor`."""
        context, builder, blocks = self.context, self.builder, self.blocks
        if blocks.groups == 1:
            every = [row[number] for number in range(blocks.together) for row in places]
            return [factors.vector(context, builder, every, len(every))]
        return [factors.vector(context, builder, row, blocks.groups) for row in places]

    def factor(self, factors: list[Any], row: int, rows: int, lanes: list[int]) -> Any:
        """The factors of a row, by group; of blocks of one group each half has its block's."""
        if self.blocks.groups > 1:
            return simd.take(self.builder, factors[row], lanes)
        second = row + factors[0].type.count - rows
        half = len(lanes) // 2
        return simd.take(self.builder, factors[0], [row] * half + [second] * half)

    def times_scales(self, factors: list[Any], scales: Any) -> list[Any]:
        """Factors times the scales of x."""
        builder, blocks = self.builder, self.blocks
        runs, lanes = blocks.together * blocks.values // RUN, factors[0].type.count
        own = self.vector(scales, "float32", runs)
        own = simd.take(builder, own, [lane * runs // lanes for lane in range(lanes)])
        return [builder.fmul(vector, own) for vector in factors]

    def take_off(self, vectors: list[Any], least: list[Any], totals: Any) -> None:
        """Add what is taken off, times `totals`."""
        builder, blocks = self.builder, self.blocks
        count = blocks.together * blocks.groups
        total = self.vector(totals, "float32", count)
        targets = list(range(len(least)))
        if blocks.groups == 1:
            lanes, targets = least[0].type.count, [len(vectors) - 1]
            total = simd.take(builder, total, [lane * count // lanes for lane in range(lanes)])
            count = lanes
        zeros = total.type(None)
        for start in range(0, count, LANES):
            chosen = [min(lane, count) for lane in range(start, start + LANES)]
            part = simd.take(builder, total, chosen, zeros)
            for row, vector in zip(targets, least, strict=True):
                own = simd.take(builder, vector, chosen, zeros)
                vectors[row] = simd.fma_vector(builder, own, part, vectors[row])

    def add_piece(
        self, places: list[list[Any]], vectors: list[Any], factors: list[Any], x: Any, start: int
    ) -> None:
        """Add the products of a piece of each row, in the order of values, to its vector."""
        builder, blocks = self.builder, self.blocks
        count = blocks.piece // 4
        given = self.vector(x, "int32", count, start // 4)
        groups = blocks.groups_of(start, count)
        for row, (place,) in enumerate(places):
            products = self.dots([(place, start)], blocks.piece, _zeros("int32", count), given)
            factor = self.factor(factors, row, len(places), groups)
            products = builder.sitofp(products, factor.type)
            for lane in range(0, count, LANES):
                chosen = range(lane, lane + LANES)
                products_, factor_ = (simd.take(builder, v, chosen) for v in (products, factor))
                vectors[row] = simd.fma_vector(builder, products_, factor_, vectors[row])

    def add_two_runs(
        self, places: list[list[Any]], vectors: list[Any], factors: list[Any], x: Any, start: int
    ) -> None:
        """As `add_piece` of two runs: each of two vectors has a half of either."""
        builder, half = self.builder, LANES // 2
        given = self.vector(x, "int32", 2 * LANES, start // 4)
        groups = [start // RUN] * half + [start // RUN + 1] * half
        for row, own in enumerate(places):
            products = _zeros("int32", LANES)
            for lane in (0, half):
                lanes = [*range(lane, lane + half), *range(LANES + lane, LANES + lane + half)]
                begin = start + 4 * lane
                parts = [(own[0], begin), (own[-1], begin + RUN * (len(own) == 1))]
                x_words = simd.take(builder, given, lanes)
                products = self.dots(parts, 4 * half, products, x_words)
            factor = self.factor(factors, row, len(places), groups)
            products = builder.sitofp(products, factor.type)
            vectors[row] = simd.fma_vector(builder, products, factor, vectors[row])


def _zeros(element: str, lanes: int) -> Any:
    from numbatorch.language.simd import types as simd_types

    return simd_types.VecType(element, lanes).llvm(None)
