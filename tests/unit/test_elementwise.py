"""Gradients of the elementwise operators, first and second, and their conventions at corners.

On device "numpy", so that no kernel is compiled.
"""

from typing import Any

import numpy as np
import pytest

from numbatorch import dtype as dt
from numbatorch.backends.reference import ReferenceBackend
from numbatorch.errors import DTypeError
from numbatorch.gradients import gradients, ones_like
from numbatorch.graph import GradMode, Node
from numbatorch.ops import activation, binary, compare, unary
from numbatorch.ops.cast import cast
from numbatorch.ops.families import all_ops
from numbatorch.ops.registry import Elementwise
from tests.run_kernel import node_of

Array = np.ndarray[Any, Any]
OPS = [
    op
    for op in all_ops()
    if isinstance(op, Elementwise)
    and op.differentiable
    and op.name not in ("cast", "complex")  # complex numbers: tests/ops/test_complex.py
    and dt.float64 in op.dtypes
]


def value(node: Node) -> Array:
    ReferenceBackend().realize([node])
    return node.buffer


def leaf(array: Any) -> Node:
    node = node_of(np.asarray(array))
    node.requires_grad = node.dtype.kind == "f"
    return node


def differentiate(op: Elementwise, arrays: list[Array], order: int) -> list[Array]:
    """Gradients of sum(op(x)), or of the sum of the squares of those gradients."""
    leaves = [leaf(x) for x in arrays]
    free = [x for x in leaves if x.requires_grad]
    out = op.apply(*leaves, **op.defaults)
    found = gradients([out], [ones_like(out)], free)
    for _ in range(order - 1):
        out = sum_of_squares(found)
        found = gradients([out], [ones_like(out)], free) if out.requires_grad else [None] * 9
    return [np.zeros(x.shape) if g is None else value(g) for x, g in zip(free, found, strict=False)]


def sum_of_squares(nodes: list[Node | None]) -> Node:
    squares = [unary.square.apply(node) for node in nodes if node is not None]
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    return total


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_gradient_is_the_central_difference(op: Elementwise, order: int) -> None:
    rng = np.random.default_rng(0)
    arrays = [
        rng.random(40) < 0.5 if i in op.fixed else rng.uniform(*op.domain, 40)
        for i in range(op.arity)
    ]

    def function(arrays: list[Array]) -> Array:
        if order == 1:
            return value(op.apply(*map(leaf, arrays), **op.defaults))
        return sum(g**2 for g in differentiate(op, arrays, 1))

    step = 1e-6
    free = [i for i in range(op.arity) if i not in op.fixed]
    for i, actual in zip(free, differentiate(op, arrays, order), strict=True):
        moved = [[x + s * step * (k == i) for k, x in enumerate(arrays)] for s in (1, -1)]
        moved = [[x if k not in op.fixed else arrays[k] for k, x in enumerate(m)] for m in moved]
        expected = (function(moved[0]) - function(moved[1])) / (2 * step)
        np.testing.assert_allclose(actual, expected, 2e-5, 1e-6)


CORNERS: list[tuple[Elementwise, list[float], list[float]]] = [
    (activation.relu_, [0.0], [0.0]),
    (activation.leaky_relu_, [0.0], [0.01]),
    (unary.abs_, [0.0], [0.0]),
    (unary.sign, [2.0], [0.0]),
    (unary.sqrt, [0.0], [np.inf]),
    (unary.round_, [0.5], [0.0]),
    (binary.maximum, [1.0, 1.0], [0.5, 0.5]),
    (binary.minimum, [1.0, 1.0], [0.5, 0.5]),
    (binary.maximum, [2.0, 1.0], [1.0, 0.0]),
    (binary.minimum, [2.0, 1.0], [0.0, 1.0]),
    (binary.pow_, [-2.0, 3.0], [12.0, np.nan]),
    (binary.pow_, [-2.0, 2.0], [-4.0, np.nan]),
    (binary.pow_, [0.0, 2.0], [0.0, 0.0]),
    (binary.pow_, [0.0, 1.0], [1.0, 0.0]),
    (binary.pow_, [0.0, 0.0], [0.0, 0.0]),
    (binary.pow_, [0.0, 0.5], [np.inf, 0.0]),
    (binary.pow_, [np.inf, 0.0], [0.0, np.inf]),
    (binary.remainder, [5.5, -2.0], [1.0, 3.0]),
    (binary.floor_divide, [5.5, 2.0], [0.0, 0.0]),
    (activation.gelu_, [40.0], [1.0]),
    (activation.gelu_, [-40.0], [0.0]),
    (activation.softplus_, [1000.0], [1.0]),
    (unary.tanh, [100.0], [0.0]),
]


@pytest.mark.parametrize(("op", "at", "expected"), CORNERS, ids=lambda v: getattr(v, "name", None))
def test_gradient_at_corners(op: Elementwise, at: list[float], expected: list[float]) -> None:
    actual = differentiate(op, [np.array([x]) for x in at], 1)
    np.testing.assert_array_equal(np.concatenate(actual), expected)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_second_derivative_of_pow_at_zero(exponent: float) -> None:
    base = leaf(np.array([0.0]))
    out = binary.pow_.apply(base, exponent)
    for _ in range(2):
        (out,) = gradients([out], [ones_like(out)], [base])
    assert value(out).tolist() == [2.0 if exponent == 2.0 else 0.0]


