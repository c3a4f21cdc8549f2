"""What layers require of the sizes that they are made with and of the inputs they are given."""

from __future__ import annotations

import operator

from numbatorch.errors import ShapeError, message
from numbatorch.tensor import Tensor


def require_sizes(owner: str, least: int = 0, **sizes: object) -> None:
    """Fail unless each size is an integer of at least so much.

    Raises:
        TypeError: one is no integer.
        ShapeError: one is less.

    >>> require_sizes("Linear", in_features=3, out_features=0)
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not hasattr(size, "__index__"):
            raise TypeError(message(owner, f"{name} is {size!r}, not an integer"))
        if operator.index(size) < least:
            raise ShapeError(message(owner, f"{name} is {size}, at least {least} is needed"))


def require_tensors(owner: str, **inputs: object) -> None:
    """Fail unless each input is a tensor.

    Raises:
        TypeError: one is not.

    >>> require_tensors("Linear", input=tensor([1.0]))
    """
    for name, value in inputs.items():
        if not isinstance(value, Tensor):
            raise TypeError(message(owner, f"{name} is of type {type(value).__name__}, no Tensor"))
