"""Corner cases of products, linear algebra and Fourier transforms, as PyTorch answers them."""

import math
from typing import Any

import pytest

import numbatorch as nt
from numbatorch.errors import DTypeError, GradientError, OutOfRange, ShapeError
from numbatorch.tensor import Tensor

NAN, INF = math.nan, math.inf


def test_sums_of_a_product_leave_out_what_beta_says_is_nothing() -> None:
    x, none = nt.ones(2, 2), nt.full((2, 2), NAN)
    assert nt.addmm(none, x, x, beta=0).tolist() == [[2, 2], [2, 2]]
    assert nt.baddbmm(none, x[None], x[None], beta=0, alpha=2).tolist() == [[[4, 4], [4, 4]]]
    assert nt.addmm(nt.tensor(1.0), nt.ones(2, 0), nt.ones(0, 2)).tolist() == [[1, 1], [1, 1]]
    assert nt.addr(nt.tensor([[True]]), nt.tensor([False]), nt.tensor([True])).tolist() == [[True]]
    with pytest.raises(ShapeError, match="input does not expand to the product"):
        nt.addmm(nt.ones(3, 2), x, x)


def test_factors_of_integers_lose_their_fraction_as_in_torch_but_not_silently() -> None:
    x = nt.full((2, 2), 3)
    with pytest.warns(UserWarning, match=r"addmm: alpha is 2\.5, and counts as 2 for elements of"):
        assert nt.addmm(x, x, x, alpha=2.5).tolist() == [[39, 39], [39, 39]]
    with pytest.warns(UserWarning, match=r"baddbmm: beta is -0\.5, and counts as 0"):
        assert nt.baddbmm(x, x[None], x[None], beta=-0.5).tolist() == [[[18, 18], [18, 18]]]
    assert nt.addmv(x[0], x, x[0], alpha=2.0).tolist() == [39, 39]
    for alpha in (math.nan, math.inf, 1j):
        with pytest.raises(DTypeError, match=r"addmv: alpha is .* for elements of int64"):
            nt.addmv(x[0], x, x[0], alpha=alpha)


def test_half_types_are_rounded_once() -> None:
    x = nt.full((1, 512), 16.0).half()
    assert nt.addmm(nt.tensor([[-(2.0**17)]]).half(), x, x.T).isinf().item()  # the input already is
    assert nt.addmm(nt.tensor([[-60000.0]]).half(), x, x.T, alpha=0.5).item() == 5536.0
    y = nt.full((300,), 1.0).bfloat16()
    assert nt.linalg.vecdot(y, y).item() == 300.0


def test_einsum_of_labels_that_repeat_and_sizes_that_broadcast() -> None:
    x = nt.arange(9).reshape(3, 3)
    assert nt.einsum("ii->i", x).tolist() == [0, 4, 8]
    assert nt.einsum("ii", x).item() == 12
    assert nt.einsum("ij->", x).item() == 36
    assert nt.einsum("ba", x).tolist() == x.T.tolist()
    assert nt.einsum("...j,j", x, nt.tensor([1, 0, 0])).tolist() == [0, 3, 6]
    assert nt.einsum("ij,jk->ik", x, nt.ones(1, 2).long()).tolist() == [[3, 3], [12, 12], [21, 21]]
    assert nt.einsum(x, [0, 1], x, [1, 0]).item() == nt.trace(x @ x).item()
    for equation, message in (
        ("ij,jk", "has 2 operands, not 1"),
        ("i", "does not name 2 dimensions"),
        ("ij->ii", "occurs twice in the result"),
        ("ij->k", "is in no operand"),
        ("i1->i", "is not made of letters"),
    ):
        with pytest.raises(ShapeError, match=message):
            nt.einsum(equation, x)


def test_distances_of_no_elements_and_their_gradients_at_zero() -> None:
    apart = nt.tensor([0.0, 1.0]), nt.tensor([0.0, 3.0])
    assert nt.nn.functional.pairwise_distance(*apart, -1.0, eps=0.0).item() == 0.0
    assert nt.cdist(nt.ones(2, 0), nt.ones(3, 0)).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert nt.pdist(nt.ones(1, 4)).tolist() == []
    for p in (0.0, 0.5, 1.0, 2.0, 3.0):
        x = nt.ones(2, 3, requires_grad=True)
        nt.cdist(x, x.detach(), p).sum().backward()
        assert x.grad is not None and x.grad.tolist() == [[0, 0, 0]] * 2, p
    assert nt.cosine_similarity(nt.zeros(2), nt.ones(2), 0).item() == 0
    assert nt.cdist(nt.tensor([[1.0]]), nt.tensor([[INF], [NAN]])).isnan().tolist() == [
        [False, True]
    ]


