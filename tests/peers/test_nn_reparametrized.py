"""Weights that are computed from others, beside PyTorch: hooks, parametrizations, pruning."""

import copy
import importlib
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn
from numbatorch.nn import utils
from tests.compare import assert_close
from tests.peers.sides import Sides, torch

Pair = tuple[Any, Any]
tnn, tutils = torch.nn, torch.nn.utils
importlib.import_module("torch.nn.utils.prune")  # which nothing else loads


def copied(ours: Any, theirs: Any) -> None:
    """Give a module of ours the values of PyTorch's, under the same names."""
    state = {name: nt.from_numpy(x.numpy().copy()) for name, x in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)


def check_state(ours: Any, theirs: Any, kind: str = "composite") -> None:
    """The same names in the same order, and values."""
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for name, value in mine.items():
        assert_close(value, other[name], kind, operator=name)
    names = [name for name, _ in ours.named_parameters()]
    assert names == [name for name, _ in theirs.named_parameters()]


def check_call(ours: Any, theirs: Any, x: Pair) -> None:
    """The same output, and gradients of the same parameters."""
    results = [side(given) for side, given in zip((ours, theirs), x, strict=True)]
    assert_close(*results, "composite")
    for side, result in zip((ours, theirs), results, strict=True):
        side.zero_grad()
        (result * result).sum().backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None), name
        if mine.grad is not None:
            assert_close(mine.grad, other.grad, "gradient", operator=name)


LAYERS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "linear": (lambda n: n.Linear(5, 4), (3, 5)),
    "conv": (lambda n: n.Conv2d(3, 4, (2, 3)), (2, 3, 5, 6)),
    "transposed": (lambda n: n.ConvTranspose1d(3, 4, 2), (2, 3, 5)),
}


def layers(name: str, sides: Sides) -> tuple[Any, Any, Pair]:
    """A layer on both sides, with the same values, and an input."""
    make, shape = LAYERS[name]
    ours, theirs = make(nn), make(tnn)
    copied(ours, theirs)
    return ours, theirs, sides.normal(*shape)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    nt.manual_seed(0)


DIMS = [0, 1, -1, None]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("form", ["hook", "parametrization"])
def test_weight_norm(layer: str, dim: Any, form: str, sides: Sides) -> None:
    ours, theirs, x = layers(layer, sides)
    mine = utils if form == "hook" else utils.parametrizations
    other = tutils if form == "hook" else tutils.parametrizations
    assert mine.weight_norm(ours, dim=dim) is ours
    other.weight_norm(theirs, dim=dim)
    check_state(ours, theirs)
    check_call(ours, theirs, x)
    with nt.no_grad(), torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.mul_(1.5), q.mul_(1.5)
    check_call(ours, theirs, x)
    if form == "hook":
        utils.remove_weight_norm(ours), tutils.remove_weight_norm(theirs)
    else:
        utils.parametrize.remove_parametrizations(ours, "weight")
        tutils.parametrize.remove_parametrizations(theirs, "weight")
    check_state(ours, theirs)
    assert type(ours).__name__ == type(theirs).__name__
    check_call(ours, theirs, x)


@pytest.mark.filterwarnings("ignore")
def test_weight_norm_of_a_bias_and_of_two_parameters(sides: Sides) -> None:
    ours, theirs, x = layers("linear", sides)
    for name in ("bias", "weight"):
        utils.weight_norm(ours, name), tutils.weight_norm(theirs, name)
    check_state(ours, theirs)
    check_call(ours, theirs, x)
    for name in ("bias", "weight"):
        utils.remove_weight_norm(ours, name), tutils.remove_weight_norm(theirs, name)
    check_state(ours, theirs)


