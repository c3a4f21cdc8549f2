"""The same values on both sides. Importing this skips a test file where PyTorch is absent."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt

torch = pytest.importorskip("torch", reason="pip install torch")


def torch_dtype(name: str) -> Any:
    """PyTorch's dtype of our name."""
    return getattr(torch, name)


def our_dtype(name: str) -> Any:
    """Our dtype of PyTorch's name."""
    return nt.dtype.by_name[name]


class Sides:
    """The same values as a tensor of ours and as one of PyTorch's."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape: int, grad: bool = False) -> tuple[Any, Any]:
        """float32 from the normal distribution."""
        return self.of(self.rng.standard_normal(shape, dtype=np.float32), grad=grad)

    def integers(self, low: int, high: int, *shape: int) -> tuple[Any, Any]:
        """int64 in [low, high)."""
        return self.of(self.rng.integers(low, high, shape))

    def of(self, values: Any, grad: bool = False) -> tuple[Any, Any]:
        """Given values, with or without a gradient."""
        array = np.array(values)
        ours, theirs = nt.from_numpy(array), torch.from_numpy(array.copy())
        if grad:
            ours, theirs = ours.requires_grad_(), theirs.requires_grad_()
        return ours, theirs
