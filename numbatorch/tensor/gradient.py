"""`backward`, `grad` and `value_and_grad`: autograd on tensors, and the switches of recording."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from numbatorch.errors import DeviceError, DTypeError, GradientError, ShapeError, message
from numbatorch.gradients import Hooks, gradients, ones_like, recorded
from numbatorch.graph import GradMode, Node, grad_enabled
from numbatorch.nest import map_leaves
from numbatorch.ops.operands import describe
from numbatorch.ops.view import reshape
from numbatorch.shape import numel
from numbatorch.tensor.argnums import (
    is_integer,
    numbers_of,
    places_of,
    require_callable,
    with_aux,
)
from numbatorch.tensor.base import (
    Handle,
    LeafNode,
    depth_is_limited,
    detached,
    is_leaf,
    realize_nodes,
)
from numbatorch.tensor.views import LeafArgument

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor


class GradientStore(Mapping[Any, Any]):
    """The gradients of one `backward`: store[leaf] is the gradient of that tensor."""

    def __init__(self, gradients: dict[Tensor, Tensor]) -> None:
        self._gradients = gradients

    def __getitem__(self, tensor: Tensor) -> Tensor:
        found = self._gradients.get(tensor)
        if found is None:
            raise GradientError(
                message(
                    "backward",
                    "the result does not depend on this tensor, or it is no leaf",
                    f"tensor {describe(tensor.node)}",
                )
            )
        return found

    def __contains__(self, tensor: object) -> bool:
        return tensor in self._gradients

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._gradients)

    def __len__(self) -> int:
        return len(self._gradients)

    def __repr__(self) -> str:
        return f"GradientStore({len(self._gradients)} gradients)"


class _Outputs(threading.local):
    def __init__(self) -> None:
        self.unread: dict[int, weakref.ref[Tensor]] = {}  # by id, for `==` compares elements

    def add(self, output: Tensor) -> None:
        """Note a tensor until it goes."""
        key, unread = id(output), self.unread
        unread[key] = weakref.ref(output, lambda _gone: unread.pop(key, None))


_outputs = _Outputs()


def unread_outputs() -> list[Tensor]:
    """Tensors that `backward` started from and that are not realized, in this thread.

    An optimizer computes them with its step: the loss shares most of its work with the gradients.
    """
    noted = [reference() for reference in list(_outputs.unread.values())]
    _outputs.unread.clear()
    return [tensor for tensor in noted if tensor is not None and tensor.node.buffer is None]


# The tensors, no leaves, whose `.grad` is filled too, by the node that the gradient is of.
retained: weakref.WeakKeyDictionary[Node, weakref.ref[Handle]] = weakref.WeakKeyDictionary()


def backward(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
    create_graph: bool,
    inputs: Sequence[Tensor] | None = None,
) -> GradientStore:
    """Gradients of `outputs` at every leaf, or at `inputs`, added to the `.grad` of each.

    Args:
        cotangents: one for each output; None for one of a single element.
    """
    nodes = [output.node for output in outputs]
    starts = started("backward", nodes, cotangents)
    order = recorded(nodes)
    if inputs is None:
        owners = _owners(order)
    else:
        owners = [(checked_input("backward", x), x) for x in inputs]
        order = recorded(nodes, [node for node, _ in owners])
    if depth_is_limited():
        for output in outputs:
            _outputs.add(output)
    with GradMode(create_graph):
        parts = gradients(nodes, starts, [leaf for leaf, _ in owners], order)
        return _accumulate([owner for _, owner in owners], parts, type(outputs[0]))


def started(
    operator: str, nodes: Sequence[Node], cotangents: Sequence[Tensor | None]
) -> list[Node]:
    """The nodes of the cotangents that gradients of `nodes` start from."""
    if len(nodes) != len(cotangents):
        problem = f"{len(cotangents)} cotangents are given for {len(nodes)} tensors"
        raise ValueError(message(operator, problem))
    for node in nodes:
        if not node.requires_grad:
            problem = "nothing that this tensor depends on requires a gradient"
            raise GradientError(message(operator, problem, shown(node)))
    return [
        _cotangent(operator, node) if given is None else given.node
        for node, given in zip(nodes, cotangents, strict=True)
    ]


def checked_input(operator: str, tensor: Any) -> Node:
    """The node of a tensor to differentiate by."""
    if not isinstance(tensor, Handle):
        kind = type(tensor).__name__
        raise TypeError(message(operator, f"inputs are tensors, not {kind}"))
    node = tensor._noted()
    if not node.requires_grad:
        problem = "one of the inputs does not require a gradient"
        raise GradientError(message(operator, problem, shown(node)))
    return node


def _owners(order: Sequence[Node]) -> list[tuple[Node, Any]]:
    """The nodes whose gradients are kept, and the tensors that keep them."""
    found: list[tuple[Node, Any]] = []
    for node in order:
        if isinstance(node, LeafNode):
            owner = node.owner()
            if owner is not None and _is_same_leaf(node, owner.node):
                found.append((node, owner))
        elif retained and node in retained:
            owner = retained[node]()
            if owner is not None:
                found.append((node, owner))
    return found


def _accumulate(
    owners: Sequence[Any], parts: Sequence[Node | None], tensor: type[Tensor]
) -> GradientStore:
    """Sums of several passes are computed pass by pass, so that old graphs can go."""
    reached = [(t, part) for t, part in zip(owners, parts, strict=True) if part is not None]
    if depth_is_limited():
        realize_nodes([owner.grad.node for owner, _ in reached if owner.grad is not None])
    store: dict[Any, Any] = {}
    for owner, part in reached:
        gradient = owner._tensor(part)
        owner.grad = gradient if owner.grad is None else owner.grad + gradient
        store[owner] = store[owner] + gradient if owner in store else gradient
    for owner in store:
        hooks = Hooks.of(owner.node)
        for hook in list(hooks.after.values()) if hooks is not None else ():
            hook(owner)
    return GradientStore(store)


def _is_same_leaf(found: LeafNode, now: Node) -> bool:
    """Whether the tensor of a leaf is one still; its value may have been changed in place.

    Raises:
        GradientError: it is, but its gradient would not fit.
    """
    if now is found or not is_leaf(now):
        return now is found
    if (now.shape, now.dtype, now.device) != (found.shape, found.dtype, found.device):
        problem = "a leaf has another shape, dtype or device than when the result was computed"
        rows = (f"then {describe(found)} on {found.device}", f"now {describe(now)} on {now.device}")
        raise GradientError(message("backward", problem, *rows))
    return True


def check_gradient(tensor: Handle, gradient: Any) -> None:
    """Raise unless a tensor's `.grad` may be `gradient`: its shape, dtype and device."""
    if not isinstance(gradient, Handle):
        kind = type(gradient).__name__
        raise TypeError(message("grad", f"must be a tensor or None, not {kind}"))
    found, wanted = gradient.node, tensor.node
    rows = (f"gradient {describe(found)} on {found.device}", f"{shown(wanted)} on {wanted.device}")
    if found.shape != wanted.shape:
        raise ShapeError(message("grad", "must have the tensor's shape", *rows))
    if found.dtype is not wanted.dtype:
        raise DTypeError(message("grad", "must have the tensor's dtype", *rows))
    if found.device != wanted.device:
        raise DeviceError(message("grad", "must be on the tensor's device", *rows))


