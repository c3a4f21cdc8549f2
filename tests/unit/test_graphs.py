"""Walks over graphs, keys of graphs, and the constants that nodes of a loop share."""

import itertools
import math
from collections.abc import Collection, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch.backends.planned import structure
from numbatorch.graph import Node, Op, toposort, trace_mode
from numbatorch.ops.operands import CONST
from numbatorch.tensor.base import any_depth
from numbatorch.variable import attribute_key, variable

CPU = nt.device("cpu")


def leaf(name: str, inputs: Sequence[Node] = ()) -> Node:
    return Node(Op(name, len), tuple(inputs), {}, (), nt.float32, CPU)


def in_order(roots: Sequence[Node], through_realized: bool, stop: Collection[Node]) -> list[Node]:
    """What toposort gives, by its definition: depth first, a node after its inputs."""
    found: list[Node] = []

    def visit(node: Node) -> None:
        if node in met:
            return
        met.add(node)
        if (node.buffer is None or through_realized) and node not in stop:
            for operand in node.inputs:
                visit(operand)
        found.append(node)

    met: set[Node] = set()
    for root in roots:
        visit(root)
    return found


@given(st.data())
def test_toposort_is_depth_first_and_stops_at_realized_nodes(data: st.DataObject) -> None:
    nodes: list[Node] = []
    for number in range(data.draw(st.integers(1, 12))):
        inputs = data.draw(st.lists(st.sampled_from(nodes), max_size=3)) if nodes else []
        nodes.append(leaf(str(number), inputs))
        if data.draw(st.integers(0, 3)) == 0:
            nodes[-1].buffer = object()
    roots = data.draw(st.lists(st.sampled_from(nodes), max_size=4))
    stop = data.draw(st.sets(st.sampled_from(nodes), max_size=2))
    through = data.draw(st.booleans())
    for stops in (stop, tuple(stop), ()):
        assert toposort(iter(roots), through, stops) == in_order(roots, through, stops)


VALUES = (0, 0.0, -0.0, False, 1, 1.0, True, 0.5, -0.5, 1e300, math.inf, -math.inf, math.nan, 0j)


@pytest.mark.parametrize(("a", "b"), [*itertools.combinations(VALUES, 2)])
def test_attributes_that_differ_have_different_keys(a: object, b: object) -> None:
    if a.__class__ is b.__class__ or float in (a.__class__, b.__class__):
        assert attribute_key(a) != attribute_key(b)


@pytest.mark.parametrize("value", VALUES)
def test_attributes_that_are_alike_have_one_key(value: object) -> None:
    again = type(value)(str(value)) if not isinstance(value, bool) else value
    key = attribute_key(value)
    assert key == attribute_key(again) and hash(key) == hash(attribute_key(again))
    assert attribute_key((value, (value,))) == attribute_key((again, (again,)))


def graphs() -> list[nt.Tensor]:
    """Values whose graphs differ in one thing only."""
    x, y = nt.ones(2, 3).realize(), nt.ones(2, 3).realize()
    z = nt.ones(3, 2).realize()
    return [
        *(x * value for value in (0.5, 0.0, -0.0, 1.0, math.inf)),
        *(x + y, x + x, x - y, y - (x + y), (x + y) - y, x * y + x, x * y + y),
        *(x[0], x[1], x[:, 0], x[0:1], x[0:1, 0:1], z[0], x.T, x.reshape(3, 2), x.T.reshape(2, 3)),
        *(x.sum(), x.sum(0), x.sum(1), x.sum(0, keepdim=True), x.sum((0, 1)).reshape(1)),
        *(nt.cat([x, y]), nt.cat([x, x, y]), x.to(nt.float64), x.to(nt.int32)),
    ]


def test_graphs_that_differ_have_different_keys() -> None:
    nodes = [x.node for x in graphs()]
    keys = [structure(toposort([node]), [node])[0] for node in nodes]
    keys += [structure(toposort(pair), pair)[0] for pair in (nodes[:2], nodes[1::-1], nodes[2:4])]
    again = [structure(toposort([x.node]), [x.node])[0] for x in graphs()]
    assert keys[: len(again)] == again and len(set(keys)) == len(keys)


def constant(x: nt.Tensor) -> Node:
    (found,) = (node for node in x.node.inputs if node.op is CONST)
    return found


def test_a_loop_shares_its_constant_and_nothing_else_does() -> None:
    x = nt.tensor([1.0, 1.0])
    half = 0.5
    first = constant(x * half)
    assert constant(x * half) is first and constant(half * x) is first
    zeros = 0.0, -0.0
    for other in (
        x.to(nt.float64) * half,
        nt.tensor([1.0, 1.0, 1.0]) * half,
        x.to("numpy") * half,
        x * (half + 1),
        x * 1,
        x * 1.0,
        x * True,
    ):
        node = next((n for n in other.node.inputs if n.op is CONST), None)
        assert node is not first
    assert [(x * zero)[0].item() for zero in zeros] == [0.0, 0.0]
    assert [math.copysign(1, (x * zero)[0].item()) for zero in zeros] == [1, -1]
    kept = constant(x * half)
    with trace_mode():
        inner = constant(x * half)
        assert inner is not kept and inner.trace != kept.trace
    assert constant(x * half) is not inner
    rate = variable("rate", 0.5)
    assert constant(x * rate).attrs["value"] is rate


def test_a_constant_that_was_computed_is_not_shared_any_more() -> None:
    x = nt.tensor([1.0, 1.0])
    half = 0.5
    nt.Tensor(constant(x * half)).realize()
    later = x * half
    assert constant(later).buffer is None and later.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("required", [False, True])
def test_a_loss_of_many_terms_keeps_two_nodes_a_term(required: bool) -> None:
    weight = nt.tensor(0.5, requires_grad=required)
    total = weight * 0.0
    with any_depth():
        for _ in range(3000):
            total = total + weight * 0.5
    assert len(toposort([total.node])) <= 2 * 3001 + 3
    assert total.item() == 750.0
    if required:
        total.backward()
        assert weight.grad is not None and weight.grad.item() == 1500.0
