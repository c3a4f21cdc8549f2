"""One small kernel for each word of numbers, with operands and what NumPy makes of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from numbatorch import dtype as dt
from numbatorch.language.kernel import EmittedKernel

Array = np.ndarray[Any, Any]

TEXT = """from numbatorch.language.kernel import Pointer, address, share, view
from numbatorch.language.primitives import *
from numbatorch.language.words import Table

BYTES = Table((-128, -3, 0, 127), int8)
UNSIGNED = Table((4294967295, 7, 0, 2147483648), uint32)
LONG = Table((-(2**63), 2**40 + 1, -1), int64)

def kernel(out: Pointer["{result}"], {parameters}, n: int, part: int, parts: int) -> None:
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        {loads}
        out[i] = {expression}
"""

SPECIAL = (0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -3.5, 0.1, -7.25, 1e-40, -1e-42, 3e4, -1e5, 65519.0)
LARGE = (127.9, 128.0, -128.5, -129.0, 255.9, 256.0, 32767.5, -32769.0, 65536.0, 2147483520.0)
HUGE = (2147483648.0, -2147483904.0, 4294967296.0, 9.3e18, -9.3e18, 1.9e19, 1e30, -1e30)
NOT_FINITE = (np.inf, -np.inf, np.nan)
INTEGERS = (0, 1, -1, 2, -3, 7, 100, -100, 127, -128)


@dataclass(frozen=True)
class Case:
    """An expression over operands `a`, `b`, `c` of given element types.

    Attributes:
        word: that it is about.
        reference: of the operands as arrays.
        ulps: units of the last place that the result may be off.
    """

    word: str
    expression: str
    types: tuple[str, ...]
    result: str
    reference: Callable[..., Array]
    ulps: int = 0
    values: tuple[float, ...] = field(default=(*SPECIAL, *LARGE, *HUGE, *NOT_FINITE))

    @property
    def id(self) -> str:
        """Name of the test."""
        return f"{self.word}-{'-'.join(self.types)}"

    def spec(self) -> EmittedKernel:
        """The kernel."""
        pairs = list(zip("abc", self.types, strict=False))
        parameters = ", ".join(f'p{n}: Pointer["{t}"]' for n, t in pairs)
        loads = "\n        ".join(f"{n} = p{n}[i]{' != 0' * (t == 'bool')}" for n, t in pairs)
        stored = f"uint8({self.expression})" if self.result == "bool" else self.expression
        text = TEXT.format(
            result=self.result, parameters=parameters, loads=loads, expression=stored
        )
        words = ("pointer",) * (1 + len(self.types)) + ("int",)
        return EmittedKernel(f"word_{self.word}", ("test", text), words, lambda: text)

    def operands(self) -> list[Array]:
        """Every combination of the values, for two operands; drawn ones for three."""
        rng = np.random.default_rng(0)
        rows = [_values(t, self.values) for t in self.types]
        if len(rows) == 2:
            a, b = np.meshgrid(rows[0], rows[1], indexing="ij")
            return [np.ascontiguousarray(a.ravel()), np.ascontiguousarray(b.ravel())]
        if len(rows) == 3:
            return [rng.choice(row, 200) for row in rows]
        return rows

    def check(self, out: Array, operands: list[Array]) -> None:
        """Compare with NumPy, bit for bit unless `ulps` says otherwise; every NaN is one."""
        with np.errstate(all="ignore"):
            expected = np.asarray(self.reference(*operands)).astype(out.dtype)
        assert out.dtype == expected.dtype
        if out.dtype.kind not in "iub":
            found, wanted = out.astype(np.float64), expected.astype(np.float64)
            same = (found == wanted) & (np.signbit(found) == np.signbit(wanted))
            same |= np.isnan(found) & np.isnan(wanted)
            if self.ulps:
                with np.errstate(all="ignore"):
                    limit = self.ulps * np.abs(np.spacing(expected).astype(np.float64))
                    same |= np.abs(found - wanted) <= limit
        else:
            same = out == expected
        wrong = np.flatnonzero(~same)
        where = wrong[0] if len(wrong) else 0
        shown = [operand[where] for operand in operands]
        assert not len(wrong), f"{self.id} of {shown}: {out[where]}, expected {expected[where]}"


def _values(element: str, values: tuple[float, ...]) -> Array:
    dtype = dt.by_name[element]
    with np.errstate(all="ignore"):
        if dtype.kind == "f":
            return np.array(values, np.float64).astype(np.float32).astype(dtype.numpy)
        if dtype.kind == "b":
            return np.array([False, True])
        extremes = [np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max]
        return np.concatenate([np.array(INTEGERS).astype(dtype.numpy), np.array(extremes)]).astype(
            dtype.numpy
        )


def _ordered(function: Any, chosen: Any) -> Callable[..., Array]:
    """np.minimum or np.maximum that also orders zeros."""

    def reference(a: Array, b: Array) -> Array:
        zeros = chosen(np.signbit(a), np.signbit(b))
        return np.where((a == 0) & (b == 0), np.where(zeros, -0.0, 0.0), function(a, b))

    return reference


def _saturated(name: str) -> Callable[[Array], Array]:
    info = np.iinfo(name)

    def reference(a: Array) -> Array:
        limits = (float(info.min), float(info.max))
        return np.array([whole(min(max(x, limits[0]), limits[1])) for x in a.tolist()], name)

    def whole(x: float) -> int:
        return 0 if np.isnan(x) else min(max(int(x), info.min), info.max)

    return reference


def _fma(a: Array, b: Array, c: Array) -> Array:
    wide = np.longdouble if a.dtype == np.float64 else np.float64
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


def _truncdiv(a: Array, b: Array) -> Array:
    return np.trunc(a.astype(np.float64) / b)


def _python(function: Any) -> Callable[..., Array]:
    return lambda *rows: np.array([function(*row) for row in zip(*rows, strict=True)])


def _float_cases(kind: str) -> list[Case]:
    one, two, three = (kind,), (kind, kind), (kind, kind, kind)
    small = (*SPECIAL, *NOT_FINITE)
    power = {"float32": "int32", "float64": "int64"}[kind]
    rounding = {"sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc}
    rounding |= {"rint": np.rint, "fabs": np.fabs}
    cases = [Case(n, f"{n}(a)", one, kind, f) for n, f in rounding.items()]
    binary = {"copysign": np.copysign, "fmod": np.fmod, "add_reassoc": np.add}
    binary |= {"mul_reassoc": np.multiply}
    binary |= {"minimum": _ordered(np.minimum, np.logical_or)}
    binary |= {"maximum": _ordered(np.maximum, np.logical_and)}
    cases += [Case(n, f"{n}(a, b)", two, kind, f, values=small) for n, f in binary.items()]
    cases += [
        Case("min", "min(a, b)", two, kind, _python(min), values=small),
        Case("max", "max(a, b)", two, kind, _python(max), values=small),
        Case("fma", "fma(a, b, c)", three, kind, _fma, 1, values=small),
        Case("bool_", "bool_(a)", one, "bool", lambda a: a != 0),
        Case("ldexp", f"ldexp(a, {power}(b))", (kind, "int8"), kind, np.ldexp, values=small),
    ]
    return cases


def _conversions() -> list[Case]:
    floats = ("float32", "float64")
    narrow = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
    narrow |= {"float8_e4m3fn": ml_dtypes.float8_e4m3fn, "float8_e5m2": ml_dtypes.float8_e5m2}
    integers = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    cases = [
        Case(f"to_{to}", f"to_{to}(a)", (t,), to, _saturated(to)) for to in integers for t in floats
    ]
    for name, kind in narrow.items():
        rounded: Any = lambda a, kind=kind: a.astype(kind).astype(np.float32)  # noqa: E731
        cases += [
            Case(f"round_{name}", f"round_{name}(a)", ("float32",), "float32", rounded),
            Case(name, "a", ("float32",), name, lambda a, kind=kind: a.astype(kind)),
            Case(f"load {name}", "a", (name,), "float32", lambda a: a.astype(np.float32)),
        ]
    for to in integers:
        cases += [
            Case(to, f"{to}(a)", (t,), to, lambda a, to=to: a.astype(to))
            for t in ("int64", "int8", "uint16")
        ]
    for to in floats:
        cases.append(Case(to, f"{to}(a)", ("int32",), to, lambda a, to=to: a.astype(to)))
    return cases


def _integer_cases() -> list[Case]:
    def over_nonzero(a: Array, b: Array) -> Array:
        return _truncdiv(a, np.where(b == 0, 1, b))

    def chosen(a: Array, b: Array, c: Array) -> Array:
        return np.where(a, b, c)

    int8 = ("int8", "int8")
    return [
        Case("truncdiv", "truncdiv(int16(a), int16(b + (b == 0)))", int8, "int64", over_nonzero),
        Case("min", "min(a, b)", int8, "int64", np.minimum),
        Case("max", "max(a, b)", int8, "int64", np.maximum),
        Case("select", "select(a, b, c)", ("bool", "int32", "int32"), "int32", chosen),
        Case("select", "select(a, b, c)", ("bool", "float32", "float32"), "float32", chosen),
        Case("bits", "bits(a)", ("float32",), "int32", lambda a: a.view(np.int32)),
        Case("bits", "bits(a)", ("float64",), "int64", lambda a: a.view(np.int64)),
        Case("from_bits", "from_bits(a)", ("int32",), "float32", lambda a: a.view(np.float32)),
        Case("from_bits", "from_bits(a)", ("uint32",), "float32", lambda a: a.view(np.float32)),
        Case("from_bits", "from_bits(a)", ("int64",), "float64", lambda a: a.view(np.float64)),
        Case("view", "view(address(pa) + 4 * i, int32)[0]", ("uint32",), "int32",
             lambda a: a.view(np.int32)),
        Case("table", "BYTES[a & 3]", ("int8",), "int8",
             lambda a: np.array([-128, -3, 0, 127])[a & 3]),
        Case("table", "BYTES[a & 3] * a", ("uint8",), "int64",
             lambda a: np.array([-128, -3, 0, 127])[a & 3] * a),
        Case("table", "UNSIGNED[a & 3]", ("uint8",), "uint32",
             lambda a: np.array([4294967295, 7, 0, 2147483648])[a & 3]),
        Case("table", "LONG[a % 3] + BYTES[a & 3]", ("uint8",), "int64",
             lambda a: np.array([-(2**63), 2**40 + 1, -1])[a % 3]
             + np.array([-128, -3, 0, 127])[a & 3]),
        Case("add", "uint32(a + b)", ("uint32", "uint32"), "uint32", np.add),
        Case("mul", "a * b", ("int64", "int64"), "int64", np.multiply),
        Case("shift", "uint32(a >> uint32(3))", ("uint32",), "uint32", lambda a: a >> 3),
        Case("sum of bytes", "a * b", ("int8", "int8"), "int64",
             lambda a, b: a.astype(np.int64) * b),
        Case("floor division", "a // select(b == 0, int8(3), b)", int8, "int64",
             lambda a, b: a.astype(np.int64) // np.where(b == 0, 3, b)),
        Case("remainder", "a % select(b == 0, int8(3), b)", int8, "int64",
             lambda a, b: a.astype(np.int64) % np.where(b == 0, 3, b)),
    ]  # fmt: skip


CASES = [
    *_float_cases("float32"),
    *_float_cases("float64"),
    *_conversions(),
    *_integer_cases(),
]
