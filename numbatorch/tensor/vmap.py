"""vmap: a function of one example as a function of a batch, in one graph without a loop."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.nest import map_leaves
from numbatorch.ops import create
from numbatorch.ops.batching import batched, moved_from_front, moved_to_front
from numbatorch.ops.operands import EXAMPLE, describe, example
from numbatorch.ops.reduce import expand
from numbatorch.ops.view import cat, narrow, stack, unsqueeze
from numbatorch.shape import normalize_dim
from numbatorch.tensor.argnums import is_integer, require_callable
from numbatorch.tensor.base import Handle
from numbatorch.tensor.mapping import Mapping

RANDOMNESS = ("error", "different", "same")

_levels = itertools.count(1)


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """The function that maps `func` over a dimension of its arguments, as one graph.

    What `func` sees are tensors without that dimension. It may take gradients, and may itself be
    mapped. What it must not do is read a value that depends on the example, or write it to a tensor
    from outside. Mapped arguments that it changes in place hold the examples' values after the
    call, unless another tensor that it is given, or reads, shares their memory.

    Args:
        in_dims: for each argument the dimension that goes, or None for one that all examples
            share; one for all arguments, or a nest of the form of each.
            Keyword arguments are handed on as they are.
        out_dims: where the dimension stands in the results; None for one that is the same for
            all examples, which is given once.
        randomness: whether drawing random numbers within is an error, or they are "different" or
            the "same" for each example.
        chunk_size: examples that are computed at a time; all of them unless given.
    Raises:
        ShapeError: arguments have different numbers of examples, or none has any.
        RuntimeError: `func` reads a value, draws a random number against `randomness`, or changes
            a tensor in place where that would not be what it is for each example.

    >>> from numbatorch import dot, tensor
    >>> vmap(dot)(tensor([[1.0, 2.0], [3.0, 4.0]]), tensor([[1.0, 1.0], [0.0, 2.0]]))
    tensor([3., 8.])
    """
    require_callable("vmap", func)
    if randomness not in RANDOMNESS:
        problem = f"randomness is {randomness!r}, not one of {', '.join(RANDOMNESS)}"
        raise ValueError(message("vmap", problem))
    if chunk_size is not None and not is_integer(chunk_size):
        raise TypeError(message("vmap", f"chunk_size is {chunk_size!r}, not an int"))
    if chunk_size is not None and chunk_size < 1:
        raise OutOfRange(message("vmap", f"chunk_size is {chunk_size}, which is less than 1"))

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        dims = _spread(in_dims, args)
        inputs = [_front(x, d) for x, d in zip(_tensors(args), dims, strict=True)]
        size = _size(inputs, dims)
        parts = [inputs]
        if chunk_size is not None and size > chunk_size:
            starts = range(0, size, chunk_size)
            parts = [_chunk(inputs, dims, start, min(chunk_size, size - start)) for start in starts]
        call = functools.partial(func, **kwargs)
        runs = [_run(call, args, nodes, dims, randomness) for nodes in parts]
        _hold_changes(_tensors(args), dims, [changed for _, _, changed in runs])
        result, columns = runs[0][0], list(zip(*(outputs for _, outputs, _ in runs), strict=True))
        places = _spread_results(out_dims, result)
        found = iter([_out(column, d) for column, d in zip(columns, places, strict=True)])
        return map_leaves(lambda _leaf: next(found), result)

    return mapped


def _tensors(nest: Any) -> list[Any]:
    """The leaves of a nest, tensors or not, in order."""
    found: list[Any] = []
    map_leaves(found.append, nest)
    return found


def _spread(dims: Any, args: tuple[Any, ...]) -> list[int | None]:
    """For each leaf of the arguments the dimension that goes."""
    if is_integer(dims) or dims is None:
        return [dims if isinstance(x, Handle) else None for x in _tensors(args)]
    if not isinstance(dims, list | tuple):
        problem = f"in_dims is {dims!r}, not an int, None or a tuple with one for each argument"
        raise TypeError(message("vmap", problem))
    if len(dims) != len(args):
        problem = f"in_dims says {len(dims)} dimensions for {len(args)} arguments"
        raise ValueError(message("vmap", problem))
    found: list[int | None] = []
    for one, argument in zip(dims, args, strict=True):
        leaves = _tensors(argument)
        if is_integer(one) or one is None:
            found += [one if isinstance(x, Handle) else None for x in leaves]
            continue
        named = _tensors(one)
        if len(named) != len(leaves):
            problem = f"in_dims {one!r} has not the form of an argument with {len(leaves)} leaves"
            raise ValueError(message("vmap", problem))
        found += named
    return found


def _spread_results(dims: Any, result: Any) -> list[int | None]:
    """For each leaf of the result the place of the dimension."""
    leaves = _tensors(result)
    if is_integer(dims) or dims is None:
        return [dims for _ in leaves]
    fits = isinstance(result, list | tuple) and isinstance(dims, list | tuple)
    if fits and len(dims) == len(result):
        return [d for d, part in zip(dims, result, strict=True) for d in _spread_results(d, part)]
    raise ValueError(message("vmap", f"out_dims {dims!r} has not the form of the result"))


def _front(x: Any, dim: int | None) -> Any:
    """The node of an argument with its examples in front, or the argument as it is."""
    if dim is None:
        return x
    if not isinstance(x, Handle):
        problem = f"in_dims gives dimension {dim} to {x!r}, which is no tensor"
        raise TypeError(message("vmap", problem))
    node = x._noted()
    if not node.shape:
        problem = f"a 0-d tensor has no dimension {dim} of examples"
        raise ShapeError(message("vmap", problem, f"argument {describe(node)}"))
    return moved_to_front(node, normalize_dim("vmap", dim, len(node.shape)))


def _size(inputs: Sequence[Any], dims: Sequence[int | None]) -> int:
    """The number of examples."""
    nodes = [x for x, d in zip(inputs, dims, strict=True) if d is not None]
    sizes = {node.shape[0] for node in nodes}
    if len(sizes) != 1:
        problem = "arguments have different numbers of examples" if sizes else "nothing is mapped"
        raise ShapeError(message("vmap", problem, *(f"argument {describe(x)}" for x in nodes)))
    return int(sizes.pop())


def _chunk(inputs: Sequence[Any], dims: Sequence[int | None], start: int, size: int) -> list[Any]:
    return [
        x if d is None else narrow(x, 0, start, size) for x, d in zip(inputs, dims, strict=True)
    ]


class _Output(NamedTuple):
    """A tensor of the result: of one example, of all of them if they differ, and how many."""

    example: Node
    batch: Node | None
    size: int

    def whole(self) -> Node:
        """All examples, in front."""
        if self.batch is not None:
            return self.batch
        return expand.apply(unsqueeze(self.example, 0), shape=(self.size, *self.example.shape))


def _run(
    func: Callable[..., Any],
    form: tuple[Any, ...],
    inputs: Sequence[Any],
    dims: Sequence[int | None],
    randomness: str,
) -> tuple[Any, list[_Output], list[_Output]]:
    """What the function gives for one example, each tensor in it, and each argument as it is then.

    Arguments that the function has changed in place are the last, if it changed any.
    """
    level, size = next(_levels), _size(inputs, dims)
    mapping = Mapping(level)
    with mapping.begun(), _random_numbers(randomness, level, size):
        inside = mapping.examples(_tensors(form), inputs, dims)
        leaves = iter(inside)
        result = func(*map_leaves(lambda _leaf: next(leaves), form))
        nodes = []
        for x in _tensors(result):
            if not isinstance(x, Handle):
                kind = type(x).__name__
                raise TypeError(message("vmap", f"the function gives tensors, not {kind}"))
            nodes.append(x._noted())
        mapping.refuse_shared(nodes)
    mapped = [x._noted() for x, d in zip(inside, dims, strict=True) if d is not None]
    same = all(x.op is EXAMPLE for x in mapped)
    batches = batched(nodes if same else [*nodes, *mapped], level, size)
    outputs = [_Output(x, b, size) for x, b in zip([*nodes, *mapped], batches, strict=False)]
    return result, outputs[: len(nodes)], outputs[len(nodes) :]


def _hold_changes(
    arguments: Sequence[Any], dims: Sequence[int | None], runs: Sequence[Sequence[_Output]]
) -> None:
    """Have mapped arguments hold what the function has changed them to, in place."""
    if not any(runs):
        return
    mapped = [(x, d) for x, d in zip(arguments, dims, strict=True) if d is not None]
    columns = {
        id(outer): (outer, dim, column)
        for (outer, dim), column in zip(mapped, zip(*runs, strict=True), strict=True)
        if any(part.example.op is not EXAMPLE for part in column)
    }
    for outer, dim, column in columns.values():
        outer._take_here()
        outer._update("vmap", _out(column, dim).node)


@contextmanager
def _random_numbers(randomness: str, level: int, size: int) -> Iterator[None]:
    """Have keys of random streams within the block be those that `randomness` says."""

    def refused(_draw: Callable[[], Node]) -> Node:
        hint = 'randomness="different" or "same" says what is meant'
        raise RuntimeError(
            message("vmap", "a random number is drawn within the function", hint=hint)
        )

    def different(draw: Callable[[], Node]) -> Node:
        return example(stack([draw() for _ in range(size)]), level)

    with create.keys_through({"error": refused, "different": different}.get(randomness)):
        yield


def _out(column: Sequence[_Output], dim: int | None) -> Any:
    """The tensor of all examples, whose parts `column` has, along dimension `dim`."""
    if dim is None:
        if any(part.batch is not None for part in column):
            problem = "out_dims is None for a result that depends on the example"
            raise ValueError(message("vmap", problem, f"result {describe(column[0].example)}"))
        return Handle._tensor(column[0].example)
    wholes = [part.whole() for part in column]
    node = wholes[0] if len(wholes) == 1 else cat(wholes)
    return Handle._tensor(moved_from_front(node, normalize_dim("vmap", dim, len(node.shape))))
