"""How row kernels are launched on GPUs: a group of threads for each row, over its columns."""

from typing import Any

GROUPS = 2**16  # at most; each takes every so many-th row
THREADS = 256


def groups_of_rows(rows: int, cols: int) -> dict[str, Any]:
    """The grid of a kernel whose groups take one row after the other."""
    threads = 32
    while threads < THREADS and 4 * threads <= cols:
        threads *= 2
    return {"groups": min(rows, GROUPS), "threads": threads}
