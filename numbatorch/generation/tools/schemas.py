"""Tools as templates want them: a JSON schema, made of a Python function where one is given."""

import inspect
import json
import re
import types
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from numbatorch.errors import message

Schema = dict[str, Any]
Tool = Mapping[str, Any] | Callable[..., Any]

_SCALARS: dict[Any, str] = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    type(None): "null",
}
_PLAIN: dict[Any, Schema] = {
    **{kind: {"type": name} for kind, name in _SCALARS.items()},
    list: {"type": "array"},
    tuple: {"type": "array"},
    dict: {"type": "object"},
    Any: {},
}
_SECTIONS = re.compile("Args:|Returns:|Raises:")
_ARGUMENTS = re.compile(r"\n\s*Args:\n(.*?)\s*(?:Returns:|Raises:|\Z)", re.DOTALL)
_RESULT = re.compile(r"\n\s*Returns:\n\s*(.*?)\s*(?:Raises:|\Z)", re.DOTALL)
_ARGUMENT = re.compile(r"([ \t]*)(\w+)(?:[ \t]*\([^()]*\))?:\s*(.*)")
_CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)


def schemas(tools: Sequence[Tool] | None) -> list[Schema] | None:
    """The tools as JSON schemas: functions through `json_schema`, mappings as they are.

    Raises:
        TypeError: neither a function nor a mapping, or a list of something else; as `json_schema`.
        ValueError: as `json_schema`.

    >>> schemas([{"type": "function", "function": {"name": "now"}}])
    [{'type': 'function', 'function': {'name': 'now'}}]
    """
    if tools is None:
        return None
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Sequence):
        problem = f"tools is {type(tools).__name__}, not a list of functions or dictionaries"
        raise TypeError(message("chat", problem))
    found: list[Schema] = []
    given: Sequence[object] = tools
    for tool in given:
        if isinstance(tool, Mapping):
            found.append(dict(tool))
        elif callable(tool):
            found.append(json_schema(tool))
        else:
            problem = f"tools holds {type(tool).__name__}, neither a function nor a dictionary"
            raise TypeError(message("chat", problem))
    return found


def json_schema(function: Callable[..., Any]) -> Schema:
    """The JSON schema of a function, from its annotations and its docstring in Google's style.

    Equal to transformers' `get_json_schema`: int, float, str, bool, None, Any, Literal, enums,
    lists, tuples, dicts and unions of them; `(choices: [...])` at the end of a description is an
    enum. An argument of another type is an error.

    Args:
        function: with a description of each argument.
    Raises:
        TypeError: an annotation is missing, or means no JSON.
        ValueError: the docstring is missing, or lacks an argument.
    Source: https://huggingface.co/docs/transformers/chat_extras

    >>> def add(a: int, b: int = 0) -> int:
    ...     '''Add two numbers.
    ...
    ...     Args:
    ...         a: The first.
    ...         b: The second.
    ...     '''
    >>> found = json_schema(add)["function"]
    >>> found["name"], found["parameters"]["required"]
    ('add', ['a'])
    >>> found["parameters"]["properties"]["b"]
    {'type': 'integer', 'description': 'The second.'}
    """
    name = getattr(function, "__name__", "operation")
    doc = (inspect.getdoc(function) or "").strip()
    if not doc:
        raise ValueError(message("tools", f"function {name} has no docstring"))
    properties, required, result = _parameters(function, name)
    told = _descriptions(doc)
    for argument, schema in properties.items():
        if argument not in told:
            problem = f"the docstring of {name} does not describe argument {argument}"
            raise ValueError(message("tools", problem))
        schema.update(_described(told[argument], f"argument {argument} of {name}"))
    described: Schema = {"type": "object", "properties": properties}
    if required:
        described["required"] = required
    output = {"name": name, "description": _SECTIONS.split(doc, maxsplit=1)[0].strip()}
    output["parameters"] = described
    if result is not None:
        if found := _RESULT.search(doc):
            result["description"] = found[1].strip()
        output["return"] = result
    return {"type": "function", "function": output}


