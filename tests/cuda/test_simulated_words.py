"""Words of kernels in the simulator; test_suites_in_the_simulator.py starts the process."""

from typing import Any

import numpy as np
import pytest

from numbatorch.errors import KernelError
from numbatorch.language import groups, primitives, words
from numbatorch.language.groups import (
    add_atomically,
    barrier,
    finish_tile,
    group,
    group_max,
    group_sum,
    local,
    shared,
    thread,
    threads,
)
from numbatorch.language.kernel import EmittedKernel, Epilogue, Pointer, T, helper, kernel, share
from numbatorch.language.primitives import atomic_add, inf
from numbatorch.language.scalar_word import scalar_word
from numbatorch.language.words import Intrinsic, Word, float32, int32, int64
from numbatorch.ops import scalar_math
from tests.conftest import SIMULATED
from tests.word_cases import CASES, Case

if not SIMULATED:
    pytest.skip("runs in a process with NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

from numbatorch import dtype as dt
from numbatorch.backends.cuda.simulated_words import FUNCTIONS
from tests.cuda.run import run

exp = scalar_word(scalar_math.exp)
SIZE = 24


def test_every_word_has_a_function() -> None:
    found = {
        value
        for module in (primitives, words, groups)
        for value in vars(module).values()
        if isinstance(value, Intrinsic | Word)
    }
    assert found == set(FUNCTIONS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_word_computes_what_numpy_does(case: Case) -> None:
    operands = case.operands()
    out = np.zeros(len(operands[0]), dt.by_name[case.result].numpy)
    run(case.spec(), out, *operands, len(out), groups=2)
    case.check(out, operands)


@helper
def squared(x: float) -> float:
    return x * x


@kernel(T=("float32", "float16"))
def powers(out: Pointer[T], x: Pointer[T], n: int, part: int, parts: int) -> None:
    """exp(x[i] ** 2)."""
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        out[i] = exp(squared(x[i]))


@pytest.mark.parametrize("grid", [(1, 1), (3, 1), (2, 4)])
def test_helpers_and_scalar_words_are_bound(grid: tuple[int, int]) -> None:
    x = np.linspace(-2, 2, 33, dtype=np.float32)
    out = np.zeros_like(x)
    run(powers(T="float32"), out, x, len(x), groups=grid[0], threads=grid[1])
    np.testing.assert_allclose(out, np.exp(x * x), rtol=1e-6)


@kernel
def reduced(sums: Pointer[float32], tops: Pointer[float32], x: Pointer[float32]) -> None:
    """Sum and largest of each group's numbers, twice, as its threads see them."""
    at = group() * threads() + thread()
    for _ in range(2):
        sums[at] = group_sum(x[at])
        tops[at] = group_max(x[at])


@pytest.mark.parametrize("count", [1, 8, 32, 128])
def test_groups_are_reduced(count: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, count)).astype(np.float32)
    x[0, 0] = np.nan if count > 1 else 1.0
    sums, tops = np.zeros_like(x), np.zeros_like(x)
    run(reduced(), sums, tops, x, groups=2, threads=count)
    np.testing.assert_allclose(sums, np.repeat(x.sum(1, keepdims=True), count, 1), rtol=1e-5)
    np.testing.assert_array_equal(tops, np.repeat(np.nanmax(x, 1, keepdims=True), count, 1))


@kernel
def turned(out: Pointer[float32], x: Pointer[float32], n: int, finish: Epilogue) -> None:
    """Each group's numbers the other way round, through its memory."""
    held = shared(float32, SIZE)
    mine = local(int32, 2)
    first = group() * n
    mine[0] = n - 1
    held[thread()] = x[first + thread()]
    barrier()
    out[first + thread()] = held[mine[0] - thread()]
    finish_tile(finish, 0, group(), group() + 1, thread(), thread() + 1)


EPILOGUE = """from numbatorch.language.kernel import Pointer
from numbatorch.language.primitives import *

def kernel(o: Pointer["float32"], scale: float, N: int,
           batch: int, row0: int, row1: int, col0: int, col1: int) -> None:
    for row in range(row0, row1):
        for col in range(col0, col1):
            o[row * N + col] = o[row * N + col] * float32(scale)
"""


@pytest.mark.parametrize("scale", [None, 2.5])
def test_groups_share_memory_and_call_the_epilogue(scale: float | None) -> None:
    x = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)
    out = np.zeros_like(x)
    words = ("pointer", "float", "int")
    spec = EmittedKernel("scaled", ("test",), words, lambda: EPILOGUE)
    epilogue = None if scale is None else (spec, (out, scale, 8))
    run(turned(), out, x, 8, groups=3, threads=8, epilogue=epilogue)
    np.testing.assert_allclose(out, x[:, ::-1] * np.float32(scale or 1))


@kernel
def counted(sums: Pointer[float32], before: Pointer[int64], count: Pointer[int64]) -> None:
    """One each from every thread."""
    add_atomically(sums, 1, 0.5)
    before[group() * threads() + thread()] = atomic_add(count, 0, 2)


def test_atomic_words_lose_nothing() -> None:
    sums, before, count = np.zeros(2, np.float32), np.zeros(24, np.int64), np.zeros(1, np.int64)
    run(counted(), sums, before, count, groups=3, threads=8)
    assert sums.tolist() == [0, 12] and count[0] == 48
    assert sorted(before) == list(range(0, 48, 2))


@kernel
def uneven(out: Pointer[float32], n: int) -> None:
    """Only the first threads come to the barrier."""
    if thread() < n:
        barrier()
    out[thread()] = 1.0


def test_a_barrier_that_some_threads_do_not_reach_is_an_error() -> None:
    out = np.zeros(4, np.float32)
    run(uneven(), out, 4, threads=4)
    with pytest.raises(KernelError, match="did not all meet at the same barriers"):
        run(uneven(), out, 2, threads=4)


@kernel
def shifted(out: Pointer[float32], x: Pointer[float32], by: int, n: int) -> None:
    """out[i] = x[i + by]."""
    for i in range(n):
        out[i] = (x + by)[i]


@pytest.mark.parametrize("by", [-1, 1])
def test_an_access_outside_of_an_array_is_an_error(by: int) -> None:
    x, out = np.zeros(4, np.float32), np.zeros(4, np.float32)
    run(shifted(), out, x, 0, 4)
    with pytest.raises(KernelError, match=r"of 4 float32 in the memory of a pointer\n  in .*: out"):
        run(shifted(), out, x, by, 4)


@kernel
def unwritten(out: Pointer[float32]) -> None:
    """What an array holds before anything is written."""
    out[0] = shared(float32, SIZE)[0] + local(float32, SIZE)[0]


def test_arrays_are_not_zero_at_first() -> None:
    out = np.zeros(1, np.float32)
    run(unwritten(), out)
    assert np.isnan(out[0])


@kernel
def wraps(out: Pointer[int64], x: Pointer[int64], top: float) -> None:
    """Integers wrap, and a float parameter is a float64."""
    out[0] = x[0] * x[0] + x[0]
    out[1] = int64(top == inf)
    out[2] = x[0] // 0


def test_integers_wrap_and_nothing_raises() -> None:
    out, x = np.zeros(3, np.int64), np.array([3_037_000_500], np.int64)
    run(wraps(), out, x, np.inf)
    with np.errstate(all="ignore"):
        expected: Any = x * x + x
    assert out.tolist() == [expected[0], 1, 0]
