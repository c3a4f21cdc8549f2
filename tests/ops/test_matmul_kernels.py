"""The three matrix product kernels against float64 NumPy: any shape, strides, batches, parts."""

import ctypes
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbatorch.dtype import by_name
from numbatorch.language.caches import LEAST, MOST
from numbatorch.language.kernel import Kernel
from numbatorch.ops.cpu.blocking import PANEL, ROWS, TILE, Blocks, Sizes, blocks_for, blocks_of
from numbatorch.ops.cpu.matmul import choose, workspace
from numbatorch.ops.cpu.matmul_direct import matmul_nn, matmul_nt
from numbatorch.ops.cpu.matmul_packed import matmul
from tests.compare import assert_close
from tests.run_kernel import run_kernel

DTYPES = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
TYPES = [
    ("float32", "float32"),
    ("float64", "float64"),
    ("float16", "float16"),
    ("float32", "bfloat16"),
]
# Those whose products are of another type than sums are. float32 is rounded to it.
PAIRS = [("bfloat16", "bfloat16"), ("float32", "float32"), ("float32", "bfloat16")]
KERNELS = {"matmul": matmul, "matmul_nn": matmul_nn, "matmul_nt": matmul_nt}
GUARD = 64  # bytes behind the scratch memory, and elements behind each row of out

Array = np.ndarray[Any, Any]
Epilogue = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)


@dataclass
class Product:
    """Operands of one call, as views with the strides that the kernel sees."""

    kernel: Kernel
    lhs: Array  # (batch0, batch1, M, K)
    rhs: Array  # (batch0, batch1, K, N)
    multiplied: str  # what `matmul` and `matmul_nt` multiply
    blocks: Blocks | None = None  # of `matmul`, those of this processor unless they are given

    @property
    def shape(self) -> tuple[int, ...]:
        batch = np.broadcast_shapes(self.lhs.shape[:2], self.rhs.shape[:2])
        return (*batch, self.lhs.shape[-2], self.rhs.shape[-1])

    def run(self, parts: int, epilogue: Any = None, only: int | None = None) -> Array:
        """The product, or what one part makes of it.

        What is around `out` and behind the scratch memory must stay as it is.
        """
        batch0, batch1, M, N = self.shape
        K = self.lhs.shape[-1]
        room = np.full((batch0, batch1, M + 1, N + GUARD), np.nan, self.lhs.dtype)
        out = room[:, :, :M, :N]
        kind, blocks = by_name[self.multiplied], None
        if self.kernel is matmul:
            blocks = self.blocks or blocks_for(N, K, parts, kind)
        used = workspace(self.kernel, M, K, parts, kind, blocks)
        scratch = np.full(used + GUARD, 0xFF, np.uint8)
        operands = [np.broadcast_to(x, self.shape[:2] + x.shape[2:]) for x in (self.lhs, self.rhs)]
        strides = [tuple(s // x.itemsize for s in x.strides) for x in (out, *operands)]
        types = {"V": self.multiplied} if self.kernel is not matmul_nn else {}
        function = Epilogue(lambda *place: epilogue(out, *place)) if epilogue else None
        run_kernel(
            self.kernel(T=name_of(self.lhs), U=name_of(self.rhs), **types),
            out, self.lhs, self.rhs, scratch, M, N, K,
            strides[0][2], *strides[1][2:], *strides[2][2:],
            batch0, batch1, *(step for walk in strides for step in walk[:2]), *(blocks or ()),
            ctypes.cast(function, ctypes.c_void_p).value if function else 0, 0,
            parts=parts, only=only,
        )  # fmt: skip
        assert (scratch[used:] == 0xFF).all()
        assert np.isnan(room[:, :, M:].astype(np.float32)).all()
        assert np.isnan(room[..., N:].astype(np.float32)).all()
        return out

    def expected(self) -> Array:
        """In float64, of what is multiplied."""
        kind = DTYPES[self.multiplied]
        lhs, rhs = (x.astype(kind).astype(np.float64) for x in (self.lhs, self.rhs))
        return np.matmul(lhs, rhs)


def name_of(array: Array) -> str:
    return next(name for name, dtype in DTYPES.items() if dtype == array.dtype)


def layout(array: Array, order: str) -> Array:
    """The same values with other strides: rows or columns contiguous, or neither."""
    if order == "rows":
        return np.ascontiguousarray(array)
    if order == "columns":
        return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
    room = np.zeros((*array.shape[:-2], 2 * array.shape[-2], 3 * array.shape[-1]), array.dtype)
    room[..., ::2, ::3] = array
    return room[..., ::2, ::3]


def product(
    kernel: str, types: tuple[str, str], sizes: tuple[int, int, int], **how: Any
) -> Product:
    """Random operands; `lhs` and `rhs` name their layouts, `batches` their batch dimensions."""
    M, N, K = sizes
    random = np.random.default_rng(M * 10007 + N * 101 + K)
    batches = how.get("batches", ((1, 1), (1, 1)))
    lhs = random.standard_normal((*batches[0], M, K)) / max(K, 1) ** 0.5
    rhs = random.standard_normal((*batches[1], K, N))
    natural = {"matmul": ("rows", "rows"), "matmul_nn": ("rows", "rows")}
    left, right = natural.get(kernel, ("rows", "columns"))
    return Product(
        KERNELS[kernel],
        layout(lhs.astype(DTYPES[types[0]]), how.get("lhs", left)),
        layout(rhs.astype(DTYPES[types[1]]), how.get("rhs", right)),
        how.get("multiplied", by_name[types[0]].compute.name),
    )


def check(one: Product, parts: int) -> None:
    """Right, and the same bits whatever the number of parts."""
    out = one.run(parts)
    assert_close(out, one.expected().astype(out.dtype), "matmul")
    again = one.run(3 if parts == 1 else 1)
    np.testing.assert_array_equal(out.view(np.uint8), again.view(np.uint8))


edges = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65])
sizes = st.one_of(edges, st.integers(0, 140))
deep = st.one_of(edges, st.integers(0, 140), st.sampled_from([511, 512, 513, 1024, 1030]))
layouts = st.sampled_from(["rows", "columns", "neither"])
# The batch dimensions of both operands; those of size 1 are broadcast with stride 0.
batches = st.sampled_from(
    [((1, 1), (1, 1)), ((2, 3), (2, 3)), ((2, 3), (1, 1)), ((1, 3), (2, 1)), ((2, 1), (1, 3))]
)


