"""Numba's side of the vector vocabulary: types of vectors and tiles, operators on vectors."""

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model

SCALARS: dict[str, Any] = {
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "int8": ir.IntType(8),
    "uint8": ir.IntType(8),
    "int16": ir.IntType(16),
    "uint16": ir.IntType(16),
    "int32": ir.IntType(32),
    "uint32": ir.IntType(32),
    "int64": ir.IntType(64),
}


class VecType(types.Type):  # type: ignore[misc]
    """`lanes` numbers of one element type in a register."""

    def __init__(self, element: str, lanes: int) -> None:
        self.element = element
        self.lanes = lanes
        super().__init__(name=f"Vec({element}, {lanes})")

    @property
    def is_float(self) -> bool:
        """Whether the lanes are floats."""
        return self.element.startswith("float")

    @property
    def scalar(self) -> Any:
        """The Numba type of one lane."""
        return getattr(types, self.element)

    @property
    def llvm(self) -> Any:
        """The LLVM type of the vector."""
        return ir.VectorType(SCALARS[self.element], self.lanes)


class TileType(types.Type):  # type: ignore[misc]
    """`rows` by `columns` vectors: the accumulators of a matrix product, all in registers."""

    def __init__(self, element: str, rows: int, columns: int, lanes: int) -> None:
        self.element = element
        self.rows = rows
        self.columns = columns
        self.lanes = lanes
        super().__init__(name=f"Tile({element}, {rows}, {columns}, {lanes})")

    @property
    def vec(self) -> VecType:
        """The type of each of the vectors."""
        return VecType(self.element, self.lanes)

    @property
    def llvm(self) -> Any:
        """The LLVM type of the tile: its vectors, row after row."""
        return ir.ArrayType(self.vec.llvm, self.rows * self.columns)


@register_model(VecType)
@register_model(TileType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


def splat(builder: Any, value: Any, lanes: int) -> Any:
    """A vector with `value` in every lane."""
    vector = ir.VectorType(value.type, lanes)
    empty = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(empty, value, ir.IntType(32)(0))
    return builder.shuffle_vector(
        first, empty, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    )


def _instruction(name: str, vec: VecType) -> str:
    """The name of the builder's method for an operator."""
    if vec.is_float:
        return {"add": "fadd", "sub": "fsub", "mul": "fmul"}[name]
    if name == "rshift":
        return "lshr" if vec.element.startswith("u") else "ashr"
    return {"lshift": "shl"}.get(name, name)


_OPERATORS = {
    "add": (operator.add, operator.iadd),
    "sub": (operator.sub, operator.isub),
    "mul": (operator.mul, operator.imul),
    "and_": (operator.and_, operator.iand),
    "or_": (operator.or_, operator.ior),
    "xor": (operator.xor, operator.ixor),
    "lshift": (operator.lshift, operator.ilshift),
    "rshift": (operator.rshift, operator.irshift),
}


class _VectorOperator(AbstractTemplate):  # type: ignore[misc]
    """Vector with vector of the same type, or with a number that goes to every lane."""

    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) != 2 or not isinstance(args[0], VecType):
            return None
        vec = args[0]
        if args[1] == vec:
            return signature(vec, vec, vec)
        if isinstance(args[1], types.Number):
            return signature(vec, vec, vec.scalar)
        return None


def _lower_operator(name: str) -> Any:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vec = sig.args[0]
        rhs = args[1]
        if not isinstance(sig.args[1], VecType):
            rhs = splat(builder, rhs, vec.lanes)
        return getattr(builder, _instruction(name, vec))(args[0], rhs)

    return lower


for _name, _functions in _OPERATORS.items():
    for _function in _functions:
        _template = type(f"_Vector_{_name}", (_VectorOperator,), {"key": _function})
        infer_global(_function)(_template)
        lower_builtin(_function, VecType, types.Any)(_lower_operator(_name))
