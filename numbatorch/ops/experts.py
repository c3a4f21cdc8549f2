"""Products with one of several weights each, as mixtures of experts need them.

Letters: M rows, E experts, K inputs and N outputs of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.create import iota
from numbatorch.ops.index import in_bounds, index_add, take
from numbatorch.ops.matmul import Compute, check_compute, matmul_
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.sort import are_places
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import reshape, transpose
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]

NARROW = (dt.float16, dt.bfloat16)  # weights that meet a float32


@structured(dtypes=(dt.float64, dt.float32), reports=True, strided=(0,))
def expert_matmul(
    x: Array,
    weight: Array,
    index: Array,
    *,
    experts: int,
    compute: Compute | None = None,
    inside: bool = False,
) -> Array:
    """out[m] = x[m] @ weight of expert index[m], transposed; only the weights asked for are read.

    Args:
        x: (M, K) float32 or float64.
        weight: (E * N, K), the experts' weights one below the other: as x, half types or blocks
            beside float32. Beside blocks, the CPU rounds as `quant_matmul` does.
        index: (M,) integers in [0, E).
        experts: E.
        compute: as of `linear`; beside plain weights only many rows are rounded, on the CPU.
        inside: whether an index is known to be in [0, E): a plan looks at indices before it
            overwrites anything, so that a cache which it writes to is copied first.
    Returns:
        (M, N), dtype of x.
    """
    chosen = weight.reshape(experts, -1, weight.shape[-1])[in_bounds(index, experts)]
    return np.asarray(np.matmul(chosen, x[:, :, None])[:, :, 0], x.dtype)


@expert_matmul.infer
def _(x: Node, weight: Node, index: Node, *, experts: int, **attrs: Any) -> tuple[Shape, DType]:
    rows = (f"x {describe(x)}", f"weight {describe(weight)}", f"index {describe(index)}")
    fits = len(x.shape) == len(weight.shape) == 2 and x.shape[1] == weight.shape[1]
    if not fits or index.shape != x.shape[:1]:
        problem = "takes x (M, K), weight (E * N, K) and index (M,)"
        raise ShapeError(message("expert_matmul", problem, *rows))
    if experts < 1 or weight.shape[0] % experts:
        problem = f"{weight.shape[0]} rows of a weight are not shared by {experts} experts"
        raise ShapeError(message("expert_matmul", problem, *rows))
    check_compute("expert_matmul", attrs.get("compute"), x, weight, ("x", "weight"))
    narrow = weight.dtype in NARROW or weight.dtype.kind == "q"
    same = x.dtype is weight.dtype or (x.dtype is dt.float32 and narrow)
    if x.dtype not in (dt.float32, dt.float64) or not same or index.dtype.kind not in "iu":
        problem = "takes floats of a dtype, or float32 and a narrower weight, and integers"
        raise DTypeError(message("expert_matmul", problem, *rows))
    return (x.shape[0], weight.shape[0] // experts), x.dtype


@expert_matmul.multiplies
def _(y: Node) -> int:
    return numel(y.shape) * y.inputs[0].shape[1]


@expert_matmul.vjp
def _(
    g: Node, y: Node, x: Node, weight: Node, index: Node, *, experts: int, **_attrs: Any
) -> tuple[Node | None, ...]:
    packed = weight.dtype.kind == "q"
    plain = find("dequantize").apply(weight) if packed else weight
    dx = expert_matmul_input.apply(g, as_node(plain, x.dtype, x.device), index, experts=experts)
    if packed:
        return dx, None, None
    dw = expert_matmul_weight.apply(g, x, index, experts=experts)
    return dx, as_node(dw, weight.dtype, x.device), None


@expert_matmul.fallback
def _(x: Node, weight: Node, index: Node, *, experts: int, **_attrs: Any) -> Node:
    M, K = x.shape
    N = weight.shape[0] // experts
    first = reshape.apply(as_node(index, dt.int64, x.device) * N, shape=(M, 1))
    places = expanded(first, (M, N)) + expanded(iota(N, x.device), (M, N))
    taken = find("quant_take") if weight.dtype.kind == "q" else take
    chosen = as_node(taken.apply(weight, places), x.dtype, x.device)  # (M, N, K)
    product = matmul_.apply(chosen, reshape.apply(x, shape=(M, K, 1)))
    return reshape.apply(product, shape=(M, N))


@expert_matmul.samples
def _(rng: Draw) -> Any:
    M, E, N, K = rng.dims((0, 1, 1, 1), (5, 4, 4, 4), 300)
    index = rng.indices(E, (M,))
    x, weight = rng.standard_normal((M, K)), rng.standard_normal((E * N, K))
    return [x, weight, index], {"experts": E}


@structured(dtypes=(dt.float64, dt.float32), reports=True)
def expert_matmul_input(g: Array, weight: Array, index: Array, *, experts: int) -> Array:
    """out[m] = g[m] @ weight of expert index[m]: from cotangents of `expert_matmul` those of x.

    Args:
        g: (M, N).
        weight: (E * N, K), dtype of g.
        index: (M,) integers in [0, E).
        experts: E.
    Returns:
        (M, K).
    """
    chosen = weight.reshape(experts, -1, weight.shape[-1])[in_bounds(index, experts)]
    return np.asarray(np.matmul(g[:, None, :], chosen)[:, 0], g.dtype)


@expert_matmul_input.infer
def _(g: Node, weight: Node, index: Node, *, experts: int) -> tuple[Shape, DType]:
    M, N = g.shape
    K = weight.shape[1]
    if weight.shape != (experts * N, K) or index.shape != (M,) or weight.dtype is not g.dtype:
        rows = (f"g {describe(g)}", f"weight {describe(weight)}", f"index {describe(index)}")
        problem = f"takes g (M, N), weight ({experts} * N, K) and index (M,)"
        raise ShapeError(message("expert_matmul_input", problem, *rows))
    return (M, K), g.dtype


@expert_matmul_input.vjp
def _(
    h: Node, y: Node, g: Node, weight: Node, index: Node, *, experts: int, **_attrs: Any
) -> tuple[Node | None, ...]:
    dg = expert_matmul.apply(h, weight, index, experts=experts)
    return dg, expert_matmul_weight.apply(g, h, index, experts=experts), None


@expert_matmul_input.fallback
def _(g: Node, weight: Node, index: Node, *, experts: int, **attrs: Any) -> Node:
    N, K = g.shape[1], weight.shape[1]
    turned = transpose(reshape.apply(weight, shape=(experts, N, K)), -1, -2)
    stacked = reshape.apply(turned, shape=(experts * K, N))
    return expert_matmul.apply(g, stacked, index, experts=experts)


@structured(dtypes=(dt.float64, dt.float32), reports=True)
def expert_matmul_weight(g: Array, x: Array, index: Array, *, experts: int) -> Array:
    """The sum of g[m]^T x[m] over the rows m of each expert: cotangents of the stacked weights.

    Args:
        g: (M, N).
        x: (M, K), dtype of g.
        index: (M,) integers in [0, E).
        experts: E.
    Returns:
        (E * N, K); zeros for an expert that no row asks for.
    """
    N, K = g.shape[1], x.shape[1]
    out = np.zeros((experts, N, K), g.dtype)
    np.add.at(out, in_bounds(index, experts), g[:, :, None] * x[:, None, :])
    return out.reshape(experts * N, K)


@expert_matmul_weight.infer
def _(g: Node, x: Node, index: Node, *, experts: int) -> tuple[Shape, DType]:
    (M, N), K = g.shape, x.shape[1]
    if x.shape != (M, K) or index.shape != (M,) or x.dtype is not g.dtype or experts < 1:
        rows = (f"g {describe(g)}", f"x {describe(x)}", f"index {describe(index)}")
        problem = "takes g (M, N), x (M, K) and index (M,)"
        raise ShapeError(message("expert_matmul_weight", problem, *rows))
    return (experts * N, K), g.dtype


@expert_matmul_weight.vjp
def _(
    h: Node, y: Node, g: Node, x: Node, index: Node, *, experts: int, **_attrs: Any
) -> tuple[Node | None, ...]:
    dg = expert_matmul.apply(x, h, index, experts=experts)
    return dg, expert_matmul_input.apply(g, h, index, experts=experts), None


@expert_matmul_weight.fallback
def _(g: Node, x: Node, index: Node, *, experts: int, **attrs: Any) -> Node:
    (M, N), K = g.shape, x.shape[1]
    left = expanded(reshape.apply(g, shape=(M, N, 1)), (M, N, K))
    right = expanded(reshape.apply(x, shape=(M, 1, K)), (M, N, K))
    zeros = const(0.0, g.dtype, g.device, (experts, N, K))
    sums = index_add.apply(zeros, index, left * right)
    return reshape.apply(sums, shape=(experts * N, K))


@expert_matmul_input.samples
def _(rng: Draw) -> Any:
    M, E, N, K = rng.dims((0, 1, 1, 1), (5, 4, 4, 4), 300)
    g, weight = rng.standard_normal((M, N)), rng.standard_normal((E * N, K))
    return [g, weight, rng.indices(E, (M,))], {"experts": E}


@expert_matmul_weight.samples
def _(rng: Draw) -> Any:
    M, E, N, K = rng.dims((0, 1, 1, 1), (5, 4, 4, 4), 300)
    g, x = rng.standard_normal((M, N)), rng.standard_normal((M, K))
    return [g, x, rng.indices(E, (M,))], {"experts": E}


@public("nn.functional")
def expert_linear(
    input: Node,
    weight: Node,
    index: Node,
    experts: int,
    *,
    compute: Literal["float32", "bfloat16"] | None = None,
) -> Node:
    """input[m] @ weight[index[m]].T for each row m, of stacked weights. Not in PyTorch.

    Args:
        input: (M, K) floats.
        weight: (E * N, K), the weights of experts one below the other, plain or of a block type;
            on the CPU only those of experts that are asked for are read, each once.
        index: (M,) integers in [0, E), the expert of each row.
        experts: E.
        compute: as of `linear`.
    Returns:
        (M, N), dtype of the input; half types are computed in float32.
    Raises:
        ShapeError: the shapes are not those, or E does not divide the rows of the weight.
        DTypeError: the input has no floats, or index no integers.
        OutOfRange: an index is not in [0, E), when the result is realized.

    >>> weight = tensor([[1.0, 1.0], [1.0, -1.0]])  # two experts of one output
    >>> expert_linear(tensor([[3.0, 1.0], [3.0, 1.0]]), weight, tensor([0, 1]), 2)
    tensor([[4.],
            [2.]])
    """
    wide = input.dtype.compute
    if weight.dtype.kind == "q" or weight.dtype in NARROW:
        wide = dt.float32
    if weight.dtype.kind == "f" and weight.dtype not in NARROW:
        weight = as_node(weight, wide, input.device)
    rows = as_node(input, wide, input.device) if input.dtype.kind == "f" else input
    attrs = {"experts": experts, "compute": compute, "inside": are_places(index, experts)}
    out = expert_matmul.apply(rows, weight, index, **attrs)
    return as_node(out, input.dtype, input.device)
