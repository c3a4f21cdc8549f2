"""CPU kernels of products with chosen ones of stacked weights, plain and in GGML blocks.

A thread takes the same rows of every expert that is asked for, and each row meets all of x that
asks for it while it is in the cache: the weights that are needed come from memory once. These are
the kernels for few rows; for many see experts_grouped.py.
"""

from dataclasses import dataclass
from typing import Any

from numbatorch.dtype import DType
from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.simd.packed import STEP
from numbatorch.language.simd.tile import vstore_rows
from numbatorch.language.words import float32, int64, uint8
from numbatorch.ops import blocks
from numbatorch.ops import experts as ops
from numbatorch.ops.cpu import experts_grouped as grouped
from numbatorch.ops.cpu.matmul_direct import dots_row
from numbatorch.ops.cpu.quant_blocks import BLOCK_VALUES, vector_kernel
from numbatorch.ops.cpu.quant_decode import decode_values
from numbatorch.ops.cpu.quant_exact import exact_bytes, four_dots
from numbatorch.ops.cpu.quant_row import (
    factors_bytes,
    four_products,
    quantize_row,
    row_planes_bytes,
)
from numbatorch.ops.cpu.quant_rows import MAX_HEIGHT, WORKSPACE, planes_bytes
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import wide_index
from numbatorch.ops.quant import Compute
from numbatorch.shape import numel

FLOATS = ("float32", "float64")
WEIGHTS = ("float32", "float64", "float16", "bfloat16")
COLUMNS = 4  # rows of a plain weight that are read together
BLOCK_ROWS = 4  # the same of one in blocks
MANY = 3  # rows of x for each expert from which on they are grouped


@helper
def first_of(index: Pointer[int64], expert: int, M: int) -> int:
    """The first row of x that asks for an expert; M if none does."""
    for row in range(M):
        if index[row] == expert:
            return row
    return M


@helper
def note_outside(status: Pointer[int64], index: Pointer[int64], M: int, experts: int) -> None:
    """Tell of an index that no expert has."""
    for row in range(M):
        if index[row] < 0 or index[row] >= experts:
            status[0] = 1
            status[1] = index[row]


