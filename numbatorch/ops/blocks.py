"""GGML block types in NumPy: layout, decoding and encoding of each, one entry a type.

The layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h; the formulas:
https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c. Kernels are checked against these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbatorch import dtype
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.shape import Shape, numel

Array = np.ndarray[Any, np.dtype[Any]]

CHUNK = 1 << 16  # elements decoded at a time, so that temporaries stay in the cache


@dataclass(frozen=True)
class BlockType:
    """How a block type is stored.

    Attributes:
        dtype: the type.
        layout: the fields of one block, as a NumPy structure.
        decode: (n,) blocks to (n, block) float32.
        encode: (n, block) float32 to (n,) blocks, or None where nothing here encodes the type.
    """

    dtype: DType
    layout: np.dtype[Any]
    decode: Callable[[Array], Array]
    encode: Callable[[Array], Array] | None = None


def dequantize(data: Array, kind: DType, shape: Sequence[int]) -> Array:
    """The values of packed weights.

    Args:
        data: the tensor's bytes, or for a plain type its elements, in any shape.
        kind: their type.
        shape: of the values; the last dimension holds whole blocks.
    Returns:
        `shape` float32.
    Raises:
        ShapeError: the bytes are not those of `shape`.
        DTypeError: the type is neither a float nor a block type that is decoded here.
    """
    shape = tuple(shape)
    raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    _check("dequantize", kind, shape)
    if raw.size != kind.nbytes(numel(shape)):
        rule = f"{raw.size} bytes, where {shape} {kind.name} takes {kind.nbytes(numel(shape))}"
        raise ShapeError(message("dequantize", "bytes do not fit the shape", rule))
    if kind.kind == "f":
        return _widen(raw, kind).reshape(shape)
    block = _lookup("dequantize", kind)
    blocks = raw.view(block.layout)
    out = np.empty((blocks.size, kind.block), np.float32)
    step = CHUNK // kind.block
    with np.errstate(all="ignore"):  # a scale may be anything, also infinite
        for start in range(0, blocks.size, step):
            out[start : start + step] = block.decode(blocks[start : start + step])
    return out.reshape(shape)


def quantize(values: Array, kind: DType) -> Array:
    """Pack values, rounding as ggml's reference encoder does.

    Args:
        values: (..., C), C a multiple of the type's block.
        kind: Q8_0 or Q4_0.
    Returns:
        (..., bytes of a row) uint8.
    """
    _check("quantize", kind, values.shape)
    block = _lookup("quantize", kind)
    if block.encode is None:
        raise DTypeError(message("quantize", f"no encoder for {kind.name}"))
    *rows, columns = values.shape
    flat = np.ascontiguousarray(values, np.float32).reshape(-1, kind.block)
    out = np.empty(len(flat), block.layout)
    step = CHUNK // kind.block
    with np.errstate(all="ignore"):
        for start in range(0, len(flat), step):
            out[start : start + step] = block.encode(flat[start : start + step])
    return out.view(np.uint8).reshape(*rows, kind.nbytes(columns))


def _check(operator: str, kind: DType, shape: Shape) -> None:
    columns = shape[-1] if shape else 1
    if columns % kind.block:
        rule = f"{columns} columns are not whole {kind.name} blocks of {kind.block}"
        raise ShapeError(message(operator, "rows are not whole blocks", rule))


def _lookup(operator: str, kind: DType) -> BlockType:
    found = BLOCK_TYPES.get(kind.name)
    if found is None:
        raise DTypeError(message(operator, f"no block layout for {kind.name}"))
    return found


def _widen(raw: Array, kind: DType) -> Array:
    """Plain floats to float32; NaN bits of bfloat16 are kept."""
    if kind is dtype.bfloat16:
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return raw.view(kind.numpy).astype(np.float32)


def _nibbles(packed: Array) -> Array:
    """(n, b) bytes to (n, 2b): the low halves of all bytes, then the high halves."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _decode_q8_0(blocks: Array) -> Array:
    """d * q."""
    return _column(blocks["d"]) * blocks["qs"].astype(np.float32)


def _encode_q8_0(values: Array) -> Array:
    """d = max |x| / 127; q = x / d, halves away from zero."""
    blocks = np.empty(len(values), BLOCK_TYPES["Q8_0"].layout)
    scale = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
    scaled = values * _reciprocal(scale)
    magnitude = np.floor(np.abs(scaled))
    magnitude += np.abs(scaled) - magnitude >= 0.5
    blocks["d"] = scale[:, 0]
    blocks["qs"] = np.sign(scaled) * magnitude
    return blocks


