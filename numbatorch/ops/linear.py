"""The linear layer: a product with a weight that lies as (N, K), plain or in GGML blocks."""

from __future__ import annotations

from typing import Literal

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.matmul import Compute, check_compute, multiplied, product
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.surface import public
from numbatorch.ops.view import reshape, transpose
from numbatorch.shape import numel


@public("nn.functional", remembered=True)
def linear(
    input: Node,
    weight: Node,
    bias: Node | None = None,
    *,
    compute: Literal["float32", "bfloat16"] | None = None,
) -> Node:
    """input @ weight.T + bias; the weight may be stored in GGML blocks.

    Args:
        input: (..., K).
        weight: (N, K), plain or of a block type.
        bias: (N,) or None.
        compute: "float32" has weights in blocks multiplied with the input as it is, where the CPU
            rounds it to 8 or 16 bits a value, and where it has tiles of bfloat16 (AMX) 64 rows and
            more and the weight to bfloat16. With "bfloat16" plain operands of float32 may be
            rounded to it, in the products of the gradient too: the CPU does so where it multiplies
            pairs of bfloat16 as fast as single float32; sums and the result are float32. None is
            as "float32" for plain weights. Not in PyTorch.
    Returns:
        (..., N), dtype of the input.
    Raises:
        ShapeError: the last dimensions of `input` and `weight` differ.
        DTypeError: one has integers and the other floats; compute is "bfloat16", and the input is
            neither float32 nor bfloat16, or the weight none of these and no float16.

    >>> linear(tensor([1.0, 2.0]), tensor([[1.0, 0.0], [1.0, 1.0]]), tensor([0.0, 10.0]))
    tensor([ 1., 13.])
    """
    x = input
    if len(weight.shape) != 2 or not x.shape or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            message(
                "linear",
                "input.shape[-1] must be weight.shape[1]",
                f"input {describe(x)}",
                f"weight {describe(weight)}",
            )
        )
    if (x.dtype.kind in "biu") != (weight.dtype.kind in "biu"):
        hint = f"input.to(nt.{weight.dtype.name})" if weight.dtype.kind in "fc" else None
        problem = "integers and floats do not go together"
        given = (f"input {describe(x)}", f"weight {describe(weight)}")
        raise DTypeError(message("linear", problem, *given, hint=hint))
    check_compute("linear", compute, x, weight, ("input", "weight"))
    plain: Compute | None = "bfloat16" if compute == "bfloat16" else None
    if weight.dtype.kind == "q":
        M, K = numel(x.shape[:-1]), x.shape[-1]
        rows = reshape.apply(as_node(x, dt.float32, x.device), shape=(M, K))
        out = find("quant_matmul").apply(rows, weight, compute=compute)
        out = as_node(reshape.apply(out, shape=(*x.shape[:-1], weight.shape[0])), x.dtype, x.device)
    elif x.dtype is dt.float32 and weight.dtype in (dt.float16, dt.bfloat16):
        rows = x if len(x.shape) > 1 else reshape.apply(x, shape=(1, *x.shape))
        out = product(rows, transpose(weight, 0, 1), plain)
        out = reshape.apply(out, shape=(*x.shape[:-1], weight.shape[0]))
    else:
        out = multiplied(x, transpose(weight, 0, 1), plain)
    return out if bias is None else out + bias
