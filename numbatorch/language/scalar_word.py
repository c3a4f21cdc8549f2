"""Functions of the scalar language (ops/scalar.py) as words of hand-written kernels.

After `exp = scalar_word(scalar_math.exp)`, `exp(x)` in a kernel is branch-free code for float32 or
float64, so that LLVM vectorises the loop around it.
"""

import inspect
from types import CodeType, FunctionType
from typing import Any

from numbatorch import dtype as dtypes
from numbatorch.language import primitives
from numbatorch.language.keys import digest
from numbatorch.language.words import Intrinsic
from numbatorch.ops.scalar import ScalarFunction
from numbatorch.ops.scalar_program import print_numba
from numbatorch.ops.scalar_reader import Builder


class Definition:
    """What an intrinsic is made of; its `repr` stands for it in the keys of kernels."""

    def __init__(self, function: ScalarFunction) -> None:
        body = next(iter(function.bodies.values()))
        names = ("typingctx", *inspect.signature(body).parameters)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.function = function
        self.version = _fingerprint(function, set())
        self._printed: dict[tuple[str, ...], FunctionType] = {}
        self.__name__ = function.name
        self.__doc__ = function.__doc__
        self.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])

    def __repr__(self) -> str:
        return f"{self.function.name} {self.version}"

    def __call__(self, typingctx: Any, *operands: Any) -> Any:
        from numba.core import types

        from numbatorch.language import numba_types

        if not all(isinstance(kind, types.Number | types.Literal) for kind in operands):
            return None
        kinds = tuple(types.unliteral(kind) for kind in operands)
        return numba_types.call(self.printed(tuple(str(kind) for kind in kinds)), kinds)

    def printed(self, kinds: tuple[str, ...]) -> FunctionType:
        """The function over the primitives for operands of these dtypes; one object for each."""
        if kinds not in self._printed:
            self._printed[kinds] = _printed(self.function, kinds)
        return self._printed[kinds]


def scalar_word(function: ScalarFunction) -> Any:
    """The scalar function as a word that kernels call on numbers."""
    return Intrinsic(Definition(function), False)


def _printed(function: ScalarFunction, kinds: tuple[str, ...]) -> FunctionType:
    """A Python function over the primitives, for operands of these dtypes."""
    builder = Builder()
    args = [builder.input(f"x{i}", dtypes.by_name[kind]) for i, kind in enumerate(kinds)]
    result = builder.call(function, args)
    lines = [*print_numba(builder, [result]), f"return {result.name}"]
    text = "\n    ".join([f"def {function.name}({', '.join(a.name for a in args)}):", *lines])
    namespace = dict(vars(primitives))
    exec(compile(text, f"<{function.name} of {', '.join(kinds)}>", "exec"), namespace)
    made = namespace[function.name]
    assert isinstance(made, FunctionType)
    return made


def _fingerprint(value: Any, seen: set[Any]) -> str:
    """Hash of the code that a scalar function expands to, without reading its file."""
    if isinstance(value, ScalarFunction):
        if value in seen:
            return value.name
        seen.add(value)
        return digest(*(_fingerprint(body, seen) for body in value.bodies.values()))
    if isinstance(value, FunctionType):
        scope, code = value.__globals__, value.__code__
        named = (_fingerprint(scope[n], seen) for n in code.co_names if n in scope)
        return digest(_fingerprint(code, seen), *named)
    if isinstance(value, CodeType):
        constants = [c for c in value.co_consts if not isinstance(c, str)]
        return digest(value.co_code.hex(), *value.co_names, *map(repr, constants))
    if isinstance(value, bool | int | float | str | tuple):
        return repr(value)
    return str(getattr(value, "name", type(value).__qualname__))
