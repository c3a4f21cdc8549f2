"""OpenVINO on the exported MiniLM."""

import os
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import openvino

from benchmarks import exported

VERSION = openvino.__version__
HINT = "INFERENCE_PRECISION_HINT"
TYPES = {"float32": openvino.Type.f32, "bfloat16": openvino.Type.bf16}


@lru_cache(1)
def _load(folder: str, compute: str) -> Callable[[exported.Feeds], np.ndarray]:
    """A function of the inputs."""
    wanted = TYPES[compute]
    options = {
        HINT: wanted,
        "INFERENCE_NUM_THREADS": int(os.environ["OMP_NUM_THREADS"]),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = openvino.Core().compile_model(exported.file(folder), "CPU", options)
    found = model.get_property(HINT)
    if found != wanted:  # a hint may be left aside
        raise NotImplementedError(f"asked for {compute}, OpenVINO computes in {found}")
    request = model.create_infer_request()
    return lambda feeds: request.infer(feeds, share_inputs=True)[0]


embed = exported.job(_load)
