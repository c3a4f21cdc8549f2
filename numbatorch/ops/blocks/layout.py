"""How a GGML block type is declared, and what NumPy makes of the declaration.

Kernels read blocks by the same declaration: blocks/kernel.py value by value, on every device,
ops/cpu/quant_blocks.py in vectors. So no layout is written down twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType
from typing import Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.language.kernel import Helper, Pointer, helper, view
from numbatorch.language.words import Table, int64, uint8, uint16

Array = np.ndarray[Any, np.dtype[Any]]

SIZES = (32, 64, 128, 256)  # values of a block that kernels read
GROUPS = (16, 32)  # values that share a scale in CPU kernels; more than 32 read it again


@dataclass(frozen=True)
class Bits:
    """Numbers of a few bits, packed in the bytes of a field.

    Runs of `span` numbers share as many bytes, the first run in the lowest bits: number i stands in
    byte i // (span * per) * span + i % span from bit i // span % per * bits on, per = 8 // bits.

    Attributes:
        field: of the block.
        bits: 1, 2, 4 or 8.
        span: a power of 2 from 4 on; or 1 for whole bytes, and for single bits in order.
    """

    field: str
    bits: int = 8
    span: int = 1

    def __post_init__(self) -> None:
        alone = self.span == 1 and self.bits in (1, 8)
        runs = self.span >= 4 and self.span.bit_count() == 1 and self.bits in (1, 2, 4, 8)
        if not (alone or runs):
            problem = f"kernels do not read {self.bits} bits in runs of {self.span}"
            raise DTypeError(message("block type", problem, f"field {self.field}"))

    @property
    def per(self) -> int:
        """Numbers that share a byte."""
        return 8 // self.bits

    def read(self, blocks: Array) -> Array:
        """(n,) blocks to (n, numbers) uint8."""
        packed = blocks[self.field].reshape(len(blocks), -1, 1, self.span)
        found = packed >> self._moves() & np.uint8((1 << self.bits) - 1)
        return found.reshape(len(blocks), -1)

    def write(self, blocks: Array, numbers: Array) -> None:
        """The inverse of `read`; of the numbers only the lowest bits count."""
        low = (numbers & np.uint8((1 << self.bits) - 1)).reshape(
            len(blocks), -1, self.per, self.span
        )
        packed = low[:, :, 0]
        for place in range(1, self.per):
            packed = packed | low[:, :, place] << np.uint8(place * self.bits)
        blocks[self.field] = packed.reshape(blocks[self.field].shape)

    def _moves(self) -> Array:
        return np.arange(0, 8, self.bits, dtype=np.uint8)[:, None]


@helper
def word_at(block: Pointer[uint8], byte: int) -> Any:
    """Four bytes from an even one on; of blocks whose size is odd from any one on."""
    halves = view(block + byte, uint16)
    return int64(halves[0]) | (int64(halves[1]) << 16)


@dataclass(frozen=True)
class Packed:
    """Integers of a block: from how they are stored to what they are.

    Attributes:
        planes: the bits of each, the lowest plane first.
        four: where planes do not say it, a helper (block, place) -> the numbers from `place` on, a
            multiple of 4, in four bytes, the first one lowest. It reads by `word_at` and decides by
            the place alone, and so NumPy calls it too.
        signed: they are int8.
        bias: what is taken off.
        table: what the numbers are indices of, 16 of int8; those are neither signed nor biased.
    """

    planes: tuple[Bits, ...] = ()
    four: Any = None
    signed: bool = False
    bias: int = 0
    table: Table | None = None

    def __post_init__(self) -> None:
        widths = [plane.bits for plane in self.planes]
        if len(widths) > 2 or sum(widths) > 8 or bool(widths) == (self.four is not None):
            problem = f"planes of {widths} bits, where kernels read one, two or a helper instead"
            raise DTypeError(message("block type", problem))
        if (self.table is not None) + self.signed + bool(self.bias) > 1:
            problem = "numbers are signed, or have a bias, or a table: kernels take one of these"
            raise DTypeError(message("block type", problem))
        if self.signed and len(widths) == 2:
            raise DTypeError(message("block type", f"planes of {widths} bits of signed numbers"))

    def read(self, blocks: Array, count: int) -> Array:
        """The first `count` integers of (n,) blocks, (n, count) float32."""
        if self.four is not None:
            numbers = _called(self.four, blocks, count)
        else:
            numbers = self.planes[0].read(blocks)
            up = self.planes[0].bits
            for plane in self.planes[1:]:
                numbers = numbers | plane.read(blocks) << np.uint8(up)
                up += plane.bits
        if self.table is not None:
            return np.array(self.table, np.float32)[numbers[:, :count]]
        found: Array = numbers.view(np.int8 if self.signed else np.uint8)[:, :count]
        return found.astype(np.float32) - np.float32(self.bias)

    def write(self, blocks: Array, numbers: Array) -> None:
        """Store (n, count) integers as they are before the bias."""
        found = numbers.astype(np.int8 if self.signed else np.uint8).view(np.uint8)
        for plane in self.planes:
            plane.write(blocks, found)
            found = found >> np.uint8(plane.bits % 8)


class _Blocks:
    """The bytes of (n,) blocks in place of a kernel's pointer to one."""

    def __init__(self, blocks: Array) -> None:
        self.bytes = blocks.view(np.uint8).reshape(len(blocks), -1)

    def word_at(self, byte: int) -> Array:
        return self.bytes[:, byte : byte + 4].copy().view("<u4")[:, 0].astype(np.int64)


