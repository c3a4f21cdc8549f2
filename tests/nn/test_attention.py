"""Attention modules: wrong inputs, launches, dropout, names."""

import copy
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DTypeError, OutOfRange, ShapeError, nn
from numbatorch.testing import assert_close, assert_launches


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel runs."""
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


@pytest.mark.parametrize(
    ("given", "options", "error", "text"),
    [
        (
            (5, 2),
            {},
            ShapeError,
            "^MultiheadAttention: embed_dim 5 is not a multiple",
        ),
        ((0, 2), {}, ShapeError, "have to be positive"),
        ((4, 0), {}, ShapeError, "have to be positive"),
        ((4, -2), {}, ShapeError, "have to be positive"),
        ((4, 2), {"dropout": 1.5}, OutOfRange, r"the probability 1.5 is not in \[0, 1\]"),
    ],
)
def test_wrong_sizes(given: Any, options: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        nn.MultiheadAttention(*given, **options)


BOOL = nt.bool_
WRONG_INPUTS = [
    ("query has another size", (2, 3, 5), (2, 3, 4), (2, 3, 4)),
    ("all .* or all", (2, 3, 4), (3, 4), (3, 4)),
    ("all .* or all", (4,), (4,), (4,)),
    ("all .* or all", (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)),
    ("key and value differ", (2, 3, 4), (2, 3, 4), (2, 2, 4)),
    ("query and key differ in the batch", (2, 3, 4), (1, 3, 4), (1, 3, 4)),
    (r"input.shape\[-1\] must be weight.shape\[1\]", (2, 3, 4), (2, 3, 5), (2, 3, 5)),
]


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(("text", "query", "key", "value"), WRONG_INPUTS)
def test_wrong_inputs(text: str, query: Any, key: Any, value: Any) -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    with pytest.raises(ShapeError, match=f"^MultiheadAttention: .*{text}|^linear: .*{text}"):
        attention(nt.zeros(query), nt.zeros(key), nt.zeros(value))


@pytest.mark.usefixtures("reference")
def test_wrong_sizes_of_keys_and_values() -> None:
    attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=5)
    query, key, value = nt.zeros(2, 1, 4), nt.zeros(6, 1, 3), nt.zeros(6, 1, 5)
    assert attention(query, key, value)[0].shape == (2, 1, 4)
    with pytest.raises(ShapeError, match="must be weight"):
        attention(query, value, key)
    with pytest.raises(ShapeError, match="key and value differ"):
        attention(query, key, nt.zeros(5, 1, 5))


WRONG_MASKS = [
    ({"attn_mask": (3, 4)}, r"attn_mask must be \(3, 3\) or \(4, 3, 3\)"),
    ({"attn_mask": (2, 3, 3)}, r"attn_mask must be \(3, 3\) or \(4, 3, 3\)"),
    ({"attn_mask": (2, 2, 3, 3)}, r"attn_mask must be \(3, 3\) or \(4, 3, 3\)"),
    ({"key_padding_mask": (3, 2)}, r"key_padding_mask must be \(2, 3\)"),
    ({"key_padding_mask": (3,)}, r"key_padding_mask must be \(2, 3\)"),
]


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(("shapes", "text"), WRONG_MASKS)
@pytest.mark.parametrize("need_weights", [False, True])
def test_masks_of_a_wrong_shape(shapes: Any, text: str, need_weights: bool) -> None:
    attention, x = nn.MultiheadAttention(4, 2, batch_first=True), nt.zeros(2, 3, 4)
    masks = {name: nt.zeros(shape, dtype=BOOL) for name, shape in shapes.items()}
    with pytest.raises(ShapeError, match=text):
        attention(x, x, x, **masks, need_weights=need_weights)


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("name", ["attn_mask", "key_padding_mask"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_masks_of_integers_are_refused(name: str, need_weights: bool) -> None:
    attention, x = nn.MultiheadAttention(4, 2, batch_first=True), nt.zeros(3, 3, 4)
    mask = {name: nt.zeros(3, 3, dtype=nt.int64)}
    with pytest.raises(DTypeError, match=f"{name} is of bool or floats"):
        attention(x, x, x, **mask, need_weights=need_weights)


@pytest.mark.usefixtures("reference")
def test_is_causal_needs_a_mask() -> None:
    attention, x = nn.MultiheadAttention(4, 2), nt.zeros(3, 2, 4)
    with pytest.raises(ShapeError, match="is_causal needs attn_mask"):
        attention(x, x, x, is_causal=True, need_weights=False)
    with pytest.raises(TypeError, match="MultiheadAttention"):
        attention(x, x, np.zeros((3, 2, 4)))


@pytest.mark.parametrize(
    ("options", "launches"),
    [
        ({"need_weights": False}, 4),  # in-projection, attention, heads side by side, output
        ({"need_weights": False, "attn_mask": True}, 5),  # the mask turned around
        ({"need_weights": False, "attn_mask": True, "is_causal": True}, 4),
    ],
)
def test_launches_of_attention(options: dict[str, Any], launches: int) -> None:
    attention = nn.MultiheadAttention(32, 4, batch_first=True)
    x = nt.randn(2, 16, 32)
    if "attn_mask" in options:
        options = {**options, "attn_mask": nt.tensor(np.triu(np.ones((16, 16), bool), 1))}
    nt.realize(x, *attention.parameters())
    with nt.no_grad():
        assert_launches(attention(x, x, x, **options)[0], launches)


def test_dropout_of_weights_draws_anew_in_training_only() -> None:
    attention = nn.MultiheadAttention(8, 2, dropout=0.5)
    x = nt.randn(6, 3, 8)
    for need_weights in (False, True):
        attention.train()
        with nt.no_grad():
            outs = [attention(x, x, x, need_weights=need_weights)[0] for _ in range(4)]
        assert all(not nt.equal(outs[0], out) for out in outs[1:])
        attention.eval()
        with nt.no_grad():
            outs = [attention(x, x, x, need_weights=need_weights)[0] for _ in range(4)]
        assert all(nt.equal(outs[0], out) for out in outs[1:])


@pytest.mark.usefixtures("reference")
def test_dropped_weights_are_given() -> None:
    attention = nn.MultiheadAttention(8, 2, dropout=0.5)
    x = nt.randn(16, 3, 8)
    _, weights = attention(x, x, x, average_attn_weights=False)
    share = (weights == 0).to(nt.float32).mean().item()
    assert 0.4 < share < 0.6
    kept = attention.eval()(x, x, x, average_attn_weights=False)[1]
    assert_close(weights.detach(), nt.where(weights == 0, 0.0, kept * 2).detach(), "composite")


@pytest.mark.usefixtures("reference")
def test_names_copies_and_text() -> None:
    attention = nn.MultiheadAttention(4, 2, kdim=3, bias=False, add_bias_kv=True)
    names = ["q_proj_weight", "k_proj_weight", "v_proj_weight", "bias_k", "bias_v"]
    assert sorted(attention.state_dict()) == sorted([*names, "out_proj.weight"])
    assert attention.in_proj_weight is None and attention.in_proj_bias is None
    again = copy.deepcopy(attention)
    query, key, value = nt.randn(2, 4), nt.randn(3, 3), nt.randn(3, 4)
    assert_close(again(query, key, value)[0], attention(query, key, value)[0], "exact")
    assert "(out_proj): Linear(in_features=4, out_features=4, bias=False)" in repr(attention)


@pytest.mark.parametrize("dtype", [nt.float16, nt.bfloat16], ids=lambda dtype: dtype.name)
def test_half_types_keep_their_dtype(dtype: nt.dtype.DType) -> None:
    attention = nn.MultiheadAttention(8, 2, dtype=dtype)
    x = nt.randn(5, 2, 8).to(dtype)
    wide, w = copy.deepcopy(attention).float(), x.float()
    expected, weights = wide(w, w, w)
    out, found = attention(x, x, x)
    assert out.dtype is found.dtype is dtype
    assert_close(out.detach(), expected.detach().to(dtype), "model")
    assert_close(found.detach(), weights.detach().to(dtype), "model")
    plain, nothing = attention(x, x, x, need_weights=False)
    assert nothing is None and plain.dtype is dtype
    assert_close(plain.detach(), expected.detach().to(dtype), "model")
