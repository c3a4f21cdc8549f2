"""Plugins of installed packages: imported once, when first asked for, and never silently lost."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from numbatorch import entry_points

GROUP = "numbatorch.tested"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path, to which packages are installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    entry_points._loaded.discard(GROUP)
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


def install(folder: Path, package: str, module: str, text: str) -> None:
    """A package as pip leaves it, with one module and one entry point."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nextra = {module}\n")
    (folder / f"{module}.py").write_text(text)


def test_plugins_are_imported_once(packages: Path) -> None:
    install(packages, "first", "plugin_first", "")
    install(packages, "second", "plugin_second", "")
    entry_points.load(GROUP)
    assert {"plugin_first", "plugin_second"} <= set(sys.modules)
    install(packages, "third", "plugin_third", "")
    entry_points.load(GROUP)
    assert "plugin_third" not in sys.modules


def test_a_plugin_may_ask_for_unknown_names(packages: Path) -> None:
    again = f"from numbatorch import entry_points\nentry_points.load({GROUP!r})\n"
    install(packages, "asking", "plugin_asking", again)
    entry_points.load(GROUP)
    assert "plugin_asking" in sys.modules


def test_a_plugin_that_fails_is_named_and_keeps_no_other_away(packages: Path) -> None:
    install(packages, "broken", "plugin_broken", "import plugin_that_is_not_there")
    install(packages, "whole", "plugin_whole", "")
    with pytest.warns(RuntimeWarning) as caught:
        entry_points.load(GROUP)
    assert [str(found.message) for found in caught] == [
        f"{GROUP}: a plugin cannot be imported\n"
        "  package broken\n"
        "  entry point extra = plugin_broken\n"
        "  ModuleNotFoundError: No module named 'plugin_that_is_not_there'"
    ]
    assert "plugin_whole" in sys.modules
    entry_points.load(GROUP)  # says it once


def test_importing_numbatorch_looks_for_no_plugins() -> None:
    modules = "numbatorch, numbatorch.nn, numbatorch.generation.text_generator"
    code = f"import sys, {modules}; assert 'importlib.metadata' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
