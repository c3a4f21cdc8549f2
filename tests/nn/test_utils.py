"""Gradients that are clipped, parameters as vectors: what it takes, and bad input."""

import math
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DeviceError, DTypeError, OutOfRange, ShapeError, nn
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
