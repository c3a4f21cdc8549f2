"""Whole models beside transformers: gradients of every parameter, and hidden states."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import assert_close
from tests.peers.sides import Sides, torch

transformers = pytest.importorskip("transformers", reason="pip install transformers")

# Of a parameter's largest gradient: its elements are sums over tokens, which cancel.
GRADIENT = 1e-4


def llama(folder: Path) -> Any:
    """transformers' Llama in float32, with the plain attention."""
    return transformers.LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )


@pytest.fixture
def llama_folder(fixtures: Path) -> Path:
    return fixtures / "pydoc-llama"


def test_gradients_of_every_llama_parameter_equal_torch(llama_folder: Path, sides: Sides) -> None:
    ids, torch_ids = sides.integers(0, 2048, 2, 33)
    theirs = llama(llama_folder)
    expected = theirs(torch_ids, labels=torch_ids).loss
    expected.backward()
    ours = nt.models.from_pretrained(llama_folder).float()
    logits = ours(ids)[:, :-1].flatten(0, 1)
    loss = nt.nn.functional.cross_entropy(logits, ids[:, 1:].flatten())
    loss.backward()
    assert_close(loss, expected, "model", operator="loss")
    parameters = dict(theirs.named_parameters())
    checked = dict(ours.named_parameters())
    assert set(checked) == set(parameters)
    for name, parameter in checked.items():
        reference = parameters[name].grad.numpy()
        difference = np.abs(parameter.grad.numpy() - reference).max()
        assert difference <= GRADIENT * np.abs(reference).max(), name


def test_llama_logits_equal_torch(llama_folder: Path, sides: Sides) -> None:
    ids, torch_ids = sides.integers(0, 2048, 2, 33)
    with torch.no_grad():
        expected = llama(llama_folder)(torch_ids).logits
    logits = nt.models.from_pretrained(llama_folder)(ids)
    assert_close(logits, expected, "model", operator="llama")


def test_five_training_steps_of_a_llama_equal_torch(llama_folder: Path, sides: Sides) -> None:
    ids, torch_ids = sides.integers(0, 2048, 2, 17)
    theirs, ours = llama(llama_folder), nt.models.from_pretrained(llama_folder).float()
    torch_optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3)
    optimizer = nt.optim.AdamW(ours.parameters(), lr=1e-3)
    for _ in range(5):
        torch_optimizer.zero_grad()
        expected = theirs(torch_ids, labels=torch_ids).loss
        expected.backward()
        torch_optimizer.step()
        optimizer.zero_grad()
        loss = nt.nn.functional.cross_entropy(ours(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        # A step has about the size of lr however small its gradient: roundings grow.
        assert loss.item() == pytest.approx(expected.item(), rel=1e-3)


def test_bert_hidden_states_and_gradients_equal_torch(minilm: Path, sides: Sides) -> None:
    ids, torch_ids = sides.integers(1000, 30000, 3, 19)
    lengths = np.array([[19], [7], [1]])
    mask, torch_mask = sides.of((np.arange(19) < lengths).astype(np.int64))
    theirs = transformers.BertModel.from_pretrained(
        minilm, attn_implementation="eager", add_pooling_layer=False
    )
    expected = theirs.eval()(torch_ids, attention_mask=torch_mask).last_hidden_state
    ours = nt.models.from_pretrained(minilm)
    hidden = ours(ids, mask > 0)
    keep, torch_keep = mask[..., None].float(), torch_mask[..., None].float()
    assert_close(hidden * keep, expected * torch_keep, "model", operator="bert")
    weight, torch_weight = sides.normal(3, 19, 384)
    (hidden * weight * keep).sum().backward()
    (expected * torch_weight * torch_keep).sum().backward()
    parameters = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if name not in parameters:
            continue
        reference = parameters[name].grad
        if reference is None:
            continue
        reference = reference.numpy()
        difference = np.abs(parameter.grad.numpy() - reference).max()
        # A shift of all keys of a query cancels in its softmax: that gradient is only rounding.
        floor = 1e-4 if name.endswith("key.bias") else 0.0
        assert difference <= GRADIENT * np.abs(reference).max() + floor, name


def block(F: Any, x: Any, weights: dict[str, Any], heads: int, groups: int) -> Any:
    """A pre-norm transformer block of PyTorch's functions: (B, T, C) -> (B, T, C)."""
    B, T, C = x.shape
    size = C // heads
    h = F.rms_norm(x, (C,), weights["norm1"], eps=1e-5)
    q = F.linear(h, weights["q"]).reshape(B, T, heads, size).transpose(1, 2)
    k = F.linear(h, weights["k"]).reshape(B, T, groups, size).transpose(1, 2)
    v = F.linear(h, weights["v"]).reshape(B, T, groups, size).transpose(1, 2)
    h = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    x = x + F.linear(h.transpose(1, 2).reshape(B, T, C), weights["o"])
    h = F.layer_norm(x, (C,), weights["norm2"], weights["bias2"])
    return x + F.linear(F.silu(F.linear(h, weights["gate"])) * F.linear(h, weights["up"]),
                        weights["down"])  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_gradients_of_a_transformer_block_equal_torch(groups: int, sides: Sides) -> None:
    C, wide, heads = 32, 72, 4
    narrow = C // heads * groups
    shapes = {
        "norm1": (C,), "q": (C, C), "k": (narrow, C), "v": (narrow, C), "o": (C, C),
        "norm2": (C,), "bias2": (C,), "gate": (wide, C), "up": (wide, C), "down": (C, wide),
    }  # fmt: skip
    pairs = {}
    for name, shape in shapes.items():
        scale = shape[-1] ** -0.5 if len(shape) > 1 else 1.0
        pairs[name] = sides.of(
            sides.rng.standard_normal(shape, np.float32) * np.float32(scale), True
        )
    x, torch_x = sides.normal(2, 11, C, grad=True)
    ours = block(
        nt.nn.functional, x, {name: pair[0] for name, pair in pairs.items()}, heads, groups
    )
    theirs = block(
        torch.nn.functional, torch_x, {name: pair[1] for name, pair in pairs.items()}, heads, groups
    )
    assert_close(ours, theirs, "composite", operator="block")
    weight, torch_weight = sides.normal(2, 11, C)
    (ours * weight).sum().backward()
    (theirs * torch_weight).sum().backward()
    for name, (ours_in, theirs_in) in {**pairs, "x": (x, torch_x)}.items():
        reference = theirs_in.grad.numpy()
        difference = np.abs(ours_in.grad.numpy() - reference).max()
        # As GRADIENT, for one block instead of a whole model.
        assert difference <= GRADIENT / 10 * np.abs(reference).max(), name
