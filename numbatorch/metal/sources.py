"""The syntax trees of functions in kernels' language, with the names that they can see."""

import ast
import builtins
import linecache
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType
from typing import Any

from numbatorch.errors import DTypeError, KernelError, message
from numbatorch.language.source import parse
from numbatorch.metal import scopes
from numbatorch.metal.values import Refused

MISSING = object()


@dataclass(frozen=True, eq=False)
class Source:
    """A function as it is printed.

    Attributes:
        name: of the function.
        file: that its text stands in.
        tree: a copy of its own, with the counters of loops made separate where they have to be.
        lookup: what a global name stands for, or MISSING.
        described: first line of its docstring, or nothing.
    """

    name: str
    file: str
    tree: ast.FunctionDef
    lookup: Callable[[str], Any]
    described: str

    @property
    def parameters(self) -> list[str]:
        """The names of its parameters."""
        arguments = self.tree.args
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
            raise self.error(self.tree, "a kernel has plain parameters only")
        return [a.arg for a in (*arguments.posonlyargs, *arguments.args)]

    def error(
        self, node: ast.AST, problem: str, hint: str | None = None, kind: Any = KernelError
    ) -> Exception:
        """The exception for `node`, which names its line."""
        row = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
        place = f"{self.file}:{getattr(node, 'lineno', 1)}"
        if isinstance(node, ast.FunctionDef):
            row = f"def {node.name}"
        found: Exception = kind(
            message(self.name, problem, place, row.partition("\n")[0], hint=hint)
        )
        return found

    def located(self, node: ast.AST, refused: Refused) -> Exception:
        """The exception for what a statement holds and cannot be printed."""
        kind = DTypeError if refused.dtype else KernelError
        return self.error(node, str(refused), refused.hint, kind)


def of_function(function: FunctionType) -> Source:
    """The source of a Python function, from the file it stands in."""
    code = function.__code__
    text = "".join(linecache.getlines(code.co_filename, function.__globals__))
    tree = _find(text, code.co_firstlineno, function.__name__)
    if tree is None:
        problem = "its source cannot be read, and Metal's text is printed from it"
        raise KernelError(message(function.__name__, problem, code.co_filename))
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))

    def lookup(name: str) -> Any:
        if name in cells:
            return cells[name].cell_contents
        return function.__globals__.get(name, getattr(builtins, name, MISSING))

    described = (function.__doc__ or "").strip().partition("\n")[0]
    return _source(function.__name__, code.co_filename, tree, lookup, described)


def of_text(text: str, scope: dict[str, Any], described: str) -> Source:
    """The source of the one function that a text defines, over the names in `scope`."""
    tree = parse(text).body[0]
    assert isinstance(tree, ast.FunctionDef)
    file = f"<{tree.name}>"
    return _source(tree.name, file, tree, lambda name: scope.get(name, MISSING), described)


def _source(
    name: str, file: str, tree: ast.FunctionDef, lookup: Callable[[str], Any], described: str
) -> Source:
    tree.decorator_list, tree.returns = [], None
    for node in ast.walk(tree):  # names in annotations are no uses
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    scopes.separate_counters(tree)
    return Source(name, file, tree, lookup, described)


def _find(text: str, line: int, name: str) -> ast.FunctionDef | None:
    for node in ast.walk(_parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            lines = [node.lineno, *(d.lineno for d in node.decorator_list)]
            if line in (min(lines), node.lineno):
                return _alone(text, node)
    return None


def _alone(text: str, node: ast.FunctionDef) -> ast.FunctionDef:
    """A tree of its own of a function in a text, with the lines that it has there."""
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    tree = parse(textwrap.dedent("\n".join(lines)))
    ast.increment_lineno(tree, node.lineno - 1)
    (found,) = tree.body
    assert isinstance(found, ast.FunctionDef)
    return found


@lru_cache(maxsize=32)
def _parse(text: str) -> ast.Module:
    try:
        return parse(text)
    except SyntaxError:
        return ast.Module([], [])
