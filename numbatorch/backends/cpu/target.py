"""LLVM target machines for a processor. llvmlite only, no Numba."""

import sys
from typing import Any

import llvmlite.binding as llvm

from numbatorch.language.processor import CPU, NEWER_512, host


def machine(cpu: CPU, jit: bool = False, wide: bool = False) -> Any:
    """An LLVM target machine; for Windows it makes ELF of the large code model, as Numba does.

    Args:
        wide: make loops into vectors of 512 bits, where LLVM would keep to 256 by itself.
    """
    if cpu.triple.partition("-")[0] != host().triple.partition("-")[0]:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(cpu.triple)
    windows = sys.platform == "win32"
    return target.create_target_machine(
        cpu=cpu.name,
        features=f"{cpu.features},-prefer-256-bit" if wide and cpu.has(NEWER_512) else cpu.features,
        opt=3,
        reloc="static" if windows else "pic",
        codemodel="jitdefault" if windows else "default",
        jit=jit,
    )
