"""Element types: plain numbers, and the GGML block types that weights are stored in.

Half types are stored narrow, computed in float32 and rounded on store.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from numbatorch.errors import DTypeError, message


@dataclass(frozen=True, eq=False)
class DType:
    """An element type.

    Attributes:
        name: the field's name, `float32` or `Q4_K`.
        kind: f float, i signed, u unsigned, b bool, q GGML block.
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
    def numpy(self) -> np.dtype[Any]:
        """The NumPy type of one element; bytes for block types."""
        if self.kind == "q":
            return np.dtype(np.uint8)
        if self.name in _ML_DTYPES:
            import ml_dtypes

            narrow: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[self.name]))
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


_ML_DTYPES = {
    "bfloat16": "bfloat16",
    "float8_e4m3": "float8_e4m3fn",
    "float8_e5m2": "float8_e5m2",
}

float64 = DType("float64", "f", 8, ggml_id=28)
float32 = DType("float32", "f", 4, ggml_id=0)
float16 = DType("float16", "f", 2, ggml_id=1)
bfloat16 = DType("bfloat16", "f", 2, ggml_id=30)
float8_e4m3 = DType("float8_e4m3", "f", 1)
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

# Block layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
Q4_0 = DType("Q4_0", "q", 18, 32, ggml_id=2)
Q5_0 = DType("Q5_0", "q", 22, 32, ggml_id=6)
Q8_0 = DType("Q8_0", "q", 34, 32, ggml_id=8)
Q4_K = DType("Q4_K", "q", 144, 256, ggml_id=12)
Q6_K = DType("Q6_K", "q", 210, 256, ggml_id=14)

FLOATS = (float64, float32, float16, bfloat16, float8_e4m3, float8_e5m2)
SIGNED = (int64, int32, int16, int8)
UNSIGNED = (uint64, uint32, uint16, uint8)
INTEGERS = SIGNED + UNSIGNED
NUMBERS = FLOATS + INTEGERS
INTEGERS_AND_BOOL = (*INTEGERS, bool_)
PLAIN = (*NUMBERS, bool_)
BLOCKS = (Q4_0, Q5_0, Q8_0, Q4_K, Q6_K)

by_name: dict[str, DType] = {dtype.name: dtype for dtype in PLAIN + BLOCKS}
by_ggml_id: dict[int, DType] = {d.ggml_id: d for d in by_name.values() if d.ggml_id is not None}


def _lookup(name: str) -> DType:
    return by_name[name]


def from_numpy(dtype: Any) -> DType:
    """The element type of a NumPy dtype.

    >>> import numpy
    >>> from_numpy(numpy.dtype("float32"))
    numbatorch.float32
    """
    name = np.dtype(dtype).name
    found = by_name.get("float8_e4m3" if name == "float8_e4m3fn" else name)
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
    if isinstance(dtype, str) and dtype in by_name:
        return by_name[dtype]
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

    A float wins over an integer and an integer over bool; of one kind the wider wins; float16
    with bfloat16 is float32; unsigned with signed is the signed type that holds both.
    Where we differ from PyTorch: uint16, uint32 promote by the same rule instead of failing.

    >>> promote(int64, float16), promote(uint8, int8), promote(float16, bfloat16)
    (numbatorch.float16, numbatorch.int16, numbatorch.float32)
    """
    if lhs is rhs:
        return lhs
    if "q" in (lhs.kind, rhs.kind):
        raise DTypeError(f"{lhs.name} and {rhs.name} do not promote: dequantize the block type")
    if lhs.kind == "b" or rhs.kind == "b":
        return rhs if lhs.kind == "b" else lhs
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
