"""Runs printed kernels on NumPy arrays through C++."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from numbatorch.language.kernel import KernelSpec
from numbatorch.metal.printer import print_kernel
from tests.metal.device import CppRuntime, Function, block_signature, compile_sources

Array = np.ndarray[Any, Any]


def run(
    spec: KernelSpec,
    *arguments: Any,
    groups: int = 2,
    threads: int = 4,
    epilogue: KernelSpec | None = None,
    seed: int = 1,
) -> None:
    """One launch; arrays are changed in place.

    Args:
        arguments: of the kernel, those of the epilogue in the place of `finish`.
        seed: of the order in which threads run.
    """
    (function,) = compiled([(spec, epilogue)])
    launch(function, arguments, groups, threads, seed)


def compiled(kernels: Sequence[tuple[KernelSpec, KernelSpec | None]]) -> list[Function]:
    """Functions of kernels with their epilogues, compiled together."""
    sources = [print_kernel(*pair) for pair in kernels]
    functions: list[Function] = compile_sources(sources, [block_signature(*p) for p in kernels])
    return functions


def launch(
    function: Function, arguments: Sequence[Any], groups: int = 2, threads: int = 4, seed: int = 1
) -> None:
    """Run a compiled kernel on a grid."""
    runtime = CppRuntime(seed)
    words = np.zeros(max(len(arguments), 1), np.int64)
    owners = []
    arrays: list[Array] = []
    assert len(arguments) == len(function.signature)
    for i, (kind, value) in enumerate(zip(function.signature, arguments, strict=True)):
        if kind == "pointer":
            owner = runtime.allocate(value.nbytes)
            runtime.upload(owner, np.ascontiguousarray(value).reshape(-1).view(np.uint8))
            owners.append(owner)
            arrays.append(value)
            words[i] = owner.address
        elif kind == "float":
            words[i : i + 1].view(np.float32)[0] = value
        else:
            words[i] = value
    step = SimpleNamespace(function=function, groups=groups, threads=threads, block=0, name="test")
    runtime.recording([step]).run(words, owners)
    for owner, array in zip(owners, arrays, strict=True):
        array[...] = runtime.download(owner, array.nbytes).view(array.dtype).reshape(array.shape)
