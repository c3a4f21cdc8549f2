"""NumPy's names of arguments, axis, keepdims, x and x2, are taken wherever PyTorch takes them."""

import inspect
from typing import Any

import pytest

import numbatorch as nt
from numbatorch.errors import ShapeError
from numbatorch.ops import families, surface
from tests.compare import as_numpy, assert_close
from tests.peers.sides import Sides, torch

CALLS = """
x.sum(axis=0,keepdims=True) t.sum(x,axis=1) t.sum(a=x) t.mean(x=x,axis=(0,1)) x.amax(axis=-1)
x.max(axis=0,keepdims=True).values x.std(axis=0,keepdims=True) x.argmax(axis=1,keepdims=True)
t.add(x1=x,x2=y) x.mul(x2=y) t.exp(x=x) t.cat((x,y),axis=1) t.stack((x,y),axis=1) x.cumsum(axis=0)
x.unsqueeze(axis=1) x.softmax(axis=1) t.where(x>0,x=x,x2=y) x.all(axis=0,keepdims=True)
t.linalg.vector_norm(x,axis=1,keepdims=True) t.fft.fft(x,axis=0).abs()
x.index_select(axis=1,index=c) x.clone().cumsum_(axis=0) x.logsumexp(axis=1,keepdims=True)
x.sort(axis=0).values
x.clone().index_add_(axis=1,index=c,source=y[:,:2])
x.clone().index_copy_(axis=1,index=c*0,source=y[:,:1].expand(3,2))
x.clone().index_fill_(axis=0,index=c%3,value=2.0) t.exp_(x=x.clone())
x.clone().scatter_(axis=1,index=c[None],value=3.0)
x.clone().scatter_add_(axis=1,index=c[None],src=y)
x.clone().scatter_reduce_(axis=1,index=c[None],src=y,reduce="sum")
(c+5).remainder_(x2=c+2) x.clone().fmod_(x2=y) (c+5).div_(x2=c+1,rounding_mode="floor")
(c+5).floor_divide_(x2=c+1)
""".split()


@pytest.mark.parametrize("call", CALLS)
def test_call_gives_what_torch_gives(call: str, sides: Sides) -> None:
    x, y, c = sides.normal(3, 4), sides.normal(3, 4), sides.integers(0, 4, 2)
    modules = (nt, torch)
    ours, theirs = (
        eval(call, {"t": modules[which], "x": x[which], "y": y[which], "c": c[which]})
        for which in (0, 1)
    )
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert_close(ours, as_numpy(theirs), "composite", operator=call)


def names(argument: str) -> list[str]:
    """The public functions with this argument."""
    families.all_ops()
    found = (f"{place}.{name}" for place in surface.PLACES for name in families.table(place))
    return sorted(
        name
        for name in found
        if argument in inspect.signature(_ours(name), follow_wrapped=True).parameters
    )


def _ours(name: str) -> Any:
    place, _, short = name.rpartition(".")
    return families.function(place, short)


@pytest.mark.parametrize(("argument", "spelled"), [("dim", "axis"), ("keepdim", "keepdims")])
def test_every_function_takes_the_name(argument: str, spelled: str) -> None:
    x = nt.arange(24).reshape(2, 3, 4).float()
    for name in names(argument):
        try:
            _ours(name)(x, **{spelled: 1 if argument == "dim" else True})
        except (TypeError, ShapeError) as error:  # of another argument, which the call lacks
            assert spelled not in str(error), name
        with pytest.raises(TypeError, match=f"{argument} and {spelled} are both given"):
            _ours(name)(**{spelled: 1, argument: 1})


@pytest.mark.parametrize(("argument", "spelled"), [("dim", "axis"), ("other", "x2")])
def test_every_method_in_place_takes_the_name(argument: str, spelled: str) -> None:
    without = {name.removeprefix("nt.") for name in names(argument)}
    methods = [name for name in dir(nt.Tensor) if name.endswith("_") and name[:-1] in without]
    assert len(methods) > 7
    for name in methods:
        x = nt.ones(2, 3, dtype=nt.int64)
        value = 1 if argument == "dim" else x
        try:
            getattr(x, name)(**{spelled: value})
        except (TypeError, ShapeError) as error:  # of another argument, or of a result of floats
            assert spelled not in str(error), name
        with pytest.raises(TypeError, match=f"{name}: ({argument}|{spelled}) and .* both given"):
            getattr(x, name)(**{spelled: value, argument: value})


def test_what_is_given_twice_or_unknown() -> None:
    x = nt.ones(2, 3)
    for call in (lambda: x.sum(0, axis=0), lambda: nt.sum(x, 0, axis=1)):
        with pytest.raises(TypeError, match="sum: dim and axis are both given"):
            call()
    with pytest.raises(TypeError, match="input and x are both given"):
        nt.sum(x, x=x)
    with pytest.raises(TypeError, match=r"(a and x|x and a) are both given"):
        nt.sum(x=x, a=x)
    with pytest.raises(TypeError, match="flip: has no argument 'axis'"):
        x.flip(axis=0)
    with pytest.raises(TypeError, match="relu: has no argument 'axis'"):
        nt.relu(x, axis=0)
    assert nt.nn.functional.relu(x=(y := -x), inplace=True) is y and y.sum().item() == 0
    assert x.size(axis=1) == 3
