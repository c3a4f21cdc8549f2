"""Recurrent layers, cells and packed sequences beside PyTorch."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.testing import assert_close
from tests.peers.sides import torch

KINDS = ("LSTM", "GRU", "RNN")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"num_layers": 3},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"batch_first": True, "bias": False, "bidirectional": True},
]
IN, OUT = 5, 7


def twins(kind: str, dtype: str = "float64", **options: Any) -> tuple[Any, Any]:
    """A module of each side with the same parameters."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(IN, OUT, dtype=getattr(torch, dtype), **options)
    ours = getattr(nt.nn, kind)(IN, OUT, dtype=getattr(nt, dtype), **options)
    state = {name: nt.from_numpy(value.numpy()) for name, value in theirs.state_dict().items()}
    ours.load_state_dict(state)
    return ours, theirs


def both(shape: tuple[int, ...], dtype: str = "float64", seed: int = 1) -> tuple[Any, Any]:
    """The same leaf on each side."""
    array = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    theirs = torch.from_numpy(array.copy()).requires_grad_()
    return nt.from_numpy(array).requires_grad_(), theirs


def leaves(found: Any) -> list[Any]:
    """The tensors of what a module gives, those of packed sequences too."""
    if found is None or hasattr(found, "requires_grad"):
        return [] if found is None else [found]
    return [leaf for item in found for leaf in leaves(item)]


def compare(ours: Any, theirs: Any, inputs: list[tuple[Any, Any]], modules: Any) -> None:
    """Results, and the gradients of a weighted sum of them."""
    ours, theirs = leaves(ours), leaves(theirs)
    assert len(ours) == len(theirs)
    total, torch_total = 0.0, 0.0
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert_close(mine, other.detach(), "composite")
        if other.dtype.is_floating_point:
            dtype = str(other.detach().numpy().dtype)
            weight, torch_weight = both(tuple(other.shape), dtype, number)
            total = total + (mine * weight.detach()).sum()
            torch_total = torch_total + (other * torch_weight.detach()).sum()
    total.backward()
    torch_total.backward()
    for mine, other in inputs:
        assert_close(mine.grad, other.grad, "gradient")
    grads = dict(modules[1].named_parameters())
    assert [name for name, _ in modules[0].named_parameters()] == list(grads)
    for name, parameter in modules[0].named_parameters():
        assert_close(parameter.grad, grads[name].grad, "gradient", operator=name)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: " ".join(o) or "plain")
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_and_its_gradients(kind: str, options: dict[str, Any]) -> None:
    modules = twins(kind, **options)
    T, B = 6, 4
    x = both((B, T, IN) if options.get("batch_first") else (T, B, IN))
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    states = [both((count, B, OUT), seed=2 + i) for i in range(2 if kind == "LSTM" else 1)]
    given = [tuple(state[side] for state in states) for side in (0, 1)]
    given = given if kind == "LSTM" else [one for (one,) in given]
    found = (module(x[side], given[side]) for side, module in enumerate(modules))
    compare(*found, [x, *states], modules)


@pytest.mark.parametrize("kind", [*KINDS, "relu"])
@pytest.mark.parametrize("B", [1, 3, 19])
def test_float32_without_states(kind: str, B: int) -> None:
    options = {"nonlinearity": "relu"} if kind == "relu" else {}
    modules = twins("RNN" if kind == "relu" else kind, "float32", **options)
    x = both((9, B, IN), "float32")
    compare(modules[0](x[0]), modules[1](x[1]), [x], modules)


