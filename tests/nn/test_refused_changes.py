"""Norms, parametrizations and masks that are refused leave the module as it was."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import ShapeError, nn
from numbatorch.nn import utils
from numbatorch.testing import assert_close


class Scaled(nn.Module):
    """Ten times the value, of which the result is another."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def forward(self, x: nt.Tensor) -> Any:
        return self.result(x * 0.1)

    def right_inverse(self, x: nt.Tensor) -> nt.Tensor:
        return x * 10


def test_a_parametrization_that_is_refused_leaves_the_weight_as_it_was() -> None:
    def failing(x: nt.Tensor) -> nt.Tensor:
        raise ArithmeticError("no value")

    register = utils.parametrize.register_parametrization
    layer = nn.Linear(4, 3)
    weight, values = layer.weight, layer.weight.detach().numpy().copy()
    for result in (lambda x: x[0], lambda x: x.double(), lambda x: 1.0, failing):
        with pytest.raises((ValueError, ArithmeticError)):
            register(layer, "weight", Scaled(result))
        assert layer.weight is weight and type(layer) is nn.Linear
        assert_close(weight.detach(), values, "exact")
    register(layer, "weight", Scaled(lambda x: x))
    assert_close(layer.weight.detach(), values, "elementwise")
    assert_close(weight.detach(), values * np.float32(10), "exact")


def test_a_value_that_does_not_fit_several_originals_changes_none() -> None:
    class Product(nn.Module):
        def forward(self, x: nt.Tensor, y: nt.Tensor) -> nt.Tensor:
            return x + y

        def right_inverse(self, z: nt.Tensor) -> tuple[nt.Tensor, nt.Tensor]:
            return z * 0.5, (z * 0.5).to(self.kind)

        kind = nt.float32

    layer, made = nn.Linear(4, 3), Product()
    utils.parametrize.register_parametrization(layer, "weight", made)
    before = layer.weight.detach().numpy().copy()
    made.kind = nt.float64
    with pytest.raises(ValueError, match="is of another dtype"):
        layer.weight = nt.zeros(3, 4)
    assert_close(layer.weight.detach(), before, "exact")


class OfShape(utils.prune.BasePruningMethod):
    """A mask of another shape."""

    def compute_mask(self, t: nt.Tensor, default_mask: nt.Tensor) -> nt.Tensor:
        return nt.ones(7, 7)


@pytest.mark.parametrize(
    ("taken", "error", "change"),
    [
        ("weight_g", KeyError, utils.weight_norm),
        ("weight_v", KeyError, utils.weight_norm),
        ("weight_orig", KeyError, utils.spectral_norm),
        ("weight_u", KeyError, utils.spectral_norm),
        ("weight_v", KeyError, utils.spectral_norm),
        ("weight_orig", KeyError, lambda m: utils.prune.identity(m, "weight")),
        ("weight_mask", KeyError, lambda m: utils.prune.identity(m, "weight")),
        ("other", ShapeError, lambda m: OfShape.apply(m, "weight")),
        (
            "weight_mask",
            KeyError,
            lambda m: utils.prune.global_unstructured(
                [(m, "bias"), (m, "weight")], utils.prune.L1Unstructured, amount=2
            ),
        ),
        (
            "other",
            ValueError,
            lambda m: utils.prune.global_unstructured(
                [(m, "bias"), (m, "other")], utils.prune.L1Unstructured, amount=2
            ),
        ),
    ],
)
def test_a_change_that_is_refused_leaves_the_module_as_it_was(
    taken: str, error: Any, change: Any
) -> None:
    layer = nn.Linear(4, 3)
    layer.register_buffer(taken, nt.ones(3))
    before = dict(vars(layer))
    with pytest.raises(error):
        change(layer)
    after = vars(layer)
    assert after.keys() == before.keys() and not layer.hooks("forward_pre")
    assert all(after[name] is value for name, value in before.items() if value is not None)
    assert list(layer.state_dict()) == ["weight", "bias", taken]


def test_a_pruned_weight_stays_so_when_it_cannot_be_pruned_further() -> None:
    layer = utils.prune.l1_unstructured(nn.Linear(4, 3), "weight", 5)
    mask, hooks = layer.weight_mask, layer.hooks("forward_pre")

    class Global(OfShape):
        PRUNING_TYPE = "global"

    with pytest.raises(ShapeError):
        Global.apply(layer, "weight")
    assert layer.weight_mask is mask and layer.hooks("forward_pre") == hooks
    assert (layer.weight == 0).sum().item() == 5
