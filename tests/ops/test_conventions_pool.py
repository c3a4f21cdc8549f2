"""Corner cases of pooling, interpolation and what is beside them, as PyTorch has them."""

import math

import pytest

import numbatorch as nt
from numbatorch.errors import DTypeError, ShapeError

F = nt.nn.functional


@pytest.fixture(autouse=True)
def _default_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", device)


def test_largest_of_a_window_is_the_first_of_equals_and_the_last_nan() -> None:
    x = nt.tensor([[[2.0, 2.0, 1.0, math.nan], [2.0, 0.0, math.nan, math.inf]]])
    values, indices = F.max_pool2d(x, 2, return_indices=True)
    assert indices.tolist() == [[[0, 6]]]
    assert values[0, 0, 0].item() == 2.0 and math.isnan(values[0, 0, 1].item())
    lowest = F.max_pool1d(nt.full((1, 1, 2), -math.inf), 2, return_indices=True)
    assert [part.tolist() for part in lowest] == [[[[-math.inf]]], [[[0]]]]


def test_padding_is_no_element_of_a_largest_and_a_zero_of_a_mean() -> None:
    x = nt.tensor([[[-3.0, -1.0, -2.0]]])
    assert F.max_pool1d(x, 2, 2, 1).tolist() == [[[-3.0, -1.0]]]
    assert F.avg_pool1d(x, 2, 2, 1).tolist() == [[[-1.5, -1.5]]]
    assert F.avg_pool1d(x, 2, 2, 1, count_include_pad=False).tolist() == [[[-3.0, -1.5]]]
    assert F.avg_pool1d(x, 2, 2, 0, True).tolist() == [[[-2.0, -2.0]]]  # one element in the last
    inf = nt.tensor([[[math.inf, 1.0, 2.0, 3.0]]])
    assert F.adaptive_avg_pool1d(inf, 3).tolist() == [[[math.inf, 1.5, 2.5]]]


def test_means_of_integers_are_truncated_and_divisors_are_exact() -> None:
    x = nt.tensor([[-7, 2, 4, 5]])
    assert F.avg_pool1d(x, 2).tolist() == [[-2, 4]]
    for count in (3, 7, 41):
        assert F.avg_pool1d(nt.ones(1, 1, count), count).item() == 1.0
        assert F.adaptive_avg_pool2d(nt.ones(1, count, 3), (2, 2)).tolist() == [[[1.0] * 2] * 2]


def test_pooling_of_no_images_has_gradients() -> None:
    for pool in (F.max_pool2d, F.avg_pool2d, F.adaptive_max_pool2d, F.adaptive_avg_pool2d):
        x = nt.zeros(0, 3, 4, 4, requires_grad=True)
        out = pool(x, 2)
        out.sum().backward()
        assert out.shape == (0, 3, 2, 2) and x.grad is not None and x.grad.shape == x.shape


def test_pooling_has_second_derivatives() -> None:
    x = nt.tensor([[1.0, 3.0, 2.0, 5.0]], requires_grad=True)
    pooled = F.max_pool1d(x, 2) + F.avg_pool1d(x, 2)
    (pooled**3).sum().backward(create_graph=True)
    first, x.grad = x.grad, None
    first.sum().backward()
    assert first.tolist() == [[37.5, 112.5, 108.375, 325.125]]
    assert x.grad.tolist() == [[30.0, 90.0, 51.0, 153.0]]


def test_pooling_refuses_what_has_no_meaning() -> None:
    x = nt.ones(1, 1, 4)
    for call in (
        lambda: F.max_pool1d(x, 0),
        lambda: F.max_pool1d(x, 2, 0),
        lambda: F.max_pool1d(x, 2, 2, 2),
        lambda: F.max_pool1d(x, 5),
        lambda: F.max_pool1d(nt.ones(4), 2),
        lambda: F.avg_pool1d(nt.ones(2, 0, 4), 2),
        lambda: F.avg_pool1d(x, (2, 2)),
        lambda: F.adaptive_avg_pool1d(x, -1),
    ):
        with pytest.raises(ShapeError):
            call()
    with pytest.raises(DTypeError, match="int32"):
        F.avg_pool1d(x.int(), 2)
    with pytest.raises(IndexError, match="divisor_override"):
        F.avg_pool2d(nt.ones(1, 4, 4), 2, divisor_override=0)


