"""First values and what is done to parameters and modules from outside, beside PyTorch."""

import importlib
import inspect
import math
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn
from tests.compare import assert_close
from tests.peers.sides import Sides, torch

NONLINEARITIES = (
    "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d "
    "sigmoid tanh relu leaky_relu selu"
)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES.split())
@pytest.mark.parametrize("param", [None, 0, 0.2, -3])
def test_gains_equal_torch(nonlinearity: Any, param: Any) -> None:
    expected = torch.nn.init.calculate_gain(nonlinearity, param)
    assert nn.init.calculate_gain(nonlinearity, param) == expected


@pytest.mark.parametrize("bad", [("swish", None), ("leaky_relu", True), ("leaky_relu", "x")])
def test_what_has_no_gain_is_an_error_on_both_sides(bad: Any) -> None:
    for side in (nn.init, torch.nn.init):
        with pytest.raises(ValueError):
            side.calculate_gain(*bad)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 1), (0, 2)])
def test_eye_equals_torch(shape: tuple[int, int]) -> None:
    assert_close(nn.init.eye_(nt.empty(shape)), torch.nn.init.eye_(torch.empty(shape)), "exact")


@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((3, 5, 4), 1),
        ((6, 2, 3, 4), 3),
        ((6, 5, 3, 4), 2),
        ((4, 4, 1, 2, 3), 4),
        ((2, 0, 3), 1),
        ((0, 2, 3), 1),
    ],
)
def test_dirac_equals_torch(shape: tuple[int, ...], groups: int) -> None:
    expected = torch.nn.init.dirac_(torch.empty(shape), groups)
    assert_close(nn.init.dirac_(nt.empty(shape), groups), expected, "exact")


@pytest.mark.parametrize("name", sorted(torch.nn.init.__all__))
def test_names_of_init(name: str) -> None:
    """Those without an underscore at their end are deprecated."""
    if name == "calculate_gain" or name.endswith("_"):
        assert name in nn.init.__all__


P = [0, 0.5, 1, 2, 3.0, math.inf, -math.inf]


@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize("max_norm", [0.0, 0.7, 1e9, math.inf])
def test_clipped_gradients_equal_torch(p: float, max_norm: float, sides: Sides) -> None:
    pairs = [sides.normal(*shape, grad=True) for shape in ((4, 3), (7,), (), (2, 0))]
    if math.isinf(p):
        pairs.pop()  # of which PyTorch has no norm
    for ours, theirs in pairs:
        ours.grad, theirs.grad = sides.normal(*ours.shape)
    ours = nn.utils.clip_grad_norm_([x for x, _ in pairs], max_norm, p)
    theirs = torch.nn.utils.clip_grad_norm_([x for _, x in pairs], max_norm, p)
    assert_close(ours, theirs, "reduction")
    for x, y in pairs:
        assert_close(x.grad, y.grad, "gradient")


def test_clipped_numbers_equal_torch(sides: Sides) -> None:
    ours, theirs = sides.normal(5, 4, grad=True)
    ours.grad, theirs.grad = sides.of(np.float32([[math.nan, math.inf, -math.inf, -0.2]] * 5))
    nn.utils.clip_grad_value_(ours, 0.3)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    assert_close(ours.grad, theirs.grad, "exact")


def test_vectors_equal_torch(sides: Sides) -> None:
    pairs = [sides.normal(*shape, grad=True) for shape in ((4, 3), (), (2, 0))]
    vectors = [
        nn.utils.parameters_to_vector(x for x, _ in pairs),
        torch.nn.utils.parameters_to_vector(x for _, x in pairs),
    ]
    assert_close(*vectors, "exact")
    mine, other = sides.normal(13)
    nn.utils.vector_to_parameters(mine, (x for x, _ in pairs))
    torch.nn.utils.vector_to_parameters(other, (x for _, x in pairs))
    for x, y in pairs:
        assert_close(x, y, "exact")
        assert x.requires_grad and x.is_leaf


ABSENT = {
    "clip_grad_norm": "deprecated",
    "convert_conv2d_weight_memory_format": "there are no formats of memory here",
    "convert_conv3d_weight_memory_format": "there are no formats of memory here",
    "rnn": "a module of its own",
}
PLACES = [
    "init",
    "utils",
    "utils.stateless",
    "utils.prune",
    "utils.parametrize",
    "utils.parametrizations",
]


def public(place: str) -> list[tuple[Any, Any]]:
    """What PyTorch has at a place, beside ours."""
    module = importlib.import_module(f"torch.nn.{place}")
    ours = importlib.import_module(f"numbatorch.nn.{place}")
    own = [n for n, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", [n for n in own if n[0] != "_"])
    names = [n for n in names if n not in ABSENT and (place != "init" or n in nn.init.__all__)]
    return [(getattr(ours, name), getattr(module, name)) for name in names]


@pytest.mark.parametrize("place", PLACES)
def test_functions_have_the_arguments_of_torch(place: str) -> None:
    found = [(x, y) for x, y in public(place) if callable(y) and not inspect.isclass(y)]
    assert len(found) >= (1 if place == "utils.stateless" else 3)
    for ours, theirs in found:
        mine, other = (list(inspect.signature(f).parameters.values()) for f in (ours, theirs))
        assert [(p.name, p.kind, p.default) for p in mine] == [
            (p.name, p.kind, p.default) for p in other
        ], ours.__name__


def test_methods_of_pruning_have_the_arguments_of_torch() -> None:
    for ours, theirs in public("utils.prune"):
        if inspect.isclass(theirs):
            mine, other = (list(inspect.signature(f).parameters.values()) for f in (ours, theirs))
            assert [p.name for p in mine] == [p.name for p in other], ours.__name__
