"""Element types: plain numbers, and types that weights are stored in: GGML blocks, narrow numbers.

Half types are stored narrow, computed in float32 and rounded on store. A complex number is stored
as its real part and its imaginary part, next to each other.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from numbatorch import entry_points
from numbatorch.apart import import_module
from numbatorch.errors import DTypeError, message
from numbatorch.settings import note_question


@dataclass(frozen=True, eq=False)
class DType:
    """An element type.

    Attributes:
        name: the field's name, `float32` or `Q4_K`.
        kind: f float, c complex, i signed, u unsigned, b bool, q packed: loaded, stored, converted.
        itemsize: bytes of one element, or of one block.
        block: elements in a block; 1 for plain types.
        ggml_id: number of the type in a GGUF file, or None.
    """

    name: str
    kind: str
    itemsize: int
    block: int = 1
    ggml_id: int | None = None

    def __repr__(self) -> str:
        return f"numbatorch.{self.name}"

    def __reduce__(self) -> Any:
        return _lookup, (self.name,)

    @property
    def is_floating_point(self) -> bool:
        """Whether values of the type are real numbers, and so can carry a gradient."""
        return self.kind == "f"

    @cached_property
    def is_complex(self) -> bool:
        """Whether values of the type are complex numbers."""
        return self.kind == "c"

    @cached_property
    def part(self) -> "DType":
        """The type of the real and the imaginary part; a type of real numbers itself."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    @cached_property
    def complex(self) -> "DType":
        """The type of complex numbers whose parts hold all values of this one, as far as any do."""
        return complex128 if self.part is float64 else complex64

    @property
    def is_storage(self) -> bool:
        """Whether elements are numbers of a byte each that nothing computes on."""
        return self.kind == "q" and self.block == 1

    @cached_property
    def held(self) -> "DType":
        """The type with which numbers of a storage type are computed: it holds them all."""
        return {"i": int8, "u": uint8}.get(self.name[0], float32) if self.is_storage else self

    @cached_property
    def elements(self) -> np.dtype[Any]:
        """The NumPy type of the elements as people see them; of ml_dtypes for storage types."""
        if not self.is_storage:
            return self.numpy
        import_module("ml_dtypes")
        import ml_dtypes

        seen: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.name))
        return seen

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy type of one element; bytes for types that are packed."""
        if self.kind == "q":
            return np.dtype(np.uint8)
        if self.name in _ML_DTYPES:
            import_module("ml_dtypes")
            import ml_dtypes

            narrow: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.name))
            return narrow
        found: np.dtype[Any] = np.dtype(self.name)
        return found

    @cached_property
    def compute(self) -> "DType":
        """The type that arithmetic on this type is done in."""
        if self.kind == "q" or (self.kind == "f" and self.itemsize < 4):
            return float32
        return self

    def nbytes(self, numel: int) -> int:
        """Bytes of `numel` elements; block types need whole blocks."""
        if numel % self.block:
            raise DTypeError(
                f"{self.name}: {numel} elements are not a multiple of its block of {self.block}"
            )
        return numel // self.block * self.itemsize


_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")

float64 = DType("float64", "f", 8, ggml_id=28)
float32 = DType("float32", "f", 4, ggml_id=0)
float16 = DType("float16", "f", 2, ggml_id=1)
bfloat16 = DType("bfloat16", "f", 2, ggml_id=30)
float8_e4m3fn = DType("float8_e4m3fn", "f", 1)
float8_e5m2 = DType("float8_e5m2", "f", 1)
int64 = DType("int64", "i", 8, ggml_id=27)
int32 = DType("int32", "i", 4, ggml_id=26)
int16 = DType("int16", "i", 2, ggml_id=25)
int8 = DType("int8", "i", 1, ggml_id=24)
uint8 = DType("uint8", "u", 1)
uint16 = DType("uint16", "u", 2)
uint32 = DType("uint32", "u", 4)
uint64 = DType("uint64", "u", 8)
bool_ = DType("bool", "b", 1)
complex64 = DType("complex64", "c", 8)
complex128 = DType("complex128", "c", 16)

# GGML's block types, a size for each; how they are laid out stands in ops/blocks/:
# https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
Q4_0 = DType("Q4_0", "q", 18, 32, ggml_id=2)
Q4_1 = DType("Q4_1", "q", 20, 32, ggml_id=3)
Q5_0 = DType("Q5_0", "q", 22, 32, ggml_id=6)
Q5_1 = DType("Q5_1", "q", 24, 32, ggml_id=7)
Q8_0 = DType("Q8_0", "q", 34, 32, ggml_id=8)
Q8_1 = DType("Q8_1", "q", 36, 32, ggml_id=9)
Q2_K = DType("Q2_K", "q", 84, 256, ggml_id=10)
Q3_K = DType("Q3_K", "q", 110, 256, ggml_id=11)
Q4_K = DType("Q4_K", "q", 144, 256, ggml_id=12)
Q5_K = DType("Q5_K", "q", 176, 256, ggml_id=13)
Q6_K = DType("Q6_K", "q", 210, 256, ggml_id=14)
Q8_K = DType("Q8_K", "q", 292, 256, ggml_id=15)
IQ2_XXS = DType("IQ2_XXS", "q", 66, 256, ggml_id=16)
IQ2_XS = DType("IQ2_XS", "q", 74, 256, ggml_id=17)
IQ3_XXS = DType("IQ3_XXS", "q", 98, 256, ggml_id=18)
IQ1_S = DType("IQ1_S", "q", 50, 256, ggml_id=19)
IQ4_NL = DType("IQ4_NL", "q", 18, 32, ggml_id=20)
IQ3_S = DType("IQ3_S", "q", 110, 256, ggml_id=21)
IQ2_S = DType("IQ2_S", "q", 82, 256, ggml_id=22)
IQ4_XS = DType("IQ4_XS", "q", 136, 256, ggml_id=23)
IQ1_M = DType("IQ1_M", "q", 56, 256, ggml_id=29)
TQ1_0 = DType("TQ1_0", "q", 54, 256, ggml_id=34)
TQ2_0 = DType("TQ2_0", "q", 66, 256, ggml_id=35)
MXFP4 = DType("MXFP4", "q", 17, 32, ggml_id=39)
NVFP4 = DType("NVFP4", "q", 36, 64, ggml_id=40)

# What only loads, stores and converts: https://github.com/jax-ml/ml_dtypes
int4 = DType("int4", "q", 1)
uint4 = DType("uint4", "q", 1)
int2 = DType("int2", "q", 1)
uint2 = DType("uint2", "q", 1)
float4_e2m1fn = DType("float4_e2m1fn", "q", 1)
float8_e4m3fnuz = DType("float8_e4m3fnuz", "q", 1)
float8_e5m2fnuz = DType("float8_e5m2fnuz", "q", 1)
float8_e8m0fnu = DType("float8_e8m0fnu", "q", 1)

FLOATS = (float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2)
SIGNED = (int64, int32, int16, int8)
UNSIGNED = (uint64, uint32, uint16, uint8)
INTEGERS = SIGNED + UNSIGNED
NUMBERS = FLOATS + INTEGERS
INTEGERS_AND_BOOL = (*INTEGERS, bool_)
PLAIN = (*NUMBERS, bool_)
COMPLEX = (complex128, complex64)
BLOCKS = (
    *(Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K),
    *(IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS),
    *(TQ1_0, TQ2_0, MXFP4, NVFP4),
)

STORAGE = (
    *(int4, uint4, int2, uint2),
    *(float4_e2m1fn, float8_e4m3fnuz, float8_e5m2fnuz, float8_e8m0fnu),
)
storage_by_name = {dtype.name: dtype for dtype in STORAGE}

by_name: dict[str, DType] = {dtype.name: dtype for dtype in PLAIN + COMPLEX + BLOCKS}
by_ggml_id: dict[int, DType] = {d.ggml_id: d for d in by_name.values() if d.ggml_id is not None}


class Default:
    """The dtype of Python's floats, one for all threads."""

    dtype = float32


