"""PyTorch's torch.compile, which needs a C++ compiler for the CPU: a training step."""

import os
from pathlib import Path

from benchmarks.worker import FILES_VARIABLE

# What is compiled lies in a folder that no other user writes to, and this process compiles it.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(os.environ[FILES_VARIABLE], "inductor")))
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch

from benchmarks import training
from benchmarks.engines.torch_eager import API, DEVICE, HARDWARE, VERSION, WAIT, WHERE

__all__ = ["DEVICE", "HARDWARE", "VERSION", "train"]

train = training.job(API, WHERE, WAIT, torch.compile, fused=True)
