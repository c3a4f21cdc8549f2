"""Kernels of rows and indices on each GPU that runs here, against NumPy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.cuda_kernels import nll as nll_kernels
from numbatorch.cuda_kernels.index import add_rows
from numbatorch.cuda_kernels.softmax import softmax_rows
from numbatorch.errors import OutOfRange
from numbatorch.graph import Node
from numbatorch.ops import index, nll, norm, rope, softmax, sort
from numbatorch.ops.portable import index as portable_index
from numbatorch.ops.portable import radix
from numbatorch.ops.structured import Structured
from numbatorch.ops.view import permute
from numbatorch.tensor.base import host_array, host_node
from tests.compare import assert_close
from tests.run_gpu import run_groups

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
)
FLOATS = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
SHAPES = ((0, 3), (3, 1), (2, 2), (1, 31), (2, 32), (3, 33), (1, 200))
KINDS = dict.fromkeys((norm.rms_norm_backward, norm.layer_norm_backward), "gradient")
KINDS |= dict.fromkeys((index.take, index.gather, sort.topk_, sort.sort_), "exact")
NAN, INF = np.nan, np.inf


@pytest.fixture(params=[False, True], ids=["any order", "in order"])
def in_order(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether sums are the same in every run."""
    nt.use_deterministic_algorithms(request.param)
    yield request.param
    nt.use_deterministic_algorithms(False)


def typed(arrays: list[Array], dtype: str) -> list[Array]:
    """Floats of the list as `dtype`."""
    kind = dt.by_name[dtype].numpy
    return [x.astype(kind) if x.dtype.kind == "f" else x for x in arrays]


def require(device: str, dtype: str) -> None:
    if device == "metal" and dtype == "float64":
        pytest.skip("Metal has no float64")


def on_device(array: Array, device: str) -> Node:
    return host_node(np.ascontiguousarray(array), dt.from_numpy(array.dtype), nt.device(device))


def compare(
    device: str, op: Structured, nodes: tuple[Node, ...], arrays: list[Array], attrs: dict[str, Any]
) -> None:
    """Results are what the operator's definition gives in float64 on the rounded operands."""
    wide = [x if x.dtype.kind in "iub" else x.astype(np.float64) for x in arrays]
    with np.errstate(all="ignore"):
        found = op.reference(*wide, **{**op.defaults, **attrs})
    outputs = found if isinstance(found, tuple) else (found,)
    for node, expected in zip(nodes, outputs, strict=True):
        assert_close(
            host_array(node),
            np.asarray(expected),
            KINDS.get(op, "composite"),
            dtype=node.dtype.name,
            operator=op.name,
            inputs=tuple(arrays),
            device=device,
        )


def check(device: str, op: Structured, arrays: list[Array], **attrs: Any) -> None:
    nodes = op.parts(*(on_device(x, device) for x in arrays), **attrs)
    compare(device, op, nodes, arrays, attrs)


def rows_of(op: Structured, shape: tuple[int, int]) -> tuple[list[Array], dict[str, Any]]:
    """Operands of a row operator."""
    rng = np.random.default_rng(sum(shape))
    x, g = rng.standard_normal((2, *shape))
    weight, bias = rng.standard_normal((2, shape[1]))
    arrays = {
        softmax.softmax_: [4 * x],
        softmax.log_softmax_: [4 * x],
        softmax.softmax_backward: [g, x],
        softmax.log_softmax_backward: [g, x],
        norm.rms_norm: [x, weight],
        norm.layer_norm: [x + 3, weight, bias],
    }.get(op, [g, x, weight])
    return arrays, {"eps": 0.1} if op.family == "norm" else {}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_rows_of_any_length(gpu: str, op: Structured, shape: tuple[int, int]) -> None:
    arrays, attrs = rows_of(op, shape)
    check(gpu, op, typed(arrays, "float32"), **attrs)


@pytest.mark.parametrize("dtype", FLOATS[1:])
@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_rows_of_any_dtype(gpu: str, op: Structured, dtype: str) -> None:
    require(gpu, dtype)
    arrays, attrs = rows_of(op, (2, 5))
    check(gpu, op, typed(arrays, dtype), **attrs)


@pytest.mark.parametrize("op", [norm.rms_norm_backward, norm.layer_norm_backward], ids=str)
def test_gradients_of_weights_over_several_blocks_of_rows(gpu: str, op: Structured) -> None:
    arrays, attrs = rows_of(op, (35, 3))
    check(gpu, op, typed(arrays, "float32"), **attrs)


