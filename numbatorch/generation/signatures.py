"""Signatures that name what `**how` passes on, so that `help` and editors show it."""

import inspect
from collections.abc import Callable, Collection, Iterable
from dataclasses import MISSING, fields
from inspect import Parameter
from typing import Any, TypeVar

from numbatorch.generation.samplers.chain import KINDS, Options

Function = TypeVar("Function", bound=Callable[..., Any])


def passing_on(
    arguments: Iterable[Parameter], but: Collection[str] = ()
) -> Callable[[Function], Function]:
    """Have the signature of a function show these arguments by name in place of its `**how`.

    Args:
        arguments: of what it calls.
        but: names of those that it gives itself.

    >>> @passing_on(of_samplers(), but=["temperature"])
    ... def draw(text, **how): ...
    >>> list(inspect.signature(draw).parameters)[:3]
    ['text', 'dynatemp_range', 'dynatemp_exponent']
    """

    def change(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        names = {*but, *(p.name for p in own)}
        more = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in arguments if p.name not in names]
        shown = signature.replace(parameters=[*own, *more])
        function.__signature__ = shown  # type: ignore[attr-defined]
        return function

    return change


def of_samplers() -> list[Parameter]:
    """The arguments of all samplers, with the values that they have unless a checkpoint recommends
    others."""
    defaults: dict[str, Any] = {"mirostat": 0}  # which is of no sampler, but chooses among them
    for field in (field for kind in KINDS.values() for field in fields(kind)):
        made = field.default_factory
        defaults[field.name] = field.default if made is MISSING else made()
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind)
        for name, kind in Options.__annotations__.items()
    ]


def arguments_of(function: Callable[..., Any]) -> list[Parameter]:
    """The arguments of a method but for the object itself."""
    return list(inspect.signature(function).parameters.values())[1:]
