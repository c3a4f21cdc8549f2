"""The operators of the library. Importing this package registers all of them."""

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
