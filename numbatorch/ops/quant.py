"""Operators on weights that stay in GGML blocks. Rows are packed along the last dimension.

Source of the formats: https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.index import in_bounds
from numbatorch.ops.matmul import Compute, check_compute, matmul_
from numbatorch.ops.operands import describe
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import transpose
from numbatorch.shape import Shape, numel

Array = np.ndarray[Any, Any]


def _check_blocks(op: str, weight: Node) -> None:
    if weight.dtype.kind != "q" or len(weight.shape) != 2:
        raise DTypeError(message(op, f"weight must be (N, K) in GGML blocks: {describe(weight)}"))


@structured(epilogue=True)
def quant_matmul(x: Array, weight: Array, *, compute: Compute | None = None) -> Array:
    """x @ weight.T with weight (N, K) in blocks; on the CPU x (M, K) float32 is rounded to 8 or 16
    bits a value unless `compute` is "float32"; where it has tiles, many rows and the weight are
    rounded to bfloat16 instead."""
    return x @ weight.T


@quant_matmul.infer
def _(x: Node, weight: Node, *, compute: Compute | None = None) -> tuple[Shape, DType]:
    _check_blocks("quant_matmul", weight)
    check_compute("quant_matmul", compute, x, weight, ("x", "weight"))
    if len(x.shape) != 2 or x.shape[1] != weight.shape[1] or x.dtype is not dt.float32:
        raise ShapeError(
            message(
                "quant_matmul",
                "x must be (M, K) float32 with the weight's K",
                f"x {describe(x)}",
                f"weight {describe(weight)}",
            )
        )
    return (x.shape[0], weight.shape[0]), dt.float32


@quant_matmul.multiplies
def _(y: Node) -> int:
    return numel(y.shape) * y.inputs[0].shape[1]


@quant_matmul.fallback
def _(x: Node, weight: Node, *, compute: Compute | None = None) -> Node:
    return matmul_.apply(x, transpose(dequantize.apply(weight), 0, 1))


@structured()
def dequantize(weight: Array) -> Array:
    """The numbers that the blocks stand for, in float32."""
    return weight


@dequantize.infer
def _(weight: Node) -> tuple[Shape, DType]:
    if weight.dtype.kind != "q":
        raise DTypeError(message("dequantize", f"not in GGML blocks: {describe(weight)}"))
    return weight.shape, dt.float32


dequantize.differentiable = False


@public()
def dequantize_(input: Node) -> Node:
    """The numbers that GGML blocks stand for.

    Args:
        input: (..., K) in blocks.
    Returns:
        (..., K) float32.
    Raises:
        DTypeError: input is not in blocks.

    >>> nt.quantize(nt.ones(1, 32), "Q4_0").dequantize().dtype
    numbatorch.float32
    """
    return dequantize.apply(input)


@structured(differentiable=False, reports=True)
def quant_take(weight: Array, index: Array) -> Array:
    """Rows of a weight in blocks, decoded to float32."""
    return weight[in_bounds(index, len(weight))]


@quant_take.infer
def _(weight: Node, index: Node) -> tuple[Shape, DType]:
    _check_blocks("quant_take", weight)
    if index.dtype.kind not in "iu":
        raise DTypeError(message("quant_take", f"indices must be integers, not {index.dtype.name}"))
    return (*index.shape, weight.shape[1]), dt.float32
