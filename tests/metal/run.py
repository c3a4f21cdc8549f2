"""Runs printed kernels on NumPy arrays through C++."""

import ctypes
import hashlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from numbatorch.language.kernel import KernelSpec
from numbatorch.metal.printer import print_kernel
from tests.metal.device import CppRuntime, Function, block_signature, compile_sources

Array = np.ndarray[Any, Any]

HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"
TOGETHER = 64  # kernels that are compiled as one file, which takes less time than each by itself


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
    printed = [print_kernel(*pair) for pair in kernels]
    files = []
    for start in range(0, len(printed), TOGETHER):
        some = printed[start : start + TOGETHER]
        names = hashlib.sha256("".join(source.symbol for source in some).encode())
        symbol = f"all_{names.hexdigest()}"
        parts = [HEAD, f'extern "C" void {symbol}() {{}}\n']
        for i, source in enumerate(some):
            assert HEAD in source.text
            parts.append(f"namespace kernel{i} {{\n{source.text.replace(HEAD, '')}}}\n")
        files.append(SimpleNamespace(text="".join(parts), symbol=symbol, shared_bytes=0))
    libraries = [function for function in compile_sources(files) for _ in range(TOGETHER)]
    functions = []
    for library, source, pair in zip(libraries, printed, kernels, strict=False):
        entry = ctypes.cast(getattr(library.library, source.symbol), ctypes.c_void_p).value
        assert entry is not None
        words = block_signature(*pair)
        functions.append(Function(entry, source.shared_bytes, words, library.path, library.library))
    return functions


def launch(
    function: Function, arguments: Sequence[Any], groups: int = 2, threads: int = 4, seed: int = 1
) -> None:
    """Run a compiled kernel on a grid."""
    runtime = CppRuntime(seed)
    words = np.zeros(max(len(arguments), 1), np.int64)
    owners: dict[int, Any] = {}
    assert len(arguments) == len(function.signature)
    for i, (kind, value) in enumerate(zip(function.signature, arguments, strict=True)):
        if kind == "pointer":
            if id(value) not in owners:
                owner = owners[id(value)] = runtime.allocate(value.nbytes)
                runtime.upload(owner, np.ascontiguousarray(value).reshape(-1).view(np.uint8))
            words[i] = owners[id(value)].address
        elif kind == "float":
            words[i : i + 1].view(np.float32)[0] = value
        else:
            words[i] = value
    step = SimpleNamespace(function=function, groups=groups, threads=threads, block=0, name="test")
    runtime.recording([step]).run(words, list(owners.values()))
    for value in arguments:
        if isinstance(value, np.ndarray):
            found = runtime.download(owners[id(value)], value.nbytes)
            value[...] = found.view(value.dtype).reshape(value.shape)
