"""Weights in GGML blocks on the CPU: which kernels run for each operator of ops/quant.py."""

from numbatorch.ops import quant as ops
from numbatorch.ops.cpu.quant_blocks import GROUPS
from numbatorch.ops.cpu.quant_products import (
    WORKSPACE,
    packed_bytes,
    quant_product,
    quantize_rows,
)
from numbatorch.ops.lowering import Launcher, Operand, lower


@lower("cpu", ops.quant_matmul)
def _(launcher: Launcher, out: Operand, x: Operand, weight: Operand) -> None:
    M, K = x.shape
    N = weight.shape[0]
    nbytes = packed_bytes(M, K, GROUPS[weight.dtype.name])
    planes = launcher.scratch(nbytes if M > 1 else launcher.parts * nbytes)
    if M > 1:
        launcher.launch(
            quantize_rows(T=weight.dtype), planes, x, weight, M, K, work=2.0 * M * K
        )
    launcher.launch(
        quant_product(T=weight.dtype),
        out,
        x,
        weight,
        planes,
        launcher.scratch(launcher.parts * WORKSPACE),
        M,
        N,
        K,
        *launcher.epilogue,
        work=0.25 * M * N * K,
    )
