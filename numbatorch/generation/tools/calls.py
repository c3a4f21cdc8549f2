"""A call of a tool, and the notations in which models write names and values."""

import ast
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

Schemas = Sequence[Mapping[str, Any]]

NAME = re.compile(r"[\w.:/-]+")
_SPACE = re.compile(r"\s*")
_PYTHON = {"True": True, "False": False, "None": None}
_CONSTANTS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class ToolCall:
    """What a model asks for.

    Attributes:
        name: of the tool, as the model wrote it: it may be none that there is.
        arguments: by their names; whether they follow the tool's schema is for the caller to say.
        id: by which a result names the call, if it has one.
    """

    name: str
    arguments: dict[str, Any]
    id: str | None = None

    def as_message(self, id: str | None, arguments_as_text: bool = False) -> dict[str, Any]:
        """As an entry of a message's "tool_calls".

        >>> ToolCall("add", {"a": 1}).as_message("000000000")["function"]
        {'name': 'add', 'arguments': {'a': 1}}
        """
        given: Any = self.arguments
        if arguments_as_text:
            given = json.dumps(given, ensure_ascii=False)
        return {"type": "function", "id": id, "function": {"name": self.name, "arguments": given}}


Found = tuple[list[ToolCall], int]
"""Calls, and the place in the text behind them."""


def skip(text: str, place: int) -> int:
    """The place behind white space."""
    space = _SPACE.match(text, place)
    return place if space is None else space.end()


def behind(text: str, place: int, mark: str) -> int | None:
    """The place behind white space and a mark, or None where that is not there."""
    place = skip(text, place)
    return place + len(mark) if text.startswith(mark, place) else None


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _number(text: str) -> float:
    return _finite(float(text))


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError("a number that no float can hold")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


_json = json.JSONDecoder(parse_constant=_refused, parse_float=_number, object_pairs_hook=_object)


def json_value(text: str, place: int) -> tuple[Any, int] | None:
    """A value of JSON and the place behind it; None where there is none. An object that has a key
    twice, and a number that is infinite as a float, are none.

    >>> json_value('x [1, 2] y', 1)
    ([1, 2], 8)
    """
    try:
        return _json.raw_decode(text, skip(text, place))
    except (ValueError, RecursionError):
        return None


def calls_of(value: Any, arguments: str = "arguments") -> list[ToolCall] | None:
    """Calls of an object, or of a list of them, with "name" and arguments; None if it is else.

    >>> calls_of({"name": "add", "arguments": {"a": 1}})
    [ToolCall(name='add', arguments={'a': 1}, id=None)]
    """
    found = []
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            return None
        name, given, id = each.get("name"), each.get(arguments), each.get("id")
        if isinstance(given, str):  # JSON in JSON, as OpenAI's interface has it
            inner = json_value(given, 0)
            given = inner[0] if inner and not given[inner[1] :].strip() else None
        if not isinstance(name, str) or not name or not isinstance(given, dict):
            return None
        found.append(ToolCall(name, given, id if isinstance(id, str) else None))
    return found or None


def properties(tools: Schemas, name: str) -> Mapping[str, Any] | None:
    """Schemas of a tool's arguments; None if there is no tool of that name."""
    for tool in tools:
        function = tool.get("function", tool)
        if isinstance(function, Mapping) and function.get("name") == name:
            parameters = function.get("parameters")
            found = parameters.get("properties") if isinstance(parameters, Mapping) else None
            return found if isinstance(found, Mapping) else {}
    return None


def typed(text: str, schema: Any) -> Any:
    """A value that is written without quotes: JSON where the schema has room for what it is there,
    else text. Where a schema names booleans or null, True, False and None are those too: templates
    show them so.

    >>> typed("12", {"type": "integer"}), typed("12", {"type": "string"})
    (12, '12')
    """
    kinds = _kinds(schema)
    if kinds == {"string"}:
        return text
    if text.strip() in _PYTHON and _kind(_PYTHON[text.strip()]) & kinds:
        return _PYTHON[text.strip()]
    found = json_value(text, 0)
    if found is None or text[found[1] :].strip():
        return text
    value = found[0]
    return value if not kinds or _kind(value) & kinds else text


def _kinds(schema: Any) -> set[str]:
    """Types that a schema names; none where it does not say."""
    if not isinstance(schema, Mapping):
        return {"string"} if schema is None else set()
    given = schema.get("type")
    found = {given} if isinstance(given, str) else set(given) if isinstance(given, list) else set()
    for union in ("anyOf", "oneOf"):
        for part in schema.get(union) or ():
            found |= _kinds(part)
    if not found:
        values = [schema["const"]] if "const" in schema else schema.get("enum") or []
        found = set().union(*map(_kind, values))
    return found | {"null"} if found and schema.get("nullable") else found


def _kind(value: Any) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float):
        return {"number", "integer"} if value.is_integer() else {"number"}
    kinds = {str: "string", list: "array", dict: "object", type(None): "null"}
    return {kinds[type(value)]}


def python_calls(code: str, tools: Schemas) -> list[ToolCall] | None:
    """Calls that are written as in Python, each a statement, alone or within print(), or all in a
    list; None if anything else is there. Nothing is executed.

    Values are constants, lists, tuples and dicts; arguments without a name are those of the tool's
    schema in their order.

    >>> python_calls("print(add(a=1, b=[2, -3]))", [])
    [ToolCall(name='add', arguments={'a': 1, 'b': [2, -3]}, id=None)]
    """
    try:
        with warnings.catch_warnings():  # of escapes that Python does not know
            warnings.simplefilter("ignore")
            body = ast.parse(code.strip()).body
        found: list[ToolCall] = []
        for statement in body:
            if not isinstance(statement, ast.Expr):
                return None
            value = statement.value
            for each in value.elts if isinstance(value, ast.List) else [value]:
                found.append(_python_call(each, tools))
        return found or None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _python_call(node: ast.expr, tools: Schemas) -> ToolCall:
    if not isinstance(node, ast.Call):
        raise ValueError("no call")
    name = ast.unparse(node.func)
    if name == "print" and len(node.args) == 1 and isinstance(node.args[0], ast.Call):
        return _python_call(node.args[0], tools)
    if not NAME.fullmatch(name):
        raise ValueError("no name")
    names = list(properties(tools, name) or {})
    if len(node.args) > len(names):
        raise ValueError("an argument without a name")
    given: dict[str, Any] = {}
    pairs = [*zip(names, node.args, strict=False), *((k.arg, k.value) for k in node.keywords)]
    for key, value in pairs:
        if key is None or key in given:
            raise ValueError("an argument twice, or **")
        given[key] = _python_value(value)
    return ToolCall(name, given)


def _python_value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return _finite(node.value) if isinstance(node.value, float) else node.value
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _python_value(node.operand)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value
    if isinstance(node, ast.List | ast.Tuple):
        return [_python_value(each) for each in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _python_value(key) for key in node.keys]
        if all(isinstance(key, str) for key in keys):
            return dict(zip(keys, map(_python_value, node.values), strict=True))
    raise ValueError("no constant")


Reader = Callable[[str, int, Schemas], Found | None]
