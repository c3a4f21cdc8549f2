"""Products of groups of threads against NumPy, plain and from GGML blocks, on the GPU there is.

In CUDA's simulator each thread is one of Python's, so the shapes are small.
"""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.cuda_kernels.matmul import FEW, choose, grid, matmul, matmul_nn, matmul_nt
from numbatorch.cuda_kernels.quant import quant_row, quant_rows
from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange
from numbatorch.language.kernel import Kernel, Pointer, kernel
from numbatorch.language.words import float32, int32
from numbatorch.ops import quant as ops
from numbatorch.ops.blocks import dequantize
from numbatorch.ops.portable.quant import decode_blocks
from tests.compare import assert_close, assert_launches
from tests.conftest import SIMULATED
from tests.ops.test_matmul_kernels import DTYPES, layout, name_of
from tests.ops.test_quant_kernels import KINDS, blocks_tensor, decoded, magnitude, weights
from tests.run_gpu import EpilogueCall, run_groups
from tests.run_kernel import run_kernel

Array = np.ndarray[Any, Any]
KERNELS = pytest.mark.parametrize(
    "kernel", [matmul, matmul_nt, matmul_nn], ids=lambda k: k.__name__
)
SIZES = [(1, 1, 1), (2, 33, 40), (5, 3, 17), (4, 9, 0)]
TILES = [(33, 36, 17), (32, 32, 16), (3, 65, 33)]
LARGE = [(70, 131, 300), (129, 40, 1025), (1, 257, 2049), (2, 200, 515)]
GUARD = 3


@kernel
def double_and_count(
    out: Pointer[float32],
    times: Pointer[int32],
    M: int,
    N: int,
    batch: int,
    row0: int,
    row1: int,
    col0: int,
    col1: int,
) -> None:
    """An epilogue: twice the result and one more; counts how often each element is finished."""
    for row in range(row0, row1):
        for col in range(col0, col1):
            place = (batch * M + row) * N + col
            times[place] = times[place] + 1
            out[place] = out[place] * float32(2.0) + float32(1.0)


def operands(
    sizes: tuple[int, int, int],
    types: tuple[str, str] = ("float32", "float32"),
    batches: Any = ((1, 1), (1, 1)),
    orders: tuple[str, str] = ("rows", "rows"),
) -> tuple[Array, Array]:
    """Random lhs (batch0, batch1, M, K) and rhs (batch0, batch1, K, N)."""
    M, N, K = sizes
    random = np.random.default_rng(M * 10007 + N * 101 + K)
    lhs = random.standard_normal((*batches[0], M, K)) / max(K, 1) ** 0.5
    rhs = random.standard_normal((*batches[1], K, N))
    return (
        layout(lhs.astype(DTYPES[types[0]]), orders[0]),
        layout(rhs.astype(DTYPES[types[1]]), orders[1]),
    )