@pytest.mark.parametrize("B", [1, 2, 5, 21])
@pytest.mark.parametrize("hidden", [1, 16, 67, 130])
@pytest.mark.parametrize("kind", KINDS)
def test_sizes_on_both_sides_of_a_panel(kind: str, hidden: int, B: int) -> None:
    theirs = getattr(torch.nn, kind)(3, hidden)
    ours = getattr(nt.nn, kind)(3, hidden)
    ours.load_state_dict({k: nt.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    x = both((4, B, 3), "float32")
    compare(ours(x[0]), theirs(x[1]), [x], (ours, theirs))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_an_input_without_a_batch(kind: str, batch_first: bool) -> None:
    modules = twins(kind, batch_first=batch_first, num_layers=2)
    x = both((6, IN))
    states = [both((2, OUT), seed=2 + i) for i in range(2 if kind == "LSTM" else 1)]
    given = [tuple(state[side] for state in states) for side in (0, 1)]
    given = given if kind == "LSTM" else [one for (one,) in given]
    found = (module(x[side], given[side]) for side, module in enumerate(modules))
    compare(*found, [x, *states], modules)


@pytest.mark.parametrize("options", OPTIONS[:5], ids=lambda o: " ".join(o) or "plain")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [[6, 4, 4, 1], [2, 6, 1, 5]])
def test_packed_sequences(kind: str, options: dict[str, Any], lengths: list[int]) -> None:
    first = {name: value for name, value in options.items() if name != "batch_first"}
    modules = twins(kind, **first)
    x = both((6, 4, IN))
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    states = [both((count, 4, OUT), seed=2 + i) for i in range(2 if kind == "LSTM" else 1)]
    found = []
    for side, library in enumerate((nt, torch)):
        rnn = library.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x[side], lengths, enforce_sorted=False)
        given = tuple(state[side] for state in states)
        out, last = modules[side](packed, given if kind == "LSTM" else given[0])
        found.append((*out[:2], rnn.pad_packed_sequence(out), last))
    compare(*found, [x, *states], modules)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "bias": False}])
def test_projections(options: dict[str, Any], packed: bool) -> None:
    modules = twins("LSTM", proj_size=3, **options)
    x = both((5, 3, IN))
    found = []
    for side, library in enumerate((nt, torch)):
        rnn = library.nn.utils.rnn
        given = rnn.pack_padded_sequence(x[side], [5, 3, 2]) if packed else x[side]
        found.append(modules[side](given))
    compare(*found, [x], modules)


def test_dropout_of_everything_leaves_the_biases() -> None:
    modules = twins("LSTM", num_layers=2, dropout=1.0)
    x = both((5, 3, IN))
    compare(modules[0](x[0]), modules[1](x[1]), [x], modules)


def test_dropout_does_nothing_in_eval() -> None:
    modules = twins("GRU", num_layers=2, dropout=0.5)
    x = both((5, 3, IN))
    for module in modules:
        module.eval()
    compare(modules[0](x[0]), modules[1](x[1]), [x], modules)


def test_dropout_of_a_half_keeps_the_mean() -> None:
    nt.manual_seed(0)
    x = nt.randn(1, 400, IN)
    layer = nt.nn.RNN(IN, 64, 2, dropout=0.5)
    with nt.no_grad():
        layer.weight_ih_l1.copy_(nt.eye(64))
        layer.weight_hh_l1.zero_()
        layer.bias_ih_l1.zero_()
        layer.bias_hh_l1.zero_()
    shown = layer(x)[0]
    assert abs((shown == 0).float().mean().item() - 0.5) < 0.02


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_second_derivatives(kind: str) -> None:
    modules = twins(kind)
    x = both((3, 2, IN))
    found = []
    for side, library in enumerate((nt, torch)):
        out = modules[side](x[side])[0]
        grad = library.autograd.grad
        (first,) = grad((out * out).sum(), [x[side]], create_graph=True)
        weight = modules[side].weight_hh_l0
        found.append(grad((first * first * first).sum(), [x[side], weight]))
    for mine, other in zip(*found, strict=True):
        assert_close(mine, other, "gradient")


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell", "relu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_cells(kind: str, bias: bool, batched: bool) -> None:
    options: dict[str, Any] = {"nonlinearity": "relu"} if kind == "relu" else {}
    kind = "RNNCell" if kind == "relu" else kind
    modules = twins(kind, bias=bias, **options)
    rows = (4,) if batched else ()
    x, h, c = (both((*rows, size), seed=i) for i, size in enumerate((IN, OUT, OUT)))
    inputs = [x, h, c] if kind == "LSTMCell" else [x, h]
    given = [(h[i], c[i]) if kind == "LSTMCell" else h[i] for i in (0, 1)]
    found = [modules[i](x[i], given[i]) for i in (0, 1)]
    compare(*found, inputs, modules)
    assert_close(leaves(modules[0](x[0]))[0], leaves(modules[1](x[1]))[0].detach(), "composite")


