"""Processors that kernels are compiled for where they need not run, with LLVM's features."""

from numbatorch.language.processor import CPU, LEVELS


def _level(name: str) -> list[str]:
    """The features of a level of x86-64, with those of the levels below it."""
    below = list(LEVELS)[: list(LEVELS).index(name) + 1]
    return [feature for level in below for feature in LEVELS[level].split()]


def _processor(name: str, level: str, more: str = "", vendor: str = "GenuineIntel") -> CPU:
    features = ",".join(f"+{feature}" for feature in (*_level(level), *more.split()))
    return CPU("x86_64-unknown-linux-gnu", name, features, vendor)


_NEWER = "avx512vbmi avx512vbmi2 avx512vnni avx512bf16 avx512bitalg avx512vpopcntdq"
PROCESSORS = {
    "x86-64-v2": _processor("x86-64-v2", "x86-64-v2"),
    "x86-64-v3": _processor("x86-64-v3", "x86-64-v3"),
    "skylake-avx512": _processor("skylake-avx512", "x86-64-v4"),
    "znver4": _processor("znver4", "x86-64-v4", _NEWER, "AuthenticAMD"),
    "sapphirerapids": _processor(
        "sapphirerapids", "x86-64-v4", f"{_NEWER} avx512fp16 avxvnni amx-tile amx-int8 amx-bf16"
    ),
}
