"""Windows over the last dimensions of a tensor: sizes as users give them, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.operands import describe
from numbatorch.shape import Shape, numel, sizes_of

Array = np.ndarray[Any, Any]
Sizes = int | Sequence[int]


def sizes(operator: str, name: str, given: Sizes | None, rank: int, least: int = 1) -> Shape:
    """One size for each of `rank` dimensions, of one for all or as many."""
    found = sizes_of(operator, given)
    if len(found) == 1:
        found = found * rank
    if len(found) != rank:
        raise ShapeError(message(operator, f"{name} must be one integer or {rank}, not {given}"))
    if min(found) < least:
        wanted = "positive" if least else "0 or more"
        raise ShapeError(message(operator, f"{name} must be {wanted}, not {given}"))
    return found


def strides(operator: str, given: Sizes | None, kernel: Shape) -> Shape:
    """The steps from window to window; as long as windows unless given."""
    if given is None or (isinstance(given, Sequence) and not given):
        return kernel
    return sizes(operator, "stride", given, len(kernel))


def images(operator: str, input: Node, rank: int) -> tuple[Shape, Shape]:
    """Leading dimensions, and the last `rank`; only the number of images may be 0."""
    shape = input.shape
    batch = len(shape) == rank + 2
    if len(shape) not in (rank + 1, rank + 2) or not numel(shape[1:] if batch else shape):
        wanted = f"needs {rank + 1} dimensions, or {rank + 2} of which the first may be 0"
        raise ShapeError(message(operator, wanted, f"input {describe(input)}"))
    return shape[:-rank], shape[-rank:]


def output_sizes(operator: str, given: int | Sequence[int | None] | None, shape: Shape) -> Shape:
    """Sizes asked of a result: one for all dimensions or as many; None keeps a size."""
    asked = given if isinstance(given, Sequence) else (given,) * len(shape)
    if len(asked) == 1:
        asked = tuple(asked) * len(shape)
    if len(asked) != len(shape):
        problem = f"output_size must be one integer or {len(shape)}, not {given}"
        raise ShapeError(message(operator, problem))
    outs = sizes_of(operator, [n if a is None else a for n, a in zip(shape, asked, strict=True)])
    if min(outs) < 0:
        raise ShapeError(message(operator, f"output_size {given} is negative"))
    return outs


def counted(
    operator: str,
    input: Node,
    kernel: Shape,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    ceil_mode: bool,
) -> Shape:
    """How many windows there are in each dimension; the last may reach out if ceil_mode."""
    outs = []
    for size, k, step, pad, apart in zip(
        input.shape[-len(kernel) :], kernel, stride, padding, dilation, strict=True
    ):
        reach = apart * (k - 1) + 1
        if pad > reach // 2:
            problem = f"padding {pad} is more than half of a window of {reach}"
            raise ShapeError(message(operator, problem, f"input {describe(input)}"))
        free = size + 2 * pad - reach
        count = (-(-free // step) if ceil_mode else free // step) + 1
        if ceil_mode and (count - 1) * step >= size + pad:
            count -= 1
        if count < 1:
            problem = f"a window of {reach} does not fit"
            raise ShapeError(message(operator, problem, f"input {describe(input)}"))
        outs.append(count)
    return tuple(outs)


@cache
def spans(
    size: int, outs: int, kernel: int, stride: int, padding: int = 0, dilation: int = 1
) -> Array:
    """(outs, 2): the first element of each window inside of a dimension, and how many there are."""
    starts = np.arange(outs) * stride - padding
    before = np.maximum(-(starts // dilation), 0)
    after = np.minimum(-(-(size - starts) // dilation), kernel)
    return _kept(starts + before * dilation, after - before)


@cache
def adaptive_spans(size: int, outs: int) -> Array:
    """The same of windows from floor(i * size / outs) to ceil((i + 1) * size / outs)."""
    places = np.arange(outs)
    starts = places * size // max(outs, 1)
    return _kept(starts, -(-(places + 1) * size // max(outs, 1)) - starts)


def _kept(starts: Array, counts: Array) -> Array:
    found = np.stack([starts, counts], -1).astype(np.int64)
    found.flags.writeable = False
    return found