@pytest.mark.parametrize("types", TYPES)
@given(M=sizes, N=sizes, K=deep, lhs=layouts, rhs=layouts, batches=batches, parts=st.integers(1, 3))
def test_matmul_takes_any_shape_and_strides(
    types: Any, M: int, N: int, K: int, lhs: str, rhs: str, batches: Any, parts: int
) -> None:
    check(product("matmul", types, (M, N, K), lhs=lhs, rhs=rhs, batches=batches), parts)


@pytest.mark.parametrize("types", PAIRS)
@given(M=sizes, N=sizes, K=deep, lhs=layouts, rhs=layouts, batches=batches, parts=st.integers(1, 3))
def test_matmul_multiplies_pairs_of_bfloat16(
    types: Any, M: int, N: int, K: int, lhs: str, rhs: str, batches: Any, parts: int
) -> None:
    how = {"lhs": lhs, "rhs": rhs, "batches": batches, "multiplied": "bfloat16"}
    check(product("matmul", types, (M, N, K), **how), parts)


@pytest.mark.parametrize("types", TYPES)
@given(M=sizes, N=sizes, K=deep, lhs=layouts, batches=batches, parts=st.integers(1, 3))
def test_matmul_nn_takes_any_shape(
    types: Any, M: int, N: int, K: int, lhs: str, batches: Any, parts: int
) -> None:
    check(product("matmul_nn", types, (M, N, K), lhs=lhs, batches=batches), parts)


