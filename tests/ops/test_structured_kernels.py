"""Kernels of softmax, norms, rope, attention and indexing against their NumPy references."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbatorch.backends.reference import ReferenceBackend
from numbatorch.errors import DTypeError, OutOfRange
from numbatorch.gradients import gradients
from numbatorch.graph import Node
from numbatorch.ops import attention, index, norm, rope, softmax, sort
from numbatorch.ops.drawing import Draw
from numbatorch.ops.structured import Structured
from tests.compare import assert_close
from tests.run_kernel import infer, node_of, run_op, run_parts

Array = np.ndarray[Any, Any]

ROWS = (
    softmax.softmax_,
    softmax.softmax_backward,
    softmax.log_softmax_,
    softmax.log_softmax_backward,
    norm.rms_norm,
    norm.rms_norm_backward,
    norm.layer_norm,
    norm.layer_norm_backward,
    rope.rope_,
    attention.attention_,
    attention.attention_backward,
)
INDEXING = (index.take, index.gather, index.index_add, index.scatter_add)
KIND = {
    index.take: "exact",
    index.gather: "exact",
    index.index_add: "reduction",
    index.scatter_add: "reduction",
    attention.attention_backward: "gradient",
    norm.rms_norm_backward: "gradient",
    norm.layer_norm_backward: "gradient",
}
FLOATS = ("float32", "float64", "float16", "bfloat16")

names = [op.name for op in ROWS + INDEXING]


def in_dtype(arrays: list[Array], dtype: str) -> list[Array]:
    """Floats of the list as `dtype`."""
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    return [x.astype(kind) if x.dtype.kind == "f" else x for x in arrays]


def reference(op: Structured, arrays: list[Array], attrs: dict[str, Any]) -> list[Array]:
    """The outputs of the operator's NumPy definition in float64, on the rounded operands."""
    floating = [x.dtype.kind not in "iub" for x in arrays]
    wide = [x.astype(np.float64) if f else x for x, f in zip(arrays, floating, strict=True)]
    with np.errstate(all="ignore"):
        found = op.reference(*wide, **attrs)
    return [np.asarray(x) for x in (found if isinstance(found, tuple) else (found,))]


def check(op: Structured, arrays: list[Array], attrs: dict[str, Any], parts: int = 2) -> None:
    """The kernels give what the reference gives, the same bits into however many parts shared."""
    kind = KIND.get(op, "composite")
    found = run_parts(op, arrays, attrs, parts)
    for out, alone in zip(found, run_parts(op, arrays, attrs, 1), strict=True):
        assert out.tobytes() == alone.tobytes(), (op.name, parts, attrs, *(x.shape for x in arrays))
    nodes = infer(op, arrays, attrs)
    for out, node, expected in zip(found, nodes, reference(op, arrays, attrs), strict=True):
        assert out.shape == node.shape
        assert out.dtype == node.dtype.numpy
        about = {"dtype": node.dtype.name, "operator": op.name, "inputs": tuple(arrays)}
        assert_close(out, expected, kind, **about)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ROWS + INDEXING, ids=names)
def test_samples_equal_the_reference(op: Structured, dtype: str) -> None:
    assert op.sample is not None
    for round_ in range(6):
        arrays, attrs = op.sample(Draw(round_))
        check(op, in_dtype(arrays, dtype), attrs, parts=1 + round_ % 3)


@pytest.mark.parametrize("op", ROWS, ids=names[: len(ROWS)])
def test_fallback_equals_the_reference(op: Structured) -> None:
    assert op.sample is not None
    assert op.decomposition is not None
    for seed in range(8):
        arrays, attrs = op.sample(Draw(seed))
        found = op.decomposition(*map(node_of, arrays), **{**op.defaults, **attrs})
        nodes = found if isinstance(found, tuple) else (found,)
        ReferenceBackend().realize(nodes)
        for node, expected in zip(nodes, reference(op, arrays, attrs), strict=True):
            assert_close(node.buffer, expected, "gradient", operator=op.name)


