"""Imports go down only: the table of docs/architecture.md against every import statement."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "numbatorch"

LAYERS = [
    "settings errors",
    "dtype shape layout device",
    "graph",
    "ops",
    "compile",
    "backends cuda_kernels metal",
    "autograd",
    "tensor functional debug testing",
    "nn optim",
    "io quantized",
    "models onnx",
    "generation pipelines hub",
    "cli serve export",
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}

# The kernels of ops/cpu are written with the decorator and the vectors of backends/cpu, which
# themselves import nothing of numbatorch but the first two rows.
KERNEL_VOCABULARY = {"backends.cpu.kernel", "backends.cpu.simd", "backends.cpu.simd_tile"}

FILES = sorted(PACKAGE.rglob("*.py"))


def owner(path: Path) -> str:
    """Name in the table of the module or folder that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


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
            names = [stem] if stem.count(".") else [f"{stem}.{alias.name}" for alias in node.names]
            names += [f"{stem}.{alias.name}" for alias in node.names if stem.count(".")]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "numbatorch" and rest:
                yield node.lineno, rest


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
        if module.split(".")[0] in LEVEL
        and LEVEL[module.split(".")[0]] > LEVEL[name]
        and not (name == "ops" and ".".join(module.split(".")[:3]) in KERNEL_VOCABULARY)
    ]
    assert not wrong, "\n".join(wrong)