def shown(node: Node) -> str:
    """A row of an error about one tensor."""
    return f"tensor {describe(node)}"


def _cotangent(operator: str, output: Node) -> Node:
    if numel(output.shape) != 1:
        raise GradientError(
            message(
                operator,
                "only a tensor of one element has a gradient by itself",
                shown(output),
                hint="reduce it, or give a cotangent of its shape"
                if operator == "backward"
                else None,
            )
        )
    if output.dtype.is_complex:
        problem = "only a real number has a gradient by itself"
        hint = "give a cotangent" if operator == "backward" else "return its real part or abs"
        raise GradientError(message(operator, problem, shown(output), hint=hint))
    return ones_like(output)


def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The function that returns the value of `function` and its gradient.

    Composes with itself: the gradient can be differentiated again.

    Args:
        function: returns a tensor of one element, or (tensor, anything) with `has_aux`.
        argnums: the arguments to differentiate, each a tensor or a nest of lists, tuples and
            dicts of tensors. One number gives one gradient, several give a tuple.
    Returns:
        a function of the same arguments that gives (value, gradient); each gradient is a nest of
        the form of its argument. What does not influence the value has a gradient of zeros. An
        argument that the function changes in place is changed within it alone.
    Raises:
        GradientError: the result has several elements, or an operator has no gradient.
        OutOfRange: there is no argument of a number in `argnums`.

    >>> import numbatorch as nt
    >>> value_and_grad(lambda x: x * x)(nt.tensor(3.0))
    (tensor(9.), tensor(6.))
    """
    return differentiated("value_and_grad", function, argnums, has_aux)


def differentiated(
    operator: str, function: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool
) -> Callable[..., Any]:
    """`value_and_grad` under the name by which errors call it."""
    require_callable(operator, function)
    numbers = numbers_of(operator, argnums)

    @functools.wraps(function)
    def derived(*args: Any, **kwargs: Any) -> Any:
        outer = grad_enabled()
        aliases: list[Node] = []
        inner = list(args)
        places = places_of(operator, numbers, len(args), bool(kwargs))
        for place in places:
            inner[place] = map_leaves(partial(alias, aliases, operator=operator), args[place])
        with GradMode(True):
            result = function(*inner, **kwargs)
            value, aux = with_aux(operator, result) if has_aux else (result, None)
            if not isinstance(value, Handle):
                problem = f"the function returned {type(value).__name__}, not a tensor"
                raise GradientError(message(operator, problem))
            start = _cotangent(operator, value.node)
            parts = gradients([value.node], [start], aliases)
        found = [_zeros(node) if p is None else p for node, p in zip(aliases, parts, strict=True)]
        connect = outer and depends_on_others([value.node, *found], aliases)
        kept = [node if connect else detached(node) for node in (value.node, *found)]
        tensors = [value._tensor(node) for node in kept]
        rest = iter(tensors[1:])
        nests = tuple(map_leaves(lambda _: next(rest), args[place]) for place in places)
        first = (tensors[0], aux) if has_aux else tensors[0]
        return first, nests[0] if is_integer(argnums) else nests

    return derived


def grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The function that returns the gradient of `function`; as `value_and_grad`.

    >>> import numbatorch as nt
    >>> grad(grad(lambda x: x * x * x))(nt.tensor(2.0))
    tensor(12.)
    """
    both = differentiated("grad", function, argnums, has_aux)

    @functools.wraps(function)
    def derived(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return derived


def alias(
    aliases: list[Node],
    tensor: Any,
    operator: str = "grad",
    leaf: bool = False,
) -> Tensor:
    """A tensor of the same value whose node, which is appended, is what is differentiated by.

    Args:
        leaf: whether it is changed in place where a leaf may be, and not as any value.
    """
    if not isinstance(tensor, Handle):
        problem = f"an argument to differentiate is {type(tensor).__name__}, not a tensor"
        raise TypeError(message(operator, problem))
    if tensor.node.dtype.kind not in "fc":
        raise DTypeError(
            message(operator, "only floats and complex numbers have gradients", shown(tensor.node))
        )
    source = tensor._noted()
    attrs = {"shape": source.shape}
    kind = LeafArgument if leaf else Node
    node = kind(reshape, (source,), attrs, source.shape, source.dtype, source.device)
    node.requires_grad = True
    aliases.append(node)
    return tensor._tensor(node)


def _zeros(node: Node) -> Node:
    from numbatorch.ops.operands import const

    return const(0.0, node.dtype, node.device, node.shape)


def depends_on_others(outputs: Sequence[Node], aliases: Sequence[Node]) -> bool:
    """Whether a gradient that does not end at `aliases` can flow from `outputs`."""
    own = set(aliases)
    for node in recorded([node for node in outputs if node.requires_grad]):
        if node in own:
            if node.inputs[0].requires_grad:
                return True
        elif not any(operand.requires_grad for operand in node.inputs):
            return True
    return False


def no_grad(function: Callable[..., Any] | None = None) -> Any:
    """Within the block, or the decorated function, results do not require gradients.

    >>> x = nt.ones(1, requires_grad=True)
    >>> with no_grad():
    ...     (x * 2).requires_grad
    False
    """
    return _mode(False, function)


def _mode(enabled: bool | None, function: Callable[..., Any] | None) -> Any:
    mode = GradMode(enabled)
    return mode if function is None else mode(function)


def inference_mode(mode: bool | Callable[..., Any] = True) -> Any:
    """`no_grad`, under PyTorch's other name; with `mode` False nothing changes.

    Here it makes nothing faster, and its results may be used where gradients are recorded.

    >>> x = nt.ones(1, requires_grad=True)
    >>> with inference_mode():
    ...     (x * 2).requires_grad
    False
    """
    if callable(mode):
        return _mode(False, mode)
    return GradMode(False if mode else None)


def enable_grad(function: Callable[..., Any] | None = None) -> Any:
    """Within the block, or the decorated function, gradients are recorded.

    >>> x = nt.ones(1, requires_grad=True)
    >>> with nt.no_grad(), enable_grad():
    ...     (x * 2).requires_grad
    True
    """
    return _mode(True, function)


class set_grad_enabled(GradMode):
    """Gradients are recorded or not from here on; of a block or a decorated function within it.

    >>> x = nt.ones(1, requires_grad=True)
    >>> with set_grad_enabled(False):
    ...     (x * 2).requires_grad
    False
    >>> _ = set_grad_enabled(False)
    >>> (x * 2).requires_grad
    False
    >>> _ = set_grad_enabled(True)
    """

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        super().__enter__()
        self._ahead = True

    def __enter__(self) -> None:
        if not self._ahead:
            super().__enter__()
        self._ahead = False

    def __call__(self, function: Any) -> Any:
        if self._ahead:
            self.__enter__()
            self.__exit__()
        return super().__call__(function)

    def _recreate_cm(self) -> Any:
        return GradMode(self._enabled)


__all__ = [
    "GradientStore",
    "backward",
    "enable_grad",
    "grad",
    "grad_enabled",
    "inference_mode",
    "no_grad",
    "set_grad_enabled",
    "value_and_grad",
]
