"""Methods and functions under PyTorch's names against NumPy, and conversions that would lose."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import assert_close


@pytest.fixture(autouse=True)
def _reference_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


A = np.array([[1.5, -2.0, 0.0, 4.0], [-0.5, 3.0, 2.0, -4.0], [7.0, 1.0, -3.0, 0.25]], np.float32)
B = np.array([2.0, -2.0, 0.5, 3.0], np.float32)
K, L = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
P, Q = np.array([True, True, False, False]), np.array([True, False, True, False])
HALVES = np.array([70.0, 80.0], np.float16)

CASES: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
    (lambda a, b: a.eq(b), (A, B), A == B),
    (lambda a, b: a.ne(b), (A, B), A != B),
    (lambda a, b: a.lt(b), (A, B), A < B),
    (lambda a, b: a.le(b), (A, B), A <= B),
    (lambda a, b: a.gt(b), (A, B), A > B),
    (lambda a, b: a.ge(b), (A, B), A >= B),
    (lambda a, b: a.remainder(b), (A, B), np.remainder(A, B)),
    (lambda a, b: a.floor_divide(b), (A, B), A // B),
    (lambda i, j: i.div(j, rounding_mode="floor"), (K, L), K // L),
    (lambda i, j: i.div(j, rounding_mode="trunc"), (K, L), np.trunc(K / L).astype(np.int64)),
    (lambda i: i.div(2, rounding_mode="trunc"), (K,), np.trunc(K / 2).astype(np.int64)),
    (lambda a, b: a.div(b, rounding_mode="trunc"), (A, B), np.trunc(A / B)),
    (lambda a, b: a.add(b, alpha=2), (A, B), A + 2 * B),
    (lambda a, b: a.sub(b, alpha=0.5), (A, B), A - B / 2),
    (lambda p, q: p.logical_and(q), (P, Q), P & Q),
    (lambda p, q: p.logical_or(q), (P, Q), P | Q),
    (lambda p, q: p.logical_xor(q), (P, Q), P ^ Q),
    (lambda p: p.logical_not(), (P,), ~P),
    (lambda i, j: i.bitwise_xor(j), (K, L), K ^ L),
    (lambda i: i << 2, (K,), K << 2),
    (lambda i: i >> 1, (K,), K >> 1),
    (lambda p: 1 << p.long(), (P,), 1 << P.astype(np.int64)),
    (lambda p: 9 >> p.long(), (P,), 9 >> P.astype(np.int64)),
    (lambda a: a.where(a > 0, 0.5), (A,), np.where(A > 0, A, np.float32(0.5))),
    (lambda a: a.ravel(), (A,), A.ravel()),
    (lambda a: a.swapaxes(0, 1), (A,), A.T),
    (lambda a: a.reshape(3, 2, 2).moveaxis(0, -1), (A,), np.moveaxis(A.reshape(3, 2, 2), 0, -1)),
    (
        lambda a: a.reshape(3, 2, 2).moveaxis((0, 1), (-1, 0)),
        (A,),
        np.moveaxis(A.reshape(3, 2, 2), (0, 1), (-1, 0)),
    ),
    (lambda b: b.broadcast_to(2, 4), (B,), np.broadcast_to(B, (2, 4))),
    (lambda a: a.tril(), (A,), np.tril(A)),
    (lambda a: a.tril(-1), (A,), np.tril(A, -1)),
    (lambda a: a.triu(2), (A,), np.triu(A, 2)),
    (lambda a: a.triu(-1), (A,), np.triu(A, -1)),
    (lambda a, b: a.masked_select(b > 1), (A, B), A[np.broadcast_to(B > 1, A.shape)]),
    (lambda b: b.outer(b), (B,), np.outer(B, B)),
    (lambda a: a.logsumexp(1), (A,), np.log(np.exp(A).sum(1))),
    (lambda a: a.logsumexp((0, 1), keepdim=True), (A,), np.log(np.exp(A).sum(keepdims=True))),
    (lambda a: (a * 1000).logsumexp(0), (A,), 1000 * A.max(0)),
    (lambda h: h.logsumexp(0), (HALVES,), np.float16(80.0)),
    (lambda a: a.var(unbiased=False), (A,), A.var()),
    (lambda a: a.var(False), (A,), A.var()),
    (lambda a: a.var(1), (A,), A.var(1, ddof=1)),
    (lambda a: a.std(0, False, True), (A,), A.std(0, keepdims=True)),
    (lambda a: a.std(1, correction=2), (A,), A.std(1, ddof=2)),
    (lambda i: i.mean(dtype=nt.float32), (K,), np.float32(K.mean())),
    (lambda i: i.sum(0, dtype=nt.float64), (K,), K.sum(0).astype(np.float64)),
    (lambda i: i.prod(dtype=nt.float32), (K,), np.float32(K.prod())),
    (lambda i: i.masked_fill(i > 0, 0.0), (K,), np.where(K > 0, 0, K)),
    (lambda a: nt.sum(a, dim=1), (A,), A.sum(1)),
    (lambda a: nt.transpose(a, 0, 1), (A,), A.T),
    (lambda a: nt.argmax(a, dim=1), (A,), A.argmax(1)),
    (lambda a: nt.softmax(a, dim=0).sum(0), (A,), np.ones(4, np.float32)),
    (lambda a: nt.exp(a), (A,), np.exp(A)),
]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_method_equals_numpy(case: tuple[Callable[..., Any], tuple[Any, ...], Any]) -> None:
    function, arrays, expected = case
    result = function(*map(nt.from_numpy, arrays))
    assert result.numpy().dtype == np.asarray(expected).dtype
    assert_close(result, np.asarray(expected), "composite")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-np.inf, -np.inf], -np.inf),
        ([np.inf, 1.0], np.inf),
        ([np.nan, 1.0], np.nan),
        ([], -np.inf),
    ],
)
def test_logsumexp_of_values_that_are_not_finite(values: list[float], expected: float) -> None:
    assert_close(nt.tensor(values, dtype=nt.float32).logsumexp(0), np.float32(expected))


def test_logsumexp_has_the_gradient_of_softmax() -> None:
    x = nt.from_numpy(A.copy()).requires_grad_()
    x.logsumexp(1).sum().backward()
    assert x.grad is not None
    assert_close(x.grad, x.detach().softmax(1), "gradient")


def test_equal_and_allclose_are_python_truths() -> None:
    x = nt.tensor([1.0, float("inf"), float("nan")])
    assert x[:2].equal(x[:2]) is True and x.equal(x) is False and x.equal(x[:2]) is False
    assert x[:2].allclose(x[:2] + 1e-7) is True and x.allclose(x) is False
    assert x.allclose(x, equal_nan=True) is True and x[:1].allclose(x[1:2]) is False
    integers = nt.tensor([3, 250], dtype=nt.uint8)
    assert integers.allclose(nt.tensor([250, 3], dtype=nt.uint8)) is False
    assert integers.allclose(integers) is True and (integers > 5).allclose(integers > 6) is True


def test_new_tensors_take_dtype_and_device() -> None:
    x = nt.zeros(2, dtype=nt.float64)
    assert x.new_zeros(2, 3).shape == x.new_ones((2, 3)).shape == (2, 3)
    assert x.new_full((2,), 7.5).tolist() == [7.5, 7.5] and x.new_ones(1).dtype is nt.float64
    made = x.new_ones(2, dtype=nt.float32, requires_grad=True)
    assert made.requires_grad and made.dtype is nt.float32 and made.device == x.device
    assert x.element_size() == 8 and nt.ones(1).type_as(x).dtype is nt.float64


@pytest.mark.parametrize("value", [1.5, np.float32(0.5), float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, slice(1), np.array([True, False]), [1]])
def test_assignment_cuts_no_number(value: float, place: Any) -> None:
    x = nt.tensor([1, 2])
    with pytest.raises(nt.DTypeError, match="no value of int64"):
        x[place] = value
    x[place] = 5.0
    assert x.dtype is nt.int64 and 5 in x


@pytest.mark.parametrize("dtype", [nt.int64, nt.uint8, nt.bool_])
@pytest.mark.parametrize("place", [0, slice(1), np.array([True, False]), [1]])
def test_assignment_cuts_no_tensor_of_floats(dtype: nt.DType, place: Any) -> None:
    x = nt.zeros(2, dtype=dtype)
    with pytest.raises(nt.DTypeError, match="would be cut"):
        x[place] = nt.tensor(1.0)
    with pytest.raises(nt.DTypeError, match="would be cut"):
        x[place] = np.ones(1, np.float32)


def test_numbers_beyond_the_dtype_are_errors() -> None:
    x = nt.zeros(2, dtype=nt.uint8)
    for number in (256, -1, 1e30):
        with pytest.raises(nt.OutOfRange, match="does not fit uint8"):
            x[0] = number
    with pytest.raises(nt.DTypeError, match=r"masked_fill: 0\.5 is no value of uint8"):
        x.masked_fill(x == 0, 0.5)


def test_bool_takes_0_and_1() -> None:
    x = nt.tensor([True, False])
    x[1] = 1.0
    assert x.tolist() == [True, True] and x.masked_fill(x, 0).tolist() == [False, False]
    with pytest.raises(nt.DTypeError, match="2 is no value of bool"):
        x[0] = 2


@pytest.mark.parametrize("power", [lambda x: x.pow(-1), lambda x: x**-2])
def test_integers_have_no_negative_powers(power: Callable[[Any], Any]) -> None:
    with pytest.raises(nt.DTypeError, match="are no integers"):
        power(nt.tensor([1, 2]))
    assert power(nt.tensor([2.0])).item() in (0.5, 0.25)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: x.div(x, rounding_mode="up"), ValueError, "rounding_mode is 'up'"),
        (lambda x: x.tril(), nt.ShapeError, "tril: needs two dimensions"),
        (lambda x: x.outer(x[None]), nt.ShapeError, "outer: needs operands of 1 dimension"),
        (lambda x: x[None].moveaxis((0, 1), 0), nt.ShapeError, "movedim"),
        (lambda x: x.masked_select(nt.ones(3).bool()), nt.ShapeError, "broadcast"),
    ],
)
def test_misuse_is_named(call: Callable[[Any], Any], error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call(nt.ones(2))


@pytest.mark.parametrize(
    ("name", "same"),
    {
        "float": "float32",
        "double": "float64",
        "half": "float16",
        "short": "int16",
        "int": "int32",
        "long": "int64",
        "cfloat": "complex64",
        "cdouble": "complex128",
    }.items(),
)
def test_other_names_of_dtypes(name: str, same: str) -> None:
    dtype = getattr(nt, name)
    assert dtype is getattr(nt, same) and nt.zeros(2, dtype=dtype).dtype is dtype
    assert nt.ones(2, dtype=nt.bool).to(dtype).dtype is getattr(nt.ones(2), name)().dtype
    assert name in dir(nt) and name not in nt.__all__  # of `from numbatorch import *`


def test_numbers_and_what_a_tensor_says_of_its_place() -> None:
    assert (nt.pi, nt.e, nt.inf, nt.newaxis) == (np.pi, np.e, np.inf, None) and np.isnan(nt.nan)
    x = nt.ones(2, device="cpu")
    assert x[:, nt.newaxis].shape == (2, 1)
    assert (x.is_cpu, x.is_cuda, x.get_device(), x.device.type) == (True, False, -1, "cpu")
    assert nt.tensor([[2]]).is_nonzero() and not nt.tensor(0.0).is_nonzero()
    with pytest.raises(nt.ShapeError, match=r"\(2,\)"):
        x.is_nonzero()
    with pytest.raises(nt.DeviceError, match="not cpu"):
        x.cuda("cpu")


def test_detached_in_place() -> None:
    w = nt.ones(3, requires_grad=True)
    x = w * 2
    view = x[:2]
    with pytest.raises(nt.GradientError, match="view"):
        view.detach_()
    assert x.requires_grad
    assert x.detach_() is x and not x.requires_grad
    (x * w).sum().backward()
    assert w.grad is not None and w.grad.tolist() == [2.0, 2.0, 2.0]
