"""The debug tools show what runs, and name a kernel that disagrees with its reference."""

from importlib.metadata import PackageNotFoundError
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug, errors
from numbatorch.backends.cuda import packages
from numbatorch.graph import find


def chain(rows: int = 4) -> Any:
    """A small graph that is not realized."""
    x = nt.tensor(np.ones((rows, 6), np.float32), device="cpu")
    return (x @ x.T + 1).exp().sum(0)


@pytest.mark.parametrize(
    ("level", "shown", "hidden"),
    [
        (1, "GB/s", "plan:"),
        (2, "plan: 2 launches", "def "),
        (3, "def kernel", "after fuse"),
        (4, "after fuse", "Traceback"),
    ],
)
def test_each_level_shows_more(
    level: int, shown: str, hidden: str, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setenv("NUMBATORCH_DEBUG", str(level))
    chain(10 + level).realize()  # a plan that no other test made
    text = capsys.readouterr().err
    assert shown in text
    assert hidden not in text


def test_graph_and_plan_run_nothing() -> None:
    out = chain()
    assert "matmul(" in debug.graph(out)
    assert debug.dot(out).startswith("digraph")
    assert "2 launches" in debug.plan(out)
    assert out.node.buffer is None


def test_kernels_have_a_source_that_says_what_they_fuse() -> None:
    product, total = debug.kernels(chain())
    assert product.fused == ("matmul",)
    assert set(total.fused) == {"sum", "exp", "add"}
    assert "fuses: sum" in total.source


def test_validate_names_the_first_kernel_that_differs(monkeypatch: Any) -> None:
    monkeypatch.setattr(find("exp"), "reference", lambda x: 2 * np.exp(x))
    with debug.validate(), pytest.raises(errors.KernelError, match="exp"):
        chain().realize()


def test_compiled_text_of_every_target() -> None:
    x = nt.tensor(np.ones((2, 3), np.float32))
    product = (x @ x.transpose(0, 1) + 1).relu()
    words = {"cpu": "define", "cuda": ".entry", "metal": "kernel void"}
    for target, word in words.items():
        if target == "cuda":
            pytest.importorskip("numba_cuda")
        (text,) = debug.compiled(product, target)
        assert word in text and ("fuses" in text or target != "metal")
    with pytest.raises(nt.DeviceError, match="no kernels for 'cuda:0'"):
        debug.plan(product, "cuda:0")


def test_cuda_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "version", absent)
    monkeypatch.setattr(packages.sys, "platform", "linux")
    with pytest.raises(nt.BackendUnavailable, match=r"hint: pip install"):
        debug.compiled(nt.ones(2) * 2 + 1, "cuda")


@pytest.mark.parametrize("look", [debug.kernels, debug.plan, debug.graph, debug.dot])
def test_what_is_no_tensor_is_named(look: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a tensor or several, not int"):
        look([1])
