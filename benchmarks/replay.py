"""What a decode step on CUDA costs the host, over a driver that does nothing; needs no GPU.

The driver is the tests' libcuda, behind cuda.bindings: kernels take no time and compute nothing, so
what is measured is Python, the bindings, and copying the words and the logits.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, ClassVar

import numbatorch as nt
from benchmarks.controller import ROOT
from numbatorch.backends.base import install
from numbatorch.backends.cuda.driver import Driver
from numbatorch.backends.cuda.recording import CudaRecording
from numbatorch.backends.cuda.runtime import CudaRuntime
from numbatorch.backends.gpu import GPUBackend
from numbatorch.backends.outcome import Outcome
from numbatorch.generation.decoder import Decoder

DRIVER = ROOT / "tests" / "cuda" / "libcuda.c"
WARM, STEPS = 10, 300
KINDS = {"a CUDA graph": {}, "single launches": {"FAKE_FAIL": "cuStreamBeginCapture=801"}}


def lines(file: Path) -> list[str]:
    """Lines about a replay as a graph, and launch by launch."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return ["replay: needs Linux and a C compiler"]
    found = []
    with TemporaryDirectory() as folder:
        library = Path(folder, "libcuda.so.1")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", DRIVER, "-o", library], check=True)
        for kind, settings in KINDS.items():
            environment = {"LD_LIBRARY_PATH": folder, "FAKE_MEMORY": str(1 << 36), **settings}
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.replay", str(file)],
                env={**os.environ, **environment},
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
            problem = (done.stderr.strip().splitlines() or ["failed"])[-1]
            text = problem if done.returncode else done.stdout.strip()
            found.append(f"{'host, ' + file.stem + ', ' + kind:<44} {text}")
    return found


class TimedRecording(CudaRecording):
    """A recording that notes each run."""

    runs: ClassVar[list[tuple[int, float]]] = []  # launches, microseconds

    def complete(self, words: Any, owners: Sequence[Any], outcome: Outcome) -> None:
        """As in the class above."""
        start = time.perf_counter()
        super().complete(words, owners, outcome)
        self.runs.append((len(self._steps), 1e6 * (time.perf_counter() - start)))


class TimedRuntime(CudaRuntime):
    """A runtime whose recordings are timed."""

    def recording(self, steps: Sequence[Any]) -> CudaRecording:
        """As in the class above."""
        return TimedRecording(self, steps)


def uncompiled(kernels: Sequence[Any], capability: tuple[int, int]) -> list[Any]:
    """What the driver takes for machine code."""
    return [SimpleNamespace(image=b"\x7fELF\0", symbol="nt_none") for _ in kernels]


def measure(file: str) -> str:
    """A decode step's time, the part of it that is the runtime's, and that per launch."""
    install(nt.device("cuda"), GPUBackend(TimedRuntime(Driver(), 0, uncompiled)))
    decoder = Decoder(nt.TextGenerator(file, device="cuda").model)
    decoder.feed([1] * 8)
    steps, parts = [], []
    for position in range(WARM + STEPS):
        TimedRecording.runs.clear()
        start = time.perf_counter()
        decoder.feed([position % 250])
        steps.append(1e6 * (time.perf_counter() - start))
        parts.append(sum(duration for _, duration in TimedRecording.runs))
    runs, launches = len(TimedRecording.runs), sum(count for count, _ in TimedRecording.runs)
    step, part = (statistics.median(values[WARM:]) for values in (steps, parts))
    each = f"{part:.0f} us of it in {runs} runs of {launches} launches"
    return f"{step:.0f} us a step, {each}, {part / launches:.2f} us each"


if __name__ == "__main__":
    print(measure(sys.argv[1]))
