"""A new elementwise operator with its gradient is this one function, on every device."""

import subprocess
import sys

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.dtype import FLOATS
from numbatorch.graph import Node
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.testing import assert_close, assert_launches, check_op


@elementwise(numpy=lambda x, y: x * y / (1 + x * x), dtypes=FLOATS, largest=1e18)
def damped_product(x: Scalar, y: Scalar) -> Scalar:
    """x * y / (1 + x^2)."""
    return x * y / (1.0 + x * x)


@damped_product.vjp
def _(g: Node, z: Node, x: Node, y: Node) -> tuple[Node, Node]:
    whole: Node = 1.0 + x * x
    return g * y * (1.0 - x * x) / (whole * whole), g * x / whole


def test_it_has_every_property(device: str) -> None:
    assert check_op(damped_product, device, examples=2) > 0


def test_it_fuses_and_its_gradient_flows(device: str) -> None:
    data = np.linspace(-2, 2, 7, dtype=np.float32)
    x = nt.tensor(data, device=device).requires_grad_()
    y = damped_product(x, x * 2.0).exp()
    if device != "numpy":
        assert_launches(y, 1)
    y.sum().backward()
    assert x.grad is not None
    z = 2 * data**2 / (1 + data**2)
    assert_close(x.grad, np.exp(z) * 4 * data / (1 + data**2) ** 2, kind="gradient")


@pytest.mark.parametrize("target", ["cuda", "metal"])
def test_its_kernels_are_printed_from_the_same_body(target: str) -> None:
    x = nt.tensor([1.0, 2.0])
    (kernel,) = nt.debug.kernels(damped_product(x, x + 1.0), target)
    assert kernel.fused == ("add", "damped_product")


NAMES_THAT_ARE_TAKEN = """
import numbatorch as nt
from numbatorch.ops.registry import elementwise
from numbatorch.ops.surface import public


def erfcx(x):
    \"\"\"Twice x.\"\"\"
    return x + x


def roll(input):
    \"\"\"The same.\"\"\"
    return input


for register, function in ((elementwise(numpy=lambda x: x + x), erfcx), (public("nt"), roll)):
    try:
        register(function)
    except ValueError as error:
        print(error)
print(nt.roll(nt.tensor([1, 2]), 1).tolist(), nt.special.erfcx(nt.tensor([0.0])).tolist())
"""


def test_names_of_the_library_are_taken_before_it_has_loaded_them() -> None:
    """Another operator of such a name would end the import of the library's own, and its family."""
    code = [sys.executable, "-c", NAMES_THAT_ARE_TAKEN]
    found = subprocess.run(code, capture_output=True, text=True, check=True).stdout.splitlines()
    assert found[0] == "erfcx: an operator of this name is registered"
    assert found[-2:] == ["roll: nt has a function of this name", "[2, 1] [1.0]"]