def test_singular_matrices() -> None:
    none = nt.zeros(2, 2)
    with pytest.raises(nt.LinAlgError):
        nt.linalg.inv(none).realize()
    with pytest.raises(nt.LinAlgError):
        nt.linalg.cholesky(-nt.eye(2)).realize()
    assert nt.linalg.inv_ex(none).info.item() == 1
    assert nt.linalg.det(none).item() == 0
    assert [part.item() for part in nt.linalg.slogdet(none)] == [0, -INF]
    assert nt.linalg.lu_factor_ex(none).info.item() == 1
    assert (
        nt.linalg.solve_triangular(none, nt.ones(2, 1), upper=True).isfinite().any().item() is False
    )
    assert nt.linalg.matrix_rank(none).item() == 0
    assert nt.linalg.cond(none, "fro").item() == INF
    assert nt.logdet(-nt.eye(1)).isnan().item()
    assert nt.linalg.matrix_power(none, 0).tolist() == [[1, 0], [0, 1]]
    for function in (nt.geqrf,):
        with pytest.raises(GradientError, match="geqrf: has no gradient"):
            function(nt.ones(2, 2, requires_grad=True))


@pytest.mark.parametrize("dtype", [nt.float16, nt.bfloat16, nt.int64, nt.bool])
def test_decompositions_of_other_dtypes_are_refused(dtype: Any) -> None:
    x = nt.eye(2).to(dtype)
    linalg = nt.linalg
    for function in (linalg.inv, linalg.eig, linalg.svdvals, linalg.cholesky, linalg.det, nt.qr):
        with pytest.raises(DTypeError, match="takes float32 or float64, real or complex"):
            function(x)


def test_norms_of_nothing_and_of_orders_that_are_none() -> None:
    none = nt.zeros(0, 3)
    assert nt.linalg.matrix_norm(none).item() == 0
    assert nt.linalg.matrix_norm(none, 2).item() == 0
    with pytest.raises(ShapeError):
        nt.linalg.matrix_norm(none, -2)
    with pytest.raises(ValueError, match="no norm of order 3"):
        nt.linalg.matrix_norm(nt.ones(2, 2), 3)
    with pytest.raises(ShapeError):
        nt.linalg.norm(nt.ones(2, 2, 2), "fro")


def test_transforms_of_sizes_and_dtypes() -> None:
    x = nt.tensor([1, 2, 3])
    assert nt.fft.fft(x).dtype is nt.complex64 and nt.fft.fft(x)[0].item() == 6
    assert nt.fft.irfft(nt.ones(3)).tolist() == [1, 0, 0, 0]
    assert nt.fft.fftn(nt.tensor(2.0)).item() == 2
    assert nt.fft.rfft(x, 2).abs().tolist() == [3, 1]
    assert nt.fft.fft(x, 5).shape == (5,) and nt.fft.fft(nt.ones(0, 2)).shape == (0, 2)
    calls: tuple[tuple[Any, type], ...] = (
        (lambda: nt.fft.fft(nt.ones(0)), ShapeError),
        (lambda: nt.fft.fft(x, 0), ShapeError),
        (lambda: nt.fft.irfft(nt.ones(1)), ShapeError),
        (lambda: nt.fft.fft(nt.tensor(1.0)), OutOfRange),
        (lambda: nt.fft.fftn(nt.ones(2, 3), dim=(0, 0)), ShapeError),
        (lambda: nt.fft.fftn(nt.ones(2, 3), s=(2, 2), dim=0), ShapeError),
        (lambda: nt.fft.rfftn(nt.tensor(1.0)), ShapeError),
        (lambda: nt.fft.rfft(nt.ones(2) * 1j), DTypeError),
        (lambda: nt.fft.fft(nt.ones(2).half()), DTypeError),
        (lambda: nt.fft.fft(x, norm="both"), ValueError),
        (lambda: nt.stft(nt.ones(8), 4), ValueError),
        (lambda: nt.stft(nt.ones(8), 4, 0, return_complex=True), ShapeError),
        (lambda: nt.stft(nt.ones(8), 4, window=nt.ones(3), return_complex=True), ShapeError),
        (lambda: nt.istft(nt.ones(3, 2), 4), DTypeError),
        (lambda: nt.hann_window(-1), ShapeError),
    )
    for call, error in calls:
        with pytest.raises(error):
            call()


def test_a_signal_that_no_window_reaches() -> None:
    x = nt.ones(5, 4) * 1j
    for options in ({"window": nt.zeros(8)}, {"window": nt.hann_window(8), "center": False}):
        with pytest.raises(OutOfRange, match="istft: the squares of windows add up to 0"):
            nt.istft(x, 8, **options).tolist()


def test_least_squares_have_residuals_where_every_rank_is_full() -> None:
    full, lower = nt.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 7.0]]), nt.ones(3, 2)
    for A, shape in ((full, (1,)), (lower, (0,)), (nt.stack([full, lower]), (0,))):
        found = nt.linalg.lstsq(A, nt.ones(*A.shape[:-1], 1), driver="gelsd")
        assert found.residuals.shape == shape and found.rank.shape == A.shape[:-2]


def test_windows_of_few_places() -> None:
    for make in (nt.hann_window, nt.hamming_window, nt.kaiser_window, nt.bartlett_window):
        assert make(0).tolist() == [] and make(1).tolist() == [1.0]
    assert nt.hann_window(3, periodic=False).tolist() == [0.0, 1.0, 0.0]
    assert isinstance(nt.signal.windows.cosine(0), Tensor)
    with pytest.raises(DTypeError):
        nt.hann_window(4, dtype=nt.int64)
