"""GGML block types: a file for each, which is loaded when its type is first met.

A file declares the layout of its type, see blocks/layout.py, and how NumPy encodes it. Layouts:
https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h; formulas of decoding and encoding:
https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from numbatorch import dtype as dtypes
from numbatorch import entry_points
from numbatorch.apart import import_module, numpy_ignores_errors
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.ops.blocks.encoding import check_importance, encode_all
from numbatorch.ops.blocks.layout import Array, Bits, BlockType, Factor, Packed
from numbatorch.shape import Shape, numel

__all__ = [
    "Bits",
    "BlockType",
    "Factor",
    "Packed",
    "dequantize",
    "find",
    "known",
    "names",
    "quantize",
    "register",
]

CHUNK = 1 << 16  # elements decoded at a time, so that temporaries stay in the cache

_types: dict[DType, BlockType] = {}


def register(block: BlockType) -> BlockType:
    """Make a block type known: everything that takes blocks takes it from then on."""
    if block.dtype in _types:
        raise DTypeError(message("block type", f"{block.dtype.name} is registered twice"))
    _types[block.dtype] = block
    return block


@cache
def _files() -> dict[DType, str]:
    """The module of each type that has one here."""
    found = {file.removesuffix(".py") for file in os.listdir(__path__[0])}
    own = {kind: kind.name.lower() for kind in dtypes.BLOCKS}
    return {kind: f"{__name__}.{name}" for kind, name in own.items() if name in found}


def names() -> tuple[str, ...]:
    """The block types that are computed on, those of plugins once they are loaded."""
    return tuple(kind.name for kind in dict.fromkeys((*_files(), *_types)))


def known(kind: DType) -> bool:
    """Whether a type is computed on; asks plugins for one that is not known here."""
    if kind.kind == "q" and kind not in _types:
        if kind in _files():
            import_module(_files()[kind])
        else:
            entry_points.load(entry_points.BLOCKS)
    return kind in _types


def find(operator: str, kind: DType | str) -> BlockType:
    """How a type, or the type of a name, is stored.

    Raises:
        DTypeError: neither this package nor a plugin knows: names the types that are known.
    """
    found = dtypes.find(kind) if isinstance(kind, str) else kind
    if not isinstance(found, DType) or not known(found):
        name = getattr(kind, "name", kind)
        rows = f"known are {', '.join(names())}"
        raise DTypeError(message(operator, f"there is no block type {name}", rows))
    return _types[found]


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
    block = find("dequantize", kind)
    blocks = raw.view(block.layout)
    out = np.empty((blocks.size, kind.block), np.float32)
    step = CHUNK // kind.block
    with numpy_ignores_errors():  # a scale may be anything, also infinite
        for start in range(0, blocks.size, step):
            out[start : start + step] = block.decode(blocks[start : start + step])
    return out.reshape(shape)


def quantize(
    values: Array,
    kind: DType,
    imatrix: Array | None = None,
    progress: Callable[[int], None] | None = None,
) -> Array:
    """Pack values, rounding as ggml's encoder does; on all cores.

    Args:
        values: (..., C), C a multiple of the type's block.
        kind: a block type with an encoder.
        imatrix: (C,), how much the error of each column counts, such as the mean square of what it
            is multiplied with; types without a search for scales do without.
        progress: is called with how many values have been packed since it was last.
    Returns:
        (..., bytes of a row) uint8.
    Raises:
        ShapeError: rows are not whole blocks, or have another length than the imatrix.
        FormatError: a value, or an entry of the imatrix, is no number that a block can hold.
        DTypeError: nothing encodes the type.

    >>> quantize(np.ones((2, 256), np.float32), dtypes.Q4_K, imatrix=np.ones(256)).shape
    (2, 144)
    """
    _check("quantize", kind, values.shape)
    block = find("quantize", kind)
    *rows, columns = values.shape
    flat = np.ascontiguousarray(values, np.float32).reshape(-1, kind.block)
    wanted = None if imatrix is None else check_importance(imatrix, columns)
    out = np.empty(len(flat), block.layout)
    encode_all(block, flat, wanted, out, progress)
    return out.view(np.uint8).reshape(*rows, kind.nbytes(columns))


def _check(operator: str, kind: DType, shape: Shape) -> None:
    columns = shape[-1] if shape else 1
    if columns % kind.block:
        rule = f"{columns} columns are not whole {kind.name} blocks of {kind.block}"
        raise ShapeError(message(operator, "rows are not whole blocks", rule))


def _widen(raw: Array, kind: DType) -> Array:
    """Plain floats to float32; NaN bits of bfloat16 are kept."""
    if kind is dtypes.bfloat16:
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return raw.view(kind.numpy).astype(np.float32)
