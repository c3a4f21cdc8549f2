"""Weights in GGML blocks on the CPU: which kernels run for each operator of ops/quant.py."""

from numbatorch import dtype as dt
from numbatorch.ops import blocks
from numbatorch.ops import quant as ops
from numbatorch.ops.cpu.blocking import blocks_for
from numbatorch.ops.cpu.matmul_packed import matmul_workspace
from numbatorch.ops.cpu.quant_decode import decode_blocks, take_decoded
from numbatorch.ops.cpu.quant_exact import exact_bytes, quant_exact
from numbatorch.ops.cpu.quant_pairs import pays_in_pairs, quant_pairs
from numbatorch.ops.cpu.quant_row import quant_row, row_planes_bytes
from numbatorch.ops.cpu.quant_rows import WORKSPACE, planes_bytes, quant_rows, quantize_rows
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.matmul import Compute
from numbatorch.ops.portable.rows import in_type, wide_index
from numbatorch.shape import numel


@lower("cpu", ops.quant_matmul)
def _(
    launcher: Launcher,
    out: Operand,
    x: Operand,
    weight: Operand,
    compute: Compute | None = None,
) -> None:
    M, K = x.shape
    N = weight.shape[0]
    kind = weight.dtype
    if compute is not None:
        values = launcher.scratch(launcher.parts * exact_bytes(K))
        spec = quant_exact(T=kind)
        work = 0.5 * (M + 2) * N * K
        launcher.launch(spec, out, x, weight, values, M, N, K, *launcher.epilogue, work=work)
        return
    if M == 1:
        planes = launcher.scratch(launcher.parts * row_planes_bytes(K))
        spec = quant_row(T=kind)
        work = 1.0 * N * K  # memory gives a value in about the time of an operation
        launcher.launch(spec, out, x, weight, planes, N, K, *launcher.epilogue, work=work)
        return
    if pays_in_pairs(M):
        rows = in_type(launcher, x, dt.bfloat16)
        cut = blocks_for(N, K, launcher.parts, dt.bfloat16)
        workspace = launcher.scratch(matmul_workspace(cut, K, launcher.parts, 4, 2))
        words = (out, rows, weight, workspace, M, N, K, *cut)
        work = 0.05 * (M + 128) * N * K
        launcher.launch(quant_pairs(T=kind), *words, *launcher.epilogue, work=work)
        return
    work = 0.25 * M * N * K
    planes = launcher.scratch(planes_bytes(M, K, blocks.find("quant_matmul", kind).group))
    workspace = launcher.scratch(launcher.parts * WORKSPACE)
    launcher.launch(quantize_rows(T=kind), planes, x, weight, M, K, work=2.0 * M * K)
    spec = quant_rows(T=kind)
    launcher.launch(spec, out, weight, planes, workspace, M, N, K, *launcher.epilogue, work=work)


@lower("cpu", ops.dequantize)
def _(launcher: Launcher, out: Operand, weight: Operand) -> None:
    size = numel(weight.shape)
    launcher.launch(decode_blocks(T=weight.dtype), out, weight, size, work=0.5 * size)


@lower("cpu", ops.quant_take)
def _(launcher: Launcher, out: Operand, weight: Operand, index: Operand) -> None:
    rows = numel(index.shape)
    bound, K = weight.shape
    where = wide_index(launcher, index)
    status = launcher.status(bound)
    launcher.launch(
        take_decoded(T=weight.dtype),
        *(out, weight, where, status, rows, K, bound),
        work=0.5 * rows * K,
    )
