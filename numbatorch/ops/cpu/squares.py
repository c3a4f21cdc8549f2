"""Squares of sums of a matrix product, of four tile registers each (simd/amx.py)."""

from typing import Any

from numbatorch.language.kernel import helper
from numbatorch.language.simd.amx import DEEP, SIDE, tile_clear, tile_get, tile_pairs, tile_put

HALF = SIDE // 2


@helper
def add_square(
    sums: Any, sums_row: int, a: Any, a_row: int, b: Any, b_row: int, depth: int, first: bool
) -> None:
    """Add a block of k to a square of sums, which is new in the first."""
    right, below = sums + HALF, sums + HALF * sums_row
    both = below + HALF
    if first:
        tile_clear(0)
        tile_clear(1)
        tile_clear(2)
        tile_clear(3)
    else:
        tile_get(0, sums, sums_row)
        tile_get(1, right, sums_row)
        tile_get(2, below, sums_row)
        tile_get(3, both, sums_row)
    for k in range(0, depth, DEEP):
        x, w = a + k, b + k * b_row
        tile_get(6, w, b_row)
        tile_get(4, x, a_row)
        tile_pairs(0, 4, 6)
        tile_get(7, w + HALF, b_row)
        tile_pairs(1, 4, 7)
        tile_get(5, x + HALF * a_row, a_row)
        tile_pairs(2, 5, 6)
        tile_pairs(3, 5, 7)
    tile_put(0, sums, sums_row)
    tile_put(1, right, sums_row)
    tile_put(2, below, sums_row)
    tile_put(3, both, sums_row)