def test_interpolation_meets_pixels_and_edges() -> None:
    x = nt.tensor([[[1.0, math.inf, 5.0]]])
    kept = F.interpolate(x, 5, mode="linear", align_corners=True)
    assert kept.tolist() == [[[1.0, math.inf, math.inf, math.inf, 5.0]]]
    assert F.interpolate(x, scale_factor=1.2, mode="linear").tolist() == x.tolist()
    assert F.interpolate(x, 2).tolist() == [[[1.0, math.inf]]]
    assert F.interpolate(x, 2, mode="nearest-exact").tolist() == [[[1.0, 5.0]]]
    assert F.interpolate(x, 1, mode="linear", align_corners=True).tolist() == [[[1.0]]]
    one = F.interpolate(nt.ones(1, 1, 1, 1), (3, 2), mode="bicubic")
    assert one.tolist() == [[[[1.0, 1.0]] * 3]]


def test_interpolated_bytes_are_those_of_pillow() -> None:
    x = nt.tensor([[[[0, 255], [10, 3]]]], dtype=nt.uint8)
    out = F.interpolate(x, (3, 3), mode="bilinear")
    assert out.dtype is nt.uint8 and out.tolist() == [[[[0, 128, 255], [5, 68, 129], [10, 7, 3]]]]
    smoothed = F.interpolate(x, (1, 1), mode="bicubic", antialias=True)
    assert smoothed.tolist() == [[[[68]]]]


def test_interpolation_refuses_what_has_no_meaning() -> None:
    x = nt.ones(1, 1, 4)
    for options in (
        {},
        {"size": 2, "scale_factor": 2.0},
        {"size": (2, 2)},
        {"size": 0},
        {"size": 2, "align_corners": True},
        {"size": 2, "mode": "bilinear"},
        {"size": 2, "antialias": True},
        {"size": 2, "recompute_scale_factor": True},
    ):
        with pytest.raises(ShapeError):
            F.interpolate(x, **options)
    with pytest.raises(ValueError, match="nearest-exact"):
        F.interpolate(x, 2, mode="cubic")
    with pytest.raises(DTypeError):
        F.interpolate(x.long(), 2)


def test_running_statistics_move_and_are_those_of_a_sample() -> None:
    x = nt.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=nt.float16, requires_grad=True)
    mean, var = nt.zeros(2), nt.ones(2)
    out = F.batch_norm(x, mean, var, training=True, momentum=0.5)
    assert out.dtype is nt.float16 and out.tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert mean.tolist() == [1.0, 2.0] and var.tolist() == [1.5, 4.5]
    assert not mean.requires_grad
    F.batch_norm(x, mean, var)
    assert mean.tolist() == [1.0, 2.0]
    y = nt.tensor([[[1.0, 3.0]], [[5.0, 9.0]]])
    mean, var = nt.zeros(1), nt.zeros(1)
    F.instance_norm(y, mean, var, momentum=1.0)
    assert mean.tolist() == [4.5] and var.tolist() == [5.0]


def test_norms_refuse_what_has_no_meaning() -> None:
    one = nt.ones(1, 3, 1)
    for call in (
        lambda: F.batch_norm(one, None, None, training=True),
        lambda: F.batch_norm(nt.ones(2, 3), None, None),
        lambda: F.batch_norm(nt.ones(2, 3), nt.ones(2), nt.ones(3), training=True),
        lambda: F.instance_norm(nt.ones(2, 3)),
        lambda: F.instance_norm(one),
        lambda: F.group_norm(nt.ones(2, 3, 4), 2),
        lambda: F.group_norm(nt.ones(2, 4, 4), 2, nt.ones(2)),
        lambda: F.group_norm(nt.ones(1, 2, 1), 2),
        lambda: F.local_response_norm(nt.ones(2, 2), 2),
    ):
        with pytest.raises(ShapeError):
            call()
    with pytest.raises(DTypeError):
        F.batch_norm(nt.ones(2, 3, dtype=nt.int64), None, None, training=True)
    assert F.layer_norm(nt.tensor([0.3, 0.7]).reshape(2, 1), (1,)).tolist() == [[0.0], [0.0]]


