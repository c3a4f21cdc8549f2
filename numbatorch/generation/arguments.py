"""Arguments of a generation, checked by name at the caller's line."""

import re
from collections.abc import Callable
from numbers import Real
from operator import index
from typing import Any, NamedTuple

import numpy as np

from numbatorch.errors import OutOfRange, message

INFINITY = float("inf")
SURROGATE = re.compile("[\ud800-\udfff]")


class Rule(NamedTuple):
    """What a number has to be."""

    text: str
    holds: Callable[[Any], bool]
    whole: bool = False


NOT_NEGATIVE = Rule("not below 0", lambda value: 0 <= value < INFINITY)
POSITIVE = Rule("above 0", lambda value: 0 < value < INFINITY)
FINITE = Rule("finite", lambda value: -INFINITY < value < INFINITY)
SHARE = Rule("in [0, 1]", lambda value: 0 <= value <= 1)
POSITIVE_SHARE = Rule("in (0, 1]", lambda value: 0 < value <= 1)
COUNT = Rule("not below 0", lambda value: value >= 0, whole=True)


def number(operator: str, name: str, value: Any, rule: Rule) -> Any:
    """The value as an int, or as a float that is computed with in float32.

    Raises:
        TypeError: it is no number, or not a whole one where the rule says so.
        OutOfRange: it breaks the rule, or does so once it is rounded to float32.

    >>> number("sampling", "top_p", 1.5, POSITIVE_SHARE)
    Traceback (most recent call last):
    ...
    numbatorch.errors.OutOfRange: sampling: top_p is 1.5; it must be in (0, 1]
    """
    found: Any
    try:
        if rule.whole:
            found = index(value)
        else:
            found = float(value) if isinstance(value, Real) else None
    except TypeError:
        found = None
    except OverflowError:  # an int that no float reaches
        found = INFINITY if value > 0 else -INFINITY
    if found is None:
        kind = "an integer" if rule.whole else "a number"
        raise TypeError(message(operator, f"{name} is {value!r:.80}; it must be {kind}"))
    if not rule.holds(found):
        raise OutOfRange(message(operator, f"{name} is {found}; it must be {rule.text}"))
    if not rule.whole:
        with np.errstate(over="ignore", under="ignore"):
            rounded = float(np.float32(found))
        if not rule.holds(rounded):
            problem = f"{name} is {found}, in float32 {rounded}; it must be {rule.text}"
            raise OutOfRange(message(operator, problem))
    return found


def check_text(operator: str, name: str, value: str) -> str:
    """The text, if it can be written as UTF-8.

    Raises:
        TypeError: it is none.
        ValueError: it holds half of a surrogate pair.
    """
    given: object = value
    if not isinstance(given, str):
        raise TypeError(message(operator, f"{name} is {value!r:.80}; it must be a text"))
    found = SURROGATE.search(value)
    if found:
        code = f"U+{ord(found[0]):04X} at character {found.start()}"
        raise ValueError(message(operator, f"{name} holds a lone surrogate, {code}"))
    return value


def as_list(value: Any) -> list[Any] | None:
    """What is iterated over, or None where nothing is, or numbers that stand for bytes."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return None
    try:
        return list(value)
    except TypeError:  # a 0-d tensor, too
        return None


def check_texts(operator: str, name: str, value: Any) -> list[str]:
    """A text or several, as a list of texts that are not empty.

    Raises:
        TypeError: something else is given.
        ValueError: a text is empty or holds half of a surrogate pair.
    """
    found = [value] if isinstance(value, str) else as_list(value)
    if found is None:
        problem = f"{name} is {value!r:.80}; it must be a text or a list of texts"
        raise TypeError(message(operator, problem))
    for each in found:
        if not isinstance(each, str):
            raise TypeError(message(operator, f"{name} holds {each!r:.80}, which is no text"))
        if not each:
            raise ValueError(message(operator, f"{name} holds an empty text"))
        check_text(operator, name, each)
    return found
