"""Methods of Tensor that change the shape or pick elements. Views move nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import reduce
from numbatorch.ops import view as views
from numbatorch.ops.create import iota
from numbatorch.ops.operands import as_node, describe
from numbatorch.shape import Shape, infer_reshape, list_shape, normalize_dim, numel
from numbatorch.tensor.base import Handle, unwrap
from numbatorch.tensor.views import share

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor


def sizes_of(operator: str, sizes: tuple[Any, ...]) -> Shape:
    """`f(2, 3)`, `f((2, 3))` and `f([2, 3])` as (2, 3)."""
    if len(sizes) == 1 and isinstance(sizes[0], Sequence):
        sizes = tuple(sizes[0])
    try:
        shape = tuple(size.__index__() for size in sizes)
    except (AttributeError, TypeError):
        raise TypeError(message(operator, f"{sizes} are not integers")) from None
    if numel(shape) >= 2**63:
        raise ShapeError(message(operator, f"{shape} has 2**63 elements or more"))
    return shape


class ShapeMethods(Handle):
    """Views share what they view; reshape copies where no view expresses it."""

    __slots__ = ()

    def reshape(self, *shape: Any) -> Tensor:
        """The elements in row-major order under another shape; one size may be -1."""
        asked = infer_reshape(self.node.shape, sizes_of("reshape", shape))
        if asked == self.node.shape:
            return self._of(self.node)
        return self._apply(views.reshape, shape=asked)

    def view(self, *shape: Any) -> Tensor:
        """The elements under another shape, as a view.

        Raises:
            ShapeError: no view expresses it; reshape copies there.
        """
        out = self.reshape(*shape)
        if not share(self, out):
            problem = f"no view of {describe(self.node)} has shape {list_shape(out.node.shape)}"
            raise ShapeError(message("view", problem, hint="use reshape, which copies"))
        return out

    def view_as(self, other: Tensor) -> Tensor:
        """The elements under the shape of `other`, as a view."""
        return self.view(other.node.shape)

    def reshape_as(self, other: Tensor) -> Tensor:
        """The elements under the shape of `other`."""
        return self.reshape(other.node.shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Dimensions `start_dim` to `end_dim` as one."""
        shape = self.node.shape
        first = normalize_dim("flatten", start_dim, len(shape))
        last = normalize_dim("flatten", end_dim, len(shape))
        if first > last:
            raise ShapeError(message("flatten", f"start_dim {start_dim} is after {end_dim}"))
        if not shape:
            return self.reshape(1)
        middle = numel(shape[first : last + 1])
        return self.reshape((*shape[:first], middle, *shape[last + 1 :]))

    def ravel(self) -> Tensor:
        """All dimensions as one."""
        return self.flatten()

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Tensor:
        """Dimension `dim` as several, of `sizes`."""
        shape = self.node.shape
        axis = normalize_dim("unflatten", dim, len(shape))
        filled = infer_reshape(shape[axis : axis + 1], tuple(sizes))
        return self.reshape((*shape[:axis], *filled, *shape[axis + 1 :]))

    def contiguous(self) -> Tensor:
        """This tensor, or a copy if it is a view whose elements are not in row-major order."""
        place = self._place
        if place is None or place.layout.is_contiguous:
            return self._of(self.node)
        return self._of(views.clone.apply(self.node))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Exchange two dimensions."""
        return self._of(views.transpose(self.node, dim0, dim1))

    swapaxes = swapdims = transpose

    def moveaxis(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
        """Dimension source[i] stands at destination[i]; the others keep their order."""
        rank = len(self.node.shape)
        taken, places = (
            [normalize_dim("moveaxis", d, rank) for d in ((x,) if isinstance(x, int) else x)]
            for x in (source, destination)
        )
        if not len(taken) == len(places) == len(set(taken)) == len(set(places)):
            raise ShapeError(message("moveaxis", f"{source} to {destination} is no order"))
        order = [d for d in range(rank) if d not in taken]
        for place, dim in sorted(zip(places, taken, strict=True)):
            order.insert(place, dim)
        return self.permute(order)

    movedim = moveaxis

    def t(self) -> Tensor:
        """Exchange the dimensions of a matrix; a vector stays."""
        if len(self.node.shape) > 2:
            raise ShapeError(message("t", "needs two dimensions at most", describe(self.node)))
        return self.transpose(0, 1) if len(self.node.shape) == 2 else self._of(self.node)

    @property
    def T(self) -> Tensor:
        """Dimensions in reverse order."""
        return self.permute(*reversed(range(len(self.node.shape))))

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged."""
        if len(self.node.shape) < 2:
            raise ShapeError(message("mT", "needs two dimensions", describe(self.node)))
        return self.transpose(-1, -2)

    def permute(self, *dims: Any) -> Tensor:
        """Dimension i of the result is dimension dims[i]."""
        rank = len(self.node.shape)
        asked = sizes_of("permute", dims)
        if len(asked) != rank:
            raise ShapeError(message("permute", f"{asked} is no order of {rank} dimensions"))
        order = tuple(normalize_dim("permute", d, rank) for d in asked)
        if order == tuple(range(rank)):
            return self._of(self.node)
        return self._apply(views.permute, dims=order)

    def expand(self, *sizes: Any) -> Tensor:
        """Repeat dimensions of size 1, and new leading ones, without a copy; -1 keeps a size."""
        asked = sizes_of("expand", sizes)
        lead = len(asked) - len(self.node.shape)
        shape = tuple(
            self.node.shape[i - lead] if size == -1 and i >= lead else size
            for i, size in enumerate(asked)
        )
        if any(size < 0 for size in shape):
            raise ShapeError(message("expand", f"{asked} is not a shape"))
        return self._of(self.node) if shape == self.node.shape else self._expand(shape)

    def _expand(self, shape: Shape) -> Tensor:
        return self._apply(reduce.expand, shape=shape)

    broadcast_to = expand

    def expand_as(self, other: Tensor) -> Tensor:
        """Expand to the shape of `other`."""
        return self.expand(other.node.shape)

    def squeeze(self, dim: int | Sequence[int] | None = None) -> Tensor:
        """Drop dimensions of size 1, all of them or those named."""
        return self._of(views.squeeze(self.node, dim))

    def unsqueeze(self, dim: int) -> Tensor:
        """Insert a dimension of size 1."""
        return self._of(views.unsqueeze(self.node, dim))

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """`length` elements of dimension `dim` from `start`."""
        size = self.node.shape[normalize_dim("narrow", dim, len(self.node.shape))]
        first = start + size if start < 0 else start
        if length < 0 or first < 0 or first + length > size:
            raise OutOfRange(
                message(
                    "narrow",
                    f"{length} elements from {start} are not in a dimension of {size}",
                    f"input {describe(self.node)}, dim {dim}",
                )
            )
        return self._of(views.narrow(self.node, dim, first, length))

    def select(self, dim: int, index: int) -> Tensor:
        """Element `index` of dimension `dim`, which goes."""
        axis = normalize_dim("select", dim, len(self.node.shape))
        size = self.node.shape[axis]
        if not -size <= index < size:
            raise OutOfRange(message("select", f"index {index} of a dimension of {size}"))
        return self._of(views.squeeze(views.narrow(self.node, axis, index % size, 1), axis))

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Parts of `split_size` along `dim`, the last one what is left; or parts of those sizes."""
        total = self.node.shape[normalize_dim("split", dim, len(self.node.shape))]
        if isinstance(split_size, int):
            if split_size <= 0:
                raise ShapeError(message("split", f"parts of size {split_size}"))
            starts = range(0, max(total, 1), split_size)
            sizes = [min(split_size, total - start) for start in starts]
        else:
            sizes = list(split_size)
            if sum(sizes) != total or any(size < 0 for size in sizes):
                raise ShapeError(message("split", f"{sizes} do not add up to {total}"))
        return tuple(self.narrow(dim, sum(sizes[:i]), size) for i, size in enumerate(sizes))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` parts along `dim`, of equal size but for the last."""
        if chunks <= 0:
            raise ShapeError(message("chunk", f"{chunks} parts"))
        total = self.node.shape[normalize_dim("chunk", dim, len(self.node.shape))]
        return self.split(max(1, -(-total // chunks)), dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """Every element of dimension `dim`, without that dimension."""
        total = self.node.shape[normalize_dim("unbind", dim, len(self.node.shape))]
        return tuple(self.select(dim, i) for i in range(total))

    def repeat(self, *times: Any) -> Tensor:
        """Copies side by side, times[i] of them along dimension i."""
        counts = sizes_of("repeat", times)
        lead = len(counts) - len(self.node.shape)
        if lead < 0 or any(count < 0 for count in counts):
            raise ShapeError(
                message("repeat", f"{counts} does not fit", f"input {describe(self.node)}")
            )
        shape = (1,) * lead + self.node.shape
        paired = [size for n in shape for size in (1, n)]
        wide = [size for n, count in zip(shape, counts, strict=True) for size in (count, n)]
        out = self.reshape(tuple(paired)).expand(tuple(wide))
        return out.reshape(tuple(n * count for n, count in zip(shape, counts, strict=True))).clone()

    def repeat_interleave(self, repeats: int, dim: int) -> Tensor:
        """Each element of dimension `dim` `repeats` times in a row."""
        shape = self.node.shape
        axis = normalize_dim("repeat_interleave", dim, len(shape))
        wide = (*shape[: axis + 1], repeats, *shape[axis + 1 :])
        out = self.unsqueeze(axis + 1).expand(wide)
        return out.reshape((*shape[:axis], shape[axis] * repeats, *shape[axis + 1 :])).clone()

    def flip(self, *dims: Any) -> Tensor:
        """A copy in reverse order along `dims`."""
        shape = self.node.shape
        axes = {normalize_dim("flip", d, len(shape)) for d in sizes_of("flip", dims)}
        out = views.slice_.apply(
            self.node,
            starts=tuple(n - 1 if i in axes and n else 0 for i, n in enumerate(shape)),
            sizes=shape,
            steps=tuple(-1 if i in axes else 1 for i in range(len(shape))),
        )
        return self._of(views.clone.apply(out))

    def tril(self, diagonal: int = 0) -> Tensor:
        """Zeros above a diagonal of the last two dimensions, counted upwards from the main one."""
        return self._of(find("where").apply(self._below("tril", diagonal), self.node, 0))

    def triu(self, diagonal: int = 0) -> Tensor:
        """Zeros below a diagonal of the last two dimensions, counted upwards from the main one."""
        return self._of(find("where").apply(self._below("triu", diagonal - 1), 0, self.node))

    def _below(self, operator: str, diagonal: int) -> Node:
        """(M, N) bool: whether a place is on a diagonal or below it."""
        node = self.node
        if len(node.shape) < 2:
            raise ShapeError(message(operator, "needs two dimensions", describe(node)))
        M, N = node.shape[-2:]
        rows = views.reshape.apply(iota(M, node.device) + diagonal, shape=(M, 1))
        return find("ge").apply(rows, iota(N, node.device))

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The elements of dimension `dim` that a 1-d tensor of integers lists."""
        axis = normalize_dim("index_select", dim, len(self.node.shape))
        node = unwrap(index)
        if len(node.shape) > 1:
            raise ShapeError(
                message("index_select", "index must be 1-d", f"index {describe(node)}")
            )
        moved = _to_front(self.node, axis)
        rows = find("take").apply(moved, views.reshape.apply(node, shape=(numel(node.shape),)))
        return self._of(_from_front(rows, axis))

    def gather(self, dim: int, index: Tensor) -> Tensor:
        """out[i][j][k] = self[index[i][j][k]][j][k] for dim 0, and so on for the others."""
        x, picked, axis = self.node, unwrap(index), _axis("gather", self, dim)
        _check_sizes("gather", x.shape, picked.shape, axis)
        for i, size in enumerate(picked.shape):
            if i != axis and size != x.shape[i]:
                x = views.narrow(x, i, 0, size)
        out = find("gather").apply(_to_back(x, axis), _to_back(picked, axis))
        return self._of(_to_back(out, axis))

    def scatter_add(self, dim: int, index: Tensor, src: Tensor) -> Tensor:
        """self with src[i][j][k] added at [index[i][j][k]][j][k] for dim 0, and so on."""
        base, picked, axis = self.node, unwrap(index), _axis("scatter_add", self, dim)
        value = as_node(unwrap(src), base.dtype, base.device)
        _check_sizes("scatter_add", base.shape, picked.shape, axis)
        _check_sizes("scatter_add", value.shape, picked.shape, None)
        for i, size in enumerate(picked.shape):
            value = views.narrow(value, i, 0, size) if size != value.shape[i] else value
        part = base
        for i, size in enumerate(picked.shape):
            part = views.narrow(part, i, 0, size) if i != axis and size != part.shape[i] else part
        operands = (_to_back(part, axis), _to_back(picked, axis), _to_back(value, axis))
        out = _to_back(find("scatter_add").apply(*operands), axis)
        if part is not base:
            rank = len(base.shape)
            out = views.slice_update.apply(base, out, starts=(0,) * rank, steps=(1,) * rank)
        return self._of(out)

    def __len__(self) -> int:
        if not self.node.shape:
            raise TypeError(message("len", "a 0-d tensor has no length"))
        return self.node.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.node.shape:
            raise TypeError(message("iter", "a 0-d tensor has no elements in a row"))
        return iter(self.unbind(0))


def _axis(operator: str, tensor: Handle, dim: int) -> int:
    if not tensor.node.shape:
        raise ShapeError(message(operator, "needs a dimension", describe(tensor.node)))
    return normalize_dim(operator, dim, len(tensor.node.shape))


def _check_sizes(operator: str, shape: Shape, index: Shape, axis: int | None) -> None:
    fits = len(shape) == len(index) and all(
        i == axis or size <= n for i, (n, size) in enumerate(zip(shape, index, strict=True))
    )
    if not fits:
        raise ShapeError(
            message(
                operator,
                "the index is not within the tensor",
                f"tensor {shape}",
                f"index {index}",
            )
        )


def _to_front(node: Node, axis: int) -> Node:
    if axis == 0:
        return node
    order = (axis, *(i for i in range(len(node.shape)) if i != axis))
    return views.permute.apply(node, dims=order)


def _from_front(node: Node, axis: int) -> Node:
    if axis == 0:
        return node
    order = [*range(1, len(node.shape))]
    order.insert(axis, 0)
    return views.permute.apply(node, dims=tuple(order))


def _to_back(node: Node, axis: int) -> Node:
    return node if axis == len(node.shape) - 1 else views.transpose(node, axis, -1)