def value(node: Node) -> Array:
    """What device "numpy" computes for a node."""
    ReferenceBackend().realize([node])
    return np.asarray(node.buffer)


def directional(op: Structured, arrays: list[Array], attrs: dict[str, Any], order: int) -> None:
    """Derivative along a random direction against a central difference, of op or its gradient."""
    rng = np.random.default_rng(1)
    cotangents = [node_of(rng.standard_normal(x.shape)) for x in infer(op, arrays, attrs)]
    smooth = [i for i, x in enumerate(arrays) if x.dtype.kind == "f"]
    ways = {i: rng.standard_normal(arrays[i].shape) for i in smooth}
    second = {i: node_of(rng.standard_normal(arrays[i].shape)) for i in smooth}

    def evaluate(step: float) -> tuple[Node, list[Node]]:
        moved = [x + step * ways[i] if i in ways else x for i, x in enumerate(arrays)]
        nodes = [node_of(x) for x in moved]
        for i in smooth:
            nodes[i].requires_grad = True
        outs = op.parts(*nodes, **attrs)
        if order == 1:
            terms = [_total(out * g) for out, g in zip(outs, cotangents, strict=True)]
        else:
            first = gradients(outs, cotangents, [nodes[i] for i in smooth])
            terms = [_total(g * second[i]) for g, i in zip(first, smooth, strict=True) if g]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total, nodes

    total, nodes = evaluate(0.0)
    one = node_of(np.ones(()))
    found = gradients([total], [one], [nodes[i] for i in smooth])
    along = sum(
        float((value(g) * ways[i]).sum())
        for g, i in zip(found, smooth, strict=True)
        if g is not None
    )
    step = 1e-5
    numeric = float(value(evaluate(step)[0]) - value(evaluate(-step)[0])) / (2 * step)
    assert abs(along - numeric) <= 1e-6 * max(1.0, abs(numeric)), (op.name, along, numeric)


def _total(node: Node) -> Node:
    from numbatorch.ops.reduce import reduced, sum_

    return reduced(sum_, node)


@pytest.mark.parametrize("op", ROWS + INDEXING, ids=names)
def test_gradients_equal_central_differences(op: Structured) -> None:
    assert op.sample is not None
    for seed in range(3):
        arrays, attrs = op.sample(Draw(seed))
        directional(op, arrays, attrs, order=1)


@pytest.mark.parametrize("op", ROWS, ids=names[: len(ROWS)])
def test_second_gradients_equal_central_differences(op: Structured) -> None:
    assert op.sample is not None
    for seed in range(3):
        arrays, attrs = op.sample(Draw(seed))
        directional(op, arrays, attrs, order=2)


ROW_SHAPES = st.tuples(st.integers(0, 5), st.sampled_from([1, 2, 15, 16, 17, 33, 64, 100, 257]))