@pytest.mark.parametrize("types", TYPES)
@given(M=sizes, N=sizes, K=deep, batches=batches, parts=st.integers(1, 3))
def test_matmul_nt_takes_any_shape(
    types: Any, M: int, N: int, K: int, batches: Any, parts: int
) -> None:
    check(product("matmul_nt", types, (M, N, K), batches=batches), parts)


@pytest.mark.parametrize("types", [types for types in PAIRS if types[1] == "bfloat16"])
@given(M=sizes, N=sizes, pairs=deep, batches=batches, parts=st.integers(1, 3))
def test_matmul_nt_multiplies_pairs_of_bfloat16(
    types: Any, M: int, N: int, pairs: int, batches: Any, parts: int
) -> None:
    how = {"batches": batches, "multiplied": "bfloat16"}
    check(product("matmul_nt", types, (M, N, 2 * pairs), **how), parts)


ODD = (200, 1070, 7)  # panels of any width, so that a share ends within one
LARGE = [(200, 700, 1500), (300, 1000, 1100), (64, 2100, 520), (1, 3000, 1025), (1025, 3, 70), ODD]
EPILOGUES = [(1, 1, 3), (5, 70, 9), (100, 130, 20), (100, 130, 50), (1, 300, 40), (7, 9, 0), ODD]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sizes", LARGE)
def test_blocks_of_large_products_join(kernel: str, sizes: tuple[int, int, int]) -> None:
    for parts in (1, 2):
        check(product(kernel, ("float32", "float32"), sizes), parts)
    check(product(kernel, ("float16", "float16"), sizes), 2)
    whole = kernel != "matmul_nt" or sizes[-1] % 2 == 0
    kind = "bfloat16" if whole else "float32"
    check(product(kernel, ("bfloat16", "bfloat16"), sizes, multiplied=kind), 2)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("sizes", EPILOGUES)
def test_an_epilogue_sees_each_result_once(kernel: str, parts: int, sizes: Any) -> None:
    one = product(kernel, ("float32", "float32"), sizes, batches=((2, 2), (1, 2)))
    times = np.zeros(one.shape, np.int64)

    def epilogue(
        out: Array, args: int, batch: int, row0: int, row1: int, col0: int, col1: int
    ) -> None:
        assert args == 0
        place = (*np.unravel_index(batch, one.shape[:2]), slice(row0, row1), slice(col0, col1))
        times[place] += 1
        out[place] = out[place] * 2 + 1

    out = one.run(parts, epilogue)
    assert (times == 1).all()
    assert_close(out, (one.expected() * 2 + 1).astype(np.float32), "matmul")