def product(
    gpu: str, chosen: Kernel, lhs: Array, rhs: Array, epilogue: EpilogueCall | None = None
) -> Array:
    """Run a kernel; what is around the result must stay as it is."""
    batch0, batch1 = np.broadcast_shapes(lhs.shape[:2], rhs.shape[:2])
    M, K, N = *lhs.shape[-2:], rhs.shape[-1]
    guard = 0 if epilogue else GUARD
    room = np.full((batch0, batch1, M + guard, N + guard), np.nan, lhs.dtype)
    if epilogue:
        room = epilogue[1][0]
    left, right = (np.broadcast_to(x, (batch0, batch1, *x.shape[2:])) for x in (lhs, rhs))
    strides = [tuple(s // x.itemsize for s in x.strides) for x in (room, left, right)]
    groups, threads = grid(chosen, M, N, K)
    run_groups(
        gpu,
        chosen(T=name_of(lhs), U=name_of(rhs), V="float64" if lhs.itemsize == 8 else "float32"),
        *(room, memory(lhs), memory(rhs), M, N, K),
        *(strides[0][2], *strides[1][2:], *strides[2][2:], batch1),
        *(step for walk in strides for step in walk[:2]),
        None,
        groups=groups * batch0 * batch1,
        threads=threads,
        epilogue=epilogue,
    )
    assert np.isnan(room[:, :, M:].astype(np.float64)).all()
    assert np.isnan(room[..., N:].astype(np.float64)).all()
    return room[:, :, :M, :N]


def memory(array: Array) -> Array:
    """The elements in the order of memory, and those between them."""
    while array.base is not None and array.base.nbytes >= array.nbytes:
        array = array.base
    return array if array.flags.c_contiguous else array.swapaxes(-1, -2)


def check(gpu: str, chosen: Kernel, lhs: Array, rhs: Array) -> None:
    out = product(gpu, chosen, lhs, rhs)
    expected = np.matmul(lhs.astype(np.float64), rhs.astype(np.float64))
    assert_close(out, expected.astype(out.dtype), "matmul")


@KERNELS
@pytest.mark.parametrize("sizes", SIZES + TILES)
def test_products_of_any_size(gpu: str, kernel: Kernel, sizes: tuple[int, int, int]) -> None:
    if SIMULATED and sizes in TILES and kernel is not matmul:
        pytest.skip("too many groups for the simulator")
    check(gpu, kernel, *operands(sizes))


@KERNELS
@pytest.mark.parametrize("sizes", LARGE)
@pytest.mark.skipif(SIMULATED, reason="too slow in the simulator")
def test_large_products(gpu: str, kernel: Kernel, sizes: tuple[int, int, int]) -> None:
    check(gpu, kernel, *operands(sizes, orders=("columns", "columns")))
    check(gpu, kernel, *operands(sizes, types=("float16", "float16")))


@KERNELS
@pytest.mark.parametrize("lhs", ["rows", "columns", "neither"])
@pytest.mark.parametrize("rhs", ["rows", "columns", "neither"])
def test_operands_have_any_strides(gpu: str, kernel: Kernel, lhs: str, rhs: str) -> None:
    check(gpu, kernel, *operands((3, 5, 18), orders=(lhs, rhs)))


@KERNELS
@pytest.mark.parametrize(
    "batches", [((2, 2), (2, 2)), ((2, 3), (1, 1)), ((1, 3), (2, 1)), ((2, 1), (1, 2))], ids=str
)
def test_batches_broadcast(gpu: str, kernel: Kernel, batches: Any) -> None:
    check(gpu, kernel, *operands((2, 3, 5), batches=batches))


@KERNELS
@pytest.mark.parametrize(
    "types",
    [
        ("float64", "float64"),
        ("float16", "float16"),
        ("bfloat16", "bfloat16"),
        ("float32", "float16"),
        ("float32", "bfloat16"),
    ],
    ids="-".join,
)
def test_types_are_summed_in_the_wide_type(
    gpu: str, kernel: Kernel, types: tuple[str, str]
) -> None:
    if gpu == "metal" and "float64" in types:
        pytest.skip("Metal has no float64")
    check(gpu, kernel, *operands((3, 6, 50), types=types, orders=("rows", "columns")))


@KERNELS
@pytest.mark.parametrize("sizes", [(1, 1, 3), (5, 34, 9), (3, 5, 0)])
def test_an_epilogue_sees_each_result_once(
    gpu: str, kernel: Kernel, sizes: tuple[int, int, int]
) -> None:
    lhs, rhs = operands(sizes, batches=((1, 2), (1, 2)))
    out = np.full((1, 2, *sizes[:2]), np.nan, np.float32)
    times = np.zeros(out.shape, np.int32)
    product(gpu, kernel, lhs, rhs, (double_and_count(), (out, times, *sizes[:2])))
    assert (times == 1).all()
    expected = np.matmul(lhs.astype(np.float64), rhs.astype(np.float64)) * 2 + 1
    assert_close(out, expected.astype(np.float32), "matmul")


@KERNELS
def test_nan_and_infinity_spread_as_in_ieee(gpu: str, kernel: Kernel) -> None:
    lhs, rhs = operands((5, 7, 9))
    lhs[..., 2, 5] = np.nan
    lhs[..., 4, 7] = np.inf
    with np.errstate(invalid="ignore"):
        check(gpu, kernel, lhs, rhs)


def test_shape_and_strides_choose_the_kernel() -> None:
    assert choose(1, 4096, (1, 4096)) is matmul_nt
    assert choose(FEW, 4096, (4096, 1)) is matmul_nn
    assert choose(FEW + 1, 4096, (1, 4096)) is matmul
    assert choose(512, 1, (1, 1)) is matmul_nt


@pytest.mark.parametrize("M", [1, 6])
@pytest.mark.parametrize("turned", [False, True])
def test_a_fused_product_is_one_launch(gpu: str, M: int, turned: bool) -> None:
    random = np.random.default_rng(0)
    x, w, b, r = (
        random.standard_normal(s).astype(np.float32)
        for s in ((2, M, 9), (2, 9, 11), (11,), (2, M, 11))
    )
    weight = nt.tensor(w.swapaxes(1, 2).copy() if turned else w, device=gpu)
    weight = weight.transpose(1, 2) if turned else weight
    sides = [nt.tensor(value, device=gpu) for value in (x, b, r)]
    out = nt.nn.functional.relu(sides[0] @ weight + sides[1]) + sides[2]
    assert_launches(out, 1)
    assert_close(out, np.maximum(x @ w + b, 0) + r, "matmul")


@pytest.mark.parametrize("shapes", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0))], ids=str)
def test_empty_products(gpu: str, shapes: Any) -> None:
    lhs, rhs = (np.ones(shape, np.float32) for shape in shapes)
    out = nt.tensor(lhs, device=gpu) @ nt.tensor(rhs, device=gpu) + 1
    assert_close(out, lhs @ rhs + 1, "exact")


