"""Reading source text: the one place where it becomes a syntax tree."""

import ast

from numbatorch.locks import Lock

_parsing = Lock()


def parse(text: str) -> ast.Module:
    """The syntax tree of a text.

    One thread at a time: CPython 3.11 counts the depth of a tree that it builds for all threads
    together, and raises SystemError when two build at once.
    Source: https://github.com/python/cpython/issues/106905
    """
    with _parsing:
        return ast.parse(text)
