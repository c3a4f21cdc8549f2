"""Run one kernel of groups on a GPU: a real one, CUDA's simulator, or Metal as C++."""

from typing import Any

import numpy as np

from numbatorch.backends.arguments import float32_word, float64_word
from numbatorch.backends.base import backend
from numbatorch.backends.gpu import GPUBackend, Step
from numbatorch.device import device
from numbatorch.language.kernel import KernelSpec

Array = np.ndarray[Any, Any]
EpilogueCall = tuple[KernelSpec, tuple[Any, ...]]


def run_groups(
    name: str,
    spec: KernelSpec,
    *arguments: Any,
    groups: int,
    threads: int,
    epilogue: EpilogueCall | None = None,
) -> None:
    """One launch; arrays are copied to the device and back.

    Args:
        name: of the device.
        spec: the kernel, with its types bound.
        arguments: an array, an int or a float for each parameter, and None for `finish`.
        epilogue: a kernel of a tile, and its arguments; arrays may be those of the kernel.
    """
    found = backend(device(name))
    assert isinstance(found, GPUBackend)
    runtime = found.runtime
    kinds, values = list(spec.signature), list(arguments)
    if "epilogue" in kinds:
        at = kinds.index("epilogue")
        kinds[at : at + 1] = epilogue[0].signature if epilogue else ()
        values[at : at + 1] = epilogue[1] if epilogue else ()
    assert len(kinds) == len(values), (spec, kinds, len(values))
    arrays = {id(value): value for value in values if isinstance(value, np.ndarray)}
    owners = {key: runtime.allocate(max(array.nbytes, 1)) for key, array in arrays.items()}
    for key, array in arrays.items():
        assert array.flags.c_contiguous
        if array.nbytes:
            runtime.upload(owners[key], array.reshape(-1).view(np.uint8))
    float_word = float64_word if runtime.kind == "cuda" else float32_word
    words = np.zeros(max(len(kinds), 1), np.int64)
    for i, (kind, value) in enumerate(zip(kinds, values, strict=True)):
        if kind == "pointer":
            words[i] = owners[id(value)].address
        else:
            words[i] = float_word(value) if kind == "float" else value
    (function,) = runtime.load([(spec, epilogue[0] if epilogue else None)])
    step = Step(function, groups, threads, 0, spec.name)
    runtime.recording([step]).run(words, list(owners.values()))
    for key, array in arrays.items():
        if array.nbytes:
            array.reshape(-1).view(np.uint8)[:] = runtime.download(owners[key], array.nbytes)
