"""Kernels of weights in GGML blocks against NumPy in float64, with x rounded as they round it."""

import ctypes
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange
from numbatorch.language.processor import host
from numbatorch.nn import functional as F
from numbatorch.ops import quant as ops
from numbatorch.ops.blocks import dequantize, find, names
from numbatorch.ops.cpu import quant_row as of_row
from numbatorch.ops.cpu import quant_rows as of_rows
from numbatorch.ops.cpu.quant_decode import decode_blocks
from numbatorch.ops.cpu.quant_row import quant_row, row_planes_bytes
from numbatorch.ops.cpu.quant_rows import WORKSPACE, planes_bytes, quant_rows, quantize_rows
from numbatorch.tensor import from_blocks
from tests.block_data import has_float_scale, put_scales, random_blocks
from tests.compare import assert_close, assert_launches
from tests.run_kernel import run_kernel

Array = np.ndarray[Any, Any]
Epilogue = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)
TYPES = [dt.by_name[name] for name in names()]
# By default those that differ in what kernels read: planes, mins, codebooks, grids, coded scales.
SAMPLE = (
    *("Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q6_K", "IQ4_NL"),
    *("Q2_K", "IQ2_S", "IQ1_M", "NVFP4"),
)
BY_DEFAULT = [
    pytest.param(kind, marks=() if kind.name in SAMPLE else pytest.mark.slow) for kind in TYPES
]
KINDS = pytest.mark.parametrize("kind", BY_DEFAULT, ids=lambda kind: kind.name)
SOME = pytest.mark.drawn(2, by="kind")
SMALLEST = np.float32(2.0**-100)
GUARD = 64


