"""The processor that kernels are compiled for: triple, CPU, features. llvmlite only, no Numba."""

import sys
from functools import cache
from typing import NamedTuple

from numbatorch import settings
from numbatorch.language import caches, targets

NEWER_512 = "avx512vbmi"  # what processors have that do not slow down for vectors of 512 bits


class CPU(NamedTuple):
    """A machine that object code is made for.

    Attributes:
        triple: LLVM's name of architecture, system and object format.
        name: LLVM's name of the processor.
        features: LLVM's feature list, `+avx2,-avx512f`.
        vendor: what CPUID calls the maker of one for x86-64, if that is known.
        named: features that NUMBATORCH_CPU asks for.
    """

    triple: str
    name: str
    features: str
    vendor: str = ""
    named: tuple[str, ...] = ()

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
# What is built on a feature, which LLVM has only together with it, of x86-64 and of ARM:
# https://github.com/llvm/llvm-project/blob/main/llvm/lib/Target/X86/X86.td
# https://github.com/llvm/llvm-project/blob/main/llvm/lib/Target/AArch64/AArch64Features.td
X86 = {
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
ARM = {
    "fp-armv8": "fptoint fullfp16 jsconv neon",
    "neon": "aes bf16 complxnum dotprod faminmax fp16fml fp8 i8mm lut rdm sha2 sm4",
    "fullfp16": "fp16fml sme sve",
    "aes": "crypto sve-aes",
    "sha2": "crypto sha3",
    "sha3": "sve-sha3",
    "sm4": "sve-sm4",
    "bf16": "sme",
    "sve": "f32mm f64mm sve2",
    "sve2": "sme-fa64 sve2-aes sve2-bitperm sve2-sha3 sve2-sm4 sve2p1",
    **{f"sve-{name}": f"sve2-{name}" for name in "aes bitperm sha3 sm4".split()},
    "sve-b16b16": "sme-b16b16",
    "sme": "sme-f64f64 sme-fa64 sme-i16i64 sme2",
    "sme2": "sme-b16b16 sme-f16f16 sme-f8f16 sme-f8f32 sme-lutv2 sme2p1"
    " ssve-fp8dot2 ssve-fp8dot4 ssve-fp8fma",
    "fp8": "fp8dot2 fp8dot4 fp8fma sme-f8f16 sme-f8f32 ssve-fp8dot2 ssve-fp8dot4 ssve-fp8fma",
    "flagm": "altnzcv",
    "lse": "lse128",
    "rcpc": "rcpc-immo",
    "rcpc-immo": "rcpc3",
}
# Features of ARM by Linux's names, of which LLVM tells few:
# https://docs.kernel.org/arch/arm64/elf_hwcaps.html
LINUX_ARM = {
    "asimdhp": "fullfp16",
    "asimdrdm": "rdm",
    "asimddp": "dotprod",
    "asimdfhm": "fp16fml",
    "fcma": "complxnum",
    "jscvt": "jsconv",
    "frint": "fptoint",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "svef32mm": "f32mm",
    "svef64mm": "f64mm",
    "svebitperm": "sve-bitperm",
    "lrcpc": "rcpc",
    "ilrcpc": "rcpc-immo",
    "flagm": "flagm",
    "flagm2": "altnzcv",
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
    caches.chosen({}, settings.cpu())  # what is wrong with their sizes is told as soon
    told = _told_by_system()
    features = with_linux(features, told)
    name = llvm.get_host_cpu_name()
    vendor = vendor_in(told) or ("AuthenticAMD" if name.startswith("znver") else "")
    found = chosen(CPU(llvm.get_process_triple(), name, features, vendor), settings.cpu())
    return found if not found.has(TILES) or _may_use_tiles() else _without(found, "amx-")


def _told_by_system() -> str:
    """What the system says of the first processor, as lines of Linux's /proc/cpuinfo."""
    if sys.platform == "win32":
        import winreg

        place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
                return f"vendor_id : {winreg.QueryValueEx(key, 'VendorIdentifier')[0]}\n"
        except OSError:
            return ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return file.read(1 << 14).partition("\n\n")[0]
    except OSError:
        return ""


def _line(told: str, label: str) -> str:
    """What stands behind a label in a text such as /proc/cpuinfo; empty if it has none."""
    rows = (row.partition(":") for row in told.splitlines())
    return next((value.strip() for name, _, value in rows if name.strip() == label), "")


def vendor_in(told: str) -> str:
    """The vendor that /proc/cpuinfo names.

    >>> vendor_in("processor : 0\\nvendor_id : AuthenticAMD\\n")
    'AuthenticAMD'
    """
    return _line(told, "vendor_id")


def with_linux(features: str, told: str) -> str:
    """LLVM's feature list and those of ARM that /proc/cpuinfo names.

    >>> with_linux("+neon", "Features : fp asimd asimddp")
    '+neon,+dotprod'
    """
    known = [part for part in features.split(",") if part]
    named = [LINUX_ARM[name] for name in _line(told, "Features").split() if name in LINUX_ARM]
    return ",".join([*known, *(f"+{x}" for x in named if x not in {part[1:] for part in known})])


def chosen(native: CPU, text: str) -> CPU:
    """A part of a processor: `native`, which may be left out, or a level of x86-64, then features
    to add or leave out.

    What is built on a feature goes with it, and what one is built on comes with it.

    >>> machine = CPU("x86_64", "znver4", "+64bit,+sse2,+avx2,+fma,+avx512f")
    >>> chosen(machine, "native,-avx512f").features
    '+64bit,+sse2,+avx2,+fma,-avx512f'
    >>> chosen(machine, "x86-64-v2,+avx2")[1:3]
    ('x86-64-v2', '+64bit,+sse2,+avx2,-fma,-avx512f')

    Raises:
        ValueError: the processor lacks a feature, or there is no such one or no such level.
    """
    said = [part.strip() for part in (text or "native").split(",")]
    said = [part for part in said if "=" not in part]  # sizes of caches, for caches.py
    if not said or said[0][:1] in ("+", "-"):
        said = ["native", *said]
    name, *changes = said
    has = {feature[1:]: feature[0] == "+" for feature in native.features.split(",") if feature}
    if name != "native":
        names = ["native", *(LEVELS if native.triple.startswith("x86_64") else ())]
        if name not in names:
            raise settings.refused("CPU", f"{name!r} is none of {', '.join(names)}")
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
        _change(has, change[1:], change[0] == "+", built_on(native))
    named = tuple(change[1:] for change in changes if change[0] == "+")
    features = ",".join(f"{'+' if there else '-'}{feature}" for feature, there in has.items())
    name = native.name if name == "native" else name
    return CPU(native.triple, name, features, native.vendor, named)


def built_on(cpu: CPU) -> dict[str, str]:
    """What is built on each feature of a processor's architecture."""
    return ARM if cpu.triple.startswith(("aarch64", "arm64")) else X86


def _change(has: dict[str, bool], feature: str, there: bool, table: dict[str, str]) -> None:
    """Add a feature or leave it out, with the others that LLVM would."""
    changed = {feature} | (_below(feature, table) if there else _above(feature, table))
    has.update(dict.fromkeys(changed & has.keys(), there))


def _above(feature: str, table: dict[str, str]) -> set[str]:
    """All that is built on a feature."""
    found = set(table.get(feature, "").split())
    return found.union(*(_above(other, table) for other in found))


def _below(feature: str, table: dict[str, str]) -> set[str]:
    """All that a feature is built on."""
    return {other for other in table if feature in _above(other, table)}


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
