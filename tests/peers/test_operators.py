"""Operators, their gradients and dtype promotion beside PyTorch."""

from collections.abc import Callable
from typing import Any

import pytest

import numbatorch as nt
from tests.compare import as_numpy, assert_close
from tests.peers.sides import Sides, our_dtype, torch, torch_dtype

UNARY = {
    "exp": lambda x: x.exp(),
    "log": lambda x: (x * x + 0.1).log(),
    "sqrt": lambda x: (x * x + 0.1).sqrt(),
    "rsqrt": lambda x: (x * x + 0.1).rsqrt(),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "erf": lambda x: x.erf(),
    "abs": lambda x: x.abs(),
    "relu": lambda x: x.relu(),
    "negative": lambda x: -x,
    "reciprocal": lambda x: 1 / (x * x + 0.5),
    "power": lambda x: x**3,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
}
BINARY = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / (y * y + 0.5),
    "maximum": lambda x, y: x.maximum(y),
    "minimum": lambda x, y: x.minimum(y),
    "power": lambda x, y: (x * x + 0.1) ** y,
}
COMPOSITE = {
    "sum": lambda x: x.sum(),
    "sum dim": lambda x: x.sum(dim=1),
    "sum keepdim": lambda x: x.sum(dim=(0, 2), keepdim=True),
    "mean": lambda x: x.mean(dim=-1),
    "var": lambda x: x.var(dim=-1),
    "max": lambda x: x.max(),
    "amax": lambda x: x.amax(dim=1),
    "amin": lambda x: x.amin(dim=-1),
    "softmax": lambda x: x.softmax(-1),
    "softmax of an inner dimension": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "transpose": lambda x: x.transpose(0, 2) * 2,
    "permute": lambda x: x.permute(2, 0, 1).exp(),
    "reshape": lambda x: x.transpose(0, 1).reshape(-1, 4).tanh(),
    "narrow": lambda x: x.narrow(1, 1, 2) * 3,
    "flatten": lambda x: x.flatten(1).sum(dim=0),
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1) * 2,
    "slices": lambda x: x[1:, ::2] * 2,
    "ellipsis": lambda x: x[..., 1] * 2,
    "new dimension": lambda x: x[:, None, 1] * 2,
    "matmul": lambda x: x @ x.transpose(-1, -2),
}


def compare(
    function: Callable[..., Any], pairs: list[tuple[Any, Any]], kind: str, operator: str
) -> None:
    """Values, shapes and the gradients of a weighted sum."""
    ours = function(*(ours for ours, _ in pairs))
    theirs = function(*(theirs for _, theirs in pairs))
    inputs = tuple(pair[0] for pair in pairs)
    assert_close(ours, theirs, kind, operator=operator, inputs=inputs)
    weight, torch_weight = Sides(1).normal(*theirs.shape)
    (ours * weight).sum().backward()
    (theirs * torch_weight).sum().backward()
    for ours_in, theirs_in in pairs:
        assert_close(
            ours_in.grad, theirs_in.grad, "gradient", operator=f"{operator}.vjp", inputs=inputs
        )


@pytest.mark.parametrize("name", UNARY)
def test_unary_and_its_gradient_equal_torch(name: str, sides: Sides) -> None:
    compare(UNARY[name], [sides.normal(3, 5, grad=True)], "elementwise", name)


@pytest.mark.parametrize("name", BINARY)
def test_binary_broadcasts_and_differentiates_as_torch(name: str, sides: Sides) -> None:
    pairs = [sides.normal(4, 1, 5, grad=True), sides.normal(3, 1, grad=True)]
    compare(BINARY[name], pairs, "composite" if name == "power" else "elementwise", name)


@pytest.mark.parametrize("name", COMPOSITE)
def test_reductions_views_and_indexing_equal_torch(name: str, sides: Sides) -> None:
    compare(COMPOSITE[name], [sides.normal(2, 3, 4, grad=True)], "composite", name)


@pytest.mark.parametrize("shapes", [((5,), (5,)), ((2, 3), (3,)), ((3,), (3, 2)),
                                    ((2, 1, 3, 4), (5, 4, 6)), ((7, 33), (33, 65))])  # fmt: skip
def test_matmul_ranks_equal_torch(shapes: Any, sides: Sides) -> None:
    pairs = [sides.normal(*shape, grad=True) for shape in shapes]
    compare(lambda x, y: x @ y, pairs, "matmul", "matmul")


