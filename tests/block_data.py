"""Blocks of every type for tests: any codes, behind scales that are numbers."""

from typing import Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.ops.blocks import find

Array = np.ndarray[Any, Any]
BYTE_SCALES = {"MXFP4": ("e", 114, 128), "NVFP4": ("d", 8, 72)}  # field, lowest code, beyond


def random_blocks(kind: DType, count: int, random: np.random.Generator) -> Array:
    """(count,) blocks with scales that differ in size and sign, where the type has signs."""
    data = random.integers(0, 256, (count, kind.itemsize), np.uint8)
    blocks = data.view(find("test", kind).layout)[:, 0]
    sizes = random.standard_normal(count) * 10.0 ** random.uniform(-4, 0, count)
    put_scales(kind, blocks, sizes)
    for field in {"dmin", "m"} & set(blocks.dtype.names):
        blocks[field] = random.standard_normal(count) * 10.0 ** random.uniform(-4, 0, count)
    if kind.name in BYTE_SCALES:
        field, low, high = BYTE_SCALES[kind.name]
        blocks[field] = random.integers(low, high, blocks[field].shape)
    return blocks


def has_float_scale(kind: DType) -> bool:
    """Whether the scale of a block may be any float16."""
    return kind.name not in BYTE_SCALES


def put_scales(kind: DType, blocks: Array, scales: Array) -> None:
    """Set the scale of each block, as far as the type has float scales."""
    if kind.name == "IQ1_M":  # spread over the highest bits of four halves
        codes = np.asarray(scales, np.float16).view(np.uint16)[:, None]
        parts = codes >> np.arange(0, 16, 4, dtype=np.uint16) & 15
        blocks["scales"] = blocks["scales"] & 0x0FFF | parts << 12
    elif has_float_scale(kind):
        blocks["d"] = scales
