"""Two operators of one's own: an elementwise one, and one with a kernel. Both with gradients.

Run: python examples/custom_operator.py. `check_op` runs the properties that every operator of the
library has to have: it equals its reference on any strides, in every dtype, fused or alone, and its
gradient equals a central difference.
"""

from typing import Any

import numpy as np

import numbatorch as nt
from numbatorch.dtype import FLOATS, DType
from numbatorch.graph import Node
from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.reduce import sum_
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.structured import structured
from numbatorch.ops.unary import abs_
from numbatorch.testing import assert_launches, check_op

Array = np.ndarray[Any, Any]


# One element at a time: the body is printed into whatever kernel it is fused with.
@elementwise(numpy=lambda x, sharpness: x / (1 + abs(sharpness * x)), dtypes=FLOATS)
def soft_sign(x: Scalar, *, sharpness: float = 1.0) -> Scalar:
    """x / (1 + |sharpness * x|)."""
    return x / (1.0 + abs(x * sharpness))


@soft_sign.vjp
def _(g: Node, y: Node, x: Node, *, sharpness: float) -> Node:
    scale = 1.0 + abs_.apply(x * sharpness)
    return g / (scale * scale)


# With a kernel of its own: NumPy says what it computes, `infer` the shape and dtype of the result.
@structured()
def running_sum(x: Array) -> Array:
    """out[..., i] = x[..., 0] + ... + x[..., i]."""
    return np.cumsum(x, axis=-1, dtype=x.dtype)


@running_sum.infer
def _(x: Node) -> tuple[tuple[int, ...], DType]:
    if x.dtype.kind != "f" or not x.shape:
        raise nt.DTypeError(f"running_sum: needs floats of rank 1 or more, not {x}")
    return x.shape, x.dtype


@running_sum.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    whole: Node = sum_(g, dims=(len(g.shape) - 1,))
    before: Node = whole - running_sum(g)
    return before + g


@running_sum.samples
def _(rng: np.random.Generator) -> tuple[list[Array], dict[str, Any]]:
    return [rng.standard_normal((3, int(rng.integers(1, 20))))], {}


@kernel(T=("float32", "float64"))
def running_sum_rows(
    out: Pointer[T], x: Pointer[T], rows: int, cols: int, part: int, parts: int
) -> None:
    """Each thread takes its share of the rows: many on a CPU, one on a GPU."""
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        total = T(0.0)
        for i in range(row * cols, (row + 1) * cols):
            total += x[i]
            out[i] = total


# The kernel shares independent items, so that every device can run it: "portable".
@lower("portable", running_sum)
def _(launcher: Launcher, out: Operand, x: Operand) -> None:
    cols = x.shape[-1]
    rows = int(np.prod(x.shape[:-1]))
    spec = running_sum_rows(T=x.dtype)
    launcher.launch(spec, out, x, rows, cols, work=rows * cols, items=rows)


def main() -> int:
    """Use both, then check them; returns the number of cases checked."""
    x = nt.tensor([1.0, -2.0, 3.0], requires_grad=True)
    running_sum(soft_sign(x * 2.0)).sum().backward()
    print(x.grad)
    y = nt.randn(1000)
    assert_launches(soft_sign(y, sharpness=2.0) * y + 1.0, 1)
    wide = (nt.float32, nt.float64)
    cases = check_op(soft_sign, dtypes=wide) + check_op(running_sum, dtypes=wide)
    print(f"every property holds, cases checked: {cases}")
    return cases


if __name__ == "__main__":
    main()