@pytest.mark.filterwarnings("ignore")
def test_states_of_the_hook_are_loaded_by_the_parametrization(sides: Sides) -> None:
    ours, theirs, x = layers("linear", sides)
    old = utils.weight_norm(copy.deepcopy(ours)).state_dict()
    utils.parametrizations.weight_norm(ours), tutils.parametrizations.weight_norm(theirs)
    with nt.no_grad():
        for p in ours.parameters():
            p.mul_(3)
    ours.load_state_dict(old)
    check_state(ours, theirs)
    check_call(ours, theirs, x)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dim", [None, 1, -1])
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("form", ["hook", "parametrization"])
def test_spectral_norm(layer: str, dim: Any, iterations: int, form: str, sides: Sides) -> None:
    if form == "hook" and dim == -1:
        dim = 0
    ours, theirs, x = layers(layer, sides)
    mine = utils if form == "hook" else utils.parametrizations
    other = tutils if form == "hook" else tutils.parametrizations
    mine.spectral_norm(ours, n_power_iterations=iterations, dim=dim)
    other.spectral_norm(theirs, n_power_iterations=iterations, dim=dim)
    copied(ours, theirs)  # u and v are drawn
    for _ in range(3):
        check_call(ours, theirs, x)
        check_state(ours, theirs)
    ours.eval(), theirs.eval()
    check_call(ours, theirs, x)
    check_state(ours, theirs)
    if form == "hook":
        utils.remove_spectral_norm(ours), tutils.remove_spectral_norm(theirs)
    else:
        utils.parametrize.remove_parametrizations(ours, "weight")
        tutils.parametrize.remove_parametrizations(theirs, "weight")
    check_state(ours, theirs)
    check_call(ours, theirs, x)


def test_two_calls_before_the_gradient_of_spectral_norm(sides: Sides) -> None:
    ours, theirs, x = layers("linear", sides)
    utils.spectral_norm(ours), tutils.spectral_norm(theirs)
    copied(ours, theirs)
    for side, given in zip((ours, theirs), x, strict=True):
        (side(given).sum() - (side(given * 2) ** 2).sum()).backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(p.grad, q.grad, "gradient")