def test_places_on_pixels_and_beyond_edges() -> None:
    x = nt.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    theta = nt.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], requires_grad=True)
    out = F.grid_sample(x, F.affine_grid(theta, (1, 1, 2, 2), True), align_corners=True)
    assert out.tolist() == x.tolist()
    out.sum().backward()
    assert x.grad.tolist() == [[[[1.0, 1.0], [1.0, 1.0]]]]
    far = nt.tensor([[[[2.0, 0.0], [math.nan, 0.0], [1e30, -1e30]]]])
    assert F.grid_sample(x, far).tolist() == [[[[0.0, 0.0, 0.0]]]]
    assert F.grid_sample(x, far[:, :, :1], padding_mode="border").tolist() == [[[[3.0]]]]
    assert F.grid_sample(x, far[:, :, :1], padding_mode="reflection").tolist() == [[[[2.5]]]]
    with pytest.raises(DTypeError):
        F.grid_sample(x, far.half())
    with pytest.raises(ShapeError):
        F.grid_sample(x, nt.zeros(1, 1, 1, 3))


def test_unpooling_puts_back_and_refuses_what_lies_outside() -> None:
    x = nt.tensor([[[5.0, 6.0]]], requires_grad=True)
    out = F.max_unpool1d(x, nt.tensor([[[1, 1]]]), 2)
    assert out.tolist() == [[[0.0, 6.0, 0.0, 0.0]]]  # the last of equal places
    (out * nt.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [[[2.0, 2.0]]]
    assert F.max_unpool1d(x, nt.tensor([[[1, 4]]]), 2, output_size=(5,)).shape == (1, 1, 5)
    with pytest.raises(IndexError):
        F.max_unpool1d(x, nt.tensor([[[1, 4]]]), 2).tolist()
    with pytest.raises(ShapeError):
        F.max_unpool1d(x, nt.tensor([[[1, 2]]]), 2, output_size=6)


def test_dropout_leaves_out_what_it_says() -> None:
    nt.manual_seed(3)
    x = nt.ones(40, 50, 8)
    out = F.dropout(x, 0.25)
    assert set(out.unique().tolist()) == {0.0, nt.tensor(1 / 0.75).item()}
    assert abs((out == 0).float().mean().item() - 0.25) < 0.02
    channels = F.dropout1d(x, 0.5).sum(-1).unique().tolist()
    assert channels == [0.0, 16.0]
    normal = nt.randn(100_000)
    kept = F.alpha_dropout(normal, 0.3, training=True)
    assert abs(kept.mean().item()) < 0.02 and abs(kept.var().item() - 1) < 0.03
    least = F.feature_alpha_dropout(x, 0.5, training=True)
    assert len(least.unique().tolist()) == 2
    assert F.dropout(x, 0.5, False).tolist() == x.tolist()
    with pytest.raises(IndexError, match="probability"):
        F.dropout(x, 1.5)
    y = nt.ones(1000)
    F.dropout(y, 0.5, inplace=True)
    assert 0 < y.sum().item() < 2000


def test_scores_of_half_types_are_taken_in_float32() -> None:
    q = nt.full((1, 1, 2, 16), 200.0, dtype=nt.float16)  # scores of 640,000 before scaling
    mask = nt.tensor([[0.0, -1.0], [-math.inf, -math.inf]], dtype=nt.float16)
    value = nt.tensor([[[[1.0], [3.0]]]], dtype=nt.float16)
    out = F.scaled_dot_product_attention(q, q, value, mask)
    assert out.dtype is nt.float16
    assert out.flatten().tolist() == [pytest.approx(1.538, abs=1e-3), 0.0]
    with pytest.raises(DTypeError, match="mask"):
        F.scaled_dot_product_attention(q, q, value, mask.long())
