"""Corner cases of searching, counting, distinct elements and rows of tables."""

import math

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DTypeError, OutOfRange, ShapeError
from numbatorch.nn import functional as F

NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def _default_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", device)


def test_search_among_equal_numbers_nan_and_nothing() -> None:
    x = nt.tensor([1.0, 2.0, 2.0, INF])
    assert nt.searchsorted(x, nt.tensor([2.0, NAN, INF, -INF])).tolist() == [1, 4, 3, 0]
    assert nt.searchsorted(x, 2.0, right=True).item() == 3
    assert nt.searchsorted(nt.zeros(0), nt.tensor([1.0])).tolist() == [0]
    assert nt.searchsorted(nt.zeros(2, 0), nt.zeros(2, 3)).tolist() == [[0] * 3] * 2
    turned = nt.searchsorted(
        nt.tensor([3, 1, 2]), nt.tensor([2]), sorter=nt.tensor([1, 2, 0]), out_int32=True
    )
    assert turned.tolist() == [1] and turned.dtype is nt.int32
    assert nt.searchsorted(nt.tensor([1, 2]), 1.5).item() == 1
    with pytest.raises(DTypeError, match="has no order for bool"):
        nt.bucketize(nt.tensor([True]), x > 1)
    with pytest.raises(ValueError, match="side is left while right"):
        nt.searchsorted(x, x, right=True, side="left")


def test_counts_leave_out_nan_and_refuse_negatives() -> None:
    assert nt.histc(nt.tensor([NAN, -1.0, 0.0, 0.5, 1.0, 2.0]), 2, 0, 1).tolist() == [1, 2]
    assert nt.histc(nt.tensor([3.0, 3.0]), 3).tolist() == [0, 2, 0]
    assert nt.histc(nt.zeros(0), 2).tolist() == [0, 0]
    for value in (NAN, np.inf):
        with pytest.raises(OutOfRange, match="is no finite range"):
            nt.histc(nt.tensor([1.0, value]), 2).tolist()
    assert nt.bincount(nt.tensor([], dtype=nt.int64), minlength=2).tolist() == [0, 0]
    found = nt.bincount(nt.tensor([2, 0, 2]), nt.tensor([1.5, 2.0, 3.0]))
    assert found.tolist() == [2, 0, 4.5] and found.dtype is nt.float32
    with pytest.raises(ShapeError, match="there are no -1 integers"):
        nt.randperm(-1)
    with pytest.raises(OutOfRange, match="-1 is negative"):
        nt.bincount(nt.tensor([-1]))


def test_histograms_at_their_bounds() -> None:
    x = nt.tensor([NAN, -1.0, 0.0, 0.5, 1.0, 2.0])
    assert nt.histogram(x, nt.tensor([0.0, 0.5, 1.0])).hist.tolist() == [1, 2]
    assert nt.histogram(nt.full((2,), 3.0), 2).bin_edges.tolist() == [2.5, 3.0, 3.5]
    assert nt.histogram(nt.zeros(0), 2).bin_edges.tolist() == [0.0, 0.5, 1.0]
    assert nt.histogramdd(nt.ones(3, 2), [1, 2], range=[0, 1, 0, 1]).hist.tolist() == [[0, 3]]
    weight = nt.ones(6, requires_grad=True)
    hist = nt.histogram(x, 2, range=(0.0, 1.0), weight=weight).hist
    (hist * nt.tensor([2.0, 3.0])).sum().backward()
    assert weight.grad is not None and weight.grad.tolist() == [0, 0, 2, 3, 3, 0]
    for wrong in ((x, 0), (x, nt.tensor([1.0])), (x.long(), 2)):
        with pytest.raises((OutOfRange, ShapeError, DTypeError), match="histogram"):
            nt.histogram(*wrong)


def test_distinct_elements_have_each_nan_for_itself() -> None:
    x = nt.tensor([2.0, NAN, -0.0, 0.0, NAN, 2.0])
    found, inverse, counts = nt.unique(x, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(found.numpy(), np.float32([0, 2, NAN, NAN]))
    assert inverse.tolist() == [1, 2, 0, 0, 3, 1] and counts.tolist() == [2, 2, 1, 1]
    found, inverse, counts = nt.unique_consecutive(
        nt.tensor([[1, 1, 2], [3, 3, 3]]), return_inverse=True, return_counts=True, dim=1
    )
    assert found.tolist() == [[1, 2], [3, 3]]
    assert inverse.tolist() == [0, 0, 1] and counts.tolist() == [2, 1]
    assert nt.unique(nt.zeros(0)).shape == nt.unique_consecutive(nt.zeros(0)).shape == (0,)
    assert nt.nonzero_static(nt.tensor([[0, 5]]), size=2, fill_value=7).tolist() == [[0, 1], [7, 7]]


def test_rows_that_get_less_of_a_gradient() -> None:
    index = nt.tensor([2, 0, 2])
    weight = nt.tensor([[3.0, 4.0], [1.0, 1.0], [0.0, 2.0]]).requires_grad_()
    F.embedding(index, weight, padding_idx=-3, scale_grad_by_freq=True).sum().backward()
    assert weight.grad is not None and weight.grad.tolist() == [[0, 0], [0, 0], [1, 1]]


def test_rows_that_are_looked_up_are_cut_to_a_norm_in_place() -> None:
    index, weight = nt.tensor([2, 0, 2]), nt.tensor([[3.0, 4.0], [9.0, 1.0], [0.0, 2.0]])
    for find in (
        F.embedding,
        lambda *args, **given: F.embedding_bag(args[0][None], args[1], **given),
    ):
        table = weight.clone().requires_grad_()
        find(index, table, max_norm=1.0).sum().backward()
        cut = [[0.6, 0.8], [9, 1], [0, 1]]
        np.testing.assert_allclose(table.detach().numpy(), cut, rtol=1e-5)
        assert table.grad is not None and table.grad[1].tolist() == [0, 0]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_leave_out_padding_and_are_zero_if_empty(mode: str) -> None:
    weight = nt.tensor([[1.0, -2.0], [3.0, 5.0], [-4.0, -6.0]])
    index, offsets = nt.tensor([0, 2, 1, 2]), nt.tensor([0, 2, 2])
    found = F.embedding_bag(index, weight, offsets, mode=mode, padding_idx=1).tolist()
    last = [-4.0, -6.0]
    first = {"sum": [-3, -8], "mean": [-1.5, -4], "max": [1, -2]}[mode]
    assert found == [first, [0, 0], last]
    with pytest.raises(ShapeError, match="offsets"):
        F.embedding_bag(index, weight)
    for wrong in (index.shape[0] + 1, -1):
        with pytest.raises(nt.OutOfRange, match=f"embedding_bag: index {wrong} is out of range"):
            F.embedding_bag(index, weight, nt.tensor([0, wrong])).numpy()


def test_bags_hold_infinities_and_sums_that_their_dtype_does_not() -> None:
    rows = nt.tensor([[-INF, 60000.0], [-INF, 49984.0]], dtype=nt.float16)
    bag = nt.tensor([[0, 1]])
    assert F.embedding_bag(bag, rows, mode="max").tolist() == [[-INF, 60000.0]]
    assert F.embedding_bag(bag, rows, mode="mean").tolist() == [[-INF, 54976.0]]
    factors = nt.tensor([[2.0, -2.0]], dtype=nt.float16)
    found = F.embedding_bag(bag, rows, mode="sum", per_sample_weights=factors)
    assert found[0, 1].item() == 20032.0
