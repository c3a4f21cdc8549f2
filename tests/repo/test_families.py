"""Families load when a name of theirs is first used: import costs the same with 1,000 more."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MORE = 1000
OPERATOR = '''

@elementwise(numpy=np.negative)
def more_{number}(x: Scalar) -> Scalar:
    """-x, again."""
    return -x
'''
HEADER = '''"""Many operators."""

import numpy as np

from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
'''
LOADED = """
import json, sys, numpy
import numbatorch
from numbatorch.graph import registered
modules = sorted(name for name in sys.modules if name.startswith("numbatorch"))
print(json.dumps([modules, [op.name for op in registered()]]))
"""


def run(code: str, root: Path, cache: Path) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
        env={
            **os.environ,
            "PYTHONPATH": str(root),
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(cache),
        },
    ).stdout


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with 1,000 more operators in a family of their own."""
    root = tmp_path_factory.mktemp("larger")
    for folder in ("numbatorch", "tools"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    text = HEADER + "".join(OPERATOR.format(number=number) for number in range(MORE))
    (root / "numbatorch" / "ops" / "many.py").write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, root / "tools" / "surface.py"], check=True, capture_output=True)
    return root


def test_import_loads_the_records_that_every_graph_needs_and_no_family(tmp_path: Path) -> None:
    modules, records = json.loads(run(LOADED, ROOT, tmp_path))
    assert {"numbatorch.ops.table", "numbatorch.ops.scalar", "numbatorch.nn"}.isdisjoint(modules)
    assert [m for m in modules if m.startswith("numbatorch.ops.")] == [
        f"numbatorch.ops.{name}"
        for name in (
            "caller create families known_calls numbers operands registry signature slices "
            "structured surface view write_through"
        ).split()
    ]
    assert len(records) <= 15


def test_a_thousand_more_operators_change_nothing_at_import(larger: Path, tmp_path: Path) -> None:
    small, large = (json.loads(run(LOADED, root, tmp_path / root.name)) for root in (ROOT, larger))
    assert large == small


def test_one_of_the_thousand_is_found_by_its_name(larger: Path, tmp_path: Path) -> None:
    code = """
import sys, numbatorch as nt
assert "numbatorch.ops.many" not in sys.modules and "more_7" in dir(nt)
print(nt.more_7(nt.tensor([1.0], device="numpy")).item(), nt.Tensor.more_999 is nt.more_999)
"""
    assert run(code, larger, tmp_path).split() == ["-1.0", "True"]


def test_a_name_that_nothing_has_loads_no_family(tmp_path: Path) -> None:
    code = """
import sys, numbatorch as nt
before = set(sys.modules)
assert not hasattr(nt, "nonsense") and not hasattr(nt.zeros(1), "nonsense")
print(*sorted(name for name in set(sys.modules) - before if name.startswith("numbatorch")))
"""
    assert run(code, ROOT, tmp_path).split() == ["numbatorch.ops.table"]
