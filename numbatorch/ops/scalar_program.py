"""Programs of the scalar language: typed single-assignment instructions over primitives.

A `Builder` (scalar_reader.py) expands the bodies of one fused kernel into a `Program`;
`print_numba` prints it in kernels' language, `scalar_run.evaluate` runs it in NumPy.

Printed text uses the operators + - * / & | ^ ~ << >> < <= > >= == != not, the types bool_
int8..int64 uint8..uint64 float32 float64 as conversions (never float to integer), the numbers
inf and nan, and these names; T is float32 or float64, I any integer type:
    sqrt floor ceil trunc rint fabs   T -> T             llvm.*; rint rounds ties to even
    copysign fmod                     T, T -> T          fmod as in C, exact; may loop
    fma                               T, T, T -> T       llvm.fma
    ldexp                             float32, int32 or float64, int64 -> float
    add_reassoc mul_reassoc           T, T -> T          a sum, a product in any order
    maximum minimum                   T, T -> T          llvm.maximum, llvm.minimum
    max min                           I, I -> I
    select                            bool, X, X -> X    the LLVM instruction, no branch
    bits                              float32 -> int32, float64 -> int64      bitcast
    from_bits                         int32 -> float32, int64 -> float64      bitcast
    truncdiv                          I, I -> I          sdiv or udiv; callers exclude traps
    to_int8 .. to_uint64              T -> I             llvm.fptosi.sat, llvm.fptoui.sat
    round_float16, round_bfloat16, round_float8_e4m3fn, round_float8_e5m2   float32 -> float32
                                      through the narrow type and back
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.ops.scalar_numpy import apply_primitive, fold_literals

# What a name may stand for while a body is expanded: a Value, a literal (Python number) that takes
# the type of the operand it meets, a DType, or a tuple of these.
Operand = Any


class Primitive(NamedTuple):
    """One instruction of the language.

    Attributes:
        operands: per operand the kinds it accepts, letters of DType.kind.
        result: "same" as the last operand, "bool", "bits" (the integer of the float's size),
            "from_bits", or "given" (the instruction's own dtype, for conversions).
        numba: template of its Numba text.
        widens: Numba gives 64 bits for narrower integers, so the text converts back.
    """

    name: str
    operands: tuple[str, ...]
    result: str
    numba: str
    widens: bool = False


def _table() -> dict[str, Primitive]:
    rows = [
        *(
            Primitive(name, (kinds, kinds), "same", f"{{}} {sign} {{}}", True)
            for name, sign, kinds in (
                ("add", "+", "iuf"),
                ("sub", "-", "iuf"),
                ("mul", "*", "iuf"),
                ("and", "&", "iub"),
                ("or", "|", "iub"),
                ("xor", "^", "iub"),
                ("shl", "<<", "iu"),
                ("shr", ">>", "iu"),
            )
        ),
        *(
            Primitive(name, (kinds, kinds), "bool", f"{{}} {sign} {{}}")
            for name, sign, kinds in (
                ("lt", "<", "iufb"),
                ("le", "<=", "iufb"),
                ("gt", ">", "iufb"),
                ("ge", ">=", "iufb"),
                ("eq", "==", "iufb"),
                ("ne", "!=", "iufb"),
            )
        ),
        *(
            Primitive(name, ("f",), "same", f"{name}({{}})")
            for name in ("sqrt", "floor", "ceil", "trunc", "rint", "fabs")
        ),
        Primitive("div", ("f", "f"), "same", "{} / {}"),
        Primitive("copysign", ("f", "f"), "same", "copysign({}, {})"),
        Primitive("fmod", ("f", "f"), "same", "fmod({}, {})"),
        Primitive("fma", ("f", "f", "f"), "same", "fma({}, {}, {})"),
        Primitive("ldexp", ("f", "i"), "from_bits", "ldexp({}, {})"),
        Primitive("add_reassoc", ("f", "f"), "same", "add_reassoc({}, {})"),
        Primitive("mul_reassoc", ("f", "f"), "same", "mul_reassoc({}, {})"),
        Primitive("maximum", ("f", "f"), "same", "maximum({}, {})"),
        Primitive("minimum", ("f", "f"), "same", "minimum({}, {})"),
        Primitive("max", ("iu", "iu"), "same", "max({}, {})", True),
        Primitive("min", ("iu", "iu"), "same", "min({}, {})", True),
        Primitive("neg", ("if",), "same", "-{}", True),
        Primitive("invert", ("iu",), "same", "~{}", True),
        Primitive("not", ("b",), "same", "not {}"),
        Primitive("truncdiv", ("iu", "iu"), "same", "truncdiv({}, {})"),
        Primitive("select", ("b", "iufb", "iufb"), "same", "select({}, {}, {})"),
        Primitive("bits", ("f",), "bits", "bits({})"),
        Primitive("from_bits", ("i",), "from_bits", "from_bits({})"),
        Primitive("convert", ("iufb",), "given", "{dtype}({})"),
        Primitive("saturate", ("f",), "given", "to_{dtype}({})"),
        Primitive("round", ("f",), "given", "round_{dtype}({})"),
    ]
    return {row.name: row for row in rows}


PRIMITIVES = _table()

_BITS = {dt.float32: dt.int32, dt.float64: dt.int64}
_FROM_BITS = {integer: real for real, integer in _BITS.items()}


@dataclass(frozen=True, eq=False)
class Value:
    """One typed scalar of a program.

    Attributes:
        name: its text in Numba code: a variable, an input's name, or a literal.
        dtype: float64, float32, an integer type or bool.
        op: a primitive's name, or "input", "const".
        args: the operands.
        payload: the number of a const, the narrow DType of a round.
    """

    name: str
    dtype: DType
    op: str
    args: tuple["Value", ...] = ()
    payload: Any = None


@dataclass(frozen=True, eq=False)
class Pair:
    """A complex number of a program: its parts, of one float type."""

    real: Value
    imag: Value

    @property
    def dtype(self) -> DType:
        """complex64 or complex128."""
        return self.real.dtype.complex


@dataclass(frozen=True, eq=False)
class Double:
    """A float64 of a program for a device without that type: high + low, of float32."""

    high: Value
    low: Value

    @property
    def dtype(self) -> DType:
        """float64."""
        return dt.float64


@dataclass(eq=False)
class Program(ABC):
    """Makes the instructions of one program; equal instructions are made once, literals folded.

    Attributes:
        target: "numba", or "metal", where functions have bodies without float64, or a float64 is
            a `Double`.
        prefix: of the names of the variables.
        usual: whether what is rarely computed is left out.
        rare: conditions under which the program is then another one.
        instructions: in an order in which each stands after its operands.
    """

    target: str = "numba"
    prefix: str = "v"
    usual: bool = False
    rare: list["Value"] = field(default_factory=list)
    instructions: list[Value] = field(default_factory=list)
    _known: dict[Any, Value] = field(default_factory=dict)
    _count: int = 0

    def input(self, name: str, dtype: DType) -> Value:
        """A value that the kernel has loaded under `name`, of a compute type."""
        if dtype.compute is not dtype:
            problem = f"{name} is {dtype.name}, whose arithmetic is done in {dtype.compute.name}"
            raise DTypeError(message("scalar", problem))
        return self._once(("input", name), lambda: Value(name, dtype, "input"))

    def const(self, value: float, dtype: DType) -> Value:
        """The literal `value`, rounded to `dtype`."""
        if dtype.kind != "f" and not isinstance(value, bool | np.bool_) and value != int(value):
            raise DTypeError(message("scalar", f"literal {value} meets a {dtype.name} operand"))
        if dtype.kind in "iu":
            info = np.iinfo(dtype.numpy)
            if not info.min <= int(value) <= info.max:
                raise DTypeError(message("scalar", f"literal {value} does not fit {dtype.name}"))
            value = int(value)
        with np.errstate(over="ignore", under="ignore"):
            number = dtype.numpy.type(value)
        key = ("const", dtype, number.tobytes())
        return self._once(key, lambda: Value(_literal(number, dtype), dtype, "const", (), number))

    def operand(self, name: str, dtype: DType) -> Any:
        """As `input`; a complex number is a Pair of values loaded under `name` with "r" and "i"."""
        if dtype.kind != "c":
            return self.input(name, dtype)
        return Pair(self.input(f"{name}r", dtype.part), self.input(f"{name}i", dtype.part))

    def number(self, value: complex, dtype: DType) -> Operand:
        """The literal `value` as a Value, or as a Pair if `dtype` is complex."""
        if dtype is dt.float64 and self.target == "metal":
            return self._doubled(value)
        if dtype.kind != "c":
            return self.const(value, dtype)  # type: ignore[arg-type]
        return Pair(self.const(value.real, dtype.part), self.const(value.imag, dtype.part))

    def call(
        self, function: Any, args: Sequence[Operand], attrs: dict[str, Operand] | None = None
    ) -> Any:
        """Expands the body of an operator or scalar function over `args`.

        Args:
            function: an object with a `.body`, or a ScalarFunction.
            args: its operands; literals take the type of the first operand.
            attrs: its keyword-only attributes: Values or Python numbers.
        """
        result = self.expand(function, list(args), attrs or {})
        first = next(a for a in args if isinstance(a, Value | Pair | Double))
        return (
            result
            if isinstance(result, Value | Pair | Double)
            else self.number(result, first.dtype)
        )

    @abstractmethod
    def expand(self, function: Any, args: list[Operand], attrs: dict[str, Operand]) -> Operand:
        """As `call`, but the result may also be a literal or a tuple."""

    def cast(self, value: Operand, dtype: DType) -> Any:
        """`value` as `dtype`; for a half type, rounded to it and held in float32.

        Floats become integers by truncation; out of range saturates and NaN is 0.
        """
        if dtype.kind == "c" or isinstance(value, Pair):
            return self._cast_pair(value, dtype)
        if isinstance(value, Double) or (dtype is dt.float64 and self.target == "metal"):
            return self._cast_double(value, dtype)
        if dtype.compute is not dtype:
            return self._emit("round", self.cast(value, dt.float32), payload=dtype)
        if value.dtype is dtype:
            return value
        if dtype.kind == "b":
            return self._emit("ne", value, self.const(0, value.dtype))
        step = "saturate" if value.dtype.kind == "f" and dtype.kind in "iu" else "convert"
        return self._emit(step, value, dtype=dtype)

    def _cast_double(self, value: Operand, dtype: DType) -> Any:
        """Whole numbers become integers exactly, others as their high part does."""
        if not isinstance(value, Double):
            return self._doubled(value)
        if dtype is dt.float64:
            return value
        if dtype.kind == "f":
            return self.cast(value.high, dtype)
        parts = (self.cast(part, dtype) for part in (value.high, value.low))
        return self.op("add", *parts)

    def _doubled(self, value: Operand) -> Any:
        if isinstance(value, Double):
            return value
        if not isinstance(value, Value):
            with np.errstate(over="ignore", under="ignore"):
                high = float(np.float32(value))
                low = float(np.float32(value - high)) if math.isfinite(high) else 0.0
            return Double(self.const(high, dt.float32), self.const(low, dt.float32))
        high = self.cast(value, dt.float32)
        if value.dtype.kind == "f":
            return Double(high, self.const(0.0, dt.float32))
        rest = self.op("sub", value, self.cast(high, value.dtype))
        return Double(high, self.cast(rest, dt.float32))

    def _cast_pair(self, value: Operand, dtype: DType) -> Any:
        if dtype.kind == "c":
            found = self.paired(value, dtype)
            return Pair(self.cast(found.real, dtype.part), self.cast(found.imag, dtype.part))
        if dtype.kind != "b":
            raise DTypeError(message("convert", f"a complex number is no {dtype.name}"))
        zero = self.const(0, value.real.dtype)
        return self.op("or", self.op("ne", value.real, zero), self.op("ne", value.imag, zero))

    def paired(self, value: Operand, dtype: DType) -> Pair:
        """A Value or a literal as a Pair without an imaginary part, of type `dtype`."""
        if isinstance(value, Pair):
            return value
        if not isinstance(value, Value):
            found: Pair = self.number(value, dtype)
            return found
        part = self.cast(value, dtype.part)
        return Pair(part, self.const(0, part.dtype))

    def op(self, name: str, *operands: Operand) -> Any:
        """The primitive `name`; literals among the operands take the type of the others."""
        values = self._unify(name, operands)
        if values is None and any(isinstance(o, Value) for o in operands):
            raise DTypeError(message(name, "of two literals has no type; write convert(1, dtype)"))
        if values is None:
            return fold_literals(name, operands)
        if values[-1].dtype.kind == "b" and name in ("add", "mul"):
            name = "or" if name == "add" else "and"
        if name == "neg" and values[0].dtype.kind == "u":
            return self._emit("sub", self.const(0, values[0].dtype), values[0])
        if name == "invert" and values[0].dtype.kind == "b":
            name = "not"
        return self._emit(name, *values)

    def rarely(self, condition: Value, exact: Operand, usual: Operand) -> Any:
        """`exact` where `condition` holds, else `usual`."""
        if self.usual and isinstance(condition, Value) and condition.op != "const":
            self.rare.append(condition)
            return usual
        return self.op("select", condition, exact, usual)

    def _emit(
        self, name: str, *args: Value, dtype: DType | None = None, payload: Any = None
    ) -> Value:
        primitive = PRIMITIVES[name]
        for arg, kinds in zip(args, primitive.operands, strict=True):
            if arg.dtype.kind not in kinds:
                raise DTypeError(message(name, f"no meaning for {arg.dtype.name}"))
        result = dtype or _result(primitive, args[-1].dtype)
        if all(a.op == "const" for a in args) and not _traps(name, args):
            folded = apply_primitive(name, [a.payload for a in args], result, payload)
            return self.const(folded[()], result)
        simpler = _identity(name, args)
        if simpler is not None:
            return simpler
        key = (name, result, payload, tuple(map(id, args)))
        return self._once(key, lambda: Value(self._fresh(), result, name, args, payload))

    def _fresh(self) -> str:
        self._count += 1
        return f"{self.prefix}{self._count - 1}"

    def _once(self, key: Any, make: Callable[[], Value]) -> Value:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = make()
            self.instructions.append(known)
        return known

    def _literal_as(self, operand: Operand, dtype: DType) -> Value:
        return operand if isinstance(operand, Value) else self.const(operand, dtype)

    def _unify(self, name: str, operands: Sequence[Operand]) -> list[Value] | None:
        """The operands as Values of one type (the condition of select apart)."""
        typed = {"select": operands[1:], "ldexp": operands[:1]}.get(name, operands)
        dtypes = {o.dtype for o in typed if isinstance(o, Value)}
        if len(dtypes) > 1:
            names = " and ".join(sorted(d.name for d in dtypes))
            hint = "convert one with convert(x, dtype)"
            raise DTypeError(message(name, f"operands are {names}", hint=hint))
        if not dtypes:
            return None
        shared = dtypes.pop()
        values = [self._literal_as(o, shared) for o in typed]
        if name == "select":
            values.insert(0, self._literal_as(operands[0], dt.bool_))
        if name == "ldexp":
            values.append(self._literal_as(operands[1], _BITS[shared]))
            if values[1].dtype is not _BITS[shared]:
                names = (
                    f"{shared.name} is scaled by {_BITS[shared].name}, not {values[1].dtype.name}"
                )
                raise DTypeError(message(name, names))
        return values


def _result(primitive: Primitive, last: DType) -> DType:
    if primitive.result == "bool":
        return dt.bool_
    if primitive.result == "bits":
        return _BITS[last]
    if primitive.result == "from_bits":
        if last not in _FROM_BITS:
            raise DTypeError(message("from_bits", f"no meaning for {last.name}"))
        return _FROM_BITS[last]
    return dt.float32 if primitive.name == "round" else last


def _traps(name: str, args: tuple[Value, ...]) -> bool:
    return name == "truncdiv" and args[1].payload == 0


def _identity(name: str, args: tuple[Value, ...]) -> Value | None:
    """A simpler equal: only what is exact for every operand, -0.0 and NaN included."""
    if name == "select":
        condition, chosen, other = args
        if condition.op == "const":
            return chosen if condition.payload else other
        return chosen if chosen is other else None
    if name in ("and", "or") and args[0].dtype.kind == "b":
        for const, other in (args, args[::-1]):
            if const.op == "const":
                return other if bool(const.payload) == (name == "and") else const
    if name in ("mul", "div") and args[1].op == "const" and args[1].payload == 1:
        return args[0]
    if name == "mul" and args[0].op == "const" and args[0].payload == 1:
        return args[1]
    return None


def _literal(number: Any, dtype: DType) -> str:
    if dtype.kind == "b":
        return str(bool(number))
    if dtype.kind in "iu":
        return f"{dtype.name}({int(number)})"
    text = "nan" if np.isnan(number) else str(number)
    if np.isfinite(number) and dtype.numpy.type(float(text)) != number:
        text = repr(float(number))
    return text if dtype is dt.float64 else f"{dtype.name}({text})"


def reachable(values: Sequence[Value], roots: Sequence[Value] | None) -> list[Value]:
    """The instructions among `values` that `roots` need, in order; all of them without roots."""
    steps = [v for v in values if v.op not in ("input", "const")]
    if roots is None:
        return steps
    needed: set[int] = {id(root) for root in roots}
    for value in reversed(steps):
        if id(value) in needed:
            needed.update(map(id, value.args))
    return [v for v in steps if id(v) in needed]


def print_numba(
    program: Program, roots: Sequence[Value] | None = None, ordered: bool = False
) -> list[str]:
    """The program as statements of kernels' language, one assignment a line.

    Args:
        roots: the values that the kernel uses; all by default.
        ordered: whether no sum or product may be reordered.
    """
    lines = []
    for value in reachable(program.instructions, roots):
        primitive = PRIMITIVES[value.op]
        named = value.payload if value.op == "round" else value.dtype
        name = "bool_" if named is dt.bool_ else named.name
        if ordered and value.op == "add_reassoc":
            primitive = PRIMITIVES["add"]
        if ordered and value.op == "mul_reassoc":
            primitive = PRIMITIVES["mul"]
        text = primitive.numba.format(*(a.name for a in value.args), dtype=name)
        if primitive.widens and value.dtype.kind in "iu" and value.dtype.itemsize < 8:
            text = f"{value.dtype.name}({text})"
        lines.append(f"{value.name} = {text}")
    return lines
