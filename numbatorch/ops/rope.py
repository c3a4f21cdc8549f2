"""Rotary position embedding."""

from typing import Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.registry import describe, structured
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


@structured(source="https://arxiv.org/abs/2104.09864", strided=(0,))
def rope(
    x: Array, cos: Array, sin: Array, *, position: int = 0, interleaved: bool = False
) -> Array:
    """Rotate the pair (a, b) by the angle of its position: (a cos - b sin, b cos + a sin).

    Args:
        x: (B, H, T, D). Pairs are (i, i + D/2), or (2i, 2i + 1) if interleaved.
        cos, sin: (positions, D/2) tables; row position + t serves x[:, :, t].
        position: of the first of the T; may be a plan variable.
    """
    D = x.shape[-1]
    rows = slice(int(position), int(position) + x.shape[-2])
    c, s = cos[rows], sin[rows]
    first, second = (
        (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., : D // 2], x[..., D // 2 :])
    )
    a, b = first * c - second * s, second * c + first * s
    if interleaved:
        return np.stack([a, b], -1).reshape(x.shape)
    return np.concatenate([a, b], -1)


@rope.infer
def _(
    x: Node, cos: Node, sin: Node, *, position: int = 0, interleaved: bool = False
) -> tuple[Shape, DType]:
    T, D = x.shape[-2:] if len(x.shape) == 4 else (0, -1)
    if len(x.shape) != 4 or D % 2 or cos.shape != sin.shape or cos.shape[1:] != (D // 2,):
        raise ShapeError(
            message(
                "rope",
                "x must be (B, H, T, D) with even D, cos and sin (positions, D/2)",
                f"x {describe(x)}",
                f"cos {describe(cos)}",
                f"sin {describe(sin)}",
            )
        )
    if position < 0 or position + T > cos.shape[0]:
        raise OutOfRange(
            message("rope", f"positions {position} to {position + T - 1} of {cos.shape[0]}")
        )
    return x.shape, x.dtype


@rope.vjp
def _(
    g: Node, y: Node, x: Node, cos: Node, sin: Node, *, position: int, interleaved: bool
) -> tuple[Node, None, None]:
    return rope.apply(g, cos, -sin, position=position, interleaved=interleaved), None, None


@rope.samples
def _(rng: np.random.Generator) -> Any:
    B, H, T, half = (int(n) for n in rng.integers(1, 4, 4))
    angles = rng.standard_normal((T + 2, half))
    x = rng.standard_normal((B, H, T, 2 * half))
    interleaved = bool(rng.random() < 0.5)
    return [x, np.cos(angles), np.sin(angles)], {"position": 1, "interleaved": interleaved}