@pytest.mark.parametrize("span", [1, 4, 64])
@pytest.mark.parametrize("ignored", [0, 7])
def test_means_of_rows_that_groups_share(
    gpu: str, span: int, ignored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nll_kernels, "SPAN", span)
    rng = np.random.default_rng(span)
    losses, target = rng.standard_normal((3, 37)), rng.integers(0, 3, (3, 37))
    target[1] = ignored  # nothing counts
    check(gpu, nll.mean_of_counted, typed([losses, target], "float32"), ignored=ignored)
    target[1, 5] = ignored + 1
    arrays = typed([losses[:, 0], target], "float32")
    check(gpu, nll.mean_of_counted_backward, arrays, ignored=ignored)


@pytest.mark.parametrize(
    ("x_dtype", "weight_dtype"),
    [("bfloat16", "float32"), ("float32", "bfloat16"), ("float16", "bfloat16")],
)
def test_weights_of_another_dtype_than_x(gpu: str, x_dtype: str, weight_dtype: str) -> None:
    for op in (norm.rms_norm, norm.rms_norm_backward):
        (*others, weight), attrs = rows_of(op, (2, 5))
        check(gpu, op, [*typed(others, x_dtype), *typed([weight], weight_dtype)], **attrs)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_softmax_of_infinities_and_nan(gpu: str, dtype: str) -> None:
    rows = np.tile([1.0, -INF, 2.0, 3.0], (5, 9))
    rows[1, 17], rows[2, 35], rows[3], rows[4] = NAN, INF, -INF, 90.0
    check(gpu, softmax.softmax_, typed([rows], dtype))
    check(gpu, softmax.log_softmax_, typed([rows[1:]], dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (3, 1, 0, 2)], ids=str)
@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "interleaved"])
def test_rope(gpu: str, order: tuple[int, ...], interleaved: bool, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, cos, sin = rng.standard_normal((2, 3, 2, 6)), *rng.standard_normal((2, 5, 3))
    arrays = typed([x, cos, sin], dtype)
    nodes = [on_device(array, gpu) for array in arrays]
    stored = on_device(arrays[0].transpose(order), gpu)
    nodes[0] = permute.apply(stored, dims=tuple(int(i) for i in np.argsort(order)))
    attrs = {"position": 2, "interleaved": interleaved, "inverse": dtype == "bfloat16"}
    compare(gpu, rope.rope_, rope.rope_.parts(*nodes, **attrs), arrays, attrs)


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "uint8", "bool"])
def test_elements_are_moved_as_they_are(gpu: str, dtype: str, kind: str) -> None:
    require(gpu, dtype)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (3, 5)).astype(dt.by_name[dtype].numpy)
    check(gpu, index.take, [x, np.array([[2, 0], [1, 1]], kind)])
    check(gpu, index.gather, [x, rng.integers(0, 5, (3, 4)).astype(kind)])


@pytest.mark.parametrize("dtype", [*FLOATS[:5], "int32", "uint32", "int64", "uint8"])
def test_sums_at_indices(gpu: str, dtype: str, in_order: bool) -> None:
    require(gpu, dtype)
    rng = np.random.default_rng(0)
    base, rows, value = (rng.standard_normal(shape) for shape in ((3, 5), (4, 5), (3, 6)))
    if dt.by_name[dtype].kind != "f":
        base, rows, value = (np.abs(9 * x).astype(dtype) for x in (base, rows, value))
    base, rows, value = typed([base, rows, value], dtype)
    check(gpu, index.index_add, [base, np.array([2, 0, 2, 2]), rows])
    check(gpu, index.scatter_add, [base, rng.integers(0, 5, (3, 6)), value])


@pytest.mark.parametrize("cols", [1, 40])
def test_sums_in_order_are_rounded_as_numpy_does(gpu: str, cols: int) -> None:
    rng = np.random.default_rng(0)
    base, value = (rng.standard_normal((n, cols)).astype(np.float32) for n in (2, 9))
    rows = rng.integers(0, 2, 9)
    nt.use_deterministic_algorithms(True)
    try:
        nodes = [on_device(x, gpu) for x in (base, rows, value)]
        out = host_array(index.index_add.apply(*nodes))
    finally:
        nt.use_deterministic_algorithms(False)
    assert np.array_equal(out, index.index_add.reference(base, rows, value))


