"""The words that bodies of the scalar language are written in.

A body is a small Python function that is read, never called (scalar_reader.py): an elementwise
operator's, or that of a function which other bodies call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NoReturn

from numbatorch.dtype import DType, float32, float64
from numbatorch.errors import DTypeError, message
from numbatorch.ops.scalar_program import Double, Operand, Pair, Program, Value

# In the signature of a body: the number that an operand is. Bodies are read, not run.
Scalar = Any


def _only_in_bodies(name: str) -> NoReturn:
    hint = "scalar_run.run(function, arrays) runs it in NumPy"
    raise TypeError(message(name, "is called in bodies of the scalar language only", hint=hint))


@dataclass(frozen=True, eq=False)
class Form:
    """A word of the language that bodies may call: built from primitives by Python code."""

    name: str
    build: Callable[..., Operand]

    def __call__(self, *args: Any) -> Any:
        _only_in_bodies(self.name)


class ScalarFunction:
    """A library function of the language: a body, or one body per dtype.

    Attributes:
        bodies: by the dtype of the operands, None for every other, and by the target, "" for every
            other.
    """

    def __init__(self, function: Callable[..., Any], dtype: DType | None) -> None:
        self.name = function.__name__
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.bodies: dict[tuple[DType | None, str], Callable[..., Any]] = {(dtype, ""): function}

    def at(
        self, dtype: DType, target: str = ""
    ) -> Callable[[Callable[..., Any]], "ScalarFunction"]:
        """Registers the body for operands of `dtype`, on every target or on one."""

        def register(function: Callable[..., Any]) -> "ScalarFunction":
            self.bodies[dtype, target] = function
            return self

        return register

    def body_for(self, dtype: DType, target: str = "") -> Callable[..., Any]:
        """The body that operands of `dtype` use on `target`."""
        places = ((dtype, target), (dtype, ""), (None, ""))
        body = next((self.bodies[place] for place in places if place in self.bodies), None)
        if body is None:
            accepted = " and ".join(d.name for d, on in self.bodies if d is not None and not on)
            problem = f"the scalar language has it for {accepted}, not for {dtype.name}"
            raise DTypeError(message(self.name, problem))
        return body

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        _only_in_bodies(self.name)


def scalar_function(
    dtype: DType | None = None,
) -> Callable[[Callable[..., Any]], ScalarFunction]:
    """Registers a body as a function that other bodies may call.

    Args:
        dtype: the operand type this body is for; `.at(dtype)` adds others. None: any.
    """

    def register(function: Callable[..., Any]) -> ScalarFunction:
        assert isinstance(function, FunctionType)
        return ScalarFunction(function, dtype)

    return register


def _primitive_form(name: str) -> Form:
    return Form(name, lambda program, *operands: program.op(name, *operands))


def _rounding_form(name: str) -> Form:
    """Rounds to a whole number, which integers are already."""

    def build(program: Program, x: Operand) -> Operand:
        whole = isinstance(x, Value) and x.dtype.kind != "f"
        return x if whole else program.op(name, x)

    return Form(name, build)


def _convert(program: Program, value: Operand, dtype: DType) -> Operand:
    if isinstance(value, Value | Pair | Double):
        return program.cast(value, dtype)
    return program.number(value, dtype)


def _horner(program: Program, x: Value, coefficients: tuple[float, ...]) -> Operand:
    total: Operand = coefficients[0]
    for coefficient in coefficients[1:]:
        total = program.op("add", program.op("mul", total, x), coefficient)
    return total


def _paired_horner(program: Program, x: Value, coefficients: tuple[float, ...]) -> Operand:
    square = program.op("mul", x, x)
    single = len(coefficients) % 2
    total: Operand | None = coefficients[0] if single else None
    for i in range(single, len(coefficients), 2):
        pair = program.op("add", program.op("mul", x, coefficients[i]), coefficients[i + 1])
        total = pair if total is None else program.op("add", program.op("mul", total, square), pair)
    assert total is not None
    return total


def _absolute(program: Program, x: Operand) -> Operand:
    if isinstance(x, Value | Pair | Double) and x.dtype.kind in "fc":
        return program.op("fabs", x)
    if isinstance(x, Value) and x.dtype.kind in "ub":
        return x
    return program.op("select", program.op("lt", x, 0), program.op("neg", x), x)


def _real(program: Program, x: Operand) -> Operand:
    return x.real if isinstance(x, Pair) else x


def _imag(program: Program, x: Operand) -> Operand:
    return x.imag if isinstance(x, Pair) else 0


def _pair(program: Program, real: Operand, imag: Operand) -> Pair:
    part = next(x.dtype for x in (real, imag) if isinstance(x, Value))
    return Pair(_convert(program, real, part), _convert(program, imag, part))


def _head(program: Program, x: Operand) -> Operand:
    return x.high if isinstance(x, Double) else program.const(x, float32)


def _tail(program: Program, x: Operand) -> Operand:
    return x.low if isinstance(x, Double) else program.const(0.0, float32)


def _double(program: Program, high: Operand, low: Operand) -> Double:
    return Double(_convert(program, high, float32), _convert(program, low, float32))


sqrt = _primitive_form("sqrt")
floor = _rounding_form("floor")
ceil = _rounding_form("ceil")
trunc = _rounding_form("trunc")
rint = _rounding_form("rint")
copysign = _primitive_form("copysign")
fmod = _primitive_form("fmod")
ldexp = _primitive_form("ldexp")  # ldexp(x, n) is x * 2**n; n has the size of x
fma = _primitive_form("fma")
select = _primitive_form("select")
# rarely(condition, exact, usual): select, of which loops over elements without any for which the
# condition holds compute the usual value only. It must end in other than + or *, and write each
# multiply-add as fma: what compilers contract in one loop and not in the other changes bits.
rarely = Form("rarely", lambda program, *operands: program.rarely(*operands))
bits = _primitive_form("bits")
from_bits = _primitive_form("from_bits")
truncdiv = _primitive_form("truncdiv")
convert = Form("convert", _convert)  # convert(x, dtype)
absolute = Form("absolute", _absolute)
truth = Form("truth", lambda program, held, like: program.cast(held, like.dtype))  # as a number
real = Form("real", _real)
imag = Form("imag", _imag)
pair = Form("pair", _pair)  # pair(real, imag) is a complex number
head, tail = Form("head", _head), Form("tail", _tail)
double = Form("double", _double)  # double(head, tail): of a float64 where there is none
horner = Form("horner", _horner)  # horner(x, (highest, ..., lowest))
# paired_horner(x, coefficients): as horner, by steps of x**2. A step waits for the one before, and
# processors overlap few elements of a long body, so a chain of half the length takes less.
paired_horner = Form("paired_horner", _paired_horner)


def also_float32(function: ScalarFunction) -> ScalarFunction:
    """Let a function of one or two float64 take float32 too: by way of float64, rounded once."""
    body = next(iter(function.bodies.values()))
    if body.__code__.co_argcount == 1:

        def rounded(x: Scalar) -> Scalar:
            return convert(function(convert(x, float64)), float32)

        function.at(float32)(rounded)
    else:

        def rounded_of_two(x: Scalar, y: Scalar) -> Scalar:
            return convert(function(convert(x, float64), convert(y, float64)), float32)

        function.at(float32)(rounded_of_two)
    return function
