"""Recurrent layers: what they refuse, rows of several lengths, threads."""

import sys
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DTypeError, OutOfRange, ShapeError, nn
from numbatorch.nn.utils import rnn
from numbatorch.testing import assert_close


@pytest.fixture(autouse=True)
def _reference_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


@pytest.mark.parametrize(
    ("error", "text", "call"),
    [
        (ShapeError, "LSTM: input.shape\\[-1\\] must be 3", lambda m: m(nt.zeros(2, 2, 4))),
        (ShapeError, "must have 2 or 3 dimensions", lambda m: m(nt.zeros(3))),
        (ShapeError, "h must be \\(1, 2, 4\\)", lambda m: m(nt.zeros(5, 2, 3), pair(1, 3, 4))),
        (ShapeError, "h must be \\(1, 2, 4\\)", lambda m: m(nt.zeros(5, 2, 3), pair(1, 2, 5))),
        (ShapeError, "must have 3 dimensions", lambda m: m(nt.zeros(5, 2, 3), pair(1, 4))),
        (ShapeError, "must have 2 dimensions", lambda m: m(nt.zeros(5, 3), pair(1, 1, 4))),
        (TypeError, "hx must be a pair", lambda m: m(nt.zeros(5, 2, 3), nt.zeros(1, 2, 4))),
        (ShapeError, "one step at least", lambda m: m(nt.zeros(0, 2, 3))),
        (DTypeError, "not of the dtype", lambda m: m(nt.zeros(5, 2, 3, dtype=nt.float64))),
    ],
)
def test_inputs_and_states_that_do_not_fit(error: Any, text: str, call: Any) -> None:
    with pytest.raises(error, match=text):
        call(nn.LSTM(3, 4))


def pair(*shape: int) -> tuple[Any, Any]:
    return nt.zeros(*shape), nt.zeros(*shape)


@pytest.mark.parametrize(
    ("error", "text", "make"),
    [
        (ShapeError, "hidden_size is 0", lambda: nn.GRU(3, 0)),
        (ShapeError, "num_layers is 0", lambda: nn.GRU(3, 4, 0)),
        (TypeError, "input_size is 2.5", lambda: nn.GRU(2.5, 4)),  # type: ignore[arg-type]
        (TypeError, "bias is 1", lambda: nn.GRU(3, 4, bias=1)),  # type: ignore[arg-type]
        (OutOfRange, "dropout 1.5", lambda: nn.LSTM(3, 4, 2, dropout=1.5)),
        (ShapeError, "proj_size 4", lambda: nn.LSTM(3, 4, proj_size=4)),
        (ValueError, "nonlinearity is 'gelu'", lambda: nn.RNN(3, 4, nonlinearity="gelu")),  # type: ignore[arg-type]
        (ValueError, "nonlinearity is 'gelu'", lambda: nn.RNNCell(3, 4, nonlinearity="gelu")),  # type: ignore[arg-type]
        (TypeError, "proj_size", lambda: nn.GRU(3, 4, proj_size=2)),  # type: ignore[call-arg]
    ],
)
def test_options_that_have_no_meaning(error: Any, text: str, make: Any) -> None:
    with pytest.raises(error, match=text):
        make()


def test_dropout_of_one_layer_warns() -> None:
    with pytest.warns(UserWarning, match="dropout stands between layers"):
        nn.LSTM(3, 4, dropout=0.5)


@pytest.mark.parametrize(
    ("error", "text", "call"),
    [
        (ShapeError, "input must be \\(B, 3\\)", lambda m: m(nt.zeros(2, 4))),
        (ShapeError, "hx must be \\(2, 4\\)", lambda m: m(nt.zeros(2, 3), nt.zeros(3, 4))),
        (ShapeError, "hx must be \\(2, 4\\)", lambda m: m(nt.zeros(2, 3), nt.zeros(4))),
        (TypeError, "hx must be a tensor", lambda m: m(nt.zeros(2, 3), pair(2, 4))),
    ],
)
def test_cells_refuse_what_does_not_fit(error: Any, text: str, call: Any) -> None:
    with pytest.raises(error, match=text):
        call(nn.GRUCell(3, 4))


