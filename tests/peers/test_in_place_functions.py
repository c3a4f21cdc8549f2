"""nt.relu_, nn.functional.elu_ and the like: all that PyTorch has, and what they do."""

import pickle
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import as_numpy, assert_close
from tests.peers.sides import Sides, torch

PLACES = {"nt": (nt, torch), "F": (nt.nn.functional, torch.nn.functional)}
# What changes a sparse tensor or the rows of a table, and what is not there without the underscore.
ABSENT = {"conj_physical_", "embedding_renorm_", "feature_dropout_", "resize_as_sparse_"}
# Arguments after the first, where there have to be some; random functions are asked for no change.
MORE: dict[str, tuple[Any, ...]] = {
    "as_strided_": ((2, 2), (2, 1)),
    "clamp_": (0.3, 0.7),
    "clip_": (0.3, 0.7),
    "clamp_max_": (0.5,),
    "clamp_min_": (0.5,),
    "fill_": (2,),
    "ldexp_": (2.0,),
    "threshold_": (0.5, 9.0),
    **dict.fromkeys(("dropout_", "alpha_dropout_", "feature_alpha_dropout_"), (0.5, False)),
}


CALLS = {
    "gcd_": "t.gcd_(i, i + 2)",
    "lcm_": "t.lcm_(i, i + 2)",
    "addmv_": "t.addmv_(v, m, v + 0, beta=2)",
    "index_put_": "t.index_put_(v, (i[:1],), v[:1] + 3, accumulate=True)",
}


def names() -> list[str]:
    return [
        f"{place}.{name}"
        for place, (_, theirs) in PLACES.items()
        for name in sorted(dir(theirs))
        if name.endswith("_") and not name.startswith("_") and name not in {*ABSENT, *CALLS}
    ]


@pytest.mark.parametrize("name", names())
def test_function_changes_its_first_argument_as_in_torch(name: str, sides: Sides) -> None:
    place, _, short = name.partition(".")
    ours, theirs = (getattr(module, short) for module in PLACES[place])
    x, y = sides.of(np.linspace(0.1, 0.9, 6, dtype=np.float32).reshape(2, 3))
    more = [tuple(MORE.get(short, ())) for _ in range(2)]
    if short in ("ldexp_", "xlogy_", "resize_as_"):
        more = [(nt.full((2, 3), 2.0),), (torch.full((2, 3), 2.0),)]
    if short == "acosh_" or short == "arccosh_":
        x, y = x + 1, y + 1
    if short == "rrelu_":
        more = [(0.1, 0.1), (0.1, 0.1)]
    view = x.view(-1)
    assert ours(x, *more[0]) is x and theirs(y, *more[1]) is y
    assert_close(x, as_numpy(y), "composite", operator=name)
    if short != "as_strided_":
        np.testing.assert_array_equal(view.numpy(), x.reshape(-1).numpy())
    assert pickle.loads(pickle.dumps(ours)) is ours


@pytest.mark.parametrize("call", CALLS.values())
def test_call_gives_what_torch_gives(call: str) -> None:
    ours, theirs = (
        eval(
            call,
            {
                "t": side,
                "i": side.tensor([1, 4, 6]),
                "v": side.tensor([1.0, 2.0, 3.0]),
                "m": side.arange(9.0).reshape(3, 3),
            },
        )
        for side in (nt, torch)
    )
    assert ours.tolist() == theirs.tolist()


def test_errors_and_keywords() -> None:
    x = nt.tensor([-1.0, 2.0])
    assert nt.nn.functional.leaky_relu_(input=x, negative_slope=0.5) is x
    assert x.tolist() == [-0.5, 2]
    assert nt.clamp_(input=x, max=1) is x and x.tolist() == [-0.5, 1]
    assert nt.clamp_(x=x, max=0) is x and x.tolist() == [-0.5, 0]
    for call, told in (
        (lambda: nt.relu_([1.0]), "relu_: input is list, not Tensor"),
        (lambda: nt.relu_(), "relu_: input is not given, not Tensor"),
        (lambda: nt.relu_(x, input=-x), r"relu_: input is given twice\n  it is relu_\(input"),
        (lambda: nt.relu_(x, x=-x), "relu_: input is given twice"),
        (lambda: nt.relu_(input=x, a=-x), "relu_: input is given twice"),
        (lambda: nt.nn.functional.elu_(x, input=-x), "elu_: input is given twice"),
    ):
        with pytest.raises(TypeError, match=told):
            call()
    assert x.tolist() == [-0.5, 0]
    with pytest.raises(TypeError, match="multiple values for argument 'input'"):
        torch.relu_(torch.ones(2), input=torch.ones(2))
    with pytest.raises(nt.DTypeError, match="exp_: the result does not fit"):
        nt.exp_(nt.arange(3))
    with pytest.raises(nt.GradientError, match="a leaf that requires a gradient is changed"):
        nt.relu_(nt.ones(2, requires_grad=True))
    for module in PLACES["nt"][0], PLACES["F"][0]:
        for name in ("matmul_", "softmax__", "no_such_"):
            assert not hasattr(module, name)
