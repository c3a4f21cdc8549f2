"""What a parameter takes, read from its annotation, and the errors for anything else.

One table a function or record, made when it is first called: attributes of operators and arguments
of public functions are checked by the same rule, at the caller's line.
"""

from __future__ import annotations

import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numbatorch.errors import message
from numbatorch.graph import Node

# NumPy's names of arguments, which PyTorch takes as well.
NUMPY_NAMES = {
    "axis": "dim",
    "keepdims": "keepdim",
    **dict.fromkeys(("x", "a", "x1"), "input"),
    "x2": "other",
}


def given_as(name: str, options: Mapping[str, Any]) -> list[str]:
    """The names among those of a call, PyTorch's own or NumPy's, that say an argument."""
    return [key for key in options if NUMPY_NAMES.get(key, key) == name]


def own_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call that was right, under PyTorch's own names."""
    return {NUMPY_NAMES.get(name, name): value for name, value in options.items()}


class NumpyName(TypeError):
    """An argument that the function has under another name; as told where only that one is."""


class Takes(NamedTuple):
    """What a parameter takes.

    Attributes:
        exact: classes whose objects are right; the quick answer.
        classes: classes whose objects are right, those of subclasses too.
        values: the only right values, if there are such.
        floats: whether an integer stands for a float.
        text: the annotation as users read it.
    """

    exact: frozenset[type]
    classes: tuple[type, ...]
    values: tuple[Any, ...]
    floats: bool
    text: str

    def fits(self, value: Any) -> bool:
        """Whether the parameter takes `value`."""
        if value.__class__ in self.exact:
            return True
        if isinstance(value, str | bytes):  # no sequence, of dimensions or of tensors
            return value in self.values or value.__class__ in self.classes
        if value.__class__ is bool and float not in self.classes:
            return False  # True is no dimension
        return isinstance(value, self.classes) or (
            int in self.exact and hasattr(value, "__index__")
        )


def takes(annotation: Any, scope: Mapping[str, Any]) -> Takes | None:
    """What an annotation lets through; None where that is anything, or cannot be told."""
    try:
        found = eval(annotation, dict(scope)) if isinstance(annotation, str) else annotation
    except (NameError, TypeError, AttributeError):  # a name that only a type checker sees
        return None
    classes: set[type] = set()
    values: list[Any] = []
    if not _read(found, classes, values):
        return None
    floats = float in classes and int not in classes
    if floats:
        classes.add(int)
    return Takes(frozenset(classes), tuple(classes), tuple(values), floats, _spelled(found))


def _spelled(annotation: Any) -> str:
    """An annotation without the modules of its names; aliases are written out."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text).replace("Node", "Tensor")


def _read(annotation: Any, classes: set[type], values: list[Any]) -> bool:
    """Add what an annotation lets through to `classes` and `values`; False where it is anything."""
    if annotation is None:
        annotation = types.NoneType
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return all(_read(part, classes, values) for part in typing.get_args(annotation))
    if origin is typing.Literal:
        values.extend(typing.get_args(annotation))
        return True
    kind = annotation if origin is None else origin
    if not isinstance(kind, type) or kind in (object, type, Any):  # Any is a class from 3.11 on
        return False
    classes.add(kind)
    if kind in (collections.abc.Sequence, collections.abc.Iterable):
        classes.update((tuple, list, range))
    return True


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters that may be left out, and what stands for them."""
    if type(function) is types.FunctionType and not hasattr(function, "__wrapped__"):
        code = function.__code__  # without `inspect`: importing asks this of each operator
        ordered, values = code.co_varnames[: code.co_argcount], function.__defaults__ or ()
        first = len(ordered) - len(values)
        return dict(zip(ordered[first:], values, strict=True)) | (function.__kwdefaults__ or {})
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


