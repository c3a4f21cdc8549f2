"""What there is to compute on: `numbatorch devices` prints it, and "auto" is the best of it.

No GPU library is loaded before one of these functions is called, and no missing one is an error.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version

from numbatorch import settings
from numbatorch.device import Device

# Instruction sets that the kernels make use of, by LLVM's names.
INSTRUCTIONS = {
    "avx2": "AVX2",
    "f16c": "F16C",
    "avx512f": "AVX-512",
    "avx512vnni": "VNNI",
    "avx512bf16": "BF16",
    "neon": "NEON",
    "dotprod": "dot product",
    "i8mm": "I8MM",
}


@dataclass(frozen=True)
class Found:
    """A device, or why there is none of its kind.

    Attributes:
        device: what `device=` takes.
        name: of the hardware.
        memory: bytes; None if nothing tells.
        features: what kernels can use.
        driver: what runs them, with its version.
        problem: why it cannot be used; empty if it can.
        hint: what to do about that.
    """

    device: str
    name: str = ""
    memory: int | None = None
    features: str = ""
    driver: str = ""
    problem: str = ""
    hint: str = ""


def describe() -> list[Found]:
    """Every device of this machine, and a row for each kind that it lacks."""
    return [_cpu(), _numpy(), *_kind("cuda", _cuda), *_kind("metal", _metal)]


@cache
def best() -> Device:
    """The first GPU that can be used, else the CPU. Simulated GPUs do not count."""
    gpus = [] if settings.cuda_simulator() else _kind("cuda", _cuda)
    for found in [*gpus, *_kind("metal", _metal)]:
        if not found.problem:
            kind, _, index = found.device.partition(":")
            return Device(kind, int(index or 0))
    return Device("cpu")


def _kind(kind: str, look: Callable[[], list[Found]]) -> list[Found]:
    """What `look` finds; whatever it raises becomes the reason why there is nothing."""
    try:
        return look()
    except Exception as error:
        return [_refused(Found(kind), error)]


def _refused(found: Found, error: Exception) -> Found:
    """The row with what an error says: problem, rows and hint of errors.message()."""
    first, *rows = str(error).splitlines() or [type(error).__name__]
    hints = [row.strip() for row in rows if row.startswith("  hint: ")]
    facts = [row.strip() for row in rows if not row.startswith("  hint: ")]
    problem = first.removeprefix(f"{found.device.partition(':')[0]}: ")
    problem += f" ({', '.join(facts)})" if facts else ""
    return replace(found, problem=problem, hint="".join(hints).removeprefix("hint: "))


def _cpu() -> Found:
    from numbatorch.language.processor import host

    cpu = host()
    features = [label for name, label in INSTRUCTIONS.items() if cpu.has(name)]
    threads = settings.threads()
    features.append(f"{threads} threads" if threads != 1 else "1 thread")
    return Found("cpu", cpu.name, _host_memory(), ", ".join(features), f"Numba {version('numba')}")


def _numpy() -> Found:
    return Found("numpy", "reference", _host_memory(), "checks others", f"NumPy {version('numpy')}")


def _host_memory() -> int | None:
    if not hasattr(os, "sysconf"):
        return None
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _cuda() -> list[Found]:
    from numbatorch.backends.cuda import open_driver
    from numbatorch.backends.cuda.runtime import check_capability
    from numbatorch.errors import BackendUnavailable

    driver = open_driver()
    rows = []
    for index in range(driver.count()):
        capability = driver.capability(index)
        processors = driver.attribute(index, "MULTIPROCESSOR_COUNT")
        row = Found(
            f"cuda:{index}" if index else "cuda",
            driver.name(index),
            driver.total_memory(index),
            f"compute capability {capability[0]}.{capability[1]}, {processors} multiprocessors",
            "CUDA {}.{}".format(*driver.version()),
        )
        try:
            check_capability(row.name, capability)
        except BackendUnavailable as error:
            row = _refused(row, error)
        rows.append(row)
    return rows


def _metal() -> list[Found]:
    from numbatorch.metal.runtime import probe

    name, memory, features, system = probe()
    return [Found("metal", name, memory, features, system)]
