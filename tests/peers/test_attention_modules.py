"""Attention and its layers beside PyTorch's with the same parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn
from numbatorch.nn import functional as F
from tests.compare import assert_close
from tests.peers.sides import torch

Pair = tuple[Any, Any]
CASES = range(40)


def pair(kind: str, *args: Any, **options: Any) -> Pair:
    """A module of ours and one of PyTorch's in float64, with the same parameters."""
    ours = getattr(nn, kind)(*args, **options, dtype=nt.float64)
    theirs = getattr(torch.nn, kind)(*args, **options, dtype=torch.float64)
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


@pytest.mark.parametrize("seed", CASES)
def test_multihead_attention_equals_torch(seed: int) -> None:
    case = Case(seed)
    heads = int(case.rng.integers(1, 4))
    E = heads * int(case.rng.integers(1, 4))
    kdim, vdim = (int(n) if case.rng.random() < 0.3 else None for n in case.rng.integers(1, 7, 2))
    options = {
        "bias": case.coin(),
        "add_bias_kv": case.rng.random() < 0.3,
        "add_zero_attn": case.rng.random() < 0.3,
        "kdim": kdim,
        "vdim": vdim,
        "batch_first": case.batch_first,
    }
    modules = pair("MultiheadAttention", E, heads, **options)
    for module in modules:
        module.train(case.coin())
    same = kdim is vdim is None and case.coin()
    query = case.sequence(case.T, E)
    S = case.T if same else case.S
    key = query if same else case.sequence(S, kdim or E)
    joint = kdim is vdim is None and case.coin()
    value = query if same else key if joint else case.sequence(S, vdim or E)
    floats, each = case.coin(), case.coin()
    masks: list[Pair] = [(None, None), (None, None)]
    if case.coin():
        masks[0] = case.mask((case.N * heads, case.T, S) if each else (case.T, S), floats)
    if case.coin():
        masks[1] = case.padding(S, floats)
    weights, average = case.coin(), case.coin()

    def call(side: int) -> Any:
        return modules[side](
            query[side],
            key[side],
            value[side],
            key_padding_mask=masks[1][side],
            need_weights=weights,
            attn_mask=masks[0][side],
            average_attn_weights=average,
        )

    inputs = list({id(x[0]): x for x in (query, key, value)}.values())
    compare(inputs, call, modules, case)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_causal_attention_equals_torch(batch_first: bool, need_weights: bool) -> None:
    case = Case(1)
    case.batch_first, case.batched, case.N, case.T = batch_first, True, 2, 5
    modules = pair("MultiheadAttention", 6, 3, batch_first=batch_first)
    x = case.sequence(case.T, 6)
    hidden = tensors(np.triu(np.ones((5, 5), bool), 1))

    def call(side: int) -> Any:
        options = {"attn_mask": hidden[side], "is_causal": True, "need_weights": need_weights}
        return modules[side](x[side], x[side], x[side], **options)

    compare([x], call, modules, case)


@pytest.mark.parametrize("mixed", [False, True])
def test_causal_attention_with_padding_equals_torch(mixed: bool) -> None:
    case = Case(2)
    case.batch_first, case.batched, case.N, case.T = True, True, 3, 6
    modules = pair("MultiheadAttention", 6, 3, batch_first=True)
    x = case.sequence(case.T, 6)
    causal = np.triu(np.ones((6, 6), bool), 1)
    hidden = tensors(np.where(causal, -np.inf, 0.0) if mixed else causal)
    padding = case.padding(6, floats=False)

    def call(side: int) -> Any:
        masks = {"attn_mask": hidden[side], "key_padding_mask": padding[side]}
        return modules[side](*[x[side]] * 3, **masks, is_causal=True, need_weights=False)

    compare([x], call, modules, case)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("floats", [False, True])
def test_a_query_that_sees_no_key_answers_as_torch(need_weights: bool, floats: bool) -> None:
    ours, theirs = pair("MultiheadAttention", 4, 2, batch_first=True)
    rng = np.random.default_rng(0)
    x = tensors(rng.standard_normal((2, 3, 4)))
    hidden = np.array([[True] * 3, [False, True, False]])
    mask = tensors(np.where(hidden, -np.inf, 0.0) if floats else hidden)
    found, expected = (
        module(*[x[side]] * 3, key_padding_mask=mask[side], need_weights=need_weights)
        for side, module in enumerate((ours, theirs))
    )
    assert bool(found[0][0].isnan().all()) == need_weights
    assert_close(found[0].detach(), expected[0].detach(), "composite")
    if need_weights:
        assert_close(found[1].detach(), expected[1].detach(), "composite")


@pytest.mark.parametrize("options", [{}, {"kdim": 3, "add_bias_kv": True}, {"bias": False}])
def test_first_values_are_drawn_as_in_torch(options: dict[str, Any]) -> None:
    ours = nn.MultiheadAttention(96, 4, **options)
    theirs = torch.nn.MultiheadAttention(96, 4, **options)
    for (name, x), (other, y) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert (name, x.shape) == (other, tuple(y.shape))
        assert x.std().item() == pytest.approx(y.std().item(), rel=0.25)
        if "bias_" not in name:  # uniform numbers have bounds
            assert x.abs().max().item() == pytest.approx(y.abs().max().item(), rel=0.15)


def test_the_function_takes_static_keys_as_torch() -> None:
    rng = np.random.default_rng(0)
    x, w, b, out = (tensors(rng.standard_normal(s)) for s in ((3, 2, 4), (12, 4), 12, (4, 4)))
    k, v = (tensors(rng.standard_normal((4, 5, 2))) for _ in range(2))
    found = []
    for side, function in enumerate((F, torch.nn.functional)):
        given = (x[side], x[side], x[side], 4, 2, w[side], b[side], None, None, True, 0.0)
        static = {"static_k": k[side], "static_v": v[side]}
        found.append(function.multi_head_attention_forward(*given, out[side], None, **static))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs, "composite")
