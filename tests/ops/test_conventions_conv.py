"""Corner cases of convolutions, unfold and fold, as PyTorch has them, but where it says so."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import DTypeError, ShapeError
from numbatorch.nn import functional as F


def ones(*shape: int, dtype: Any = np.float32) -> nt.Tensor:
    return nt.from_numpy(np.ones(shape, dtype))


def counted(*shape: int) -> nt.Tensor:
    return nt.from_numpy(np.arange(1, np.prod(shape) + 1, dtype=np.float64).reshape(shape))


def test_empty_batches_and_channels() -> None:
    assert F.conv2d(ones(0, 3, 5, 5), ones(2, 3, 3, 3), ones(2)).shape == (0, 2, 3, 3)
    assert F.conv_transpose2d(ones(0, 3, 4, 4), ones(3, 2, 3, 3)).shape == (0, 2, 6, 6)
    # No channel adds nothing to the bias; PyTorch gives as many channels as there were.
    assert F.conv1d(ones(1, 0, 4), ones(2, 0, 3), ones(2)).tolist() == [[[1.0, 1.0]] * 2]
    assert F.unfold(ones(0, 3, 4, 4), 2).shape == (0, 12, 9)
    assert F.fold(ones(0, 4, 9), (4, 4), 2).shape == (0, 1, 4, 4)


def test_same_padding_of_even_windows_is_longer_behind() -> None:
    found = F.conv1d(ones(1, 1, 4), counted(1, 1, 4).float(), padding="same")
    assert found.tolist() == [[[9.0, 10.0, 6.0, 3.0]]]
    apart = F.conv1d(ones(1, 1, 4), counted(1, 1, 4).float(), padding=[(1, 2)])
    assert apart.tolist() == found.tolist()


def test_half_types_are_summed_in_float32() -> None:
    x = ones(1, 1, 5000).half()
    assert F.conv1d(x, x).item() == 5000.0
    x = ones(1, 600, 3).bfloat16()
    assert F.conv_transpose1d(x, ones(600, 1, 1).bfloat16()).float().tolist() == [[[600.0] * 3]]
    x = ones(1, 400, 9).bfloat16()
    assert F.fold(x, (22, 22), 20).float().max().item() == 9.0


def test_integers_wrap_and_truths_are_any() -> None:
    x = ones(1, 1, 3, dtype=np.uint8) * 200
    assert F.conv1d(x, ones(1, 1, 2, dtype=np.uint8)).tolist() == [[[144, 144]]]
    found = F.fold(nt.tensor([[[True, True], [True, False]]]), (1, 3), (1, 2))
    assert found.tolist() == [[[[True, True, False]]]]


def test_numbers_that_are_none_spread_to_their_windows_only() -> None:
    x = nt.tensor([[[1.0, float("nan"), 2.0, 3.0, float("inf"), 1.0]]])
    found = F.conv1d(x, ones(1, 1, 2)).numpy()[0, 0]
    np.testing.assert_array_equal(found, [np.nan, np.nan, 5.0, np.inf, np.inf])


def test_second_derivatives() -> None:
    """Numbers of PyTorch: of the squared gradients of the sum of cubes."""
    x, w = counted(1, 2, 4) / 8, counted(2, 1, 3) / 4
    x.requires_grad_()
    w.requires_grad_()
    y = F.conv1d(x, w, stride=2, padding=1, groups=2)
    gx, gw = nt.autograd.grad((y**3).sum(), [x, w], create_graph=True)
    ((gx * gx).sum() + (gw * gw).sum()).backward()
    assert x.grad is not None
    assert w.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), X_SECOND, rtol=1e-12)
    np.testing.assert_allclose(w.grad.numpy(), W_SECOND, rtol=1e-12)


X_SECOND = [
    [
        [1.0557861328125, 5.291839599609375, 7.174072265625, 10.616912841796875],
        [4956.399682044983, 18432.484162330627, 15968.146187782288, 19049.268901348114],
    ]
]
W_SECOND = [
    [[4.060821533203125, 6.1958770751953125, 8.7528076171875]],
    [[11472.420229911804, 14673.291237831116, 17797.568029403687]],
]

REFUSED = {
    "are larger": lambda: F.conv2d(ones(1, 3, 2, 5), ones(2, 3, 3, 3)),
    "needs 4 dimensions": lambda: F.conv2d(nt.tensor(1.0), ones(2, 3, 3, 3)),
    "channels": lambda: F.conv2d(ones(1, 2, 4, 4), ones(2, 3, 3, 3)),
    "no multiple of 2 groups": lambda: F.conv2d(ones(1, 4, 5, 5), ones(3, 2, 3, 3), groups=2),
    "groups is 0": lambda: F.conv2d(ones(1, 4, 5, 5), ones(3, 4, 3, 3), groups=0),
    "stride is 0": lambda: F.conv2d(ones(1, 4, 5, 5), ones(3, 4, 3, 3), stride=0),
    "padding is -1": lambda: F.conv2d(ones(1, 4, 5, 5), ones(3, 4, 3, 3), padding=-1),
    "dilation is 0": lambda: F.conv2d(ones(1, 4, 5, 5), ones(3, 4, 3, 3), dilation=0),
    "with stride": lambda: F.conv1d(ones(1, 1, 5), ones(1, 1, 3), padding="same", stride=2),
    "the bias must be": lambda: F.conv1d(ones(1, 1, 5), ones(2, 1, 3), ones(3)),
    "leaves images of": lambda: F.conv_transpose1d(ones(1, 3, 1), ones(3, 2, 3), padding=2),
    "must be smaller": lambda: F.conv_transpose1d(ones(1, 1, 2), ones(1, 1, 3), output_padding=1),
    "only N may be 0": lambda: F.unfold(ones(2, 0, 4, 4), 2),
    "windows of": lambda: F.unfold(ones(2, 1, 4, 4), 5),
    "has 3 x 3 windows": lambda: F.fold(ones(2, 4, 4), (4, 4), 2),
    "C \\* 4, windows": lambda: F.fold(ones(2, 5, 9), (4, 4), 2),
}


@pytest.mark.parametrize("problem", REFUSED)
def test_refuses_what_does_not_fit(problem: str) -> None:
    with pytest.raises(ShapeError, match=problem):
        REFUSED[problem]()


def test_refuses_dtypes_that_differ_or_mean_nothing() -> None:
    with pytest.raises(DTypeError, match="one dtype of numbers"):
        F.conv1d(ones(1, 1, 5), ones(1, 1, 3, dtype=np.float64))
    with pytest.raises(DTypeError, match="one dtype of numbers"):
        F.conv1d(ones(1, 1, 5, dtype=np.bool_), ones(1, 1, 3, dtype=np.bool_))
    with pytest.raises(ValueError, match="'same', 'valid' or numbers"):
        F.conv1d(ones(1, 1, 5), ones(1, 1, 3), padding="full")
