"""How kernels without vectors read each GGML block type: a row of the table a type, its helpers.

A value is (code - bias) * scale - least, and four neighbours are decoded together. Sources of
layouts and formulas stand in quantized/blocks.py, which the tests compare with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from numbatorch import dtype as dtypes
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
from numbatorch.language.words import (
    Helper,
    Word,
    float16,
    float32,
    int8,
    int32,
    int64,
    uint8,
    uint16,
)

NIBBLES = 0x0F0F0F0F  # the low halves of four bytes


@dataclass(frozen=True)
class BlockForm:
    """How kernels read a block type; the place of a value is its number in the block.

    Attributes:
        name: of the dtype.
        codes: (block, place) -> the codes of four values from a place on, a multiple of 4; the
            first in the lowest byte.
        scale: (block, place) -> float32, the same for 16 values.
        bias: of the codes.
        least: as `scale`.
    """

    name: str
    codes: Any
    scale: Any
    bias: int
    least: Any


@helper
def word_at(block: Pointer[uint8], byte: int) -> Any:
    """Four bytes from an even one on; blocks start at even addresses only."""
    halves = view(block + byte, uint16)
    return int64(halves[0]) | (int64(halves[1]) << 16)


@helper
def scale_ahead(block: Pointer[uint8], place: int) -> Any:
    """A float16 at the start of the block."""
    return view(block, float16)[0]


@helper
def no_least(block: Pointer[uint8], place: int) -> Any:
    """Of types without mins."""
    return float32(0.0)


@helper
def codes_q8_0(block: Pointer[uint8], place: int) -> Any:
    """Behind the scale 32 int8; 128 more than they are, as all codes here are unsigned."""
    return word_at(block, 2 + place) ^ 0x80808080


@helper
def codes_q4_0(block: Pointer[uint8], place: int) -> Any:
    """Behind the scale 16 bytes of two codes; values 16 to 31 in their high halves."""
    return (word_at(block, 2 + (place & 15)) >> ((place >> 4) * 4)) & NIBBLES


@helper
def codes_q5_0(block: Pointer[uint8], place: int) -> Any:
    """Behind the scale the fifth bits of 32 codes in 4 bytes, then as Q4_0."""
    low = (word_at(block, 6 + (place & 15)) >> ((place >> 4) * 4)) & NIBBLES
    fifth = (word_at(block, 2) >> place) & 15
    apart = (fifth | (fifth << 7) | (fifth << 14) | (fifth << 21)) & 0x01010101
    return low | (apart << 4)


@helper
def codes_q4_k(block: Pointer[uint8], place: int) -> Any:
    """Behind 16 bytes of scales 4 runs of 32 bytes; values 32 to 63 in their high halves."""
    packed = word_at(block, 16 + ((place >> 6) << 5) + (place & 31))
    return (packed >> (((place >> 5) & 1) * 4)) & NIBBLES


@helper
def scale_q4_k(block: Pointer[uint8], place: int) -> Any:
    """float16 d and dmin, then 8 scales and 8 mins of 6 bits.

    Bytes 0 to 3 hold scales 0 to 3 in their low six bits, bytes 4 to 7 mins 0 to 3; scales and mins
    4 to 7 have their low four bits in bytes 8 to 11 and their high two bits atop the others.
    """
    number = place >> 5
    first = int64(block[4 + (number & 3)])
    found = first & 63
    if number > 3:
        found = (int64(block[8 + number]) & 15) | ((first >> 6) << 4)
    return float32(int32(found)) * view(block, float16)[0]


@helper
def least_q4_k(block: Pointer[uint8], place: int) -> Any:
    """See `scale_q4_k`."""
    number = place >> 5
    first = int64(block[8 + (number & 3)])
    found = first & 63
    if number > 3:
        found = (int64(block[8 + number]) >> 4) | ((first >> 6) << 4)
    return float32(int32(found)) * view(block + 2, float16)[0]


@helper
def codes_q6_k(block: Pointer[uint8], place: int) -> Any:
    """128 bytes of low four bits, 64 of high two bits.

    Of every 128 values the low bits stand in 64 bytes and the high ones in 32: value 32 * i + j has
    bits 4 * (i // 2) of byte 32 * (i % 2) + j, and bits 2 * i of byte j.
    """
    half = place >> 7
    i = (place >> 5) & 3
    j = place & 31
    low = (word_at(block, 64 * half + 32 * (i & 1) + j) >> (4 * (i >> 1))) & NIBBLES
    high = (word_at(block, 128 + 32 * half + j) >> (2 * i)) & 0x03030303
    return low | (high << 4)


@helper
def scale_q6_k(block: Pointer[uint8], place: int) -> Any:
    """16 int8, then float16 d."""
    found = int32(view(block + 192, int8)[place >> 4])
    return float32(found) * view(block + 208, float16)[0]


FORMS = (
    BlockForm("Q8_0", codes_q8_0, scale_ahead, 128, no_least),
    BlockForm("Q4_0", codes_q4_0, scale_ahead, 8, no_least),
    BlockForm("Q5_0", codes_q5_0, scale_ahead, 16, no_least),
    BlockForm("Q4_K", codes_q4_k, scale_q4_k, 0, least_q4_k),
    BlockForm("Q6_K", codes_q6_k, scale_q6_k, 32, no_least),
)
BLOCKS = tuple(form.name for form in FORMS)

# Names that the form gives a meaning in each kernel of `block_kernel`, and in its helpers.
codes_of: Any = Word("codes_of", "(block, place): see BlockForm.codes.")
scale_of: Any = Word("scale_of", "(block, place): see BlockForm.scale.")
least_of: Any = Word("least_of", "(block, place): see BlockForm.least.")
BIAS = 0  # of the codes
BLOCK_BYTES = 1  # of a block
PLACE_BITS = 0  # a block has 1 << PLACE_BITS values


def meanings(form: BlockForm) -> dict[str, Any]:
    """What the names above mean for a block type."""
    kind = dtypes.by_name[form.name]
    return {
        "codes_of": form.codes,
        "scale_of": form.scale,
        "least_of": form.least,
        "BIAS": form.bias,
        "BLOCK_BYTES": kind.itemsize,
        "PLACE_BITS": kind.block.bit_length() - 1,
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
    return float32(int32(((codes >> (8 * number)) & 255) - BIAS)) * scale - least


class BlockKernel(Kernel):
    """A kernel over a weight in blocks: `kernel(T=kind)` is its text with a form's meanings."""

    def __init__(self, made: dict[str, Kernel]) -> None:
        first = made[BLOCKS[0]]
        super().__init__(first.function, {"T": BLOCKS})
        self.__name__ = first.__name__
        self.made = made

    def __call__(self, **types: str | DType) -> BoundKernel:
        kind = types["T"]
        return self.made[kind if isinstance(kind, str) else kind.name](T=kind)


def block_kernel(
    function: Callable[..., None],
    place: tuple[str, str] | None = None,
    types: dict[str, str] | None = None,
    **names: Any,
) -> BlockKernel:
    """Make a function over blocks a kernel for each block type.

    Args:
        function: whose weight is a `Pointer[uint8]`.
        place: module and name of the kernel, if not those of the function.
        types: of the function's type parameters.
        names: further names with another meaning in it; helpers are bound to the form, too.
    """
    assert isinstance(function, FunctionType)
    module, name = place or (function.__module__, function.__name__)
    made = {}
    for form in FORMS:
        scope = {**meanings(form), **names}
        bound = with_types(rebound(function, scope, {}), types or {})
        bound.__module__, bound.__qualname__, bound.__doc__ = module, name, function.__doc__
        bound.__annotations__ = _annotations(function, types or {})
        made[form.name] = Kernel(bound, {"T": (form.name,)})
        made[form.name].__name__ = name
    return BlockKernel(made)


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
    made = FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__
    return made
