"""`Tensor.data`: the value of a tensor as one that no gradient flows through, read and set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numbatorch.errors import DeviceError, DTypeError, ShapeError, message
from numbatorch.graph import GradMode, Node, current_trace
from numbatorch.ops.operands import BUFFER, describe
from numbatorch.ops.registry import View
from numbatorch.ops.view import detach
from numbatorch.tensor.base import Handle, detached, has_history, is_leaf, is_tracing
from numbatorch.tensor.views import alias_of, enter_view, layout_of, memory_of

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor


class DataMethods(Handle):
    """`data`, and what sets it."""

    __slots__ = ()

    @property
    def data(self) -> Tensor:
        """detach(): what changes it in place is not recorded.

        What it is set to becomes the value of this tensor, a leaf too, which shares the memory of
        that from then on; views of this tensor go on sharing what it held. Nothing is recorded:
        gradients flow as they did.

        A value of another shape or dtype is for tensors that were not computed with a gradient,
        and hold none that would not fit.

        Raises:
            ShapeError, DTypeError: what it is set to has another shape or dtype, where this tensor
                has a `.grad`, a gradient flows through it, or a function is traced around it.
            DTypeError: it is of integers, and this tensor requires a gradient.
            DeviceError: it is on another device.

        >>> x = tensor([1.0], requires_grad=True)
        >>> y = x.data.add_(1)
        >>> x.data = x.data * 3
        >>> x.tolist(), x.is_leaf
        ([6.0], True)
        """
        return self._view(detached(self._noted()), ((detach, {}),))

    @data.setter
    def data(self, value: Tensor) -> None:
        _check(self, value)
        if not _is_same_memory(self, value):
            _set(self, value)


def _check(handle: Handle, value: Any) -> None:
    """Refuse a value that cannot stand for the one held."""
    if not isinstance(value, Handle):
        kind = type(value).__name__
        raise TypeError(message("data", f"is set to a tensor, not {kind}"))
    old, new = handle._noted(), value._noted()
    rows = (f"tensor {describe(old)} on {old.device}", f"value {describe(new)} on {new.device}")
    if old.requires_grad and new.dtype.kind not in "fc":
        problem = "only floats and complex numbers have gradients, and the tensor requires one"
        raise DTypeError(message("data", problem, *rows))
    why = _why_to_keep(handle, old)
    if why and new.shape != old.shape:
        raise ShapeError(message("data", f"must keep the tensor's shape: {why}", *rows))
    if why and new.dtype is not old.dtype:
        raise DTypeError(message("data", f"must keep the tensor's dtype: {why}", *rows))
    if new.device != old.device:
        raise DeviceError(message("data", "must stay on the tensor's device", *rows))


def _why_to_keep(handle: Handle, node: Node) -> str:
    """Why a tensor has to stay of its shape and dtype; "" where it has not."""
    if handle._grad is not None:
        return "it has a gradient of those, which .grad = None drops"
    if has_history(node):
        return "a gradient flows through it"
    if is_tracing() and node.trace != current_trace():
        return "it is from outside of a compiled function"
    return ""


def _is_same_memory(handle: Handle, value: Handle) -> bool:
    """Whether they are the same elements already, as where `x.data += y` ends."""
    if handle is value:
        return True
    shared = memory_of(handle)
    return (
        shared is not None and shared is memory_of(value) and layout_of(handle) == layout_of(value)
    )


def _set(handle: Handle, value: Handle) -> None:
    """Have `handle` hold the value, and share its memory."""
    handle._take_here()
    outside = is_tracing() and handle.node.trace != current_trace()
    if outside:
        _refuse_outside(handle, value)
    node = detached(value.node)
    handle._leave_views()
    alone = outside or has_history(handle.node)
    with GradMode(False):
        handle.hold(node)
    if not alone:
        leaf = is_leaf(handle.node)
        enter_view(value, handle, ((detach, {}),))
        alias = alias_of(handle)
        if alias is not None:
            alias.leaf = leaf


def _refuse_outside(handle: Handle, value: Handle) -> None:
    """Refuse to have two tensors share memory from a trace on, which replays would not do."""
    node = value.node
    while isinstance(node.op, View) and node.op.write is not None:
        node = node.inputs[0]
    if node.op is BUFFER or node.trace != current_trace():
        problem = "a compiled function has two tensors from outside of it share memory"
        rows = (f"tensor {describe(handle.node)}", f"value {describe(node)}")
        hint = "clone() the value, or x.data.copy_(value)"
        raise RuntimeError(message("data", problem, *rows, hint=hint))
