"""Attention and its layers beside PyTorch's with the same parameters."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn
from numbatorch.nn import functional as F
from tests.compare import assert_close
from tests.peers.pairs import Case, Pair, compare, pair, tensors
from tests.peers.sides import torch

CASES = range(40)


@pytest.mark.drawn(2)
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
    """Over n numbers of 16 modules, of seeds for which nothing else is known.

    The deviation s of n normal numbers varies by s / sqrt(2 n), that of uniform ones by less, and
    the difference of two by sqrt(2) as much: within 5 times that, chance fails once in 10^6. All of
    n >= 4608 uniform numbers are below 0.99 of their bound once in 10^20.
    """
    nt.manual_seed(0), torch.manual_seed(0)
    drawn: list[dict[str, list[Any]]] = []
    for make in (nn.MultiheadAttention, torch.nn.MultiheadAttention):
        drawn.append({})
        for _ in range(16):
            for name, x in make(96, 4, **options).named_parameters():
                drawn[-1].setdefault(name, []).append(x.detach().numpy())
    assert list(drawn[0]) == list(drawn[1])
    for name, parts in drawn[0].items():
        x, y = np.stack(parts), np.stack(drawn[1][name])
        assert x.shape == y.shape, name
        assert x.std() == pytest.approx(y.std(), rel=5 / np.sqrt(x.size)), name
        if "bias_" not in name:  # uniform numbers have bounds
            assert np.abs(x).max() == pytest.approx(np.abs(y).max(), rel=0.01), name


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


ACTIVATIONS: list[tuple[Any, Any]] = [
    ("relu", "relu"),
    ("gelu", "gelu"),
    (F.silu, torch.nn.functional.silu),
]


def layers(kind: str, case: Case, *sizes: int) -> Pair:
    """Layers of one kind with options that a seed draws."""
    activations = ACTIVATIONS[int(case.rng.integers(len(ACTIVATIONS)))]
    options = {
        "dropout": 0.0,
        "layer_norm_eps": float(case.rng.choice([1e-5, 1e-2])),
        "batch_first": case.batch_first,
        "norm_first": case.coin(),
        "bias": case.coin(),
    }
    return pair(kind, *sizes, activations=activations, **options)


def encoder_masks(case: Case, heads: int, length: int) -> tuple[Pair, Pair]:
    """A mask of tokens and one of padding, each of which may be None."""
    floats, each = case.coin(), case.coin()
    shape = (case.N * heads, length, length) if each else (length, length)
    mask = case.mask(shape, floats) if case.coin() else (None, None)
    return mask, case.padding(length, floats) if case.coin() else (None, None)


@pytest.mark.drawn(2)
@pytest.mark.parametrize("seed", range(24))
def test_encoder_layer_equals_torch(seed: int) -> None:
    case = Case(seed)
    heads = int(case.rng.integers(1, 4))
    modules = layers("TransformerEncoderLayer", case, 4 * heads, heads, 6)
    for module in modules:
        module.train(seed % 2 == 0)
    x = case.sequence(case.S, 4 * heads)
    mask, padding = encoder_masks(case, heads, case.S)
    compare([x], lambda side: [modules[side](x[side], mask[side], padding[side])], modules, case)


@pytest.mark.drawn(2)
@pytest.mark.parametrize("seed", range(24))
def test_decoder_layer_equals_torch(seed: int) -> None:
    case = Case(100 + seed)
    heads = int(case.rng.integers(1, 4))
    modules = layers("TransformerDecoderLayer", case, 4 * heads, heads, 6)
    target, memory = case.sequence(case.T, 4 * heads), case.sequence(case.S, 4 * heads)
    mask, padding = encoder_masks(case, heads, case.T)
    other = case.mask((case.T, case.S), True) if case.coin() else (None, None)
    hidden = case.padding(case.S, True) if case.coin() else (None, None)

    def call(side: int) -> Any:
        masks = (mask[side], other[side], padding[side], hidden[side])
        return [modules[side](target[side], memory[side], *masks)]

    compare([target, memory], call, modules, case)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_transformer_equals_torch(causal: bool, floats: bool, padded: bool) -> None:
    case = Case(17 + causal)
    case.batched, case.N, case.T, case.S = True, 2, 4, 5
    options = {"dropout": 0.0, "batch_first": case.batch_first, "norm_first": floats}
    modules = pair("Transformer", 6, 2, 2, 2, 8, **options)
    source, target = case.sequence(case.S, 6), case.sequence(case.T, 6)
    masks: list[dict[str, Any]] = [{}, {}]
    for name, length in (("src", case.S), ("tgt", case.T)):
        hidden = np.triu(np.ones((length, length), bool), 1)
        values = tensors(np.where(hidden, -np.inf, 0.0) if floats else hidden)
        mask = values if causal else case.mask((length, length), floats)
        padding = case.padding(length, floats)
        for side in (0, 1):
            masks[side][f"{name}_mask"] = mask[side]
            if padded:
                masks[side][f"{name}_key_padding_mask"] = padding[side]

    def call(side: int) -> Any:
        return [modules[side](source[side], target[side], **masks[side])]

    compare([source, target], call, modules, case)


def test_encoder_in_inference_equals_torch_but_for_rows_of_padding() -> None:
    shared = np.random.default_rng(0)
    values = shared.standard_normal((3, 5, 8))
    padding = np.arange(5) >= np.array([[5], [3], [1]])
    x, hidden = tensors(values), tensors(padding)
    ours, theirs = pair("TransformerEncoderLayer", 8, 2, 16, batch_first=True)
    stacks = (nn.TransformerEncoder(ours, 2).eval(), torch.nn.TransformerEncoder(theirs, 2).eval())
    with nt.no_grad(), torch.no_grad():
        found, expected = (
            stack(x[side], src_key_padding_mask=hidden[side]) for side, stack in enumerate(stacks)
        )
    assert (expected.numpy()[padding] == 0).all()
    assert_close(found.numpy()[~padding], expected.numpy()[~padding], "composite")


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool"])
def test_square_subsequent_mask_equals_torch(dtype: str) -> None:
    ours = nn.Transformer.generate_square_subsequent_mask(4, dtype=getattr(nt, dtype))
    theirs = torch.nn.Transformer.generate_square_subsequent_mask(4, dtype=getattr(torch, dtype))
    assert_close(ours, theirs, "exact")


def test_first_values_of_a_transformer_are_drawn_as_in_torch() -> None:
    sizes = (64, 4, 1, 1, 128)
    ours, theirs = nn.Transformer(*sizes), torch.nn.Transformer(*sizes)
    for (name, x), (other, y) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert (name, x.shape) == (other, tuple(y.shape))
        if x.ndim > 1:
            assert x.abs().max().item() == pytest.approx(y.abs().max().item(), rel=0.1), name
            assert x.std().item() == pytest.approx(y.std().item(), rel=0.1), name