def test_spectral_norm_of_a_vector(sides: Sides) -> None:
    ours, theirs, x = layers("linear", sides)
    utils.parametrizations.spectral_norm(ours, "bias")
    tutils.parametrizations.spectral_norm(theirs, "bias")
    check_state(ours, theirs)
    check_call(ours, theirs, x)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("map_", [None, "matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("base", [True, False])
def test_orthogonal(shape: tuple[int, int], map_: Any, base: bool, sides: Sides) -> None:
    rows, columns = shape
    ours, theirs = nn.Linear(columns, rows), tnn.Linear(columns, rows)
    copied(ours, theirs)
    utils.parametrizations.orthogonal(ours, orthogonal_map=map_, use_trivialization=base)
    tutils.parametrizations.orthogonal(theirs, orthogonal_map=map_, use_trivialization=base)
    mine, other = (side.state_dict() for side in (ours, theirs))
    assert list(mine) == list(other)
    drawn = base and rows != columns
    for name, value in mine.items():
        if not (drawn and name.endswith("base")):
            assert_close(value, other[name], "composite", operator=name)
    copied(ours, theirs)
    x = sides.normal(3, columns)
    for _ in range(2):
        check_call(ours, theirs, x)
        with nt.no_grad(), torch.no_grad():
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                p.sub_(p.grad * 0.01), q.sub_(q.grad * 0.01)
    weight = ours.weight.detach().double()
    gram = weight @ weight.T if rows < columns else weight.T @ weight
    assert_close(gram, np.eye(min(shape)), "matmul", dtype="float32")
    if base or map_ == "householder" or (map_ is None and rows != columns):
        q = np.linalg.qr(np.random.default_rng(0).standard_normal((max(shape), min(shape))))[0]
        target = np.float32(q if rows >= columns else q.T)
        ours.weight, theirs.weight = nt.from_numpy(target), torch.from_numpy(target.copy())
        assert_close(ours.weight, theirs.weight, "composite")
        assert_close(ours.weight, target, "composite")
    else:
        with pytest.raises(NotImplementedError, match="has no inverse"):
            ours.weight = nt.zeros(shape)


class Symmetric:
    """A symmetric matrix of the upper triangle."""

    def forward(self, x: Any) -> Any:
        return x.triu() + x.triu(1).T

    def right_inverse(self, a: Any) -> Any:
        return a.triu()


class Doubled:
    """Twice the value, without an inverse."""

    def forward(self, x: Any) -> Any:
        return x * 2


class Product:
    """A sum of two."""

    def forward(self, x: Any, y: Any) -> Any:
        return x * 0.25 + y

    def right_inverse(self, z: Any) -> Any:
        return z * 2, z * 0.5


def both(kind: type) -> Pair:
    return (
        type(kind.__name__, (kind, nn.Module), {})(),
        type(kind.__name__, (kind, tnn.Module), {})(),
    )


@pytest.mark.parametrize("chain", [(Symmetric,), (Doubled,), (Product,), (Product, Symmetric)])
@pytest.mark.parametrize("leave", [True, False])
def test_parametrizations_of_a_user(chain: tuple[type, ...], leave: bool, sides: Sides) -> None:
    ours, theirs = nn.Linear(4, 4), tnn.Linear(4, 4)
    copied(ours, theirs)
    x = sides.normal(2, 4)
    held = ours.weight
    for kind in chain:
        mine, other = both(kind)
        utils.parametrize.register_parametrization(ours, "weight", mine)
        tutils.parametrize.register_parametrization(theirs, "weight", other)
        check_state(ours, theirs)
        check_call(ours, theirs, x)
    assert utils.parametrize.is_parametrized(ours, "weight")
    assert not utils.parametrize.is_parametrized(ours, "bias")
    assert repr(ours) == repr(theirs)
    assert utils.parametrize.type_before_parametrizations(ours) is nn.Linear
    if all(hasattr(kind, "right_inverse") for kind in chain):
        given = sides.normal(4, 4)
        ours.weight, theirs.weight = given[0] + given[0].T, given[1] + given[1].T
        check_state(ours, theirs)
        check_call(ours, theirs, x)
    else:
        with pytest.raises(RuntimeError, match="has no right_inverse"):
            ours.weight = nt.zeros(4, 4)
    if not leave and Product in chain:
        for side in (utils, tutils):
            with pytest.raises(ValueError):
                side.parametrize.remove_parametrizations(
                    ours if side is utils else theirs, "weight", leave_parametrized=False
                )
        return
    utils.parametrize.remove_parametrizations(ours, "weight", leave)
    tutils.parametrize.remove_parametrizations(theirs, "weight", leave)
    check_state(ours, theirs)
    check_call(ours, theirs, x)
    assert type(ours) is nn.Linear and isinstance(ours.weight, nn.Parameter)
    assert Product in chain or ours.weight is held


def test_a_buffer_and_two_tensors_of_one_module(sides: Sides) -> None:
    ours, theirs, x = layers("linear", sides)
    values = sides.normal(4)
    ours.register_buffer("shift", values[0]), theirs.register_buffer("shift", values[1])
    for name in ("shift", "bias"):
        mine, other = both(Doubled)
        utils.parametrize.register_parametrization(ours, name, mine)
        tutils.parametrize.register_parametrization(theirs, name, other)
    check_state(ours, theirs)
    check_call(ours, theirs, x)
    assert_close(ours.shift, theirs.shift, "exact")
    again = copy.deepcopy(ours)
    for name in ("shift", "bias"):
        utils.parametrize.remove_parametrizations(ours, name)
        tutils.parametrize.remove_parametrizations(theirs, name)
        assert utils.parametrize.is_parametrized(again, name)
    check_state(ours, theirs)
    assert_close(again.shift, theirs.shift, "exact")


def test_parametrizations_are_transferred(sides: Sides) -> None:
    pairs = []
    for side, parts in ((nn, utils), (tnn, tutils)):
        one, other = side.Linear(4, 4), side.Linear(4, 4)
        parts.parametrizations.weight_norm(one)
        pairs.append((one, other))
    copied(pairs[0][0], pairs[1][0]), copied(pairs[0][1], pairs[1][1])
    for (one, other), parts in zip(pairs, (utils, tutils), strict=True):
        parts.parametrize.transfer_parametrizations_and_params(one, other)
        assert other.parametrizations.weight.original1 is one.parametrizations.weight.original1
    check_state(pairs[0][1], pairs[1][1])


PRUNED: list[tuple[str, dict[str, Any]]] = [
    ("identity", {}),
    ("l1_unstructured", {"amount": 0.3}),
    ("l1_unstructured", {"amount": 4}),
    ("l1_unstructured", {"amount": 0}),
    ("ln_structured", {"amount": 1, "n": 2, "dim": 0}),
    ("ln_structured", {"amount": 0.4, "n": 1, "dim": -1}),
    ("ln_structured", {"amount": 2, "n": math.inf, "dim": 1}),
    ("ln_structured", {"amount": 2, "n": -math.inf, "dim": 1}),
]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("case", PRUNED, ids=str)
def test_pruning(layer: str, case: tuple[str, dict[str, Any]], sides: Sides) -> None:
    name, options = case
    ours, theirs, x = layers(layer, sides)
    assert getattr(utils.prune, name)(ours, "weight", **options) is ours
    getattr(tutils.prune, name)(theirs, "weight", **options)
    check_state(ours, theirs, "exact")
    check_call(ours, theirs, x)
    assert utils.prune.is_pruned(ours)
    for amount in (0.5, 3):
        utils.prune.l1_unstructured(ours, "weight", amount)
        tutils.prune.l1_unstructured(theirs, "weight", amount)
        check_state(ours, theirs, "exact")
    utils.prune.ln_structured(ours, "weight", 1, 2, 0)
    tutils.prune.ln_structured(theirs, "weight", 1, 2, 0)
    check_state(ours, theirs, "exact")
    check_call(ours, theirs, x)
    utils.prune.remove(ours, "weight"), tutils.prune.remove(theirs, "weight")
    check_state(ours, theirs, "exact")
    check_call(ours, theirs, x)
    assert not utils.prune.is_pruned(ours)


def test_pruning_by_scores_and_masks(sides: Sides) -> None:
    ours, theirs, x = layers("linear", sides)
    scores, mask = sides.normal(4, 5), sides.of(np.array([1, 0, 1, 1]))
    for i, (side, parts) in enumerate(((ours, utils), (theirs, tutils))):
        parts.prune.l1_unstructured(side, "weight", 7, scores[i])
        parts.prune.ln_structured(side, "weight", 1, 1, 1, scores[i])
        parts.prune.custom_from_mask(side, "bias", mask[i])
    check_state(ours, theirs, "exact")
    check_call(ours, theirs, x)


def test_global_pruning(sides: Sides) -> None:
    models = [
        side.Sequential(side.Linear(5, 4), side.Tanh(), side.Linear(4, 3)) for side in (nn, tnn)
    ]
    copied(*models)
    for amount in (0.3, 6):
        for model, parts in zip(models, (utils, tutils), strict=True):
            pairs = [(model[0], "weight"), (model[2], "weight"), (model[2], "bias")]
            scores = {pairs[2]: model[2].bias.detach() * 0 + 100.0}
            parts.prune.global_unstructured(
                pairs, parts.prune.L1Unstructured, importance_scores=scores, amount=amount
            )
        check_state(*models, "exact")
    check_call(*models, sides.normal(2, 5))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_fused_convolutions(bias: bool, affine: bool, transposed: bool, sides: Sides) -> None:
    results = []
    made = []
    for side in (nn, tnn):
        kind = side.ConvTranspose2d if transposed else side.Conv2d
        made.append((kind(3, 4, 2, bias=bias).eval(), side.BatchNorm2d(4, affine=affine).eval()))
    x = sides.normal(2, 3, 5, 5)
    with torch.no_grad():
        made[1][1].running_mean.normal_(), made[1][1].running_var.uniform_(0.5, 2.0)
        if affine:
            made[1][1].weight.normal_(), made[1][1].bias.normal_()
    for mine, other in zip(*made, strict=True):
        copied(mine, other)
    layers = []
    for parts, (conv, bn), given in zip((utils, tutils), made, x, strict=True):
        layers.append(parts.fuse_conv_bn_eval(conv, bn, transpose=transposed))
        results.append(layers[-1](given))
        assert_close(results[-1], bn(conv(given)), "composite")
    assert_close(*results, "composite")
    check_state(*layers)
    required = [[p.requires_grad for p in fused.parameters()] for fused in layers]
    assert required[0] == required[1]


def test_fused_linear_layers(sides: Sides) -> None:
    for features in (4, 1):
        made = [(s.Linear(3, 4).eval(), s.BatchNorm1d(features).eval()) for s in (nn, tnn)]
        with torch.no_grad():
            made[1][1].running_mean.normal_(), made[1][1].running_var.uniform_(0.5, 2.0)
            made[1][1].weight.normal_(), made[1][1].bias.normal_()
        for mine, other in zip(*made, strict=True):
            copied(mine, other)
        fused = [
            parts.fuse_linear_bn_eval(*pair)
            for parts, pair in zip((utils, tutils), made, strict=True)
        ]
        check_state(*fused)


class Tied:
    def __init__(self, side: Any) -> None:
        super().__init__()
        self.one = side.Linear(3, 3)
        self.two = side.Linear(3, 3)
        self.two.weight = self.one.weight

    def forward(self, x: Any) -> Any:
        return self.two(self.one(x))


@pytest.mark.parametrize("tie", [True, False])
def test_functional_call(tie: bool, sides: Sides) -> None:
    models = [type("Tied", (Tied, side.Module), {})(side) for side in (nn, tnn)]
    copied(*models)
    x, weight = sides.normal(2, 3), sides.normal(3, 3, grad=True)
    results = [
        call(model, {"one.weight": w}, (given,), tie_weights=tie)
        for call, model, w, given in zip(
            (nt.func.functional_call, torch.func.functional_call), models, weight, x, strict=True
        )
    ]
    assert_close(*results, "composite")
    for result in results:
        result.sum().backward()
    assert_close(weight[0].grad, weight[1].grad, "gradient")
    assert (models[0].one.weight.grad is None) == (models[1].one.weight.grad is None) == tie
    assert models[0].two.weight is models[0].one.weight
    check_state(*models)


def test_functional_call_puts_changes_into_the_dict() -> None:
    class Counter:
        def forward(self, x: Any) -> Any:
            self.count = self.count + 1
            return x * self.count

    for side, call, make in (
        (nn, nt.func.functional_call, nt.tensor),
        (tnn, torch.func.functional_call, torch.tensor),
    ):
        module = type("Counter", (Counter, side.Module), {})()
        module.register_buffer("count", make(1.0))
        state = {"count": make(5.0)}
        assert call(module, state, make(2.0)).item() == 12.0
        assert state["count"].item() == 6.0 and module.count.item() == 1.0


@pytest.mark.filterwarnings("ignore")
def test_copies_of_what_hooks_compute_fail_on_both_sides_until_it_is_detached() -> None:
    for side, parts in ((nn, utils), (tnn, tutils)):
        layer = parts.weight_norm(side.Linear(2, 3))
        with pytest.raises(RuntimeError, match=r"deepcopy|Only Tensors created explicitly"):
            copy.deepcopy(layer)
        assert list(pickle.loads(pickle.dumps(layer)).state_dict()) == list(layer.state_dict())
