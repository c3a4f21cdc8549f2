"""Adding an operator with several outputs of several dtypes is one file, of any package."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.testing import assert_close, check_op
from tests.places.modules import package

FILE = '''
from typing import NamedTuple

import numpy as np

from numbatorch.dtype import int64
from numbatorch.graph import Node
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public


class Ranked(NamedTuple):
    values: Node
    ranks: Node
    spread: Node


@structured()
def ranked_(x):
    """x ascending along its last dimension, the rank of each element, largest - smallest."""
    order = np.argsort(x, -1, kind="stable")
    values = np.take_along_axis(x, order, -1)
    return values, np.argsort(order, -1), values[..., -1] - values[..., 0]


@ranked_.infer
def _(x):
    return [(x.shape, x.dtype), (x.shape, int64), (x.shape[:-1], x.dtype)]


@ranked_.vjp
def _(g, y, x):
    from numbatorch.ops.index import gather
    from numbatorch.ops.view import cat, narrow, unsqueeze

    last = x.shape[-1] - 1
    found = g[0]
    if g[2] is not None:
        edge = unsqueeze(g[2], -1)
        middle = narrow(y[0], -1, 1, last - 1) * 0.0
        ends = cat([-edge, middle, edge], -1)
        found = ends if found is None else found + ends
    return gather.apply(found, y[1])


@ranked_.samples
def _(rng):
    return [rng.permutation(12).reshape(3, 4) / 2 + 0.25], {}


@public()
def ranked(input: Node) -> Ranked:
    """The elements in order, their ranks and their spread, along the last dimension."""
    return Ranked(*ranked_.parts(input))
'''
X = np.array([[3.0, 1.0, 2.0], [5.0, 9.0, 4.0]], np.float32)


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with package(tmp_path_factory.mktemp("places"), {"ranked.py": FILE}, "ranked") as found:
        yield found


def test_it_has_every_property(module: Any, device: str) -> None:
    assert check_op(module.ranked_, device, examples=2) > 0


def test_it_gives_named_parts_and_compiles(device: str) -> None:
    def scaled(x: Any) -> Any:
        return nt.ranked(x * 2)

    x = nt.tensor(X, device=device)
    for call in (scaled, *[nt.compile(scaled)] * 2):
        found = call(x)
        assert found._fields == ("values", "ranks", "spread")
        assert_close(found.values, np.sort(2 * X))
        np.testing.assert_array_equal(found.ranks.numpy(), [[2, 0, 1], [1, 2, 0]])
        assert_close(found.spread, np.float32([4, 10]))


def test_gradients_of_all_parts_are_added(device: str) -> None:
    x = nt.tensor(X, device=device, requires_grad=True)
    found = x.ranked()
    (found.values * nt.tensor([1.0, 10.0, 100.0], device=device)).sum().backward()
    (x.ranked().spread * 2).sum().backward()
    assert_close(x.grad, np.float32([[102, -1, 10], [10, 102, -1]]), kind="gradient")


@pytest.mark.parametrize("target", ["cpu", "cuda", "metal"])
def test_it_is_one_launch(target: str) -> None:
    kernels = debug.kernels(list(nt.ranked(nt.tensor(X))), target)
    assert [kernel.name for kernel in kernels] == ["host:ranked"]
