"""Methods of Tensor about how elements lie in memory: views by strides, and turning in place."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from numbatorch.apart import import_module
from numbatorch.dtype import DType, Like, named
from numbatorch.errors import GradientError, OutOfRange, ShapeError, message, naming
from numbatorch.graph import GradMode, Node, current_trace
from numbatorch.ops.operands import const, describe
from numbatorch.ops.surface import names_itself
from numbatorch.ops.view import (
    clone,
    detach,
    permute,
    reinterpret,
    reinterpreted,
    reshape,
    slice_update,
)
from numbatorch.ops.view import slice_ as slice_op
from numbatorch.ops.write_through import Step
from numbatorch.shape import contiguous_strides, list_shape, normalize_dim, numel, sizes_of
from numbatorch.tensor.base import Handle, detached, is_leaf, is_tracing
from numbatorch.tensor.turned import Turned, in_blocks
from numbatorch.tensor.views import Memory, alias_of, layout_of, share_memory

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor

Sizes = int | Sequence[int]


def _memory(handle: Handle) -> tuple[Handle, Node, tuple[Step, ...], int]:
    """The memory of a tensor in row-major order, as elements of its dtype.

    Returns:
        the tensor that owns it, a node of it, the views that make that of the owner's value, and
        the place of its first element.
    """
    handle._noted()
    alias = alias_of(handle)
    if alias is not None:
        base = alias.memory.owner()
        assert base is not None
        with GradMode(alias.recorded):
            node, found, first = _in_order(base)
            steps = list(found)
            if alias.detached:
                node = detached(node)
                steps.append((detach, {}))
            if node.dtype is not handle.node.dtype:
                step = {"dtype": handle.node.dtype, "source": node.dtype}
                first = first * node.dtype.itemsize // handle.node.dtype.itemsize
                node = reinterpret.apply(node, **step)
                steps.append((reinterpret, step))
        return base, node, tuple(steps), first
    return (handle, *_in_order(handle))


def _in_order(handle: Handle) -> tuple[Node, tuple[Step, ...], int]:
    """The elements of a tensor that is no view, as they lie."""
    node, layout = handle.node, layout_of(handle)
    if layout.is_contiguous:
        return node, (), layout.offset
    order = tuple(sorted(range(len(layout.shape)), key=lambda i: -layout.strides[i]))
    turned = layout.permute(order)
    if not turned.is_contiguous:
        problem = "the memory between the elements of a view is gone with what it viewed"
        raise ShapeError(message("as_strided", problem, describe(node)))
    return permute.apply(node, dims=order), ((permute, {"dims": order}),), layout.offset


def _require_own(handle: Handle, operator: str) -> None:
    """Refuse to change the shape of what a gradient or a trace takes to have another."""
    if is_leaf(handle.node) and handle.node.requires_grad:
        problem = "the shape of a leaf that requires a gradient is changed in place"
        raise GradientError(message(operator, problem, f"tensor {describe(handle.node)}"))
    if is_tracing() and handle.node.trace != current_trace():
        problem = "a compiled function changes the shape of a tensor from outside of it"
        raise RuntimeError(message(operator, problem, f"tensor {describe(handle.node)}"))


def _turned(handle: Handle, operator: str, view: Tensor) -> Tensor:
    """Have a tensor become a view of what it holds; others that share it stay as they are."""
    if view is handle:
        return view
    _require_own(handle, operator)
    alias = alias_of(view)
    assert alias is not None
    memory = handle._place
    if isinstance(memory, Memory):
        owner = handle._tensor(handle.node)
        owner._place = memory
        memory.owner = weakref.ref(owner)
        alias.base = owner
    handle._place = alias
    handle.node = view.node
    alias.memory.add(handle)
    return handle  # type: ignore[return-value]


def _turning(name: str, method: str) -> Callable[..., Any]:
    """The method called `name` by which a tensor becomes the view that another method gives."""

    def change(self: Handle, *args: Any, **options: Any) -> Tensor:
        with naming(name), GradMode(True):  # the values stay, and so does their history
            view = getattr(self, method)(*args, **options)
        return _turned(self, name, view)

    change.__name__ = change.__qualname__ = name
    change.__doc__ = f"`{method}` in place: this tensor has another shape, its memory stays."
    return change


class StrideMethods(Handle):
    """Layouts are those that PyTorch would have: nothing is computed to tell them."""

    __slots__ = ()

    def view(self, *shape: Any, dtype: Like | None = None) -> Tensor:
        """The elements under another shape, as a view; or, given a dtype, their bytes as of that.

        The last dimension then grows or shrinks by the ratio of the sizes of an element.

        Raises:
            ShapeError: no view expresses it; reshape copies there.

        >>> tensor([1.0, -2.0]).view(nt.int32)
        tensor([ 1065353216, -1073741824], dtype=numbatorch.int32)
        """
        if dtype is None and len(shape) == 1 and isinstance(shape[0], DType):
            dtype, shape = shape[0], ()
        if dtype is not None:
            if shape:
                raise TypeError(message("view", "takes a shape or a dtype, not both"))
            out = self._of(reinterpreted(self._noted(), named("view", dtype)))
            wanted, hint = f"dtype {out.node.dtype.name}", "use contiguous, which copies"
        else:
            with naming("view"):
                out = self.reshape(*shape)  # type: ignore[attr-defined]
            wanted, hint = f"shape {list_shape(out.node.shape)}", "use reshape, which copies"
        if not share_memory(self, out):
            problem = f"no view of {describe(self.node)} has {wanted}"
            raise ShapeError(message("view", problem, hint=hint))
        return out

    @names_itself
    def view_as(self, other: Tensor) -> Tensor:
        """The elements under the shape of `other`, as a view.

        >>> tensor([1, 2]).view_as(nt.zeros(2, 1)).shape
        (2, 1)
        """
        return self.view(other.node.shape)

    def contiguous(self) -> Tensor:
        """This tensor, or a copy if it is a view whose elements are not in row-major order.

        >>> x = nt.zeros(2, 3)
        >>> x.contiguous() is x, x.mT.contiguous().stride()
        (True, (2, 1))
        """
        node = self._noted()
        return self._of(node if layout_of(self).is_contiguous else clone.apply(node))

    def is_contiguous(self) -> bool:
        """Whether the elements lie in row-major order, one after the other.

        >>> nt.zeros(2, 3).is_contiguous(), nt.zeros(2, 3).mT.is_contiguous()
        (True, False)
        """
        return layout_of(self).is_contiguous

    def stride(self, dim: int | None = None) -> Any:
        """How many elements apart neighbours of a dimension lie; a tuple for all dimensions.

        >>> nt.zeros(2, 3).T.stride()
        (1, 3)
        """
        strides = layout_of(self).strides
        if dim is None:
            return strides
        if not strides:
            raise ShapeError(message("stride", "a 0-d tensor has no dimension"))
        return strides[normalize_dim("stride", dim, len(strides))]

    def storage_offset(self) -> int:
        """How many elements of the memory stand before the first one.

        >>> nt.zeros(2, 3)[1].storage_offset()
        3
        """
        return layout_of(self).offset

    def ndimension(self) -> int:
        """Number of dimensions.

        >>> nt.zeros(2, 3).ndimension()
        2
        """
        return len(self.node.shape)

    def nelement(self) -> int:
        """Number of elements.

        >>> nt.zeros(2, 3).nelement()
        6
        """
        return numel(self.node.shape)

    @names_itself
    def fill_diagonal_(self, fill_value: float, wrap: bool = False) -> Tensor:
        """Hold a number on the main diagonal.

        Args:
            wrap: in a tall matrix begin again after each block of rows, with a row between.

        >>> nt.zeros(2, 3).fill_diagonal_(5).tolist()
        [[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]]
        """
        shape, strides = self.node.shape, layout_of(self).strides
        if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
            problem = "needs a matrix, or dimensions of one size"
            raise ShapeError(message("fill_diagonal_", problem, describe(self.node)))
        count = min(shape)
        places = [self.as_strided((count,), (sum(strides),))] if count else []
        if wrap and len(shape) == 2 and count:
            step = shape[1] + 1
            rows = range(step, shape[0], step)
            places += [self[first : first + shape[1]].diagonal() for first in rows]  # type: ignore[index]
        for place in places:
            place.fill_(fill_value)
        return self  # type: ignore[return-value]

    def element_size(self) -> int:
        """Bytes of one element, or of one block of packed ones.

        >>> tensor([1.0]).element_size()
        4
        """
        return self.node.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes of one element, or of one block of packed ones.

        >>> tensor([1], dtype=nt.int16).itemsize
        2
        """
        return self.node.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the elements.

        >>> nt.zeros(2, 3).nbytes
        24
        """
        return self.node.dtype.nbytes(numel(self.node.shape))

    @property
    def T(self) -> Tensor:
        """Dimensions in reverse order; of a matrix in blocks what `x @ w.T` multiplies with.

        >>> tensor([[1, 2]]).T.shape
        (2, 1)
        """
        node = self._noted()
        if in_blocks(node) and len(node.shape) == 2:
            return Turned(self)  # type: ignore[arg-type, return-value]
        dims = tuple(reversed(range(len(node.shape))))
        return self._of(permute.apply(node, dims=dims) if len(dims) > 1 else node)

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged.

        >>> nt.zeros(2, 3, 4).mT.shape
        (2, 4, 3)
        """
        if len(self.node.shape) < 2:
            raise ShapeError(message("mT", "needs two dimensions", describe(self.node)))
        if in_blocks(self.node):
            return Turned(self)  # type: ignore[arg-type, return-value]
        return self.transpose(-1, -2)  # type: ignore[attr-defined, no-any-return]

    @property
    def H(self) -> Tensor:
        """The conjugate of a matrix, transposed.

        >>> tensor([[1 + 1j, 2]]).H.tolist()
        [[(1-1j)], [(2-0j)]]
        """
        if len(self.node.shape) not in (0, 2):
            raise ShapeError(message("H", "needs a matrix", describe(self.node)))
        return self.adjoint() if self.node.shape else self.conj()  # type: ignore[attr-defined, no-any-return]

    @property
    def mH(self) -> Tensor:
        """The last two dimensions exchanged, and complex numbers conjugated.

        >>> tensor([[1 + 1j, 2]]).mH.shape
        (2, 1)
        """
        return self.adjoint()  # type: ignore[attr-defined, no-any-return]

    @names_itself
    def as_strided(self, size: Sizes, stride: Sizes, storage_offset: int | None = None) -> Tensor:
        """Elements at places that strides give, of the memory that this tensor lies in: a view.

        Args:
            stride: how many elements apart neighbours lie, no less than 0.
            storage_offset: the place of the first one; that of this tensor unless given.

        Where we differ from PyTorch: values that were computed lie in row-major order, whatever
        the order of their operands.

        Raises:
            OutOfRange: the memory has no such place.

        >>> tensor([1, 2, 3, 4, 5]).as_strided((2, 2), (1, 2), 1)
        tensor([[2, 4],
                [3, 5]])
        """
        offset = self.storage_offset() if storage_offset is None else storage_offset
        attrs = {
            "size": sizes_of("as_strided", size),
            "stride": sizes_of("as_strided", stride),
            "offset": offset,
        }
        base, node, steps, first = _memory(self)
        if 0 <= offset < first:
            problem = f"storage_offset {offset} is before place {first}"
            row = "the memory before a view is gone with the tensor that it was a view of"
            raise OutOfRange(message("as_strided", problem, row))
        attrs["offset"] = offset - first
        import_module("numbatorch.ops.strided")
        from numbatorch.ops.strided import as_strided, put_strided

        if base is not self and is_leaf(self.node) and self.node.requires_grad:
            place = layout_of(self)
            if place.overlaps:
                problem = "no gradient flows to a leaf whose elements share places in memory"
                raise GradientError(message("as_strided", problem, describe(self.node)))
            start = place.offset - first
            node = put_strided(
                node, self.node, size=place.shape, stride=place.strides, offset=start
            )
        found = as_strided.apply(node, **attrs)
        return base._view(found, (*steps, (as_strided, found.attrs)))

    @names_itself
    def as_strided_(self, size: Sizes, stride: Sizes, storage_offset: int | None = None) -> Tensor:
        """`as_strided` in place: this tensor becomes the view."""
        with GradMode(True):
            view = self.as_strided(size, stride, storage_offset)
        return _turned(self, "as_strided_", view)

    def resize_(self, *sizes: Any) -> Tensor:
        """Change the shape; elements keep their places in memory, new ones have no meaning.

        >>> tensor([1, 2, 3, 4]).resize_(2, 1).tolist()
        [[1], [2]]
        """
        shape = sizes_of("resize_", sizes)
        if min(shape, default=0) < 0:
            raise ShapeError(message("resize_", f"{shape} is not a shape"))
        _base, node, _steps, first = _memory(self)
        start = self.storage_offset() - first
        if start + numel(shape) <= numel(node.shape) or not numel(shape):
            return self.as_strided_(shape, contiguous_strides(shape))
        _require_own(self, "resize_")
        flat = reshape.apply(node, shape=(numel(node.shape),))
        kept = slice_op.apply(flat, starts=(start,), sizes=(flat.shape[0] - start,), steps=(1,))
        zeros = const(0, node.dtype, node.device, (numel(shape),))
        grown = slice_update.apply(zeros, kept, starts=(0,), steps=(1,))
        self._leave_views()
        self._put(reshape.apply(grown, shape=shape))
        return self  # type: ignore[return-value]

    @names_itself
    def resize_as_(self, other: Tensor) -> Tensor:
        """`resize_` to the shape of `other`.

        >>> tensor([1, 2, 3, 4]).resize_as_(nt.zeros(2, 2)).tolist()
        [[1, 2], [3, 4]]
        """
        return self.resize_(other.node.shape)

    squeeze_ = _turning("squeeze_", "squeeze")
    swapaxes_ = _turning("swapaxes_", "swapaxes")
    swapdims_ = _turning("swapdims_", "swapdims")
    t_ = _turning("t_", "t")
    transpose_ = _turning("transpose_", "transpose")
    unsqueeze_ = _turning("unsqueeze_", "unsqueeze")


@names_itself
def as_strided(
    input: Tensor, size: Sizes, stride: Sizes, storage_offset: int | None = None
) -> Tensor:
    """As `Tensor.as_strided`.

    >>> as_strided(tensor([1, 2, 3, 4]), (2, 2), (2, 1)).tolist()
    [[1, 2], [3, 4]]
    """
    return input.as_strided(size, stride, storage_offset)