@given(ROW_SHAPES, st.sampled_from(FLOATS), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_rows_of_any_length(shape: tuple[int, int], dtype: str, parts: int, seed: int) -> None:
    x, g = np.random.default_rng(seed).standard_normal((2, *shape))
    weight, bias = np.random.default_rng(seed).standard_normal((2, shape[1]))
    for op, arrays, attrs in (
        (softmax.softmax_, [4 * x], {}),
        (softmax.log_softmax_, [4 * x], {}),
        (softmax.softmax_backward, [g, x], {}),
        (norm.rms_norm, [x, weight], {"eps": 1e-5}),
        (norm.layer_norm, [x + 3, weight, bias], {"eps": 1e-3}),
        (norm.rms_norm_backward, [g, x, weight], {"eps": 1e-5}),
        (norm.layer_norm_backward, [g, x, weight], {"eps": 1e-1}),
    ):
        check(op, in_dtype(arrays, dtype), attrs, parts)


def test_weights_of_another_dtype_than_x() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((3, 20)), rng.standard_normal(20)
    for x_dtype, weight_dtype in (
        ("bfloat16", "float32"),
        ("float32", "bfloat16"),
        ("float16", "bfloat16"),
        ("float64", "float32"),
        ("float32", "float64"),
    ):
        arrays = [*in_dtype([x], x_dtype), *in_dtype([weight], weight_dtype)]
        check(norm.rms_norm, arrays, {"eps": 1e-5})
        check(norm.rms_norm_backward, [arrays[0], *arrays], {"eps": 1e-5})


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_of_infinities_and_nan(dtype: str) -> None:
    inf, nan = np.inf, np.nan
    row = np.tile(np.array([1.0, -inf, 2.0, 3.0]), 9)
    rows = np.stack([row, row, row, np.full(36, -inf), np.full(36, 90.0)])
    rows[1, 17], rows[2, 35] = nan, inf
    check(softmax.softmax_, in_dtype([rows], dtype), {})
    out = run_op(softmax.log_softmax_, in_dtype([rows[:1]], dtype), {})
    assert np.isneginf(out[0, 1::4].astype(np.float64)).all()


@given(st.data())
def test_rope_of_strided_heads(data: st.DataObject) -> None:
    B, H, T, half = (data.draw(st.integers(0, 4)) for _ in range(4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    order = data.draw(st.permutations(range(4)))
    shape = (B, H, T, 2 * half)
    x = rng.standard_normal([shape[i] for i in order]).transpose(np.argsort(order))
    cos, sin = rng.standard_normal((2, T + 3, half))
    attrs = {
        "position": data.draw(st.integers(0, 3)),
        "interleaved": data.draw(st.booleans()),
        "inverse": data.draw(st.booleans()),
    }
    x, cos, sin = in_dtype([x, cos, sin], data.draw(st.sampled_from(FLOATS)))
    check(rope.rope_, [x, cos, sin], attrs, parts=data.draw(st.integers(1, 3)))


@st.composite
def attentions(draw: st.DrawFn, most_tokens: int, most_keys: int) -> Any:
    """Operands of attention under any strides, with masks that repeat along dimensions."""
    B, G, R, D, E = (draw(st.integers(1, n)) for n in (2, 3, 3, 90, 90))
    T, more = draw(st.integers(0, most_tokens)), draw(st.integers(0, most_keys))
    H, S = G * R, T + more
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = [rng.standard_normal(s) for s in ((B, H, T, D), (B, G, S, D), (B, G, S, E))]
    if draw(st.booleans()):  # heads within tokens, as a projection leaves them
        arrays = [np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in arrays]
    if draw(st.booleans()):
        arrays = [np.asfortranarray(x) for x in arrays]
    causal = draw(st.booleans())
    if draw(st.booleans()):
        shape = [n if draw(st.booleans()) else 1 for n in (B, H, T, S)]
        arrays.append(np.broadcast_to(rng.random(shape) < 0.6, (B, H, T, S)))
    position = draw(st.integers(0, more)) if causal else 0
    arrays = in_dtype(arrays, draw(st.sampled_from(FLOATS)))
    window = draw(st.none() | st.integers(1, S + 1)) if causal and S else None
    attrs = {"scale": D**-0.5, "causal": causal, "position": position}
    return arrays, {**attrs, "window": window, "softcap": draw(st.sampled_from([None, 1.5]))}


@given(attentions(100, 150), st.integers(1, 3))
def test_attention_of_many_queries(drawn: Any, parts: int) -> None:
    check(attention.attention_, *drawn, parts)


@given(attentions(4, 1200), st.integers(1, 8))
def test_attention_of_few_queries(drawn: Any, parts: int) -> None:
    check(attention.attention_, *drawn, parts)


@given(attentions(100, 100), st.integers(1, 3))
def test_gradient_of_attention(drawn: Any, parts: int) -> None:
    (q, k, v, *mask), attrs = drawn
    g = np.random.default_rng(0).standard_normal((*q.shape[:3], v.shape[3])).astype(q.dtype)
    check(attention.attention_backward, [g, q, k, v, *mask], attrs, parts)


@pytest.mark.parametrize("tokens", [2, 70])
def test_a_query_that_sees_nothing_gives_zeros(tokens: int) -> None:
    rng = np.random.default_rng(0)
    q, k, v, g = rng.standard_normal((4, 1, 2, tokens, 8)).astype(np.float32)
    mask = rng.random((1, 2, tokens, tokens)) < 0.5
    mask[0, 1, 1] = False
    attrs = {"scale": 0.3, "causal": False, "position": 0}
    out = run_op(attention.attention_, [q, k, v, mask], attrs)
    assert not out[0, 1, 1].any()
    parts = run_parts(attention.attention_backward, [g, q, k, v, mask], attrs)
    assert all(np.isfinite(part).all() for part in parts)


@pytest.mark.parametrize("tokens", [1, 40])
def test_nan_in_a_query_reaches_its_output_only(tokens: int) -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, 2, tokens, 8)).astype(np.float32)
    q[0, 1, 0, 3] = np.nan
    attrs = {"scale": 0.3, "causal": False, "position": 0}
    out = run_op(attention.attention_, [q, k, v], attrs)
    assert np.isnan(out[0, 1, 0]).all()
    assert np.isnan(out).sum() == 8


@pytest.mark.parametrize("tokens", [1, 40])
def test_keys_outside_of_a_window_are_not_read(tokens: int) -> None:
    rng = np.random.default_rng(0)
    q = rng.standard_normal((1, 2, tokens, 8)).astype(np.float32)
    k, v = rng.standard_normal((2, 1, 1, 700, 8)).astype(np.float32)
    attrs = {"scale": 0.3, "causal": True, "position": 600, "window": 300, "softcap": 2.0}
    expected = reference(attention.attention_, [q, k, v], attrs)
    for x in (k, v):
        x[:, :, :301] = x[:, :, 600 + tokens :] = np.nan
    assert_close(run_op(attention.attention_, [q, k, v], attrs), expected[0], "composite")


def test_a_window_or_cap_that_nobody_can_mean() -> None:
    q, k = np.ones((1, 1, 2, 8), np.float32), np.ones((1, 1, 5, 8), np.float32)
    attrs = {"scale": 0.3, "causal": True, "position": 3}
    for wrong, said in (
        ({"window": 0}, "attention: window 0, causal True"),
        ({"window": 2, "causal": False}, "attention: window 2, causal False"),
        ({"softcap": 0.0}, r"attention: softcap 0\.0 is not positive"),
    ):
        with pytest.raises(ValueError, match=said):
            infer(attention.attention_, [q, k, k], {**attrs, **wrong})


@pytest.mark.parametrize("kind", ["int64", "int32", "int16", "int8", "uint8", "uint16", "uint64"])
def test_indices_of_any_integer_dtype(kind: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 40)).astype(np.float32)
    rows, columns = rng.integers(0, 5, 7).astype(kind), rng.integers(0, 40, (5, 3)).astype(kind)
    check(index.take, [x, rows], {})
    check(index.gather, [x, columns], {})
    check(index.index_add, [x, rows, rng.standard_normal((7, 40)).astype(np.float32)], {})
    check(index.scatter_add, [x, columns, rng.standard_normal((5, 3)).astype(np.float32)], {})


