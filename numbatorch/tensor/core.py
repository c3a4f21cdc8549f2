"""Tensor: a thin handle on a graph node. Methods build nodes; reading values realizes them."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.device import Device
from numbatorch.device import device as as_device
from numbatorch.dtype import DType, named
from numbatorch.errors import GradientError, ShapeError, message, naming
from numbatorch.graph import GradMode, Node, grad_enabled
from numbatorch.ops import families
from numbatorch.ops.numbers import require_no_loss
from numbatorch.ops.operands import describe
from numbatorch.ops.surface import handles_are, names_itself
from numbatorch.ops.view import clone, detach, select
from numbatorch.ops.write_through import changed, overwritten
from numbatorch.shape import Shape, is_expandable, normalize_dim, numel
from numbatorch.tensor import index, printing
from numbatorch.tensor.base import (
    Array,
    Handle,
    detached,
    has_history,
    host_array,
    host_node,
    is_leaf,
    realize_nodes,
    realize_one,
    touches_gradient,
)
from numbatorch.tensor.conversion import ConversionMethods
from numbatorch.tensor.data import DataMethods
from numbatorch.tensor.fillers import FillMethods
from numbatorch.tensor.gradient import check_gradient
from numbatorch.tensor.hooks import GradientMethods
from numbatorch.tensor.in_place import InPlaceMethods
from numbatorch.tensor.interchange import InterchangeMethods
from numbatorch.tensor.new_methods import NewMethods
from numbatorch.tensor.strides import StrideMethods
from numbatorch.tensor.views import alias_of, same_place, share_memory

if TYPE_CHECKING:
    from numbatorch.tensor.functions import Functions as Methods
else:
    from numbatorch.tensor.methods import Methods


class Tensor(
    ConversionMethods,
    DataMethods,
    InterchangeMethods,
    StrideMethods,
    NewMethods,
    FillMethods,
    InPlaceMethods,
    GradientMethods,
    Methods,
):
    """A value of the graph, with PyTorch's methods. Made by `nt.tensor` and the like.

    Nothing runs before a value is read: printed, converted to NumPy or Python, tested for truth,
    saved. Shape and dtype are known at once, and errors in them rise at the caller's line.

    A view shares what it views: a change in place of one is seen through the other.

    Where we differ from PyTorch: elements lie in row-major order but in views, so where PyTorch
    keeps the order of an operand, as in (x.T * 2).reshape(-1), the reshape is a copy there and a
    view here. Results of a compiled function are values of their own.
    """

    __slots__ = ()

    @property
    def shape(self) -> Shape:
        """Sizes of the dimensions."""
        return self.node.shape

    @property
    def dtype(self) -> DType:
        """Type of the elements."""
        return self.node.dtype

    @property
    def device(self) -> Device:
        """Where the value lives."""
        return self.node.device

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` accumulated, or None.

        Raises:
            TypeError, ShapeError, DTypeError, DeviceError: what is assigned is not None, and no
                tensor of this shape, dtype and device.
        """
        touches_gradient(self, read=True)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            check_gradient(self, value)
        touches_gradient(self, read=False)
        self._grad = value

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.node.shape)

    def dim(self) -> int:
        """Number of dimensions.

        >>> nt.zeros(2, 3).dim(), tensor(1).dim()
        (2, 0)
        """
        return len(self.node.shape)

    def numel(self) -> int:
        """Number of elements.

        >>> nt.zeros(2, 3).numel(), tensor(1).numel()
        (6, 1)
        """
        return numel(self.node.shape)

    def size(self, dim: int | None = None, *, axis: int | None = None) -> Any:
        """The shape, or the size of one dimension, which NumPy calls axis.

        >>> nt.zeros(2, 3).size(), nt.zeros(2, 3).size(-1)
        ((2, 3), 3)
        """
        if axis is not None:
            if dim is not None:
                raise TypeError(message("size", "dim and axis are both given"))
            dim = axis
        if dim is None:
            return self.node.shape
        if not self.node.shape:
            raise ShapeError(message("size", "a 0-d tensor has no dimension"))
        return self.node.shape[normalize_dim("size", dim, len(self.node.shape))]

    @names_itself
    def type_as(self, other: Tensor) -> Tensor:
        """The tensor with the dtype and on the device of `other`.

        >>> tensor([1, 2]).type_as(nt.zeros(1))
        tensor([1., 2.])
        """
        return self.to(other)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow through this value."""
        return self.node.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        """Whether the value was not computed from tensors that require a gradient."""
        return not self.node.requires_grad or is_leaf(self.node)

    @property
    def real(self) -> Tensor:
        """The real part, as a view; of real numbers the tensor itself.

        >>> tensor([1 + 2j]).real
        tensor([1.])
        """
        return self._part("real")

    @real.setter
    def real(self, value: Any) -> None:
        self.real[...] = value

    @property
    def imag(self) -> Tensor:
        """The imaginary part of complex numbers, as a view.

        >>> tensor([1 + 2j]).imag
        tensor([2.])
        """
        return self._part("imag")

    @imag.setter
    def imag(self, value: Any) -> None:
        self.imag[...] = value

    def _part(self, name: str) -> Tensor:
        function = families.function("nt", name)
        assert function is not None
        return function(self)  # type: ignore[no-any-return]

    def is_floating_point(self) -> bool:
        """Whether the elements are floats.

        >>> tensor([1.0]).is_floating_point(), tensor([1j]).is_floating_point()
        (True, False)
        """
        return self.node.dtype.is_floating_point

    def realize(self) -> Tensor:
        """Compute the value now; returns this tensor.

        >>> (nt.ones(2) + 1).realize()
        tensor([2., 2.])
        """
        realize_one(self._noted())
        return self

    def __getitem__(self, key: Any) -> Tensor:
        if key.__class__ is int:  # the usual case, and so a quick one
            node = index.element(self._noted(), key)
            if node is not None:
                return self._view(node, ((select, node.attrs),))
        return self._of(index.get(self._noted(), key))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._set_at("index assignment", key, value)

    def _set_at(self, operator: str, key: Any, value: Any) -> None:
        self._take_here()
        if isinstance(value, Handle) and share_memory(self, value):
            if same_place(self[key], value):  # what `x[key] += y` ends with
                return
        if alias_of(self) is not None and index.is_view(key):
            part = self[key]
            part._replace(operator, index.fitted(part.node, value))
        else:
            self._assign(operator, index.put(self.node, key, value))

    def __len__(self) -> int:
        if not self.node.shape:
            raise TypeError(message("len", "a 0-d tensor has no length"))
        return self.node.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.node.shape:
            raise TypeError(message("iter", "a 0-d tensor has no elements in a row"))
        return map(self.__getitem__, range(self.node.shape[0]))

    def __reversed__(self) -> Tensor:
        """The elements of the first dimension from the last to the first, as a tensor."""
        flip = families.function("nt", "flip")
        assert flip is not None
        return flip(self, 0) if self.node.shape else self

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, Tensor | int | float | complex | np.generic):
            raise TypeError(message("in", f"{value!r} is neither a tensor nor a number"))
        return bool((self == value).any())

    def copy_(self, source: Tensor) -> Tensor:
        """Hold the values of `source`, broadcast and converted to this shape and dtype.

        >>> nt.zeros(2).copy_(tensor([1, 2]))
        tensor([1., 2.])
        """
        _require_tensor("copy_", source)
        require_no_loss("copy_", source.dtype, self.dtype)
        self._take_here()
        if not is_expandable(source.shape, self.shape):
            rows = (f"tensor {describe(self.node)}", f"source {describe(source.node)}")
            raise ShapeError(message("copy_", "the source does not broadcast to the tensor", *rows))
        value = source.to(device=self.device)._to_dtype(self.dtype).expand(self.shape)
        self._replace("copy_", value.node)
        return self

    def _replace(self, operator: str, node: Node) -> None:
        """`_assign` of a value that does not depend on the one held: the gradient of that is 0."""
        old, alias = self.node, alias_of(self)
        whole = alias is None or numel(old.shape) == numel(alias.memory.layout.shape)
        if whole and node.requires_grad and grad_enabled() and has_history(old):
            self._update(operator, overwritten(old, clone.apply(node), operator))
        else:
            self._assign(operator, node)

    def _assign(self, operator: str, node: Node) -> None:
        """Hold the value of a node that may be another tensor's.

        Two tensors never hold one node: where one went when it is updated, the other did not.
        """
        own = node if node is self.node else changed(clone.apply(node), operator)
        self._update(operator, own)

    def fill_(self, value: Any) -> Tensor:
        """Hold `value` everywhere.

        >>> nt.zeros(2).fill_(7)
        tensor([7., 7.])
        """
        return self._fill("fill_", value)

    def _fill(self, operator: str, value: Any) -> Tensor:
        with naming(operator):
            self._set_at(operator, ..., value)
        return self

    def zero_(self) -> Tensor:
        """Hold zeros.

        >>> tensor([1, 2]).zero_()
        tensor([0, 0])
        """
        return self._fill("zero_", 0)

    def __repr__(self) -> str:
        return printing.text(self._noted())

    def _repr_html_(self) -> str:
        from numbatorch.tensor.notebook import tensor_html

        return tensor_html(self._noted())

    def __format__(self, spec: str) -> str:
        if spec and not self.node.shape:
            return format(self.item(), spec)
        try:
            return format(repr(self), spec)
        except ValueError:
            problem = f"only a tensor of one number has the format {spec!r}"
            raise TypeError(message("format", problem, describe(self.node))) from None

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A copy of its own; views that are copied together share what is copied.

        Raises:
            GradientError: the tensor was computed from ones that require a gradient.
        """
        realize_one(self._noted())
        if has_history(self.node):
            problem = "only a leaf is copied; this was computed with a gradient"
            hint = "detach() or clone() it"
            raise GradientError(message("deepcopy", problem, describe(self.node), hint=hint))
        copied = self._copied_view(memo)
        if copied is None:
            copied = object.__new__(type(self))
            Handle.__init__(copied, detached(self.node))
            if self.requires_grad:
                copied._become_leaf(copied.node)
        if self.grad is not None:
            copied.grad = deepcopy(self.grad, memo)
        memo[id(self)] = copied
        return copied

    def _copied_view(self, memo: dict[int, Any]) -> Tensor | None:
        """The same view of a copy of what this views; None where it views nothing."""
        alias = alias_of(self)
        base = None if alias is None else alias.memory.owner()
        if alias is None or base is None or has_history(base.node) or type(self) is not Tensor:
            return None
        whole = deepcopy(base, memo)
        with GradMode(alias.recorded):
            node = whole.node
            for op, attrs in alias.steps:
                node = detached(node) if op is detach else op.apply(node, **attrs)
        copied = whole._view(node, alias.steps)
        return copied.requires_grad_() if alias.leaf else copied

    def __copy__(self) -> Tensor:
        """Another tensor of the same memory: a change of one in place is seen through the other."""
        if type(self) is not Tensor:
            return self.__deepcopy__({})
        shared = self.detach()
        return shared.requires_grad_() if self.requires_grad else shared

    def __reduce__(self) -> Any:
        node = self._noted()
        array = host_array(node)
        if array.dtype.kind not in "fiubc":
            array = array.view(f"u{array.dtype.itemsize}")
        arguments = (array, node.shape, node.dtype.name, str(node.device), self.requires_grad)
        return _restore, (type(self), *arguments)


