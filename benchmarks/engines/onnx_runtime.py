"""onnxruntime on the exported MiniLM."""

import os
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import onnxruntime

from benchmarks import exported

VERSION = onnxruntime.__version__


@lru_cache(1)
def _load(folder: str, compute: str) -> Callable[[exported.Feeds], np.ndarray]:
    """A function of the inputs."""
    if compute != "float32":
        raise NotImplementedError
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    session = onnxruntime.InferenceSession(str(exported.file(folder)), options)
    return lambda feeds: session.run(None, feeds)[0]


embed = exported.job(_load)
