"""Methods of Tensor about gradients on their way: backward, hooks, gradients that are kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from numbatorch.errors import DeviceError, DTypeError, GradientError, ShapeError, message
from numbatorch.gradients import Hooks
from numbatorch.graph import PART, Node
from numbatorch.ops.operands import describe, made_by
from numbatorch.ops.write_through import STRAIGHT_THROUGH
from numbatorch.tensor.base import Handle, LeafNode, is_leaf
from numbatorch.tensor.gradient import GradientStore, backward, retained

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor

Hook = Callable[[Any], Any]


class RemovableHandle:
    """What `register_hook` gives: `remove()`, or the end of a with block, removes the hook.

    >>> x = tensor([1.0]).requires_grad_()
    >>> with x.register_hook(lambda g: 2 * g):
    ...     x.sum().backward()[x]
    tensor([2.])
    """

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove = remove

    def remove(self) -> None:
        """Remove the hook; once more does nothing."""
        self._remove()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_error: object) -> None:
        self.remove()


class GradFn:
    """What `Tensor.grad_fn` gives: the step of a graph by which gradients flow on.

    It is equal to another of the same step.

    Attributes:
        variable: the tensor whose `.grad` is added to, where a gradient ends at a leaf.
    """

    def __init__(self, node: Node) -> None:
        while node.op is STRAIGHT_THROUGH and not node.inputs[0].ends_gradient:
            node = node.inputs[0]
        self._node = node.inputs[0] if node.op is PART else node

    def name(self) -> str:
        """The operator's name; "accumulate_grad" where a gradient ends at a leaf."""
        return "accumulate_grad" if is_leaf(self._node) else made_by(self._node)[0]

    @property
    def variable(self) -> Any:
        """The tensor of a leaf."""
        owner = self._node.owner() if isinstance(self._node, LeafNode) else None
        if owner is None:
            raise AttributeError(f"{self.name()} has no variable, which leaves have")
        return owner

    @property
    def next_functions(self) -> tuple[tuple[GradFn | None, int], ...]:
        """For each operand (its step, which output of that it is); (None, 0) where none flows."""
        operands = () if is_leaf(self._node) else made_by(self._node)[1]
        return tuple(
            (GradFn(x), x.attrs["index"] if x.op is PART else 0) if x.requires_grad else (None, 0)
            for x in operands
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GradFn) and other._node is self._node

    def __hash__(self) -> int:
        return hash(self._node)

    def __repr__(self) -> str:
        return f"<{self.name()}>"


class GradientMethods(Handle):
    """Methods of Tensor about gradients."""

    __slots__ = ()

    @property
    def grad_fn(self) -> GradFn | None:
        """The operator that made this tensor, with `name()` and `next_functions`.

        None for a leaf, and for what requires no gradient.

        >>> x = tensor([1.0]).requires_grad_()
        >>> (x * 2).grad_fn, x.grad_fn
        (<mul>, None)
        """
        node = self._noted()
        return None if is_leaf(node) or not node.requires_grad else GradFn(node)

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Tensor | Sequence[Tensor] | None = None,
    ) -> GradientStore:
        """Add to `.grad` of every leaf the gradient of this tensor, and return all of them.

        Args:
            gradient: cotangent of this tensor; needed unless it has one element.
            retain_graph: where PyTorch frees a graph unless it is told to retain it, here it is
                freed with the last tensor that leads to it, so either value has the same results.
            create_graph: whether the gradients can be differentiated in turn.
            inputs: the tensors whose `.grad` is added to, instead of every leaf.
        Raises:
            GradientError: nothing here requires a gradient, or an operator has none.

        >>> x = tensor([1.0, 2.0], requires_grad=True)
        >>> store = (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
        """
        wanted = [inputs] if isinstance(inputs, Handle) else inputs
        return backward([self], [gradient], create_graph, wanted)  # type: ignore[list-item]

    def register_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(gradient)` with each gradient of this tensor; what it returns replaces it.

        Hooks run in their order, before the gradient goes on to what this tensor is made of.

        Raises:
            GradientError: the tensor requires no gradient.
            ShapeError, DTypeError, DeviceError: what a hook returns is unlike the gradient.

        >>> x = tensor([1.0, 2.0]).requires_grad_()
        >>> y = x * 3
        >>> _ = y.register_hook(lambda g: g * 10)
        >>> y.sum().backward()[x]
        tensor([30., 30.])
        """
        node = self._noted()
        _require_gradient("register_hook", node)

        tensor = self._tensor

        def on_nodes(cotangent: Node) -> Node:
            given = tensor(cotangent)
            found = hook(given)
            return cotangent if found is None else _checked(found, given)

        return RemovableHandle(Hooks.add(node, "before", on_nodes))

    def register_post_accumulate_grad_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(tensor)` after each `backward` that has added to the `.grad` of this leaf.

        Raises:
            GradientError: the tensor is no leaf that requires a gradient.

        >>> x = tensor([1.0], requires_grad=True)
        >>> handle = x.register_post_accumulate_grad_hook(lambda t: print(t.grad))
        >>> store = (x * 3).backward()
        tensor([3.])
        """
        operator = "register_post_accumulate_grad_hook"
        _require_gradient(operator, self._noted())
        if not is_leaf(self.node):
            problem = "only a leaf accumulates gradients"
            raise GradientError(message(operator, problem, f"tensor {describe(self.node)}"))
        return RemovableHandle(Hooks.add(self.node, "after", hook))

    def retain_grad(self) -> None:
        """Have `backward` fill the `.grad` of this tensor though it is no leaf.

        Raises:
            GradientError: the tensor requires no gradient.

        >>> x = tensor([3.0]).requires_grad_()
        >>> y = x * x
        >>> y.retain_grad()
        >>> _ = (y * y).backward()
        >>> y.grad
        tensor([18.])
        """
        node = self._noted()
        _require_gradient("retain_grad", node)
        if not is_leaf(node) and node not in retained:
            Hooks.changes += 1
            retained[node] = weakref.ref(self)

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called of this tensor, which is no leaf.

        >>> y = tensor([1.0], requires_grad=True) * 2
        >>> y.retain_grad()
        >>> y.retains_grad
        True
        """
        return self._noted() in retained


def _require_gradient(operator: str, node: Node) -> None:
    if not node.requires_grad:
        problem = "the tensor does not require a gradient"
        raise GradientError(message(operator, problem, f"tensor {describe(node)}"))


def _checked(found: Any, given: Handle) -> Node:
    """The node of what a hook returned."""
    if not isinstance(found, Handle):
        kind = type(found).__name__
        raise TypeError(message("hook", f"returns a tensor or None, not {kind}"))
    new, old = found.node, given.node
    rows = (
        f"returned {describe(new)} on {new.device}",
        f"gradient {describe(old)} on {old.device}",
    )
    for error, mine, wanted, name in (
        (ShapeError, new.shape, old.shape, "shape"),
        (DTypeError, new.dtype, old.dtype, "dtype"),
        (DeviceError, new.device, old.device, "device"),
    ):
        if mine != wanted:
            problem = f"what is returned has another {name} than the gradient"
            raise error(message("hook", problem, *rows))
    return new
