"""What models of texts are given: ids, and what has one value for each of them.

Letters: B batch, T tokens.
"""

from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.tensor import Tensor


def batch_shape(operator: str, ids: Tensor) -> tuple[int, int]:
    """(B, T) of a batch of ids.

    Raises:
        TypeError: no tensor.
        ShapeError: not two dimensions.
        DTypeError: not integers.
    """
    given: object = ids
    if not isinstance(given, Tensor):
        problem = f"ids are {type(given).__name__}, not a tensor"
        raise TypeError(message(operator, problem, hint="nt.tensor([ids]) is a batch of one text"))
    row = f"ids {ids.shape} {ids.dtype.name}"
    if ids.ndim != 2:
        hint = "ids.unsqueeze(0) is a batch of one text" if ids.ndim == 1 else None
        raise ShapeError(message(operator, "ids are not (batch, tokens)", row, hint=hint))
    if ids.dtype.kind not in "iu":
        raise DTypeError(message(operator, "ids are not integers", row))
    B, T = ids.shape
    return B, T


def check_beside(operator: str, name: str, values: Tensor, ids: Tensor) -> None:
    """Fail unless there is one of `values` for each id.

    Raises:
        ShapeError: another shape than that of the ids.
    """
    if values.shape != ids.shape:
        rows = (f"ids {ids.shape} {ids.dtype.name}", f"{name} {values.shape} {values.dtype.name}")
        raise ShapeError(message(operator, f"{name} has another shape than ids", *rows))
