"""Imports go down only: the table of docs/architecture.md against every import statement."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "numbatorch"

LAYERS = [
    "settings errors locks entry_points",
    "dtype shape layout device variable nest references debugging determinism",
    "graph",
    "language ops cuda_kernels",
    "passes",
    "backends metal",
    "autograd",
    "tensor functional debug testing",
    "nn optim",
    "io hub",
    "models onnx",
    "generation pipelines",
    "cli serve exporting",
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}

# What a debug tool, switched on by its user, calls from below.
WATCHED = {"backends.reference", "graph"}

FILES = sorted(PACKAGE.rglob("*.py"))


def owner(path: Path) -> str:
    """Name in the table of the module or folder that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(stem: str, name: str) -> str:
    """What `from stem import name` loads: the module `stem.name` if there is one, else `stem`."""
    path = PACKAGE.parent.joinpath(*stem.split("."), name)
    return f"{stem}.{name}" if path.is_dir() or path.with_suffix(".py").exists() else stem


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of each import of numbatorch in a file, also inside functions."""
    package = ["numbatorch", *path.relative_to(PACKAGE).parts[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
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
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "numbatorch" and rest:
                yield node.lineno, rest


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
        if (level(module) or 0) > LEVEL[name] and not (name == "debugging" and module in WATCHED)
    ]
    assert not wrong, "\n".join(wrong)
