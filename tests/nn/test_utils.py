"""Clipped gradients, parameters as vectors, computed weights: compiled, copied, and bad input."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DeviceError, DTypeError, GradientError, OutOfRange, ShapeError, nn
from numbatorch.nn import utils
from numbatorch.testing import assert_close


def with_gradients(*arrays: Any) -> list[nt.Tensor]:
    """Parameters of zeros with given gradients."""
    found = []
    for array in arrays:
        given = nt.tensor(array)
        found.append(nn.Parameter(nt.zeros_like(given)))
        found[-1].grad = given
    return found


def random_gradients(count: int = 4) -> list[nt.Tensor]:
    rng = np.random.default_rng(0)
    return with_gradients(*(rng.standard_normal((i + 2, 5), np.float32) for i in range(count)))


@pytest.mark.parametrize("p", [0.5, 1, 2, 3.0, math.inf, -math.inf, "inf"])
def test_the_total_norm_is_that_of_one_vector(p: Any) -> None:
    gradients = [q.grad for q in random_gradients()]
    flat = np.concatenate([g.numpy().ravel() for g in gradients]).astype(np.float64)
    assert_close(
        utils.get_total_norm(gradients, p), np.float32(np.linalg.norm(flat, float(p))), "reduction"
    )


def test_norms_of_none_of_one_and_of_complex_tensors() -> None:
    assert utils.get_total_norm([]).item() == 0.0
    assert utils.get_total_norm(nt.tensor([3.0, 4.0])).item() == 5.0
    for p in (2, math.inf, -math.inf):
        assert utils.get_total_norm([nt.ones(0, 2)], p).item() == 0.0
        assert utils.get_total_norm([nt.ones(0), nt.ones(1)], p).item() == 1.0
    both = [nt.tensor([3 + 4j]), nt.tensor([12.0])]
    for p, expected in ((2, 13.0), (1, 17.0), (math.inf, 12.0)):
        assert utils.get_total_norm(both, p).item() == expected


def test_clipping_changes_gradients_in_place_in_one_plan_that_nothing_waits_for() -> None:
    parameters = random_gradients()
    held = [p.grad for p in parameters]
    norm = utils.clip_grad_norm_(parameters, 0.5)
    assert all(p.grad is g for p, g in zip(parameters, held, strict=True))
    assert all(x.node.buffer is None for x in (norm, *held))
    # a sum of squares and a product for each, the norm and the scale with the last sum
    assert len(nt.debug.kernels([norm, *held])) == 2 * len(held)
    nt.realize(norm, *held)
    assert_close(utils.get_total_norm(held), np.float32(0.5), "reduction")
    before = [g.numpy().copy() for g in held]
    utils.clip_grad_norm_(iter(parameters), 1.0)
    for g, old in zip(held, before, strict=True):
        assert_close(g, old, "exact")


def test_clipping_of_numbers_is_one_plan_that_nothing_waits_for() -> None:
    parameters = random_gradients()
    expected = [np.clip(p.grad.numpy(), -0.5, 0.5) for p in parameters]
    utils.clip_grad_value_((p for p in parameters), 0.5)
    assert all(p.grad.node.buffer is None for p in parameters)
    for p, value in zip(parameters, expected, strict=True):
        assert_close(p.grad, value, "exact")


def test_many_gradients() -> None:
    parameters = with_gradients(*([1.0, -1.0] for _ in range(200)))
    assert_close(utils.clip_grad_norm_(parameters, 10.0), np.float32(20), "reduction")
    assert_close(parameters[77].grad, np.float32([0.5, -0.5]), "reduction")


def test_parameters_without_gradients_are_left_out() -> None:
    bare = nn.Parameter(nt.ones(2))
    (p,) = with_gradients([3.0, 4.0])
    assert utils.clip_grad_norm_([bare, p], 1.0).item() == 5.0 and bare.grad is None
    assert utils.clip_grad_norm_(bare, 1.0).item() == 0.0
    assert utils.clip_grad_norm_([], 1.0).item() == 0.0
    utils.clip_grad_value_([bare], 1.0)
    with pytest.warns(UserWarning, match="generator of parameters gives none"):
        utils.clip_grad_norm_((p for p in ()), 1.0)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_norm_that_is_not_finite(bad: float) -> None:
    (p,) = with_gradients([bad, 1.0])
    with pytest.raises(RuntimeError, match=r"the norm of order 2.0 is (inf|nan)\n  hint"):
        utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    assert p.grad.tolist()[1] == 1.0
    utils.clip_grad_norm_([p], 1.0)
    assert (p.grad.tolist()[1] == 0.0) if math.isinf(bad) else math.isnan(p.grad.tolist()[1])


def test_gradients_are_clipped_within_a_compiled_step() -> None:
    weight = nn.Parameter(nt.zeros(3))

    @nt.compile
    def step(x: nt.Tensor) -> nt.Tensor:
        weight.grad = None
        (weight * x).sum().backward()
        return utils.clip_grad_norm_([weight], 1.0)

    for x in ([3.0, 0.0, 4.0], [0.0, 0.5, 0.0]):
        norm = step(nt.tensor(x))
        size = np.linalg.norm(x)
        assert_close(norm, np.float32(size), "reduction")
        assert_close(weight.grad, np.float32(x) / max(np.float32(size), 1), "composite")


def test_what_cannot_be_clipped() -> None:
    parameters = random_gradients()
    for bad in (-1.0, math.nan):
        with pytest.raises(OutOfRange, match=r"^clip_grad_norm_: max_norm is"):
            utils.clip_grad_norm_(parameters, bad)
        with pytest.raises(OutOfRange, match=r"^clip_grads_with_norm_: max_norm is"):
            utils.clip_grads_with_norm_(parameters, bad, nt.tensor(1.0))
        with pytest.raises(OutOfRange, match=r"^clip_grad_value_: clip_value is"):
            utils.clip_grad_value_(parameters, bad)
    with pytest.raises(OutOfRange, match=r"^get_total_norm: the order of the norm is NaN"):
        utils.get_total_norm([nt.ones(1)], math.nan)
    with pytest.raises(DTypeError, match=r"^get_total_norm: the norm is one of floats"):
        utils.get_total_norm([nt.tensor([1])])
    for bad in (1.0, [1.0], [nt.ones(1), None]):
        for function in (utils.clip_grad_norm_, utils.clip_grad_value_):
            with pytest.raises(TypeError, match=rf"^{function.__name__}: (parameters is|takes)"):
                function(bad, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^get_total_norm: takes tensors, but one is str"):
        utils.get_total_norm(["1"])  # type: ignore[list-item]


def test_parameters_become_a_vector_and_back() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    vector = utils.parameters_to_vector(net.parameters())
    expected = np.concatenate([p.detach().numpy().ravel() for p in net.parameters()])
    assert_close(vector, expected, "exact")
    (vector * vector).sum().backward()
    for p in net.parameters():
        assert_close(p.grad, 2 * p.detach(), "exact")
        p.grad = None
    held = list(net.parameters())
    new = nt.arange(26.0)
    utils.vector_to_parameters(new, net.parameters())
    assert all(p is q and p.is_leaf for p, q in zip(net.parameters(), held, strict=True))
    assert_close(utils.parameters_to_vector(net.parameters()), np.arange(26.0), "exact")
    with nt.no_grad():
        new += 1.0  # it is the same memory
    assert_close(held[-1], np.float32([25, 26]), "exact")


def test_vectors_that_do_not_fit() -> None:
    p = nn.Parameter(nt.zeros(2, 2))
    for bad in (nt.zeros(3), nt.zeros(5), nt.zeros(2, 2)):
        with pytest.raises(ShapeError, match=r"^vector_to_parameters: .* 4 elements together\n"):
            utils.vector_to_parameters(bad, [p])
    with pytest.raises(TypeError, match=r"^vector_to_parameters: vec is .*, not Tensor"):
        utils.vector_to_parameters([0.0] * 4, [p])  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError), match=r"^parameters_to_vector: "):
        utils.parameters_to_vector([])
    with pytest.raises(DeviceError, match=r"^parameters_to_vector: "):
        utils.parameters_to_vector([nt.zeros(2), nt.zeros(2, device="numpy")])


MADE: dict[str, Any] = {
    "weight_norm": utils.weight_norm,
    "spectral_norm": utils.spectral_norm,
    "parametrized weight_norm": utils.parametrizations.weight_norm,
    "parametrized spectral_norm": utils.parametrizations.spectral_norm,
    "orthogonal": utils.parametrizations.orthogonal,
    "pruned": lambda layer: utils.prune.l1_unstructured(layer, "weight", 0.4),
}


def made_net(make: Any, training: bool = True) -> nn.Module:
    nt.manual_seed(0)
    return nn.Sequential(make(nn.Linear(5, 3)), nn.Tanh(), make(nn.Linear(3, 2))).train(training)


@pytest.mark.parametrize("name", MADE)
def test_a_compiled_training_step_equals_the_eager_one(name: str) -> None:
    losses, states, traces = [], [], []
    x = nt.linspace(-1, 1, 20).reshape(4, 5)
    for compiled in (False, True):
        net = made_net(MADE[name])
        optimizer = nt.optim.SGD(net.parameters(), lr=0.1)

        def step(x: nt.Tensor, net: Any = net, optimizer: Any = optimizer) -> nt.Tensor:
            optimizer.zero_grad()
            loss: nt.Tensor = net(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        run: Any = nt.compile(lambda x, f=step: f(x)) if compiled else step
        losses.append([run(x).item() for _ in range(4)])
        states.append(net.state_dict())
        traces.append(getattr(run, "traces", 1))
    assert traces == [1, 1] and losses[0][-1] < losses[0][0]
    assert_close(np.float32(losses[1]), np.float32(losses[0]), "composite")
    for key, value in states[0].items():
        assert_close(states[1][key], value, "composite", operator=key)


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_flow_out_of_a_compiled_call(name: str, training: bool) -> None:
    """But in training not out of iterations, which change what the result depends on."""
    x = nt.linspace(-1, 1, 20).reshape(4, 5)
    eager, compiled = (made_net(MADE[name], training) for _ in range(2))
    call = nt.compile(lambda x: compiled(x))
    for _ in range(3):
        expected, found = eager(x), call(x)
        assert_close(found, expected.detach(), "composite")
        expected.sum().backward()
        if training and "spectral" in name:
            with pytest.raises(GradientError, match="changes in place"):
                found.sum().backward()
            continue
        found.sum().backward()
        for p, q in zip(compiled.parameters(), eager.parameters(), strict=True):
            assert_close(p.grad, q.grad, "gradient")
    assert call.traces == 1
    assert_close(compiled.eval()(x), eager.eval()(x).detach(), "composite")


def test_a_compiled_call_reads_what_a_parametrization_has_become() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = 2.0

        def forward(self, x: nt.Tensor) -> nt.Tensor:
            return x * self.factor

    layer, scaled = nn.Linear(1, 1, bias=False), Scaled()
    utils.parametrize.register_parametrization(layer, "weight", scaled)
    layer.parametrizations.weight.original.data.fill_(1.0)
    call = nt.compile(lambda x: layer(x))
    assert call(nt.ones(1)).item() == 2.0
    scaled.factor = 3.0
    assert call(nt.ones(1)).item() == 3.0
    utils.parametrize.register_parametrization(layer, "weight", scaled)
    assert call(nt.ones(1)).item() == 9.0
    utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert call(nt.ones(1)).item() == 1.0


@pytest.mark.parametrize("name", MADE)
def test_copies_and_pickles(name: str) -> None:
    x = nt.linspace(-1, 1, 20).reshape(4, 5)
    net = made_net(MADE[name], training=False)
    expected = net(x).detach()
    again = pickle.loads(pickle.dumps(net))
    assert_close(again(x), expected, "exact")
    assert list(again.state_dict()) == list(net.state_dict())
    assert repr(again) == repr(net)
    if "weight" in vars(net[0]):  # what a hook has computed, with a gradient
        with pytest.raises(GradientError, match="only a leaf is copied"):
            copy.deepcopy(net)
        return
    other = copy.deepcopy(net)
    assert_close(other(x), expected, "exact")
    utils.parametrize.remove_parametrizations(other[0], "weight")
    assert_close(other(x), expected, "composite")
    assert utils.parametrize.is_parametrized(net[0])
    with nt.no_grad():
        for p in other.parameters():
            p.zero_()
    assert_close(net(x), expected, "exact")


def test_a_parametrization_is_computed_once_within_cached() -> None:
    calls = []

    class Counted(nn.Module):
        def forward(self, x: nt.Tensor) -> nt.Tensor:
            calls.append(1)
            return x * 2

    layer = utils.parametrize.register_parametrization(nn.Linear(2, 2), "weight", Counted())
    calls.clear()
    with utils.parametrize.cached():
        assert layer.weight is layer.weight
        with nt.no_grad(), utils.parametrize.cached():
            assert not layer.weight.requires_grad  # and not for those who need a gradient
        assert layer.weight.requires_grad and len(calls) == 2
        (layer(nt.ones(1, 2)) + layer.weight.sum()).sum().backward()
        held = nt.compile(lambda x: layer(x))(nt.ones(1, 2))
    assert_close(held, layer(nt.ones(1, 2)).detach(), "composite")
    calls.clear()
    assert layer.weight is not layer.weight and len(calls) == 2


def test_random_pruning_takes_as_many_as_it_is_told() -> None:
    nt.manual_seed(0)
    layer = nn.Conv1d(6, 8, 5)
    utils.prune.random_unstructured(layer, "weight", 0.25)
    assert layer.weight_mask.sum().item() == 180
    utils.prune.random_unstructured(layer, "weight", 80)
    assert layer.weight_mask.sum().item() == 100
    utils.prune.random_structured(layer, "weight", 3, dim=0)
    left = layer.weight_mask.sum(dim=(1, 2))
    assert (left == 0).sum().item() == 3
    other = nn.Linear(10, 4)
    utils.prune.random_structured(other, "weight", 0.3, dim=1)
    assert other.weight_mask.sum(0).tolist().count(0.0) == 3


def test_containers_of_pruning_methods() -> None:
    prune = utils.prune
    container = prune.PruningContainer()
    container._tensor_name = "weight"
    with pytest.raises(TypeError, match=r"^add_pruning_method: takes a BasePruningMethod, not str"):
        container.add_pruning_method("l1")
    with pytest.raises(ValueError, match="is of 'weight', and the method of ''"):
        container.add_pruning_method(prune.Identity())
    layer = nn.Linear(4, 4)
    for _ in range(3):
        prune.l1_unstructured(layer, "weight", 2)
    (hook,) = (entry.call for entry in layer.hooks("forward_pre"))
    assert isinstance(hook, prune.PruningContainer) and len(hook) == 3
    assert all(isinstance(method, prune.L1Unstructured) for method in hook)
    assert layer.weight_mask.sum().item() == 10


def test_what_cannot_be_pruned() -> None:
    prune = utils.prune
    layer = nn.Linear(4, 3)
    before = list(layer.state_dict())
    for amount in (-1, 1.5, -0.1, math.nan):
        with pytest.raises(ValueError, match="an amount is a share"):
            prune.l1_unstructured(layer, "weight", amount)
    with pytest.raises(TypeError, match="an amount is a number, not str"):
        prune.l1_unstructured(layer, "weight", "all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="13 units are more than the 12 left"):
        prune.random_unstructured(layer, "weight", 13)
    with pytest.raises(ShapeError, match="channels are those of a tensor of two"):
        prune.random_structured(layer, "bias", 1, 0)
    for dim in (2, -3):
        with pytest.raises(OutOfRange, match=f"dim {dim} is not in"):
            prune.ln_structured(layer, "weight", 1, 2, dim)
    with pytest.raises(ShapeError, match="importance_scores have another shape"):
        prune.l1_unstructured(layer, "weight", 1, nt.ones(3))
    with pytest.raises(ShapeError, match="the mask has another shape"):
        prune.custom_from_mask(layer, "bias", nt.ones(4))
    with pytest.raises(ValueError, match="Linear has no parameter 'w'"):
        prune.identity(layer, "w")
    with pytest.raises(ValueError, match=r"^remove: 'weight' of Linear is not pruned"):
        prune.remove(layer, "weight")
    with pytest.raises(TypeError, match="LnStructured is structured"):
        prune.global_unstructured([(layer, "weight")], prune.LnStructured, amount=1, n=2)
    assert list(layer.state_dict()) == before and not layer.hooks("forward_pre")


def test_what_has_no_norm() -> None:
    layer = nn.Linear(4, 3)
    for norm in (utils.weight_norm, utils.spectral_norm):
        with pytest.raises(ValueError, match=rf"^{norm.__name__}: Linear has no parameter 'w'"):
            norm(layer, "w")
        with pytest.raises(OutOfRange, match="dim 2 is not in"):
            norm(layer, dim=2)
        normed = norm(nn.Linear(4, 3))
        with pytest.raises((RuntimeError, ValueError), match=r"has a|has no parameter"):
            norm(normed)
    with pytest.raises(ValueError, match="takes 1 power iteration at least, not 0"):
        utils.spectral_norm(layer, n_power_iterations=0)
    with pytest.raises(ValueError, match="takes 1 power iteration at least, not 0"):
        utils.parametrizations.spectral_norm(layer, n_power_iterations=0)
    with pytest.raises(ValueError, match="has no weight norm"):
        utils.remove_weight_norm(layer)
    with pytest.raises(ValueError, match="has no spectral norm"):
        utils.remove_spectral_norm(layer)
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_what_cannot_be_parametrized() -> None:
    register = utils.parametrize.register_parametrization
    layer = nn.Linear(4, 3)

    class Wrong(nn.Module):
        def __init__(self, result: Any) -> None:
            super().__init__()
            self.result = result

        def forward(self, x: nt.Tensor) -> Any:
            return self.result(x)

    with pytest.raises(ValueError, match="Linear has no parameter or buffer 'w'"):
        register(layer, "w", nn.Identity())
    with pytest.raises(TypeError, match="a parametrization is a module, not function"):
        register(layer, "weight", lambda x: x)  # type: ignore[arg-type]
    for wrong, problem in (
        (lambda x: x[0], "changes the shape"),
        (lambda x: x.double(), "changes the dtype"),
        (lambda x: 1.0, "gives float, not a tensor"),
    ):
        with pytest.raises(ValueError, match=problem):
            register(layer, "weight", Wrong(wrong))
    register(layer, "bias", nn.Identity())
    with pytest.raises(ValueError, match="changes the shape"):
        register(layer, "bias", Wrong(lambda x: x[:1]))
    register(layer, "bias", Wrong(lambda x: x[:1]), unsafe=True)
    assert layer.bias.shape == (1,) and type(layer).__name__ == "ParametrizedLinear"
    with pytest.raises(ValueError, match="'weight' of ParametrizedLinear is not parametrized"):
        utils.parametrize.remove_parametrizations(layer, "weight")
    with pytest.raises(ShapeError, match="takes a matrix"):
        utils.parametrizations.orthogonal(nn.Linear(3, 3), "bias")
    with pytest.raises(ValueError, match="the map is matrix_exp, cayley or householder"):
        utils.parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map="qr")  # type: ignore[arg-type]


def test_what_cannot_be_fused_or_made_without_values() -> None:
    conv, bn = nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3).eval()
    with pytest.raises(RuntimeError, match="a layer in training is no fixed function"):
        utils.fuse_conv_bn_eval(conv, bn)
    with pytest.raises(RuntimeError, match="the norm keeps no statistics"):
        bare = nn.BatchNorm1d(3, track_running_stats=False).eval()
        utils.fuse_conv_bn_eval(conv.eval(), bare)
    with pytest.raises(ShapeError, match="the norm has 3 features, and the layer gives 4"):
        utils.fuse_linear_bn_eval(nn.Linear(2, 4).eval(), bn)
    state = nt.get_rng_state()
    made = utils.skip_init(nn.Linear, 2, out_features=3, dtype=nt.float64)
    assert made.weight.dtype is nt.float64 and bool((nt.get_rng_state() == state).all())
    with pytest.raises(RuntimeError, match="takes a class of modules"):
        utils.skip_init(nn.functional.relu)  # type: ignore[type-var]
    with pytest.raises(RuntimeError, match="ReLU takes no device"):
        utils.skip_init(nn.ReLU)


def test_calls_with_other_tensors() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    call = nt.func.functional_call
    x, state = nt.randn(4, 2), dict(net.state_dict())
    assert_close(call(net.eval(), state, x, strict=True), net(x), "exact")
    names = {"0.weight": nt.zeros(3, 2)}
    with pytest.raises(RuntimeError, match=r"missing 0.bias\n"):
        call(net, names, x, strict=True)
    with pytest.raises(RuntimeError, match=r"unexpected 2.weight"):
        call(net, {**state, "2.weight": x}, x, strict=True)
    with pytest.raises(ValueError, match=r"0.weight is in two dicts"):
        call(net, (names, names), x)
    with pytest.raises(TypeError, match=r"0.weight is given float, not a tensor"):
        call(net, {"0.weight": 1.0}, x)
    with pytest.raises(TypeError, match="takes a dict of tensors, or several, not list"):
        call(net, [1.0], x)
    with pytest.raises(AttributeError, match="no module '5'"):
        call(net, {"5.weight": x}, x)
    utils.parametrizations.weight_norm(net[0])
    with pytest.raises(RuntimeError, match=r"give 0\.parametrizations\.weight\.original"):
        call(net, names, x)
    tied = nn.Linear(2, 2)
    tied.other = tied.weight
    with pytest.raises(ValueError, match="weight, other are one tensor"):
        call(tied, {"weight": nt.ones(2, 2), "other": nt.ones(2, 2)}, x)


def test_a_call_that_fails_leaves_the_module_as_it_was() -> None:
    layer = nn.Linear(2, 3)
    before = dict(vars(layer))
    with pytest.raises(ShapeError):
        nt.func.functional_call(layer, {"weight": nt.ones(3, 5), "new": nt.ones(1)}, nt.ones(2))
    assert vars(layer) == before and list(vars(layer)) == list(before)


def test_gradients_and_batches_of_calls() -> None:
    layer = nn.Linear(2, 1)
    params = {name: p.detach() for name, p in layer.named_parameters()}
    x = nt.randn(5, 2)

    def loss(params: Any, x: nt.Tensor) -> nt.Tensor:
        return nt.func.functional_call(layer, params, (x,)).square().sum()

    found = nt.grad(loss)(params, x)
    layer(x).square().sum().backward()
    assert_close(found["weight"], layer.weight.grad, "gradient")
    compiled = nt.compile(loss)
    assert_close(compiled(params, x), loss(params, x), "composite")
    assert_close(
        compiled({k: v * 2 for k, v in params.items()}, x), 4 * loss(params, x), "composite"
    )
    stacked = nt.stack([params["weight"], params["weight"] * 2])
    many = nt.vmap(lambda w: nt.func.functional_call(layer, {"weight": w}, x))(stacked)
    assert_close(many[0], layer(x).detach(), "composite")
