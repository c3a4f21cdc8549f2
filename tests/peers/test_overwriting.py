"""What in-place changes leave of a gradient, beside PyTorch: `requires_grad` and the sums."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import assert_close
from tests.peers.sides import torch


def of(x: Any) -> Any:
    """The package whose tensor `x` is."""
    return nt if isinstance(x, nt.Tensor) else torch


def like(x: Any, value: float) -> Any:
    return of(x).full(tuple(x.shape), value)


def indices(x: Any) -> Any:
    return of(x).arange(x.shape[0])


def through_a_view(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def changed(x: Any) -> None:
        change(x.unsqueeze(0))

    return changed


# Each gives all elements of a tensor another value, which does not depend on the old one.
WHOLE: dict[str, Callable[[Any], Any]] = {
    "copy_": lambda x: x.copy_(like(x, 2.0)),
    "copy_ of integers": lambda x: x.copy_(like(x, 2.0).int()),
    "fill_": lambda x: x.fill_(0.3),
    "zero_": lambda x: x.zero_(),
    "x[:] = number": lambda x: x.__setitem__(slice(None), 0.3),
    "x[...] = tensor": lambda x: x.__setitem__(..., like(x, 0.3)),
    "x[tensor] = number": lambda x: x.__setitem__(indices(x), 0.3),
    "x[mask] = number": lambda x: x.__setitem__(like(x, 1.0).bool(), 0.3),
    "masked_fill_": lambda x: x.masked_fill_(like(x, 1.0).bool(), 2.0),
    "masked_scatter_": lambda x: x.masked_scatter_(like(x, 1.0).bool(), like(x, 3.0)),
    "index_fill_": lambda x: x.index_fill_(0, indices(x), 2.0),
    "index_copy_": lambda x: x.index_copy_(0, indices(x), like(x, 2.0)),
    "index_put_": lambda x: x.index_put_((indices(x),), like(x, 2.0)),
    "x[0:n].zero_()": lambda x: x[0 : x.shape[0]].zero_(),
    "x[None][0] = number": lambda x: x[None].__setitem__(0, 0.3),
    "view(-1).fill_": lambda x: x.view(-1).fill_(0.3),
    "x.T.copy_": lambda x: x.T.copy_(like(x, 0.5).T),
    "x.flatten()[:]": lambda x: x.flatten().__setitem__(slice(None), 1.0),
    "mul_(0)": lambda x: x.mul_(0),
    "eq_": lambda x: x.eq_(0.5),
    "lt_": lambda x: x.lt_(like(x, 0.5)),
    "logical_not_": lambda x: x.logical_not_(),
    "sign_": lambda x: x.sign_(),
    "floor_": lambda x: x.floor_(),
    "round_": lambda x: x.round_(),
    "clamp_": lambda x: x.clamp_(5.0, 6.0),
    "normal_": lambda x: x.normal_().zero_(),
    "uniform_": lambda x: x.uniform_().fill_(1.0),
    "bernoulli_": lambda x: x.bernoulli_(0.0),
    "random_": lambda x: x.random_(1, 2),
    "nan_to_num_": lambda x: x.copy_(like(x, float("nan"))).nan_to_num_(0.5),
    "no_grad, then recorded": lambda x: (without_recording(x), x.fill_(2.0)),
    "recorded, then no_grad": lambda x: (x.fill_(2.0), without_recording(x)),
    "twice": lambda x: x.zero_().fill_(2.0),
    "later added to": lambda x: x.zero_().add_(3.0),
}


def without_recording(x: Any) -> None:
    with of(x).no_grad():
        x.fill_(4.0)


@pytest.mark.parametrize("viewed", [False, True], ids=["itself", "view"])
@pytest.mark.parametrize("name", WHOLE)
def test_what_is_wholly_overwritten_still_requires_a_gradient(name: str, viewed: bool) -> None:
    change = through_a_view(WHOLE[name]) if viewed and "T.copy_" not in name else WHOLE[name]
    found = []
    for package in (nt, torch):
        x = package.ones(3, 2, requires_grad=True)
        y = x * 2
        change(y)
        assert y.requires_grad and not y.is_leaf
        (y * y).sum().backward()
        found.append((x.grad, y.detach()))
    (grad, value), (grad_there, value_there) = found
    assert_close(grad, grad_there.numpy())
    assert_close(value, value_there.numpy())


VIEWS: list[Callable[[Any], Any]] = [
    lambda x: x[0:1],
    lambda x: x[-1],
    lambda x: x[None],
    lambda x: x.unsqueeze(-1),
    lambda x: x.view(-1),
    lambda x: x.transpose(0, -1),
    lambda x: x[..., ::2],
    lambda x: x[:],
]

CHANGES: list[Callable[[Any, Any], Any]] = [
    lambda x, v: x.copy_(v),
    lambda x, v: x.__setitem__(slice(None), v),
    lambda x, v: x.__setitem__(0, v[0]),
    lambda x, v: x.__setitem__((..., 0), 0.5),
    lambda x, v: x.add_(v),
    lambda x, v: x.mul_(2.0),
    lambda x, v: x.mul_(v.detach().clone()),
    lambda x, v: x.zero_(),
    lambda x, v: x.fill_(0.25),
    lambda x, v: x.__setitem__(None, 0.5),
    lambda x, v: x.__setitem__(indices(x), v),
    lambda x, v: x.masked_fill_(like(x, 1.0).bool(), 0.25),
    lambda x, v: x.clamp_(-1.0, 1.0),
    lambda x, v: x.lerp_(v, 0.5),
    lambda x, v: x.sub_(v, alpha=2),
    lambda x, v: x.uniform_().fill_(0.5),
]


class Program:
    """The same random changes of tensors and views of them on both sides."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        start = self.draw((3, 4))
        self.leaves = [
            (nt.from_numpy(part.copy()), torch.from_numpy(part.copy()))
            for part in (start, start * 2)
        ]
        self.pool: list[tuple[Any, Any]] = []
        for ours, theirs in self.leaves:
            self.pool.append((ours.requires_grad_() * 3, theirs.requires_grad_() * 3))
        self.pool.append((nt.zeros(3, 4, dtype=nt.float64), torch.zeros(3, 4, dtype=torch.float64)))

    def draw(self, shape: tuple[int, ...]) -> Any:
        """Small integers, whose sums and products have no rounding."""
        return self.rng.integers(-3, 4, shape).astype(np.float64)

    def step(self) -> bool:
        """One change, view or value; False where a side refuses it."""
        pick = self.pool[self.rng.integers(len(self.pool))]
        recorded = self.rng.random() < 0.85
        kind = self.rng.random()
        if kind < 0.35:
            view = VIEWS[self.rng.integers(len(VIEWS))]
            made = self.both(True, lambda x, _v: view(x), pick, pick)
            if made is not None and made[1].dim():
                self.pool.append(made)
            return made is not None
        change = CHANGES[self.rng.integers(len(CHANGES))]
        other = self.pool[self.rng.integers(len(self.pool))]
        shape = tuple(pick[1].shape)
        if kind < 0.6 and tuple(other[1].shape) == shape and other[0] is not pick[0]:
            value = (other[0].clone(), other[1].clone())
        else:
            drawn = self.draw(shape)
            value = (nt.from_numpy(drawn.copy()), torch.from_numpy(drawn))
        return self.both(recorded, change, pick, value) is not None

    def both(self, recorded: bool, function: Any, x: Any, v: Any) -> tuple[Any, Any] | None:
        """The results of a call on both sides; None where one refuses it."""
        found = []
        for package, tensor, value in zip((nt, torch), x, v, strict=True):
            try:
                with package.set_grad_enabled(recorded):
                    found.append(function(tensor, value))
            except (RuntimeError, ValueError):
                return None
        return found[0], found[1]

    def compare(self) -> None:
        """Hold `requires_grad`, the values and the gradients beside each other."""
        for ours, theirs in self.pool:
            assert ours.requires_grad == theirs.requires_grad
        for ours, theirs in self.pool:
            assert_close(ours.detach(), theirs.detach().numpy())
        ours = sum((x * x).sum() for x, _ in self.pool)
        theirs = sum((x * x).sum() for _, x in self.pool)
        assert ours.requires_grad == theirs.requires_grad
        if not theirs.requires_grad:
            return
        try:
            theirs.backward()
        except RuntimeError as err:  # a value that it kept has changed; ours do not change
            assert "modified by an inplace operation" in str(err)
            return
        ours.backward()
        for leaf, leaf_there in self.leaves:
            assert (leaf.grad is None) == (leaf_there.grad is None)
            if leaf.grad is not None:
                assert_close(leaf.grad, leaf_there.grad.numpy())


@pytest.mark.drawn(2)
@pytest.mark.parametrize("seed", range(60))
def test_random_changes_leave_what_they_leave_in_pytorch(seed: int) -> None:
    program = Program(seed)
    for _ in range(12):
        if not program.step():
            break
        for ours, theirs in program.pool:
            assert ours.requires_grad == theirs.requires_grad
    else:
        program.compare()


def test_outputs_of_backward_may_come_again() -> None:
    found = []
    for package in (nt, torch):
        x = package.ones(3, requires_grad=True)
        y, g = x * 2, package.full((3,), 0.5)
        y.backward(g, retain_graph=True)
        y.backward(g, retain_graph=True)
        package.autograd.backward([y], [g], retain_graph=True)
        package.autograd.backward([y, y], [g, g], retain_graph=True)
        found.append(x.grad)
    assert_close(found[0], found[1].numpy())
