"""Keys of kernels: a hash of a function's code and, recursively, of all the values that it names.

No file is read. Bytecode differs between versions of Python, which packs keep apart.
"""

import hashlib
from dataclasses import fields, is_dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from numbatorch.language.words import Helper, Intrinsic
from numbatorch.locks import Lock


def digest(*parts: str) -> str:
    """A short hash of texts."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode()
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


_known: dict[FunctionType, str] = {}


_running = Lock()  # so that no other thread takes the mark of a recursion for a hash


def function_digest(function: FunctionType) -> str:
    """Hash of a function's code, defaults, and the globals and cells that it names."""
    with _running:
        return _function_digest(function)


def _function_digest(function: FunctionType) -> str:
    known = _known.get(function)
    if known is not None:
        return known
    _known[function] = "recursive"
    names = _names(function.__code__)
    parts = [_code_digest(function.__code__, function.__doc__), repr(function.__defaults__)]
    for name in names:
        if name in function.__globals__:
            parts += [name, _value_digest(function.__globals__[name], names)]
    for cell in function.__closure__ or ():
        parts.append(_value_digest(cell.cell_contents, names))
    _known[function] = digest(*parts)
    return _known[function]


def _names(code: CodeType) -> tuple[str, ...]:
    """Names that code and the functions inside of it use."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return tuple(dict.fromkeys((*code.co_names, *(n for c in inner for n in _names(c)))))


def _code_digest(code: CodeType, doc: str | None) -> str:
    consts = [c for c in code.co_consts if not (isinstance(c, str) and c == doc)]
    return digest(
        code.co_code.hex(),
        *code.co_names,
        *code.co_varnames,
        *(_value_digest(const, ()) for const in consts),
    )


def _value_digest(value: Any, names: tuple[str, ...]) -> str:
    """Hash of a value that code names; `names` are the attributes that it may read of a module."""
    if isinstance(value, Helper):
        return digest("helper", str(value.inline), function_digest(value.function))
    if isinstance(value, Intrinsic):
        return digest("intrinsic", str(value.literal), _value_digest(value.definition, ()))
    fingerprint = getattr(value, "kernel_fingerprint", None)
    if isinstance(fingerprint, str):
        return fingerprint
    if isinstance(value, FunctionType):
        if value.__module__.partition(".")[0] == "numbatorch" or value.__closure__:
            return function_digest(value)
        return digest(value.__module__, value.__qualname__)
    if isinstance(value, ModuleType):
        if value.__name__.partition(".")[0] != "numbatorch":
            return value.__name__
        found = [n for n in names if hasattr(value, n)]
        return digest(value.__name__, *(_value_digest(getattr(value, n), ()) for n in found))
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return _plain_digest(value, names)


def _plain_digest(value: Any, names: tuple[str, ...]) -> str:
    if isinstance(value, CodeType):
        return _code_digest(value, None)
    if isinstance(value, tuple):
        return digest("tuple", *(_value_digest(item, names) for item in value))
    if isinstance(value, frozenset):
        return digest("frozenset", *sorted(map(repr, value)))
    compiled_from = getattr(value, "py_func", None)
    if isinstance(compiled_from, FunctionType):
        return digest("njit", function_digest(compiled_from))
    if isinstance(value, dict):
        parts = [f"{key!r} {_value_digest(item, names)}" for key, item in value.items()]
        return digest("dict", *sorted(parts))
    kind = type(value).__qualname__
    if is_dataclass(value):
        parts = [_value_digest(getattr(value, field.name), names) for field in fields(value)]
        return digest(kind, *parts)
    text = repr(value)
    if " at 0x" in text and hasattr(value, "__dict__"):  # an address, which differs every time
        return digest(kind, _plain_digest(vars(value), names))
    return f"{kind} {text}"
