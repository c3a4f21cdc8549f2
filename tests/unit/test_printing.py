"""The text of tensors. Expected texts are what PyTorch 2.13 prints for the same values."""

import numpy as np
import pytest

import numbatorch as nt


@pytest.fixture(autouse=True)
def _reference_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


NAN, INF = float("nan"), float("inf")

EXPECTED = [
    (1.5, "tensor(1.5000)"),
    (3, "tensor(3)"),
    (True, "tensor(True)"),
    ([1.0, 2.0], "tensor([1., 2.])"),
    ([1.0, 2.5], "tensor([1.0000, 2.5000])"),
    ([True, False], "tensor([ True, False])"),
    ([-1, 20], "tensor([-1, 20])"),
    ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
    ([1.0, 1001.0], "tensor([1.0000e+00, 1.0010e+03])"),
    ([1e9], "tensor([1.0000e+09])"),
    ([0.5, NAN, INF, -INF], "tensor([0.5000,    nan,    inf,   -inf])"),
    ([1.0, NAN], "tensor([1., nan])"),
    ([NAN, INF], "tensor([nan, inf])"),
    ([0.0, -0.0], "tensor([0., -0.])"),
    ([], "tensor([])"),
    ([[1, 2], [3, 4]], "tensor([[1, 2],\n        [3, 4]])"),
]


@pytest.mark.parametrize(("data", "text"), EXPECTED)
def test_text_of_values(data: object, text: str) -> None:
    assert repr(nt.tensor(data)) == str(nt.tensor(data)) == text


def test_long_tensors_are_summarized() -> None:
    assert repr(nt.arange(1001)) == "tensor([   0,    1,    2,  ...,  998,  999, 1000])"
    text = repr(nt.zeros(40, 30))
    assert text.count("\n") == 6 and text.count("...") == 7
    assert "        ...,\n" in text
    assert repr(nt.arange(1000)).count("\n") == 71


def test_lines_wrap_at_eighty_columns() -> None:
    text = repr(nt.arange(40).float())
    assert max(map(len, text.splitlines())) <= 80
    assert (
        text.splitlines()[1]
        == "        14., 15., 16., 17., 18., 19., 20., 21., 22., 23., 24., 25., 26., 27.,"
    )


def test_suffixes() -> None:
    assert repr(nt.zeros(0, 3)) == "tensor([], size=(0, 3))"
    assert repr(nt.zeros(0, dtype=nt.int64)) == "tensor([], dtype=numbatorch.int64)"
    assert repr(nt.ones(1, dtype=nt.float16)) == "tensor([1.], dtype=numbatorch.float16)"
    x = nt.ones(2, requires_grad=True)
    assert repr(x) == "tensor([1., 1.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 2.], grad_fn=<mul>)"
    assert repr(nt.ones(1, device="cpu")).endswith("device='cpu')")


def test_higher_ranks_are_separated_by_blank_lines() -> None:
    assert repr(nt.zeros(2, 1, 2)) == "tensor([[[0., 0.]],\n\n        [[0., 0.]]])"


def test_packed_weights_show_their_size() -> None:
    blocks = nt.from_blocks(np.zeros(68, np.uint8), nt.dtype.Q8_0, (2, 32))
    assert repr(blocks) == "tensor(<68 bytes in blocks>, size=(2, 32), dtype=numbatorch.Q8_0)"
