"""Values with a gradient of their own making, and `after`, which has work wait for other work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numbatorch.dtype import FLOATS
from numbatorch.graph import Node, TupleNode
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.structured import Structured

Array = np.ndarray[Any, Any]
Cotangents = tuple[Node | None, ...]
Pull = Callable[[Cotangents, tuple[Node, ...], tuple[Node, ...]], Sequence[Node | None]]


def custom(*arrays: Array, count: int, pull: Pull, name: str) -> tuple[Array, ...]:
    """The first `count` operands; the others are what they depend on."""
    return arrays[:count]


CUSTOM = Structured(custom, "", "custom")
CUSTOM.told = lambda node: (node.attrs["name"], node.inputs[node.attrs["count"] :])


@CUSTOM.fallback
def _(*nodes: Node, count: int, pull: Pull, name: str) -> tuple[Node, ...]:
    return nodes[:count]


@CUSTOM.vjp
def _(g: Cotangents, y: tuple[Node, ...], *inputs: Node, count: int, pull: Pull, name: str) -> Any:
    return [*(None for _ in y), *pull(g, y, inputs[count:])]


def with_gradient(
    values: Sequence[Node], operands: Sequence[Node], pull: Pull, name: str
) -> tuple[Node, ...]:
    """Nodes of the same values, whose gradients are what `pull` gives.

    Args:
        values: through which no gradient flows.
        operands: what the values depend on.
        pull: (cotangents of the values, None for one that none reaches; the nodes; operands) ->
            cotangents of the operands.
        name: of the operation, for who looks at its results.
    """
    attrs = {"count": len(values), "pull": pull, "name": name}
    outputs = [(x.shape, x.dtype) for x in values]
    return TupleNode(CUSTOM, (*values, *operands), attrs, outputs, values[0].device).parts()


@elementwise(numpy=lambda x, y: np.broadcast_arrays(x, y)[0].copy(), dtypes=FLOATS, places=())
def after(x: Scalar, y: Scalar) -> Scalar:
    """x, computed after y."""
    return x


@after.vjp
def _(g: Node, z: Node, x: Node, y: Node) -> tuple[Node, None]:
    return g, None