def test_plans_are_chosen_by_whether_sums_are_in_order(
    gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = []
    in_order = portable_index.index_add
    monkeypatch.setattr(
        portable_index, "index_add", lambda *operands: planned.append(1) or in_order(*operands)
    )
    arrays = [np.zeros((4, 3), np.float32), np.array([0, 1, 0]), np.ones((3, 3), np.float32)]
    try:
        for mode in (False, True, False):
            nt.use_deterministic_algorithms(mode)
            assert nt.are_deterministic_algorithms_enabled() is mode
            planned.clear()
            check(gpu, index.index_add, arrays)
            assert bool(planned) is mode
    finally:
        nt.use_deterministic_algorithms(False)


def test_few_groups_take_many_rows_and_items(gpu: str) -> None:
    x = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
    out = np.zeros_like(x)
    spec = softmax_rows(T="float32", V="float32")
    run_groups(gpu, spec, out, x, 5, 9, groups=2, threads=8)
    assert_close(out, softmax.softmax_.reference(x.astype(np.float64)), "composite", device=gpu)
    at, status = np.array([1, 3, 1, 0, 1]), np.zeros(2, np.int64)
    for groups, threads in ((1, 4), (3, 4), (2, 32)):
        out = np.zeros((4, 9), np.float32)
        spec = add_rows(T="float32", U="float32")
        run_groups(gpu, spec, out, at, x, status, 5, 9, 4, groups=groups, threads=threads)
        expected = index.index_add.reference(np.zeros((4, 9)), at, x.astype(np.float64))
        assert_close(out, expected, "reduction", device=gpu)


@pytest.mark.parametrize("empty", ["rows", "columns", "indices"])
def test_indexing_of_nothing(gpu: str, empty: str, in_order: bool) -> None:
    rows, cols, count = (0 if empty == name else 2 for name in ("rows", "columns", "indices"))
    x = np.ones((rows, cols), np.float32)
    at = np.zeros(count if rows else 0, np.int64)
    across = np.zeros((rows, count if cols else 0), np.int64)
    check(gpu, index.take, [x, at])
    check(gpu, index.gather, [x, across])
    check(gpu, index.index_add, [x, at, np.ones((at.size, cols), np.float32)])
    check(gpu, index.scatter_add, [x, across, np.ones(across.shape, np.float32)])


@pytest.mark.parametrize("wrong", [-1, 5, 2**62])
def test_an_index_out_of_range_is_reported_and_not_followed(
    gpu: str, wrong: int, in_order: bool
) -> None:
    x = np.ones((5, 5), np.float32)
    for op, arrays in (
        (index.take, [x, np.array([0, wrong, 4])]),
        (index.gather, [x, np.full((5, 2), wrong)]),
        (index.index_add, [x, np.array([0, wrong]), np.ones((2, 5), np.float32)]),
        (index.scatter_add, [x, np.full((5, 2), wrong), np.ones((5, 2), np.float32)]),
    ):
        with pytest.raises(OutOfRange, match=str(wrong)):
            host_array(op.apply(*(on_device(array, gpu) for array in arrays)))
    check(gpu, index.take, [x, np.array([0, 4])])


@pytest.mark.parametrize("largest", [True, False], ids=["largest", "smallest"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool"])
def test_topk(gpu: str, dtype: str, largest: bool) -> None:
    require(gpu, dtype)
    rng = np.random.default_rng(0)
    for rows, cols, k in ((0, 3, 2), (2, 1, 1), (2, 40, 3), (1, 7, 7), (2, 3, 0)):
        x = rng.integers(0, 9, (rows, cols)).astype(np.float64)
        if dt.by_name[dtype].kind == "f":
            x[rng.random(x.shape) < 0.2] = NAN
            x[rng.random(x.shape) < 0.2] = -INF
        x = x.astype(dt.by_name[dtype].numpy)
        check(gpu, sort.topk_, [x], k=k, largest=largest)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_sort_by_digits(gpu: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require(gpu, dtype)
    x = np.random.default_rng(0).integers(-40, 40, (2, 90)).astype(dtype)
    x[1] = 7
    monkeypatch.setattr(radix, "CHUNK", 20)
    for long in (1000, 65):
        monkeypatch.setattr(radix, "LONG", long)
        check(gpu, sort.sort_, [x], descending=long == 65)


@pytest.mark.parametrize("shape", [(1, 140), (1025, 2)], ids=["many of a row", "of many rows"])
def test_topk_by_a_heap_for_each_row(gpu: str, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).integers(0, 99, shape).astype(np.float32)
    check(gpu, sort.topk_, [x], k=shape[1] - 1, largest=True)


@pytest.mark.parametrize("shape", [(2, 5), (4, 1)])
def test_cross_entropy_and_its_gradient(gpu: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    logits, target = (
        rng.standard_normal(shape).astype(np.float32),
        rng.integers(0, shape[1], shape[0]),
    )
    powers = np.exp(logits.astype(np.float64))
    chances = powers / powers.sum(-1, keepdims=True)
    hits = np.eye(shape[1])[target]
    x = nt.tensor(logits, device=gpu, requires_grad=True)
    loss = nt.nn.functional.cross_entropy(x, nt.tensor(target, device=gpu))
    loss.backward()
    assert x.grad is not None
    expected = -np.log((chances * hits).sum(-1)).mean()
    assert_close(loss, np.asarray(expected), "composite", device=gpu)
    assert_close(x.grad, (chances - hits) / shape[0], "gradient", device=gpu)
