"""Adding a reduction is one file: here a Welford variance and a cumulative sum of another package.

Each is its record alone, and has every property on every device, with its gradient.
"""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import graph
from numbatorch.testing import assert_close, assert_launches, check_op

MODULE = "places_spread"
FILE = '''
import numpy as np

from numbatorch.dtype import FLOATS
from numbatorch.graph import find
from numbatorch.ops.operands import expanded
from numbatorch.ops.reduction import State, reduction, scan


def add(mean, squares, seen, x, index):
    seen = seen + 1.0
    apart = x - mean
    mean = mean + apart / seen
    return mean, squares + apart * (x - mean), seen


def merge(mean, squares, seen, other, other_squares, other_seen):
    total = seen + other_seen
    share = other_seen / total if total > 0.0 else 0.0 * total
    apart = other - mean
    return mean + apart * share, squares + other_squares + apart * apart * seen * share, total


def spread_of(mean, squares, seen, count, *, scale: float):
    return scale * squares / count


MOMENTS = State(merge, lambda word: (0, 0, 0), lambda dtype: (dtype.compute,) * 3, add, spread_of)


@reduction(MOMENTS, dtypes=FLOATS)
def spread(x, *, dims, scale: float = 1.0):
    """scale * mean((x - mean(x))^2)."""
    return scale * np.var(x, axis=dims, keepdims=True)


@spread.vjp
def _(g, y, x, *, dims, scale):
    count = float(np.prod([x.shape[d] for d in dims]))
    mean = expanded(find("sum").apply(x, dims=dims) / count, x.shape)
    return expanded(g * (2.0 * scale / count), x.shape) * (x - mean)


@spread.samples
def _(rng):
    return [rng.standard_normal((3, 70))], {"dims": (1,), "scale": 0.5}


def plus(total, other):
    return total + other


@scan(State(plus, lambda word: (0,)), dtypes=FLOATS)
def running_total(x, *, dims):
    """Sum of each element and those before it."""
    return np.cumsum(x, axis=dims[0])


@running_total.vjp
def _(g, y, x, *, dims):
    return expanded(find("sum").apply(g, dims=dims), x.shape) - y_before(g, dims)


def y_before(g, dims):
    return running_total.apply(g, dims=dims) - g


@running_total.samples
def _(rng):
    return [rng.standard_normal((2, 40, 3))], {"dims": (int(rng.integers(3)),)}
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("places")
    Path(folder, f"{MODULE}.py").write_text(FILE)
    sys.path.insert(0, str(folder))
    try:
        yield import_module(MODULE)
    finally:
        sys.path.remove(str(folder))
        del sys.modules[MODULE]
        for name in ("spread", "running_total"):
            graph.forget(name)


@pytest.mark.parametrize("name", ["spread", "running_total"])
def test_it_has_every_property(module: Any, name: str, device: str) -> None:
    assert check_op(getattr(module, name), device, examples=1) > 0


def test_it_fuses_and_compiles_with_its_gradient(module: Any, device: str) -> None:
    data = np.random.default_rng(0).standard_normal((3, 300)).astype(np.float32)

    def loss(x: nt.Tensor) -> nt.Tensor:
        total: nt.Tensor = module.running_total(x * 2.0, dims=(1,)) + 1.0
        return module.spread(total, dims=(1,), scale=0.5)

    x = nt.tensor(data, device=device)
    gradient = nt.grad(lambda x: loss(x).sum())
    totals = np.cumsum(2.0 * data.astype(np.float64), 1) + 1.0
    if device != "numpy":
        assert_launches(module.running_total(x * 2.0, dims=(1,)) + 1.0, 1)
        assert_launches(module.spread(x * 2.0, dims=(1,)) + 1.0, 1)
    assert_close(loss(x), 0.5 * totals.var(1, keepdims=True), kind="reduction")
    apart = (totals - totals.mean(1, keepdims=True)) / data.shape[1]
    expected = 2.0 * np.cumsum(apart[:, ::-1], 1)[:, ::-1]
    for function in (gradient, nt.compile(gradient)):
        assert_close(function(x), expected, kind="gradient")
