"""Texts are parsed by one thread at a time, and are those of the code that they are read for."""

import ast
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FunctionType

import pytest

from numbatorch.language.source import is_text_of, parse
from numbatorch.ops.families import all_ops
from numbatorch.ops.registry import Elementwise
from numbatorch.ops.scalar_reader import Body


def test_threads_parse_at_once() -> None:
    text = "\n".join(f"x{i} = {'(' * 40}{i} + y{i}{')' * 40}" for i in range(300))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            sizes = list(pool.map(lambda _: len(parse(text).body), range(64)))
    finally:
        sys.setswitchinterval(before)
    assert sizes == [300] * 64


TEXT = """from numbatorch.ops import scalar_math as m


def first(x):
    return m.exp(x)


def second(x):
    return m.floor(x)
"""


def defined(path: Path, text: str) -> Callable[[str], FunctionType]:
    """The functions of a file with this text."""
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("bodies_of_a_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda name: getattr(module, name)


@pytest.mark.parametrize(
    "changed",
    [
        TEXT.replace("def first", "def before(x):\n    return x\n\n\ndef first"),
        TEXT.replace("m.floor(x)", "m.ceil(x)"),
        TEXT.replace("m.floor(x)", "m.floor(x) + 1"),
        TEXT.replace("second(x)", "second(y)").replace("floor(x)", "floor(y)"),
    ],
)
def test_a_body_is_not_read_from_a_file_that_has_changed(tmp_path: Path, changed: str) -> None:
    path = tmp_path / "bodies.py"
    function = defined(path, TEXT)("second")
    path.write_text(changed, encoding="utf-8")
    with pytest.raises(ValueError, match=r"(?s)^second: its (file has changed|source).*bodies\.py"):
        Body(function)


def test_a_body_is_read_where_comments_and_docstrings_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "bodies.py"
    function = defined(path, TEXT)("second")
    path.write_text(
        TEXT.replace("return m.floor(x)", '"""The floor."""\n    return m.floor(x)  # down'),
        encoding="utf-8",
    )
    assert Body(function).operands == ["x"]


def test_each_body_is_the_text_of_its_function() -> None:
    for op in all_ops():
        if isinstance(op, Elementwise) and op.name in dir(sys.modules[op.body.__module__]):
            (tree,) = parse(inspect.getsource(op.body)).body
            assert isinstance(tree, ast.FunctionDef)
            assert isinstance(op.body, FunctionType)
            assert is_text_of(tree, op.body), op.name


def test_text_of_a_closure_is_known() -> None:
    scale = 2.0

    def scaled(x: float) -> float:
        return x * scale

    assert Body(scaled).lookup("scale") == 2.0


def number(x: float) -> float:
    return x * 1


def with_default(x: float, *, scale: object = lambda x: x) -> float:
    return x + 1


def nested(x: float) -> float:
    """Adds, by a function within."""

    def add(y: float) -> float:
        """The sum."""
        return y + 1

    return add(x)


@pytest.mark.parametrize("function", [number, with_default, nested])
def test_text_is_told_from_another_that_differs_in_a_constant(function: FunctionType) -> None:
    text = inspect.getsource(function)

    def is_own(text: str) -> bool:
        (tree,) = parse(text).body
        assert isinstance(tree, ast.FunctionDef)
        return is_text_of(tree, function)

    assert is_own(text) and is_own("\n\n" + text.replace("The sum", "Its sum"))
    for changed in ("1.0", "True", "2"):
        assert not is_own(re.sub(r"\b1\b", changed, text))


def test_zeros_of_either_sign_are_other_text() -> None:
    def plus(x: float) -> tuple[float, ...]:
        return (x, 0.0, *(1, 0.0))

    for changed, own in {"(x, 0.0, *(1, 0.0))": True, "(x, 0.0, *(1, -0.0))": False}.items():
        text = f"def plus(x: float) -> tuple[float, ...]:\n    return {changed}"
        (tree,) = parse(text).body
        assert isinstance(tree, ast.FunctionDef)
        assert is_text_of(tree, plus) == own
