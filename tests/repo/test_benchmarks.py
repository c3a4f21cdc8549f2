"""Benchmarks on a device that is not there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("device", ["cuda:99", "metal:99", "typewriter"])
def test_a_device_that_is_not_there_is_one_line(device: str) -> None:
    command = [sys.executable, "-m", "benchmarks", "decode", "fused", "--device", device]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ours: {device.partition(':')[0]}: ") or device in line
    assert not done.stdout
