"""Products with weights in GGML blocks on GPUs, and which kernel runs for how many rows.

Weights are decoded to float32 in the kernel and x stays float32, where the CPU rounds x to 8 bits:
this is closer to what the blocks mean, and reading the weights takes longer than the arithmetic.
"""

from typing import Any

from numbatorch.cuda_kernels.matmul import FEW, THREADS, TILE, threads_along
from numbatorch.cuda_kernels.matmul import matmul as tiles
from numbatorch.language.groups import finish_tile, group, group_sum, thread, threads
from numbatorch.language.kernel import Epilogue, Pointer, helper
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import float32, uint8
from numbatorch.ops import quant as ops
from numbatorch.ops.blocks.kernel import (
    block_at,
    block_kernel,
    codes_of,
    least_of,
    place_of,
    scale_of,
    value_of,
)
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.matmul import Compute


@helper
def decoded_element(weight: Pointer[uint8], index: int) -> Any:
    """Value `index` of a weight."""
    block = block_at(weight, index)
    place = place_of(index)
    codes = codes_of(block, place & -4)
    return value_of(codes, place & 3, scale_of(block, place), least_of(block, place))


quant_rows = block_kernel(
    tiles.function,
    place=(__name__, "quant_rows"),
    types={"T": "float32", "U": "uint8", "V": "float32"},
    element=decoded_element,
)


@helper
def product_of_four(
    weight: Pointer[uint8], index: int, x0: float, x1: float, x2: float, x3: float
) -> Any:
    """Four values of a weight from `index` on, a multiple of 4, times those of x."""
    block = block_at(weight, index)
    place = place_of(index)
    codes = codes_of(block, place)
    scale = scale_of(block, place)
    least = least_of(block, place)
    first = value_of(codes, 0, scale, least) * x0 + value_of(codes, 1, scale, least) * x1
    return first + (value_of(codes, 2, scale, least) * x2 + value_of(codes, 3, scale, least) * x3)


@block_kernel
def quant_row(
    out: Pointer[float32],
    x: Pointer[float32],
    weight: Pointer[uint8],
    M: int,
    N: int,
    K: int,
    finish: Epilogue,
) -> None:
    """out (M, N) = x (M, K) @ weight.T; a group computes four columns of a row."""
    panel = truncdiv(group(), M)  # groups that read the same weights are neighbours
    row = group() - panel * M
    col = panel * 4
    col1 = min(col + 1, N - 1)
    col2 = min(col + 2, N - 1)
    col3 = min(col + 3, N - 1)
    total0 = float32(0.0)
    total1 = float32(0.0)
    total2 = float32(0.0)
    total3 = float32(0.0)
    for k in range(4 * thread(), K, 4 * threads()):
        place = row * K + k
        x0 = x[place]
        x1 = x[place + 1]
        x2 = x[place + 2]
        x3 = x[place + 3]
        total0 += product_of_four(weight, col * K + k, x0, x1, x2, x3)
        total1 += product_of_four(weight, col1 * K + k, x0, x1, x2, x3)
        total2 += product_of_four(weight, col2 * K + k, x0, x1, x2, x3)
        total3 += product_of_four(weight, col3 * K + k, x0, x1, x2, x3)
    total0 = group_sum(total0)
    total1 = group_sum(total1)
    total2 = group_sum(total2)
    total3 = group_sum(total3)
    if thread() == 0:
        target = out + (row * N + col)
        target[0] = total0
        if col + 1 < N:
            target[1] = total1
        if col + 2 < N:
            target[2] = total2
        if col + 3 < N:
            target[3] = total3
        finish_tile(finish, 0, row, row + 1, col, min(N, col + 4))


@lower("gpu", ops.quant_matmul)
def _(
    launcher: Launcher,
    out: Operand,
    x: Operand,
    weight: Operand,
    compute: Compute | None = None,  # float32 at any rate
) -> None:
    M, K = x.shape
    N = weight.shape[0]
    work = 2.0 * M * N * K
    if M <= FEW:
        launcher.launch(
            quant_row(T=weight.dtype),
            *(out, x, weight, M, N, K, launcher.epilogue),
            work=work,
            groups=M * -(-N // 4),
            threads=threads_along(K // 4),
        )
        return
    rows, columns = (N, K, 1), (1, K)  # strides of out and x, of weight.T
    launcher.launch(
        quant_rows(T=weight.dtype),
        *(out, x, weight, M, N, K, *rows, *columns),
        *(1, 0, 0, 0, 0, 0, 0, launcher.epilogue),
        work=work,
        groups=-(-M // TILE) * -(-N // TILE),
        threads=THREADS,
    )