def test_functions_over_several_tensors_equal_torch(sides: Sides) -> None:
    a, b = sides.normal(2, 3, grad=True), sides.normal(2, 3, grad=True)
    assert_close(nt.cat([a[0], b[0]], dim=1), torch.cat([a[1], b[1]], dim=1), "exact")
    assert_close(nt.stack([a[0], b[0]], dim=-1), torch.stack([a[1], b[1]], dim=-1), "exact")
    assert_close(nt.where(a[0] > 0, a[0], b[0]), torch.where(a[1] > 0, a[1], b[1]), "exact")


def test_integer_and_mask_indexing_equal_torch(sides: Sides) -> None:
    x, y = sides.normal(6, 4)
    rows, torch_rows = sides.of([5, 0, -1, 2, 2])
    assert_close(x[rows], y[torch_rows], "exact")
    assert_close(x[1, rows[:3] * 0], y[1, torch_rows[:3] * 0], "exact")
    assert_close(x[x > 0], y[y > 0], "exact")
    assert_close(x[x[:, 0] > 0], y[y[:, 0] > 0], "exact")
    assert_close(x[-2], y[-2], "exact")
    assert_close(x.argmax(dim=1), y.argmax(dim=1), "exact")
    assert x[2, 3].item() == y[2, 3].item()


