"""Suites for devices and GPUs, on "cuda" in numba-cuda's simulator: a process for some of them.

The simulator is chosen before numba is imported, and then stays for the life of a process, which
takes seconds to begin. `--seed` picks one shard of six of the operators' properties, and a share of
the suites that take long; `--slow` runs all.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import SIMULATED

ROOT = Path(__file__).parents[2]

PROPERTIES = "tests/ops/test_registry_properties.py"
SHARDS = 6
SUITES = {
    "words and operators": [
        *("tests/cuda/test_simulated_words.py", "tests/ops/test_new_operator.py"),
        *("tests/passes/test_parts.py", "tests/places/test_several_outputs.py"),
        *("tests/passes/test_host_steps.py", "tests/places/test_host_operator.py"),
    ],
    "values": [
        *("tests/ops/test_dynamic.py", "tests/ops/test_conventions.py"),
        *("tests/ops/test_random.py", "tests/ops/test_device_errors.py"),
    ],
    "models": ["tests/models/test_gpu_models.py"],
    "interrupts": ["tests/passes/test_interrupts.py", "-k", "any_moment"],
    "optimizers": ["tests/nn/test_optimizers.py", "-k", "cuda"],
    "kernels": [
        *("tests/ops/test_gpu_kernels.py", "tests/ops/test_gpu_products.py"),
        *("tests/ops/test_gpu_attention.py", "tests/places/test_structured.py"),
        *("tests/ops/test_linalg.py", "tests/ops/test_complex.py"),
        "tests/places/test_complex_operator.py",
    ],
}
LONG = {"kernels": 4, "optimizers": 2}  # one test in how many runs


@pytest.mark.skipif(SIMULATED, reason="this process simulates already")
@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
@pytest.mark.parametrize("name", SUITES)
def test_suite_passes(name: str, seed: int, request: pytest.FixtureRequest) -> None:
    every = 1 if request.config.getoption("--slow") else LONG.get(name, 1)
    run([*SUITES[name], f"--shard={seed % every}/{every}", f"--seed={seed}"])


@pytest.mark.skipif(SIMULATED, reason="this process simulates already")
@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
@pytest.mark.parametrize("number", range(SHARDS))
def test_properties_hold(number: int, seed: int, request: pytest.FixtureRequest) -> None:
    if number and not request.config.getoption("--slow"):
        pytest.skip("another seed has this shard, --slow has all")
    shard = (seed + number) % SHARDS
    run([PROPERTIES, f"--shard={shard}/{SHARDS}", f"--seed={seed}", "-k", "cuda"])


def run(arguments: list[str]) -> None:
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    # A worker of pytest-xdist must not hand its own variables to another pytest.
    environment = {k: v for k, v in environment.items() if not k.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