def default_dtype() -> DType:
    """The dtype of Python's floats, and of tensors that are made without one."""
    note_question()
    return Default.dtype


def register(dtype: DType) -> DType:
    """Make a block type that GGML does not have known by its name, and by a number of its own.

    Raises:
        DTypeError: another type has the name or the number.
    """
    number = dtype.ggml_id
    other = by_name.get(dtype.name) or (None if number is None else by_ggml_id.get(number))
    if other is not None:
        rows = (f"type {dtype.name}, number {number}", f"taken by {other.name}, {other.ggml_id}")
        raise DTypeError(message("dtype", "two types of one name or number", *rows))
    by_name[dtype.name] = dtype
    if number is not None:
        by_ggml_id[number] = dtype
    return dtype


def find(name: str) -> DType | None:
    """The type of a name; asks plugins for one that is not known."""
    if name in storage_by_name:
        return storage_by_name[name]
    if name not in by_name:
        entry_points.load(entry_points.BLOCKS)
    return by_name.get(name)


def numbered(ggml_id: int) -> DType | None:
    """The type of a number in GGUF files; asks plugins for one that is not known."""
    if ggml_id not in by_ggml_id:
        entry_points.load(entry_points.BLOCKS)
    return by_ggml_id.get(ggml_id)


def _lookup(name: str) -> DType:
    found = find(name)
    if found is None:
        raise DTypeError(message("dtype", f"{name!r} is no element type"))
    return found


