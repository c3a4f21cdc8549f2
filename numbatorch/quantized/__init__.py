"""Weights in blocks of few bits: tensors, files of them, mixes and importance matrices.

And what a block type of one's own is declared with, as those here are (`numbatorch/ops/blocks`).
"""

from typing import TYPE_CHECKING, Any

from numbatorch.apart import import_module

if TYPE_CHECKING:
    from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
    from numbatorch.quantized.files import dequantize_file, quantize_file
    from numbatorch.quantized.importance import Importance, read_importance, write_importance
    from numbatorch.quantized.qtensor import QTensor, expert_matmul, quantize

__all__ = [
    "Bits",
    "BlockType",
    "Factor",
    "Importance",
    "Packed",
    "QTensor",
    "dequantize_file",
    "expert_matmul",
    "quantize",
    "quantize_file",
    "read_importance",
    "register",
    "write_importance",
]

_PLACES = {
    **dict.fromkeys(("QTensor", "expert_matmul", "quantize"), "quantized.qtensor"),
    **dict.fromkeys(("dequantize_file", "quantize_file"), "quantized.files"),
    **dict.fromkeys(("Importance", "read_importance", "write_importance"), "quantized.importance"),
    **dict.fromkeys(("Bits", "BlockType", "Factor", "Packed", "register"), "ops.blocks"),
}


def __getattr__(name: str) -> Any:
    """Names that load on first use."""
    if name in _PLACES:
        return getattr(import_module(f"numbatorch.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'numbatorch.quantized' has no attribute {name!r}")
