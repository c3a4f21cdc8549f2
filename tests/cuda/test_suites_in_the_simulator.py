"""Suites for devices and GPUs, on "cuda" in numba-cuda's simulator: a process for each.

The simulator is chosen before numba is imported, and then stays for the life of a process. `--seed`
picks one shard of six of the operators' properties, and half of the suites that take long; `--slow`
runs all.
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
    "words": ["tests/cuda/test_simulated_words.py"],
    "a new operator": ["tests/ops/test_new_operator.py"],
    "several outputs": ["tests/passes/test_parts.py", "tests/places/test_several_outputs.py"],
    "host steps": ["tests/passes/test_host_steps.py", "tests/places/test_host_operator.py"],
    "structured operators": ["tests/places/test_structured.py", "tests/ops/test_linalg.py"],
    "shapes that depend on data": ["tests/ops/test_dynamic.py"],
    "complex numbers": ["tests/ops/test_complex.py", "tests/places/test_complex_operator.py"],
    "conventions": ["tests/ops/test_conventions.py"],
    "random numbers": ["tests/ops/test_random.py"],
    "optimizers": ["tests/nn/test_optimizers.py", "-k", "cuda"],
    "interrupts": ["tests/passes/test_interrupts.py", "-k", "any_moment"],
    "mistakes": ["tests/ops/test_device_errors.py"],
    "kernels of rows": ["tests/ops/test_gpu_kernels.py"],
    "kernels of products": ["tests/ops/test_gpu_products.py"],
    "kernels of attention": ["tests/ops/test_gpu_attention.py"],
    "models": ["tests/models/test_gpu_models.py"],
}
LONG = {
    "complex numbers",
    "kernels of attention",
    "kernels of products",
    "kernels of rows",
    "optimizers",
    "structured operators",
}


@pytest.mark.skipif(SIMULATED, reason="this process simulates already")
@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
@pytest.mark.parametrize("name", SUITES)
def test_suite_passes(name: str, seed: int, request: pytest.FixtureRequest) -> None:
    half = name in LONG and not request.config.getoption("--slow")
    run([*SUITES[name], *([f"--shard={seed % 2}/2"] if half else [])])


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
