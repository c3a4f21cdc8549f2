"""What lowerings of all devices share: operands converted or copied, functions of numbers."""

from typing import Any

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.scalar_word import scalar_word
from numbatorch.ops import scalar_math
from numbatorch.ops.lowering import Launcher, Operand
from numbatorch.shape import Shape, contiguous_strides, numel

FLOAT = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
INDEX = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64")
WIDE = ("float32", "float64")
# Moving needs only the size of an element, so four kernels serve all types.
BITS = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}

exp = scalar_word(scalar_math.exp)
log = scalar_word(scalar_math.log)
tanh = scalar_word(scalar_math.tanh)


@helper
def pieces_of(rows: int, parts: int) -> int:
    """Into how many pieces a row goes where there are more parts than rows."""
    pieces: int = max(truncdiv(parts, max(rows, 1)), 1)
    return pieces


@helper
def share_block(
    rows: int, cols: int, pieces: int, part: int, parts: int
) -> tuple[int, int, int, int]:
    """The rows and the columns of a part, of which `pieces` share a row: begin and end of both.

    Parts that are left over get none.
    """
    number: int = truncdiv(part, pieces)
    numbers: int = truncdiv(parts, pieces)
    if number >= numbers:
        return 0, 0, 0, 0
    first, last = share(rows, number, numbers)
    lo, hi = share(cols, part - number * pieces, pieces)
    return first, last, lo, hi


@kernel(T=(*FLOAT, "int64"), U=(*FLOAT, *INDEX))
def convert(out: Pointer[T], x: Pointer[U], size: int, part: int, parts: int) -> None:
    """out[i] = x[i] in another type."""
    lo, hi = share(size, part, parts)
    for i in range(lo, hi):
        out[i] = x[i]


def in_type(launcher: Launcher, x: Operand, dtype: DType) -> Any:
    """The elements of a contiguous operand in `dtype`: itself or a copy."""
    if x.dtype is dtype:
        return x
    size = numel(x.shape)
    copy = launcher.scratch(dtype.nbytes(size))
    launcher.launch(convert(T=dtype, U=x.dtype), copy, x, size, work=size, items=size)
    return copy


def wide_index(launcher: Launcher, index: Operand) -> Any:
    """The indices as int64: the operand itself, or a copy."""
    return in_type(launcher, index, dt.int64)


@helper
def place_in(index: int, size1: int, stride0: int, stride1: int) -> int:
    """Where item `index` of a grid (size0, size1) of these strides lies."""
    outer: int = truncdiv(index, size1)
    return outer * stride0 + (index - outer * size1) * stride1


@kernel(T=FLOAT)
def copy_strided(
    out: Pointer[T],
    x: Pointer[T],
    size0: int,
    size1: int,
    size2: int,
    size3: int,
    stride0: int,
    stride1: int,
    stride2: int,
    stride3: int,
    part: int,
    parts: int,
) -> None:
    """A four-dimensional view in row-major order."""
    lo, hi = share(size0 * size1 * size2, part, parts)
    for row in range(lo, hi):
        group = truncdiv(row, size2)
        place = place_in(group, size1, stride0, stride1) + (row - group * size2) * stride2
        for i in range(size3):
            out[row * size3 + i] = x[place + i * stride3]


def unit_rows(launcher: Launcher, x: Operand) -> tuple[Any, Shape]:
    """A four-dimensional operand whose last stride is 1, and its other strides; or a copy's."""
    if x.strides[-1] == 1 or x.shape[-1] == 1:
        return x, x.strides[:3]
    size = numel(x.shape)
    copy = launcher.scratch(x.dtype.nbytes(size))
    spec = copy_strided(T=x.dtype)
    rows = numel(x.shape[:3])
    launcher.launch(spec, copy, x, *x.shape, *x.strides, work=2 * size, items=rows)
    return copy, contiguous_strides(x.shape)[:3]


def sizes_of(x: Operand) -> tuple[int, int]:
    """Rows, and columns of the last dimension."""
    return numel(x.shape[:-1]), x.shape[-1]
