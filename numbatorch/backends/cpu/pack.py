"""Compiled kernels: addresses of specs, compiled when missing."""

from collections.abc import Iterable
from typing import Any

from numbatorch.backends.cpu.kernel import KernelSpec

_known: dict[str, int] = {}
_keep: list[Any] = []


def addresses(specs: Iterable[KernelSpec]) -> dict[str, int]:
    """The function address of each kernel, by key."""
    import llvmlite.binding as llvm

    from numbatorch.backends.cpu import target

    wanted = {spec.key: spec for spec in specs}
    missing = [spec for key, spec in wanted.items() if key not in _known]
    if missing:
        from numbatorch.backends.cpu import compiler

        cpu = target.host()
        if not _keep:
            _keep.append(llvm.create_lljit_compiler(target.machine(cpu, jit=True)))
        builder = llvm.JITLibraryBuilder().add_current_process()
        for spec in missing:
            builder.add_object_img(compiler.compile_object(spec, cpu)).export_symbol(spec.symbol)
        library = builder.link(_keep[0], f"kernels{len(_keep)}")
        _keep.append(library)
        for spec in missing:
            _known[spec.key] = library[spec.symbol]
    return {key: _known[key] for key in wanted}
