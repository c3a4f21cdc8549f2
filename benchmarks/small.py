"""Calls in which little is computed, so that they cost what it takes to make them.

Each is written once, for what numbatorch, PyTorch and NumPy have in common.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.timing import Work

SIZE = 1024
SIDE = 32  # of a matrix of as many elements
NODES = 20
LAUNCHES = 10
BUILT = 100  # nodes that are built together
TERMS = 20_000
IDLE = 0.006  # seconds, longer than OpenMP's threads spin


@dataclass(frozen=True)
class Api:
    """What a library is asked for.

    Attributes:
        tensor: from an array, float32 or int64.
        compiled: a function whose calls are replayed, or the function itself.
        read: a function whose result has been computed when it returns.
        library: the module, if it has gradients, layers and optimizers.
        gradients: a context in which graphs for gradients are built.
    """

    tensor: Callable[[np.ndarray], Any]
    compiled: Callable[..., Any] = lambda function, **_dynamic: function
    read: Callable[[Callable[[], Any]], Callable[[], Any]] = lambda call: call
    library: Any = None
    gradients: Callable[[], AbstractContextManager[Any]] = nullcontext


def vectors(api: Api) -> tuple[Any, Any]:
    """Two operands."""
    x, y = np.random.default_rng(0).standard_normal((2, SIZE)).astype(np.float32)
    return api.tensor(x), api.tensor(y)


def matrix(api: Api) -> Any:
    """An operand of two dimensions."""
    return api.tensor(np.linspace(-1, 1, SIZE, dtype=np.float32).reshape(SIDE, SIDE))


def product(api: Api) -> Work:
    """x * y, read at once."""
    x, y = vectors(api)
    return Work(api.read(lambda: x * y))


def product_and_sum(api: Api) -> Work:
    """x * y + x, read at once."""
    x, y = vectors(api)
    return Work(api.read(lambda: x * y + x))


def graph(api: Api) -> Work:
    """A graph of 20 elementwise nodes, read at its end."""
    x, y = vectors(api)

    def run() -> Any:
        value = x
        for _ in range(NODES // 2):
            value = value * y + x
        return value

    return Work(api.read(run))


def compiled(api: Api) -> Work:
    """x * y + x, compiled: one launch."""
    x, y = vectors(api)
    function = api.compiled(lambda x, y: x * y + x)
    return Work(lambda: function(x, y))


def compiled_launches(api: Api) -> Work:
    """Ten running sums of 1,024 elements, each of the one before, compiled: as many launches."""
    x = matrix(api)

    def sums(value: Any) -> Any:
        for _ in range(LAUNCHES):
            value = value.cumsum(0)
        return value

    function = api.compiled(sums)
    return Work(lambda: function(x))


def compiled_feedback(api: Api) -> Work:
    """A vector that becomes the next call's operand, compiled: its memory can be used again."""
    value, y = vectors(api)
    function = api.compiled(lambda value, y: value * 0.5 + y)

    def run() -> Any:
        nonlocal value
        value = function(value, y)
        return value

    return Work(run)


def compiled_state(api: Api) -> Work:
    """Rows of a matrix from outside replaced at a position that changes, compiled."""
    cache, row = matrix(api), api.tensor(np.ones(SIDE, np.float32))

    def write(row: Any, position: int) -> None:
        cache[position : position + 1] = row

    function = api.compiled(write, dynamic=["position"])
    position = 0

    def run() -> Any:
        nonlocal position
        position = (position + 1) % SIDE
        function(row, position)
        return cache

    return Work(run)


def compiled_rows(api: Api) -> Work:
    """Rows of a matrix chosen by indices, which are checked, compiled."""
    table, indices = matrix(api), api.tensor(np.arange(SIDE)[::-1].copy())
    function = api.compiled(lambda table, indices: table[indices])
    return Work(lambda: function(table, indices))


