"""Public functions that take a tensor apart along a dimension: their results are views."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import view as views
from numbatorch.ops.operands import describe
from numbatorch.ops.surface import public
from numbatorch.shape import integers, normalize_dim

Sizes = int | Sequence[int]


def axis_of(operator: str, input: Node, dim: int) -> int:
    """`dim` from the front; a 0-d tensor has none to take apart."""
    if not input.shape:
        raise OutOfRange(message(operator, "a 0-d tensor has no dimensions"))
    return normalize_dim(operator, dim, len(input.shape))


def _along(input: Node, axis: int, start: int, size: int) -> Node:
    """`size` elements of a dimension from `start`, which are there."""
    return views.narrow(input, axis, start, size)


@public()
def split(tensor: Node, split_size_or_sections: Sizes, dim: int = 0) -> tuple[Node, ...]:
    """Parts of one size along `dim`, the last one what is left; or parts of the sizes given.

    Raises:
        ShapeError: a size is below 1, or the sizes do not add up.

    >>> [part.tolist() for part in split(tensor([1, 2, 3]), 2)]
    [[1, 2], [3]]
    """
    wanted = split_size_or_sections
    if not isinstance(wanted, int):
        return split_with_sizes(tensor, wanted, dim)
    axis = axis_of("split", tensor, dim)
    total = tensor.shape[axis]
    if wanted < 0 or (wanted == 0 and total):
        raise ShapeError(
            message("split", f"split_size is {wanted}, not 1 or more", f"tensor {describe(tensor)}")
        )
    starts = range(0, max(total, 1), max(wanted, 1))
    return tuple([_along(tensor, axis, i, min(wanted, total - i)) for i in starts])


@public()
def split_with_sizes(input: Node, split_sizes: Sequence[int], dim: int = 0) -> tuple[Node, ...]:
    """Parts of the sizes given along `dim`, which add up to its own.

    Raises:
        ShapeError: the sizes do not add up.

    >>> [part.tolist() for part in split_with_sizes(tensor([1, 2, 3]), (1, 2))]
    [[1], [2, 3]]
    """
    axis = axis_of("split", input, dim)
    sizes, total = integers("split", split_sizes), input.shape[axis]
    if sum(sizes) != total or any(size < 0 for size in sizes):
        problem = f"{sizes} do not add up to the {total} elements of dimension {axis}"
        raise ShapeError(message("split", problem, f"tensor {describe(input)}"))
    first = itertools.accumulate(sizes, initial=0)
    return tuple([_along(input, axis, start, n) for start, n in zip(first, sizes, strict=False)])


@public()
def chunk(input: Node, chunks: int, dim: int = 0) -> tuple[Node, ...]:
    """At most `chunks` parts along `dim`, of equal size but for the last.

    Raises:
        ShapeError: `chunks` is below 1.

    >>> [part.tolist() for part in chunk(tensor([1, 2, 3, 4, 5]), 4)]
    [[1, 2], [3, 4], [5]]
    """
    axis = axis_of("chunk", input, dim)
    if chunks <= 0:
        problem = f"chunks is {chunks}, not 1 or more"
        raise ShapeError(message("chunk", problem, f"input {describe(input)}"))
    total = input.shape[axis]
    if not total:
        return (input,) * chunks
    return split(input, -(-total // chunks), dim)


def sections(operator: str, input: Node, wanted: Sizes, dim: int) -> tuple[Node, ...]:
    """`wanted` parts along a dimension, the first ones larger by 1; or parts cut before indices."""
    axis = axis_of(operator, input, dim)
    total = input.shape[axis]
    if isinstance(wanted, int):
        if wanted <= 0:
            problem = f"{wanted} parts are asked for, not 1 or more"
            raise ShapeError(message(operator, problem, f"input {describe(input)}"))
        size, larger = divmod(total, wanted)
        cuts = list(itertools.accumulate([size + 1] * larger + [size] * (wanted - larger)))[:-1]
    else:
        given = integers(operator, wanted)
        cuts = [min(max(cut + total if cut < 0 else cut, 0), total) for cut in given]
    pairs = itertools.pairwise([0, *cuts, total])
    return tuple([_along(input, axis, min(i, total), max(j - i, 0)) for i, j in pairs])


def _stacked(operator: str, input: Node, wanted: Sizes, dim: int, rank: int) -> tuple[Node, ...]:
    """Equal parts along `dim` of a tensor of `rank` dimensions at least, or cut before indices."""
    if len(input.shape) < rank:
        raise ShapeError(message(operator, f"needs {rank} dimensions", f"input {describe(input)}"))
    if isinstance(wanted, int) and (wanted <= 0 or input.shape[dim] % wanted):
        problem = f"{input.shape[dim]} elements are not {wanted} equal parts"
        raise ShapeError(message(operator, problem, f"input {describe(input)}, dim {dim}"))
    return sections(operator, input, wanted, dim)


@public()
def hsplit(input: Node, indices_or_sections: Sizes) -> tuple[Node, ...]:
    """Equal parts along dimension 1, or 0 of a vector; or parts cut before indices.

    >>> [part.tolist() for part in hsplit(tensor([1, 2, 3, 4]), [1, 3])]
    [[1], [2, 3], [4]]
    """
    return _stacked("hsplit", input, indices_or_sections, min(len(input.shape), 2) - 1, 1)


@public()
def vsplit(input: Node, indices_or_sections: Sizes) -> tuple[Node, ...]:
    """Equal parts along dimension 0 of a matrix or more; or parts cut before indices.

    >>> [part.tolist() for part in vsplit(tensor([[1], [2]]), 2)]
    [[[1]], [[2]]]
    """
    return _stacked("vsplit", input, indices_or_sections, 0, 2)


@public()
def dsplit(input: Node, indices_or_sections: Sizes) -> tuple[Node, ...]:
    """Equal parts along dimension 2; or parts cut before indices.

    >>> [part.shape for part in dsplit(nt.zeros(1, 2, 4), (1,))]
    [(1, 2, 1), (1, 2, 3)]
    """
    return _stacked("dsplit", input, indices_or_sections, 2, 3)


@public()
def unsafe_split(tensor: Node, split_size: int, dim: int = 0) -> tuple[Node, ...]:
    """As `split`: nothing is unsafe about it here.

    >>> unsafe_split(tensor([1, 2, 3]), 2)
    (tensor([1, 2]), tensor([3]))
    """
    return split(tensor, split_size, dim)


@public()
def unsafe_chunk(input: Node, chunks: int, dim: int = 0) -> tuple[Node, ...]:
    """As `chunk`: nothing is unsafe about it here.

    >>> unsafe_chunk(tensor([1, 2, 3]), 2)
    (tensor([1, 2]), tensor([3]))
    """
    return chunk(input, chunks, dim)


@public()
def unbind(input: Node, dim: int = 0) -> tuple[Node, ...]:
    """Every element of dimension `dim`, without that dimension.

    >>> unbind(tensor([[1, 2], [3, 4]]), 1)
    (tensor([1, 3]), tensor([2, 4]))
    """
    axis = axis_of("unbind", input, dim)
    return tuple([views.element(input, axis, i) for i in range(input.shape[axis])])


@public()
def unsafe_split_with_sizes(
    input: Node, split_sizes: Sequence[int], dim: int = 0
) -> tuple[Node, ...]:
    """As `split_with_sizes`: nothing is unsafe about it here.

    >>> unsafe_split_with_sizes(tensor([1, 2, 3]), (1, 2))
    (tensor([1]), tensor([2, 3]))
    """
    return split_with_sizes(input, split_sizes, dim)
