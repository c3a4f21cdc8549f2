"""Rotary position embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduce import reduced, sum_
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat, narrow, reshape, slice_update, stack
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


@structured(source="https://arxiv.org/abs/2104.09864", strided=(0,))
def rope_(
    x: Array,
    cos: Array,
    sin: Array,
    *,
    position: int = 0,
    interleaved: bool = False,
    inverse: bool = False,
) -> Array:
    """Rotate the pair (a, b) by the angle of its position: (a cos - b sin, b cos + a sin).

    Args:
        x: (B, H, T, D). Pairs are (i, i + D/2), or (2i, 2i + 1) if interleaved.
        cos, sin: (positions, D/2) tables; row position + t serves x[:, :, t].
        position: of the first of the T; may be a plan variable.
        inverse: rotate by the negative angle, as the gradient does.
    """
    D = x.shape[-1]
    rows = slice(int(position), int(position) + x.shape[-2])
    c, s = cos[rows], -sin[rows] if inverse else sin[rows]
    first, second = (
        (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., : D // 2], x[..., D // 2 :])
    )
    a, b = first * c - second * s, second * c + first * s
    if interleaved:
        return np.stack([a, b], -1).reshape(x.shape)
    return np.concatenate([a, b], -1)


@rope_.infer
def _(
    x: Node, cos: Node, sin: Node, *, position: int, interleaved: bool, inverse: bool
) -> tuple[Shape, DType]:
    T, D = x.shape[-2:] if len(x.shape) == 4 else (0, -1)
    fits = D % 2 == 0 and len(cos.shape) == 2 and cos.shape[1] == D // 2
    fits = fits and cos.shape == sin.shape and cos.dtype is sin.dtype
    if not fits or x.dtype.kind != "f" or cos.dtype.kind != "f":
        raise ShapeError(
            message(
                "rope",
                "x must be floats (B, H, T, D) with even D, cos and sin (positions, D/2)",
                f"x {describe(x)}",
                f"cos {describe(cos)}",
                f"sin {describe(sin)}",
            )
        )
    first = int(position)
    if first < 0 or first + T > cos.shape[0]:
        raise OutOfRange(message("rope", f"positions {first} to {first + T - 1} of {cos.shape[0]}"))
    return x.shape, x.dtype


@rope_.vjp
def _(
    g: Node, y: Node, x: Node, cos: Node, sin: Node, *, position: int, **flags: bool
) -> tuple[Node, Node | None, Node | None]:
    interleaved, inverse = flags["interleaved"], flags["inverse"]
    attrs = {"position": position, "interleaved": interleaved}
    dx = rope_.apply(g, cos, sin, **attrs, inverse=not inverse)
    if not (cos.requires_grad or sin.requires_grad):
        return dx, None, None
    a, b = _pairs(as_node(x, cos.dtype, x.device), interleaved)
    ga, gb = _pairs(as_node(g, cos.dtype, x.device), interleaved)
    ds = gb * a - ga * b
    dc = ga * a + gb * b
    return dx, _into_table(dc, cos, position), _into_table(-ds if inverse else ds, sin, position)


def _pairs(x: Node, interleaved: bool) -> tuple[Node, Node]:
    half = x.shape[-1] // 2
    if interleaved:
        return narrow(x, -1, 0, half, 2), narrow(x, -1, 1, half, 2)
    return narrow(x, -1, 0, half), narrow(x, -1, half, half)


def _into_table(rows: Node, table: Node, position: int) -> Node:
    """Zeros like `table` with the sum of rows (B, H, T, D/2) over B and H from `position` on."""
    zeros = const(0.0, table.dtype, table.device, table.shape)
    total = reduced(sum_, rows, (0, 1))
    return slice_update.apply(zeros, total, starts=(position, 0), steps=(1, 1))


@rope_.fallback
def _(x: Node, cos: Node, sin: Node, *, position: int, interleaved: bool, inverse: bool) -> Node:
    wide = as_node(x, x.dtype.compute, x.device)
    a, b = _pairs(wide, interleaved)
    c, s = (
        expanded(as_node(narrow(n, 0, position, x.shape[2]), wide.dtype, x.device), a.shape)
        for n in (cos, sin)
    )
    s = -s if inverse else s
    parts = [a * c - b * s, b * c + a * s]
    out = reshape.apply(stack(parts, -1), shape=x.shape) if interleaved else cat(parts, -1)
    return as_node(out, x.dtype, x.device)


@rope_.samples
def _(rng: Draw) -> Any:
    B, H, T, half = rng.dims((1,) * 4, (4,) * 4)
    angles = rng.standard_normal((T + 2, half))
    x = rng.standard_normal((B, H, T, 2 * half))
    interleaved = bool(rng.random() < 0.5)
    attrs = {"position": 1, "interleaved": interleaved, "inverse": bool(rng.random() < 0.5)}
    return [x, np.cos(angles), np.sin(angles)], attrs


@public("nn.functional")
def rope(x: Node, cos: Node, sin: Node, *, position: int = 0, interleaved: bool = False) -> Node:
    """Rotary embedding: the pair (a, b) becomes (a cos - b sin, b cos + a sin). Not in PyTorch.

    Args:
        x: (B, H, T, D). Pairs are (i, i + D/2), or (2i, 2i + 1) if interleaved.
        cos, sin: (positions, D/2) tables; row position + t serves x[:, :, t].
        position: of the first of the T; may be a plan variable.
    Source: https://arxiv.org/abs/2104.09864

    >>> x = tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    >>> rope(x, tensor([[0.0]]), tensor([[1.0]])).flatten()
    tensor([0., 1.])
    """
    return rope_.apply(x, cos, sin, position=position, interleaved=interleaved)