def weights(kind: DType, N: int, K: int, seed: int = 0) -> Array:
    """Any codes, with scales that differ in size and sign: (N, bytes of a row)."""
    blocks = random_blocks(kind, N * K // kind.block, np.random.default_rng(seed))
    return blocks.view(np.uint8).reshape(N, -1)


def decoded(data: Array, kind: DType, K: int) -> Array:
    return dequantize(data, kind, (len(data), K)).astype(np.float64)


def rounded(x: Array, height: int) -> tuple[Array, Array]:
    """x (M, K) as the kernels round it, and by how much it may be off.

    Units of 32 values are rounded to 8 bits, those with large values to 16: which ones are is found
    for a single row, or for tiles of `height` rows. What lies at the border may be either.
    """
    M = len(x)
    units = x.reshape(M, -1, 32).astype(np.float32)
    most = np.maximum(np.abs(units).max(-1), np.float32(SMALLEST))
    size = most.astype(np.float64) ** 2 / np.maximum(
        (x.astype(np.float64) ** 2).mean(-1, keepdims=True), SMALLEST
    )
    if M == 1:
        share = size / of_row.LARGE
    else:
        rows = np.minimum(np.arange(-(-M // height) * height), M - 1)
        tiles = size[rows].reshape(-1, height, size.shape[1]).mean(1) / of_rows.LARGE
        share = tiles.repeat(height, axis=0)[:M]
    found = []
    for top in (127, 127 * 256):
        codes = np.rint(units * (np.float32(top) / most)[..., None]).astype(np.float64)
        found.append((codes * (most / np.float32(top))[..., None]).reshape(x.shape))
    coarse, fine = found
    share = share.repeat(32, axis=1)
    border = abs(share - 1) < 1e-4
    last = (most / (127 * 256)).repeat(32, axis=1)  # a low byte of -128 is stored as -127
    off = np.where(border, abs(coarse - fine), 0) + np.where(share > 1, last, 0)
    return np.where(share > 1, fine, coarse), off


def magnitude(data: Array, kind: DType, K: int) -> Array:
    """For each weight the largest of its block, times 2: what codes and bias are made of."""
    blocks = np.abs(decoded(data, kind, K)).reshape(len(data), -1, 32)
    return np.broadcast_to(2 * blocks.max(-1, keepdims=True), blocks.shape).reshape(len(data), K)


def expectation(
    x: Array, data: Array, kind: DType, height: int | None = None
) -> tuple[Array, Array]:
    """The product of x as it is rounded, and how far from it the kernels may be."""
    if height is None:
        height = 8 if host().has("avx512f") or not host().triple.startswith("x86_64") else 4
    weight = decoded(data, kind, x.shape[1])
    values, off = rounded(x, height)
    bound = 2e-6 * (np.abs(values) @ magnitude(data, kind, x.shape[1]).T)
    return values @ weight.T, bound + off @ np.abs(weight).T


def scratch(nbytes: int) -> Array:
    """Memory that is NaN at first, with a guard behind it."""
    memory = np.full(nbytes + GUARD, 0xFF, np.uint8)
    memory[nbytes:] = 0xA5
    return memory


def product(kind: DType, x: Array, data: Array, parts: int = 1, epilogue: int = 0) -> Array:
    """Run the kernels; checks that they stay inside of their scratch memory and of out."""
    M, K = x.shape
    N = len(data)
    out = np.full(M * N + GUARD, np.nan, np.float32)
    used = []
    if M == 1:
        planes = scratch(parts * row_planes_bytes(K))
        run_kernel(quant_row(T=kind), out, x, data, planes, N, K, epilogue, 0, parts=parts)
    else:
        planes = scratch(planes_bytes(M, K, find("test", kind).group))
        workspace = scratch(parts * WORKSPACE)
        run_kernel(quantize_rows(T=kind), planes, x, data, M, K, parts=parts)
        run_kernel(
            quant_rows(T=kind), out, data, planes, workspace, M, N, K, epilogue, 0, parts=parts
        )
        used.append(workspace)
    for memory in (planes, *used):
        assert (memory[-GUARD:] == 0xA5).all(), "written behind the scratch memory"
    assert np.isnan(out[M * N :]).all(), "written behind the result"
    return out[: M * N].reshape(M, N)


def blocks_tensor(kind: DType, data: Array, K: int) -> nt.Tensor:
    return from_blocks(data, kind, (len(data), K))


@KINDS
@given(
    M=st.sampled_from([1, 1, 2, 7, 8, 9, 17, 261]),
    N=st.integers(1, 40),
    blocks=st.integers(1, 37),
    parts=st.integers(1, 8),
    seed=st.integers(0, 2**16),
)
def test_product_is_exact_but_for_float32_sums(
    kind: DType, M: int, N: int, blocks: int, parts: int, seed: int
) -> None:
    K = kind.block * (1 + blocks % 9 if kind.block == 256 else blocks)
    random = np.random.default_rng(seed)
    x = random.standard_normal((M, K)).astype(np.float32)
    x[:, random.integers(0, K, K // 100 + seed % 2)] *= 20
    data = weights(kind, N, K, seed)
    expected, bound = expectation(x, data, kind)
    found = product(kind, x, data, parts)
    assert (np.abs(found - expected) <= bound).all()
    np.testing.assert_array_equal(found, product(kind, x, data, 1))


@SOME
@KINDS
@given(
    M=st.sampled_from([1, 3]),
    size=st.sampled_from([1e-42, 1e-30, 1e-6, 1.0, 1e6, 1e30]),
    seed=st.integers(0, 2**16),
)
def test_rounding_of_x_stays_within_half_a_step(
    kind: DType, M: int, size: float, seed: int
) -> None:
    K, N = 512, 9
    random = np.random.default_rng(seed)
    x = (random.standard_normal((M, K)) * size).astype(np.float32)
    x[:, random.integers(0, K, 30)] *= 1e-3
    x[:, 64:96] = 0
    data = weights(kind, N, K, seed)
    weight = decoded(data, kind, K)
    step = np.abs(x).reshape(M, -1, 32).max(-1).clip(SMALLEST) / 127
    runs = np.abs(weight).reshape(N, -1, 32).sum(-1)
    bound = 0.501 * step @ runs.T + 2e-6 * (np.abs(x) @ magnitude(data, kind, K).T)
    assert (np.abs(product(kind, x, data) - x @ weight.T) <= bound).all()


@SOME
@KINDS
@pytest.mark.parametrize("M", [1, 5, 12])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_give_nan_and_no_others(kind: DType, M: int, bad: float) -> None:
    x = np.random.default_rng(0).standard_normal((M, 512)).astype(np.float32)
    data = weights(kind, 20, 512)
    clean = product(kind, x, data)
    x[M // 2, 300] = bad
    out = product(kind, x, data, 2)
    rows = np.arange(M) == M // 2
    assert np.isnan(out[rows]).all()
    np.testing.assert_array_equal(out[~rows], clean[~rows])


@SOME
@KINDS
@pytest.mark.parametrize("M", [1, 4])
def test_blocks_whose_scale_is_not_finite_give_no_finite_number(kind: DType, M: int) -> None:
    if not has_float_scale(kind):
        pytest.skip("its scales are all finite")
    data = weights(kind, 20, 512)
    blocks = data.reshape(-1, kind.itemsize).view(find("test", kind).layout)[:, 0]
    per_row = 512 // kind.block
    for place, scale in ((3 * per_row, np.nan), (7 * per_row + per_row - 1, np.inf)):
        put_scales(kind, blocks[place : place + 1], np.array([scale]))
    x = np.random.default_rng(0).standard_normal((M, 512)).astype(np.float32)
    finite = np.isfinite(product(kind, x, data))
    np.testing.assert_array_equal(finite, np.broadcast_to(~np.isin(range(20), [3, 7]), (M, 20)))


@SOME
@KINDS
@pytest.mark.parametrize("M", [1, 3])
def test_zeros_give_zeros(kind: DType, M: int) -> None:
    out = product(kind, np.zeros((M, 768), np.float32), weights(kind, 17, 768))
    np.testing.assert_array_equal(out, 0)


@SOME
@KINDS
@pytest.mark.parametrize("M", [1, 2, 300])
@pytest.mark.parametrize("parts", [1, 3])
def test_epilogue_sees_every_element_once_and_finished(kind: DType, M: int, parts: int) -> None:
    seen = np.zeros((M, 133), int)

    @Epilogue
    def epilogue(args: int, batch: int, row0: int, row1: int, col0: int, col1: int) -> None:
        assert (args, batch) == (0, 0)
        assert 0 <= row0 < row1 <= M
        assert 0 <= col0 < col1 <= 133
        seen[row0:row1, col0:col1] += 1

    x = np.random.default_rng(0).standard_normal((M, 256)).astype(np.float32)
    address = ctypes.cast(epilogue, ctypes.c_void_p).value
    product(kind, x, weights(kind, 133, 256), parts, address or 0)
    np.testing.assert_array_equal(seen, 1)


@KINDS
@given(rows=st.integers(1, 9), blocks=st.integers(1, 19), parts=st.integers(1, 4))
def test_decoding_equals_the_reference(kind: DType, rows: int, blocks: int, parts: int) -> None:
    K = kind.block * blocks
    data = weights(kind, rows, K, blocks)
    out = np.full(rows * K + GUARD, np.nan, np.float32)
    run_kernel(decode_blocks(T=kind), out, data, rows * K, parts=parts)
    assert np.isnan(out[rows * K :]).all()
    expected = dequantize(data, kind, (rows, K))
    # The product of a code and a scale may be rounded together with the min that is taken off.
    bound = 2.0**-23 * magnitude(data, kind, K)
    assert (np.abs(out[: rows * K].reshape(rows, K) - expected) <= bound).all()
    if find("test", kind).least is None:
        np.testing.assert_array_equal(out[: rows * K].reshape(rows, K), expected)


@SOME
@KINDS
@pytest.mark.parametrize("M", [1, 6])
def test_epilogue_is_fused_into_the_product(kind: DType, M: int) -> None:
    random = np.random.default_rng(0)
    x, bias = (random.standard_normal(s).astype(np.float32) for s in ((M, 512), (70,)))
    data = weights(kind, 70, 512)
    weight = blocks_tensor(kind, data, 512)
    out = nt.nn.functional.relu(nt.nn.functional.linear(nt.tensor(x), weight, nt.tensor(bias)))
    assert_launches(out, 1)
    expected = np.maximum(product(kind, x, data) + bias, 0)
    assert_close(out, expected, "matmul")


@SOME
@KINDS
@pytest.mark.parametrize("shape", [(512,), (1, 512), (2, 3, 512)])
def test_linear_takes_any_leading_dimensions(kind: DType, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    data = weights(kind, 21, 512)
    out = nt.nn.functional.linear(nt.tensor(x), blocks_tensor(kind, data, 512))
    expected = product(kind, x.reshape(-1, 512), data).reshape(*shape[:-1], 21)
    np.testing.assert_array_equal(out.numpy(), expected)


@SOME
@KINDS
def test_gradient_of_x_is_that_of_the_decoded_weight(kind: DType) -> None:
    random = np.random.default_rng(0)
    data = weights(kind, 12, 256)
    x = nt.tensor(random.standard_normal((3, 256)).astype(np.float32), requires_grad=True)
    g = random.standard_normal((3, 12)).astype(np.float32)
    (nt.nn.functional.linear(x, blocks_tensor(kind, data, 256)) * nt.tensor(g)).sum().backward()
    assert_close(x.grad, g @ decoded(data, kind, 256), "gradient")


@SOME
@KINDS
@pytest.mark.parametrize("index_type", [np.int64, np.int32])
def test_taken_rows_are_decoded_rows(kind: DType, index_type: Any) -> None:
    data = weights(kind, 11, 768)
    index = np.array([[0, 10, 3], [3, 3, 7]], index_type)
    weight = blocks_tensor(kind, data, 768)
    whole = weight.to(nt.float32).numpy()
    out = nt.nn.functional.embedding(nt.tensor(index), weight)
    np.testing.assert_array_equal(out.numpy(), whole[index])


@SOME
@KINDS
@pytest.mark.parametrize("wrong", [-1, 11, 2**40])
def test_row_that_is_not_there_is_an_error(kind: DType, wrong: int) -> None:
    weight = blocks_tensor(kind, weights(kind, 11, 256), 256)
    index = nt.tensor(np.array([2, wrong]))
    with pytest.raises(OutOfRange, match=rf"quant_take: index {wrong}"):
        nt.Tensor(ops.quant_take.apply(weight.node, index.node)).numpy()


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    for M in (1, 9):
        x = np.random.default_rng(0).standard_normal((M, 800)).astype(np.float32)
        data = weights(dt.Q8_0, 77, 800)
        one = product(dt.Q8_0, x, data, 1)
        np.testing.assert_array_equal(product(dt.Q8_0, x, data, 5), one)


PROCESSORS = {
    "x86-64": ("x86-64", ""),
    "avx2": ("haswell", "+avx2,+fma,+f16c"),
    "avx-vnni": ("alderlake", "+avx2,+fma,+f16c,+avxvnni"),
}
FEW = (dt.Q8_0, dt.Q4_K, dt.IQ4_NL)  # signed codes, unsigned ones with mins, a codebook


def library(specs: Any, cpu: Any) -> Any:
    """Kernels compiled for another processor, ready to be called here."""
    import llvmlite.binding as llvm

    from numbatorch.backends.cpu import compiler, target
    from numbatorch.language import processor

    builder = llvm.JITLibraryBuilder()
    for spec in specs:
        code = compiler.compile_object(spec, cpu)
        builder = builder.add_object_img(code).export_symbol(spec.symbol)
    jit = llvm.create_lljit_compiler(target.machine(processor.host(), jit=True))
    return builder.link(jit, cpu.name)


@pytest.mark.drawn(3)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if kind.name in SAMPLE else pytest.mark.slow)
        for name in PROCESSORS
        for kind in TYPES
        if name == "avx2" or kind in FEW
    ],
)
def test_older_processors_compute_the_same(
    name: str, kind: DType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numbatorch.language import processor
    from tests import run_kernel as runner

    host = processor.host()
    if not host.triple.startswith("x86_64") or not all(
        host.has(feature.strip("+")) for feature in PROCESSORS[name][1].split(",") if feature
    ):
        pytest.skip(f"cannot run code for {name}")
    specs = [k(T=kind) for k in (quant_row, quantize_rows, quant_rows, decode_blocks)]
    cpu = processor.CPU(host.triple, *PROCESSORS[name])
    code = library(specs, cpu)
    kind_of = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    monkeypatch.setattr(runner, "entry", lambda spec: kind_of(code[spec.symbol]))
    data = weights(kind, 19, 768)
    for M in (1, 6):
        x = np.random.default_rng(M).standard_normal((M, 768)).astype(np.float32)
        expected, bound = expectation(x, data, kind, height=4)
        assert (np.abs(product(kind, x, data, 2) - expected) <= bound).all()
    out = np.zeros((19, 768), np.float32)
    run_kernel(decode_blocks(T=kind), out, data, out.size)
    assert_close(out, dequantize(data, kind, (19, 768)), "elementwise")


@pytest.mark.parametrize(
    ("triple", "features", "instruction"),
    [
        ("aarch64-unknown-linux-gnu", "+neon,+dotprod,+fullfp16", "sdot"),
        ("arm64-apple-darwin", "+neon,+dotprod,+fullfp16", "sdot"),
        ("aarch64-unknown-linux-gnu", "+neon", "smull"),
        ("wasm32-unknown-unknown", "+simd128", "i32x4"),
    ],
)
def test_kernels_compile_for_other_processors(triple: str, features: str, instruction: str) -> None:
    from numbatorch.backends.cpu import compiler, target
    from numbatorch.language import processor

    cpu = processor.CPU(triple, "generic", features)
    types = (
        (quant_row, "Q8_0"),
        (quant_row, "IQ4_NL"),
        (quant_rows, "Q6_K"),
        (quantize_rows, "Q4_K"),
    )
    for kernel, kind in types:
        spec = kernel(T=kind)
        module = compiler.module(spec, cpu)
        assert "x86" not in str(module)
        text = target.machine(cpu).emit_assembly(module)
        assert spec.name.startswith("quantize") or instruction in text


@SOME
@KINDS
@pytest.mark.parametrize(("M", "N", "K"), [(1, 1, 256), (1, 70, 768), (3, 37, 512), (20, 18, 256)])
def test_float32_is_the_product_with_what_the_blocks_stand_for(
    kind: DType, M: int, N: int, K: int
) -> None:
    data = weights(kind, N, K)
    x = np.random.default_rng(1).standard_normal((M, K)).astype(np.float32)
    bias = np.random.default_rng(2).standard_normal(N).astype(np.float32)
    weight = from_blocks(data, kind, (N, K))
    found = F.linear(nt.tensor(x), weight, nt.tensor(bias), compute="float32")
    assert_launches(found, 1)
    exact, values = x.astype(np.float64), decoded(data, kind, K)
    size = np.abs(exact) @ np.abs(values).T + np.abs(bias)
    error = np.abs(found.numpy() - (exact @ values.T + bias))
    assert (error <= K * 2.0**-24 * size).all()
