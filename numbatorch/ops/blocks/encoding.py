"""Values are packed in parts on all cores, and refused where a block cannot hold them."""

from collections.abc import Callable

import numpy as np

from numbatorch.apart import numpy_ignores_errors
from numbatorch.errors import FormatError, ShapeError, message
from numbatorch.ops.blocks.layout import Array, BlockType
from numbatorch.settings import threads

LEAST = np.float32(1e-3)  # of the mean importance: what a group has that has none
PART = 1 << 17  # values that are packed at a time, so that temporaries stay in the cache
LARGEST = 65504 * 2.0**14  # no float16 times two numbers of 8 bits is larger


def check_importance(imatrix: Array, columns: int) -> Array:
    """The importance of columns as float32.

    Raises:
        ShapeError: there are not as many.
        FormatError: one is negative or not finite.
    """
    found = np.asarray(imatrix, np.float32)
    if found.shape != (columns,):
        rule = f"imatrix has shape {found.shape}, the rows have {columns} values"
        raise ShapeError(message("quantize", "imatrix does not fit the rows", rule))
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if wrong.size:
        rule = f"column {wrong[0]} has {found[wrong[0]]}"
        raise FormatError(message("quantize", "imatrix must be finite and not negative", rule))
    return found


def encode_all(
    block: BlockType,
    values: Array,
    importance: Array | None,
    out: Array,
    progress: Callable[[int], None] | None,
) -> None:
    """Pack (n, block) values into (n,) blocks.

    Args:
        importance: of the columns of a row, if it counts.
        progress: see `quantize`.
    """
    size = block.dtype.block
    per_row = 1 if importance is None else len(importance) // size
    step = max(1, PART // (size * per_row)) * per_row  # whole rows, where importance counts

    def part(start: int) -> int:
        chunk = values[start : start + step]
        check_finite(block, chunk, start)
        weights = None if importance is None else _weights(chunk, importance, block.group)
        with numpy_ignores_errors():
            blocks = block.encoded(chunk, weights)
        check_scales(block, blocks, chunk, start)
        out[start : start + step] = blocks
        return chunk.size

    starts = range(0, len(values), step)
    workers = min(threads(), len(starts))
    if workers <= 1:
        for start in starts:
            _tell(progress, part(start))
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        try:
            for done in pool.map(part, starts):
                _tell(progress, done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _tell(progress: Callable[[int], None] | None, count: int) -> None:
    if progress is not None:
        progress(count)


def _weights(chunk: Array, importance: Array, group: int) -> tuple[Array, Array]:
    size = chunk.shape[1]
    # Columns that were 0 in some text are not in others: a scale is chosen for them all the same.
    groups = importance.reshape(-1, group)
    least = groups.mean() * LEAST or np.float32(1)
    importance = np.where(groups.any(axis=1, keepdims=True), groups, least).reshape(-1)
    rows = chunk.reshape(-1, len(importance))
    square = np.square(rows).mean(axis=1, keepdims=True)
    each = np.broadcast_to(importance, rows.shape).reshape(-1, size)
    return each, np.repeat(square, len(importance) // size, axis=0)


def check_finite(block: BlockType, chunk: Array, start: int) -> None:
    """Refuse NaN and infinity, which no code stands for."""
    wrong = np.flatnonzero(~np.isfinite(chunk).reshape(-1))
    if wrong.size:
        place = start * chunk.shape[1] + int(wrong[0])
        rule = f"element {place} is {chunk.reshape(-1)[wrong[0]]}"
        raise FormatError(
            message("quantize", f"{block.dtype.name} holds finite numbers only", rule)
        )


def check_scales(block: BlockType, blocks: Array, chunk: Array, start: int) -> None:
    """Refuse values whose scale is beyond float16."""
    for factor in block.factors:
        if not factor.field or block.wide(factor):
            continue
        largest = np.abs(chunk).max(axis=1)
        wrong = np.flatnonzero(~np.isfinite(blocks[factor.field]) | (largest > LARGEST))
        if wrong.size:
            place = (start + int(wrong[0])) * chunk.shape[1]
            rule = f"the block from element {place} on has {largest[wrong[0]]}"
            problem = f"values are too large for the scales of {block.dtype.name}"
            raise FormatError(message("quantize", problem, rule))
