"""Function: an operation of a program's own, with the gradient that it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from numbatorch.errors import GradientError, message
from numbatorch.gradients import check_cotangent, counted
from numbatorch.graph import GradMode, Node, grad_enabled
from numbatorch.ops.custom import with_gradient
from numbatorch.ops.operands import as_node, describe, zeros_like
from numbatorch.tensor import Tensor


class Context:
    """What `forward` leaves for `backward`: attributes of any name, and tensors.

    Attributes:
        needs_input_grad: for each argument of `apply`, whether a gradient of it is asked for.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self._saved: tuple[Tensor | None, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()
        self._results: tuple[Tensor, ...] = ()
        self._constant: set[int] = set()
        self._zeros = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `saved_tensors`."""
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors that were kept; results of `forward` among them with their gradients."""
        results = {
            id(output): result for output, result in zip(self._outputs, self._results, strict=True)
        }
        return tuple(results.get(id(tensor), tensor) for tensor in self._saved)

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Results through which no gradient flows."""
        self._constant = {id(tensor) for tensor in tensors}

    def set_materialize_grads(self, value: bool) -> None:
        """Whether a result that no gradient reaches has zeros for `backward`, else None."""
        self._zeros = value


class Function:
    """An operation whose gradient is written by hand. `apply` calls it.

    `forward(ctx, *args)` computes with tensors and gives one or a tuple of them; or
    `forward(*args)` does, and `setup_context(ctx, inputs, output)` keeps what `backward` needs.
    `backward(ctx, *g)` gets a gradient for each result and gives one, or None, for each argument.

    >>> class Cube(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x * x
    >>> x = tensor(2.0).requires_grad_()
    >>> Cube.apply(x).backward()[x]
    tensor(12.)
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """What the operation computes."""
        raise TypeError(message("Function", "forward is not defined"))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """What `backward` needs of a call, where `forward` does not take the context."""

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the arguments."""
        raise GradientError(message("Function", "backward is not defined"))

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Call the operation; gradients flow through what `backward` says."""
        needs = tuple(isinstance(x, Tensor) and x.requires_grad and grad_enabled() for x in args)
        context = Context(needs)
        with GradMode(False):
            if cls.setup_context is Function.setup_context:
                given = cls.forward(context, *args)
            else:
                given = cls.forward(*args)
                cls.setup_context(context, args, given)
        outputs = (given,) if isinstance(given, Tensor) else tuple(given)
        for output in outputs:
            if not isinstance(output, Tensor):
                kind = type(output).__name__
                raise TypeError(message(cls.__name__, f"forward gives tensors, not {kind}"))
        if not any(needs):
            return given
        results = _results(cls, context, args, outputs)
        return results[0] if isinstance(given, Tensor) else tuple(results)


def _results(
    kind: type[Function], context: Context, args: tuple[Any, ...], outputs: tuple[Tensor, ...]
) -> list[Tensor]:
    """The tensors of a call: the values of `outputs`, with gradients."""
    places = [i for i, needed in enumerate(context.needs_input_grad) if needed]
    context._outputs = context._results = outputs

    def pull(
        g: Sequence[Node | None], y: Sequence[Node], operands: Sequence[Node]
    ) -> list[Node | None]:
        context._results = tuple(map(Tensor, y))
        given = [_given(part, node, context) for part, node in zip(g, y, strict=True)]
        found = kind.backward(context, *given)
        context._results = outputs
        parts = list(found) if isinstance(found, list | tuple) else [found]
        if len(parts) != len(args):
            gives, takes = counted(len(parts), "gradient"), counted(len(args), "argument")
            raise GradientError(message(kind.__name__, f"backward gives {gives} for {takes}"))
        pairs = zip(places, operands, strict=True)
        return [_fitting(kind.__name__, i, parts[i], operand) for i, operand in pairs]

    operands = [args[i]._noted() for i in places]
    nodes = with_gradient([x._noted() for x in outputs], operands, pull, kind.__name__)
    return [
        output if id(output) in context._constant or node.dtype.kind not in "fc" else Tensor(node)
        for output, node in zip(outputs, nodes, strict=True)
    ]


def _given(part: Node | None, node: Node, context: Context) -> Tensor | None:
    """The gradient of a result that `backward` gets."""
    if part is None and not context._zeros:
        return None
    return Tensor(zeros_like(node) if part is None else part)


def _fitting(name: str, number: int, part: Any, operand: Node) -> Node | None:
    """The node of a gradient that `backward` gave for an argument."""
    if part is None:
        return None
    if not isinstance(part, Tensor):
        kind = type(part).__name__
        problem = f"backward gives {kind} for argument {number}, not a tensor or None"
        raise GradientError(message(name, problem, f"argument {number} {describe(operand)}"))
    node = part._noted()
    check_cotangent(name, f"argument {number}", node, operand)
    return as_node(node, operand.dtype, operand.device)


def once_differentiable(function: Any) -> Any:
    """Decorator of `backward`: its gradients have none in turn, and asking for them is an error."""

    def call(context: Any, *grad_outputs: Any) -> Any:
        with GradMode(False):
            found = function(context, *grad_outputs)
        if not grad_enabled():
            return found
        if isinstance(found, Tensor) or found is None:
            return _once(found)
        return tuple(_once(part) for part in found)

    return call


class _Once(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def backward(ctx: Any, *_grad_outputs: Any) -> NoReturn:
        raise GradientError(message("backward", "a once_differentiable gradient has none in turn"))


def _once(part: Tensor | None) -> Tensor | None:
    return None if part is None else _Once.apply(part.detach().requires_grad_())
