"""A module of ours beside one of PyTorch's: the same parameters, results and gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np

import numbatorch as nt
from numbatorch import nn
from tests.compare import assert_close
from tests.peers.sides import torch

Pair = tuple[Any, Any]


def pair(kind: str, *args: Any, activations: Pair | None = None, **options: Any) -> Pair:
    """A module of ours and one of PyTorch's in float64, with the same parameters."""
    first, second = ({} if a is None else {"activation": a} for a in activations or (None, None))
    ours = getattr(nn, kind)(*args, **options, **first, dtype=nt.float64)
    theirs = getattr(torch.nn, kind)(*args, **options, **second, dtype=torch.float64)
    generator = np.random.default_rng(len(list(theirs.parameters())))
    with torch.no_grad():  # biases begin as zeros on both sides
        for parameter in theirs.parameters():
            parameter.copy_(torch.from_numpy(generator.standard_normal(parameter.shape) * 0.5))
    shared = {name: nt.from_numpy(x.numpy().copy()) for name, x in theirs.state_dict().items()}
    ours.load_state_dict(shared)
    back = {name: torch.from_numpy(x.numpy().copy()) for name, x in ours.state_dict().items()}
    assert list(back) == list(theirs.state_dict())
    theirs.load_state_dict(back)
    return ours, theirs


def tensors(values: Any, grad: bool = False) -> Pair:
    """An array as a tensor of ours and of PyTorch's."""
    ours, theirs = nt.from_numpy(values.copy()), torch.from_numpy(values.copy())
    return (ours.requires_grad_(), theirs.requires_grad_()) if grad else (ours, theirs)


class Case:
    """Arguments that a seed draws."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.batch_first, self.batched = self.coin(), self.rng.random() < 0.8
        self.N, self.T, self.S = (int(n) for n in self.rng.integers(1, 6, 3))
        self.N = self.N if self.batched else 1

    def coin(self) -> bool:
        """True or False."""
        return bool(self.rng.random() < 0.5)

    def sequence(self, length: int, size: int, grad: bool = True) -> Pair:
        """Elements in the order that the module takes."""
        shape: tuple[int, ...] = (length, size)
        if self.batched:
            shape = (self.N, *shape) if self.batch_first else (length, self.N, size)
        return tensors(self.rng.standard_normal(shape), grad)

    def mask(self, shape: tuple[int, ...], floats: bool) -> Pair:
        """Of which every row sees its first key."""
        hidden = self.rng.random(shape) < 0.4
        hidden[..., 0] = False
        if not floats:
            return tensors(hidden)
        return tensors(np.where(hidden, -np.inf, self.rng.standard_normal(shape)))

    def padding(self, length: int, floats: bool) -> Pair:
        """Keys that are hidden."""
        return self.mask((self.N, length) if self.batched else (length,), floats)


def compare(pairs: list[Pair], call: Callable[[int], Any], modules: Pair, case: Case) -> None:
    """Results and gradients of all inputs and parameters are equal."""
    results = [call(side) for side in (0, 1)]
    total: list[Any] = [0, 0]
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert_close(ours.detach(), theirs.detach(), "gradient", operator="forward")
            factors = tensors(case.rng.standard_normal(ours.shape))
            total[0] += (ours * factors[0]).sum()
            total[1] += (theirs * factors[1]).sum()
    for side in total:
        side.backward()
    names = [f"input {i}" for i in range(len(pairs))] + [
        n for n, _ in modules[1].named_parameters()
    ]
    pairs = pairs + list(zip(*(module.parameters() for module in modules), strict=True))
    for name, (ours, theirs) in zip(names, pairs, strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            assert_close(ours.grad, theirs.grad, "gradient", operator=name)
