"""Keys of kernels: a hash of a function's code and, recursively, of all the values that it names.

No file is read. Bytecode differs between versions of Python, which packs keep apart.
"""

from dataclasses import fields, is_dataclass
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from numbatorch.language.words import Helper, Intrinsic, Table

try:
    from _blake2 import blake2b as blake2b  # without the 3 ms that hashlib takes to load OpenSSL
except ImportError:
    from hashlib import blake2b as blake2b

Known = dict[FunctionType, str]

# Most of what code names; each tells by its text all that it is.
_PLAIN = frozenset((int, float, complex, bool, str, bytes, type(None)))


def digest(*parts: str) -> str:
    """A short hash of texts."""
    text = "".join([f"{len(part)} {part}" for part in parts])
    return blake2b(text.encode(), digest_size=16).hexdigest()


_finished: dict[FunctionType, str] = {}


def function_digest(function: FunctionType) -> str:
    """Hash of a function's code, defaults, and the globals and cells that it names."""
    found = _finished.get(function)
    if found is None:
        found = _finished[function] = _function_digest(function, {})
    return found


def value_digest(value: Any) -> str:
    """Hash of a value that code may name, as of a function in the scalar language."""
    return _value_digest(value, (), {})


def _function_digest(function: FunctionType, known: Known) -> str:
    """As `function_digest`; `known` holds what was hashed since that was called.

    It begins empty, so that a hash does not depend on which others were asked for before: where
    functions call each other in a circle, the first one met stands for the circle.
    """
    if function in known:
        return known[function]
    known[function] = f"recursive {len(known)}"
    names, own = _own_digest(function)
    parts = [own]
    for name in names:
        if name in function.__globals__:
            parts += [name, _value_digest(function.__globals__[name], names, known)]
    for cell in function.__closure__ or ():
        parts.append(_value_digest(cell.cell_contents, names, known))
    known[function] = digest(*parts)
    return known[function]


@cache
def _own_digest(function: FunctionType) -> tuple[tuple[str, ...], str]:
    """The names that a function uses, and the hash of its code and defaults without them."""
    code = _code_digest(function.__code__, function.__doc__)
    return _names(function.__code__), digest(code, repr(function.__defaults__))


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
        *(_value_digest(const, (), {}) for const in consts),
    )


def _value_digest(value: Any, names: tuple[str, ...], known: Known) -> str:
    """Hash of a value that code names; `names` are the attributes that it may read of a module."""
    if value.__class__ in _PLAIN:
        return f"{value.__class__.__name__} {value!r}"
    if isinstance(value, Helper):
        return digest("helper", str(value.inline), _function_digest(value.function, known))
    if isinstance(value, Intrinsic):
        return digest("intrinsic", str(value.literal), _value_digest(value.definition, (), known))
    fingerprint = getattr(value, "kernel_fingerprint", None)
    if isinstance(fingerprint, str):
        return fingerprint
    if isinstance(value, FunctionType):
        if value.__module__.partition(".")[0] == "numbatorch" or value.__closure__:
            return _function_digest(value, known)
        return digest(value.__module__, value.__qualname__)
    if isinstance(value, ModuleType):
        if value.__name__.partition(".")[0] != "numbatorch":
            return value.__name__
        found = [n for n in names if hasattr(value, n)]
        return digest(value.__name__, *(_value_digest(getattr(value, n), (), known) for n in found))
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return _plain_digest(value, names, known)


def _plain_digest(value: Any, names: tuple[str, ...], known: Known) -> str:
    if isinstance(value, CodeType):
        return _code_digest(value, None)
    if isinstance(value, tuple):
        head = ("table", value.element) if isinstance(value, Table) else ("tuple",)
        return digest(*head, *(_value_digest(item, names, known) for item in value))
    if isinstance(value, frozenset):
        return digest("frozenset", *sorted(map(repr, value)))
    compiled_from = getattr(value, "py_func", None)
    if isinstance(compiled_from, FunctionType):
        return digest("njit", _function_digest(compiled_from, known))
    if isinstance(value, dict):
        parts = [f"{key!r} {_value_digest(item, names, known)}" for key, item in value.items()]
        return digest("dict", *sorted(parts))
    kind = type(value).__qualname__
    if is_dataclass(value):
        parts = [_value_digest(getattr(value, field.name), names, known) for field in fields(value)]
        return digest(kind, *parts)
    text = repr(value)
    if " at 0x" in text and hasattr(value, "__dict__"):  # an address, which differs every time
        return digest(kind, _plain_digest(vars(value), names, known))
    return f"{kind} {text}"
