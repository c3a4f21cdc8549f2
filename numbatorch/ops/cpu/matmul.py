"""Matrix products on the CPU: out (M, N) = lhs (M, K) @ rhs (K, N), over two batch dimensions.

The kernels take the same arguments, so that shape and strides decide between them.
"""

from numbatorch.dtype import DType, bfloat16
from numbatorch.language.kernel import Kernel
from numbatorch.language.processor import current_cpu
from numbatorch.language.simd.pairs import multiplies_pairs, multiplies_vectors
from numbatorch.layout import collapse
from numbatorch.ops.cpu.blocking import Blocks, blocks_for, sizes_for
from numbatorch.ops.cpu.matmul_direct import matmul_nn, matmul_nt, matmul_nt_workspace
from numbatorch.ops.cpu.matmul_integer import INTEGERS, matmul_integer
from numbatorch.ops.cpu.matmul_packed import FLOATS, matmul, matmul_workspace
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.matmul import Compute, matmul_

FEW_ROWS = 48  # rows for which packing rhs does not pay


def choose(
    M: int,
    N: int,
    K: int,
    lhs: tuple[int, int],
    rhs: tuple[int, int],
    pairs: bool = False,
    small: int = 1 << 18,
) -> Kernel:
    """The kernel for a product of these sizes; `lhs` and `rhs` are (row, column) strides.

    Args:
        pairs: numbers are multiplied in pairs, which have to be packed.
        small: elements of rhs that stay in the second-level cache, and need no packing.
    """
    if rhs[0] == 1 and lhs[1] == 1 and M <= FEW_ROWS:
        return matmul_nt
    if rhs[1] == 1 and (M <= FEW_ROWS or (K * N <= small and not pairs)):
        return matmul_nn
    return matmul


def in_pairs(lhs: DType, rhs: DType, compute: Compute | None) -> bool:
    """Whether pairs of bfloat16 are given or allowed, and pay."""
    allowed = compute == "bfloat16" or lhs is rhs is bfloat16
    return allowed and multiplies_pairs(current_cpu())


def multiplied(chosen: Kernel, lhs: DType, rhs: DType, K: int, steps: tuple[int, ...]) -> DType:
    """What a kernel multiplies where pairs of bfloat16 pay.

    `matmul` rounds as it packs, `matmul_nt` reads pairs of rhs where they lie, into vectors.

    Args:
        chosen: by `choose`.
        K: of the product.
        steps: strides of rhs along columns and batches.
    """
    even = not any(step % 2 for step in (K, *steps))
    lies = rhs is bfloat16 and even and multiplies_vectors(current_cpu())
    return bfloat16 if chosen is matmul or (chosen is matmul_nt and lies) else lhs.compute


def workspace(
    chosen: Kernel, M: int, K: int, parts: int, kind: DType, blocks: Blocks | None = None
) -> int:
    """Bytes of scratch memory of a kernel; `kind` is what it multiplies, `matmul` has blocks."""
    itemsize, each = kind.compute.itemsize, 2 if kind is bfloat16 else 1
    if chosen is matmul_nt:
        return matmul_nt_workspace(M, K, parts, itemsize, each)
    return 0 if blocks is None else matmul_workspace(blocks, K, parts, itemsize, each)


@lower("cpu", matmul_, dtypes=(*FLOATS, *INTEGERS))
def _(
    launcher: Launcher,
    out: Operand,
    lhs: Operand,
    rhs: Operand,
    compute: Compute | None = None,
) -> None:
    M, N = out.shape[-2:]
    K = lhs.shape[-1]
    batch, strides = collapse(out.shape[:-2], [x.strides[:-2] for x in (out, lhs, rhs)])
    pad = (1,) * (2 - len(batch))
    batch0, batch1 = (*pad, *batch)
    walks = [(0,) * len(pad) + s for s in strides]
    left, right = lhs.strides[-2:], rhs.strides[-2:]
    if N == 1 and lhs.dtype is rhs.dtype:  # a matrix by a vector is the vector by its transpose
        lhs, rhs, left, right = rhs, lhs, right[::-1], left[::-1]
        walks = [walks[0], walks[2], walks[1]]
        M, N = N, M
    pairs = in_pairs(lhs.dtype, rhs.dtype, compute)
    small = sizes_for(launcher.parts).l2 // 4
    chosen = choose(M, N, K, left, right, pairs, small)  # type: ignore[arg-type]
    chosen = matmul_integer if out.dtype.kind in "iu" else chosen
    kind = (
        multiplied(chosen, lhs.dtype, rhs.dtype, K, (right[1], *walks[2]))
        if pairs
        else out.dtype.compute
    )
    blocks = blocks_for(N, K, launcher.parts, kind) if chosen is matmul else None
    wanted = workspace(chosen, M, K, launcher.parts, kind, blocks)
    types = {"V": kind} if chosen in (matmul, matmul_nt) else {}
    launcher.launch(
        chosen(T=out.dtype, U=rhs.dtype, **types),
        out,
        lhs,
        rhs,
        launcher.scratch(wanted),
        M,
        N,
        K,
        out.strides[-2],
        *left,
        *right,
        batch0,
        batch1,
        *(step for walk in walks for step in walk),
        *(blocks or ()),
        *launcher.epilogue,
        work=0.5 * M * N * K * batch0 * batch1,
    )