def compiled_step(api: Api) -> Work:
    """A step of training a layer of 32 by 32 on 32 rows, compiled: loss, gradients, SGD."""
    if api.library is None:
        raise NotImplementedError
    layer = api.library.nn.Linear(SIDE, SIDE)
    bias = api.tensor(np.zeros(SIDE, np.float32))
    layer.load_state_dict({"weight": matrix(api), "bias": bias})
    optimizer = api.library.optim.SGD(layer.parameters(), lr=1e-3)
    x = matrix(api)

    def step(x: Any) -> Any:
        loss = (layer(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    function = api.compiled(step)

    def run() -> Any:
        with api.gradients():
            return function(x)

    return Work(run)


def compiled_gradient(api: Api) -> Work:
    """A compiled function whose result a gradient flows through, and that gradient."""
    if api.library is None:
        raise NotImplementedError
    weight = api.library.ones(SIZE, requires_grad=True)
    x, y = vectors(api)
    function = api.compiled(lambda weight, x, y: (weight * x + y).square().sum())

    def run() -> Any:
        weight.grad = None
        with api.gradients():
            function(weight, x, y).backward()
        return weight.grad

    return Work(api.read(run))


def node(api: Api) -> Work:
    """Building a node of a graph that nobody reads; where there are no graphs, the operation."""
    x, y = vectors(api)

    def run() -> None:
        for _ in range(BUILT):
            x * y

    return Work(run, units=BUILT)


def loss(api: Api) -> Work:
    """Building a sum of 20,000 terms that a gradient flows through."""
    if api.library is None:
        raise NotImplementedError
    weight = api.library.tensor(0.5, requires_grad=True)

    def run() -> Any:
        with api.gradients():
            total = weight * 0.0
            for _ in range(TERMS):
                total = total + weight * 0.5
        return total

    return Work(run)


def item(api: Api) -> Work:
    """The number in a tensor of no dimensions."""
    value = api.tensor(np.array(0.5, np.float32))
    return Work(lambda: value.item())


def element(api: Api) -> Work:
    """One element of a vector, as a number."""
    x, _ = vectors(api)
    return Work(lambda: x[5].item())


def loop(api: Api) -> Work:
    """A Python loop over 1,024 elements, as numbers."""
    x, _ = vectors(api)
    return Work(lambda: [value.item() for value in x])


def text(api: Api) -> Work:
    """What `print` shows of 1,024 elements."""
    x, _ = vectors(api)
    return Work(lambda: str(x))


def idle(api: Api, size: int) -> Work:
    """x * y + x, compiled, after a moment in which every pool of threads has gone to sleep."""
    x, y = (api.tensor(np.full(size, value, np.float32)) for value in (0.5, 2.0))
    function = api.compiled(lambda x, y: x * y + x)
    return Work(lambda: function(x, y), before=lambda: time.sleep(IDLE))


CALLS: dict[str, Callable[[Api], Work]] = {
    "x * y, read": product,
    "x * y + x, read": product_and_sum,
    "20 nodes, read": graph,
    "x * y + x, compiled": compiled,
    "10 launches, compiled": compiled_launches,
    "own result fed back, compiled": compiled_feedback,
    "state at a position, compiled": compiled_state,
    "rows by index, compiled": compiled_rows,
    "compiled, then backward()": compiled_gradient,
    "training step, compiled": compiled_step,
    "building a node": node,
    "building a loss of 20,000 terms": loss,
    "item()": item,
    "x[5].item()": element,
    "a loop over 1,024 elements": loop,
    "printing": text,
}
WITH_GRADIENTS = (
    "compiled, then backward()",
    "training step, compiled",
    "building a loss of 20,000 terms",
)


def jobs(
    api: Api, wait: Callable[[], object] | None = None
) -> tuple[Callable[[str], Work], Callable[[int], Work]]:
    """The jobs `small` and `idle` of an engine, whose device `wait` waits for."""

    def call(name: str) -> Work:
        """One of the calls in which little is computed."""
        work = CALLS[name](api)
        work.wait = wait
        return work

    return call, partial(idle, api)
