"""Runs a few lines of MSL on arrays: what the tests of the header are written with."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.metal.device import CppRuntime, compile_sources

Array = np.ndarray[Any, Any]

_NAMES = """float32 float  float16 half  bfloat16 bfloat  bool bool
    int8 char  int16 short  int32 int  int64 long
    uint8 uchar  uint16 ushort  uint32 uint  uint64 ulong"""
TYPES = dict(zip(_NAMES.split()[::2], _NAMES.split()[1::2], strict=True))  # of NumPy, and Metal's
HEAD = """#include <metal_stdlib>
using namespace metal;
struct Arguments {{ {fields} }};
{functions}
kernel void run(constant Arguments& args [[buffer(0)]],
    threadgroup uchar* shared [[threadgroup(0)]],
    uint thread_index [[thread_position_in_threadgroup]],
    uint group_index [[threadgroup_position_in_grid]],
    uint thread_count [[threads_per_threadgroup]],
    uint group_count [[threadgroups_per_grid]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {{
  {unpack}
  long i = group_index * thread_count + thread_index;
"""


def source(body: str, arrays: dict[str, Array], functions: str = "", shared: int = 0) -> Any:
    """A kernel with a pointer for each array."""
    fields = [f"device {TYPES[x.dtype.name]}* {name};" for name, x in arrays.items()]
    unpack = [f"auto {name} = args.{name};" for name in arrays]
    head = HEAD.format(fields=" ".join(fields), functions=functions, unpack="\n  ".join(unpack))
    return SimpleNamespace(text=f"{head}{body}\n}}\n", symbol="run", shared_bytes=shared)


def run(
    body: str,
    *,
    groups: int = 1,
    threads: int = 1,
    shared: int = 0,
    seed: int = 0,
    functions: str = "",
    **arrays: Array,
) -> dict[str, Array]:
    """The arrays after `body` has run in each thread; `i` numbers the threads of the grid."""
    runtime = CppRuntime(seed)
    signature = ("pointer",) * len(arrays)
    text = source(body, arrays, functions, shared)
    (function,) = compile_sources([text], [signature])
    owners = []
    for array in arrays.values():
        owner = runtime.allocate(array.nbytes)
        runtime.upload(owner, np.ascontiguousarray(array).view(np.uint8).reshape(-1))
        owners.append(owner)
    words = np.array([owner.address for owner in owners], np.int64)
    step = SimpleNamespace(function=function, groups=groups, threads=threads, block=0, name="run")
    runtime.recording([step]).run(words, owners)
    return {
        name: runtime.download(owner, x.nbytes).view(x.dtype).reshape(x.shape)
        for owner, (name, x) in zip(owners, arrays.items(), strict=True)
    }
