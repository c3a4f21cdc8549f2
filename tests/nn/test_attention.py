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


@pytest.mark.drawn(2)
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


CAUSAL = np.triu(np.ones((5, 5), bool), 1)


def encoder(**options: Any) -> nn.TransformerEncoder:
    """Two layers."""
    given = {"batch_first": True, "dropout": 0.0, **options}
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, **given), 2)


@pytest.mark.usefixtures("reference")
def test_wrong_layers() -> None:
    with pytest.raises(ShapeError, match="not a multiple of num_heads 3"):
        nn.TransformerEncoderLayer(8, 3)
    for kind in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.Transformer):
        with pytest.raises(ValueError, match="activation is 'relu', 'gelu' or a function"):
            kind(8, 2, dim_feedforward=4, activation="tanh")
    with pytest.raises(ValueError, match="num_layers -1 is negative"):
        nn.TransformerEncoder(nn.Identity(), -1)


WRONG_SOURCES = [
    ((2, 5, 8), (3, 4, 8), "src and tgt differ in the batch"),
    ((2, 5, 7), (2, 4, 8), "tokens are not of size d_model 8"),
    ((2, 5, 8), (2, 4, 7), "tokens are not of size d_model 8"),
    ((2, 5, 8), (4, 8), "both of three dimensions"),
    ((8,), (8,), "both of three dimensions"),
]


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(("source", "target", "text"), WRONG_SOURCES)
def test_wrong_sources_and_targets(source: Any, target: Any, text: str) -> None:
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    with pytest.raises(ShapeError, match=f"^Transformer: {text}|^Transformer: .*{text}"):
        model(nt.zeros(source), nt.zeros(target))


@pytest.mark.usefixtures("reference")
def test_wrong_masks_of_layers() -> None:
    stack, x = encoder(), nt.zeros(3, 5, 8)
    with pytest.raises(ShapeError, match=r"attn_mask must be \(5, 5\)"):
        stack(x, mask=nt.zeros(4, 4))
    with pytest.raises(DTypeError, match="attn_mask is of bool or floats"):
        stack(x, mask=nt.zeros(5, 5, dtype=nt.int64))
    with pytest.raises(ShapeError, match="is_causal needs attn_mask"):
        stack(x, is_causal=True)


@pytest.mark.parametrize("dtype", [nt.float32, nt.bool_], ids=lambda dtype: dtype.name)
def test_a_causal_mask_is_found_and_needs_no_scores(dtype: nt.dtype.DType) -> None:
    stack, x = encoder().eval(), nt.randn(3, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=dtype)
    nt.realize(x, mask, *stack.parameters())
    names = [kernel.name for kernel in nt.debug.kernels(stack(x, mask=mask))]
    assert sum("attention" in name for name in names) == 2
    assert not any("softmax" in name for name in names)
    other = nt.tensor(CAUSAL[::-1].copy())
    assert not nt.equal(stack(x, mask=other), stack(x, mask=mask))


@pytest.mark.parametrize("dtype", [nt.float32, nt.bool_], ids=lambda dtype: dtype.name)
def test_masks_within_compiled_and_mapped_functions(dtype: nt.dtype.DType) -> None:
    stack, x = encoder().eval(), nt.randn(3, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=dtype)
    compiled = nt.compile(lambda x, mask: stack(x, mask=mask))
    with nt.no_grad():
        expected = stack(x, mask=mask)
        for _ in range(3):
            assert_close(compiled(x, mask), expected, "model")
        none = nt.zeros(5, 5).to(dtype)
        assert_close(compiled(x, none), stack(x), "model")
        mapped = nt.func.vmap(lambda mask: stack(x, mask=mask))(nt.stack([mask, none]))
    assert_close(mapped[0], expected, "model")


@pytest.mark.usefixtures("reference")
def test_stacks_copy_their_layer_and_take_others() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    stack = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)
    first, second = (stack.layers[i].linear1.weight for i in range(2))
    assert first is not second and first is not layer.linear1.weight
    assert_close(first, second, "exact")
    assert len([name for name in stack.state_dict() if name.startswith("layers.1.")]) == 12
    x = nt.randn(5, 3, 8)
    again = copy.deepcopy(stack)
    assert_close(again(x).detach(), stack(x).detach(), "exact")
    own = nn.Transformer(8, 2, custom_encoder=stack, num_decoder_layers=0)
    assert own.encoder is stack and own(x, x).shape == (5, 3, 8)


def test_dropout_of_layers_acts_in_training_only() -> None:
    for layer in (nn.TransformerEncoderLayer(8, 2, 16), nn.TransformerDecoderLayer(8, 2, 16)):
        inputs = [nt.randn(5, 3, 8)] * (1 + isinstance(layer, nn.TransformerDecoderLayer))
        with nt.no_grad():
            assert not nt.equal(layer(*inputs), layer(*inputs))
            layer.eval()
            assert nt.equal(layer(*inputs), layer(*inputs))


def test_launches_of_an_encoder_layer() -> None:
    """In-projection, attention, heads side by side, output, norm, two linear layers, norm."""
    layer, x = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval(), nt.randn(2, 16, 32)
    nt.realize(x, *layer.parameters())
    with nt.no_grad():
        assert_launches(layer(x), 8)


def test_a_stack_is_trained() -> None:
    model = nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True)
    source, target, wanted = nt.randn(4, 5, 8), nt.randn(4, 3, 8), nt.randn(4, 3, 8)
    optimizer = nt.optim.AdamW(list(model.parameters()), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = ((model(source, target) - wanted) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
