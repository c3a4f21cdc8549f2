"""Writes what is made from public functions and records: `ops/table.py`, stubs, docs/operators.md.

Run: make surface. The table says which module a name loads; the stubs let editors and type checkers
see nt.gelu, Tensor.gelu and F.gelu, which are made when they are first used.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from numbatorch import graph  # noqa: E402
from numbatorch.ops import families, surface  # noqa: E402
from tools import operators  # noqa: E402

PACKAGE = ROOT / "numbatorch"
WIDTH = 100
WRITTEN = "Written by `make surface` from public functions and records."
IMPORTS = """
import builtins
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

from numbatorch.device import Device
from numbatorch.dtype import DType, Like
from numbatorch.ops.linear_loss_options import LinearCrossEntropyOptions
from numbatorch.tensor.base import Handle
from numbatorch.tensor.core import Tensor

Number = int | float | builtins.complex
Dims = int | Sequence[int] | None
Sizes = int | Sequence[int]
"""
STUBS = {
    "nt": "functions.pyi",
    "Tensor": "tensor/functions.pyi",
    "nn.functional": "nn/functional.pyi",
    "linalg": "linalg.pyi",
    "fft": "fft.pyi",
    "special": "special.pyi",
}

# What tensor/methods.py makes from its tables, and what stands there.
OPERATORS = {
    "Any": """add radd sub rsub mul rmul truediv rtruediv rdiv floordiv rfloordiv mod rmod pow rpow
        and rand or ror xor rxor lshift rlshift rshift rrshift lt le gt ge matmul rmatmul""",
    "object": "eq ne",
    "": "neg pos abs invert",
}


def families_of_source() -> list[str]:
    """Modules that hold records or public functions, from the files themselves."""
    kinds = "public of_tensors elementwise structured reduction scan view composed hosted"
    marks = [f"@{kind}(" for kind in kinds.split()]
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if any(f"\n{mark}" in text for mark in marks):
            found.append(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return found


def _home(function: Callable[..., Any]) -> str:
    """The module that a public function is written in."""
    return inspect.unwrap(function).__module__


def places() -> dict[str, dict[str, Callable[..., Any]]]:
    """The public functions of the library by place and name."""
    return {
        place: {
            name: function
            for name in sorted(families.names(place))
            if (function := families.function(place, name)) is not None
            and _home(function).startswith("numbatorch.")
        }
        for place in surface.PLACES
    }


def in_place(
    place: str, functions: dict[str, dict[str, Callable[..., Any]]]
) -> dict[str, Callable[..., Any]]:
    """The functions of a place that change their first argument, such as relu_."""
    found = {f"{name}_": families.in_place(place, f"{name}_") for name in functions[place]}
    return {name: function for name, function in found.items() if function is not None}


def table(functions: dict[str, dict[str, Callable[..., Any]]]) -> str:
    """The text of ops/table.py."""
    found: dict[str, dict[str, list[str]]] = {}
    for op in graph.registered():
        module = getattr(op, "function", op.reference).__module__
        if module.startswith("numbatorch."):
            found.setdefault(module, {}).setdefault(families.RECORDS, []).append(op.name)
    for place, named in functions.items():
        for name, function in named.items():
            found.setdefault(_home(function), {}).setdefault(place, []).append(name)
    lines = [f'"""Which module holds which names. {WRITTEN}"""', "", "FAMILIES = {"]
    for module, kinds in sorted(found.items()):
        name = module.removeprefix("numbatorch.")
        entries = {kind: " ".join(sorted(names)) for kind, names in sorted(kinds.items())}
        pairs = ", ".join(f'"{kind}": "{names}"' for kind, names in entries.items())
        line = f'    "{name}": {{{pairs}}},'
        if len(line) <= WIDTH:
            lines.append(line)
            continue
        lines.append(f'    "{name}": {{')
        for kind, names in entries.items():
            lines += _entry(kind, names)
        lines.append("    },")
    return "\n".join([*lines, "}", ""])


def _entry(kind: str, names: str) -> list[str]:
    line = f'        "{kind}": "{names}",'
    if len(line) <= WIDTH:
        return [line]
    parts = [names] if len(names) <= WIDTH - 14 else textwrap.wrap(names, WIDTH - 16)
    lines = [f'            "{part} "' for part in parts[:-1]] + [f'            "{parts[-1]}"']
    return [f'        "{kind}": (', *lines, "        ),"]


def stub(place: str, named: dict[str, Callable[..., Any]]) -> str:
    """The text of the stub of a place."""
    method = place == "Tensor"
    lines = [f'"""{WRITTEN}"""', IMPORTS]
    for result in _results(named):
        lines.append(f"class {result.__name__}(NamedTuple):")
        lines += [f"    {field}: Tensor" for field in result._fields]
        lines.append("")
    if method:
        lines.append("class Functions(Handle):")
        lines += list(_operators())
    else:
        lines += _exported(named)
    for name, function in named.items():
        signatures = [inspect.signature(f) for f in typing.get_overloads(inspect.unwrap(function))]
        for signature in signatures:
            lines += ["    @overload" if method else "@overload"]
            lines += _definition(name, signature, method)
        if not signatures:
            lines += _definition(name, inspect.signature(function), method)
    return "\n".join([*lines, ""])


def _exported(named: dict[str, Callable[..., Any]]) -> list[str]:
    return ["__all__ = [", *(f'    "{name}",' for name in sorted(named)), "]", ""]


def _results(named: dict[str, Callable[..., Any]]) -> list[Any]:
    """The named tuples that functions give."""
    found = {}
    for function in named.values():
        scope = inspect.unwrap(function).__globals__
        result = scope.get(str(inspect.signature(function).return_annotation))
        if isinstance(result, type) and hasattr(result, "_fields"):
            found[result.__name__] = result
    return [found[name] for name in sorted(found)]


def _operators() -> Iterator[str]:
    for kind, names in OPERATORS.items():
        for name in names.split():
            other = f", other: {kind}, /" if kind else ""
            ignored = "  # type: ignore[override]" if kind == "object" else ""
            yield f"    def __{name}__(self{other}) -> Tensor: ...{ignored}"
    yield "    def __hash__(self) -> int: ..."


def _definition(name: str, signature: inspect.Signature, method: bool) -> list[str]:
    parameters = list(signature.parameters.values())
    if method:
        parameters = _of_method(name, parameters)
    words = []
    star = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            words.append("*")
        star = star or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        words.append(_shown(parameter))
    given = _text(signature.return_annotation)
    indent = "    " if method else ""
    line = f"{indent}def {name}({', '.join(words)}) -> {given}: ..."
    if len(line) <= WIDTH:
        return [line]
    inner = f"{indent}    {', '.join(words)}"
    if len(inner) <= WIDTH:
        return [f"{indent}def {name}(", inner, f"{indent}) -> {given}: ..."]
    return [
        f"{indent}def {name}(",
        *(f"{indent}    {word}," for word in words),
        f"{indent}) -> {given}: ...",
    ]


def _of_method(name: str, parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    place = surface.SELF_AT.get(name, 0)
    me = parameters.pop(place).replace(name="self", annotation=inspect.Parameter.empty)
    me = me.replace(default=inspect.Parameter.empty)
    if name in surface.SPREAD:
        sizes = parameters.pop(0)
        many = sizes.replace(kind=sizes.VAR_POSITIONAL, annotation="Any", default=sizes.empty)
        parameters = [many, *(p.replace(kind=p.KEYWORD_ONLY) for p in parameters)]
    return [me, *parameters]


def _shown(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}"
    if parameter.name == "self":
        return text
    text += f": {_text(parameter.annotation)}"
    return text if parameter.default is parameter.empty else f"{text} = {parameter.default!r}"


def _text(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "Any"
    return str(annotation).replace("Node", "Tensor")


def texts() -> dict[Path, str]:
    """What each written file has to hold."""
    for module in families_of_source():
        import_module(module)
    functions = places()
    written = {
        PACKAGE / STUBS[place]: stub(place, {**functions[place], **in_place(place, functions)})
        for place in STUBS
    }
    page = operators.text(functions, graph.registered())
    return {
        PACKAGE / "ops/table.py": table(functions),
        ROOT / "docs/operators.md": page,
        **written,
    }


def main() -> int:
    """Write the files; with --check only say which are not up to date."""
    wrong = 0
    for path, text in texts().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        print(path.relative_to(ROOT).as_posix())
        if "--check" in sys.argv:
            wrong = 1
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
