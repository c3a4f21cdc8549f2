"""Block types against the `gguf` package: the same bits for any bytes, and for its encoders."""

import subprocess
import sys

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbatorch import dtype
from numbatorch.errors import DTypeError, ShapeError
from numbatorch.ops.blocks import dequantize, find, names, quantize
from tests.block_data import put_scales, random_blocks

BLOCKS = [dtype.by_name[name] for name in names()]
INTERMEDIATE = {"Q8_1": (0, 2, 4), "Q8_K": (0, 4, 4)}  # scale, its bytes, codes
ENCODED = [
    dtype.by_name[name]
    for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4")
]
KINDS = [*BLOCKS, dtype.float16, dtype.bfloat16, dtype.float32]
NAMES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
SCALES = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 6e-8, 65504.0, -1.5, 0.013], np.float16)


def peer(kind):
    return gguf.GGMLQuantizationType[NAMES.get(kind.name, kind.name)]


def peer_values(data, kind):
    """As gguf decodes it, and in NumPy the two types that only stand in memory."""
    with np.errstate(all="ignore"):
        if kind.name in INTERMEDIATE:
            blocks = data.reshape(-1, kind.itemsize)
            at, width, codes = INTERMEDIATE[kind.name]
            scale = blocks[:, at : at + width].copy().view(f"<f{width}").astype(np.float32)
            values = scale * blocks[:, codes : codes + kind.block].view(np.int8)
            return values.astype(np.float32).reshape(len(data), -1)
        return gguf.dequantize(data, peer(kind))


def assert_same_bits(ours, theirs):
    """Equal float32 bits; the payload of a NaN may differ."""
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    number = ~np.isnan(ours)
    np.testing.assert_array_equal(ours[number].view(np.uint32), theirs[number].view(np.uint32))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 3), blocks=st.integers(1, 5))
def test_random_bytes_decode_to_the_bits_of_gguf(kind, seed, rows, blocks):
    data = np.random.default_rng(seed).integers(0, 256, (rows, blocks * kind.itemsize), np.uint8)
    expected = peer_values(data, kind)
    ours = dequantize(data, kind, (rows, blocks * kind.block))
    assert ours.dtype == np.float32
    assert_same_bits(ours, expected)


@pytest.mark.parametrize("kind", BLOCKS, ids=lambda kind: kind.name)
def test_any_scale_decodes_to_the_bits_of_gguf(kind):
    pairs = np.stack(np.meshgrid(SCALES, SCALES), -1).reshape(-1, 2)
    blocks = random_blocks(kind, len(pairs), np.random.default_rng(7))
    put_scales(kind, blocks, pairs[:, 0])
    for least in {"dmin", "m"} & set(blocks.dtype.names):
        blocks[least] = pairs[:, 1]
    data = blocks.view(np.uint8).reshape(len(pairs), kind.itemsize)
    expected = peer_values(data, kind)
    assert_same_bits(dequantize(data, kind, (len(pairs), kind.block)), expected)


@pytest.mark.parametrize("kind", BLOCKS, ids=lambda kind: kind.name)
def test_layout_has_the_size_of_the_type(kind):
    assert find("test", kind).layout.itemsize == kind.itemsize
    sizes = gguf.GGML_QUANT_SIZES[peer(kind)]
    if kind.name == "Q8_1":  # there with two float32, which ggml-common.h has as float16
        sizes = (32, 36)
    assert sizes == (kind.block, kind.itemsize)


@pytest.mark.parametrize("kind", ENCODED, ids=lambda kind: kind.name)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.0, 1e-9, 1e-3, 1.0, 1e4]))
def test_encoding_gives_the_bytes_of_gguf(kind, seed, scale):
    random = np.random.default_rng(seed)
    columns = max(96, 2 * kind.block)
    values = (random.standard_normal((3, columns)) * scale).astype(np.float32)
    values[0, :32] = np.round(values[0, :32])
    with np.errstate(all="ignore"):
        expected = gguf.quantize(values, peer(kind))
    np.testing.assert_array_equal(quantize(values, kind), expected)


def test_only_the_file_of_a_type_that_is_met_is_loaded(fixtures):
    code = """
import sys, numbatorch as nt, numbatorch.io.gguf
def files():
    package = "numbatorch.ops.blocks."
    return {name.removeprefix(package) for name in sys.modules if name.startswith(package)}
assert files() == {"encoding", "layout"}, files()
file = nt.io.gguf.GGUFFile(sys.argv[1])
info = next(info for info in file.tensors.values() if info.dtype.name == "Q4_0")
nt.from_blocks(file.tensor(info.name), info.dtype, info.shape).dequantize().numpy()
own = {"encoding", "kernel", "layout", "q4_0", "search", "two_levels"}
assert files() == own, files()
"""
    path = fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_many_blocks_decode_in_chunks_as_one():
    data = np.random.default_rng(0).integers(0, 256, (9000, 34), np.uint8)
    whole = dequantize(data, dtype.Q8_0, (9000, 32))
    assert_same_bits(whole[8999:], dequantize(data[8999:], dtype.Q8_0, (1, 32)))


def test_no_rows_decode_to_no_rows():
    assert dequantize(np.empty((0, 68), np.uint8), dtype.Q8_0, (0, 64)).shape == (0, 64)


def test_bytes_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match="68 bytes, where"):
        dequantize(np.zeros((2, 34), np.uint8), dtype.Q8_0, (1, 32))


def test_rows_of_part_blocks_are_refused():
    with pytest.raises(ShapeError, match="48 columns are not whole Q8_0 blocks of 32"):
        dequantize(np.zeros((2, 51), np.uint8), dtype.Q8_0, (2, 48))
    with pytest.raises(ShapeError, match="48 columns"):
        quantize(np.zeros((2, 48), np.float32), dtype.Q8_0)


def test_type_without_layout_or_encoder_is_refused():
    with pytest.raises(DTypeError, match="there is no block type int32"):
        dequantize(np.zeros(4, np.int32), dtype.int32, (4,))
    with pytest.raises(DTypeError, match="no encoder for IQ1_S"):
        quantize(np.zeros((1, 256), np.float32), dtype.IQ1_S)
