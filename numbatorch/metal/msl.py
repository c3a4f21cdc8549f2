"""Types, literals and names of the Metal Shading Language, version 3.1.

Kernels must be compiled without fast math: NaN, infinities and -0.0 keep their meaning.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.metal import prelude

TYPES: dict[DType, str] = {
    dt.float32: "float",
    dt.float16: "half",
    dt.bfloat16: "bfloat",
    dt.int64: "long",
    dt.int32: "int",
    dt.int16: "short",
    dt.int8: "char",
    dt.uint64: "ulong",
    dt.uint32: "uint",
    dt.uint16: "ushort",
    dt.uint8: "uchar",
    dt.bool_: "bool",
}

# Names that the text of a kernel cannot give to variables: words of C++ and of Metal, and what the
# printed text itself uses.
_CPP = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
    constexpr const_cast continue decltype default delete do double dynamic_cast else enum explicit
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast return short signed
    sizeof static static_assert static_cast struct switch template this thread_local throw true try
    typedef typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq
"""
_METAL = """
    as_type assert atomic atomic_float atomic_int atomic_uint bfloat constant device fragment half
    HUGE_VALF HUGE_VALH kernel MAXFLOAT MAXHALF mem_flags metal object_data ptrdiff_t ray_data
    sampler size_t texture thread threadgroup threadgroup_barrier threadgroup_imageblock uchar uint
    ulong ushort vertex visible
    int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t
"""
_USED = """
    Arguments args shared thread_index group_index thread_count group_count lane simdgroup
    INFINITY NAN abs ceil copysign fabs floor fma fmod isnan max min precise rint simd_max simd_sum
    sqrt trunc atomic_fetch_add_explicit memory_order_relaxed partial_offset finish_epilogue
"""
_VECTORS = {
    f"{stem}{n}"
    for stem in ("char", "uchar", "short", "ushort", "int", "uint", "half", "float", "bfloat")
    for n in (2, 3, 4)
}
_MACROS = re.compile("(M|FLT|HALF|BFLT|METAL|CHAR|U?(S?CHAR|SHRT|INT|LONG))_[A-Z0-9_]+")
RESERVED = {*_CPP.split(), *_METAL.split(), *_USED.split(), *_VECTORS, *prelude.FUNCTIONS}

# Functions of Metal's on numbers, which functions of a kernel cannot share a name with.
METAL_FUNCTIONS = frozenset(
    """
    abs absdiff acos acosh addsat all any asin asinh atan atan2 atanh ceil clamp clz copysign cos
    cosh cospi cross ctz determinant distance dot exp exp10 exp2 extract_bits fabs faceforward fast
    fdim floor fma fmax fmax3 fmedian3 fmin fmin3 fmod fract frexp hadd ilogb insert_bits isfinite
    isinf isnan isnormal isordered isunordered ldexp length length_squared log log10 log2 mad24
    madhi madsat max max3 median3 min min3 mix modf mul24 mulhi nextafter normalize popcount pow
    powr precise reflect refract reverse_bits rhadd rint rotate round rsqrt saturate select sign
    signbit sin sincos sinh sinpi smoothstep sqrt step subsat tan tanh tanpi transpose trunc
    """.split()
)


@dataclass(frozen=True)
class PointerType:
    """A pointer to elements of a dtype, in one of Metal's address spaces."""

    element: DType
    space: str

    @property
    def text(self) -> str:
        """Its spelling."""
        return f"{self.space} {storage_name(self.element)}*"

    @property
    def step(self) -> int:
        """What an index counts, in stored numbers: bytes of a block for block types."""
        return self.element.itemsize if self.element.kind == "q" else 1


@dataclass(frozen=True)
class TupleType:
    """Several values that a function returns; a struct in the text."""

    items: tuple["Type", ...]

    @property
    def text(self) -> str:
        """The name of the struct."""
        return "_".join(["Tuple", *(spelling(i).replace(" ", "_").strip("*") for i in self.items)])

    @property
    def definition(self) -> str:
        """The struct."""
        fields = " ".join(f"{spelling(t)} item{i};" for i, t in enumerate(self.items))
        return f"struct {self.text} {{ {fields} }};"


@dataclass(frozen=True)
class Static:
    """What is known while printing and has no value in the text: a type, a function, None."""

    value: Any


Type = DType | PointerType | TupleType | Static


def type_name(dtype: DType) -> str:
    """The MSL type of a dtype; Metal has no float64."""
    if dtype not in TYPES:
        hint = "use float32" if dtype is dt.float64 else None
        raise DTypeError(message("metal", f"has no {dtype.name}", hint=hint))
    return TYPES[dtype]


def storage_name(dtype: DType) -> str:
    """The MSL type that elements of a dtype have in memory."""
    if dtype.kind in "bq" or (dtype.kind == "f" and dtype.itemsize == 1):
        return "uchar"
    return type_name(dtype)


def spelling(kind: Type) -> str:
    """The MSL text of the type of a variable."""
    if isinstance(kind, DType):
        return type_name(kind)
    assert not isinstance(kind, Static)
    return kind.text


def variable_name(name: str) -> str:
    """A Python name as a name that MSL allows."""
    return f"{name}_" if name in RESERVED or _MACROS.fullmatch(name) else name


def literal(number: Any, dtype: DType) -> str:
    """`number` as an MSL literal of exactly the type `dtype`."""
    if dtype.kind == "b":
        return "true" if number else "false"
    if dtype.kind in "iu":
        return _integer_literal(int(number), dtype)
    type_name(dtype)
    value = float(number)
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{np.float32(value)!s}f"


def _integer_literal(value: int, dtype: DType) -> str:
    if dtype.itemsize < 4:
        return f"{type_name(dtype)}({value})"
    suffix = ("u" if dtype.kind == "u" else "") + ("l" if dtype.itemsize == 8 else "")
    if value == -(1 << (8 * dtype.itemsize - 1)):
        return f"({value + 1}{suffix} - 1{suffix})"
    return f"{value}{suffix}"
