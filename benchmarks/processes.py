"""What a whole process costs: imports, first token with a warm and with no pack, peak memory."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.controller import ROOT

PEAK = """
import sys
import numbatorch as nt
generator = nt.TextGenerator(sys.argv[1])
generator.generate("the quick brown fox", max_tokens=64, temperature=0.0)
if sys.platform == "win32":
    raise SystemExit("no peak resident set here")
import resource
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak * (1 if sys.platform == "darwin" else 1024))
"""


def duration(command: list[str], environment: dict[str, str] | None = None) -> float | None:
    """Seconds of a process from start to end; None where it fails."""
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True
    )
    return time.perf_counter() - start if done.returncode == 0 else None


def median_duration(command: list[str], rounds: int) -> float | None:
    """Median over the rounds, after one that is not counted."""
    times = [duration(command) for _ in range(rounds + 1)][1:]
    known = [value for value in times if value is not None]
    return statistics.median(known) if known else None


def first_token(file: Path) -> list[str]:
    """The command that generates one token and ends."""
    generate = ["generate", "--model", str(file), "--max-tokens", "1", "the quick"]
    return [sys.executable, "-m", "numbatorch", *generate]


def startup(file: Path, peer_python: str, rounds: int) -> list[str]:
    """Lines about imports and first tokens."""
    lines = []
    imports = [
        ("import numpy", sys.executable, "import numpy"),
        ("import numbatorch", sys.executable, "import numpy, numbatorch"),
        ("import torch", peer_python, "import torch"),
        ("import llama_cpp", peer_python, "import llama_cpp"),
    ]
    for name, python, code in imports:
        seconds = median_duration([python, "-c", code], max(rounds, 3))
        lines.append(f"{name:<44} {_milliseconds(seconds)}")
    seconds = median_duration(first_token(file), max(rounds, 3))
    lines.append(f"{'first token, whole process, warm pack':<44} {_milliseconds(seconds)}")
    with tempfile.TemporaryDirectory() as folder:
        seconds = duration(first_token(file), {"NUMBATORCH_CACHE": folder})
    lines.append(f"{'first token, whole process, no pack':<44} {_milliseconds(seconds)}")
    return lines


def peak_memory(files: list[Path]) -> list[str]:
    """Lines about the peak resident set while 64 tokens are generated."""
    lines = []
    for file in files:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(file)], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["failed"])[-1]
            lines.append(f"{'peak memory, ' + file.stem:<44} {reason}")
            continue
        peak, size = int(done.stdout.split()[-1]) / 1e6, file.stat().st_size / 1e6
        text = f"{peak:.0f} MB, file {size:.0f} MB, above it {peak - size:.0f} MB"
        lines.append(f"{'peak memory, ' + file.stem:<44} {text}")
    return lines


def _milliseconds(seconds: float | None) -> str:
    return "absent" if seconds is None else f"{seconds * 1e3:.0f} ms"
