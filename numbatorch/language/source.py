"""Reading source text: the one place where it becomes a syntax tree."""

import ast
import copy
import dis
from types import CodeType, FunctionType

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


def is_text_of(tree: ast.FunctionDef, function: FunctionType) -> bool:
    """Whether a definition compiles to the code of a function.

    Text that was read from the function's file may be another one: files change after an import.
    """
    bare = copy.copy(tree)
    bare.decorator_list = []
    module, free = ast.Module([bare], []), function.__code__.co_freevars
    if free:
        module = parse(f"def around({', '.join(free)}): pass")
        (around,) = module.body
        assert isinstance(around, ast.FunctionDef)
        around.body = [bare]
    with _parsing:
        code = compile(module, function.__code__.co_filename, "exec", dont_inherit=True)
    found: CodeType | None = code
    for name in ("around", function.__code__.co_name) if free else (function.__code__.co_name,):
        found = found and _code_within(found, name)
    return found is not None and _instructions(found) == _instructions(function.__code__)


def _code_within(code: CodeType, name: str) -> CodeType | None:
    """The code of the function that is defined in `code`, and not that of a default of it."""
    for const in code.co_consts:
        if isinstance(const, CodeType) and const.co_name == name:
            return const
    return None


def _instructions(code: CodeType) -> list[tuple[str, object]]:
    """What code does, without places in it, which a docstring moves.

    Nor with what depends on the file around: whether m in m.exp(x) is a module by an import.
    """
    return [
        (
            step.opname.replace("METHOD", "ATTR"),
            None if step.opcode in _JUMPS else _constant(step.argval),
        )
        for step in dis.get_instructions(code)
        if step.opname != "PUSH_NULL"
    ]


def _constant(value: object) -> object:
    """What equals that of the same constant alone: 1 equals True and 1.0, and 0.0 equals -0.0."""
    if isinstance(value, CodeType):
        return _instructions(value)
    if isinstance(value, tuple):
        return [_constant(part) for part in value]
    if isinstance(value, frozenset):  # which is in no order
        return sorted(repr(part) for part in value)
    return type(value), repr(value)


_JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))