def _called(four: Helper, blocks: Array, count: int) -> Array:
    function = _in_numpy(four)
    memory = _Blocks(blocks)
    words = [function(memory, place) for place in range(0, count, 4)]
    return np.stack(words, axis=1).astype("<u4").view(np.uint8)


def _in_numpy(found: Helper) -> Callable[..., Any]:
    """A helper as a function of `_Blocks`."""
    if found is word_at:
        return _Blocks.word_at
    code, scope = found.function.__code__, dict(found.function.__globals__)
    for name in code.co_names:
        value = scope.get(name)
        if isinstance(value, Helper):
            scope[name] = _in_numpy(value)
        elif isinstance(value, Table):
            scope[name] = np.array(value)
    return FunctionType(code, scope)


@dataclass(frozen=True)
class Factor:
    """A scale of a block, or one for each group of its values.

    Attributes:
        field: a float16 or float32.
        numbers: integers, one a group, that it is multiplied with; None for one scale a block.
        count: how many of them.
        negative: what the block stores is minus this.
        times: a power of 2 that it is multiplied with as well.
        code: where no field is the number, a helper (block, group) -> its bits, those of a float32,
            or of a float16 if `half`. It reads and decides as `Packed.four`. Without `numbers` it
            is asked for each of `count` groups, else once.
        half: see `code`.
    """

    field: str = ""
    numbers: Packed | None = None
    count: int = 1
    negative: bool = False
    times: float = 1.0
    code: Any = None
    half: bool = False

    def __post_init__(self) -> None:
        if bool(self.field) == (self.code is not None):
            raise DTypeError(message("block type", "a scale has either a field or a code"))
        if self.times <= 0 or np.frexp(self.times)[0] != 0.5:
            problem = f"a scale is multiplied with {self.times}, where kernels take powers of 2"
            raise DTypeError(message("block type", problem))

    @property
    def floats(self) -> int:
        """How many numbers of their own a block has."""
        return 1 if self.numbers is not None or self.code is None else self.count

    def read(self, blocks: Array) -> Array:
        """(n,) blocks to (n, count) float32."""
        found = self._floats(blocks)
        if self.numbers is not None:
            found = found * self.numbers.read(blocks, self.count)
        if self.times != 1:
            found = found * np.float32(self.times)
        return -found if self.negative else found

    def _floats(self, blocks: Array) -> Array:
        if self.code is None:
            stored: Array = blocks[self.field].astype(np.float32)[:, None]
            return stored
        function, memory = _in_numpy(self.code), _Blocks(blocks)
        codes = np.stack([function(memory, group) for group in range(self.floats)], axis=1)
        return (
            codes.astype("<u4").astype("<u2").view("<f2").astype(np.float32)
            if self.half
            else (codes.astype("<u4").view("<f4"))
        )


