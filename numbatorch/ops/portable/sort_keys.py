"""Keys of sorting: integers whose bits, read as unsigned, are in the order of the elements.

Keys of 32 bits or less carry their position in the lower half of their word; wider ones have it
beside them.
"""

from numbatorch.dtype import DType
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import int64, uint32

NAN = {"float64": 0x7FF << 52, "float32": 0xFF << 23, "float16": 0x1F << 10, "bfloat16": 0xFF << 7}
NAN |= {"float8_e4m3fn": 0x7E, "float8_e5m2": 0x7C}  # the largest bits of a size that is none


@helper
def ordered(bits: int, kind: int, sign: int, mask: int, largest: int, turn: int) -> int:
    """The key of an element: NaN behind all others, and both zeros alike.

    Args:
        kind: 0 for unsigned numbers, 1 for signed ones, 2 for floats.
        sign, mask: the sign bit, and all bits.
        largest: bits of the size of infinity.
        turn: `mask` for descending order, else 0.
    """
    key = bits
    if kind == 1:
        key = bits ^ sign
    elif kind == 2:
        size = bits & (mask ^ sign)
        if size > largest:
            key = mask
        elif size == 0:
            key = sign
        elif (bits & sign) != 0:
            key = bits ^ mask
        else:
            key = bits ^ sign
    return key ^ turn


@helper
def put_key(
    keys: Pointer[int64], places: Pointer[uint32], at: int, place: int, key: int, wide: int
) -> None:
    """Write a key and its position."""
    if wide != 0:
        keys[at] = key
        places[at] = place
    else:
        keys[at] = (key << 32) | place


@helper
def place_of(keys: Pointer[int64], places: Pointer[uint32], i: int, wide: int) -> int:
    """The position that belongs to a key."""
    place: int = keys[i] & 0xFFFFFFFF
    if wide != 0:
        place = int64(places[i])
    return place


def order_of(dtype: DType, descending: bool) -> tuple[int, int, int, int, int]:
    """The words kind, sign, mask, largest and turn of `ordered`."""
    width = 8 * dtype.itemsize
    sign = -(1 << 63) if width == 64 else 1 << (width - 1)
    mask = -1 if width == 64 else (1 << width) - 1
    kind = {"f": 2, "i": 1}.get(dtype.kind, 0)
    return kind, sign, mask, NAN.get(dtype.name, 0), mask if descending else 0
