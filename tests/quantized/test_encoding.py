"""Encoders against llama.cpp's files, and on zeros, constants, NaN and tiny numbers."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import FormatError, ShapeError
from numbatorch.io.gguf import GGUFFile
from numbatorch.ops.blocks import dequantize, find, names, quantize
from tests import pydoc_llama

Array = np.ndarray[Any, Any]
ENCODED = [dt.by_name[name] for name in names() if find("test", dt.by_name[name]).encode]
SEARCHED = [kind for kind in ENCODED if find("test", kind).weighted]
TERNARY = {"TQ1_0", "TQ2_0"}
FILES = ["q4_k_m", "q2_k", "q3_k_m", "q4_1", "q5_1", "q5_k_m", "q6_k", "iq4_nl", "iq4_xs"]
KINDS = pytest.mark.parametrize("kind", ENCODED, ids=lambda kind: kind.name)


def decoded(values: Array, kind: DType, imatrix: Array | None = None) -> Array:
    return dequantize(quantize(values, kind, imatrix), kind, values.shape)


def normal(rows: int, columns: int = 512, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    return (random.standard_normal((rows, columns)) * 0.02).astype(np.float32)


def test_types_that_have_an_encoder() -> None:
    without = {"IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_S", "IQ1_M"}
    assert {kind.name for kind in ENCODED} == set(names()) - without


@pytest.mark.parametrize("name", FILES)
def test_errors_are_those_of_the_files_that_llama_cpp_made(name: str, tmp_path: Any) -> None:
    file = GGUFFile(pydoc_llama.find(f"pydoc-llama-{name}.gguf", tmp_path))
    errors: dict[str, list[float]] = {}
    for key, values in pydoc_llama.weights().items():
        info = file.tensors[key]
        if info.dtype.kind != "q" or values.size > 1 << 18:
            continue
        theirs = dequantize(file.tensor(key), info.dtype, info.shape)
        pair = [np.square(found - values).mean() for found in (decoded(values, info.dtype), theirs)]
        both = errors.setdefault(info.dtype.name, [0.0, 0.0])
        errors[info.dtype.name] = [a + b for a, b in zip(both, pair, strict=True)]
    assert errors
    for kind, (ours, theirs) in errors.items():
        assert ours <= 1.01 * theirs, kind


@KINDS
def test_zeros_stay_zeros_with_and_without_importance(kind: DType) -> None:
    zeros = np.zeros((3, 256), np.float32)
    for imatrix in (None, np.ones(256), np.zeros(256)):
        np.testing.assert_array_equal(decoded(zeros, kind, imatrix), 0)


@KINDS
@pytest.mark.parametrize("value", [1.0, -1.0, 0.3, -0.02])
def test_constant_blocks_are_met(kind: DType, value: float) -> None:
    values = np.full((2, 256), value, np.float32)
    step = 0.02 if kind.name not in {"MXFP4", "NVFP4"} else 0.35
    for imatrix in (None, np.ones(256)):
        assert np.abs(decoded(values, kind, imatrix) - value).max() <= step * abs(value)


@KINDS
@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e-12, 1e-8, 1e-6])
def test_tiny_values_stay_tiny(kind: DType, size: float) -> None:
    values = (normal(2) * (size / 0.02)).astype(np.float32)
    for imatrix in (None, np.ones(512)):
        found = decoded(values, kind, imatrix)
        assert np.isfinite(found).all()
        bound = 2.0 * np.abs(values).max() + (0 if kind.name == "Q8_K" else 2.0**-17)
        assert np.abs(found).max() <= bound


@KINDS
def test_many_rows_are_packed_as_each_alone(kind: DType) -> None:
    values = normal(300)
    importance = np.random.default_rng(1).random(512)
    for imatrix in (None, importance):
        whole = quantize(values, kind, imatrix)
        np.testing.assert_array_equal(whole[250:255], quantize(values[250:255], kind, imatrix))


@pytest.mark.parametrize("kind", SEARCHED, ids=lambda kind: kind.name)
def test_importance_moves_the_error_to_other_columns(kind: DType) -> None:
    values = normal(64)
    imatrix = np.random.default_rng(1).random(512).astype(np.float32) ** 8 + np.float32(1e-4)
    errors = [
        (imatrix * np.square(decoded(values, kind, given) - values)).mean()
        for given in (imatrix, None)
    ]
    assert errors[0] < 0.99 * errors[1]


def test_progress_is_told_of_every_value() -> None:
    seen: list[int] = []
    quantize(normal(300), dt.Q4_K, progress=seen.append)
    assert sum(seen) == 300 * 512
    assert len(seen) > 1


@KINDS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(kind: DType, bad: float) -> None:
    values = normal(300)
    values[200, 7] = bad
    with pytest.raises(
        FormatError, match=rf"{kind.name} holds finite.*\n  element 102407 is {bad}"
    ):
        quantize(values, kind)


@pytest.mark.parametrize(
    "name", ["Q4_0", "Q4_1", "Q4_K", "Q6_K", "IQ4_XS", "TQ2_0", "Q8_0", "NVFP4"]
)
def test_values_beyond_the_scales_are_refused(name: str) -> None:
    values = normal(2)
    values[1, 40] = 3e38
    with pytest.raises(
        ValueError, match=rf"too large for the scales of {name}\n.* (has|is) 3.*e\+38"
    ):
        quantize(values, dt.by_name[name])


@pytest.mark.parametrize("kind", SEARCHED, ids=lambda kind: kind.name)
@pytest.mark.parametrize("share", [0, 32, 256, 400])
def test_columns_without_importance_keep_their_values(kind: DType, share: int) -> None:
    """What was 0 in one text is not in another: no group is lost, whatever counts beside it."""
    values = normal(16)
    imatrix = np.zeros(512, np.float32)
    imatrix[:share] = 1
    errors = [
        np.square(decoded(values, kind, given) - values).reshape(16, -1, 32).mean((0, 2))
        for given in (imatrix, None)
    ]
    assert (errors[0] <= 1.5 * errors[1]).all()


def test_importance_that_does_not_fit_is_refused() -> None:
    for imatrix in (np.ones(511), np.ones((1, 512)), np.ones(0)):
        with pytest.raises(ShapeError, match=r"imatrix does not fit the rows\n.*512 values"):
            quantize(normal(2), dt.Q4_K, imatrix)
    for bad in (-1.0, np.nan, np.inf):
        imatrix = np.ones(512)
        imatrix[9] = bad
        with pytest.raises(FormatError, match=rf"not negative\n  column 9 has {bad}"):
            quantize(normal(2), dt.Q4_K, imatrix)


def test_tensors_are_packed_with_importance() -> None:
    values, imatrix = normal(4), np.random.default_rng(2).random(512).astype(np.float32)
    packed = nt.quantize(nt.tensor(values), "Q4_K", imatrix=nt.tensor(imatrix))
    np.testing.assert_array_equal(packed.numpy(), quantize(values, dt.Q4_K, imatrix))