def _parameters(
    function: Callable[..., Any], name: str
) -> tuple[dict[str, Schema], list[str], Schema | None]:
    """Schemas of the arguments, which of them are required, and the schema of the result."""
    hints = get_type_hints(function)
    signature = inspect.signature(function).parameters
    properties: dict[str, Schema] = {}
    required = []
    for place, (argument, parameter) in enumerate(signature.items()):
        if parameter.annotation is inspect.Parameter.empty:
            if place == 0 and argument in ("self", "cls"):
                continue
            problem = f"argument {argument} of {name} has no annotation"
            raise TypeError(message("tools", problem))
        properties[argument] = _of_type(hints[argument], f"argument {argument} of {name}")
        if parameter.default is inspect.Parameter.empty:
            required.append(argument)
    result = None
    if "return" in hints:
        try:
            result = _of_type(hints["return"], "the result")
        except TypeError:  # the model never writes one
            pass
    return properties, required, result


def _of_type(hint: Any, what: str) -> Schema:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is None:
        if isinstance(hint, type) and issubclass(hint, Enum):
            return _enum([member.value for member in hint], what)
        if hint in _PLAIN:
            return dict(_PLAIN[hint])
    elif origin is Union or origin is types.UnionType:
        return _union(inner, what)
    elif origin is Literal:
        return _enum(list(inner), what)
    elif origin is list:
        return {"type": "array", "items": _of_type(inner[0], what)}
    elif origin is tuple and len(inner) > 1 and ... not in inner:
        return {"type": "array", "prefixItems": [_of_type(each, what) for each in inner]}
    elif origin is dict:
        return {"type": "object", "additionalProperties": _of_type(inner[1], what)}
    raise TypeError(message("tools", f"{what} is {hint!r}, which means no JSON"))


def _union(inner: tuple[Any, ...], what: str) -> Schema:
    """Of plain types a list of their names; of others anyOf; None makes it nullable."""
    parts = [_of_type(each, what) for each in inner if each is not type(None)]
    found: Schema
    if len(parts) == 1:
        found = parts[0]
    elif all(part.keys() == {"type"} and isinstance(part["type"], str) for part in parts):
        names = sorted({part["type"] for part in parts})
        found = {"type": names[0] if len(names) == 1 else names}
    else:
        found = {"anyOf": parts}
    if type(None) in inner:
        found["nullable"] = True
    return found


def _enum(values: list[Any], what: str) -> Schema:
    if not values or any(type(value) not in _SCALARS for value in values):
        problem = f"{what} is one of {values!r:.80}, which are no values of JSON"
        raise TypeError(message("tools", problem))
    names = list(dict.fromkeys(_SCALARS[type(value)] for value in values))
    return {"type": names[0] if len(names) == 1 else names, "enum": values}


def _described(text: str, what: str) -> Schema:
    """Description, and the choices at its end."""
    choices = _CHOICES.search(text)
    if choices is None:
        return {"description": text}
    try:
        values = json.loads(choices[1])
    except ValueError as error:
        raise ValueError(message("tools", f"the choices of {what} are no JSON: {error}")) from None
    values = [value.strip() if isinstance(value, str) else value for value in values]
    return {"enum": values, "description": text[: choices.start()].strip()}


def _descriptions(doc: str) -> dict[str, str]:
    """Of each argument; lines that are further indented than its first one go on with it."""
    section = _ARGUMENTS.search(doc)
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    indent: str | None = None
    for line in section[1].split("\n") if section else []:
        begin = _ARGUMENT.match(line)
        if begin and (indent is None or not re.match(rf"{indent}[ \t]", begin[1] + ".")):
            indent, lines = begin[1], [begin[3]]
            found[begin[2]] = lines
        else:
            lines.append(line)
    return {name: " ".join(filter(None, map(str.strip, each))) for name, each in found.items()}
