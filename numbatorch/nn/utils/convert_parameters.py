"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from numbatorch.errors import ShapeError, message
from numbatorch.ops.operands import describe
from numbatorch.ops.surface import names_itself
from numbatorch.tensor import Tensor


@names_itself
def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All numbers of several tensors, one after the other; gradients flow through it.

    Returns:
        (N,), N the number of elements of all.
    Raises:
        ValueError: there are none.
        DeviceError: they are on different devices.

    >>> parameters_to_vector([tensor([[1.0], [2.0]]), tensor([3.0])])
    tensor([1., 2., 3.])
    """
    from numbatorch import cat

    found: Tensor = cat([parameter.reshape(-1) for parameter in parameters])
    return found


@names_itself
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Have parameters hold the numbers of a vector, whose memory they share from then on.

    Where we differ from PyTorch: a vector that is too long is an error too.

    Args:
        vec: (N,), N the number of elements of all parameters.
    Raises:
        TypeError: `vec` is no tensor.
        ShapeError: `vec` is no vector of that many numbers.

    >>> x, y = nt.zeros(2, 1), nt.zeros(1)
    >>> vector_to_parameters(tensor([1.0, 2.0, 3.0]), [x, y])
    >>> x, y
    (tensor([[1.],
            [2.]]), tensor([3.]))
    """
    given = list(parameters)
    total = sum(parameter.numel() for parameter in given)
    if vec.shape != (total,):
        problem = f"the parameters have {total} elements together"
        raise ShapeError(message("vector_to_parameters", problem, f"vec {describe(vec.node)}"))
    start = 0
    for parameter in given:
        end = start + parameter.numel()
        parameter.data = vec[start:end].view(parameter.shape).data
        start = end
