"""What words, conversions and operators of printed kernels compute, against NumPy and Numba."""

import itertools
from typing import Any

import numpy as np
import pytest

from numbatorch import dtype as dt
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
from numbatorch.language.kernel import EmittedKernel, Epilogue, Pointer, T, U, helper, kernel, share
from numbatorch.language.primitives import (
    copysign,
    float32,
    fma,
    fmod,
    int8,
    int32,
    int64,
    maximum,
    minimum,
    rint,
    trunc,
    uint32,
)
from numbatorch.language.words import Table
from tests.compare import assert_close
from tests.metal.device import AVAILABLE
from tests.metal.run import compiled, launch, run

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="there is no C++ compiler, or no Linux")

Array = np.ndarray[Any, Any]

NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
TYPES = tuple(d.name for d in dt.PLAIN if d is not dt.float64)
SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3e38, -7.25, np.inf, -np.inf, np.nan], np.float32
)


def assert_same(found: Array, expected: Array) -> None:
    """Equal bit by bit, but any NaN is as good as another."""
    wide = [x.astype(np.float32) if x.dtype.kind in "fV" else x for x in (found, expected)]
    np.testing.assert_array_equal(*wide)
    if found.dtype.kind == "f":
        kept = ~np.isnan(found)
        np.testing.assert_array_equal(np.signbit(found[kept]), np.signbit(expected[kept]))


@kernel(T=TYPES, U=TYPES)
def converted(out: Pointer[T], x: Pointer[U], n: int, part: int, parts: int) -> None:
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        out[i] = x[i]


def hard_floats(name: str) -> Array:
    """Every value of a narrow type, ties between neighbours, and what is next to them."""
    size = dt.by_name[name].itemsize
    codes = np.arange(256**size, dtype=np.uint16 if size == 2 else np.uint8)
    values = codes.view(dt.by_name[name].numpy).astype(np.float32)
    exact = np.unique(values[np.isfinite(values)]).astype(np.float64)
    ties = ((exact[1:] + exact[:-1]) / 2).astype(np.float32)
    beyond = np.float32([465, 464, 463.9, 61440, 61439.9, 65519, 65520, 3.4e38, np.inf, np.nan])
    above, below = np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)
    return np.concatenate([values, ties, above, below, beyond, -beyond]).astype(np.float32)


@pytest.mark.parametrize("name", NARROW)
def test_narrow_types_widen_exactly_and_round_to_nearest_even(name: str) -> None:
    kind = dt.by_name[name].numpy
    floats = hard_floats(name)
    with np.errstate(all="ignore"):
        narrow = floats.astype(kind)
    out, back = np.empty_like(narrow), np.empty_like(floats)
    run(converted(T=name, U="float32"), out, floats, floats.size)
    assert_same(out.astype(np.float32), narrow.astype(np.float32))
    run(converted(T="float32", U=name), back, narrow, narrow.size)
    assert_same(back, narrow.astype(np.float32))


def test_every_type_converts_to_every_other() -> None:
    pairs = list(itertools.product(TYPES, TYPES))
    functions = compiled([(converted(T=t, U=u), None) for t, u in pairs])
    for (target, source), function in zip(pairs, functions, strict=True):
        x = np.array([0, 1, 2, 3, 100, 1, 0, 7]).astype(dt.by_name[source].numpy)
        out = np.zeros(x.size, dt.by_name[target].numpy)
        launch(function, (out, x, x.size))
        expected = x.astype(np.float32).astype(out.dtype)
        np.testing.assert_array_equal(out, expected, err_msg=f"{source} to {target}")


@kernel
def floats(out: Pointer[float32], x: Pointer[float32], y: Pointer[float32], n: int) -> None:
    for i in range(n):
        a, b = x[i], y[i]
        row = out + i * 9
        row[0] = minimum(a, b)
        row[1] = maximum(a, b)
        row[2] = fmod(a, b)
        row[3] = copysign(a, b)
        row[4] = rint(a)
        row[5] = trunc(a)
        row[6] = fma(a, b, float32(1.0))
        row[7] = min(a, b)
        row[8] = max(a, b)