def from_numpy(dtype: Any) -> DType:
    """The element type of a NumPy dtype.

    >>> import numpy
    >>> from_numpy(numpy.dtype("float32"))
    numbatorch.float32
    """
    name = np.dtype(dtype).name
    found = by_name.get(name) or storage_by_name.get(name)
    if found is None or np.dtype(dtype).byteorder == ">":
        raise DTypeError(f"NumPy dtype {np.dtype(dtype)!r} has no element type here")
    return found


Like = DType | str | type[Any] | np.dtype[Any]  # what `named` takes


def named(operator: str, dtype: Like) -> DType:
    """The element type that a DType, a name, a NumPy dtype or a Python type stands for.

    As in PyTorch `float` is float64, `int` is int64 and `bool` is bool.

    Raises:
        DTypeError: it stands for none.

    >>> named("zeros", "bfloat16"), named("zeros", float)
    (numbatorch.bfloat16, numbatorch.float64)
    """
    if isinstance(dtype, DType):
        return dtype
    known = find(dtype) if isinstance(dtype, str) else None
    if known is not None:
        return known
    try:
        if not isinstance(dtype, np.dtype | type) or dtype is object:
            raise TypeError
        return from_numpy(dtype)
    except (DTypeError, TypeError):
        hint = "nt.float32, 'float32' and numpy.float32 name one type"
        problem = f"{dtype!r} is no element type"
        raise DTypeError(message(operator, problem, hint=hint)) from None


def promote(lhs: DType, rhs: DType) -> DType:
    """The type that `lhs` and `rhs` meet in, as in PyTorch.

    Complex wins over a float, a float over an integer and an integer over bool; of one kind, and of
    complex with a float, the wider wins; float16
    with bfloat16 is float32; unsigned with signed is the signed type that holds both.
    Where we differ from PyTorch: uint16, uint32 promote by the same rule instead of failing.

    >>> promote(int64, float16), promote(uint8, int8), promote(float16, bfloat16)
    (numbatorch.float16, numbatorch.int16, numbatorch.float32)
    """
    if lhs is rhs:
        return lhs
    if "q" in (lhs.kind, rhs.kind):
        problem = f"{lhs.name} and {rhs.name} do not promote: convert what is packed to floats"
        raise DTypeError(problem)
    if lhs.kind == "b" or rhs.kind == "b":
        return rhs if lhs.kind == "b" else lhs
    if lhs.kind == "c" or rhs.kind == "c":
        wide = float64 in (lhs.part, rhs.part)
        return complex128 if wide else complex64
    if lhs.kind == "f" or rhs.kind == "f":
        if lhs.kind != rhs.kind:
            return lhs if lhs.kind == "f" else rhs
        if lhs.itemsize != rhs.itemsize:
            return lhs if lhs.itemsize > rhs.itemsize else rhs
        return float32 if lhs.itemsize == 2 else float16
    if lhs.kind == rhs.kind:
        return lhs if lhs.itemsize >= rhs.itemsize else rhs
    signed, unsigned = (lhs, rhs) if lhs.kind == "i" else (rhs, lhs)
    if signed.itemsize > unsigned.itemsize:
        return signed
    if unsigned.itemsize == 8:
        raise DTypeError(f"{lhs.name} and {rhs.name} do not promote: no integer type holds both")
    return by_name[f"int{unsigned.itemsize * 16}"]
