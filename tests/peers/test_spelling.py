"""The same calls on a tensor of ours and on one of PyTorch's: values, dtypes, errors."""

from typing import Any

import numpy as np
import pytest

from tests.compare import as_numpy, assert_close
from tests.peers.sides import Sides, torch

CALLS = """
x.eq(y) x.ne(y) x.lt(y) x.le(y) x.gt(y) x.ge(y) x.remainder(y) x.floor_divide(y) i.remainder(3)
i.floor_divide(-3) i.eq(1) i.logical_and(j) i.logical_or(j) i.logical_xor(j) i.logical_not()
i.bitwise_and(j) i.bitwise_or(j) i.bitwise_xor(j) i.bitwise_not() x.add(y,alpha=2)
x.sub(y,alpha=0.5) i.add(j,alpha=3) i.div(3,rounding_mode='trunc')
i.div(3,rounding_mode='floor') i.div(3) x.div(y,rounding_mode='trunc')
x.div(y,rounding_mode='floor') i<<2 i>>1 2<<j.abs() x.logsumexp(1) x.logsumexp((0,1))
x.logsumexp(-1,keepdim=True) x.logsumexp(0).exp() x.ravel() x.swapaxes(0,1) z.moveaxis(0,-1)
z.moveaxis((0,2),(1,0)) z.movedim(1,0) y[0].broadcast_to(2,6) x.where(x>0,y) x.tril() x.triu(1)
z.tril(-1) z.triu(-2) x.masked_select(x>y) x.masked_select(x[0]>0) x[0].outer(y[1]) x.var()
x.var(1) x.var(unbiased=False) x.var(1,False) x.var(1,correction=0) x.std(0,keepdim=True)
x.std(False) x.std((0,1),correction=2) i.mean(dtype=f) i.sum(dtype=f) i.sum(1,dtype=f)
i.prod(1,dtype=f) x.mean(1,dtype=d) x.new_zeros(2,3) i.new_ones((2,)) x.new_full((2,),3)
i.type_as(x) x.isclose(y) i.masked_fill(i>0,0.) i.pow(2) i.pow(2.) x.pow(2) i.masked_fill(i>0,7)
""".split()


def names(sides: Sides, which: int) -> dict[str, Any]:
    """The tensors and dtypes that the calls speak of, of one side."""
    import numbatorch as nt

    sides.rng = np.random.default_rng(3)
    values = {
        "x": sides.normal(5, 6)[which],
        "y": sides.normal(5, 6)[which],
        "z": sides.normal(2, 3, 4)[which],
        "i": sides.integers(-9, 9, 4, 5)[which],
        "j": sides.integers(-9, 9, 4, 5)[which],
    }
    module = (nt, torch)[which]
    return {**values, "f": module.float32, "d": module.float64}


@pytest.mark.parametrize("call", CALLS)
def test_call_gives_what_torch_gives(call: str, sides: Sides) -> None:
    ours, theirs = (eval(call, {}, names(sides, which)) for which in (0, 1))
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert_close(ours, as_numpy(theirs), "composite", operator=call)


@pytest.mark.parametrize("call", ["x.equal(x)", "x.equal(y)", "x.allclose(x)", "i.element_size()"])
def test_plain_results_are_those_of_torch(call: str, sides: Sides) -> None:
    ours, theirs = (eval(call, {}, names(sides, which)) for which in (0, 1))
    assert type(ours) is type(theirs) and ours == theirs


@pytest.mark.parametrize(
    "call",
    ["i.pow(-1)", "i**-2", "x.outer(y)", "i.mean()", "i<<0.5"],
)
def test_both_refuse(call: str, sides: Sides) -> None:
    for which in (0, 1):
        with pytest.raises((TypeError, RuntimeError, ValueError)):
            eval(call, {}, names(sides, which))


def test_logsumexp_gradient_equals_torch(sides: Sides) -> None:
    ours, theirs = sides.normal(4, 7, grad=True)
    (ours.logsumexp(1) ** 2).sum().backward()
    (theirs.logsumexp(1) ** 2).sum().backward()
    assert_close(ours.grad, theirs.grad, "gradient", operator="logsumexp.vjp")
