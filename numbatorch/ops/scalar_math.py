"""The functions that bodies of the scalar language may call, by name; those of rarer families
stand in files of their own, scalar_arc.py, scalar_gamma.py and the like.

Every one is branch-free over the primitives, so that LLVM vectorises it, and within 2 ulp of the
true value unless its docstring says otherwise.
"""

from numbatorch.ops.scalar import (
    ceil,
    copysign,
    floor,
    fmod,
    imag,
    pair,
    real,
    rint,
    sqrt,
    trunc,
    truth,
)
from numbatorch.ops.scalar_arc import atan2
from numbatorch.ops.scalar_complex import angle, hypot
from numbatorch.ops.scalar_error import erf, gelu, gelu_slope, ndtr, normal_cdf
from numbatorch.ops.scalar_exp import (
    clamp,
    exp,
    exp2,
    expm1,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logaddexp2,
    logit,
    maximum,
    minimum,
    rsqrt,
    tanh,
    tanhshrink,
)
from numbatorch.ops.scalar_integer import is_real, left_shift, right_shift, sign, signbit
from numbatorch.ops.scalar_power import (
    floor_divide,
    nextafter,
    pow_,
    remainder,
    truncated_remainder,
)
from numbatorch.ops.scalar_sigmoid import mish, sigmoid, sigmoid_of_cubic, silu
from numbatorch.ops.scalar_trig import cos, sin, tan

__all__ = [
    "angle",
    "atan2",
    "ceil",
    "clamp",
    "copysign",
    "cos",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_divide",
    "fmod",
    "gelu",
    "gelu_slope",
    "hypot",
    "imag",
    "is_real",
    "left_shift",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "logit",
    "maximum",
    "minimum",
    "mish",
    "ndtr",
    "nextafter",
    "normal_cdf",
    "pair",
    "pow_",
    "real",
    "remainder",
    "right_shift",
    "rint",
    "rsqrt",
    "sigmoid",
    "sigmoid_of_cubic",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sqrt",
    "tan",
    "tanh",
    "tanhshrink",
    "trunc",
    "truncated_remainder",
    "truth",
]
