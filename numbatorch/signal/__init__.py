"""Signal processing under PyTorch's names."""

from numbatorch.signal import windows

__all__ = ["windows"]