@dataclass(frozen=True, eq=False)
class BlockType:
    """How values are stored in blocks: value = code * scale - least.

    Attributes:
        dtype: the type.
        fields: of a block in order: name, NumPy type and, for several, how many.
        codes: one a value.
        scale: shared by a group of values.
        least: as `scale`, or None for 0.
        encode: (n, block) float32 to the fields of blocks, with `codes` as they are before
            bias and table in place of those that planes describe; None where nothing here
            encodes the type.
        weighted: the same with how much each value counts, (n, block), and the mean square of its
            row, (n, 1); None where importance does not matter.

    Raises:
        DTypeError: kernels do not read such blocks.
    """

    dtype: DType
    fields: tuple[tuple[str, str] | tuple[str, str, int], ...]
    codes: Packed
    scale: Factor = field(default_factory=lambda: Factor("d"))
    least: Factor | None = None
    encode: Callable[[Array], Mapping[str, Array]] | None = None
    weighted: Callable[[Array, Array, Array], Mapping[str, Array]] | None = None

    def __post_init__(self) -> None:
        kind, size = self.dtype, self.layout.itemsize
        if size != kind.itemsize:
            self._refuse(f"its fields take {size} bytes, where {kind.name} has {kind.itemsize}")
        if kind.block not in SIZES:
            self._refuse(f"blocks of {kind.block} values, where kernels read {SIZES}")
        if self.group not in GROUPS:
            self._refuse(f"a scale for {self.group} values, where kernels take {GROUPS}")
        if self.least is not None and self.codes.bias:
            self._refuse("codes with both a bias and a least value")
        for plane in self.codes.planes:
            numbers = self.layout[plane.field].itemsize * plane.per
            if numbers != kind.block:
                self._refuse(f"{numbers} numbers in {plane.field}, where a block has {kind.block}")
        for factor in self.factors:
            if factor.field and self._stored(factor) not in ("<f2", "<f4"):
                self._refuse(f"a scale in {factor.field} that is neither float16 nor float32")
        if self.codes.table is not None and len(self.codes.table) != 16:
            self._refuse(f"a table of {len(self.codes.table)} numbers, where kernels look up 16")

    def _refuse(self, problem: str) -> None:
        raise DTypeError(message("block type", f"{self.dtype.name} has {problem}"))

    @cached_property
    def layout(self) -> np.dtype[Any]:
        """One block, as a NumPy structure."""
        return np.dtype(list(self.fields))

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Scale and, if there is one, least."""
        return (self.scale,) if self.least is None else (self.scale, self.least)

    @property
    def group(self) -> int:
        """Values that share scale and least, 32 at most."""
        return min(32, *(self.dtype.block // factor.count for factor in self.factors))

    def _stored(self, factor: Factor) -> str:
        return str(self.layout[factor.field].str)

    def wide(self, factor: Factor) -> bool:
        """Whether a float32 stands behind a scale, and no float16."""
        return self._stored(factor) == "<f4" if factor.field else not factor.half

    def offset(self, name: str) -> int:
        """The byte that a field begins at."""
        return int(self.layout.fields[name][1]) if self.layout.fields else 0

    def decode(self, blocks: Array) -> Array:
        """(n,) blocks to (n, block) float32."""
        n, size = len(blocks), self.dtype.block
        values = self.codes.read(blocks, size).reshape(n, self.scale.count, -1)
        values = self.scale.read(blocks)[:, :, None] * values
        if self.least is not None:
            least = self.least.read(blocks)[:, :, None]
            values = values.reshape(n, self.least.count, -1) - least
        return values.reshape(n, size)

    def encoded(self, values: Array, weights: tuple[Array, Array] | None = None) -> Array:
        """(n, block) float32 to (n,) blocks.

        Args:
            weights: what `weighted` takes besides the values.
        Raises:
            DTypeError: nothing here encodes the type, or what does gives other fields, or codes
                that their bits do not hold.
        """
        if self.encode is None:
            raise DTypeError(message("quantize", f"no encoder for {self.dtype.name}"))
        blocks = np.empty(len(values), self.layout)
        unset = {name for name, *_ in self.fields}
        if weights is None or self.weighted is None:
            fields = dict(self.encode(values))
        else:
            fields = dict(self.weighted(values, *weights))
        if "codes" in fields:
            self._write_codes(blocks, fields.pop("codes"))
            unset -= {plane.field for plane in self.codes.planes}
        if unset != fields.keys():
            wrong = ", ".join(sorted(unset ^ fields.keys()))
            self._refuse(f"an encoder that gives too much or nothing of {wrong}")
        for name, found in fields.items():
            blocks[name] = found
        return blocks

    def _write_codes(self, blocks: Array, codes: Array) -> None:
        bits = sum(plane.bits for plane in self.codes.planes)
        low = -(1 << bits - 1) if self.codes.signed else 0
        high = low + (1 << bits) - 1
        least, most = codes.min(initial=0), codes.max(initial=0)
        if not (np.isfinite(least) and np.isfinite(most)):  # quotients of a scale near 0
            codes = np.where(np.isfinite(codes), codes, 0)
            least, most = codes.min(initial=0), codes.max(initial=0)
        if not (low <= least and most <= high):
            given = f"codes from {least} to {most}"
            self._refuse(f"an encoder that gives {given}, where {bits} bits hold {low} to {high}")
        self.codes.write(blocks, codes)


def reciprocal(scale: Array) -> Array:
    """1 / scale, and 0 for 0: what encoders multiply with."""
    found: Array = np.where(scale == 0, np.float32(0), 1 / scale)
    return found
