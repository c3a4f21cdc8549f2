"""The operators of the library. Importing this package registers all of them."""

from numbatorch.graph import Op, registered
from numbatorch.ops import (
    attention,
    binary,
    cast,
    compare,
    create,
    index,
    matmul,
    norm,
    quant,
    random,
    reduce,
    rope,
    softmax,
    sort,
    unary,
    view,
)

__all__ = [
    "all_ops",
    "attention",
    "binary",
    "cast",
    "compare",
    "create",
    "index",
    "matmul",
    "norm",
    "quant",
    "random",
    "reduce",
    "rope",
    "softmax",
    "sort",
    "unary",
    "view",
]


def all_ops() -> tuple[Op, ...]:
    """Every registered operator, a user's own among them."""
    return registered()
