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
x.norm() x.norm(1) x.norm(1,0) x.norm(3,1,True) x.norm(float('inf')) x.norm(0,1) x.norm(dim=1)
x.norm(p=-float('inf'),dim=0) L.vector_norm(x,1) L.vector_norm(x,1.5,0,True) F.normalize(x)
F.normalize(x,1.,0) F.normalize(z) F.cross_entropy(x,c,w) F.cross_entropy(x,c,w,None,2)
F.cross_entropy(x,c,w,ignore_index=2,label_smoothing=.1) F.cross_entropy(x,c,w,reduction='none')
F.cross_entropy(x,x.softmax(1),w,label_smoothing=.2) F.cross_entropy(x,c,label_smoothing=.3)
F.cross_entropy(x,c,w,reduction='sum') F.nll_loss(x,c,w) F.nll_loss(x,c,None,None,1)
F.nll_loss(x,c,w,reduction='none') F.mse_loss(x,y,weight=x.abs()) F.l1_loss(x,y,reduction='sum')
F.l1_loss(x,y,weight=x.abs()) F.one_hot(c) F.one_hot(c,9) F.softplus(x,2,1) F.softplus(x,.5)
F.softmax(x,0) x.softmax(1,f) x.log_softmax(0) F.leaky_relu(x,0.3) F.leaky_relu(x,1)
F.gelu(x,approximate='tanh') x.mm(y.T) z.bmm(z.transpose(1,2)) x[0].dot(y[0])
x.repeat_interleave(2) x.repeat_interleave(3,1) x.clip(-1,.5) x.amax() x.amax((0,1)) x.max()
x.max(1).values x.min(0,True).indices x.squeeze(0) x.flatten(0) i.pow(i.abs()) x.round(decimals=2)
t.cat((x,y),1) t.stack([x,y],-1) t.concat([x,y]) t.true_divide(i,2) t.where(x>0,x,0.)
t.special.erf(x) t.special.expm1(x) t.special.log_softmax(x,1) t.special.ndtr(x)
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
        "c": sides.integers(0, 6, 5)[which],
        "w": sides.normal(6)[which].abs(),
    }
    module = (nt, torch)[which]
    functions = {"t": module, "F": module.nn.functional, "L": module.linalg}
    return {**values, **functions, "f": module.float32, "d": module.float64}


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
    [
        "i.pow(-1)",
        "t.pow(i,-1)",
        "i**-2",
        "x.outer(y)",
        "i.mean()",
        "i<<0.5",
        "x.mm(z)",
        "x.dot(y)",
        "F.cross_entropy(x,c,c)",
        "F.gelu(x,approximate='tahn')",
        "F.relu(x,foo=1)",
        "F.cross_entropy(x,c,reduction='average')",
        "F.one_hot(x)",
        "x.sum(0,True,f)",
    ],
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
