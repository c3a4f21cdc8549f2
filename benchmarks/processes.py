"""What a whole process costs: import, first operation, first token, and peak memory."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.controller import ROOT, Measured, Row, end_of, one_line

PEERS = ["torch_eager", "llama_cpp"]
OPERATION = "print(({0}.{1}([1.0, 2.0]) + 1).tolist())"
PEER_TOKEN = """
import sys
from llama_cpp import Llama
Llama(sys.argv[1], n_ctx=64, verbose=False).create_completion("the quick", max_tokens=1)
"""
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


class Failed(Exception):
    """A process ended with an error; the text is the last line of what it said."""


@dataclass(frozen=True)
class ProcessRow:
    """One line of the report, about whole processes.

    Attributes:
        costs: of each engine, a function that runs a process and gives its seconds or bytes.
        rounds: of them; None for as many as the command line says.
    """

    name: str
    unit: str
    costs: dict[str, Callable[[], float]]
    rounds: int | None = None


def run(command: list[str], **environment: str) -> str:
    """What a process prints.

    Raises:
        Failed: it ended with an error.
    """
    settings = {**os.environ, **environment}
    settings.pop("PYTHONDONTWRITEBYTECODE", None)  # or all modules are compiled anew
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise Failed(said[-1] if said else end_of(done.returncode))
    return done.stdout


def duration(command: list[str]) -> float:
    """Seconds of a process from start to end."""
    start = time.perf_counter()
    run(command)
    return time.perf_counter() - start


def without_kernels(command: list[str]) -> float:
    """Seconds of a process that has no compiled kernels to begin with."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run(command, NUMBATORCH_CACHE=folder)
        return time.perf_counter() - start


def memory_over_file(file: Path) -> float:
    """Bytes of the peak resident set while 64 tokens are generated, over the file's size."""
    return int(run([sys.executable, "-c", PEAK, str(file)]).split()[-1]) - file.stat().st_size


def startup(file: Path, peer_python: str) -> list[ProcessRow]:
    """Rows about imports, first operations and first tokens."""

    def code(python: str, text: str, *arguments: str) -> Callable[[], float]:
        return partial(duration, [python, "-c", text, *arguments])

    numpy = "import numpy; " + OPERATION.format("numpy", "array")
    ours = "import numbatorch; " + OPERATION.format("numbatorch", "tensor")
    torch = "import torch; " + OPERATION.format("torch", "tensor")
    generate = ["generate", "--model", str(file), "--max-tokens", "1", "the quick"]
    token = [sys.executable, "-m", "numbatorch", *generate]
    return [
        ProcessRow(
            "import, whole process",
            "ms",
            {
                "ours": code(sys.executable, "import numbatorch"),
                "floor": code(sys.executable, "import numpy"),
                "torch_eager": code(peer_python, "import torch"),
                "llama_cpp": code(peer_python, "import llama_cpp"),
            },
        ),
        ProcessRow(
            "first operation, whole process",
            "ms",
            {
                "ours": code(sys.executable, ours),
                "floor": code(sys.executable, numpy),
                "torch_eager": code(peer_python, torch),
            },
        ),
        ProcessRow(
            "first token, whole process",
            "ms",
            {
                "ours": partial(duration, token),
                "llama_cpp": code(peer_python, PEER_TOKEN, str(file)),
            },
        ),
        ProcessRow(
            "first token, no kernels yet", "ms", {"ours": partial(without_kernels, token)}, rounds=1
        ),
    ]


def peak_memory(files: list[Path]) -> list[ProcessRow]:
    """Rows about the peak resident set over the file."""
    return [
        ProcessRow(f"memory over {file.stem}", "MB", {"ours": partial(memory_over_file, file)}, 1)
        for file in files
    ]


def measure(row: ProcessRow, rounds: int, engines: Sequence[str]) -> Measured:
    """Run the processes of engines in turn; the first round fills caches and is not counted."""
    found = Measured(Row(row.name, "process", {}, row.unit))
    counted = row.rounds or rounds
    for number in range(counted + (counted > 1)):
        for engine, cost in row.costs.items():
            if engine in found.problems or engine not in engines:
                continue
            try:
                value = cost()
            except Failed as err:
                found.problems[engine] = one_line(str(err))
                found.bursts.pop(engine, None)
                continue
            if number or counted == 1:
                burst = {"median": value, "best": value, "mean": value}
                found.bursts.setdefault(engine, []).append(burst)
    return found