@pytest.mark.parametrize("sizes", [(100, 512, 64), (64, 384, 64), (32, 64, 64), (13, 64, 64)])
def test_shares_of_rows_are_equal_up_to_a_tile(sizes: tuple[int, int, int]) -> None:
    M, N, _ = sizes
    out = product("matmul_nn", ("float32", "float32"), sizes).run(2, only=0)
    # The last tile of rows may be short.
    assert abs(int((~np.isnan(out)).sum()) - M * N // 2) <= TILE * max(64, N // 2)


@pytest.mark.parametrize(
    ("kernel", "rhs", "multiplied", "K"),
    [
        *((name, "float32", "float32", 41) for name in KERNELS),
        ("matmul", "float32", "bfloat16", 41),
        ("matmul_nt", "bfloat16", "bfloat16", 42),
    ],
)
def test_nan_and_infinity_spread_as_in_ieee(kernel: str, rhs: str, multiplied: str, K: int) -> None:
    one = product(kernel, ("float32", rhs), (9, 33, K), multiplied=multiplied)
    one.lhs[..., 2, 5] = np.nan
    one.lhs[..., 4, 7] = np.inf
    one.lhs[..., 6, K - 1] = np.inf  # half of a pair
    with np.errstate(invalid="ignore"):
        assert_close(one.run(2), one.expected().astype(np.float32), "matmul")


def test_shape_and_strides_choose_the_kernel() -> None:
    assert choose(1, 4096, 4096, (4096, 1), (1, 4096)) is matmul_nt
    assert choose(16, 384, 384, (384, 1), (1, 384)) is matmul_nt
    assert choose(8, 8, 8, (8, 1), (8, 1)) is matmul_nn
    assert choose(1, 4096, 4096, (4096, 1), (4096, 1)) is matmul_nn
    assert choose(1024, 1024, 1024, (1024, 1), (1024, 1)) is matmul
    assert choose(512, 512, 512, (1, 512), (1, 512)) is matmul
    assert choose(16, 384, 384, (384, 1), (2, 768)) is matmul


def test_memory_of_a_product_does_not_grow_with_its_columns() -> None:
    """Where k is short, nor does what is kept of the sums."""
    for kind in ("float32", "bfloat16"):
        for K in (1, 7, 100, 3000):
            for N in (1 << 16, 1 << 24):
                blocks = blocks_for(N, K, 1, by_name[kind])
                assert workspace(matmul, 100, K, 1, by_name[kind], blocks) < 4 << 20


# Bytes of caches, whatever a machine may have.
cached = st.builds(
    lambda *places: Sizes(*(a << int(x) for a, x in places)),
    *(
        st.tuples(
            st.just(LEAST[name]), st.integers(0, (MOST[name] // LEAST[name]).bit_length() - 1)
        )
        for name in ("l1", "l2", "l3")
    ),
)


@pytest.mark.parametrize("types", [*TYPES[:2], *PAIRS[:1]])
@given(M=sizes, N=sizes, K=deep, lhs=layouts, rhs=layouts, has=cached, parts=st.integers(1, 3))
def test_sizes_of_caches_change_no_bit(
    types: Any, M: int, N: int, K: int, lhs: str, rhs: str, has: Sizes, parts: int
) -> None:
    kind, each = by_name[types[0]].compute, 1
    how = {"lhs": lhs, "rhs": rhs}
    if types in PAIRS:
        kind, each, how["multiplied"] = by_name["bfloat16"], 2, "bfloat16"
    one = product("matmul", types, (M, N, K), **how)
    usual = one.run(parts)
    one.blocks = blocks_of(N, K, has, kind.compute.itemsize, each)
    out = one.run(parts)
    assert_close(out, one.expected().astype(out.dtype), "matmul")
    np.testing.assert_array_equal(out.view(np.uint8), usual.view(np.uint8))


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("blocks", [Blocks(64, 64), Blocks(128, 192), Blocks(1024, 640)])
def test_blocks_of_any_size_join(kind: str, blocks: Blocks) -> None:
    one = product("matmul", (kind, kind), (150, 650, 2222), multiplied=kind)
    usual = one.run(1)
    one.blocks = blocks
    for parts in (1, 3):
        out = one.run(parts)
        assert_close(out, one.expected().astype(out.dtype), "matmul")
        np.testing.assert_array_equal(out.view(np.uint8), usual.view(np.uint8))


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("sizes", [(1, 200, 70), (49, 130, 600), (100, 64, 1100)])
def test_reading_in_place_gives_the_bits_of_packing(types: Any, sizes: Any) -> None:
    """For how large a matrix is packed depends on the caches."""
    packed, in_place = (product(name, types, sizes).run(2) for name in ("matmul", "matmul_nn"))
    np.testing.assert_array_equal(packed.view(np.uint8), in_place.view(np.uint8))


@given(
    has=cached, N=st.integers(0, 5000), K=st.integers(0, 50000),
    kind=st.sampled_from([(4, 1), (8, 1), (4, 2)]),
)  # fmt: skip
def test_blocks_fit_the_caches(has: Sizes, N: int, K: int, kind: tuple[int, int]) -> None:
    itemsize, each = kind
    depth, columns = blocks_of(N, K, has, itemsize, each)
    assert depth > 0 and depth % 16 == 0  # as tiles take words
    assert columns % PANEL == 0 and PANEL <= columns < max(1, N) + PANEL
    assert TILE * depth * itemsize <= has.l1
    assert ROWS * each * depth * itemsize <= has.l2 or depth == 64
    assert columns * K * itemsize <= max(has.l2, has.l3) or columns == PANEL
