"""Functions of functions, as torch.func has them: gradients, products with Jacobians, batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.gradients import gradients
from numbatorch.graph import GradMode, Node, grad_enabled
from numbatorch.nest import map_leaves
from numbatorch.ops.operands import describe, zeros_like
from numbatorch.ops.view import reshape
from numbatorch.shape import numel
from numbatorch.tensor import Tensor, grad, value_and_grad
from numbatorch.tensor.argnums import (
    is_integer,
    numbers_of,
    places_of,
    require_arguments,
    require_callable,
    with_aux,
)
from numbatorch.tensor.base import detached
from numbatorch.tensor.gradient import alias, depends_on_others, differentiated
from numbatorch.tensor.stateless import functional_call
from numbatorch.tensor.vmap import vmap

Nest = Any


def _leaves(operator: str, nest: Nest) -> list[Tensor]:
    """The tensors of a nest, in order."""
    found: list[Tensor] = []

    def note(leaf: Any) -> None:
        if not isinstance(leaf, Tensor):
            kind = type(leaf).__name__
            raise TypeError(message(operator, f"takes and gives tensors, not {kind}"))
        found.append(leaf)

    map_leaves(note, nest)
    return found


def _like(nest: Nest, tensors: Sequence[Any]) -> Nest:
    """A nest of the form of another, with `tensors` for its leaves."""
    rest = iter(tensors)
    return map_leaves(lambda _leaf: next(rest), nest)


def _run(
    operator: str, function: Callable[..., Any], primals: Sequence[Nest], has_aux: bool
) -> tuple[list[Node], Nest, list[Node], Any]:
    """The nodes that are differentiated by, the result, its nodes, and what comes beside it."""
    aliases: list[Node] = []
    with GradMode(True):
        result = function(
            *(map_leaves(partial(alias, aliases, operator=operator), x) for x in primals)
        )
    result, aux = with_aux(operator, result) if has_aux else (result, None)
    return aliases, result, [x._noted() for x in _leaves(operator, result)], aux


def _loosened(nodes: Sequence[Node], aliases: Sequence[Node]) -> list[Tensor]:
    """Results, through which gradients flow to what is around the call, if they depend on that."""
    connect = grad_enabled() and depends_on_others(nodes, aliases)
    return [Tensor(node if connect else detached(node)) for node in nodes]


def vjp(function: Callable[..., Any], *primals: Nest, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of a function, and the function from cotangents of it to those of `primals`.

    Args:
        primals: tensors, or nests of lists, tuples and dicts of them.
        has_aux: whether the function gives (value, anything); that comes third then.

    >>> value, pull = vjp(lambda x: x * x, tensor([1.0, 2.0]))
    >>> value, pull(tensor([1.0, 10.0]))
    (tensor([1., 4.]), (tensor([ 2., 40.]),))
    """
    require_callable("vjp", function)
    aliases, result, outputs, aux = _run("vjp", function, primals, has_aux)

    def pull(cotangents: Nest) -> Any:
        starts = [x._noted() for x in _leaves("vjp", cotangents)]
        _require_alike("vjp", "cotangent", outputs, starts)
        parts = gradients(outputs, starts, aliases)
        nodes = [zeros_like(a) if p is None else p for a, p in zip(aliases, parts, strict=True)]
        return _like(primals, _loosened(nodes, [*aliases, *starts]))

    value = _like(result, _loosened(outputs, aliases))
    return (value, pull, aux) if has_aux else (value, pull)


def _require_alike(operator: str, name: str, nodes: Sequence[Node], given: Sequence[Node]) -> None:
    """Raise unless there is a tangent or cotangent of its shape and dtype for each node."""
    if len(nodes) != len(given):
        raise ValueError(message(operator, f"{len(given)} {name}s for {len(nodes)} tensors"))
    for node, tangent in zip(nodes, given, strict=True):
        rows = (f"tensor {describe(node)}", f"{name} {describe(tangent)}")
        if node.shape != tangent.shape:
            raise ShapeError(message(operator, f"a {name} has another shape", *rows))
        if node.dtype is not tangent.dtype:
            raise DTypeError(message(operator, f"a {name} has another dtype", *rows))


