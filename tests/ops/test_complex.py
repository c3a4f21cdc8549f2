"""Complex numbers on every device: values beside NumPy, gradients beside differences, refusals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.dtype import by_name
from numbatorch.errors import DTypeError, GradientError, ShapeError
from numbatorch.testing.gradcheck import gradcheck
from tests.compare import assert_close, assert_launches

Array = np.ndarray[Any, Any]


def drawn(*shape: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def wide(*shape: int, seed: int = 0) -> nt.Tensor:
    return nt.tensor(drawn(*shape, seed=seed).astype(np.complex128))


def test_a_chain_of_complex_arithmetic_is_one_launch(device: str) -> None:
    a, b = drawn(3, 70), drawn(70, seed=1)
    x, y = nt.tensor(a, device=device), nt.tensor(b, device=device)
    out = (x * y - x / y + (2 - 1j) * x).conj()
    if device == "cpu":
        assert_launches(out, 1)
    u, v = a.astype(np.complex128), b.astype(np.complex128)
    assert_close(out, np.conj(u * v - u / v + (2 - 1j) * u), "composite")
    assert out.dtype is nt.complex64 and out.is_complex() and not out.is_floating_point()


def test_a_new_complex_number_compiles_nothing() -> None:
    x = nt.tensor(drawn(5))
    (one,), (other,) = debug.kernels(x * (3 + 4j)), debug.kernels(x * (5.5 - 7j))
    assert one.spec.key == other.spec.key


FUNCTIONS = "exp expm1 log log1p sqrt sin cos tan tanh square reciprocal abs angle".split()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_numpy(name: str, device: str) -> None:
    x = drawn(4, 9) * np.float32(2)
    expected = getattr(np, name)(x.astype(np.complex128))
    result = getattr(nt.tensor(x, device=device), name)()
    assert_close(result, expected.astype(result.dtype.numpy), "elementwise", operator=name)


def test_a_logarithm_near_the_unit_circle_keeps_its_digits() -> None:
    angles = np.linspace(-3, 3, 1001)
    x = np.exp(1j * angles) * (1 + 1e-9)
    size = np.log(np.hypot(x.real.astype(np.longdouble), x.imag.astype(np.longdouble)))
    found = nt.tensor(x).log().numpy().real
    np.testing.assert_allclose(found, size.astype(float), rtol=0, atol=2e-16)


def test_tanh_of_large_numbers_and_roots_of_negative_ones() -> None:
    x = np.array([50 + 1j, -700 + 2j, 1e30 + 3j, -4 + 0j, -4 - 0.0j, 0j, 3e38 + 3e38j])
    for name in ("tanh", "sqrt"):
        found = getattr(nt.tensor(x), name)()
        assert_close(found, getattr(np, name)(x), "elementwise", operator=name)


def test_division_by_large_and_small_numbers_does_not_overflow() -> None:
    x, y = np.complex64([9 + 1e9j, 1e-30j, 3e38]), np.complex64([1e38 + 1e38j, 1e-30, 1e38 - 2e38j])
    quotient = (x.astype(np.complex128) / y.astype(np.complex128)).astype(np.complex64)
    assert_close(nt.tensor(x) / nt.tensor(y), quotient, "elementwise", absolute=0)


@pytest.mark.parametrize("exponent", [2, 3, -1, 0, 0.5, 2 + 1j])
def test_powers_equal_numpy(exponent: complex) -> None:
    x = drawn(30)
    assert_close(nt.tensor(x) ** exponent, (x.astype(np.complex128) ** exponent), "composite")


def test_logarithms_of_zero_add_to_one() -> None:
    zero = nt.tensor([complex(-np.inf, 1), complex(-np.inf, np.inf)])
    assert nt.logaddexp(zero, zero.flip(0)).real.tolist() == [-np.inf, -np.inf]


def test_powers_of_zero() -> None:
    zero = nt.tensor([0j])
    assert (zero**0).tolist() == [1] and (zero ** (2 + 1j)).tolist() == [0]
    assert np.isnan((zero ** (-0.5 + 1j)).numpy()).all()
    assert_close(2 ** nt.tensor([1j]), 2 ** np.complex64([1j]), "composite")


def test_parts_go_apart_and_together(device: str) -> None:
    a = drawn(2, 5)
    x = nt.tensor(a, device=device)
    assert_close(x.real, a.real, "exact")
    assert_close(nt.imag(x), a.imag, "exact")
    assert_close(nt.complex(x.real, x.imag), a, "exact")
    pairs = nt.view_as_real(x)
    assert_close(pairs, a.view(np.float32).reshape(2, 5, 2), "exact")
    assert_close(nt.view_as_complex(pairs), a, "exact")
    assert_close(nt.polar(abs(x), x.angle()), a, "composite")
    assert x.real.dtype is nt.float32 and nt.view_as_real(wide(2)).dtype is nt.float64


def test_parts_of_what_lies_in_memory_are_read_where_they_lie() -> None:
    x = nt.tensor(drawn(6, 8)).realize()
    assert_launches(nt.view_as_real(x[1::2].T) * 2, 1)
    assert_close(nt.view_as_real(x[1::2].T) * 2, np.stack([2 * p for p in parts(x)], -1), "exact")
    pairs = nt.tensor(drawn(3, 5).view(np.float32).reshape(3, 5, 2)).realize()
    assert_launches(nt.view_as_complex(pairs) * 1j, 1)
    turned = pairs.transpose(0, 2).contiguous().transpose(0, 2)  # its parts lie apart
    assert_close(nt.view_as_complex(turned), nt.view_as_complex(pairs), "exact")


def parts(x: nt.Tensor) -> tuple[Array, Array]:
    rows = x.numpy()[1::2].T
    return rows.real, rows.imag


def test_parts_are_views_that_write_through(device: str) -> None:
    a = drawn(3, 4)
    x = nt.tensor(a, device=device).clone()
    real, imag = x.real, x[1:].T.imag
    real[0] *= 2
    a.real[0] *= 2
    imag += 1
    a[1:].imag += 1
    x.imag = 7 * x.real
    a.imag = 7 * a.real
    nt.view_as_real(x)[:, 1, 0] = 5
    a.real[:, 1] = 5
    nt.view_as_complex(nt.view_as_real(x)[..., 1:, :])[0].mul_(1j)
    a[0, 1:] *= 1j
    assert_close(x, a, "exact")
    assert_close(real, a.real, "exact")
    assert_close(imag, a[1:].T.imag, "exact")
    whole = nt.tensor([1.0, 2.0], device=device).clone()
    whole.real.add_(1)
    assert whole.tolist() == [2, 3]


def test_views_and_writes_move_whole_numbers(device: str) -> None:
    a, b = drawn(4, 6), drawn(2, 6, seed=1)
    x = nt.tensor(a, device=device)
    assert_close(x.T[1:, ::2] * 1, a.T[1:, ::2], "exact")
    assert_close(nt.cat([x, nt.tensor(b, device=device)]), np.concatenate([a, b]), "exact")
    x[1:3] = nt.tensor(b, device=device)
    x[0, 0] = 7 - 1j
    a[1:3], a[0, 0] = b, 7 - 1j
    assert_close(x, a, "exact")


@pytest.mark.parametrize("dim", [None, 0, 1])
def test_sum_and_mean_equal_numpy(dim: int | None, device: str) -> None:
    a = drawn(40, 70)
    x = nt.tensor(a, device=device)
    assert_close(x.sum(dim), a.astype(np.complex128).sum(dim), "reduction")
    assert_close(x.mean(dim), a.astype(np.complex128).mean(dim), "reduction")


@pytest.mark.parametrize("shapes", [((3, 4), (4, 5)), ((2, 3, 4), (4,)), ((2, 3, 4), (2, 4, 3))])
def test_products_of_matrices_equal_numpy(shapes: Any, device: str) -> None:
    a, b = drawn(*shapes[0]), drawn(*shapes[1], seed=1)
    out = nt.tensor(a, device=device) @ nt.tensor(b, device=device)
    assert_close(out, a.astype(np.complex128) @ b, "matmul")
    real = nt.tensor(np.ascontiguousarray(a.real), device=device) @ nt.tensor(b, device=device)
    assert_close(real, a.real.astype(np.float64) @ b, "matmul")


def test_indices_pick_and_add_whole_numbers(device: str) -> None:
    a = drawn(5, 3)
    x = nt.tensor(a, device=device)
    rows = nt.tensor([4, 0, 4], device=device)
    assert_close(x[rows], a[[4, 0, 4]], "exact")
    places = nt.tensor([[2], [0]], device=device)
    assert_close(x.gather(1, places), np.take_along_axis(a[:2], np.array([[2], [0]]), 1), "exact")
    assert_close(x[x.real > 0], a[a.real > 0], "exact")


@pytest.mark.parametrize("dim", [None, 0, (0, 2)])
def test_prod_and_cumsum_equal_numpy(dim: Any) -> None:
    a = drawn(3, 5, 4)
    for device in ("cpu", "numpy"):
        x = nt.tensor(a, device=device)
        assert_close(x.prod(dim), a.astype(np.complex128).prod(dim), "composite")
        assert_close(x.cumsum(1), a.astype(np.complex128).cumsum(1), "reduction")
    assert nt.zeros(0, dtype=nt.complex64).prod().item() == 1


GRADIENTS: dict[str, Callable[..., Any]] = {
    "product and quotient": lambda x, y: x * y / (x + 2 * y),
    "size": lambda x, y: abs(x * y),
    "parts": lambda x, y: (x * x).real * y.imag,
    "conjugate": lambda x, y: x.conj() * y,
    "pairs": lambda x, y: nt.view_as_real(x * y) * 3,
    "made of parts": lambda x, y: nt.view_as_complex(nt.view_as_real(x) * 2) * y,
    "angle": lambda x, y: (x * y).angle(),
    "unit": lambda x, y: x.sgn() * y,
    "power": lambda x, y: x**3 + (x * x) ** y,
    "exponentials": lambda x, y: (x.sin() + y.tanh()).exp(),
    "sums": lambda x, y: (x * y).sum(0) * x.mean(),
    "choice": lambda x, y: nt.where(x.real > 0, x, y * 2),
    "matrices": lambda x, y: x @ y.T + x.real @ y.T,
    "rows": lambda x, y: x[nt.tensor([2, 0, 2], device=x.device)] * y,
    "product of all": lambda x, y: x.prod(0) * y,
    "running sum": lambda x, y: x.cumsum(1) * y,
    "views": lambda x, y: nt.cat([x.T[1:], y.T * 1j]),
    "real operand": lambda x, y: x.real * y + y.imag,
}


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_gradients_equal_differences(name: str, device: str) -> None:
    operands = (wide(3, 4, seed=seed).to(device) for seed in (0, 1))
    gradcheck(GRADIENTS[name], *operands)


def test_second_gradients_equal_differences() -> None:
    def slope(x: nt.Tensor) -> nt.Tensor:
        inner = x.detach().requires_grad_() if not x.requires_grad else x
        (found,) = (nt.grad(lambda z: abs(z * z * z).sum())(inner),)
        return found  # type: ignore[no-any-return]

    gradcheck(slope, wide(5))


def test_the_gradient_of_a_real_number_is_real(device: str) -> None:
    x = nt.tensor([1.0, -2.0], device=device, requires_grad=True)
    abs(x * (3 + 4j)).sum().backward()
    assert x.grad is not None and x.grad.dtype is nt.float32
    assert_close(x.grad, np.float32([5, -5]), "gradient")


def test_compiled_functions_take_complex_numbers(device: str) -> None:
    @nt.compile
    def rotated(x: nt.Tensor, turn: nt.Tensor) -> nt.Tensor:
        return (x * turn).real + abs(x)  # type: ignore[no-any-return]

    for seed in range(3):
        a, b = drawn(6, seed=seed), drawn(6, seed=seed + 9)
        result = rotated(nt.tensor(a, device=device), nt.tensor(b, device=device))
        assert_close(result, (a * b).real + abs(a), "composite")


MEETINGS = [
    ("complex64", "float64", "complex128"),
    ("complex64", "float32", "complex64"),
    ("complex64", "float16", "complex64"),
    ("complex64", "int64", "complex64"),
    ("complex128", "bool", "complex128"),
    ("complex64", "complex128", "complex128"),
]


@pytest.mark.parametrize(("lhs", "rhs", "expected"), MEETINGS)
def test_complex_numbers_promote(lhs: str, rhs: str, expected: str) -> None:
    x, y = nt.ones(2, dtype=by_name[lhs]), nt.ones(2, dtype=by_name[rhs])
    assert (x + y).dtype.name == (y + x).dtype.name == expected


def test_complex_numbers_of_python_and_numpy() -> None:
    assert nt.tensor(1 + 2j).dtype is nt.complex64
    assert nt.tensor([[1, 2.0], [3j, 4]]).tolist() == [[1, 2], [3j, 4]]
    assert nt.tensor(np.complex128([1j])).dtype is nt.complex128
    assert nt.tensor([1, 2]).mul(1j).dtype is nt.complex64
    assert nt.tensor([1.0], dtype=nt.float64).mul(1j).dtype is nt.complex128
    assert complex(nt.tensor([1 - 2j])) == 1 - 2j
    assert nt.full((2,), 1j).tolist() == [1j, 1j]
    assert nt.tensor([1.0, 2.0]).to(nt.complex128).tolist() == [1, 2]
    assert nt.tensor([0j, 1j]).bool().tolist() == [False, True]
    assert (nt.tensor([1j, 2]) == nt.tensor([1j, 1])).tolist() == [True, False]
    assert (nt.tensor([1j, 2]) != 2).tolist() == [True, False]


MEANINGLESS: dict[str, Callable[[Any], Any]] = {
    "lt": lambda x: x < 1,
    "ge": lambda x: x >= x,
    "maximum": lambda x: x.maximum(x),
    "floor": lambda x: x.floor(),
    "remainder": lambda x: x % 2,
    "floor_divide": lambda x: x // 2,
    "max": lambda x: x.max(),
    "argmax": lambda x: x.argmax(),
    "relu": lambda x: x.relu(),
    "erf": lambda x: x.erf(),
    "sign": lambda x: x.sign(),
    "clamp": lambda x: x.clamp(0, 1),
    "softmax": lambda x: x.softmax(-1),
    "fill of real numbers": lambda x: nt.full((2,), 1j, dtype=nt.float32),
    "write into real numbers": lambda x: nt.zeros(2).__setitem__(0, 1j),
}


@pytest.mark.parametrize("name", MEANINGLESS)
def test_what_has_no_meaning_is_refused(name: str) -> None:
    with pytest.raises(DTypeError):
        MEANINGLESS[name](nt.tensor([1 + 2j, 3]))


def test_a_complex_result_has_no_gradient_by_itself() -> None:
    x = nt.tensor(1 + 2j, requires_grad=True)
    with pytest.raises(GradientError, match="only a real number has a gradient by itself"):
        (x * x).backward()
    (x * x).backward(nt.tensor(1 + 0j))
    assert x.grad is not None and x.grad.tolist() == 2 - 4j


def test_parts_that_do_not_fit_are_refused() -> None:
    x = nt.tensor([1.0, 2.0])
    with pytest.raises(DTypeError, match="both float32 or both float64"):
        nt.complex(x, x.double())
    with pytest.raises(DTypeError, match="has no imaginary part"):
        nt.imag(x)
    with pytest.raises(ShapeError, match="is not a real and an imaginary part"):
        nt.view_as_complex(nt.ones(3))
    with pytest.raises(DTypeError, match="is not complex"):
        nt.view_as_real(x)


def test_printing_as_pytorch() -> None:
    assert repr(nt.tensor([1 + 2j, 3 - 4j])) == "tensor([1.+2.j, 3.-4.j])"
    shown = "tensor([1.5000+0.2500j, -2.0000-1.0000j], dtype=numbatorch.complex128)"
    assert repr(nt.tensor([1.5 + 0.25j, -2 - 1j], dtype=nt.complex128)).replace("  ", " ") in (
        shown,
        shown.replace("[1.5", "[ 1.5"),
    )


def test_sums_over_near_and_far_elements_are_two_kernels() -> None:
    parts = np.arange(36.0).reshape(3, 2, 3, 2)
    x = nt.tensor(parts + 1j * parts[::-1])
    assert nt.equal(x.sum((1, 3)), nt.tensor(x.numpy().sum((1, 3))))
    assert nt.equal(x.sum((0, 2)), nt.tensor(x.numpy().sum((0, 2))))  # elements two apart
