"""Run one kernel in numba-cuda's simulator on NumPy arrays, as tests/run_kernel.py does on the CPU.

The process must have NUMBA_ENABLE_CUDASIM=1 in its environment before numba is imported:

    NUMBA_ENABLE_CUDASIM=1 python -c "
    import numpy as np
    from numbatorch.ops.portable.index import take_rows
    from tests.cuda.run import run
    x, index = np.arange(6, dtype=np.uint32).reshape(3, 2), np.array([2, 0])
    out, status = np.zeros((2, 2), np.uint32), np.zeros(2, np.int64)
    run(take_rows(T='uint32'), out, x, index, status, 2, 2, 3, groups=2)
    print(out)"

An index outside of an array raises KernelError, and so does a barrier that only some threads reach.
Each thread of the grid is a Python thread: keep shapes tiny, 4 to 32 threads, few groups.
"""

from contextlib import ExitStack
from typing import Any

import numpy as np

from numbatorch.language.kernel import KernelSpec

Array = np.ndarray[Any, Any]


def run(
    spec: KernelSpec,
    *arguments: Any,
    groups: int = 1,
    threads: int = 1,
    epilogue: tuple[KernelSpec, tuple[Any, ...]] | None = None,
) -> None:
    """Run a kernel of `part, parts` (any grid is right) or of groups.

    Args:
        spec: the kernel, with its types bound.
        arguments: for each parameter an array, an int or a float; none for `finish`.
        epilogue: a kernel of `batch, row0, row1, col0, col1` and its arguments.
    """
    from numbatorch.backends.cuda import simulated

    words = simulated.words_of(spec, epilogue and epilogue[0])
    values = list(arguments)
    if "epilogue" in spec.signature:
        at = spec.signature.index("epilogue")
        values[at:at] = epilogue[1] if epilogue else ()
    assert len(values) == len(words), (spec, words, len(values))
    block = np.zeros(max(len(words), 1), np.int64)
    with ExitStack() as stack:
        arrays = [block, *(value for value in values if isinstance(value, np.ndarray))]
        assert all(array.flags.c_contiguous for array in arrays)
        for address, nbytes in {a.ctypes.data: a.nbytes for a in arrays if a.nbytes}.items():
            simulated.register(address, nbytes)
            stack.callback(simulated.unregister, address)
        for i, (word, value) in enumerate(zip(words, values, strict=True)):
            if word == "float":
                block[i : i + 1].view(np.float64)[0] = value
            else:
                block[i] = value.ctypes.data if isinstance(value, np.ndarray) else value
        simulated.run(spec, epilogue and epilogue[0], groups, threads, block.ctypes.data)
