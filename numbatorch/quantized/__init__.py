"""Weights in blocks of few bits: tensors, files of them, mixes and importance matrices."""

from typing import TYPE_CHECKING, Any

from numbatorch.apart import import_module

if TYPE_CHECKING:
    from numbatorch.quantized.files import dequantize_file, quantize_file
    from numbatorch.quantized.importance import Importance, read_importance, write_importance
    from numbatorch.quantized.qtensor import QTensor, expert_matmul, quantize

__all__ = [
    "Importance",
    "QTensor",
    "dequantize_file",
    "expert_matmul",
    "quantize",
    "quantize_file",
    "read_importance",
    "write_importance",
]

_PLACES = {
    **dict.fromkeys(("QTensor", "expert_matmul", "quantize"), "qtensor"),
    **dict.fromkeys(("dequantize_file", "quantize_file"), "files"),
    **dict.fromkeys(("Importance", "read_importance", "write_importance"), "importance"),
}


def __getattr__(name: str) -> Any:
    """Names that load on first use."""
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'numbatorch.quantized' has no attribute {name!r}")