@kernel(T=FLOATS, U=WEIGHTS)
def expert_rows(
    out: Pointer[T], x: Pointer[T], weight: Pointer[U], index: Pointer[int64],
    status: Pointer[int64], M: int, N: int, K: int, experts: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out[m] = x[m] @ weight[index[m]].T, four outputs at a time."""
    if part == 0:
        note_outside(status, index, M, experts)
    lo, hi = share((N + COLUMNS - 1) // COLUMNS, part, parts)
    for expert in range(experts):
        first = first_of(index, expert, M)
        if first < M:
            for col in range(lo * COLUMNS, min(N, hi * COLUMNS), COLUMNS):
                columns = min(COLUMNS, N - col)
                own = weight + (expert * N + col) * K
                for row in range(first, M):
                    if index[row] == expert:
                        dots_row(out + (row * N + col), columns, x + row * K, own, K, K)


@vector_kernel
def expert_planes(
    planes: Pointer[uint8],
    x: Pointer[float32],
    weight: Pointer[T],
    M: int,
    K: int,
    size: int,
    part: int,
    parts: int,
) -> None:
    """The planes of each row of x, `size` bytes; of the weight only the type counts."""
    padded = (K + STEP - 1) // STEP * STEP
    lo, hi = share(M, part, parts)
    for row in range(lo, hi):
        quantize_row(planes + row * size, x + row * K, K, padded)


@vector_kernel
def expert_blocks(
    out: Pointer[float32], weight: Pointer[T], planes: Pointer[uint8], factors: Pointer[float32],
    index: Pointer[int64],
    status: Pointer[int64], M: int, N: int, K: int, experts: int, size: int, part: int, parts: int,
) -> None:  # fmt: skip
    """As `expert_rows`, of a weight in blocks and planes of x, `size` bytes of each row."""
    if part == 0:
        note_outside(status, index, M, experts)
    padded = (K + STEP - 1) // STEP * STEP
    factors = factors + part * (padded // 4)
    length = K // BLOCK_VALUES
    lo, hi = share((N + BLOCK_ROWS - 1) // BLOCK_ROWS, part, parts)
    for expert in range(experts):
        first = first_of(index, expert, M)
        if first < M:
            for col in range(lo * BLOCK_ROWS, min(N, hi * BLOCK_ROWS), BLOCK_ROWS):
                last = min(BLOCK_ROWS, N - col) - 1
                block = weight + (expert * N + col) * length
                for row in range(first, M):
                    if index[row] == expert:
                        plane = planes + row * size
                        found = four_products(block, length, last, 0, plane, factors, K, padded)
                        vstore_rows(out + (row * N + col), 0, found, 4, 1, last + 1)


@vector_kernel
def expert_exact(
    out: Pointer[float32], x: Pointer[float32], weight: Pointer[T], values: Pointer[float32],
    index: Pointer[int64], status: Pointer[int64], M: int, N: int, K: int, experts: int, part: int,
    parts: int,
) -> None:  # fmt: skip
    """As `expert_rows`, of a weight in blocks, four rows of which are decoded to float32."""
    if part == 0:
        note_outside(status, index, M, experts)
    values = values + part * BLOCK_ROWS * K
    length = K // BLOCK_VALUES
    lo, hi = share((N + BLOCK_ROWS - 1) // BLOCK_ROWS, part, parts)
    for expert in range(experts):
        first = first_of(index, expert, M)
        if first < M:
            for col in range(lo * BLOCK_ROWS, min(N, hi * BLOCK_ROWS), BLOCK_ROWS):
                count = min(BLOCK_ROWS, N - col)
                for i in range(count):
                    decode_values(values + i * K, weight + (expert * N + col + i) * length, K)
                for row in range(first, M):
                    if index[row] == expert:
                        four_dots(out + (row * N + col), x + row * K, values, K, count)


@lower("cpu", ops.expert_matmul)
def _(
    launcher: Launcher,
    out: Operand,
    x: Operand,
    weight: Operand,
    index: Operand,
    *,
    experts: int,
    compute: Compute | None = None,
    inside: bool = False,
) -> None:
    (M, K), N = x.shape, out.shape[1]
    where = wide_index(launcher, index)
    status = launcher.scratch(16) if inside else launcher.status(experts)
    if M >= MANY * experts:
        _grouped(launcher, out, x, weight, where, status, experts, compute)
        return
    sizes = (M, N, K, experts)
    if weight.dtype.kind != "q":
        spec = expert_rows(T=x.dtype, U=weight.dtype)
        launcher.launch(spec, out, x, weight, where, status, *sizes, work=1.0 * numel(x.shape) * N)
        return
    if compute is not None:
        values = launcher.scratch(launcher.parts * exact_bytes(K))
        launcher.launch(
            expert_exact(T=weight.dtype),
            *(out, x, weight, values, where, status, *sizes),
            work=1.0 * M * N * K,
        )
        return
    size = row_planes_bytes(K)
    planes = launcher.scratch(M * size)
    launcher.launch(expert_planes(T=weight.dtype), planes, x, weight, M, K, size, work=2.0 * M * K)
    factors = launcher.scratch(launcher.parts * factors_bytes(K))
    launcher.launch(
        expert_blocks(T=weight.dtype),
        *(out, weight, planes, factors, where, status, *sizes, size),
        work=0.5 * M * N * K,
    )


@dataclass
class Groups:
    """Rows in the order of their experts, within one lowering.

    Attributes:
        order, starts: as in experts_grouped.py.
        places: most that there are.
    """

    launcher: Launcher
    experts: int
    rows: int
    order: Any
    starts: Any
    places: int

    @staticmethod
    def of(
        launcher: Launcher, index: Any, status: Any, rows: int, experts: int, unit: int
    ) -> "Groups":
        """The groups of an index of int64; each begins at a multiple of `unit` places."""
        places = grouped.most_places(rows, experts, unit)
        order, starts = launcher.scratch(8 * places), launcher.scratch(8 * (experts + 1))
        words = (order, starts, index, status, rows, experts, unit)
        launcher.launch(grouped.expert_order(), *words, work=rows, serial=True, items=1)
        return Groups(launcher, experts, rows, order, starts, places)

    def room(self, dtype: DType, cols: int) -> Any:
        """Memory for rows in this order."""
        return self.launcher.scratch(dtype.nbytes(self.places * cols))

    def gathered(self, x: Operand) -> Any:
        """The rows of x in this order."""
        cols = x.shape[1]
        out = self.room(x.dtype, cols)
        words = (out, x, self.order, self.starts, self.experts, cols)
        self.launcher.launch(grouped.gather_rows(T=x.dtype), *words, work=self.rows * cols)
        return out

    def scatter(self, out: Operand, found: Any) -> None:
        """Write what was found for rows to where they came from."""
        cols = out.shape[1]
        words = (out, found, self.order, self.starts, self.experts, cols)
        self.launcher.launch(grouped.scatter_rows(T=out.dtype), *words, work=self.rows * cols)


def _grouped(
    launcher: Launcher,
    out: Operand,
    x: Operand,
    weight: Operand,
    index: Any,
    status: Any,
    experts: int,
    compute: Compute | None,
) -> None:
    """Products of the rows of each expert as one matrix."""
    (M, K), N, kind = x.shape, out.shape[1], weight.dtype
    packed = kind.kind == "q" and compute is None
    groups = Groups.of(launcher, index, status, M, experts, MAX_HEIGHT if packed else 1)
    rows, found = groups.gathered(x), groups.room(x.dtype, N)
    places, starts = groups.places, groups.starts
    parts, span = launcher.parts, grouped.panel_elements(K)
    if packed:
        planes = launcher.scratch(planes_bytes(places, K, blocks.find("quant_matmul", kind).group))
        workspace = launcher.scratch(parts * WORKSPACE)
        words = (planes, rows, weight, starts, places, K, experts)
        launcher.launch(grouped.grouped_planes(T=kind), *words, work=2.0 * M * K)
        blocked = (found, weight, planes, starts, workspace, places, N, K, experts)
        launcher.launch(grouped.grouped_blocks(T=kind), *blocked, work=0.25 * M * N * K)
    else:
        exact = kind.kind == "q"
        more = grouped.PANEL * K if exact else 0
        workspace = launcher.scratch(x.dtype.nbytes(parts * (span + more)))
        spec = grouped.grouped_exact(T=kind) if exact else grouped.grouped_rows(T=x.dtype, U=kind)
        products = (found, rows, weight, starts, workspace, span, N, K, experts)
        launcher.launch(spec, *products, work=0.5 * M * N * K)
    groups.scatter(out, found)


@lower("cpu", ops.expert_matmul_input)
def _(
    launcher: Launcher, out: Operand, g: Operand, weight: Operand, index: Operand, *, experts: int
) -> None:
    (M, N), K = g.shape, out.shape[1]
    where, status = wide_index(launcher, index), launcher.status(experts)
    groups = Groups.of(launcher, where, status, M, experts, 1)
    rows, found = groups.gathered(g), groups.room(g.dtype, K)
    words = (found, rows, weight, groups.starts, N, K, experts)
    launcher.launch(grouped.grouped_input(T=g.dtype, U=g.dtype), *words, work=0.5 * M * N * K)
    groups.scatter(out, found)


@lower("cpu", ops.expert_matmul_weight)
def _(
    launcher: Launcher, out: Operand, g: Operand, x: Operand, index: Operand, *, experts: int
) -> None:
    (M, N), K = g.shape, out.shape[1]
    where, status = wide_index(launcher, index), launcher.status(experts)
    groups = Groups.of(launcher, where, status, M, experts, 1)
    words = (out, groups.gathered(g), groups.gathered(x), groups.starts, N, K, experts)
    work = 0.5 * (M + experts) * N * K
    launcher.launch(grouped.grouped_weight(T=g.dtype, U=g.dtype), *words, work=work)
