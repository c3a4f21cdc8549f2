"""Wrong input of layers and networks: what is wrong is told with its numbers, at the call."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DeviceError, DTypeError, OutOfRange, ShapeError, nn
from numbatorch.testing import assert_close


@pytest.fixture(autouse=True)
def _reference_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


Make = Callable[[], Any]

# Layers, the shape of an input and the numbers of dimensions that they take.
LAYERS: dict[str, tuple[Make, tuple[int, ...], tuple[int, ...]]] = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), (2, 4, 8), (2, 3)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3), (2, 4, 8, 8), (3, 4)),
    "conv3d": (lambda: nn.Conv3d(4, 6, 3), (2, 4, 5, 5, 5), (4, 5)),
    "transposed1d": (lambda: nn.ConvTranspose1d(4, 6, 3), (2, 4, 8), (2, 3)),
    "transposed2d": (lambda: nn.ConvTranspose2d(4, 6, 3), (2, 4, 8, 8), (3, 4)),
    "transposed3d": (lambda: nn.ConvTranspose3d(4, 6, 3), (2, 4, 3, 3, 3), (4, 5)),
    "batch_norm1d": (lambda: nn.BatchNorm1d(4), (2, 4, 3), (2, 3)),
    "batch_norm2d": (lambda: nn.BatchNorm2d(4), (2, 4, 3, 3), (4,)),
    "batch_norm3d": (lambda: nn.BatchNorm3d(4), (2, 4, 3, 3, 3), (5,)),
    "instance_norm1d": (lambda: nn.InstanceNorm1d(4), (2, 4, 3), (2, 3)),
    "instance_norm2d": (lambda: nn.InstanceNorm2d(4), (2, 4, 3, 3), (3, 4)),
    "instance_norm3d": (lambda: nn.InstanceNorm3d(4), (2, 4, 3, 3, 3), (4, 5)),
    "group_norm": (lambda: nn.GroupNorm(2, 4), (2, 4, 3), (2, 3, 4, 5)),
    "response_norm": (lambda: nn.LocalResponseNorm(2), (2, 4, 3), (3, 4, 5)),
    "max_pool1d": (lambda: nn.MaxPool1d(2), (2, 4, 8), (2, 3)),
    "max_pool2d": (lambda: nn.MaxPool2d(2), (2, 4, 8, 8), (3, 4)),
    "max_pool3d": (lambda: nn.MaxPool3d(2), (2, 4, 4, 4, 4), (4, 5)),
    "avg_pool1d": (lambda: nn.AvgPool1d(2), (2, 4, 8), (2, 3)),
    "avg_pool2d": (lambda: nn.AvgPool2d(2), (2, 4, 8, 8), (3, 4)),
    "avg_pool3d": (lambda: nn.AvgPool3d(2), (2, 4, 4, 4, 4), (4, 5)),
    "adaptive_avg_pool2d": (lambda: nn.AdaptiveAvgPool2d(2), (2, 4, 8, 8), (3, 4)),
    "adaptive_max_pool1d": (lambda: nn.AdaptiveMaxPool1d(2), (2, 4, 8), (2, 3)),
    "lp_pool2d": (lambda: nn.LPPool2d(2, 2), (2, 4, 8, 8), (3, 4)),
    "reflection_pad1d": (lambda: nn.ReflectionPad1d(1), (2, 4, 8), (2, 3)),
    "reflection_pad2d": (lambda: nn.ReflectionPad2d(1), (2, 4, 8, 8), (3, 4)),
    "replication_pad2d": (lambda: nn.ReplicationPad2d(1), (2, 4, 8, 8), (3, 4)),
    "circular_pad2d": (lambda: nn.CircularPad2d(1), (2, 4, 8, 8), (3, 4)),
    "fold": (lambda: nn.Fold((4, 4), (2, 2)), (2, 4, 9), (2, 3)),
    "unfold": (lambda: nn.Unfold((2, 2)), (2, 4, 8, 8), (3, 4)),
    "upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (2, 4, 8, 8), (4,)),
    "softmax2d": (lambda: nn.Softmax2d(), (2, 4, 8, 8), (3, 4)),
    "lstm": (lambda: nn.LSTM(4, 3), (5, 2, 4), (2, 3)),
    "gru_cell": (lambda: nn.GRUCell(4, 3), (2, 4), (1, 2)),
    "encoder_layer": (lambda: nn.TransformerEncoderLayer(4, 2, 8), (5, 2, 4), (2, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_number_of_dimensions_is_told(name: str) -> None:
    make, shape, ranks = LAYERS[name]
    layer = make()
    layer(nt.ones(*shape))
    for rank in set(range(6)) - set(ranks):
        wrong = ((1,) * 6 + shape)[-rank:] if rank else ()
        with pytest.raises(ShapeError) as caught:
            layer(nt.ones(*wrong))
        assert str(wrong) in str(caught.value)


# A layer, a shape that does not fit and the numbers that have to be told.
MISFITS: dict[str, tuple[Make, tuple[int, ...], tuple[str, ...]]] = {
    "linear": (lambda: nn.Linear(4, 3), (2, 5), ("(2, 5)", "(3, 4)")),
    "linear of a number": (lambda: nn.Linear(4, 3), (), ("input ()", "(3, 4)")),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), (2, 5, 8), ("(2, 5, 8)", "5 channels", "4")),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3), (2, 4, 2, 8), ("(2, 4, 2, 8)", "(6, 4, 3, 3)")),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3), (2, 5, 8, 8), ("(2, 5, 8, 8)", "4")),
    "grouped": (lambda: nn.Conv1d(4, 6, 3, groups=2), (2, 2, 8), ("(2, 2, 8)", "(6, 2, 3)")),
    "batch norm": (lambda: nn.BatchNorm2d(4), (2, 5, 3, 3), ("(2, 5, 3, 3)", "num_features 4")),
    "layer norm": (lambda: nn.LayerNorm((3, 4)), (3, 5), ("(3, 5)", "(3, 4)")),
    "rms norm": (lambda: nn.RMSNorm(4), (3, 5), ("(3, 5)", "(4,)")),
    "group norm": (lambda: nn.GroupNorm(2, 4), (2, 6, 3), ("(2, 6, 3)", "4")),
    "prelu": (lambda: nn.PReLU(3), (2, 4), ("(2, 4)", "(3,)")),
    "shuffle": (lambda: nn.PixelShuffle(3), (1, 4, 2, 2), ("4 channels", "3 * 3")),
    "unflatten": (lambda: nn.Unflatten(1, (2, 3)), (1, 4), ("(4,)", "(2, 3)")),
    "max pool": (lambda: nn.MaxPool2d(5), (1, 1, 4, 4), ("window of 5", "(1, 1, 4, 4)")),
    "reflection": (lambda: nn.ReflectionPad1d(8), (1, 1, 8), ("8", "(1, 1, 8)")),
    "fold": (lambda: nn.Fold((4, 4), (2, 2)), (1, 4, 8), ("(1, 4, 8)", "3 x 3 windows")),
    "glu": (lambda: nn.GLU(), (2, 5), ("odd size 5",)),
    "lstm": (lambda: nn.LSTM(4, 3), (5, 2, 5), ("(5, 2, 5)", "4")),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 8), (5, 2, 6), ("(5, 2, 6)", "4")),
}


@pytest.mark.parametrize("name", MISFITS)
def test_shapes_that_do_not_fit_are_told(name: str) -> None:
    make, shape, told = MISFITS[name]
    with pytest.raises(ShapeError) as caught:
        make()(nt.ones(*shape))
    for text in told:
        assert text in str(caught.value)


def test_pairs_of_shapes_that_do_not_fit_are_told() -> None:
    cases: list[tuple[Make, list[tuple[int, ...]], str]] = [
        (lambda: nn.Bilinear(2, 3, 4), [(5, 2), (6, 3)], r"(?s)\(5, 2\).*\(6, 3\)"),
        (lambda: nn.MSELoss(), [(2, 3), (3, 2)], r"(?s)\(2, 3\).*\(3, 2\)"),
        (lambda: nn.BCEWithLogitsLoss(), [(2, 3), (2,)], r"(?s)\(2, 3\).*\(2,\)"),
        (lambda: nn.CrossEntropyLoss(), [(2, 3), (2, 4)], r"(?s)\(2, 3\).*\(2, 4\)"),
        (lambda: nn.MultiheadAttention(4, 2), [(2, 1, 4), (3, 1, 4), (2, 1, 4)],
         r"(?s)key and value.*\(3, 1, 4\).*\(2, 1, 4\)"),
    ]  # fmt: skip
    for make, shapes, told in cases:
        with pytest.raises(ShapeError, match=told):
            make()(*(nt.ones(*shape) for shape in shapes))
    with pytest.raises(ShapeError, match=r"(?s)h must be \(1, 2, 3\).*\(1, 3, 3\)"):
        nn.LSTM(4, 3)(nt.ones(5, 2, 4), (nt.ones(1, 3, 3), nt.ones(1, 3, 3)))
    with pytest.raises(ShapeError, match=r"attn_mask must be \(2, 3\) or \(2, 2, 3\)"):
        x, y = nt.ones(2, 1, 4), nt.ones(3, 1, 4)
        nn.MultiheadAttention(4, 2)(x, y, y, attn_mask=nt.ones(3, 3))


# Dtypes


def test_narrower_weights_are_widened_and_integers_refused() -> None:
    """PyTorch refuses both; widening loses nothing."""
    layer = nn.Linear(2, 2)
    x = nt.tensor([[1.0, 2.0]], dtype=nt.float64)
    weight, bias = layer.weight.double(), layer.bias.double()
    assert_close(layer(x), x @ weight.T + bias, "exact")
    for dtype in (nt.int64, nt.bool, nt.uint8):
        with pytest.raises(DTypeError) as caught:
            layer(nt.ones(1, 2, dtype=dtype))
        rows = (f"input (1, 2) {dtype.name}", "weight (2, 2) float32")
        assert all(row in str(caught.value) for row in rows)
    with pytest.raises(DTypeError, match="integers and floats"):
        nn.functional.linear(nt.ones(1, 2), nt.ones(2, 2, dtype=nt.int64))
    whole = nn.functional.linear(nt.tensor([[1, 2]]), nt.tensor([[3, 4]]))
    assert whole.dtype is nt.int64 and whole.tolist() == [[11]]


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d", "transposed2d"])
def test_convolutions_take_one_dtype(name: str) -> None:
    make, shape, _ = LAYERS[name]
    for dtype in (nt.float64, nt.float16, nt.int64, nt.bool):
        with pytest.raises(DTypeError, match=rf"(?s)one dtype.*{dtype.name}.*float32"):
            make()(nt.ones(*shape, dtype=dtype))


def test_norms_refuse_integers_and_tables_refuse_floats() -> None:
    for make, shape in ((lambda: nn.BatchNorm1d(4), (2, 4)), (lambda: nn.LayerNorm(4), (2, 4)),
                        (lambda: nn.GroupNorm(2, 4), (2, 4, 3))):  # fmt: skip
        with pytest.raises(DTypeError, match="int64"):
            make()(nt.ones(*shape, dtype=nt.int64))
    with pytest.raises(DTypeError, match="indices must be integers, not float32"):
        nn.Embedding(3, 2)(nt.ones(1))
    with pytest.raises(ShapeError, match="probabilities must have the shape of the logits"):
        nn.CrossEntropyLoss()(nt.zeros(2, 3), nt.ones(2))


def test_power_averages_of_integers_are_floats() -> None:
    pooled = nn.LPPool2d(2, 2)(nt.tensor([[[[1, 2], [3, 4]]]]))
    assert_close(pooled, np.float32([[[[np.sqrt(30)]]]]), "composite")


def test_numbers_out_of_range_are_told() -> None:
    for wrong in (3, -1):
        with pytest.raises(OutOfRange, match=rf"(?s)index {wrong} is out of range.*\[0, 3\)"):
            nn.Embedding(3, 2)(nt.tensor([wrong])).tolist()
        with pytest.raises(OutOfRange, match=rf"(?s)index {wrong} is out of range.*\[0, 3\)"):
            nn.CrossEntropyLoss()(nt.zeros(1, 3), nt.tensor([wrong])).item()
    assert nn.BCELoss()(nt.tensor([2.0]), nt.tensor([1.0])).isnan().item()  # no probability


# What is no tensor


@pytest.mark.parametrize("name", [*LAYERS, *MISFITS])
@pytest.mark.parametrize("wrong", [None, [1.0], 3.0, "text", np.ones((2, 2), np.float32)])
def test_what_is_no_tensor_is_refused(name: str, wrong: Any) -> None:
    layer = (LAYERS.get(name) or MISFITS[name])[0]()
    with pytest.raises(TypeError, match=r"[Tt]ensor"):
        layer(wrong)


def test_arguments_that_are_not_there_are_refused() -> None:
    with pytest.raises(TypeError, match="missing 1 required"):
        nn.Linear(2, 2)()
    with pytest.raises(TypeError, match="unexpected keyword argument 'dim'"):
        nn.ReLU()(nt.ones(1), dim=0)
    with pytest.raises(TypeError, match="2 positional arguments"):
        nn.Sequential(nn.ReLU())(nt.ones(1), nt.ones(1))


# Options

WRONG_OPTIONS: dict[str, tuple[Make, type[Exception], str]] = {
    "features": (lambda: nn.Linear(4.0, 3), TypeError, "in_features is 4.0, not an integer"),
    "text": (lambda: nn.Linear("4", 3), TypeError, "in_features is '4', not an integer"),
    "negative": (lambda: nn.Linear(4, -3), ShapeError, "out_features is -3, at least 0"),
    "bilinear": (lambda: nn.Bilinear(2, None, 3), TypeError, "in2_features is None"),
    "misspelled": (lambda: nn.Linear(4, 3, bais=True), TypeError, "'bais'"),
    "pool": (lambda: nn.AvgPool2d(2, count=1), TypeError, "'count'"),
    "loss": (lambda: nn.MSELoss(weight=1), TypeError, "'weight'"),
    "lstm": (lambda: nn.LSTM(4, 3, layers=2), TypeError, "'layers'"),
    "device": (lambda: nn.Linear(4, 3, device="nowhere"), DeviceError, "no device 'nowhere'"),
    "groups": (lambda: nn.Conv2d(4, 6, 3, groups=3), ValueError, "in_channels 4 .* groups 3"),
    "out": (lambda: nn.Conv2d(6, 4, 3, groups=3), ValueError, "out_channels 4 .* groups 3"),
    "no group": (lambda: nn.Conv2d(4, 6, 3, groups=0), ShapeError, "groups is 0, at least 1"),
    "channels": (lambda: nn.Conv2d(True, 6, 3), TypeError, "in_channels is True"),
    "kernel": (lambda: nn.Conv2d(4, 6, "3"), TypeError, "kernel_size is '3'"),
    "part": (lambda: nn.Conv2d(4, 6, 3.5), TypeError, "kernel_size is 3.5"),
    "three": (lambda: nn.Conv2d(4, 6, (3, 3, 3)), ValueError, "3 numbers for 2 dimensions"),
    "padding": (lambda: nn.Conv2d(4, 6, 3, padding=-1), ShapeError, "padding is -1, at least 0"),
    "name": (lambda: nn.Conv2d(4, 6, 3, padding="some"), ValueError, "'some'"),
    "same": (lambda: nn.Conv2d(4, 6, 3, 2, padding="same"), ValueError, "needs stride 1"),
    "mode": (lambda: nn.Conv2d(4, 6, 3, padding_mode="x"), ValueError, "padding_mode 'x'"),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, padding="same"), TypeError, "'same'"),
    "batch norm": (lambda: nn.BatchNorm1d(4.5), TypeError, "num_features is 4.5"),
    "group norm": (lambda: nn.GroupNorm(3, 4), ValueError, "num_channels 4 .* num_groups 3"),
    "no groups": (lambda: nn.GroupNorm(0, 4), ShapeError, "num_groups is 0, at least 1"),
    "layer norm": (lambda: nn.LayerNorm("x"), TypeError, "normalized_shape is 'x'"),
    "rms norm": (lambda: nn.RMSNorm(4.0), TypeError, "normalized_shape is 4.0"),
    "table": (lambda: nn.Embedding(-1, 3), ShapeError, "num_embeddings is -1, at least 0"),
    "row": (lambda: nn.Embedding(5, 3, padding_idx=5), OutOfRange, "padding_idx 5 .* 5"),
    "probability": (lambda: nn.Dropout(1.5), ValueError, "p=1.5"),
    "no number": (lambda: nn.Dropout("x"), TypeError, "p is 'x', not float"),
    "approximate": (lambda: nn.GELU("x"), ValueError, "'none' or 'tanh'"),
    "reduction": (lambda: nn.L1Loss(reduction="x"), ValueError, "'none' or 'mean' or 'sum'"),
    "hardtanh": (lambda: nn.Hardtanh(1, -1), ValueError, "max_val -1 .* min_val 1"),
    "hidden": (lambda: nn.LSTM(4, 0), ShapeError, "hidden_size is 0"),
    "projected": (lambda: nn.LSTM(4, 3, proj_size=3), ShapeError, "proj_size 3 .* hidden_size 3"),
    "heads": (lambda: nn.MultiheadAttention(5, 2), ShapeError, "embed_dim 5 .* num_heads 2"),
    "activation": (
        lambda: nn.TransformerEncoderLayer(4, 2, activation="x"), ValueError, "'relu', 'gelu'"
    ),
    "pads": (lambda: nn.ZeroPad2d((1, 2, 3)), ValueError, "4 numbers, not .1, 2, 3."),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_wrong_options_are_told_where_a_layer_is_made(name: str) -> None:
    make, error, told = WRONG_OPTIONS[name]
    with pytest.raises(error, match=told):
        make()


def test_sizes_may_be_numbers_of_numpy() -> None:
    layer = nn.Conv1d(np.int64(4), np.int32(6), np.int64(3), groups=np.int64(2))
    assert layer(nt.ones(1, 4, 5)).shape == (1, 6, 3)
    assert nn.Linear(np.int64(4), 2)(nt.ones(1, 4)).shape == (1, 2)
    assert nn.LayerNorm(np.int64(4))(nt.ones(1, 4)).shape == (1, 4)


# State dicts


def test_a_state_dict_with_every_fault_at_once() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))
    state = net.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    del state["1.running_var"], state["2.bias"]
    state["0.weight"] = nt.ones(2, 1, 5, 5)
    state["2.weight"] = nt.ones(3, 4, dtype=nt.float64)
    state["0.bias"] = [0.0, 0.0]
    state["3.weight"] = nt.ones(1)
    state["1.running_mean"] = nt.ones(2)
    with pytest.raises(nn.StateError) as caught:
        net.load_state_dict(state)
    for told in (
        "does not fit Sequential",
        "0.weight has another shape: module (2, 1, 3, 3) float32, given (2, 1, 5, 5) float32",
        "2.weight would lose digits",
        "module (3, 4) float32, given (3, 4) float64",
        "0.bias is of type list, not a tensor",
        "missing 1.running_var",
        "missing 2.bias",
        "unexpected 3.weight",
    ):
        assert told in str(caught.value)
    assert caught.value.missing_keys == ["1.running_var", "2.bias"]
    assert caught.value.unexpected_keys == ["3.weight"]
    for name, value in net.state_dict().items():
        assert_close(value, before[name], "exact", operator=name)


# Devices


@pytest.mark.parametrize("name", ["conv2d", "batch_norm2d", "lstm", "encoder_layer", "group_norm"])
def test_a_module_on_another_device_than_its_input_is_told(name: str) -> None:
    make, shape, _ = LAYERS[name]
    layer = make().to("cpu")
    with pytest.raises(DeviceError, match=r"(?s)numpy.*cpu|cpu.*numpy"):
        layer(nt.ones(*shape, device="numpy"))
    with pytest.raises(DeviceError, match=r"(?s)numpy.*cpu|cpu.*numpy"):
        nn.Linear(2, 2, device="cpu")(nt.ones(1, 2))


# Statistics


def test_nan_in_running_statistics_stays_in_its_channel() -> None:
    norm = nn.BatchNorm1d(3)
    norm.running_mean[0] = float("nan")
    norm.running_var[1] = float("nan")
    x = nt.tensor([[1.0, 2.0, 3.0], [3.0, 5.0, 7.0]])
    assert norm.eval()(x).isnan().tolist() == [[True, True, False]] * 2
    assert not norm.train()(x).isnan().any().item()  # by the batch's own
    assert norm.running_mean.isnan().tolist() == [True, False, False]
    assert norm.running_var.isnan().tolist() == [False, True, False]
    norm.reset_running_stats()
    assert not norm.eval()(x).isnan().any().item()


@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_changes_no_statistics_and_has_gradients_of_zero(
    training: bool, device: str
) -> None:
    norm = nn.BatchNorm2d(3, device=device).train(training)
    x = nt.ones(0, 3, 2, 2, device=device).requires_grad_()
    out = norm(x)
    assert out.shape == (0, 3, 2, 2)
    out.sum().backward()
    assert x.grad.shape == x.shape
    assert norm.weight.grad.tolist() == [0.0] * 3 and norm.bias.grad.tolist() == [0.0] * 3
    assert norm.running_mean.tolist() == [0.0] * 3 and norm.running_var.tolist() == [1.0] * 3
    assert norm.num_batches_tracked.item() == int(training)


def test_one_value_has_no_variance() -> None:
    with pytest.raises(ShapeError, match=r"(?s)more than one value.*\(1, 3\)"):
        nn.BatchNorm1d(3)(nt.ones(1, 3))
    assert nn.BatchNorm1d(3).eval()(nt.ones(1, 3)).shape == (1, 3)
    with pytest.raises(ShapeError, match=r"(?s)more than one value.*\(2, 3, 1\)"):
        nn.InstanceNorm1d(3)(nt.ones(2, 3, 1))