def test_where_does_not_look_at_what_it_does_not_choose() -> None:
    x = leaf(np.array([0.0, 4.0]))
    safe = compare.where.apply(compare.gt.apply(x, 0.0), unary.sqrt.apply(x), 0.0)
    assert value(safe).tolist() == [0.0, 2.0]
    condition, lhs, rhs = (
        leaf(np.array([True, False])),
        leaf(np.array([1.0, 2.0])),
        leaf(np.ones(2)),
    )
    out = compare.where.apply(condition, lhs, rhs)
    found = gradients([out], [ones_like(out)], [lhs, rhs])
    assert [value(g).tolist() for g in found if g is not None] == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("op", "dtype", "expected"),
    [
        (unary.exp, dt.int64, dt.float32),
        (unary.exp, dt.bfloat16, dt.bfloat16),
        (unary.sqrt, dt.bool_, dt.float32),
        (binary.div, dt.int32, dt.float32),
        (binary.add, dt.bool_, dt.bool_),
        (binary.pow_, dt.int8, dt.int8),
        (unary.floor, dt.int16, dt.int16),
        (compare.lt, dt.float16, dt.bool_),
        (compare.isnan, dt.int64, dt.bool_),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_dtype_of_results(op: Elementwise, dtype: dt.DType, expected: dt.DType) -> None:
    x = node_of(np.ones(2, dtype.numpy))
    assert op.apply(*[x] * op.arity).dtype is expected


@pytest.mark.parametrize(
    ("op", "dtype"),
    [(binary.sub, dt.bool_), (unary.neg, dt.bool_), (binary.bitwise_and, dt.float32)],
    ids=lambda v: getattr(v, "name", None),
)
def test_operators_without_a_meaning(op: Elementwise, dtype: dt.DType) -> None:
    x = node_of(np.ones(2, dtype.numpy))
    with pytest.raises(DTypeError, match=f"{op.name}: has no meaning for {dtype.name}"):
        op.apply(*[x] * op.arity)


def test_cast_goes_back_in_the_gradient() -> None:
    x = leaf(np.array([1.5, -2.5], np.float32))
    out = cast.apply(x, dtype=dt.float64)
    (found,) = gradients([out], [ones_like(out)], [x])
    assert found is not None
    assert (found.dtype, value(found).tolist()) == (dt.float32, [1.0, 1.0])


def test_cast_of_floats_out_of_range() -> None:
    x = node_of(np.array([300.0, -1.0, np.nan, 2.9, -np.inf], np.float32))
    assert value(cast.apply(x, dtype=dt.uint8)).tolist() == [255, 0, 0, 2, 0]
    assert value(cast.apply(x, dtype=dt.int8)).tolist() == [127, -1, 0, 2, -128]
    assert value(cast.apply(x, dtype=dt.bool_)).tolist() == [True] * 5


SHORT = [op for op in all_ops() if isinstance(op, Elementwise) and op.quick and op.arity < 3]
NUMBERS = (0.5, -0.0, 2.0, 3, -1, 0, 1 << 15, 1 << 40, True, 1e300, np.inf, 2j, np.float32(2))


def shown(node: Node) -> Any:
    """All that a node is, its inputs too."""
    names = [name for name in Node.__slots__ if not name.startswith("__") and name != "inputs"]
    found = [getattr(node, name, None) for name in names]
    kinds = [(type(value), repr(value)) for value in node.attrs.values()]
    inputs = [x if x.buffer is not None else shown(x) for x in node.inputs]
    return type(node), found, kinds, inputs


def outcome(call: Any, *operands: Any) -> Any:
    try:
        return shown(call(*operands))
    except (DTypeError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("op", SHORT, ids=lambda op: op.name)
def test_the_short_ways_make_the_nodes_of_the_long_one(op: Elementwise) -> None:
    """On operands of every dtype, alike and not, with numbers on either side."""
    nodes = [
        node_of(np.ones(shape, dtype.numpy))
        for dtype in (dt.float64, dt.float32, dt.float16, dt.int64, dt.int8, dt.uint8, dt.bool_)
        for shape in ((2, 3), (3,), ())
    ] + [node_of(np.ones(2, np.complex64))]
    for x in list(nodes):
        if x.dtype.kind in "fc":
            nodes.append(node_of(np.ones(x.shape, x.dtype.numpy)))
            nodes[-1].requires_grad = True
    for recorded in (True, False):
        with GradMode(recorded):
            for x in nodes:
                others = [()] if op.arity == 1 else [(y,) for y in (*nodes, *NUMBERS)]
                for rest in others:
                    for operands in {(x, *rest): 0, (*rest, x): 0}:
                        assert outcome(op.apply, *operands) == outcome(op.promoted, *operands)


def test_the_gradient_of_a_power_is_the_same_for_a_number_and_for_a_tensor() -> None:
    for exponent in (2.0, 0.0, 1.0, 0.5, -1.0, np.nan, np.inf, 3.0):
        base = np.array([0.0, 1.0, 2.0, -3.0, np.inf])
        found = []
        for other in (exponent, node_of(np.full(5, exponent))):
            x = leaf(base)
            y = binary.pow_.apply(x, other)
            (gradient,) = gradients([y], [ones_like(y)], [x])
            assert gradient is not None
            (again,) = gradients([gradient], [ones_like(gradient)], [x])
            found.append([value(gradient), 0 * base if again is None else value(again)])
        np.testing.assert_array_equal(found[0][0], found[1][0], str(exponent))
        np.testing.assert_allclose(found[0][1], found[1][1], 1e-12, err_msg=str(exponent))
