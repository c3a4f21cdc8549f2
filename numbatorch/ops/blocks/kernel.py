"""How kernels read a block type, value by value, and kernels that are made for each type.

A value is code * scale - least, and four neighbours are decoded together. The helpers here are
given the offsets and widths of a declared layout; the text is the same for every type and device.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from numbatorch.dtype import DType
from numbatorch.language.kernel import (
    BoundKernel,
    Kernel,
    Pointer,
    PointerTo,
    helper,
    view,
    with_types,
)
from numbatorch.language.primitives import from_bits, select
from numbatorch.language.words import Helper, Word, float16, float32, int32, int64, uint8
from numbatorch.ops import blocks
from numbatorch.ops.blocks.layout import Bits, BlockType, Factor, Packed, word_at

SMALLEST = 2.0**-24  # float16 above 0

# Names that a layout gives a meaning in the helpers below, which are never called without.
AT = 0  # byte of the block that a field begins at
BITS, MASK = 8, 0  # of a number, and of four in a word
SPAN, TURN, PER = 0, 0, 0  # logarithms of Bits.span and of span * per, and per - 1
UP = 0  # bits below a plane
FLIP = 0  # of signed bytes the sign bits, as all numbers in words are unsigned
BIAS = 0
CODEBOOK = (0,)
GROUP = 5  # logarithm of how many values share a factor
first: Any = Word("first", "(block, place): a plane.")
second: Any = Word("second", "(block, place): the plane above.")
four: Any = Word("four", "(block, place): numbers of groups.")
inner: Any = Word("inner", "(block, place): a factor.")
base: Any = Word("base", "(block, group): the float of a factor.")
code_of: Any = Word("code_of", "(block, group): its bits.")
TIMES = 1.0


@helper
def half_at(block: Pointer[uint8], byte: int) -> Any:
    """The float16 at an even byte; of blocks whose size is odd at any one."""
    return view(block + byte, float16)[0]


@helper
def word_of_bytes(block: Pointer[uint8], byte: int) -> Any:
    """As `word_at`; blocks of an even size only start at even addresses."""
    low = int64(block[byte]) | (int64(block[byte + 1]) << 8)
    return low | (int64(block[byte + 2]) << 16) | (int64(block[byte + 3]) << 24)


@helper
def half_of_bytes(block: Pointer[uint8], byte: int) -> Any:
    """As `half_at`, by arithmetic on the bits."""
    return half_value(int64(block[byte]) | (int64(block[byte + 1]) << 8))


@helper
def half_value(code: int) -> Any:
    """The float16 of these bits."""
    size = code & 0x7FFF
    found = float32(int32(size)) * float32(SMALLEST)
    if size >= 0x0400:
        found = from_bits(int32((size << 13) + (112 << 23)))
    if size >= 0x7C00:
        found = from_bits(int32((size << 13) | 0x7F800000))
    return select(code > 0x7FFF, -found, found)


@helper
def runs(block: Pointer[uint8], place: int) -> Any:
    """Four neighbours in one run: the same bits of four bytes."""
    byte = AT + ((place >> TURN) << SPAN) + (place & ((1 << SPAN) - 1))
    return (word_at(block, byte) >> (((place >> SPAN) & PER) * BITS)) & MASK


@helper
def single_bits(block: Pointer[uint8], place: int) -> Any:
    """Four neighbours that are bits of one byte."""
    found = (int64(block[AT + (place >> 3)]) >> (place & 7)) & 15
    return (found | (found << 7) | (found << 14) | (found << 21)) & 0x01010101


@helper
def one_plane(block: Pointer[uint8], place: int) -> Any:
    """Numbers of one plane."""
    return first(block, place) ^ FLIP


@helper
def two_planes(block: Pointer[uint8], place: int) -> Any:
    """Numbers whose upper bits stand in another field."""
    return first(block, place) | (second(block, place) << UP)


@helper
def stored_half(block: Pointer[uint8], group: int) -> Any:
    """A float16 for the block."""
    return half_at(block, AT)


@helper
def stored_float(block: Pointer[uint8], group: int) -> Any:
    """A float32 for the block."""
    return view(block + AT, float32)[0]


@helper
def coded_half(block: Pointer[uint8], group: int) -> Any:
    """A float16 from its bits."""
    return half_value(int64(code_of(block, group)))


@helper
def coded_float(block: Pointer[uint8], group: int) -> Any:
    """A float32 from its bits."""
    return from_bits(int32(code_of(block, group)))


@helper
def one_factor(block: Pointer[uint8], place: int) -> Any:
    """A float for the block, or for each group."""
    return base(block, place >> GROUP)


@helper
def factors(block: Pointer[uint8], place: int) -> Any:
    """A float for the block, times an integer for each group."""
    group = place >> GROUP
    number = (four(block, group & -4) >> (8 * (group & 3))) & 255
    return float32(int32(number - BIAS)) * base(block, 0)


@helper
def multiplied(block: Pointer[uint8], place: int) -> Any:
    """A factor times a power of 2."""
    return inner(block, place) * float32(TIMES)


@helper
def negated(block: Pointer[uint8], place: int) -> Any:
    """A factor that is stored with the other sign."""
    return -inner(block, place)


@helper
def nothing(block: Pointer[uint8], place: int) -> Any:
    """The least of types without."""
    return float32(0.0)


@helper
def listed(code: int) -> Any:
    """The integer that a code is the number of."""
    return int32(CODEBOOK[code])


@helper
def unbiased(code: int) -> Any:
    """The integer that a code stands for."""
    return int32(code - BIAS)


def specialised(template: Any, **names: Any) -> Any:
    """A helper with a meaning for the names above, in itself and not in what it calls."""
    return Helper(_over(template.function, {**template.function.__globals__, **names}), True)


def plane(block: BlockType, bits: Bits) -> Any:
    """(block, place) -> four numbers of a plane, a byte each."""
    span = bits.span.bit_length() - 1
    return specialised(
        runs if bits.bits == 8 or bits.span >= 4 else single_bits,
        AT=block.offset(bits.field),
        BITS=bits.bits,
        MASK=0x01010101 * ((1 << bits.bits) - 1),
        SPAN=span,
        TURN=span + bits.per.bit_length() - 1,
        PER=bits.per - 1,
    )


def packed(block: BlockType, numbers: Packed) -> Any:
    """(block, place) -> four numbers from a place on, a multiple of 4; the first lowest."""
    planes = [plane(block, bits) for bits in numbers.planes] or [numbers.four]
    if len(planes) == 1:
        flip = 0x80808080 if numbers.signed else 0
        return specialised(one_plane, first=planes[0], FLIP=flip)
    return specialised(two_planes, first=planes[0], second=planes[1], UP=numbers.planes[0].bits)


def unsigned_bias(numbers: Packed) -> int:
    """The bias of numbers without signs."""
    return 128 if numbers.signed else numbers.bias


def integer(numbers: Packed) -> Any:
    """(code) -> the integer that an unsigned code stands for."""
    if numbers.table is not None:
        return specialised(listed, CODEBOOK=numbers.table)
    return specialised(unbiased, BIAS=unsigned_bias(numbers))


def factor(block: BlockType, found: Factor | None) -> Any:
    """(block, place) -> float32, the same for the values of a group."""
    if found is None:
        return nothing
    wide = block.wide(found)
    if found.field:
        stored = stored_float if wide else stored_half
        number = specialised(stored, AT=block.offset(found.field))
    else:
        number = specialised(coded_float if wide else coded_half, code_of=found.code)
    group = (block.dtype.block // found.count).bit_length() - 1
    if found.numbers is None:
        made = specialised(one_factor, base=number, GROUP=group)
    else:
        made = specialised(
            factors,
            base=number,
            GROUP=group,
            four=packed(block, found.numbers),
            BIAS=unsigned_bias(found.numbers),
        )
    if found.times != 1:
        made = specialised(multiplied, inner=made, TIMES=found.times)
    return specialised(negated, inner=made) if found.negative else made


# Words of kernels of `block_kernel`, and of the helpers that they call.
codes_of: Any = Word("codes_of", "(block, place): four codes, a byte each, the first lowest.")
scale_of: Any = Word("scale_of", "(block, place): float32, the same for 16 values.")
least_of: Any = Word("least_of", "(block, place): as scale_of.")
integer_of: Any = Word("integer_of", "(code): int32, the integer that it stands for.")
BLOCK_BYTES = 1  # of a block
PLACE_BITS = 0  # a block has 1 << PLACE_BITS values


def meanings(block: BlockType) -> dict[str, Any]:
    """What these names mean for a block type."""
    odd = {"word_at": word_of_bytes, "half_at": half_of_bytes}
    return {
        "codes_of": packed(block, block.codes),
        "scale_of": factor(block, block.scale),
        "least_of": factor(block, block.least),
        "integer_of": integer(block.codes),
        "BLOCK_BYTES": block.dtype.itemsize,
        "PLACE_BITS": block.dtype.block.bit_length() - 1,
        **(odd if block.dtype.itemsize % 2 else {}),
    }


@helper
def block_at(weight: Pointer[uint8], index: int) -> Pointer[uint8]:
    """The block that holds value `index` of a weight."""
    return weight + (index >> PLACE_BITS) * BLOCK_BYTES


@helper
def place_of(index: int) -> Any:
    """The place in its block of value `index`."""
    return index & ((1 << PLACE_BITS) - 1)


@helper
def value_of(codes: int, number: int, scale: float, least: float) -> Any:
    """One of four values that are decoded together."""
    return float32(integer_of((codes >> (8 * number)) & 255)) * scale - least


class BlockKernel(Kernel):
    """A kernel over a weight in blocks: `kernel(T=kind)` is its text for the type's layout."""

    def __init__(
        self, name: str, function: FunctionType, make: Callable[[BlockType], Kernel]
    ) -> None:
        super().__init__(function, {"T": blocks.names()})
        self.__name__ = name
        self.make = make
        self.made: dict[BlockType, BoundKernel] = {}

    def __call__(self, **types: str | DType) -> BoundKernel:
        block = blocks.find(self.__name__, types["T"])
        if block not in self.made:
            self.made[block] = self.make(block)(T=block.dtype)
        return self.made[block]


