"""Adding an operator with a CPU kernel is two files: its record, and its kernel beside it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.testing import assert_close, check_op
from tests.conftest import SIMULATED
from tests.places.modules import package

RECORD = '''
import numpy as np

from numbatorch.graph import Node
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import narrow


@structured()
def steps_(x):
    """x[..., i + 1] - x[..., i]."""
    return np.diff(x)


@steps_.infer
def _(x):
    return (*x.shape[:-1], x.shape[-1] - 1), x.dtype


@steps_.fallback
def _(x):
    count = x.shape[-1] - 1
    return narrow(x, -1, 1, count) - narrow(x, -1, 0, count)


@steps_.samples
def _(rng):
    return [rng.standard_normal((3, int(rng.integers(2, 90))))], {}


@public()
def steps(input: Node) -> Node:
    """The difference of each element to the one before it, along the last dimension."""
    return steps_.apply(input)
'''
KERNEL = """
from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.ops.lowering import lower
from numbatorch.ops.portable.rows import FLOAT, sizes_of
from places_steps import steps


@kernel(T=FLOAT)
def difference_rows(
    out: Pointer[T], x: Pointer[T], rows: int, cols: int, part: int, parts: int
) -> None:
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        for i in range(cols - 1):
            out[row * (cols - 1) + i] = x[row * cols + i + 1] - x[row * cols + i]


@lower("cpu", steps.steps_)
def _(launcher, out, x):
    rows, cols = sizes_of(x)
    launcher.launch(difference_rows(T=x.dtype), out, x, rows, cols, work=rows * cols)
"""
X = np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    files = {"steps.py": RECORD, "cpu/steps.py": KERNEL}
    with package(tmp_path_factory.mktemp("places"), files, "steps") as found:
        yield found


def test_it_has_every_property(module: Any, device: str) -> None:
    assert check_op(module.steps_, device, examples=2) > 0


def test_it_runs_compiled_and_its_gradient_flows(device: str) -> None:
    x = nt.tensor(X, device=device, requires_grad=True)
    assert_close(nt.compile(lambda x: nt.steps(x * 2) + 1)(x), 2 * np.diff(X) + 1)
    (x.steps() ** 2).sum().backward()
    edges = np.pad(2 * np.diff(X), ((0, 0), (1, 1)))
    assert_close(x.grad, edges[:, :-1] - edges[:, 1:], kind="gradient")


@pytest.mark.skipif(SIMULATED, reason="the CPU's kernels are not found there")
def test_the_kernel_runs_on_the_cpu_and_the_fallback_elsewhere() -> None:
    x = nt.tensor(X)
    assert [kernel.name for kernel in debug.kernels(x.steps())] == ["difference_rows_float32"]
    assert [kernel.name for kernel in debug.kernels(x.steps(), "metal")] == ["sub"]