def quant_product(
    gpu: str, kind: DType, x: Array, data: Array, few: bool, epilogue: EpilogueCall | None = None
) -> Array:
    """x @ weight.T through the kernel for few rows or the one of tiles."""
    M, K = x.shape
    N = len(data)
    out = epilogue[1][0] if epilogue else np.full((M, N), np.nan, np.float32)
    sizes = (out, x, data, M, N, K)
    if few:
        spec, arguments = quant_row(T=kind), (*sizes, None)
        groups, threads = grid(matmul_nt, M, N, K // 4)
    else:
        strides = (N, K, 1, 1, K)
        spec, arguments = quant_rows(T=kind), (*sizes, *strides, 1, 0, 0, 0, 0, 0, 0, None)
        groups, threads = grid(matmul, M, N, K)
    run_groups(gpu, spec, *arguments, groups=groups, threads=threads, epilogue=epilogue)
    return out


@KINDS
@pytest.mark.parametrize(("M", "few"), [(1, True), (2, True), (3, False)])
def test_weights_in_blocks_are_multiplied_in_float32(
    gpu: str, kind: DType, M: int, few: bool
) -> None:
    K = 512 if SIMULATED else 256 * 9
    N = 5 if SIMULATED else 38
    x = np.random.default_rng(M).standard_normal((M, K)).astype(np.float32)
    data = weights(kind, N, K, M)
    out = quant_product(gpu, kind, x, data, few)
    bound = 2e-6 * (np.abs(x) @ magnitude(data, kind, K).T)
    assert (np.abs(out - x @ decoded(data, kind, K).T) <= bound).all()


@KINDS
@pytest.mark.parametrize("few", [True, False])
def test_epilogues_of_weights_in_blocks(gpu: str, kind: DType, few: bool) -> None:
    x = np.random.default_rng(0).standard_normal((2, 256)).astype(np.float32)
    data = weights(kind, 7, 256)
    plain = quant_product(gpu, kind, x, data, few)
    out, times = np.full((2, 7), np.nan, np.float32), np.zeros((2, 7), np.int32)
    quant_product(gpu, kind, x, data, few, (double_and_count(), (out, times, 2, 7)))
    assert (times == 1).all()
    np.testing.assert_array_equal(out, plain * 2 + 1)


@KINDS
@pytest.mark.parametrize("M", [1, 6])
def test_a_product_with_blocks_is_one_launch(gpu: str, kind: DType, M: int) -> None:
    random = np.random.default_rng(0)
    x, bias = (random.standard_normal(s).astype(np.float32) for s in ((M, 256), (6,)))
    data = weights(kind, 6, 256)
    sides = [nt.tensor(value, device=gpu) for value in (x, bias)]
    out = nt.nn.functional.relu(
        nt.nn.functional.linear(sides[0], blocks_tensor(kind, data, 256).to(gpu), sides[1])
    )
    assert_launches(out, 1)
    bound = 2e-6 * (np.abs(x) @ magnitude(data, kind, 256).T + np.abs(bias))
    expected = np.maximum(x @ decoded(data, kind, 256).T + bias, 0)
    assert (np.abs(out.numpy() - expected) <= bound).all()


@KINDS
def test_decoding_and_taking_rows(gpu: str, kind: DType) -> None:
    data = weights(kind, 5, 512)
    weight = blocks_tensor(kind, data, 512).to(gpu)
    whole = weight.to(nt.float32).numpy()
    # The product of a code and a scale may be rounded together with the min that is taken off.
    bound = 2.0**-23 * magnitude(data, kind, 512)
    assert (np.abs(whole - dequantize(data, kind, (5, 512))) <= bound).all()
    index = np.array([[0, 4, 3], [3, 3, 1]])
    taken = nt.nn.functional.embedding(nt.tensor(index, device=gpu), weight)
    np.testing.assert_array_equal(taken.numpy(), whole[index])


@pytest.mark.parametrize("wrong", [-1, 11, 2**40])
def test_row_that_is_not_there_is_an_error(gpu: str, wrong: int) -> None:
    weight = blocks_tensor(dt.Q4_0, weights(dt.Q4_0, 11, 64), 64).to(gpu)
    index = nt.tensor(np.array([2, wrong]), device=gpu)
    with pytest.raises(OutOfRange, match=rf"quant_take: index {wrong}"):
        nt.Tensor(ops.quant_take.apply(weight.node, index.node)).numpy()


@KINDS
def test_blocks_decode_as_their_authors_decode_them(kind: DType) -> None:
    gguf = pytest.importorskip("gguf")
    data = weights(kind, 7, 512)
    expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind.name])
    out = np.full((7, 512), np.nan, np.float32)
    run_kernel(decode_blocks(T=kind), out, data, out.size, parts=3)
    bound = 2.0**-23 * magnitude(data, kind, 512)
    assert (np.abs(out - expected) <= bound).all()
