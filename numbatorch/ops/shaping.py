"""Public functions that change the shape: views, which move nothing, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence

from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node, elementary
from numbatorch.ops import strided
from numbatorch.ops import view as views
from numbatorch.ops.operands import describe
from numbatorch.ops.parts import conjugated
from numbatorch.ops.reduce import reduced, sum_
from numbatorch.ops.surface import public
from numbatorch.shape import broadcast, infer_reshape, normalize_dim, normalize_dims, sizes_of
from numbatorch.shape import numel as size_of

Dims = int | Sequence[int] | None
Sizes = int | Sequence[int]


@public()
def reshape(input: Node, shape: Sizes) -> Node:
    """The elements in row-major order under another shape; one size may be -1.

    >>> reshape(tensor([1, 2, 3, 4]), (2, -1))
    tensor([[1, 2],
            [3, 4]])
    """
    asked = infer_reshape(input.shape, sizes_of("reshape", shape))
    return input if asked == input.shape else views.reshape.apply(input, shape=asked)


@public("Tensor")
def reshape_as(input: Node, other: Node) -> Node:
    """The elements under the shape of `other`.

    >>> reshape_as(nt.arange(4), nt.zeros(2, 2)).tolist()
    [[0, 1], [2, 3]]
    """
    return reshape(input, other.shape)


@public()
def flatten(input: Node, start_dim: int = 0, end_dim: int = -1) -> Node:
    """Dimensions `start_dim` to `end_dim` as one.

    Raises:
        ShapeError: `start_dim` is after `end_dim`.

    >>> flatten(nt.zeros(2, 3, 4), 1).shape
    (2, 12)
    """
    shape = input.shape
    first = normalize_dim("flatten", start_dim, len(shape))
    last = normalize_dim("flatten", end_dim, len(shape))
    if first > last:
        raise ShapeError(message("flatten", f"start_dim {start_dim} is after {end_dim}"))
    if not shape:
        return reshape(input, (1,))
    middle = size_of(shape[first : last + 1])
    return reshape(input, (*shape[:first], middle, *shape[last + 1 :]))


@public()
def ravel(input: Node) -> Node:
    """All dimensions as one.

    >>> ravel(tensor([[1, 2], [3, 4]]))
    tensor([1, 2, 3, 4])
    """
    return flatten(input)


@public()
def unflatten(input: Node, dim: int, sizes: Sequence[int]) -> Node:
    """Dimension `dim` as several, of `sizes`; one may be -1.

    >>> unflatten(nt.zeros(2, 6), 1, (-1, 3)).shape
    (2, 2, 3)
    """
    axis = normalize_dim("unflatten", dim, len(input.shape))
    filled = infer_reshape(input.shape[axis : axis + 1], sizes_of("unflatten", sizes))
    return reshape(input, (*input.shape[:axis], *filled, *input.shape[axis + 1 :]))


@public()
def transpose(input: Node, dim0: int, dim1: int) -> Node:
    """Exchange two dimensions: a view.

    >>> transpose(nt.zeros(2, 3, 4), -1, -2).shape
    (2, 4, 3)
    """
    return views.transpose(input, dim0, dim1)


@public()
def swapaxes(input: Node, axis0: int, axis1: int) -> Node:
    """As `transpose`.

    >>> swapaxes(nt.zeros(2, 3, 4), 0, -1).shape
    (4, 3, 2)
    """
    return views.transpose(input, axis0, axis1)


@public()
def swapdims(input: Node, dim0: int, dim1: int) -> Node:
    """As `transpose`.

    >>> swapdims(nt.zeros(2, 3, 4), 0, -1).shape
    (4, 3, 2)
    """
    return views.transpose(input, dim0, dim1)


@public(aliases=("moveaxis",))
def movedim(input: Node, source: Sizes, destination: Sizes) -> Node:
    """Dimension source[i] stands at destination[i]; the others keep their order.

    Raises:
        ShapeError: a dimension is named twice, or they are not as many.

    >>> movedim(nt.zeros(2, 3, 4), 0, -1).shape
    (3, 4, 2)
    """
    rank = len(input.shape)
    taken, places = (
        [normalize_dim("movedim", d, rank) for d in sizes_of("movedim", x)]
        for x in (source, destination)
    )
    if not len(taken) == len(places) == len(set(taken)) == len(set(places)):
        raise ShapeError(message("movedim", f"{source} to {destination} is no order"))
    order = [d for d in range(rank) if d not in taken]
    for place, dim in sorted(zip(places, taken, strict=True)):
        order.insert(place, dim)
    return permute(input, order)


@public()
def t(input: Node) -> Node:
    """Exchange the dimensions of a matrix; a vector stays.

    Raises:
        ShapeError: there are more than two dimensions.

    >>> t(nt.zeros(2, 3)).shape, t(nt.zeros(2)).shape
    ((3, 2), (2,))
    """
    if len(input.shape) > 2:
        raise ShapeError(message("t", "needs two dimensions at most", describe(input)))
    return views.transpose(input, 0, 1) if len(input.shape) == 2 else input


@public()
def permute(input: Node, dims: Sizes) -> Node:
    """Dimension i of the result is dimension dims[i].

    Raises:
        ShapeError: `dims` is no order of the dimensions.

    >>> permute(nt.zeros(2, 3, 4), (2, 0, 1)).shape
    (4, 2, 3)
    """
    rank = len(input.shape)
    asked = sizes_of("permute", dims)
    if len(asked) != rank:
        raise ShapeError(message("permute", f"{asked} is no order of {rank} dimensions"))
    order = tuple([normalize_dim("permute", d, rank) for d in asked])
    return input if order == tuple(range(rank)) else views.permute.apply(input, dims=order)


@public("Tensor")
def expand(input: Node, size: Sizes) -> Node:
    """Repeat dimensions of size 1, and new leading ones, without a copy; -1 keeps a size.

    Raises:
        ShapeError: a size other than 1 would change.

    >>> expand(tensor([[1], [2]]), (-1, 3)).tolist()
    [[1, 1, 1], [2, 2, 2]]
    """
    asked = sizes_of("expand", size)
    lead = len(asked) - len(input.shape)
    shape = tuple(
        input.shape[i - lead] if size == -1 and i >= lead else size for i, size in enumerate(asked)
    )
    if any(size < 0 for size in shape):
        raise ShapeError(message("expand", f"{asked} is not a shape"))
    return input if shape == input.shape else elementary().expand().apply(input, shape=shape)


@public()
def broadcast_to(input: Node, size: Sizes) -> Node:
    """As `Tensor.expand`.

    >>> broadcast_to(tensor([1, 2]), (2, 2)).tolist()
    [[1, 2], [1, 2]]
    """
    return expand(input, size)


@public("Tensor")
def expand_as(input: Node, other: Node) -> Node:
    """Expand to the shape of `other`.

    >>> expand_as(tensor([1, 2]), nt.zeros(2, 2)).tolist()
    [[1, 2], [1, 2]]
    """
    return expand(input, other.shape)


@public()
def squeeze(input: Node, dim: Dims = None) -> Node:
    """Drop dimensions of size 1, all of them or those named; one of another size stays.

    >>> squeeze(nt.zeros(1, 2, 1)).shape, squeeze(nt.zeros(1, 2, 1), (0, 1)).shape
    ((2,), (2, 1))
    """
    asked = normalize_dims("squeeze", dim, len(input.shape))
    shape = tuple(n for i, n in enumerate(input.shape) if i not in asked or n != 1)
    return reshape(input, shape)


@public()
def unsqueeze(input: Node, dim: int) -> Node:
    """Insert a dimension of size 1, which is number `dim` of the result.

    >>> unsqueeze(nt.zeros(2, 3), -1).shape
    (2, 3, 1)
    """
    return views.unsqueeze(input, dim)


@public()
def select(input: Node, dim: int, index: int) -> Node:
    """Element `index` of dimension `dim`, which goes: a view.

    Raises:
        OutOfRange: the index is not in the dimension.

    >>> select(tensor([[1, 2], [3, 4]]), 1, -1)
    tensor([2, 4])
    """
    axis = normalize_dim("select", dim, len(input.shape))
    size = input.shape[axis] if input.shape else 0
    if not -size <= index < size:
        problem = f"index {index} is out of range for dimension {axis} of size {size}"
        raise OutOfRange(message("select", problem, f"input {describe(input)}"))
    return views.element(input, axis, index % size)


@public("Tensor")
def unfold(input: Node, dimension: int, size: int, step: int) -> Node:
    """Windows of `size` elements of a dimension, `step` apart, along a new last one: a view.

    >>> unfold(tensor([1, 2, 3, 4]), 0, 2, 1).tolist()
    [[1, 2], [2, 3], [3, 4]]
    """
    axis = normalize_dim("unfold", dimension, len(input.shape))
    return strided.sliding.apply(input, dim=axis, size=size, step=step)


@public("Tensor")
def sum_to_size(input: Node, size: Sizes) -> Node:
    """The sum over dimensions that broadcasting from `size` would repeat.

    Raises:
        ShapeError: `size` does not broadcast to the shape of `input`.

    >>> sum_to_size(nt.ones(2, 3), (2, 1)).tolist()
    [[3.0], [3.0]]
    """
    asked = sizes_of("sum_to_size", size)
    lead = len(input.shape) - len(asked)
    fits = lead >= 0 and all(
        wanted in (1, n) for n, wanted in zip(input.shape[lead:], asked, strict=True)
    )
    if not fits:
        problem = f"{asked} does not expand to {input.shape}"
        raise ShapeError(message("sum_to_size", problem, f"input {describe(input)}"))
    if not asked:
        return reduced(sum_, input)
    dims = tuple(
        [i for i, n in enumerate(input.shape) if i < lead or (asked[i - lead] == 1 and n != 1)]
    )
    return reshape(reduced(sum_, input, dims, True), asked) if dims else input


@public("nt")
def unsqueeze_copy(input: Node, dim: int) -> Node:
    """As `unsqueeze`, as a value of its own.

    >>> unsqueeze_copy(nt.zeros(2, 3), 0).shape
    (1, 2, 3)
    """
    return views.clone.apply(views.unsqueeze(input, dim))


@public()
def adjoint(input: Node) -> Node:
    """The last two dimensions exchanged, and complex numbers conjugated.

    Raises:
        ShapeError: there are fewer than two dimensions.

    >>> adjoint(tensor([[1 + 1j, 2]]))
    tensor([[1.-1.j],
            [2.-0.j]])
    """
    if len(input.shape) < 2:
        raise ShapeError(message("adjoint", "needs two dimensions", f"input {describe(input)}"))
    return conjugated(views.transpose(input, -2, -1))


@public()
def resolve_conj(input: Node) -> Node:
    """The tensor itself: conjugates are computed, and no mark of them is left.

    >>> resolve_conj(tensor([1 + 2j]).conj())
    tensor([1.-2.j])
    """
    return input


@public()
def resolve_neg(input: Node) -> Node:
    """The tensor itself: negatives are computed, and no mark of them is left.

    >>> resolve_neg(tensor([1 + 2j]).conj().imag)
    tensor([-2.])
    """
    return input


@public()
def is_same_size(input: Node, other: Node) -> bool:
    """Whether both have one shape.

    >>> is_same_size(nt.ones(2, 1), nt.ones(2))
    False
    """
    return input.shape == other.shape


@public("nt")
def numel(input: Node) -> int:
    """Number of elements.

    >>> numel(nt.zeros(2, 3)), numel(tensor(1))
    (6, 1)
    """
    return size_of(input.shape)


@public("nt")
def is_floating_point(input: Node) -> bool:
    """Whether the elements are floats; complex numbers are not.

    >>> is_floating_point(tensor([1.0])), is_floating_point(tensor([1j]))
    (True, False)
    """
    return input.dtype.is_floating_point


@public()
def is_signed(input: Node) -> bool:
    """Whether the dtype has numbers below 0.

    >>> is_signed(tensor([1])), is_signed(tensor([True]))
    (True, False)
    """
    return input.dtype.kind in "ifc"


@public("nt")
def broadcast_shapes(*shapes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape that all of `shapes` expand to.

    >>> broadcast_shapes((4, 1), (3,))
    (4, 3)
    """
    return broadcast("broadcast_shapes", *[sizes_of("broadcast_shapes", x) for x in shapes])


@public("nt")
def clone(input: Node) -> Node:
    """The same value as one of its own, which gradients flow through.

    >>> x = tensor([1.0])
    >>> y = clone(x).add_(1)
    >>> x, y
    (tensor([1.]), tensor([2.]))
    """
    return views.clone.apply(input)


@public("nt")
def detach(input: Node) -> Node:
    """The same value, through which no gradient flows: a view.

    >>> detach(nt.ones(1, requires_grad=True)).requires_grad
    False
    """
    return views.detach.apply(input)