def block_kernel(
    function: Callable[..., None],
    meaning: Callable[[BlockType], dict[str, Any]] = meanings,
    place: tuple[str, str] | None = None,
    types: dict[str, str] | None = None,
    **names: Any,
) -> BlockKernel:
    """Make a function over blocks a kernel for each block type.

    Args:
        function: whose weight is a `Pointer[uint8]`, or of the type parameter T.
        meaning: of names in it and in its helpers, for a type.
        place: module and name of the kernel, if not those of the function.
        types: of the function's type parameters, if T is not that of the weight.
        names: further names with another meaning in it; helpers are bound to the layout, too.
    """
    assert isinstance(function, FunctionType)
    module, name = place or (function.__module__, function.__name__)

    def placed(found: FunctionType) -> FunctionType:
        found.__module__, found.__qualname__, found.__doc__ = module, name, function.__doc__
        found.__annotations__ = _annotations(function, types or {})
        return found

    def make(block: BlockType) -> Kernel:
        found = with_types(rebound(function, {**meaning(block), **names}, {}), types or {})
        made = Kernel(placed(found), {"T": (block.dtype.name,)})
        made.__name__ = name
        return made

    return BlockKernel(name, placed(rebound(function, {}, {})), make)


def _annotations(function: FunctionType, types: dict[str, str]) -> dict[str, Any]:
    return {
        name: PointerTo(types.get(word.element, word.element))
        if isinstance(word, PointerTo)
        else word
        for name, word in function.__annotations__.items()
    }


def rebound(
    function: FunctionType, names: dict[str, Any], known: dict[Helper, Helper]
) -> FunctionType:
    """The function with another meaning of some names, in all the helpers that it calls as well.

    Args:
        known: helpers that have been bound already.
    """
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = names.get(name, scope.get(name))
        if isinstance(value, Helper):
            if value not in known:
                known[value] = Helper(rebound(value.function, names, known), value.inline)
            value = known[value]
        if value is not None:
            scope[name] = value
    return _over(function, scope)


def _over(function: FunctionType, scope: dict[str, Any]) -> FunctionType:
    """The function over other globals."""
    made = FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__
    return made