def test_words_of_floats_keep_nan_infinity_and_signs() -> None:
    x, y = (np.ascontiguousarray(v.ravel()) for v in np.meshgrid(SPECIAL, SPECIAL))
    out = np.empty((x.size, 9), np.float32)
    run(floats(), out, x, y, x.size, groups=1, threads=1)
    with np.errstate(all="ignore"):
        lower = np.where(x == y, np.where(np.signbit(x), x, y), np.minimum(x, y))
        upper = np.where(x == y, np.where(np.signbit(x), y, x), np.maximum(x, y))
        assert_same(out[:, 0], lower)
        assert_same(out[:, 1], upper)
        assert_same(out[:, 2], np.fmod(x, y))
        assert_same(out[:, 3], np.copysign(x, y))
        assert_same(out[:, 4], np.rint(x))
        assert_same(out[:, 5], np.trunc(x))
        assert_same(out[:, 6], (x.astype(float) * y.astype(float) + 1).astype(np.float32))
    python = [(min(a, b), max(a, b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert_same(out[:, 7], np.array(python, np.float32)[:, 0])
    assert_same(out[:, 8], np.array(python, np.float32)[:, 1])


def emitted(name: str, parameters: str, *statements: str) -> EmittedKernel:
    lines = [
        "from numbatorch.language.kernel import *",
        "from numbatorch.language.primitives import *",
        f"def kernel({parameters}, n: int, part: int, parts: int) -> None:",
        "    for i in range(n):",
        *(f"        {statement}" for statement in statements),
    ]
    text = "\n".join(lines)
    words = ["pointer"] * parameters.count("Pointer") + ["int"]
    return EmittedKernel(name, (text,), words, lambda: text)


def extremes(dtype: dt.DType) -> Array:
    info = np.iinfo(dtype.numpy)
    near = [info.min, info.min + 1, info.max - 1, info.max, info.max // 3]
    return np.array([*near, 0, 1, 2, 7, *([] if dtype.kind == "u" else [-1, -5])], dtype.numpy)


@pytest.mark.parametrize("sign", ["+", "-", "*", "&", "|", "^", "<<", ">>"])
def test_integers_of_every_width_wrap_around(sign: str) -> None:
    specs = [
        emitted(
            f"wraps_{d.name}",
            f'out: Pointer["{d.name}"], x: Pointer["{d.name}"], y: Pointer["{d.name}"]',
            "a = x[i]",
            "b = y[i]",
            f"out[i] = {d.name}(a {sign} b)",
        )
        for d in dt.INTEGERS
    ]
    functions = compiled([(spec, None) for spec in specs])
    for dtype, function in zip(dt.INTEGERS, functions, strict=True):
        x, y = (np.ascontiguousarray(v.ravel()) for v in np.meshgrid(*[extremes(dtype)] * 2))
        if sign in ("<<", ">>"):
            y = (np.abs(y) % (8 * dtype.itemsize)).astype(dtype.numpy)
        out = np.empty_like(x)
        launch(function, (out, x, y, x.size), groups=1, threads=1)
        with np.errstate(all="ignore"):
            expected = eval(f"x {sign} y")
        np.testing.assert_array_equal(out, expected, err_msg=dtype.name)


@pytest.mark.parametrize("dtype", dt.INTEGERS, ids=lambda d: d.name)
def test_floats_saturate_where_integers_end(dtype: dt.DType) -> None:
    from numbatorch.ops.scalar_numpy import saturate

    info = np.iinfo(dtype.numpy)
    ends = np.array([info.min, info.max], np.float32)
    near = np.concatenate([np.nextafter(ends, np.inf), ends, np.nextafter(ends, -np.inf)])
    x = np.concatenate([SPECIAL, near, ends * 2]).astype(np.float32)
    parameters = f'out: Pointer["{dtype.name}"], x: Pointer["float32"]'
    spec = emitted(f"saturates_{dtype.name}", parameters, f"out[i] = to_{dtype.name}(x[i])")
    out = np.empty(x.size, dtype.numpy)
    run(spec, out, x, x.size, groups=1, threads=1)
    np.testing.assert_array_equal(out, saturate(x, dtype))


def test_integers_have_the_types_that_numba_gives_them() -> None:
    import operator

    from numba.core import types
    from numba.core.registry import cpu_target

    from numbatorch.metal.arithmetic import whole_type

    cpu_target.typing_context.refresh()
    signs = {"+": operator.add, "//": operator.floordiv, "&": operator.and_, "<<": operator.lshift}
    for (sign, function), lhs, rhs in itertools.product(signs.items(), dt.INTEGERS, dt.INTEGERS):
        kinds = (getattr(types, lhs.name), getattr(types, rhs.name))
        found = cpu_target.typing_context.resolve_function_type(function, kinds, {})
        assert str(found.return_type) == whole_type(sign, lhs, rhs).name, (sign, lhs, rhs)


@kernel
def sums(out: Pointer[float32], x: Pointer[float32], n: int) -> None:
    total = float32(0.0)
    top = float32(-1e30)
    for i in range(thread(), n, threads()):
        total += x[group() * n + i]
        top = x[group() * n + i] if not x[group() * n + i] <= top else top
    total = group_sum(total)
    out[group() * 2 * threads() + 2 * thread()] = total
    out[group() * 2 * threads() + 2 * thread() + 1] = group_max(top)


@pytest.mark.parametrize("count", [1, 2, 16, 32, 64, 128, 1024])
def test_groups_of_any_size_sum(count: int) -> None:
    x = np.random.default_rng(count).normal(size=(3, 2000)).astype(np.float32)
    x[1, 77] = np.nan
    out = np.zeros((3, count, 2), np.float32)
    run(sums(), out, x, 2000, groups=3, threads=count)
    kept = np.where(np.isnan(x), -np.inf, x)
    assert_close(out[:, 0, 0], x.astype(float).sum(1), "reduction", dtype="float32", operator="sum")
    np.testing.assert_array_equal(out[0, :, 1], kept[0].max())
    for column in range(2):
        np.testing.assert_array_equal(out[:, :, column], out[:, :1, column].repeat(count, 1))


@kernel
def reversed_rows(out: Pointer[int32], x: Pointer[int32]) -> None:
    tile = shared(int32, 64)
    mine = local(int64, 2)
    for turn in range(2):
        place = group() * threads() + thread()
        tile[thread()] = x[place] + turn
        barrier()
        mine[turn] = tile[threads() - 1 - thread()]
        barrier()
    out[group() * threads() + thread()] = mine[0] * 100 + mine[1]


def test_threads_of_a_group_share_memory() -> None:
    x = np.arange(3 * 64, dtype=np.int32)
    out = np.zeros_like(x)
    run(reversed_rows(), out, x, groups=3, threads=64)
    turned = x.reshape(3, 64)[:, ::-1].ravel()
    np.testing.assert_array_equal(out, turned * 100 + turned + 1)


@kernel
def counted(
    real: Pointer[float32], signed: Pointer[int32], plain: Pointer[uint32], value: float
) -> None:
    counts = shared(uint32, 1)
    if thread() == 0:
        counts[0] = 0
    barrier()
    add_atomically(counts, 0, 2)
    add_atomically(real, group(), value)
    add_atomically(signed + 1, 0, -1)
    barrier()
    if thread() == 0:
        plain[group()] = counts[0]


def test_threads_add_to_one_place() -> None:
    real, signed, plain = np.zeros(3, np.float32), np.zeros(2, np.int32), np.zeros(3, np.uint32)
    run(counted(), real, signed, plain, 0.5, groups=3, threads=32)
    assert (real.tolist(), signed.tolist(), plain.tolist()) == ([16.0] * 3, [0, -96], [64] * 3)


@helper
def ends(n: int, part: int, parts: int) -> Any:
    """What `share` gives, from a helper."""
    return share(n, part, parts)


def test_kernels_call_kernels_and_functions_see_their_surroundings() -> None:
    factor = 3

    @kernel(T=TYPES)
    def scaled(out: Pointer[T], x: Pointer[T], n: int, part: int, parts: int) -> None:
        bounds = ends(n, part, parts)
        for i in range(bounds[0], bounds[1]):
            out[i] = x[i] * factor

    @kernel
    def twice(out: Pointer[int64], x: Pointer[int64], n: int, part: int, parts: int) -> None:
        scaled(out, x, n, part, parts)
        scaled(out, out, n, part, parts)

    x = np.arange(50)
    out = np.zeros_like(x)
    run(twice(), out, x, x.size, groups=3, threads=4)
    np.testing.assert_array_equal(out, x * 9)


BYTES = Table((-128, -3, 0, 127), int8)
LONG = Table((-(2**63), 2**40 + 1, -1), int64)


def test_tables_are_constants_of_their_type() -> None:
    @kernel
    def looked_up(out: Pointer[int64], x: Pointer[int64], n: int, part: int, parts: int) -> None:
        lo, hi = share(n, part, parts)
        for i in range(lo, hi):
            out[i] = LONG[x[i] % 3] + BYTES[x[i] & 3] * x[i] + BYTES[1]

    x = np.arange(50)
    out = np.zeros_like(x)
    run(looked_up(), out, x, x.size, groups=3, threads=4)
    expected = np.array(LONG)[x % 3] + np.array(BYTES)[x & 3] * x - 3
    np.testing.assert_array_equal(out, expected)


@helper
def finish_one(out: Any, at: int, finish: Any) -> None:
    """Passes the epilogue on."""
    out[at] = out[at] + 1
    finish_tile(finish, 0, 0, 1, at, at + 1)


@kernel
def passed_on(out: Pointer[float32], n: int, finish: Epilogue) -> None:
    for i in range(thread(), n, threads()):
        finish_one(out, i, finish)


def test_helpers_finish_tiles() -> None:
    text = """\
from numbatorch.language.kernel import Pointer


def kernel(
    out: Pointer["float32"],
    batch: int, row0: int, row1: int, col0: int, col1: int,
) -> None:
    for col in range(col0, col1):
        out[col] = out[col] * 10
"""
    epilogue = EmittedKernel("tenfold", (text,), ["pointer"], lambda: text)
    out = np.arange(7, dtype=np.float32)
    run(passed_on(), out, 7, out, groups=1, threads=4, epilogue=epilogue)
    np.testing.assert_array_equal(out, (np.arange(7) + 1) * 10)
    run(passed_on(), out, 7, groups=1, threads=4)
    np.testing.assert_array_equal(out, (np.arange(7) + 1) * 10 + 1)


@kernel(T=("float32", "float16"))
def product(out: Pointer[T], x: Pointer[T], M: int, N: int, finish: Epilogue) -> None:
    for row in range(group(), M, 1024):
        for col in range(thread(), N, threads()):
            out[row * N + col] = x[row] * x[col]
            finish_tile(finish, 0, row, row + 1, col, col + 1)


def test_an_epilogue_finishes_what_the_thread_has_written() -> None:
    text = """\
from numbatorch.language.kernel import Pointer


def kernel(
    out: Pointer["float16"], bias: Pointer["float32"], N: int, scale: float,
    batch: int, row0: int, row1: int, col0: int, col1: int,
) -> None:
    for row in range(row0, row1):
        for col in range(col0, col1):
            out[row * N + col] = out[row * N + col] * scale + bias[col]
"""
    words = ["pointer", "pointer", "int", "float"]
    epilogue = EmittedKernel("scaled", (text,), words, lambda: text)
    x, bias = np.arange(5, dtype=np.float16), np.arange(4, dtype=np.float32)
    out = np.zeros((5, 4), np.float16)
    arguments = (out, x, 5, 4, out, bias, 4, 0.5)
    run(product(T="float16"), *arguments, groups=5, threads=4, epilogue=epilogue)
    np.testing.assert_array_equal(out, np.outer(x, x[:4]) * 0.5 + bias)
    plain = np.zeros((5, 4), np.float16)
    run(product(T="float16"), plain, x, 5, 4, groups=5, threads=4)
    np.testing.assert_array_equal(plain, np.outer(x, x[:4]))
