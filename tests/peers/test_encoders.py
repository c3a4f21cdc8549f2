"""Encoders beside llama.cpp's own, called in its library: errors no larger, with importance too."""

import ctypes
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.ops.blocks import dequantize, find, names, quantize

Array = np.ndarray[Any, Any]
FOUND = find_spec("llama_cpp")
pytestmark = pytest.mark.skipif(FOUND is None, reason="needs llama-cpp-python")
ENCODED = [
    dt.by_name[name]
    for name in names()
    if find("test", dt.by_name[name]).encode and name not in {"Q8_1", "Q8_K"}
]


def theirs(values: Array, kind: DType, imatrix: Array | None) -> Array:
    assert FOUND is not None
    assert FOUND.origin is not None
    (path, *_) = (Path(FOUND.origin).parent / "lib").glob("libggml-base.*")
    function = ctypes.CDLL(str(path)).ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    words = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    function.argtypes = words
    rows, columns = values.shape
    out = np.zeros((rows, kind.nbytes(columns)), np.uint8)
    importance = None if imatrix is None else imatrix.ctypes.data
    function(kind.ggml_id, values.ctypes.data, out.ctypes.data, 0, rows, columns, importance)
    return out


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("important", [False, True])
@pytest.mark.parametrize("kind", ENCODED, ids=lambda kind: kind.name)
def test_errors_are_within_a_percent(kind: DType, important: bool, heavy: bool) -> None:
    random = np.random.default_rng(0)
    drawn = random.standard_t(4, (96, 512)) if heavy else random.standard_normal((96, 512))
    values = (drawn * 0.02).astype(np.float32)
    imatrix = random.random(512).astype(np.float32) ** 3 if important else None
    weights = 1.0 if imatrix is None else imatrix.astype(np.float64)
    errors = []
    for packed in (quantize(values, kind, imatrix), theirs(values, kind, imatrix)):
        apart = dequantize(packed, kind, values.shape).astype(np.float64) - values
        errors.append((weights * apart**2).mean())
    assert errors[0] <= 1.01 * errors[1]
