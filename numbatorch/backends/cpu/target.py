"""LLVM target machines for a processor. llvmlite only, no Numba."""

import sys
from typing import Any

import llvmlite.binding as llvm

from numbatorch.language.processor import CPU, host


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
