"""Operators with several outputs, through every pass: parts have memories of their own."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug, graph
from numbatorch.dtype import DType, by_name, int64
from numbatorch.graph import Node
from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.language.words import int64 as word
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.operands import as_node
from numbatorch.ops.structured import Structured, structured
from numbatorch.passes.planner import make_plan
from numbatorch.shape import Shape, numel
from numbatorch.tensor import Tensor
from numbatorch.testing import assert_close, check_op

Array = np.ndarray[Any, Any]


FLOATS = ("float32", "float64", "float16", "bfloat16")


@kernel(T=FLOATS)
def split_rows(
    whole: Pointer[word],
    rest: Pointer[T],
    total: Pointer[T],
    x: Pointer[T],
    rows: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """Whole part and rest of each element, and the first of each row doubled."""
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        for i in range(cols):
            place = row * cols + i
            known = word(x[place]) if abs(x[place]) < 1e4 else 0
            whole[place] = known
            rest[place] = x[place] - known
        total[row] = x[row * cols] * 2


def split(x: Array) -> tuple[Array, Array, Array]:
    """Whole part (int64; 0 of NaN and of what is large), rest, twice the first of each row."""
    whole = np.where(np.abs(x) < 1e4, np.trunc(x), 0)
    return whole.astype(np.int64), x - whole, 2 * x[:, 0]


def make(kernels: bool, fallback: bool) -> Structured:
    """The operator with kernels of its own, or a fallback, or neither."""
    op = structured(dtypes=tuple(by_name[name] for name in FLOATS))(split)

    @op.infer
    def _(x: Node) -> list[tuple[Shape, DType]]:
        return [(x.shape, int64), (x.shape, x.dtype), (x.shape[:1], x.dtype)]

    @op.samples
    def _(rng: np.random.Generator) -> Any:
        return [rng.uniform(0.1, 0.9, (int(rng.integers(0, 4)), 3))], {}

    @op.vjp
    def _(g: tuple[Node | None, ...], y: tuple[Node, ...], x: Node) -> Node | None:
        assert g[0] is None  # no cotangent reaches an integer
        assert [node.shape for node in y] == [x.shape, x.shape, x.shape[:1]]
        reached = g[1]
        if g[2] is not None:
            first = nt.cat([Tensor(g[2] * 2.0)[:, None], Tensor(x)[:, 1:] * 0], 1).node
            reached = first if reached is None else reached + first
        return reached

    if kernels:

        @lower("portable", op)
        def _(launcher: Launcher, outs: tuple[Operand, ...], x: Operand) -> None:
            rows, cols = x.shape
            spec = split_rows(T=x.dtype)
            launcher.launch(spec, *outs, x, rows, cols, work=numel(x.shape), items=rows)

    if fallback:

        @op.fallback
        def _(x: Node) -> tuple[Node, Node, Node]:
            small = nt.where(Tensor(x).abs() < 1e4, Tensor(x), 0.0).node
            whole = as_node(small, int64, x.device)
            first = Tensor(x)[:, 0].node * 2.0
            return whole, x - as_node(whole, x.dtype, x.device), first

    return op


@pytest.fixture(params=["kernels", "fallback"])
def op(request: pytest.FixtureRequest) -> Iterator[Structured]:
    yield make(request.param == "kernels", request.param == "fallback")
    graph.forget("split")


def apply(op: Structured, x: Tensor) -> tuple[Tensor, ...]:
    return tuple(map(Tensor, op.parts(x.node)))


DATA = np.array([[1.5, 2.25, 0.5], [7.75, 3.0, 4.5]], np.float32)


def test_it_has_every_property(op: Structured, device: str) -> None:
    assert check_op(op, device, examples=2) > 0


def test_parts_have_shapes_and_dtypes_of_their_own(op: Structured, device: str) -> None:
    whole, rest, total = apply(op, nt.tensor(DATA, device=device))
    assert (whole.dtype, rest.dtype, total.shape) == (nt.int64, nt.float32, (2,))
    nt.realize(total, whole, rest)
    for part, expected in zip((whole, rest, total), split(DATA), strict=True):
        np.testing.assert_array_equal(part.numpy(), expected)


def test_one_launch_computes_all_that_somebody_holds(op: Structured) -> None:
    whole, rest, total = apply(op, nt.tensor(DATA, device="cpu"))
    assert total.tolist() == [3.0, 15.5]
    assert whole.node.buffer is not None
    assert rest.node.buffer is not None


def test_a_part_that_nobody_reads_is_no_result() -> None:
    op = make(kernels=True, fallback=False)
    try:
        rest = op.parts(nt.tensor(DATA, device="cpu").node)[1]
        (launch,) = make_plan([rest], "cpu", 1).launches
        assert [m.kind for m in launch.writes] == ["temporary", "output", "temporary"]
    finally:
        graph.forget("split")


def test_equal_nodes_are_computed_once(op: Structured) -> None:
    x = nt.tensor(DATA, device="cpu")
    together = apply(op, x)[1] + apply(op, x)[1]
    names = [name for k in debug.kernels(together) for name in k.fused]
    assert names.count("split") == (op.decomposition is None)
    assert_close(together, 2 * split(DATA)[1])


def test_parts_fuse_with_what_reads_them(op: Structured, device: str) -> None:
    x = nt.tensor(DATA, device=device)
    _, rest, total = apply(op, x * 1.5)
    whole, *_ = apply(op, x * 1.5)
    expected = split(DATA * np.float32(1.5))
    out = (rest.T * 2 + total).exp() + whole.T
    assert_close(out, np.exp(expected[1].T * 2 + expected[2]) + expected[0].T)


def test_compiled_functions_replay_them(op: Structured, device: str) -> None:
    replay = nt.compile(lambda x: apply(op, x + 1))
    for shift in (0, 1, 2):
        found = replay(nt.tensor(DATA + shift, device=device))
        for part, expected in zip(found, split(DATA + shift + 1), strict=True):
            np.testing.assert_array_equal(part.numpy(), expected)


@pytest.mark.parametrize("used", [(1,), (2,), (1, 2)])
def test_cotangents_of_all_parts_are_collected(
    op: Structured, used: tuple[int, ...], device: str
) -> None:
    x = nt.tensor(DATA, device=device).requires_grad_()
    parts = apply(op, x)
    sum((parts[i].sum() for i in used), start=nt.tensor(0.0, device=device)).backward()
    expected = np.zeros_like(DATA)
    expected += 1 in used
    expected[:, 0] += 2 * (2 in used)
    assert_close(x.grad, expected)


def test_gradient_of_realized_parts(op: Structured) -> None:
    x = nt.tensor(DATA, device="cpu").requires_grad_()
    whole, rest, total = apply(op, x)
    assert not whole.requires_grad
    nt.realize(rest, total, whole)
    (rest * total[:, None]).sum().backward()
    expected = np.broadcast_to(2 * DATA[:, :1], (2, 3)).copy()
    expected[:, 0] += 2 * split(DATA)[1].sum(1)
    assert_close(x.grad, expected)


def test_tools_show_them(op: Structured, capsys: pytest.CaptureFixture[str]) -> None:
    parts = apply(op, nt.tensor(DATA, device="cpu"))
    assert "part(%1) index=0 (2, 3) int64" in debug.graph(list(parts))
    assert "part" in debug.dot(list(parts))
    with debug.validate():
        nt.realize(*parts)
