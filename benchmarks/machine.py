"""What a figure belongs to: the processor by its own name and by LLVM's, and how many cores."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def own_name() -> str:
    """What the processor calls itself; empty where nothing tells."""
    with suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "linux":
            return _from_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(
                command, capture_output=True, text=True, check=True
            ).stdout.strip()
        if sys.platform == "win32":
            import winreg

            place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
                return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    return platform.processor()


def _from_cpuinfo(text: str) -> str:
    """The name in Linux's list, with the numbers that tell apart what is called the same.

    >>> _from_cpuinfo("cpu family : 6\\nmodel : 207\\nmodel name : Intel(R) Xeon(R) Processor\\n")
    'Intel(R) Xeon(R) Processor, family 6, model 207'
    >>> _from_cpuinfo("CPU implementer : 0x41\\nCPU part : 0xd40\\n")
    'implementer 0x41, part 0xd40'
    """
    pairs = (line.partition(":")[::2] for line in text.split("\n\n")[0].splitlines())
    known = {key.strip().lower(): value.strip() for key, value in pairs}
    names = [known[key] for key in ("model name", "hardware") if key in known][:1]
    for key in ("cpu family", "model", "cpu implementer", "cpu part"):
        if key in known:
            names.append(f"{key.removeprefix('cpu ')} {known[key]}")
    return ", ".join(names)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> dict[str, str | int]:
    """Names, cores and system, for the head of a report."""
    from numbatorch.language.processor import host

    return {
        "processor": own_name(),
        "llvm": host().name,
        "cores": cores(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }
