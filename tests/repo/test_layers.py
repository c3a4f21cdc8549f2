"""Imports go down only: the table of docs/architecture.md against every import statement."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from numbatorch.ops.families import RECORDS, table

PACKAGE = Path(__file__).parents[2] / "numbatorch"

LAYERS = [
    "starting settings errors locks logs private apart entry_points",
    "dtype limits shape layout device variable nest references determinism",
    "graph",
    "debugging language ops cuda_kernels",
    "passes",
    "backends metal",
    "gradients",
    "tensor autograd func debug testing linalg fft special signal",
    "nn optim array_api distributions",
    "io hub quantized",
    "models onnx",
    "generation pipelines",
    "cli serve exporting",
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}

FILES = sorted(PACKAGE.rglob("*.py"))


def owner(path: Path) -> str:
    """Name in the table of the module or folder that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(stem: str, name: str) -> str:
    """What `from stem import name` loads: the module `stem.name` if there is one, else `stem`."""
    path = PACKAGE.parent.joinpath(*stem.split("."), name)
    return f"{stem}.{name}" if path.is_dir() or path.with_suffix(".py").exists() else stem


def looked_up(call: ast.Call) -> str | None:
    """The module that a call loads by a string: `find("add")`, `import_module("numbatorch.ops")`.

    `find` is that of numbatorch.graph, which loads the module that registers an operator.
    """
    name = ast.unparse(call.func)
    if not call.args or not isinstance(call.args[0], ast.Constant):
        return None
    if name in ("find", "graph.find"):
        return table(RECORDS).get(str(call.args[0].value))
    loads = name in ("load", "import_module", "importlib.import_module", "__import__")
    return str(call.args[0].value) if loads else None


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of each import of numbatorch in a file, also inside functions."""
    return imports_of(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).parts[:-1])


def imports_of(text: str, folders: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, module) of each import of numbatorch in a text that stands in `folders`."""
    package = ["numbatorch", *folders]
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            names = [module_of(stem, alias.name) for alias in node.names]
        elif isinstance(node, ast.Call):
            names = [looked_up(node) or ""]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "numbatorch" and rest:
                yield node.lineno, rest


def test_a_look_up_by_a_string_is_an_import() -> None:
    text = """
def f(x):
    y = find("add").apply(x)
    return import_module("numbatorch.nn").relu(graph.find(name).apply(y))
"""
    assert list(imports_of(text, ("ops",))) == [(3, "ops.binary"), (4, "nn")]


def level(module: str) -> int | None:
    """Row of a dotted module; None for one that has no row."""
    return LEVEL.get(module.split(".")[0])


def test_the_documents_have_this_table() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)
    for level, row in rows:
        named = {name.rstrip("/") for name in re.findall(r"`(\w+)/?`", row)} & set(LEVEL)
        assert all(LEVEL[name] == int(level) for name in named), f"row {level} of {row}"
    assert len(rows) == len(LAYERS)


def test_every_module_has_a_layer() -> None:
    unknown = {owner(path) for path in FILES} - set(LEVEL) - {"__init__", "__main__"}
    assert not unknown, f"not in the table of layers: {sorted(unknown)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_go_down_only(path: Path) -> None:
    name = owner(path)
    if name in ("__init__", "__main__"):
        return
    wrong = [
        f"{path.name}:{line} imports {module}"
        for line, module in imported(path)
        if (level(module) or 0) > LEVEL[name]
    ]
    assert not wrong, "\n".join(wrong)


def dotted(path: Path) -> str:
    """The name of a file's module below numbatorch; the package itself is ""."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that reach each other.

    R. Tarjan, "Depth-first search and linear graph algorithms", SIAM Journal on Computing 1 (1972).
    """
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_nodes: list[str] = []
    found = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        open_nodes.append(node)
        for other in graph[node]:
            if other not in number:
                visit(other)
            if other in open_nodes:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == number[node]:
            start = open_nodes.index(node)
            found.append(sorted(open_nodes[start:]))
            del open_nodes[start:]

    for node in graph:
        if node not in number:
            visit(node)
    return [group for group in found if len(group) > 1]


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": {"e"}, "e": set(), "f": {"f"}}
    assert circles(graph) == [["b", "c"]]


def test_no_files_import_each_other_in_a_circle() -> None:
    names = {dotted(path) for path in FILES}
    graph = {dotted(path): set[str]() for path in FILES}
    for path in FILES:
        for _line, module in imported(path):
            graph[dotted(path)].add(module if module in names else module.rpartition(".")[0])
    found = circles(graph)
    assert not found, "\n".join(" <-> ".join(group) for group in found)
