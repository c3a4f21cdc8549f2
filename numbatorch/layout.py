"""Layout: how the elements of a value lie in a buffer. Views change it and move nothing."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from numbatorch.shape import Shape, contiguous_strides, numel


class Layout(NamedTuple):
    """Element (i, j, ...) lies `offset + i * strides[0] + j * strides[1] + ...` elements in.

    >>> Layout.contiguous((2, 3)).permute((1, 0))
    Layout(shape=(3, 2), strides=(1, 3), offset=0)
    """

    shape: Shape
    strides: Shape
    offset: int = 0

    @staticmethod
    def contiguous(shape: Shape) -> Layout:
        """Row-major from the buffer's start."""
        return _contiguous(shape)

    @property
    def is_contiguous(self) -> bool:
        """Whether elements follow each other in row-major order; the offset may be anything."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size == 0:
                return True
            if size != 1:
                if stride != step:
                    return False
                step *= size
        return True

    def same_walk(self, other: Layout) -> bool:
        """Whether both name the same elements in the same order; strides of size 1 do not count."""
        if self.shape != other.shape or self.offset != other.offset:
            return False
        pairs = zip(self.shape, self.strides, other.strides, strict=True)
        return all(size == 1 or a == b for size, a, b in pairs)

    @property
    def overlaps(self) -> bool:
        """Whether two elements lie at one place.

        >>> Layout((2, 2), (1, 1)).overlaps, Layout((2, 2), (3, 2)).overlaps
        (True, False)
        """
        pairs = [(abs(t), n) for n, t in zip(self.shape, self.strides, strict=True) if n > 1]
        if numel(self.shape) == 0 or not pairs:
            return False
        reach = 0
        for stride, size in sorted(pairs):
            if stride <= reach:
                return self._repeats_a_place(pairs)
            reach += (size - 1) * stride
        return False

    def _repeats_a_place(self, pairs: list[tuple[int, int]]) -> bool:
        """As `overlaps`, of dimensions (stride, size) that reach into each other."""
        if any(stride == 0 for stride, _size in pairs):
            return True
        places = {0}
        for stride, size in pairs:
            more = {place + i * stride for place in places for i in range(size)}
            if len(more) < size * len(places):
                return True
            places = more
        return False

    def permute(self, dims: Shape) -> Layout:
        """Dimension i of the result is dimension dims[i]."""
        shape = tuple(self.shape[d] for d in dims)
        return Layout(shape, tuple(self.strides[d] for d in dims), self.offset)

    def expand(self, shape: Shape) -> Layout:
        """Repeat dimensions of size 1, and new leading ones, with stride 0."""
        lead = len(shape) - len(self.shape)
        strides = (0,) * lead + tuple(
            stride if size == wanted else 0
            for size, stride, wanted in zip(self.shape, self.strides, shape[lead:], strict=True)
        )
        return Layout(shape, strides, self.offset)

    def reinterpret(self, old: int, new: int) -> Layout | None:
        """The same bytes as elements of `new` bytes instead of `old`; the last dimension changes.

        None where its elements do not lie side by side, or not at places of whole new elements.

        >>> Layout.contiguous((3, 2)).reinterpret(8, 4)
        Layout(shape=(3, 4), strides=(4, 1), offset=0)
        """
        if old == new:
            return self
        *sizes, last = self.shape
        *strides, step = self.strides
        if step != 1 and last > 1:
            return None
        if old > new:
            ratio = old // new
            wide = tuple(stride * ratio for stride in strides)
            return Layout((*sizes, last * ratio), (*wide, 1), self.offset * ratio)
        ratio = new // old
        places = [self.offset, *(s for n, s in zip(sizes, strides, strict=True) if n > 1)]
        if any(place % ratio for place in places):
            return None
        narrow = tuple(stride // ratio for stride in strides)
        return Layout((*sizes, last // ratio), (*narrow, 1), self.offset // ratio)

    def component(self, index: int) -> Layout:
        """The real (0) or the imaginary part (1) of complex elements, in units of the parts."""
        return Layout(self.shape, tuple(2 * s for s in self.strides), 2 * self.offset + index)

    def slice(self, starts: Shape, sizes: Shape, steps: Shape) -> Layout:
        """Every steps[i]-th element from starts[i], sizes[i] of them."""
        offset = self.offset
        if numel(sizes):
            offset += sum(s * stride for s, stride in zip(starts, self.strides, strict=True))
        strides = tuple(stride * step for stride, step in zip(self.strides, steps, strict=True))
        return Layout(sizes, strides, offset)

    def select(self, dim: int, index: int) -> Layout:
        """Element `index` of dimension `dim`, which goes."""
        shape, strides, offset = self
        return Layout(
            shape[:dim] + shape[dim + 1 :],
            strides[:dim] + strides[dim + 1 :],
            offset + index * strides[dim],
        )

    def reshape(self, shape: Shape) -> Layout | None:
        """The same elements in order under another shape, or None if no strides express it."""
        if numel(shape) == 0 or self.is_contiguous:
            return Layout(shape, contiguous_strides(shape), self.offset)
        sizes, strides = _merged(self.shape, self.strides)
        out = [0] * len(shape)
        axis = len(sizes) - 1
        left, step = (sizes[axis], strides[axis]) if sizes else (1, 1)
        for i in reversed(range(len(shape))):
            size = shape[i]
            if size == 1:
                out[i] = step
                continue
            if left == 1:
                axis -= 1
                left, step = sizes[axis], strides[axis]
            if left % size:
                return None
            out[i] = step
            left //= size
            step *= size
        return Layout(shape, tuple(out), self.offset)


@lru_cache(maxsize=1024)
def _contiguous(shape: Shape) -> Layout:
    return Layout(shape, contiguous_strides(shape))


def _merged(shape: Shape, strides: Shape) -> tuple[list[int], list[int]]:
    """Sizes and strides with size-1 dimensions dropped and mergeable neighbours merged."""
    sizes: list[int] = []
    steps: list[int] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if sizes and steps[-1] == stride * size:
            sizes[-1] *= size
            steps[-1] = stride
        else:
            sizes.append(size)
            steps.append(stride)
    return sizes, steps


def collapse(shape: Shape, strides: list[Shape]) -> tuple[Shape, list[Shape]]:
    """Merge neighbouring dimensions that every operand walks as one; drop dimensions of size 1.

    >>> collapse((2, 3, 4), [(12, 4, 1), (4, 0, 1)])
    ((2, 3, 4), [(12, 4, 1), (4, 0, 1)])
    >>> collapse((2, 3, 4), [(12, 4, 1), (0, 0, 0)])
    ((24,), [(1,), (0,)])
    """
    sizes: list[int] = []
    columns: list[list[int]] = []
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        column = [s[axis] for s in strides]
        if sizes and all(b == s * size for b, s in zip(columns[-1], column, strict=True)):
            sizes[-1] *= size
            columns[-1] = column
        else:
            sizes.append(size)
            columns.append(column)
    out = [tuple(column[i] for column in columns) for i in range(len(strides))]
    return tuple(sizes), out
