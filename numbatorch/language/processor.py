"""The processor that kernels are compiled for: triple, CPU, features. llvmlite only, no Numba."""

from functools import cache
from typing import NamedTuple

from numbatorch.language import targets

NEWER_512 = "avx512vbmi"  # what processors have that do not slow down for vectors of 512 bits


class CPU(NamedTuple):
    """A machine that object code is made for.

    Attributes:
        triple: LLVM's name of architecture, system and object format.
        name: LLVM's name of the processor.
        features: LLVM's feature list, `+avx2,-avx512f`.
    """

    triple: str
    name: str
    features: str

    def has(self, feature: str) -> bool:
        """Whether the processor has an instruction set extension, by LLVM's name."""
        return f"+{feature}" in self.features.split(",")


@cache
def host() -> CPU:
    """The processor this process runs on."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:
        features = ""
    return CPU(llvm.get_process_triple(), llvm.get_host_cpu_name(), features)


def current_cpu() -> CPU:
    """The processor that is compiled for, this one unless a kernel is lowered for another."""
    found: CPU | None = getattr(targets.active(), "cpu", None)
    return host() if found is None else found