class Parameters:
    """The parameters of a function, in order, and what each takes.

    Args:
        attributes: leave all but the keyword-only ones out, which are an operator's attributes.
    """

    def __init__(self, function: Callable[..., Any], attributes: bool = False) -> None:
        kinds = inspect.Parameter
        scope = {**getattr(inspect.unwrap(function), "__globals__", {}), "Tensor": Node}
        self.named: dict[str, Takes | None] = {}
        self.required: list[str] = []
        self.any_name = False
        self.ordered: list[Takes | None] = []
        self.signature = inspect.signature(function)
        for parameter in self.signature.parameters.values():
            if attributes and parameter.kind in (
                kinds.POSITIONAL_OR_KEYWORD,
                kinds.POSITIONAL_ONLY,
            ):
                continue
            found = takes(parameter.annotation, scope) if _is_annotated(parameter) else None
            if parameter.kind is kinds.VAR_KEYWORD:
                self.any_name = True
            elif parameter.kind is not kinds.VAR_POSITIONAL:
                self.named[parameter.name] = found
                if parameter.default is kinds.empty and parameter.kind is kinds.KEYWORD_ONLY:
                    self.required.append(parameter.name)
                if parameter.kind is not kinds.KEYWORD_ONLY:
                    self.ordered.append(found)

    def check_all(self, operator: str, attrs: dict[str, Any]) -> None:
        """Raise TypeError or ValueError unless `attrs` are attributes, with all that are needed.

        Integers among them that stand for floats become floats.
        """
        for name, value in attrs.items():
            found = self.named.get(name)
            if found is None or value.__class__ not in found.exact:
                found = self.check(operator, name, value)
            if found is not None and found.floats and value.__class__ is int:
                attrs[name] = float(value)
        for name in self.required:
            if name not in attrs:
                raise TypeError(message(operator, f"needs {name}", self.shown(operator)))

    def check(self, operator: str, name: str, value: Any) -> Takes | None:
        """What the parameter `name` takes; TypeError or ValueError unless that is `value`."""
        try:
            found = self.named[name]
        except KeyError:
            if self.any_name:
                return None
            kind = NumpyName if NUMPY_NAMES.get(name) in self.named else TypeError
            problem = f"has no argument {name!r}"
            raise kind(message(operator, problem, self.shown(operator))) from None
        if found is not None and not found.fits(value):
            raise self.refused(operator, name, value, found)
        return found

    def spelled(self, operator: str, options: dict[str, Any], given: int) -> dict[str, Any]:
        """`options` with the function's own names for those of NumPy.

        Args:
            given: how many arguments are given by position.
        """
        found: dict[str, Any] = {}
        for key, value in options.items():
            ours = key if key in self.named else NUMPY_NAMES.get(key, key)
            if ours != key:
                other = next((k for k in options if k != key and NUMPY_NAMES.get(k, k) == ours), "")
                if other or ours in list(self.named)[:given]:
                    problem = f"{other or ours} and {key} are both given"
                    raise TypeError(message(operator, problem, self.shown(operator)))
            found[ours] = value
        return found

    def check_at(self, operator: str, place: int, value: Any) -> None:
        """Raise TypeError or ValueError unless the parameter at `place`, if any, takes `value`."""
        found = self.ordered[place] if place < len(self.ordered) else None
        if found is not None and not found.fits(value):
            raise self.refused(operator, list(self.named)[place], value, found)

    def refused(self, operator: str, name: str, value: Any, found: Takes) -> Exception:
        """The error for a value that a parameter does not take."""
        choices = [repr(choice) for choice in found.values]
        problem = f"{name} is {_shown(value)}, not {' or '.join(choices) or found.text}"
        kind = ValueError if choices and isinstance(value, str) else TypeError
        return kind(message(operator, problem, self.shown(operator)))

    def shown(self, operator: str) -> str:
        """`gelu(input, approximate='none')`."""
        bare = [
            p.replace(annotation=inspect.Parameter.empty)
            for p in self.signature.parameters.values()
        ]
        return f"it is {operator}{inspect.Signature(bare)}"


def _is_annotated(parameter: inspect.Parameter) -> bool:
    return parameter.annotation is not inspect.Parameter.empty


def _shown(value: Any) -> str:
    if isinstance(value, Node):
        return f"a tensor {value.shape} {value.dtype.name}"
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"
