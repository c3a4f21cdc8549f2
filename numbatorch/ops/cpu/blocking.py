"""Into what blocks a packed product is cut, from the sizes of the caches.

Low, Igual, Smith and Quintana-Orti, "Analytical Modeling Is Enough for High-Performance BLIS":
https://doi.org/10.1145/2925987. As there, k is cut so that what tiles of registers read stays in
the first two caches, and columns so that what is packed stays in the third. Blocks of rows are as
high in any case: more than `ROWS` read a panel no faster, and leave less equal shares.
"""

from typing import NamedTuple

from numbatorch import settings
from numbatorch.dtype import DType, bfloat16
from numbatorch.language import caches
from numbatorch.language.simd.pairs import words_for
from numbatorch.language.simd.vectors import vector_bytes, vector_registers

TILE = 6  # rows of a register tile
ROWS = 48  # rows of lhs that meet one packed panel of rhs in the cache; of pairs twice as many
PANEL = 64  # columns that every panel's width divides
WORDS = 64  # of so many words along k a block has a multiple
MOST_DEPTH = 1024  # words of a block along k: what is saved of sums between more is nothing
MOST_PACKED = 2 << 20  # bytes: lhs is read once for each group of columns, which costs nothing then


class Blocks(NamedTuple):
    """The blocks of a product.

    Attributes:
        depth: words along k, a multiple of WORDS.
        columns: of rhs that are packed at a time, a multiple of PANEL.
    """

    depth: int
    columns: int


class Sizes(NamedTuple):
    """Bytes of each level of cache that one thread has."""

    l1: int
    l2: int
    l3: int


def sizes_for(threads: int) -> Sizes:
    """What each of some threads has of this processor's caches."""
    processors = settings.processors()
    return Sizes(*(level.part(threads, processors) for level in caches.host()))


def panel_width(itemsize: int) -> int:
    """Columns of a panel of words of so many bytes, as `tile_vectors` has them."""
    return (4 if vector_registers() == 32 else 2) * vector_bytes() // itemsize


def depth_of(sizes: Sizes, itemsize: int, each: int = 1) -> int:
    """Words along k of a block.

    The rows of a tile are half of the first cache, for a panel of rhs runs through the other half.
    Two panels, one in use and the next, and a block of rows are half of the second; the rest is for
    sums and for what is packed.

    Args:
        itemsize: bytes of a word.
        each: numbers in a word.
    """
    width = panel_width(itemsize)
    first = sizes.l1 // 2 // (TILE * itemsize)
    second = sizes.l2 // 2 // ((2 * width + ROWS * each) * itemsize)
    return max(WORDS, min(first, second, MOST_DEPTH) // WORDS * WORDS)


def blocks_of(N: int, words: int, sizes: Sizes, itemsize: int, each: int = 1) -> Blocks:
    """The blocks of a product with N columns over so many words.

    What is packed at a time is a quarter of the third cache, or all of the second where that is
    more, but no more than `MOST_PACKED`; nor are sums of a block of rows.

    Args:
        sizes: of the caches.
        itemsize: bytes of a word.
        each: numbers in a word.
    """
    packed = min(MOST_PACKED, max(sizes.l2, sizes.l3 // 4)) // itemsize
    whole = (N + PANEL - 1) // PANEL * PANEL
    fitting = packed // max(words, ROWS * each) // PANEL * PANEL
    return Blocks(depth_of(sizes, itemsize, each), max(PANEL, min(whole, fitting)))


def blocks_for(N: int, K: int, parts: int, kind: DType) -> Blocks:
    """The blocks of a product on this processor; `kind` is what is multiplied."""
    each = 2 if kind is bfloat16 else 1
    return blocks_of(N, words_for(K, each), sizes_for(parts), kind.compute.itemsize, each)
