"""A function made of other operators is one file, also of a package that is only installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILE = '''
"""A plugin."""

from numbatorch.graph import Node
from numbatorch.ops.surface import public


@public()
def places_twice(x: Node) -> Node:
    """x + x."""
    return x + x
'''

FIRST_USES = {
    "function": "numbatorch.places_twice(x)",
    "method": "x.places_twice()",
    "import": "__import__('numbatorch', fromlist=['places_twice']).places_twice(x)",
    "probe": "hasattr(numbatorch, 'places_twice') and x.places_twice()",
}


def install(folder: Path, module: str, text: str) -> None:
    """A package as pip leaves it, whose module is a plugin with operators."""
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[numbatorch.operators]\nextra = {module}\n")
    (folder / f"{module}.py").write_text(text)


@pytest.mark.parametrize("use", FIRST_USES.values(), ids=FIRST_USES)
def test_an_installed_package_adds_it(use: str, tmp_path: Path) -> None:
    """Nothing imports the module but its entry point; one beside it that fails is warned of."""
    install(tmp_path, "places_composed", FILE)
    install(tmp_path, "places_broken", "import a_module_that_is_not_there")
    search = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", str(Path.cwd()))])
    code = f"import numbatorch; x = numbatorch.tensor([1, 2]); print(({use}).tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[2, 4]\n"
    assert done.stderr.count("package places_broken") == 1
