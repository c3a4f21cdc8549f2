"""Adding a unary operator with its gradient is one function in one file, of any package."""

import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import graph
from numbatorch.testing import assert_close, assert_launches, check_op

FILE = '''
import numpy as np

from numbatorch.dtype import FLOATS
from numbatorch.ops import scalar_math
from numbatorch.ops.registry import elementwise


@elementwise(numpy=lambda x: np.exp(-x * x), dtypes=FLOATS)
def places_bell(x):
    """exp(-x^2).

    >>> places_bell(tensor([0.0]))
    tensor([1.])
    """
    return scalar_math.exp(-x * x)


@places_bell.vjp
def _(g, y, x):
    return g * (y * x * -2.0)
'''
X = np.linspace(-2, 2, 9, dtype=np.float32)


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The file, imported as the module of another package."""
    path = tmp_path_factory.mktemp("places") / "places_bell_module.py"
    path.write_text(FILE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, Path(path))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    graph.forget("places_bell")


def test_users_find_it_everywhere_with_its_signature_and_docstring() -> None:
    x = nt.tensor(X)
    expected = np.exp(-X * X)
    for call in (nt.places_bell, nt.Tensor.places_bell, lambda x: x.places_bell()):
        assert_close(call(x), expected)
    assert list(inspect.signature(nt.places_bell).parameters) == ["input"]
    assert nt.places_bell.__doc__.startswith("exp(-x^2)")
    assert "places_bell" in dir(nt) and "places_bell" in dir(x)
    with pytest.raises(TypeError, match="places_bell: has no argument 'scale'"):
        nt.places_bell(x, scale=2)


def test_it_has_every_property(module: Any, device: str) -> None:
    assert check_op(module.places_bell, device, examples=2) > 0


def test_it_fuses_compiles_and_its_gradient_flows(device: str) -> None:
    x = nt.tensor(X, device=device)
    if device != "numpy":
        assert_launches(x.places_bell() * 2 + x, 1)
    leaf = nt.tensor(X, device=device, requires_grad=True)
    nt.places_bell(leaf).sum().backward()
    assert leaf.grad is not None
    assert_close(leaf.grad, -2 * X * np.exp(-X * X), kind="gradient")
    compiled = nt.compile(lambda x: nt.places_bell(x) + 1)
    assert_close(compiled(x), np.exp(-X * X) + 1)


@pytest.mark.parametrize("target", ["cuda", "metal"])
def test_its_kernel_is_printed_for_gpus(target: str) -> None:
    (kernel,) = nt.debug.kernels(nt.places_bell(nt.tensor(X)), target)
    assert kernel.fused == ("places_bell",)