@pytest.mark.parametrize("kind", ["bool", "uint8", "int16", "float8_e4m3fn", "int32", "uint64"])
def test_taken_rows_keep_every_bit(kind: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, kind, kind))
    data = np.random.default_rng(0).integers(0, 2, (5, 37 * dtype.itemsize), np.uint8)
    x, rows = data.view(dtype), np.array([[4, 0], [2, 2]])
    out = run_op(index.take, [x, rows], {}, parts=3)
    assert np.array_equal(out.view(np.uint8), x[rows].view(np.uint8))


@given(st.integers(0, 6), st.integers(1, 80), st.integers(0, 30), st.integers(1, 4))
def test_added_rows_of_any_shape(bound: int, cols: int, count: int, parts: int) -> None:
    rng = np.random.default_rng(count)
    rows = rng.integers(0, bound, count if bound else 0)
    base, value = rng.standard_normal((bound, cols)), rng.standard_normal((rows.size, cols))
    for dtype in ("float32", "bfloat16"):
        arrays = in_dtype([base, rows, value], dtype)
        check(index.index_add, arrays, {}, parts)
    columns = rng.integers(0, cols, (bound, count))
    added = rng.standard_normal((bound, count))
    check(index.scatter_add, [base, columns, added], {}, parts)
    check(index.gather, [base, columns], {}, parts)


