"""The functions that bodies of the scalar language may call, by name.

Every one is branch-free over the primitives, so that LLVM vectorises it, and within 2 ulp of the
true value unless its docstring says otherwise.
"""

from numbatorch.ops.scalar import ceil, floor, imag, pair, real, rint, sqrt, trunc
from numbatorch.ops.scalar_complex import angle, hypot
from numbatorch.ops.scalar_exp import (
    clamp,
    erf,
    exp,
    expm1,
    log,
    log1p,
    log2,
    maximum,
    minimum,
    normal_cdf,
    rsqrt,
    sigmoid,
    tanh,
)
from numbatorch.ops.scalar_integer import left_shift, right_shift, sign
from numbatorch.ops.scalar_power import floor_divide, pow_, remainder
from numbatorch.ops.scalar_trig import atan2, cos, sin, tan

__all__ = [
    "angle",
    "atan2",
    "ceil",
    "clamp",
    "cos",
    "erf",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "hypot",
    "imag",
    "left_shift",
    "log",
    "log1p",
    "log2",
    "maximum",
    "minimum",
    "normal_cdf",
    "pair",
    "pow_",
    "real",
    "remainder",
    "right_shift",
    "rint",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
]
