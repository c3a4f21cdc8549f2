"""Adding an operator that has a NumPy function only is one file, of any package."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.testing import assert_close, check_op
from tests.places.modules import package

FILE = '''
import numpy as np

from numbatorch.graph import Node
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public


@structured()
def flipped_sum_(x, *, shift: int = 1):
    """x plus x rolled by `shift` along the last dimension."""
    return x + np.roll(x, shift, -1)


@flipped_sum_.infer
def _(x, *, shift):
    return x.shape, x.dtype


@flipped_sum_.vjp
def _(g, y, x, *, shift):
    return flipped_sum_.apply(g, shift=-shift)


@flipped_sum_.samples
def _(rng):
    return [rng.standard_normal((2, 5))], {"shift": int(rng.integers(-3, 4))}


@public()
def flipped_sum(input: Node, shift: int = 1) -> Node:
    """The input plus itself, rolled by `shift` along the last dimension."""
    return flipped_sum_.apply(input, shift=shift)
'''
X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    files = {"flipped_sum.py": FILE}
    with package(tmp_path_factory.mktemp("places"), files, "flipped_sum") as found:
        yield found


def test_it_has_every_property(module: Any, device: str) -> None:
    assert check_op(module.flipped_sum_, device, examples=2) > 0


def test_it_runs_compiled_and_its_gradient_flows(device: str) -> None:
    x = nt.tensor(X, device=device, requires_grad=True)
    expected = np.exp(X / 9) + np.roll(np.exp(X / 9), 1, -1)
    assert_close((x / 9).exp().flipped_sum(), expected)
    assert_close(nt.compile(lambda x: nt.flipped_sum((x / 9).exp()) * 2)(x), 2 * expected)
    (nt.flipped_sum(x, shift=2) * nt.tensor([1.0, 2.0, 3.0], device=device)).sum().backward()
    weights = np.array([1.0, 2.0, 3.0], np.float32)
    assert x.grad is not None
    assert_close(x.grad, np.tile(weights + np.roll(weights, -2), (2, 1)), kind="gradient")


@pytest.mark.parametrize("target", ["cpu", "cuda", "metal"])
def test_tools_show_that_it_runs_on_the_host(target: str) -> None:
    kernels = debug.kernels(nt.tensor(X).exp().flipped_sum() * 2, target)
    assert [kernel.name for kernel in kernels] == ["exp", "host:flipped_sum", "mul"]
    assert "spec=<host:flipped_sum>" in repr(kernels[1])