def _decode_q4_0(blocks: Array) -> Array:
    """d * (q - 8)."""
    return _column(blocks["d"]) * (_nibbles(blocks["qs"]).astype(np.float32) - 8)


def _encode_q4_0(values: Array) -> Array:
    """d = x / -8 at the x of largest magnitude; q = x / d + 8, rounded to 0 .. 15."""
    blocks = np.empty(len(values), BLOCK_TYPES["Q4_0"].layout)
    extreme = np.take_along_axis(values, np.abs(values).argmax(axis=1, keepdims=True), axis=1)
    scale = extreme / np.float32(-8)
    codes = np.minimum((values * _reciprocal(scale) + np.float32(8.5)).astype(np.uint8), 15)
    blocks["d"] = scale[:, 0]
    blocks["qs"] = codes[:, :16] | codes[:, 16:] << 4
    return blocks


def _decode_q5_0(blocks: Array) -> Array:
    """d * (q - 16), the fifth bit of each q in `qh`."""
    high = blocks["qh"][:, None] >> np.arange(32, dtype=np.uint32) & 1
    codes = _nibbles(blocks["qs"]) | (high << 4).astype(np.uint8)
    return _column(blocks["d"]) * (codes.astype(np.float32) - 16)


def _decode_q4_k(blocks: Array) -> Array:
    """(d * scale) * q - (dmin * min), with scale and min of each 32 values."""
    scales, mins = _scales_k(blocks["scales"])
    packed = blocks["qs"].reshape(-1, 4, 1, 32)
    codes = np.concatenate([packed & 15, packed >> 4], axis=2).reshape(-1, 8, 32)
    scale = (_column(blocks["d"]) * scales)[:, :, None]
    least = (_column(blocks["dmin"]) * mins)[:, :, None]
    values: Array = scale * codes.astype(np.float32) - least
    return values.reshape(-1, 256)


def _scales_k(packed: Array) -> tuple[Array, Array]:
    """(n, 12) bytes to the eight 6-bit scales and the eight 6-bit mins, each (n, 8) float32.

    Bytes 0 .. 3 hold scales 0 .. 3 in their low six bits, bytes 4 .. 7 mins 0 .. 3; scales and
    mins 4 .. 7 have their low four bits in bytes 8 .. 11 and their high two bits atop the others.
    """
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, third & 15 | first >> 6 << 4], axis=1)
    mins = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], axis=1)
    return scales.astype(np.float32), mins.astype(np.float32)


def _decode_q6_k(blocks: Array) -> Array:
    """(d * scale) * (q - 32), with a signed scale of each 16 values.

    Of every 128 values the low four bits stand in 64 bytes and the high two in 32: value
    32 * i + j has bits 4 * (i // 2) of byte 32 * (i % 2) + j, and bits 2 * i of byte j.
    """
    packed = blocks["ql"].reshape(-1, 2, 64)
    low = np.concatenate([packed & 15, packed >> 4], axis=2).reshape(-1, 2, 4, 32)
    shifts = np.arange(0, 8, 2, dtype=np.uint8).reshape(1, 1, 4, 1)
    high = blocks["qh"].reshape(-1, 2, 1, 32) >> shifts & 3
    codes = (low | high << 4).astype(np.float32) - 32
    scale = _column(blocks["d"]) * blocks["scales"].astype(np.float32)
    values: Array = scale[:, :, None] * codes.reshape(-1, 16, 16)
    return values.reshape(-1, 256)


def _column(scales: Array) -> Array:
    return scales.astype(np.float32)[:, None]


def _reciprocal(scale: Array) -> Array:
    return np.where(scale == 0, np.float32(0), 1 / scale)


BLOCK_TYPES = {
    block.dtype.name: block
    for block in (
        BlockType(
            dtype.Q8_0,
            np.dtype([("d", "<f2"), ("qs", "i1", 32)]),
            _decode_q8_0,
            _encode_q8_0,
        ),
        BlockType(
            dtype.Q4_0,
            np.dtype([("d", "<f2"), ("qs", "u1", 16)]),
            _decode_q4_0,
            _encode_q4_0,
        ),
        BlockType(
            dtype.Q5_0,
            np.dtype([("d", "<f2"), ("qh", "<u4"), ("qs", "u1", 16)]),
            _decode_q5_0,
        ),
        BlockType(
            dtype.Q4_K,
            np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", 128)]),
            _decode_q4_k,
        ),
        BlockType(
            dtype.Q6_K,
            np.dtype([("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), ("d", "<f2")]),
            _decode_q6_k,
        ),
    )
}
