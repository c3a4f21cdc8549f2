"""The LLVM target that kernels are compiled for: triple, CPU, features. llvmlite only, no Numba."""

import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm


@dataclass(frozen=True)
class CPU:
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
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:
        features = ""
    return CPU(llvm.get_process_triple(), llvm.get_host_cpu_name(), features)


def machine(cpu: CPU, jit: bool = False) -> Any:
    """An LLVM target machine; for Windows it makes ELF of the large code model, as Numba does."""
    if cpu.triple.partition("-")[0] != host().triple.partition("-")[0]:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(cpu.triple)
    windows = sys.platform == "win32"
    return target.create_target_machine(
        cpu=cpu.name,
        features=cpu.features,
        opt=3,
        reloc="static" if windows else "pic",
        codemodel="jitdefault" if windows else "default",
        jit=jit,
    )
