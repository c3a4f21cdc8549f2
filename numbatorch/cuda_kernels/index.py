"""GPU kernels that add at indices, all elements at once: their order, and rounding, vary.

Where sums must be the same in every run, and for types without atomic additions, the kernels of
ops/portable/index.py add in the order of the indices.
"""

from numbatorch.cuda_kernels.rows import THREADS
from numbatorch.determinism import are_deterministic_algorithms_enabled
from numbatorch.language.groups import add_atomically, group, groups, thread, threads
from numbatorch.language.kernel import Pointer, T, U, kernel
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import index as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable import index as ordered
from numbatorch.ops.portable.index import HALF, launch_sums
from numbatorch.shape import numel

ATOMIC = ("float32", "int32", "uint32")


@kernel(T=ATOMIC, U=(*ATOMIC, *HALF))
def add_rows(
    out: Pointer[T],
    index: Pointer[int64],
    value: Pointer[U],
    status: Pointer[int64],
    count: int,
    cols: int,
    bound: int,
) -> None:
    """out[index[i], :] += value[i, :], in any order."""
    for item in range(group() * threads() + thread(), count * cols, groups() * threads()):
        i = truncdiv(item, cols)
        row = index[i]
        if row < 0 or row >= bound:
            status[0] = 1
            status[1] = row
        else:
            add_atomically(out, row * cols + (item - i * cols), T(value[item]))


@kernel(T=ATOMIC, U=(*ATOMIC, *HALF))
def add_elements(
    out: Pointer[T],
    index: Pointer[int64],
    value: Pointer[U],
    status: Pointer[int64],
    rows: int,
    count: int,
    cols: int,
) -> None:
    """out[i, index[i, j]] += value[i, j], in any order."""
    for item in range(group() * threads() + thread(), rows * count, groups() * threads()):
        col = index[item]
        if col < 0 or col >= cols:
            status[0] = 1
            status[1] = col
        else:
            add_atomically(out, truncdiv(item, count) * cols + col, T(value[item]))


def _in_order(out: Operand) -> bool:
    """Whether the portable kernels must add."""
    return are_deterministic_algorithms_enabled() or out.dtype.compute.name not in ATOMIC


def _grid(value: Operand) -> dict[str, int]:
    return {"groups": -(-numel(value.shape) // THREADS), "threads": THREADS}


@lower("gpu", ops.index_add)
def _(launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand) -> None:
    if _in_order(out):
        ordered.index_add(launcher, out, base, index, value)
        return
    sizes = (numel(index.shape), numel(out.shape[1:]), out.shape[0])
    launch_sums(launcher, add_rows, out, index, value, *sizes, **_grid(value))


@lower("gpu", ops.scatter_add)
def _(launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand) -> None:
    if _in_order(out):
        ordered.scatter_add(launcher, out, base, index, value)
        return
    sizes = (numel(out.shape[:-1]), index.shape[-1], out.shape[-1])
    launch_sums(launcher, add_elements, out, index, value, *sizes, **_grid(value))