def jvp(
    function: Callable[..., Any],
    primals: tuple[Nest, ...],
    tangents: tuple[Nest, ...],
    *,
    has_aux: bool = False,
) -> tuple[Any, ...]:
    """The value of a function at `primals`, and its derivative in the direction of `tangents`.

    By two products with the transposed Jacobian: the first is linear in its cotangent, and the
    gradient of that is the product with the Jacobian.
    Source: https://j-towns.github.io/2017/06/12/A-new-trick.html

    >>> jvp(lambda x: x * x, (tensor([1.0, 2.0]),), (tensor([1.0, 10.0]),))
    (tensor([1., 4.]), tensor([ 2., 40.]))
    """
    require_callable("jvp", function)
    require_arguments("jvp", "primal", primals)
    require_arguments("jvp", "tangent", tangents)
    aliases, result, outputs, aux = _run("jvp", function, primals, has_aux)
    moves = [x._noted() for x in _leaves("jvp", tangents)]
    _require_alike("jvp", "tangent", aliases, moves)
    for node in outputs:
        if node.dtype.kind not in "fc":
            problem = f"a result {describe(node)} is no float, and has no derivative"
            raise DTypeError(message("jvp", problem))
    starts: list[Node] = []
    with GradMode(True):
        for node in outputs:
            alias(starts, Tensor(zeros_like(node)))
        parts = gradients(outputs, starts, aliases)
        reached = [(p, m) for p, m in zip(parts, moves, strict=True) if p is not None]
        found = gradients([p for p, _ in reached], [m for _, m in reached], starts)
    nodes = [zeros_like(y) if d is None else d for y, d in zip(outputs, found, strict=True)]
    found_all = _loosened([*outputs, *nodes], aliases)
    value = _like(result, found_all[: len(outputs)])
    slope = _like(result, found_all[len(outputs) :])
    return (value, slope, aux) if has_aux else (value, slope)


def jacrev(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """The function that gives the Jacobian: d y[i...] / d x[j...] as (*y.shape, *x.shape).

    One backward pass for all elements of the result, batched by `vmap`. Composes with itself.

    Args:
        argnums: the arguments to differentiate by, tensors or nests of lists, tuples and dicts of
            them; several give a tuple. A nest gives a nest of Jacobians, for each tensor of a
            result that is one.

    >>> jacrev(lambda x: x * x)(tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    return _jacobian("jacrev", function, argnums, has_aux)


def _jacobian(
    operator: str, function: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool
) -> Callable[..., Any]:
    """`jacrev` under the name by which errors call it."""
    require_callable(operator, function)
    numbers = numbers_of(operator, argnums)

    def jacobian(*args: Any) -> Any:
        places = places_of(operator, numbers, len(args))

        def chosen(*values: Any) -> Any:
            whole = list(args)
            for place, value in zip(places, values, strict=True):
                whole[place] = value
            return function(*whole)

        points = tuple(args[place] for place in places)
        aliases, result, outputs, aux = _run(operator, chosen, points, has_aux)
        form = points[0] if is_integer(argnums) else points
        found = [_like(form, _rows(node, aliases)) for node in outputs]
        nest = _like(result, found) if not isinstance(result, Tensor) else found[0]
        return (nest, aux) if has_aux else nest

    return jacobian


def _rows(output: Node, aliases: Sequence[Node]) -> list[Tensor]:
    """The Jacobians of a node by others."""
    from numbatorch.tensor.ranges import eye

    size = numel(output.shape)
    basis = eye(size, dtype=output.dtype, device=output.device)

    def pull(row: Tensor) -> list[Tensor]:
        start = reshape.apply(row._noted(), shape=output.shape)
        parts = gradients([output], [start], aliases)
        nodes = [zeros_like(a) if p is None else p for a, p in zip(aliases, parts, strict=True)]
        return [Tensor(node) for node in nodes]

    found = vmap(pull)(basis)
    shapes = [(*output.shape, *a.shape) for a in aliases]
    whole = [reshape.apply(x._noted(), shape=s) for x, s in zip(found, shapes, strict=True)]
    return _loosened(whole, aliases)


def jacfwd(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """As `jacrev`, in which it is computed: derivatives run backwards here in any case.

    >>> jacfwd(lambda x: x * x)(tensor([1.0, 3.0])).tolist()
    [[2.0, 0.0], [0.0, 6.0]]
    """
    return _jacobian("jacfwd", function, argnums, has_aux)


def hessian(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The function that gives the second derivatives: the Jacobian of the Jacobian.

    >>> hessian(lambda x: (x * x * x).sum())(tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return _jacobian("hessian", _jacobian("hessian", function, argnums, False), argnums, False)


def grad_and_value(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """`value_and_grad` with the gradient first, as torch.func has it.

    >>> grad_and_value(lambda x: x * x)(tensor(3.0))
    (tensor(6.), tensor(9.))
    """
    both = differentiated("grad_and_value", function, argnums, has_aux)

    def swapped(*args: Any, **options: Any) -> Any:
        value, gradient = both(*args, **options)
        return gradient, value

    return swapped


__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "value_and_grad",
    "vjp",
    "vmap",
]
