"""What functions of functions are given, checked: a function, numbers of its arguments, its result.

`nt.grad`, `nt.func` and `nt.vmap` name what is wrong before the function is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch.errors import OutOfRange, message
from numbatorch.tensor.base import Handle


def require_callable(operator: str, function: Any) -> None:
    """Raise unless `function` can be called."""
    if not callable(function):
        kind = type(function).__name__
        raise TypeError(message(operator, f"takes a function, not {kind}"))


def is_integer(value: Any) -> bool:
    """Whether a value is an int, which a bool is not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def numbers_of(operator: str, argnums: Any) -> tuple[int, ...]:
    """The numbers of the arguments to differentiate, of which there is one at least."""
    numbers = tuple(argnums) if isinstance(argnums, list | tuple | range) else (argnums,)
    for number in numbers:
        if not is_integer(number):
            problem = f"argnums is {argnums!r}, not the number of an argument or several"
            raise TypeError(message(operator, problem))
    if not numbers:
        raise ValueError(message(operator, "argnums names no argument to differentiate"))
    return tuple(int(number) for number in numbers)


def places_of(
    operator: str, numbers: Sequence[int], given: int, keywords: bool = False
) -> list[int]:
    """The places of arguments among those that are given by position; negative ones from the end.

    Args:
        keywords: whether there are arguments by keyword too.
    Raises:
        OutOfRange: there is no such argument.
        ValueError: one is named twice.
    """
    for number in numbers:
        if not -given <= number < given:
            count = f"{given} argument" if given == 1 else f"{given} arguments"
            problem = f"argnums has {number}, but {count} came by position"
            hint = "what comes by keyword is not differentiated" if keywords else None
            raise OutOfRange(message(operator, problem, hint=hint))
    places = [number % given for number in numbers]
    if len(set(places)) != len(places):
        problem = f"argnums {tuple(numbers)} has an argument twice"
        raise ValueError(message(operator, problem, f"of {given} arguments"))
    return places


def with_aux(operator: str, result: Any) -> tuple[Any, Any]:
    """The value and what comes beside it, of a function with `has_aux`."""
    if not isinstance(result, list | tuple) or len(result) != 2:
        count = f" of {len(result)}" if isinstance(result, list | tuple) else ""
        problem = f"the function gives {type(result).__name__}{count}, not (value, anything)"
        raise TypeError(message(operator, problem, "which it has to with has_aux=True"))
    return result[0], result[1]


def require_arguments(operator: str, name: str, values: Any) -> None:
    """Raise unless `values` is a tuple of the arguments of a function."""
    if not isinstance(values, list | tuple):
        kind = type(values).__name__
        hint = f"({name},) is one argument" if isinstance(values, Handle) else None
        problem = f"{name}s are a tuple of arguments, not {kind}"
        raise TypeError(message(operator, problem, hint=hint))