FUNCTIONAL = {
    "gelu": lambda f, x: f.gelu(x),
    "gelu tanh": lambda f, x: f.gelu(x, approximate="tanh"),
    "silu": lambda f, x: f.silu(x),
    "softplus": lambda f, x: f.softplus(x),
    "relu": lambda f, x: f.relu(x),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_activation_equals_torch(name: str, sides: Sides) -> None:
    ours, theirs = sides.normal(64, grad=True)
    result = FUNCTIONAL[name](nt.nn.functional, ours)
    expected = FUNCTIONAL[name](torch.nn.functional, theirs)
    # Near zeros of the activation the last bits of erf or tanh cancel, in units of the input.
    assert_close(result, expected, "elementwise", operator=name, absolute=1e-6)
    result.sum().backward()
    expected.sum().backward()
    assert_close(ours.grad, theirs.grad, "gradient", operator=f"{name}.vjp")


def test_norms_equal_torch(sides: Sides) -> None:
    x, weight, bias = (sides.normal(*shape, grad=True) for shape in ((4, 96), (96,), (96,)))
    result = nt.nn.functional.layer_norm(x[0], (96,), weight[0], bias[0])
    expected = torch.nn.functional.layer_norm(x[1], (96,), weight[1], bias[1])
    assert_close(result, expected, "composite", operator="layer_norm")
    (result * result).sum().backward()
    (expected * expected).sum().backward()
    for ours, theirs in (x, weight, bias):
        assert_close(ours.grad, theirs.grad, "gradient", operator="layer_norm.vjp")
    y = sides.normal(4, 96)
    result = nt.nn.functional.rms_norm(y[0], (96,), weight[0], eps=1e-5)
    expected = torch.nn.functional.rms_norm(y[1], (96,), weight[1], eps=1e-5)
    assert_close(result, expected, "composite", operator="rms_norm")


@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_gradient_equal_torch(causal: bool, sides: Sides) -> None:
    pairs = [sides.normal(2, 4, 9, 16, grad=True) for _ in range(3)]
    name = "scaled_dot_product_attention"
    result = getattr(nt.nn.functional, name)(*(p[0] for p in pairs), is_causal=causal)
    expected = getattr(torch.nn.functional, name)(*(p[1] for p in pairs), is_causal=causal)
    assert_close(result, expected, "composite", operator=name)
    weight, torch_weight = sides.normal(2, 4, 9, 16)
    (result * weight).sum().backward()
    (expected * torch_weight).sum().backward()
    for ours, theirs in pairs:
        assert_close(ours.grad, theirs.grad, "gradient", operator=f"{name}.vjp")


def test_cross_entropy_equals_torch(sides: Sides) -> None:
    logits, (ids, torch_ids) = sides.normal(8, 50, grad=True), sides.integers(0, 50, 8)
    result = nt.nn.functional.cross_entropy(logits[0], ids)
    expected = torch.nn.functional.cross_entropy(logits[1], torch_ids)
    assert_close(result, expected, "composite", operator="cross_entropy")
    result.backward()
    expected.backward()
    assert_close(logits[0].grad, logits[1].grad, "gradient", operator="cross_entropy.vjp")


COMPLEX_UNARY = {
    **{name: UNARY[name] for name in ("exp", "sin", "cos", "tanh", "sigmoid", "abs", "power")},
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "reciprocal": lambda x: 1 / x,
    "conjugate": lambda x: x.conj() * x,
    "parts": lambda x: x.real * x.imag,
    "angle": lambda x: x.angle(),
    "sgn": lambda x: x.sgn(),
    "sum and mean": lambda x: x.sum(0) * x.mean(),
    "number": lambda x: x * (2 - 1j) + 1j,
}
COMPLEX_BINARY = {
    "arithmetic": lambda x, y: x * y - x / y + 2 * x,
    "power": lambda x, y: x**y,
    "parts": lambda x, y: x.real * y,
}


def complex_pair(sides: Sides, *shape: int) -> tuple[Any, Any]:
    """complex64 with a gradient."""
    values = sides.rng.standard_normal((2, *shape))
    return sides.of((values[0] + 1j * values[1]).astype("complex64"), grad=True)


def compare_complex(function: Callable[..., Any], pairs: list[tuple[Any, Any]], name: str) -> None:
    """Values, dtypes and the gradients of the real part of a weighted sum."""
    ours, theirs = (function(*side) for side in zip(*pairs, strict=True))
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert_close(ours, theirs.resolve_conj(), "composite", operator=name)
    for out, weight in ((ours, nt.tensor(2 - 1j)), (theirs, torch.tensor(2 - 1j))):
        (out * weight).real.sum().backward()
    for our_operand, their_operand in pairs:
        found, expected = our_operand.grad, their_operand.grad.resolve_conj()
        assert_close(found, expected, "gradient", operator=f"{name}.vjp")


@pytest.mark.parametrize("name", COMPLEX_UNARY)
def test_complex_functions_and_their_gradients_equal_torch(name: str, sides: Sides) -> None:
    compare_complex(COMPLEX_UNARY[name], [complex_pair(sides, 3, 5)], name)


@pytest.mark.parametrize("name", COMPLEX_BINARY)
def test_complex_arithmetic_and_its_gradients_equal_torch(name: str, sides: Sides) -> None:
    pairs = [complex_pair(sides, 3, 5), complex_pair(sides, 5)]
    compare_complex(COMPLEX_BINARY[name], pairs, name)


COMPLEX = ("complex128", "complex64")
DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
VALUES = {"tensor": [1, 0, 1], "0-d": 1}


@pytest.mark.parametrize("lhs", [*COMPLEX, *DTYPES])
@pytest.mark.parametrize("ranks", [("tensor", "tensor"), ("tensor", "0-d")])
def test_promotion_table_equals_torch(lhs: str, ranks: tuple[str, str]) -> None:
    for rhs in [*COMPLEX, *DTYPES]:
        if lhs == "float16" and rhs in COMPLEX and ranks[1] == "0-d":
            continue  # complex numbers of halves are experimental in PyTorch
        ours = [
            nt.tensor(VALUES[rank], dtype=our_dtype(name))
            for rank, name in zip(ranks, (lhs, rhs), strict=True)
        ]
        theirs = [
            torch.tensor(VALUES[rank], dtype=torch_dtype(name))
            for rank, name in zip(ranks, (lhs, rhs), strict=True)
        ]
        for sign in ("+", "*", "/"):
            names = {"a": ours[0], "b": ours[1]}, {"a": theirs[0], "b": theirs[1]}
            result, expected = (eval(f"a {sign} b", {}, scope) for scope in names)
            assert result.dtype.name == str(expected.dtype).removeprefix("torch."), (
                f"{lhs} {sign} {rhs}"
            )


@pytest.mark.parametrize("dtype", [*COMPLEX, *DTYPES])
@pytest.mark.parametrize("number", [True, 2, 0.5, 2 - 1j])
def test_promotion_with_numbers_equals_torch(dtype: str, number: complex) -> None:
    if dtype == "float16" and isinstance(number, complex):
        return  # complex numbers of halves are experimental in PyTorch
    ours, theirs = (
        nt.tensor([1, 0], dtype=our_dtype(dtype)) * number,
        torch.tensor([1, 0], dtype=torch_dtype(dtype)) * number,
    )
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert (as_numpy(ours.to(nt.complex128)) == as_numpy(theirs.to(torch.complex128))).all()