def _require_tensor(operator: str, value: Any) -> None:
    if not isinstance(value, Handle):
        raise TypeError(message(operator, f"takes a tensor, not {type(value).__name__}"))


def _show_as_methods() -> None:
    """Python's errors of arguments say Tensor.item(), whichever class of methods has it."""
    for base in Tensor.__mro__[1:-1]:
        for name, method in vars(base).items():
            if isinstance(method, FunctionType) and not name.startswith("_"):
                method.__qualname__ = f"Tensor.{name}"


_show_as_methods()
Handle._tensor = Tensor
handles_are(Handle)


def _restore(
    kind: type[Tensor], array: Array, shape: Shape, dtype: str, where: str, requires_grad: bool
) -> Tensor:
    """A tensor out of a pickle."""
    found = named("tensor", dtype)
    elements = array if found.kind == "q" else array.view(found.numpy)
    out = Tensor(host_node(elements, found, as_device(where), shape))
    if kind is not Tensor:
        return kind(out, requires_grad=requires_grad)  # type: ignore[call-arg]
    return out.requires_grad_() if requires_grad else out


@names_itself
def realize(*tensors: Tensor) -> None:
    """Compute several tensors in one plan, so that what they share is computed once.

    >>> x = nt.ones(2) + 1
    >>> y = x * 3
    >>> realize(x, y)
    >>> y
    tensor([6., 6.])
    """
    for tensor in tensors:
        _require_tensor("realize", tensor)
    realize_nodes([tensor.node for tensor in tensors])
