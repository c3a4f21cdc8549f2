"""Corner cases, written down once for all devices: kinks, ties, NaN, -0.0, empty, overflow."""

import math
from collections.abc import Callable

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import OutOfRange, ShapeError, Tensor
from numbatorch.graph import find
from tests.compare import assert_close

NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def _default_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", device)


def slope(function: Callable[[Tensor], Tensor], at: float) -> float:
    x = nt.tensor(at, requires_grad=True)
    function(x).backward()
    assert x.grad is not None
    return x.grad.item()


def same(actual: Tensor, expected: list[float] | float) -> None:
    """Equal, with NaN equal to NaN and the sign of zero counted."""
    found, wanted = actual.numpy(), np.asarray(expected, actual.numpy().dtype)
    np.testing.assert_array_equal(found, wanted)
    if wanted.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


def test_slopes_at_kinks() -> None:
    assert slope(lambda x: x.relu(), 0.0) == 0.0
    assert slope(lambda x: x.abs(), 0.0) == 0.0
    assert slope(lambda x: x.clamp(min=0.0), 0.0) == 1.0
    assert slope(lambda x: x.sign(), 2.0) == 0.0
    assert slope(lambda x: x.round(), 2.4) == 0.0
    assert slope(lambda x: x**2, -3.0) == -6.0
    assert slope(lambda x: x**3.0, -2.0) == 12.0
    assert slope(lambda x: x**0.0, 0.0) == 0.0


def test_ties_share_the_gradient_equally() -> None:
    x = nt.tensor([1.0, 3.0, 3.0, 2.0], requires_grad=True)
    x.max().backward()
    same(x.grad, [0.0, 0.5, 0.5, 0.0])
    assert slope(lambda x: nt.maximum(x, nt.ones_like(x)), 1.0) == 0.5
    y = nt.tensor([1.0, 3.0, 3.0, 2.0], requires_grad=True)
    y.max(0).values.backward()  # the element that the index names
    same(y.grad, [0.0, 1.0, 0.0, 0.0])


def test_nan_wins_in_extremes_and_loses_in_comparisons() -> None:
    x = nt.tensor([1.0, NAN, 3.0, NAN])
    assert math.isnan(x.max().item()) and math.isnan(x.min().item())
    assert x.argmax().item() == 1 and x.argmin().item() == 1
    same(nt.maximum(x, nt.tensor(2.0)), [2.0, NAN, 3.0, NAN])
    assert (x == x).tolist() == [True, False, True, False]
    assert (x != x).tolist() == [False, True, False, True]
    assert (x < 5).tolist() == [True, False, True, False]
    same(x.relu(), [1.0, NAN, 3.0, NAN])
    same(x.clamp(2.0, 2.5), [2.0, NAN, 2.5, NAN])


def test_signed_zero() -> None:
    zero = nt.tensor([-0.0, 0.0])
    same(-zero, [0.0, -0.0])
    same(zero + 0.0, [0.0, 0.0])
    same(zero * 1.0, [-0.0, 0.0])
    same(zero.abs(), [0.0, 0.0])
    same(zero.sqrt(), [-0.0, 0.0])
    same(1.0 / zero, [-INF, INF])
    assert (zero[0] == zero[1]).item() is True
    copy = nt.zeros(2)
    copy[0] = -0.0
    same(copy, [-0.0, 0.0])


