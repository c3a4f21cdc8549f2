"""The processor that kernels are compiled for: triple, CPU, features. llvmlite only, no Numba."""

import sys
from functools import cache
from typing import NamedTuple

from numbatorch import settings
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


# What the levels of x86-64 have beside each other, by LLVM's names:
# https://gitlab.com/x86-psABIs/x86-64-ABI/-/blob/master/x86-64-ABI/low-level-sys-info.tex
LEVELS = {
    "x86-64": "64bit cmov cx8 fxsr mmx sse sse2",
    "x86-64-v2": "cx16 sahf popcnt sse3 sse4.1 sse4.2 ssse3",
    "x86-64-v3": "avx avx2 bmi bmi2 f16c fma lzcnt movbe xsave",
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}
# What is built on a feature, which LLVM has only together with it:
# https://github.com/llvm/llvm-project/blob/main/llvm/lib/Target/X86/X86.td
BUILT_ON = {
    "xsave": "xsavec xsaveopt xsaves",
    "sse3": "ssse3 sse4a",
    "ssse3": "sse4.1",
    "sse4.1": "sse4.2",
    "sse4.2": "avx",
    "sse4a": "fma4",
    "aes": "vaes",
    "pclmul": "vpclmulqdq",
    "kl": "widekl",
    "avx": "avx2 f16c fma fma4 sm3 vpclmulqdq",
    "fma4": "xop",
    "f16c": "avx512f",
    "fma": "avx512f",
    "avx2": "avx512f avxifma avxneconvert avxvnni avxvnniint16 avxvnniint8 sha512 sm4 vaes",
    "avx512f": "avx512bw avx512cd avx512dq avx512ifma avx512vl avx512vnni avx512vp2intersect"
    " avx512vpopcntdq",
    "avx512bw": "avx512bf16 avx512bitalg avx512fp16 avx512vbmi avx512vbmi2",
    **{
        f"avx512{name}": "avx10.1"
        for name in "bf16 bitalg cd dq fp16 ifma vbmi vbmi2 vl vnni vpopcntdq".split()
    },
    "avx10.1": "avx10.2",
    "amx-tile": "amx-avx512 amx-bf16 amx-complex amx-fp16 amx-fp8 amx-int8 amx-movrs amx-tf32",
}
TILES = "amx-tile"
TILE_PERMISSION = (158, 0x1023, 18)  # arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA) on x86-64


@cache
def host() -> CPU:
    """The processor this process runs on, or as much of it as NUMBATORCH_CPU leaves."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:
        features = ""
    found = chosen(
        CPU(llvm.get_process_triple(), llvm.get_host_cpu_name(), features), settings.cpu()
    )
    return found if not found.has(TILES) or _may_use_tiles() else _without(found, "amx-")


def chosen(native: CPU, text: str) -> CPU:
    """A part of a processor: `native` or a level of x86-64, then features to add or leave out.

    What is built on a feature goes with it, and what one is built on comes with it.

    >>> machine = CPU("x86_64", "znver4", "+64bit,+sse2,+avx2,+fma,+avx512f")
    >>> chosen(machine, "native,-avx512f").features
    '+64bit,+sse2,+avx2,+fma,-avx512f'
    >>> chosen(machine, "x86-64-v2,+avx2")
    CPU(triple='x86_64', name='x86-64-v2', features='+64bit,+sse2,+avx2,-fma,-avx512f')

    Raises:
        ValueError: the processor lacks a feature, or there is no such one or no such level.
    """
    name, *changes = [part.strip() for part in (text or "native").split(",")]
    has = {feature[1:]: feature[0] == "+" for feature in native.features.split(",") if feature}
    if name != "native":
        if name not in LEVELS or not native.triple.startswith("x86_64"):
            raise settings.refused("CPU", f"{name!r} is not native or a level of {native.name}")
        levels = list(LEVELS)[: list(LEVELS).index(name) + 1]
        kept = {feature for level in levels for feature in LEVELS[level].split()}
        has = {feature: there and feature in kept for feature, there in has.items()}
    known = {feature[1:] for feature in native.features.split(",") if feature.startswith("+")}
    for change in changes:
        if change[:1] not in ("+", "-"):
            raise settings.refused("CPU", f"{change!r} does not begin with + or -")
        if change[0] == "+" and change[1:] not in known:
            raise settings.refused("CPU", f"{native.name} has no {change[1:]}")
        if change[1:] not in has:
            raise settings.refused("CPU", f"there is no {change[1:]} to leave out")
        _change(has, change[1:], change[0] == "+")
    features = ",".join(f"{'+' if there else '-'}{feature}" for feature, there in has.items())
    return CPU(native.triple, native.name if name == "native" else name, features)


def _change(has: dict[str, bool], feature: str, there: bool) -> None:
    """Add a feature or leave it out, with the others that LLVM would."""
    changed = {feature} | (_below(feature) if there else _above(feature))
    has.update(dict.fromkeys(changed & has.keys(), there))


def _above(feature: str) -> set[str]:
    """All that is built on a feature."""
    found = set(BUILT_ON.get(feature, "").split())
    return found.union(*map(_above, found))


def _below(feature: str) -> set[str]:
    """All that a feature is built on."""
    return {other for other in BUILT_ON if feature in _above(other)}


def _without(cpu: CPU, prefix: str) -> CPU:
    """A processor without the features whose names begin with `prefix`."""
    parts = cpu.features.split(",")
    features = ",".join(f"-{x[1:]}" if x[1:].startswith(prefix) else x for x in parts)
    return cpu._replace(features=features)


def _may_use_tiles() -> bool:
    """Ask Linux for the tile registers, for all threads of the process: Xeons have to."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    return not ctypes.CDLL(None, use_errno=True).syscall(*TILE_PERMISSION)


def current_cpu() -> CPU:
    """The processor that is compiled for, this one unless a kernel is lowered for another."""
    found: CPU | None = getattr(targets.active(), "cpu", None)
    return host() if found is None else found