def test_functions_refuse_parameters_that_do_not_fit() -> None:
    x, h = nt.zeros(2, 2, 3), nt.zeros(1, 2, 4)
    rest = (False, 1, 0.0, False, False, False)
    with pytest.raises(ShapeError, match="rnn_tanh: w_ih is"):
        nt.rnn_tanh(x, h, [nt.zeros(4, 5), nt.zeros(4, 4)], *rest)
    with pytest.raises(ShapeError, match="have 2 params, not 3"):
        nt.rnn_tanh(x, h, [nt.zeros(4, 3)] * 3, *rest)
    with pytest.raises(DTypeError, match="one float dtype"):
        nt.rnn_tanh(x, h, [nt.zeros(4, 3), nt.zeros(4, 4, dtype=nt.float64)], *rest)
    with pytest.raises(ShapeError, match="biases are"):
        weights = [nt.zeros(4, 3), nt.zeros(4, 4), nt.zeros(4), nt.zeros(3)]
        nt.rnn_tanh(x, h, weights, True, *rest[1:])
    with pytest.raises(ShapeError, match="hx must be"):
        nt.lstm(x, (h,), [nt.zeros(16, 3), nt.zeros(16, 4)], *rest)


def test_batch_sizes_that_are_wrong_are_found_when_it_runs() -> None:
    weights = [nt.ones(1, 1), nt.ones(1, 1)]
    rest = (weights, False, 1, 0.0, False, False)
    for sizes, rows in (([1, 2], 3), ([2, 2], 3), ([3, 1], 4), ([2, 1, 0], 3)):
        out = nt.rnn_tanh(nt.zeros(rows, 1), nt.tensor(sizes), nt.zeros(1, 2, 1), *rest)[0]
        with pytest.raises(OutOfRange, match="rnn_tanh: batch_sizes must begin with 2"):
            out.numpy()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_each_packed_row_is_what_it_is_alone(kind: Any, device: str) -> None:
    nt.manual_seed(0)
    layer = kind(3, 5, 2, bidirectional=True, device=device)
    rows = [nt.randn(length, 3, device=device) for length in (2, 6, 1, 6, 3)]
    packed, last = layer(rnn.pack_sequence(rows, enforce_sorted=False))
    last = last[0] if isinstance(last, tuple) else last
    for number, (row, out) in enumerate(zip(rows, rnn.unpack_sequence(packed), strict=True)):
        alone, state = layer(row)
        state = state[0] if isinstance(state, tuple) else state
        assert_close(out, alone, "composite")
        assert_close(last[:, number], state, "composite")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_what_is_behind_the_end_of_a_row_does_not_matter(kind: Any) -> None:
    layer = kind(3, 5, bidirectional=True)
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    found = []
    for value in (0.0, np.nan):
        x[2:, 1] = value
        leaf = nt.from_numpy(x.copy()).requires_grad_()
        out, _ = layer(rnn.pack_padded_sequence(leaf, [4, 2]))
        out.data.square().sum().backward()
        assert leaf.grad is not None
        found.append((out.data, leaf.grad))
    for ours, other in zip(*found, strict=True):
        assert_close(ours, other, "exact")
    assert not found[0][1][2:, 1].any().item()


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("lengths must be 2 numbers", lambda x: rnn.pack_padded_sequence(x, [3])),
        ("from 1 to 3", lambda x: rnn.pack_padded_sequence(x, [3, 0])),
        ("from 1 to 3", lambda x: rnn.pack_padded_sequence(x, [4, 1])),
        ("do not descend", lambda x: rnn.pack_padded_sequence(x, [1, 3])),
        ("two dimensions", lambda x: rnn.pack_padded_sequence(x[0, 0], [1])),
        ("total_length 2", lambda x: rnn.pad_packed_sequence(packed(x), total_length=2)),
        ("differ in L alone", lambda x: rnn.pad_sequence([x, x[:, 0]])),
        ("differ in L alone", lambda x: rnn.pad_sequence([])),
        ("from 0 to 3", lambda x: rnn.unpad_sequence(x, [4, 1])),
        ("batch_sizes must be", lambda x: rnn.PackedSequence(x, nt.zeros(2, 2))),
    ],
)
def test_sequences_that_do_not_fit(text: str, call: Any) -> None:
    with pytest.raises(ShapeError, match=text):
        call(nt.zeros(3, 2, 4))


def packed(x: Any) -> Any:
    return rnn.pack_padded_sequence(x, [3, 2])


def test_half_types_compute_in_float32() -> None:
    """Beside the same layer in float64 the error is that of rounded states, not of sums."""
    nt.manual_seed(0)
    layer = nn.GRU(3, 4, dtype=nt.float16)
    x = nt.randn(5, 2, 3).half()
    exact = nn.GRU(3, 4, dtype=nt.float64)
    exact.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    found, expected = layer(x)[0], exact(x.double())[0]
    assert found.dtype is nt.float16
    assert (found.double() - expected).abs().max().item() < 2e-3


