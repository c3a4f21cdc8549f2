"""CPU kernels of products with chosen ones of stacked weights, plain and in GGML blocks.

A thread takes the same rows of every expert that is asked for, and each row meets all of x that
asks for it while it is in the cache: the weights that are needed come from memory once. These are
the kernels for few rows; for many see experts_grouped.py.
"""

from dataclasses import dataclass
from typing import Any

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.processor import current_cpu
from numbatorch.language.simd.amx import SIDE
from numbatorch.language.simd.pairs import WHOLE, multiplies_pairs
from numbatorch.language.simd.tile import vstore_rows
from numbatorch.language.words import float32, int64, uint8
from numbatorch.ops import blocks
from numbatorch.ops import experts as ops
from numbatorch.ops.cpu import experts_grouped as grouped
from numbatorch.ops.cpu.blocking import depth_of, sizes_for
from numbatorch.ops.cpu.matmul_direct import dots_row
from numbatorch.ops.cpu.quant_blocks import BLOCK_BYTES, BLOCK_VALUES, vector_kernel
from numbatorch.ops.cpu.quant_decode import decode_values
from numbatorch.ops.cpu.quant_exact import exact_bytes, four_dots
from numbatorch.ops.cpu.quant_pairs import pays_in_pairs
from numbatorch.ops.cpu.quant_row import (
    AHEAD,
    four_products,
    quantize_row,
    row_planes_bytes,
)
from numbatorch.ops.cpu.quant_rows import MAX_HEIGHT, WORKSPACE, planes_bytes
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.matmul import Compute
from numbatorch.ops.portable.rows import copy_strided, wide_index
from numbatorch.shape import Shape

FLOATS = ("float32", "float64")
WEIGHTS = ("float32", "float64", "float16", "bfloat16")
COLUMNS = 4  # rows of a plain weight that are read together
BLOCK_ROWS = 4  # the same of one in blocks
FEW = 2  # rows of x that each thread rounds for itself
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
    status: Pointer[int64], M: int, N: int, K: int, experts: int, x_row: int, part: int, parts: int,
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
                        dots_row(out + (row * N + col), columns, x + row * x_row, own, K, K)


@vector_kernel
def expert_planes(
    planes: Pointer[uint8],
    x: Pointer[float32],
    weight: Pointer[T],
    M: int,
    K: int,
    size: int,
    x_row: int,
    part: int,
    parts: int,
) -> None:
    """The planes of each row of x, `size` bytes; of the weight only the type counts."""
    lo, hi = share(M, part, parts)
    for row in range(lo, hi):
        quantize_row(planes + row * size, x + row * x_row, weight, K)