@given(st.data())
def test_topk_of_rows_with_ties_and_nan(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from((*FLOATS, "int64", "uint8", "bool")))
    rows, cols = data.draw(st.integers(0, 4)), data.draw(st.sampled_from([0, 1, 2, 7, 40, 300]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.integers(0, data.draw(st.sampled_from([1, 3, 1000])), (rows, cols)).astype(np.float64)
    if dtype in FLOATS:
        x[rng.random(x.shape) < 0.1] = np.nan
        x[rng.random(x.shape) < 0.1] = -np.inf
        x[rng.random(x.shape) < 0.1] = -0.0
        x = in_dtype([x], dtype)[0]
    else:
        x = x.astype(dtype)
    attrs = {"k": data.draw(st.integers(0, cols)), "largest": data.draw(st.booleans())}
    found = run_parts(sort.topk_, [x], attrs, parts=data.draw(st.integers(1, 3)))
    for out, expected in zip(found, reference(sort.topk_, [x], attrs), strict=True):
        np.testing.assert_array_equal(out.astype(expected.dtype), expected)


@pytest.mark.parametrize("wrong", [-1, 5, 2**62])
def test_an_index_out_of_range_is_reported_and_not_followed(wrong: int) -> None:
    x = np.ones((5, 5), np.float32)
    rows = np.array([0, wrong, 4])
    columns = np.full((5, 2), wrong)
    for op, arrays in (
        (index.take, [x, rows]),
        (index.gather, [x, columns]),
        (index.index_add, [x, rows, np.ones((3, 5), np.float32)]),
        (index.scatter_add, [x, columns, np.ones((5, 2), np.float32)]),
    ):
        with pytest.raises(OutOfRange, match=str(wrong)):
            run_op(op, arrays, {}, parts=2)
        with pytest.raises(IndexError, match=str(wrong)):
            op.reference(*arrays)


def test_sums_of_half_types_are_rounded_once() -> None:
    base, value = np.zeros((1, 1), np.float16), np.full((4096, 1), 1.0, np.float16)
    value[:] = 0.25
    rows = np.zeros(4096, np.int64)
    assert run_op(index.index_add, [base, rows, value], {})[0, 0] == 1024


def test_adding_to_bool_is_refused() -> None:
    x = np.zeros((2, 2), bool)
    with pytest.raises(DTypeError, match="index_add: has no meaning for bool"):
        infer(index.index_add, [x, np.array([0]), x[:1]], {})


@pytest.mark.parametrize("tokens", [0, 3, 40])
@pytest.mark.parametrize("empty", ["batch", "heads", "keys", "D", "E"])
def test_attention_over_nothing(empty: str, tokens: int) -> None:
    B, H, S, D, E = (0 if empty == name else 2 for name in ("batch", "heads", "keys", "D", "E"))
    rng = np.random.default_rng(0)
    shapes = ((B, H, tokens, E), (B, H, tokens, D), (B, 2, S, D), (B, 2, S, E))
    g, q, k, v = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    attrs = {"scale": 1.0, "causal": False, "position": 0}
    check(attention.attention_, [q, k, v], attrs)
    check(attention.attention_backward, [g, q, k, v], attrs)


@pytest.mark.parametrize(
    "op", [softmax.softmax_, norm.rms_norm, attention.attention_], ids=lambda op: op.name
)
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_float8_is_computed_in_float32_and_rounded_once(op: Structured, dtype: str) -> None:
    assert op.sample is not None
    arrays, attrs = op.sample(Draw(2))
    arrays = in_dtype(arrays, dtype)
    (wide,) = reference(op, arrays, attrs)
    expected = wide.astype(arrays[0].dtype).astype(np.float64)
    out = run_op(op, arrays, attrs).astype(np.float64)
    assert_close(out, expected, dtype=dtype, operator=op.name)
