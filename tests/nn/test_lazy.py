"""Lazy layers: the first input or a state dict decides their size; parameters stay the same."""

import copy
import pickle

import pytest

import numbatorch as nt
from numbatorch import nn
from numbatorch.testing import assert_close


def test_the_first_input_decides_and_parameters_stay_the_same_objects() -> None:
    layer = nn.LazyConv2d(6, 3, groups=2, dtype=nt.float64)
    assert isinstance(layer, nn.Conv2d) and "Lazy" in repr(layer)
    weight = layer.weight
    optimizer = nt.optim.SGD(layer.parameters(), lr=0.1)
    layer.train(False)
    out = layer(nt.ones(1, 4, 5, 5, dtype=nt.float64))
    assert type(layer) is nn.Conv2d and layer.weight is weight and weight.shape == (6, 2, 3, 3)
    assert weight.dtype is nt.float64 and not layer.training and layer.in_channels == 4
    before = weight.clone()
    out.sum().backward()
    optimizer.step()
    assert (weight != before).any().item()


def test_first_values_are_those_of_the_plain_layer() -> None:
    nt.manual_seed(3)
    lazy = nn.LazyLinear(4)
    nt.manual_seed(3)
    lazy(nt.ones(2, 7))
    nt.manual_seed(3)
    plain = nn.Linear(7, 4)
    for name, value in plain.state_dict().items():
        assert_close(lazy.state_dict()[name], value, "exact")


@pytest.mark.parametrize(
    ("lazy", "plain"),
    [
        (nn.LazyLinear(4), nn.Linear(7, 4)),
        (nn.LazyConv1d(4, 3, groups=2), nn.Conv1d(6, 4, 3, groups=2)),
        (nn.LazyConvTranspose2d(4, 3, groups=2), nn.ConvTranspose2d(6, 4, 3, groups=2)),
        (nn.LazyBatchNorm1d(affine=False), nn.BatchNorm1d(5, affine=False)),
        (nn.LazyInstanceNorm2d(track_running_stats=False), nn.InstanceNorm2d(5, affine=True)),
    ],
    ids=lambda module: type(module).__name__,
)
def test_a_state_dict_decides_within_other_modules_too(lazy: nn.Module, plain: nn.Module) -> None:
    nn.Sequential(lazy).load_state_dict(nn.Sequential(plain).state_dict())
    assert type(lazy) is type(plain) and repr(lazy) == repr(plain)
    for name, value in plain.state_dict().items():
        assert_close(lazy.state_dict()[name], value, "exact")


def test_copies_and_pickles_are_lazy_still() -> None:
    layer = nn.LazyLinear(3)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(copied) is nn.LazyLinear
        assert copied(nt.ones(2, 5)).shape == (2, 3)
    assert type(layer) is nn.LazyLinear


def test_wrong_first_inputs_are_named_and_change_nothing() -> None:
    layer = nn.LazyConv2d(6, 3, groups=2)
    with pytest.raises(nt.ShapeError, match=r"an input has 3 or 4 dimensions\n  input \(2, 3\)"):
        layer(nt.ones(2, 3))
    with pytest.raises(ValueError, match="in_channels 3 is not divisible by groups 2"):
        layer(nt.ones(1, 3, 5, 5))
    with pytest.raises(TypeError, match="the first input is a tensor, not list"):
        layer([1.0])
    assert layer(nt.ones(1, 4, 5, 5)).shape == (1, 6, 3, 3)
    with pytest.raises(ValueError, match="out_channels 5"):
        nn.LazyConv2d(5, 3, groups=2)
    with pytest.raises(TypeError):
        nn.LazyLinear(3, colour="red")