@pytest.mark.parametrize("kind", [*KINDS, "LSTMCell", "GRUCell", "RNNCell"])
def test_names_of_parameters_text_and_first_values(kind: str) -> None:
    cell = kind.endswith("Cell")
    options: dict[str, Any] = {"bias": False}
    if not cell:
        options |= {"num_layers": 2, "dropout": 0.25, "bidirectional": True, "batch_first": True}
    options |= {"proj_size": 3} if kind == "LSTM" else {}
    options |= {"nonlinearity": "relu"} if kind.startswith("RNN") else {}
    for given in ({}, options):
        ours, theirs = (getattr(lib.nn, kind)(IN, OUT, **given) for lib in (nt, torch))
        shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
        found = {name: value.shape for name, value in ours.state_dict().items()}
        assert list(found.items()) == list(shapes.items())
        assert repr(ours) == repr(theirs)
        theirs.load_state_dict(
            {name: torch.from_numpy(x.numpy().copy()) for name, x in ours.state_dict().items()}
        )
        bound = OUT**-0.5
        for parameter in ours.parameters():
            values = np.abs(parameter.detach().numpy())
            assert 0 < values.max() <= bound


def test_functions_of_sequences() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((n, 2)).astype(np.float32) for n in (3, 5, 1, 4)]
    results = []
    for library in (nt, torch):
        rnn = library.nn.utils.rnn
        rows = [library.from_numpy(array.copy()) for array in arrays]
        found = [rnn.pad_sequence(rows), rnn.pad_sequence(rows, True, -1.0, "left")]
        packed = rnn.pack_sequence(rows, enforce_sorted=False)
        found += list(packed)
        found += rnn.pad_packed_sequence(packed, True, 7.0, total_length=8)
        found += rnn.pad_packed_sequence(packed)
        found += rnn.unpack_sequence(packed)
        padded, lengths = rnn.pad_packed_sequence(packed)
        found += list(rnn.pack_padded_sequence(padded, lengths, enforce_sorted=False))
        found += rnn.unpad_sequence(padded, lengths)  # PyTorch's transposes what it is given
        found += list(rnn.pack_sequence(sorted(rows, key=len, reverse=True))[:2])
        found.append(rnn.invert_permutation(packed.sorted_indices))
        found += list(packed.to(library.float64))
        results.append(found)
    assert len(results[0]) == len(results[1])
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, "exact")


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
def test_packing_and_padding_of_every_dtype(batch_first: bool, ordered: bool) -> None:
    rng = np.random.default_rng(0)
    lengths = [int(n) for n in rng.integers(1, 40, 9)]
    lengths = sorted(lengths, reverse=True) if ordered else lengths
    values = rng.integers(0, 2, (9, 45, 2) if batch_first else (45, 9, 2))
    for dtype, value in (
        ("complex64", 0.5),
        ("float64", 0.5),
        ("int64", -2.0),
        ("uint8", 3),
        ("bool", 0.5),
    ):
        results: list[list[Any]] = []
        for library in (nt, torch):
            rnn = library.nn.utils.rnn
            x = library.from_numpy(values.astype(dtype))
            packed = rnn.pack_padded_sequence(x, lengths, batch_first, ordered)
            results.append([part for part in packed if part is not None])
            for total in (None, 50):
                results[-1] += rnn.pad_packed_sequence(packed, batch_first, value, total)
            rows = [x[b] if batch_first else x[:, b] for b in range(9)]
            rows = [row[:length] for row, length in zip(rows, lengths, strict=True)]
            results[-1].append(rnn.pad_sequence(rows, batch_first, value))
        for ours, theirs in zip(*results, strict=True):
            assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1]
            assert_close(ours, theirs, "exact")


def test_a_whole_training_step_compiles() -> None:
    modules = twins("LSTM", "float32", bidirectional=True)
    x = both((4, 3, IN), "float32")
    step = nt.compile(lambda x: modules[0](x)[0].square().mean())
    expected = modules[1](x[1])[0].square().mean().detach()
    for _ in range(3):
        assert_close(step(x[0]), expected, "composite")