@helper
def multiply_by_blocks(
    out: Pointer[float32], weight: Pointer[T], planes: Pointer[uint8], index: Pointer[int64],
    M: int, N: int, K: int, experts: int, size: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out[m] = x[m] @ weight[index[m]].T, of planes of x that are `size` bytes from row to row."""
    length = K // BLOCK_VALUES
    line = length * BLOCK_BYTES
    rows_ahead = (AHEAD + BLOCK_ROWS * line - 1) // max(1, BLOCK_ROWS * line) * BLOCK_ROWS
    lo, hi = share((N + BLOCK_ROWS - 1) // BLOCK_ROWS, part, parts)
    end = min(N, hi * BLOCK_ROWS)
    for expert in range(experts):
        first = first_of(index, expert, M)
        if first < M:
            for col in range(lo * BLOCK_ROWS, end, BLOCK_ROWS):
                last = min(BLOCK_ROWS, N - col) - 1
                ahead = rows_ahead * line if col + rows_ahead < end else 0
                block = weight + (expert * N + col) * length
                for row in range(first, M):
                    if index[row] == expert:
                        found = four_products(block, length, last, ahead, planes + row * size, K)
                        vstore_rows(out + (row * N + col), 0, found, 4, 1, last + 1)


@vector_kernel
def expert_blocks(
    out: Pointer[float32], weight: Pointer[T], planes: Pointer[uint8], index: Pointer[int64],
    status: Pointer[int64], M: int, N: int, K: int, experts: int, size: int, part: int, parts: int,
) -> None:  # fmt: skip
    """As `expert_rows`, of a weight in blocks and planes of x, `size` bytes of each row."""
    if part == 0:
        note_outside(status, index, M, experts)
    multiply_by_blocks(out, weight, planes, index, M, N, K, experts, size, part, parts)


@vector_kernel
def expert_few(
    out: Pointer[float32], weight: Pointer[T], x: Pointer[float32], planes: Pointer[uint8],
    index: Pointer[int64], status: Pointer[int64], M: int, N: int, K: int, experts: int, size: int,
    x_row: int, part: int, parts: int,
) -> None:  # fmt: skip
    """As `expert_blocks` of a few rows, or of one that all are: each thread makes all planes."""
    if part == 0:
        note_outside(status, index, M, experts)
    rows, step = M, size
    if x_row == 0:
        rows, step = min(1, M), 0
    planes = planes + part * (rows * size)
    for row in range(rows):
        quantize_row(planes + row * size, x + row * x_row, weight, K)
    multiply_by_blocks(out, weight, planes, index, M, N, K, experts, step, part, parts)


@vector_kernel
def expert_exact(
    out: Pointer[float32], x: Pointer[float32], weight: Pointer[T], values: Pointer[float32],
    index: Pointer[int64], status: Pointer[int64], M: int, N: int, K: int, experts: int, x_row: int,
    part: int, parts: int,
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
                        four_dots(out + (row * N + col), x + row * x_row, values, K, count)


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
    rows = Rows.of(launcher, x)
    if M >= MANY * experts:
        _grouped(launcher, out, rows, weight, where, status, experts, compute)
        return
    sizes, work = (M, N, K, experts), 1.0 * M * N * K
    words: tuple[Any, ...]
    if weight.dtype.kind != "q":
        words = (out, rows.x, weight, where, status, *sizes, rows.stride)
        launcher.launch(expert_rows(T=x.dtype, U=weight.dtype), *words, work=work)
        return
    if compute is not None:
        values = launcher.scratch(launcher.parts * exact_bytes(K))
        words = (out, rows.x, weight, values, where, status, *sizes, rows.stride)
        launcher.launch(expert_exact(T=weight.dtype), *words, work=work)
        return
    size, distinct = row_planes_bytes(K), M if rows.stride else min(M, 1)
    if distinct <= FEW:
        planes = launcher.scratch(launcher.parts * distinct * size)
        words = (out, weight, rows.x, planes, where, status, *sizes, size, rows.stride)
        launcher.launch(expert_few(T=weight.dtype), *words, work=0.5 * work)
        return
    planes = launcher.scratch(M * size)
    words = (planes, rows.x, weight, M, K, size, rows.stride)
    launcher.launch(expert_planes(T=weight.dtype), *words, work=2.0 * M * K)
    words = (out, weight, planes, where, status, *sizes, size)
    launcher.launch(expert_blocks(T=weight.dtype), *words, work=0.5 * work)


@dataclass
class Rows:
    """Rows as kernels read them: elements next to each other, `stride` from row to row."""

    x: Any
    shape: Shape
    dtype: DType
    stride: int

    @staticmethod
    def of(launcher: Launcher, x: Operand) -> "Rows":
        """An operand with any strides, copied where its last one is not 1."""
        M, K = x.shape
        if x.strides[1] == 1 or K == 1:
            return Rows(x, x.shape, x.dtype, x.strides[0])
        copy = launcher.scratch(x.dtype.nbytes(M * K))
        words = (copy, x, 1, 1, M, K, 0, 0, *x.strides)
        launcher.launch(copy_strided(T=x.dtype), *words, work=2.0 * M * K, items=M)
        return Rows(copy, x.shape, x.dtype, K)


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
        """Memory for rows in this order; of bfloat16 there is some behind them, as tiles need."""
        places = self.places + (SIDE if dtype is dt.bfloat16 else 0)
        return self.launcher.scratch(dtype.nbytes(places * cols))

    def gathered(self, rows: Rows, dtype: DType | None = None) -> Any:
        """Rows in this order, in a dtype of less bits or their own."""
        cols, kind = rows.shape[1], dtype or rows.dtype
        out = self.room(kind, cols)
        words = (out, rows.x, self.order, self.starts, self.experts, cols, rows.stride)
        spec = grouped.gather_rows(T=kind, U=rows.dtype)
        self.launcher.launch(spec, *words, work=self.rows * cols)
        return out

    def scatter(self, out: Operand, found: Any) -> None:
        """Write what was found for rows to where they came from."""
        cols = out.shape[1]
        words = (out, found, self.order, self.starts, self.experts, cols)
        self.launcher.launch(grouped.scatter_rows(T=out.dtype), *words, work=self.rows * cols)


def _grouped(
    launcher: Launcher,
    out: Operand,
    x: Rows,
    weight: Operand,
    index: Any,
    status: Any,
    experts: int,
    compute: Compute | None,
) -> None:
    """Products of the rows of each expert as one matrix."""
    (M, K), N, kind = x.shape, out.shape[1], weight.dtype
    if _in_pairs(x, kind, M / experts, compute):
        _grouped_pairs(launcher, out, x, weight, index, status, experts)
        return
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
        depth = depth_of(sizes_for(parts), x.dtype.itemsize)
        products = (found, rows, weight, starts, workspace, span, depth, N, K, experts)
        launcher.launch(spec, *products, work=0.5 * M * N * K)
    groups.scatter(out, found)


def _in_pairs(x: Rows, kind: DType, rows: float, compute: Compute | None) -> bool:
    """Whether pairs of bfloat16 are allowed, and pay for so many rows of an expert."""
    if kind.kind == "q":
        return compute is None and pays_in_pairs(rows)
    fits = x.dtype is dt.float32 and x.shape[1] % (2 * WHOLE) == 0 and rows > grouped.FEW_ROWS
    return compute == "bfloat16" and fits and multiplies_pairs(current_cpu())


def _grouped_pairs(
    launcher: Launcher,
    out: Operand,
    x: Rows,
    weight: Operand,
    index: Any,
    status: Any,
    experts: int,
) -> None:
    """As `_grouped`, of pairs of bfloat16."""
    (M, K), N, kind = x.shape, out.shape[1], weight.dtype
    groups = Groups.of(launcher, index, status, M, experts, 1)
    rows, found = groups.gathered(x, dt.bfloat16), groups.room(x.dtype, N)
    span = grouped.panel_elements(K, 2)
    workspace = launcher.scratch(4 * launcher.parts * span)
    packed = kind.kind == "q"
    row = K // kind.block if packed else K
    depth = depth_of(sizes_for(launcher.parts), 4, 2)
    words = (found, rows, weight, groups.starts, workspace, span, row, depth, N, K, experts)
    spec = grouped.grouped_quant_pairs(T=kind) if packed else grouped.grouped_pairs(U=kind)
    launcher.launch(spec, *words, work=0.25 * M * N * K)
    groups.scatter(out, found)


@lower("cpu", ops.expert_matmul_input)
def _(
    launcher: Launcher, out: Operand, g: Operand, weight: Operand, index: Operand, *, experts: int
) -> None:
    (M, N), K = g.shape, out.shape[1]
    where, status = wide_index(launcher, index), launcher.status(experts)
    groups = Groups.of(launcher, where, status, M, experts, 1)
    rows, found = groups.gathered(Rows.of(launcher, g)), groups.room(g.dtype, K)
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
    pairs = (groups.gathered(Rows.of(launcher, rows)) for rows in (g, x))
    words = (out, *pairs, groups.starts, N, K, experts)
    work = 0.5 * (M + experts) * N * K
    launcher.launch(grouped.grouped_weight(T=g.dtype, U=g.dtype), *words, work=work)
