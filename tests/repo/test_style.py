"""What can be counted: lengths, absolute paths, environment variables, docstrings, settings."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("numbatorch", "tests", "examples", "benchmarks")
FILES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
WRITTEN = {ROOT / "numbatorch/ops/table.py"}  # by make surface
PACKAGE_FILES = [p for p in FILES if p.is_relative_to(ROOT / "numbatorch")]
MAX_FILE, MAX_FUNCTION, MAX_SETTINGS = 500, 60, 10


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [p for p in FILES if p not in WRITTEN], ids=name_of)
def test_file_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    statements = function.body[ast.get_docstring(function) is not None :]
    if not statements or function.end_lineno is None:
        return 0
    body = function.end_lineno - statements[0].lineno + 1
    return body + function.body[0].lineno - function.lineno


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    long = [
        f"{path.name}:{node.lineno} {node.name} has {lines_of(node)} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and lines_of(node) > MAX_FUNCTION
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=name_of)
def test_file_opens_with_a_docstring(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path.name} does not say what it does"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=name_of)
def test_public_functions_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    missing = [
        f"{path.name}:{node.lineno} {node.name}"
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
        and "overload" not in map(ast.unparse, node.decorator_list)
    ]
    assert not missing, "no docstring:\n" + "\n".join(missing)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_absolute_path_of_a_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"[\"'\s](/root/|/home/\w|/Users/\w|[A-Z]:\\\\Users)", text)


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=name_of)
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path.name != "settings.py":
        assert "os.environ" not in path.read_text(encoding="utf-8")
        assert "getenv" not in path.read_text(encoding="utf-8")


def test_at_most_ten_settings() -> None:
    from numbatorch import settings

    assert len(settings.SETTINGS) <= MAX_SETTINGS
    assert all(setting.meaning for setting in settings.SETTINGS.values())