def test_a_layer_is_read_again_and_copied() -> None:
    layer = nn.LSTM(3, 4, 2, bidirectional=True)
    layer.flatten_parameters()
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    names = [name for name, _ in layer.named_parameters()]
    assert names[4:8] == [f"{kind}_l0_reverse" for kind in kinds]
    assert layer.all_weights[1][0] is layer.weight_ih_l0_reverse
    assert len(layer.all_weights) == 4
    moved = layer.to(nt.float64)
    assert moved(nt.zeros(2, 1, 3, dtype=nt.float64))[0].dtype is nt.float64


@pytest.mark.parametrize("function", ["pad_packed_sequence", "pad_sequence"])
def test_a_padding_value_is_one_of_the_dtype_or_an_error(function: str) -> None:
    def padded(value: Any, dtype: Any) -> nt.Tensor:
        rows = [nt.ones(2, dtype=dtype), nt.ones(1, dtype=dtype)]
        if function == "pad_sequence":
            return rnn.pad_sequence(rows, True, value)
        return rnn.pad_packed_sequence(rnn.pack_sequence(rows), True, value)[0]

    for dtype in (nt.int64, nt.uint8):
        with pytest.raises(DTypeError, match=rf"^{function}: 0.5 is no value of {dtype.name}"):
            padded(0.5, dtype)
    with pytest.raises(OutOfRange, match=f"^{function}: 300 does not fit uint8"):
        padded(300, nt.uint8)
    with pytest.raises(TypeError, match=f"^{function}: padding_value is 1j, not float"):
        padded(1j, nt.float32)
    for value, dtype in ((0.5, nt.complex64), (2.0, nt.int64), (True, nt.bool_)):
        found = padded(value, dtype)
        assert found.dtype is dtype and found[1, 1].item() == value


def test_lengths_that_are_not_whole_are_an_error() -> None:
    x = nt.zeros(3, 2)
    for lengths in ([2.5, 1.0], nt.tensor([2.0, 1.0])):
        with pytest.raises(DTypeError, match=r"^pack_padded_sequence: lengths must be whole"):
            rnn.pack_padded_sequence(x, lengths)  # type: ignore[arg-type]
        with pytest.raises(DTypeError, match=r"^unpad_sequence: lengths must be whole"):
            rnn.unpad_sequence(x, lengths)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_first", [False, True])
def test_python_does_not_go_over_the_steps_of_sequences(batch_first: bool) -> None:
    def calls(steps: int) -> int:
        x = nt.zeros(8, steps) if batch_first else nt.zeros(steps, 8)
        lengths = [steps - b for b in range(8)]
        found = 0

        def count(*_event: Any) -> None:
            nonlocal found
            found += 1

        sys.setprofile(count)
        try:
            packed = rnn.pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
            rnn.pad_packed_sequence(packed, batch_first)
        finally:
            sys.setprofile(None)
        return found

    calls(10)
    assert calls(1000) < 1.2 * calls(10)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_packed_sequence_is_an_argument_of_a_compiled_function(
    kind: Any, given: bool, ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "cpu")  # the reference device reads while it traces
    layer = kind(3, 4, bidirectional=True)
    run = nt.compile(lambda packed, hx: layer(packed, hx))
    state = nt.randn(2, 3, 4)
    hx = ((state, state.cos()) if kind is nn.LSTM else state) if given else None
    for lengths in ((5, 4, 2), (4, 4, 4), (5, 4, 2)) if ordered else ((2, 5, 4), (4, 5, 2)):
        rows = [nt.randn(length, 3) for length in lengths]
        packed = rnn.pack_sequence(rows, enforce_sorted=ordered)
        if ordered and not given:
            with pytest.raises(RuntimeError, match="a value is read while its function is traced"):
                run(packed, hx)
            continue
        (out, last), (expected, expected_last) = run(packed, hx), layer(packed, hx)
        assert_close(out.data.detach(), expected.data.detach(), "composite")
        for ours, theirs in zip(
            last if kind is nn.LSTM else [last],
            expected_last if kind is nn.LSTM else [expected_last],
            strict=True,
        ):
            assert_close(ours.detach(), theirs.detach(), "composite")


def test_states_of_more_rows_than_a_packed_sequence_has_are_an_error() -> None:
    rows = [nt.zeros(2, 3), nt.zeros(4, 3)]
    for size in (1, 3):
        with pytest.raises(ShapeError, match="h must be \\(1, 2, 4\\)"):
            nn.GRU(3, 4)(rnn.pack_sequence(rows, enforce_sorted=False), nt.zeros(1, size, 4))
        out, _ = nn.GRU(3, 4)(rnn.pack_sequence(rows[::-1]), nt.zeros(1, size, 4))
        with pytest.raises(OutOfRange, match="batch_sizes must begin with"):
            out.data.detach().numpy()
