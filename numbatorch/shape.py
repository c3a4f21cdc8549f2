"""Shapes: tuples of int, with the rules of broadcasting and of dimension numbers."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from numbatorch.errors import OutOfRange, ShapeError, message

Shape = tuple[int, ...]


def numel(shape: Sequence[int]) -> int:
    """Number of elements; 1 for a scalar.

    >>> numel((2, 3)), numel(())
    (6, 1)
    """
    return math.prod(shape)


def contiguous_strides(shape: Sequence[int]) -> Shape:
    """Strides in elements of a row-major array.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def broadcast(operator: str, *shapes: Shape, operands: Sequence[Any] = ()) -> Shape:
    """The shape that all of `shapes` expand to, as in NumPy and PyTorch.

    Args:
        operands: what has these shapes; an error shows their dtypes.

    >>> broadcast("add", (4, 1), (3,))
    (4, 3)
    """
    if shapes and shapes.count(shapes[0]) == len(shapes):  # the usual case
        return shapes[0]
    rank = max((len(shape) for shape in shapes), default=0)
    out = [1] * rank
    for shape in shapes:
        for i, size in enumerate(shape, rank - len(shape)):
            if size == out[i] or size == 1:
                continue
            if out[i] != 1:
                kinds = [f" {x.dtype.name}" for x in operands] or [""] * len(shapes)
                shown = [list_shape(s) + kind for s, kind in zip(shapes, kinds, strict=True)]
                raise ShapeError(
                    message(
                        operator,
                        "shapes do not broadcast",
                        *(f"operand {n} {text}" for n, text in enumerate(shown)),
                        f"dimension {i - rank} is {out[i]} in one and {size} in another",
                    )
                )
            out[i] = size
    return tuple(out)


def is_expandable(shape: Shape, wanted: Shape) -> bool:
    """Whether a shape broadcasts to another one.

    >>> is_expandable((3, 1), (2, 3, 4)), is_expandable((2,), (2, 3))
    (True, False)
    """
    lead = len(wanted) - len(shape)
    pairs = zip(shape, wanted[lead:], strict=True) if lead >= 0 else ()
    return lead >= 0 and all(size in (1, other) for size, other in pairs)


def normalize_dim(operator: str, dim: int, rank: int) -> int:
    """`dim` counted from the front; negative numbers count from the back.

    >>> normalize_dim("sum", -1, 3)
    2
    """
    bound = max(rank, 1)
    if dim.__class__ is not int:
        dim = _integer(operator, dim)
    if not -bound <= dim < bound:
        raise OutOfRange(
            message(operator, f"dimension {dim} is not in [{-bound}, {bound - 1}] of rank {rank}")
        )
    return dim % bound


def _integer(operator: str, dim: Any) -> int:
    try:
        number: int = dim.__index__()
    except (AttributeError, TypeError):
        raise TypeError(message(operator, f"dimension {dim!r} is not an integer")) from None
    return number


def normalize_dims(operator: str, dims: int | Iterable[int] | None, rank: int) -> Shape:
    """Sorted dimension numbers from the front; None is all of them; each at most once."""
    if dims is None:
        return tuple(range(rank))
    asked = tuple(dims) if isinstance(dims, Iterable) else (dims,)
    found = [normalize_dim(operator, dim, rank) for dim in asked]
    if len(set(found)) != len(found):
        raise ShapeError(message(operator, f"a dimension appears twice in {asked}"))
    return tuple(sorted(d for d in found if d < rank))


def sizes_of(operator: str, sizes: Any) -> Shape:
    """2, (2, 3), [2, 3] and ((2, 3),) as sizes of integers.

    >>> sizes_of("zeros", ([2, 3],))
    (2, 3)
    """
    listed = sizes.__class__ is tuple or isinstance(sizes, Sequence)
    given: Sequence[Any] = sizes if listed else (sizes,)
    if len(given) == 1 and isinstance(given[0], Sequence):
        given = given[0]
    shape: Shape = tuple(given)
    for size in shape:
        if size.__class__ is not int:
            shape = integers(operator, shape)
            break
    if numel(shape) >= 2**63:
        raise ShapeError(message(operator, f"{shape} has 2**63 elements or more"))
    return shape


def integers(operator: str, sizes: Sequence[Any]) -> Shape:
    """The elements of a list, of which each has to be an integer."""
    try:
        if bool not in map(type, sizes):
            return tuple([size.__index__() for size in sizes])
    except (AttributeError, TypeError):
        pass
    raise TypeError(message(operator, f"{tuple(sizes)} are not integers"))


def list_shape(shape: Sequence[int]) -> str:
    """`(2, 3)`, as errors show it.

    >>> list_shape((2,))
    '(2,)'
    """
    return str(tuple(shape))


def infer_reshape(shape: Shape, asked: Sequence[int]) -> Shape:
    """`asked` with its one -1 filled in.

    >>> infer_reshape((2, 6), (3, -1))
    (3, 4)
    """
    total = numel(shape)
    if math.prod(asked) == total and min(asked, default=0) >= 0:
        return tuple(asked)
    holes = [i for i, size in enumerate(asked) if size == -1]
    known = math.prod(size for size in asked if size != -1)
    out = list(asked)
    if len(holes) > 1 or any(size < -1 for size in asked):
        raise ShapeError(message("reshape", f"{list_shape(asked)} is not a shape"))
    if holes:
        if known == 0 or total % known:
            raise ShapeError(
                message(
                    "reshape",
                    f"no size for -1 in {list_shape(asked)}",
                    f"input {list_shape(shape)} has {total} elements, the rest {known}",
                )
            )
        out[holes[0]] = total // known
    elif known != total:
        raise ShapeError(
            message(
                "reshape",
                "the number of elements differs",
                f"input {list_shape(shape)} has {total}",
                f"asked {list_shape(asked)} has {known}",
            )
        )
    return tuple(out)
