"""Barriers, simdgroups, atomics and errors of kernels that run as C++, against NumPy."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from numbatorch.errors import KernelError
from tests.metal.device import AVAILABLE, CppRuntime, compile_sources
from tests.metal.text import run, source

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="there is no C++ compiler, or no Linux")

Array = np.ndarray[Any, Any]

SEEDS = (0, 1, 2)


def ints(*shape: int) -> Array:
    return np.zeros(shape, np.int32)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_thread_of_the_grid_runs_once(seed: int) -> None:
    body = """
      count[i] += 1;
      place[i] = int(thread_index + 1000 * group_index);
      size[i] = int(thread_count + 1000 * group_count);
      lanes[i] = int(lane + 1000 * simdgroup);
    """
    outs = {name: ints(7 * 48) for name in ("count", "place", "size", "lanes")}
    found = run(body, groups=7, threads=48, seed=seed, **outs)
    group, thread = np.divmod(np.arange(7 * 48), 48)
    assert (found["count"] == 1).all()
    np.testing.assert_array_equal(found["place"], thread + 1000 * group)
    np.testing.assert_array_equal(found["size"], np.full(7 * 48, 7048))
    np.testing.assert_array_equal(found["lanes"], thread % 32 + 1000 * (thread // 32))


SCAN = """
  threadgroup float* values = (threadgroup float*)shared;
  values[thread_index] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint step = 1; step < thread_count; step *= 2) {
    float other = thread_index >= step ? values[thread_index - step] : 0.0;
    BARRIER
    values[thread_index] += other;
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  out[i] = values[thread_index];
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_threads_meet_at_barriers(seed: int) -> None:
    x = np.arange(5 * 128, dtype=np.float32) % 17
    body = SCAN.replace("BARRIER", "threadgroup_barrier(mem_flags::mem_threadgroup);")
    out = run(body, groups=5, threads=128, shared=512, seed=seed, x=x, out=np.empty_like(x))["out"]
    np.testing.assert_array_equal(out.reshape(5, 128), x.reshape(5, 128).cumsum(1))


def test_a_missing_barrier_shows_in_another_order_of_threads() -> None:
    x = np.arange(128, dtype=np.float32) % 17
    body = SCAN.replace("BARRIER", "")
    found = [
        run(body, threads=128, shared=512, seed=seed, x=x, out=np.empty_like(x))["out"]
        for seed in SEEDS
    ]
    assert any((out != found[0]).any() for out in found)


def test_barriers_in_functions_and_in_uneven_code() -> None:
    functions = """
      float total(threadgroup float* values, uint thread_index, uint thread_count, float value) {
        values[thread_index] = value;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint half_way = thread_count / 2; half_way > 0; half_way /= 2) {
          if (thread_index < half_way) values[thread_index] += values[thread_index + half_way];
          threadgroup_barrier(mem_flags::mem_threadgroup);
        }
        float result = values[0];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        return result;
      }
    """
    body = """
      float sum = 0;
      for (uint n = thread_index; n < 100 + group_index; n += thread_count) sum += x[n];
      sum = total((threadgroup float*)shared, thread_index, thread_count, sum);
      float again = total((threadgroup float*)shared, thread_index, thread_count, sum);
      if (thread_index % 3 == 0) out[i] = again;
    """
    x = np.arange(200, dtype=np.float32)
    out = np.zeros(4 * 64, np.float32)
    found = run(body, functions=functions, groups=4, threads=64, shared=256, seed=3, x=x, out=out)[
        "out"
    ]
    for group in range(4):
        expected = np.where(np.arange(64) % 3 == 0, 64 * x[: 100 + group].sum(), 0)
        np.testing.assert_array_equal(found[group * 64 : group * 64 + 64], expected)


SIMD = {
    "simd_sum(v)": lambda v: np.full_like(v, v.sum()),
    "simd_product(v)": lambda v: np.full_like(v, v.prod()),
    "simd_max(v)": lambda v: np.full_like(v, v.max()),
    "simd_min(v)": lambda v: np.full_like(v, v.min()),
    "simd_and(v)": lambda v: np.full_like(v, np.bitwise_and.reduce(v)),
    "simd_or(v)": lambda v: np.full_like(v, np.bitwise_or.reduce(v)),
    "simd_xor(v)": lambda v: np.full_like(v, np.bitwise_xor.reduce(v)),
    "simd_broadcast(v, 5)": lambda v: np.full_like(v, v[5]),
    "simd_broadcast_first(v)": lambda v: np.full_like(v, v[0]),
    "simd_shuffle(v, 15 - lane % 16)": lambda v: v[15 - np.arange(v.size) % 16],
    "simd_shuffle_xor(v, 8)": lambda v: v[np.arange(v.size) ^ 8],
    "simd_shuffle_down(v, 3)": lambda v: np.concatenate([v[3:], v[-3:]]),
    "simd_shuffle_up(v, 3)": lambda v: np.concatenate([v[:3], v[:-3]]),
    "simd_prefix_inclusive_sum(v)": np.cumsum,
    "simd_prefix_exclusive_sum(v)": lambda v: np.cumsum(v) - v,
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("threads", [32, 80])  # the last simdgroup has 16 threads
def test_functions_of_simdgroups(threads: int, seed: int) -> None:
    x = np.random.default_rng(0).integers(-9, 10, threads).astype(np.int32)
    body = "\n".join(f"out[{n * threads} + i] = {call};" for n, call in enumerate(SIMD))
    found = run(
        "int v = x[i];" + body, threads=threads, seed=seed, x=x, out=ints(len(SIMD), threads)
    )
    for row, (call, reference) in zip(found["out"], SIMD.items(), strict=True):
        for start in range(0, threads, 32):
            part = x[start : start + 32]
            np.testing.assert_array_equal(row[start : start + 32], reference(part), call)


def test_functions_of_simdgroups_on_other_types() -> None:
    x = np.arange(32, dtype=np.float16)
    body = """
      out[i] = simd_sum(x[i]);
      wide[i] = simd_shuffle_xor(float2(x[i], 1.0f), 1).x + simd_max(float(x[i]));
      ends[i] = simd_any(lane == 31) && !simd_all(lane == 31);
    """
    outs = {"out": x.copy(), "wide": np.empty(32, np.float32), "ends": np.zeros(32, bool)}
    found = run(body, threads=32, x=x, **outs)
    np.testing.assert_array_equal(found["out"], np.full(32, 496))
    np.testing.assert_array_equal(found["wide"], x[np.arange(32) ^ 1] + np.float32(31))
    assert found["ends"].all()


def test_simdgroups_of_a_group_go_different_ways() -> None:
    body = """
      float v = x[i];
      for (uint n = 0; n <= simdgroup; n++) v = simd_sum(v) / 32;
      simdgroup_barrier(mem_flags::mem_none);
      if (simdgroup == 1) v = simd_max(v) + simd_shuffle(v, 0);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      out[i] = v;
    """
    x = np.arange(96, dtype=np.float32)
    out = run(body, threads=96, x=x, out=np.empty_like(x))["out"]
    means = x.reshape(3, 32).mean(1)
    np.testing.assert_array_equal(out.reshape(3, 32)[:, 0], means * [1, 2, 1])


def test_atomics() -> None:
    body = """
      device atomic_float* sum = (device atomic_float*)total;
      atomic_fetch_add_explicit(sum, x[i], memory_order_relaxed);
      device atomic_int* bins = (device atomic_int*)count;
      atomic_fetch_add_explicit(bins + (i % 5), 1, memory_order_relaxed);
      atomic_fetch_max_explicit((device atomic_uint*)largest, uint(i), memory_order_relaxed);
      int ticket = atomic_fetch_sub_explicit(bins + 5, 1, memory_order_relaxed);
      order[i] = ticket;
      float expected = atomic_load_explicit(sum + 1, memory_order_relaxed);
      while (!atomic_compare_exchange_weak_explicit(sum + 1, &expected, expected + 2 * x[i],
                                                    memory_order_relaxed, memory_order_relaxed)) {}
    """
    x = np.arange(320, dtype=np.float32)
    outs = {"total": np.zeros(2, np.float32), "count": ints(6)}
    outs |= {"largest": np.zeros(1, np.uint32), "order": ints(320)}
    found = run(body, groups=5, threads=64, seed=1, x=x, **outs)
    np.testing.assert_array_equal(found["total"], [x.sum(), 2 * x.sum()])
    np.testing.assert_array_equal(found["count"], [64] * 5 + [-320])
    assert found["largest"][0] == 319
    np.testing.assert_array_equal(np.sort(found["order"]), np.arange(-319, 1))


ERRORS = {
    "group 0: thread 63 waits at threadgroup_barrier in line 1., but thread 0 has returned": """
      if (thread_index == 0) return;
      threadgroup_barrier(mem_flags::mem_threadgroup);
    """,
    "thread 0 waits at threadgroup_barrier in line .., but thread 7 waits at": """
      if (thread_index < 7) threadgroup_barrier(mem_flags::mem_threadgroup);
      else
        threadgroup_barrier(mem_flags::mem_threadgroup);
    """,
    "thread 63 waits at threadgroup_barrier in line 1., but thread 0 waits at simd_sum": """
      if (simdgroup == 0) x[i] = simd_sum(x[i]);
      if (lane < 9) x[i] = simd_sum(x[i]);
      threadgroup_barrier(mem_flags::mem_threadgroup);
    """,
    "thread 0 waits at simd_max in line 1., but thread 8 waits at simd_min": """
      x[i] = lane < 8 ? simd_max(x[i]) : simd_min(x[i]);
    """,
    "simd_shuffle reads a thread that the simdgroup does not have": "simd_shuffle(x[i], 32);",
    "group 0: wrote byte 16 of 16 bytes of threadgroup memory": "shared[16] = 1;",
    "group 0: thread 3 follows the address 0x8.*, where no memory is": """
      if (thread_index == 3) x[0] = *(device float*)(x[0] == 0.0 ? 0x80000000ul : 0ul);
    """,
    "thread 0 divides an integer by zero": "x[0] = thread_count / uint(x[0]);",
    "thread 0 adds integers whose sum overflows in line 15": "x[0] = int(x[0] + 9.0) + 2147483647;",
    "subtracts integers whose difference": "x[0] = long(x[0] - 2.0) - 9223372036854775807l;",
    "multiplies integers whose product": "x[0] = int(x[0] + 65536.0) * 65536;",
    "negates an integer without": "x[0] = -int(x[0] - 2147483648.0);",
    "shifts by too many bits": "x[0] = 1u << int(x[0] + 32.0);",
    "thread 0 converts a float to an integer type .* line 15": "x[0] = int(x[0] + 2147483648.0);",
    "converts a float": "x[0] = long(x[0] / x[0]);",
    "indexes beyond an array": "float y[4]; y[int(x[0])] = 1; x[1] = y[int(x[0] + 4.0)];",
    "null or not aligned for its type in line 15": "x[0] = *(device int*)((device uchar*)x + 2);",
    "follows the address": "x[4096] = 1;",
}


@pytest.mark.parametrize("problem", ERRORS)
def test_mistakes_are_errors(problem: str) -> None:
    x = np.zeros(64, np.float32)
    with pytest.raises(KernelError, match=problem) as error:
        run(ERRORS[problem], threads=64, shared=16, x=x)
    assert str(error.value).startswith("run: group 0: ")
    assert str(error.value).endswith(".metal")
    out = run("x[i] = simd_sum(1.0f);", threads=64, x=x)["x"]
    np.testing.assert_array_equal(out, np.full(64, 32), "the runner works after an error")


def test_a_stack_without_end_is_an_error() -> None:
    functions = "float deep(float n) { volatile float a[4096]; a[int(n)] = n; "
    functions += "return n > 1e9 ? a[3] : deep(n + 1) + a[int(n)]; }"
    with pytest.raises(KernelError, match="follows the address"):
        run("x[i] = deep(x[i]);", functions=functions, x=np.zeros(1, np.float32))


def test_writing_beside_memory_is_an_error() -> None:
    x = np.zeros(5, np.float32)  # 20 bytes, then 44 to the next multiple of 64, then a page
    for body, problem in (
        ("x[7] = 1;", "9 after its end"),
        ("x[-1] = 1;", "4 before its start"),
    ):
        with pytest.raises(KernelError, match=f"run: wrote beside its memory\n.*{problem}"):
            run(body, x=x)


def test_launches_may_touch_named_memory_only() -> None:
    runtime = CppRuntime()
    x = np.zeros(4, np.float32)
    (function,) = compile_sources([source("x[i] = 1;", {"x": x})], [("pointer",)])
    memory, other = runtime.allocate(16), runtime.allocate(16)
    step = SimpleNamespace(function=function, groups=1, threads=4, block=8, name="fill")
    recording = runtime.recording([step])
    words = np.array([0, memory.address], np.int64)
    recording.run(words, [other, memory])
    np.testing.assert_array_equal(runtime.download(memory, 16).view(np.float32), np.ones(4))
    with pytest.raises(KernelError, match=r"fill: argument 0: 0x.* is in no memory of the launch"):
        recording.run(words, [other])
    runtime.check()


def test_memory_starts_as_nan_and_is_limited() -> None:
    runtime = CppRuntime(limit=1 << 20)
    memory = runtime.allocate(1 << 19)
    assert memory.address % 64 == 0
    assert np.isnan(runtime.download(memory, 1 << 19).view(np.float32)).all()
    assert np.isnan(runtime.download(memory, 64).view(np.float16)).all()
    with pytest.raises(MemoryError, match="metal: out of memory"):
        runtime.allocate((1 << 19) + 1)
    runtime.clear(memory, 1 << 18)
    copy = runtime.allocate(1 << 19)
    runtime.copy(copy, memory, 1 << 19)
    assert np.count_nonzero(runtime.download(copy, 1 << 19)) == 1 << 18
    del memory
    runtime.allocate(1 << 19)