def test_integer_division_floors_and_true_division_is_float() -> None:
    lhs, rhs = nt.tensor([7, -7, 7, -7]), nt.tensor([2, 2, -2, -2])
    assert (lhs // rhs).tolist() == [3, -4, -4, 3]
    assert (lhs % rhs).tolist() == [1, 1, -1, -1]
    assert (lhs / rhs).dtype is nt.float32
    same(lhs / rhs, [3.5, -3.5, -3.5, 3.5])
    same(nt.tensor([7.5, -7.5]) // 2, [3.0, -4.0])
    assert (nt.tensor(2) ** nt.tensor(-1)).item() == 0


def test_integers_wrap_and_casts_saturate() -> None:
    assert (nt.tensor([127], dtype=nt.int8) + 1).tolist() == [-128]
    assert nt.tensor([300.0, -1.0, NAN]).to(nt.uint8).tolist() == [255, 0, 0]
    assert nt.tensor([1.9, -1.9]).long().tolist() == [1, -1]
    assert nt.tensor([0.0, 0.5, NAN]).bool().tolist() == [False, True, True]


def test_reductions_of_nothing() -> None:
    empty = nt.zeros(0, 3)
    same(empty.sum(), 0.0)
    same(empty.prod(0), [1.0, 1.0, 1.0])
    same(empty.mean(0), [NAN, NAN, NAN])
    assert empty.any().item() is False and empty.all().item() is True
    assert nt.zeros(3, 0).sum(0).shape == (0,)
    for reduce in (Tensor.max, Tensor.min, Tensor.argmax):
        with pytest.raises(ShapeError, match="no elements"):
            reduce(empty)
    assert empty.max(1).values.shape == (0,)


def test_reductions_of_a_scalar() -> None:
    x = nt.tensor(3.0)
    assert x.sum(0).item() == x.max().item() == x.mean(-1).item() == 3.0
    assert x.max(0).indices.item() == 0 and x.max(0).values.shape == ()
    assert x.softmax(-1).item() == 1.0


def test_sums_of_integers_and_bool_are_int64() -> None:
    assert nt.tensor([200, 100], dtype=nt.uint8).sum().item() == 300
    assert nt.tensor([True, True]).sum().dtype is nt.int64
    assert nt.tensor([1, 2], dtype=nt.int32).prod().dtype is nt.int64


def test_half_is_computed_in_float32_and_rounded_once() -> None:
    x = nt.full((4096,), 1.0, dtype=nt.float16)
    assert x.sum().item() == 4096.0
    assert nt.full((70000,), 1.0, dtype=nt.bfloat16).sum().item() == 70144.0
    big = nt.tensor(60000.0, dtype=nt.float16)
    assert (big + big).item() == INF


def test_softmax_of_infinities() -> None:
    same(nt.tensor([-INF, 0.0]).softmax(0), [0.0, 1.0])
    assert nt.tensor([-INF, -INF]).softmax(0).isnan().all()
    assert nt.tensor([1000.0, 0.0]).log_softmax(0).tolist() == [0.0, -1000.0]


def test_attention_that_sees_nothing_is_zero() -> None:
    q = nt.ones(1, 1, 2, 4)
    mask = nt.tensor([[False, False, False], [True, False, False]])
    k, v = nt.ones(1, 1, 3, 4), nt.arange(12).float().reshape(1, 1, 3, 4)
    out = nt.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    same(out[0, 0], [[0.0] * 4, [0.0, 1.0, 2.0, 3.0]])


def test_nan_in_attention_reaches_the_queries_that_see_it() -> None:
    """Of what a mask hides NaN may reach the result or not, as with PyTorch's own kernels."""
    q, k, v = (np.ones((1, 1, 3, 2), np.float32) for _ in range(3))
    q[0, 0, 1, 0] = NAN
    v[0, 0, 2, 1] = NAN
    attend = nt.nn.functional.scaled_dot_product_attention
    same(attend(*map(nt.tensor, (q, k, v)))[0, 0], [[1.0, NAN], [NAN, NAN], [1.0, NAN]])
    seen = attend(*map(nt.tensor, (q, k, v)), is_causal=True)[0, 0]
    same(seen[1:], [[NAN, NAN], [1.0, NAN]])


def test_indices_out_of_range_raise_when_they_are_read() -> None:
    table, ids = nt.ones(4, 2), nt.tensor([0, 4])
    with pytest.raises(OutOfRange):
        nt.nn.functional.embedding(ids, table).numpy()
    with pytest.raises(OutOfRange):
        table[ids].numpy()
    with pytest.raises(OutOfRange):
        table.gather(1, nt.tensor([[2], [0], [0], [0]])).numpy()
    with pytest.raises(OutOfRange):
        nt.nn.functional.cross_entropy(nt.zeros(1, 3), nt.tensor([3])).item()


def test_repeated_indices_add_up_in_the_gradient() -> None:
    x = nt.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x[[0, 0, 2]] * nt.tensor([1.0, 10.0, 100.0])).sum().backward()
    same(x.grad, [11.0, 0.0, 100.0])


def test_threefry_known_answers() -> None:
    """Test vectors of the authors: Random123, examples/kat_vectors, threefry2x32 20."""
    for key, counter, expected in (
        ((0, 0), 0, 0x99BA4EFE6B200159),
        ((0xFFFFFFFF, 0xFFFFFFFF), -1, 0xBB002BE71CB996FC),
        ((0x13198A2E, 0x03707344), 0x85A308D3243F6A88 - 2**64, 0x483DF7A0C4923A9C),
    ):
        words = [nt.tensor(word, dtype=nt.uint32) for word in key]
        bits = find("random_bits")(nt.tensor([counter]), *words)
        assert bits.item() == expected


def test_order_of_the_largest_and_smallest() -> None:
    x = nt.tensor([0.0, NAN, INF, -0.0, NAN, -INF, 0.0])
    assert x.topk(7).indices.tolist() == [1, 4, 2, 0, 3, 6, 5]
    assert x.topk(7, largest=False).indices.tolist() == [5, 0, 3, 6, 2, 1, 4]
    assert nt.tensor([[True, False], [True, True]]).topk(1).indices.tolist() == [[0], [0]]
    assert nt.tensor(3.0).topk(1).values.tolist() == 3.0
    assert nt.zeros(2, 0).topk(0).values.shape == (2, 0)
    assert nt.zeros(2, 3).topk(0, dim=0).indices.shape == (0, 3)
    with pytest.raises(OutOfRange, match="topk: k is 3 of 2 elements"):
        nt.zeros(2, 4).topk(3, dim=0)


def test_mean_and_variance_of_half_types_do_not_overflow_on_the_way(device: str) -> None:
    ones = nt.ones(70_000, dtype=nt.float16, device=device)
    assert ones.mean().item() == 1.0
    wide = nt.tensor([300.0, -300.0], dtype=nt.float16, device=device)
    assert wide.std(correction=0).item() == 300.0


def test_norm_at_zero_and_of_narrow_floats() -> None:
    x = nt.zeros(3, requires_grad=True)
    x.norm().backward()
    assert x.grad is not None
    same(x.grad, [0.0, 0.0, 0.0])
    y = nt.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    y.norm(dim=1).sum().backward()
    assert y.grad is not None
    np.testing.assert_allclose(y.grad.numpy(), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert nt.full((4,), 1000.0, dtype=nt.float16).norm().item() == 2000.0


def test_ranges_are_those_of_numpy(device: str) -> None:
    for first, last, step in (
        (0, 1, 0.1),
        (-3.0, 5.0, 0.7),
        (2.0, -1.0, -0.3),
        (1e6, 1e6 + 3, 0.5),
    ):
        found = nt.arange(first, last, step, device=device)
        assert_close(found, np.arange(first, last, step).astype(np.float32), kind="exact")
    assert nt.arange(5, device=device).tolist() == [0, 1, 2, 3, 4]


def test_large_integers_are_close_by_their_difference(device: str) -> None:
    a = nt.tensor([2**40, 2**40, 7], device=device)
    b = nt.tensor([2**40 + 1, 2**40, 8], device=device)
    assert a.isclose(b, rtol=0, atol=0).tolist() == [False, True, False]
    assert a.isclose(b, rtol=1e-9, atol=0).tolist() == [True, True, False]
    assert a.isclose(b, rtol=0, atol=1).tolist() == [True, True, True]
    ends = nt.tensor([2**63 - 1, -(2**63), 0], device=device)
    assert ends.isclose(nt.tensor([-1, 2**63 - 1, -(2**63)], device=device)).tolist() == [False] * 3


BY_ZERO = {
    "x // y": "floor_divide",
    "x.floor_divide_(y)": "floor_divide_",
    "x % y": "remainder",
    "t.remainder(7, y)": "remainder",
    "t.fmod(x, y)": "fmod",
    "t.div(x, y, rounding_mode='floor')": "div",
    "t.div(x, y, rounding_mode='trunc')": "div",
}


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8"])
@pytest.mark.parametrize("call", BY_ZERO)
def test_an_integer_divided_by_zero_is_an_error(call: str, dtype: str, device: str) -> None:
    """As in PyTorch; of a tensor when it is read, and floats have infinities for it."""
    kind = getattr(nt, dtype)
    x, none = (nt.tensor(v, dtype=kind, device=device) for v in ([7, 8, 9], [1, 2, 3]))
    divisors = [nt.tensor([1, 0, 3], dtype=kind, device=device)]
    divisors += [] if "7," in call or "_(" in call else [0]
    for y in divisors:
        with pytest.raises(nt.DivisionByZero, match="an integer is divided by 0") as error:
            eval(call, {"t": nt, "x": x.clone(), "y": y}).numpy()
        assert isinstance(error.value, ZeroDivisionError) and isinstance(error.value, RuntimeError)
        assert str(error.value).startswith(f"{BY_ZERO[call]}: ")
    assert eval(call, {"t": nt, "x": x.clone(), "y": none}).shape == (3,)
    empty = {"t": nt, "x": x[:0], "y": nt.zeros(0, dtype=kind, device=device)}
    assert eval(call, empty).tolist() == []
    real = eval(call.replace("_(", "("), {"t": nt, "x": x.float(), "y": divisors[0].float()})
    assert not np.isfinite(real.numpy()[1])


def test_a_compiled_division_by_zero_is_an_error_of_that_call() -> None:
    divide = nt.compile(lambda x, y: (x + 1) // y + 1, dynamic=())
    x = nt.tensor([7, 8], device="cpu")
    for y, right in (([2, 3], [5, 4]), ([0, 1], None), ([4, 9], [3, 2])):
        if right is None:
            with pytest.raises(nt.DivisionByZero):
                divide(x, nt.tensor(y, device="cpu")).tolist()
        else:
            assert divide(x, nt.tensor(y, device="cpu")).tolist() == right


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [("bernoulli", [0.0, 0.3, 1.0], [2.0, -0.5, NAN]), ("poisson", [0.0, 2.5], [-1.0, NAN])],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_parameters_of_distributions(
    name: str, right: list[float], wrong: list[float], dtype: str, device: str
) -> None:
    if dtype == "float64" and device == "metal":
        pytest.skip("no float64 there")
    draw, kind = getattr(nt, name), getattr(nt, dtype)
    fine = nt.tensor(right * 300, dtype=kind, device=device)
    assert np.isfinite(draw(fine).float().numpy()).all()
    said = rf"^{name}: an element of input is (not in \[0, 1\]|below 0, or NaN)"
    for value in wrong:
        with pytest.raises(nt.OutOfRange, match=said):
            draw(nt.tensor([*right * 300, value], dtype=kind, device=device)).numpy()
