"""Nodes that are made in a short way are those that `promoted` makes, of every operator."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.device import device
from numbatorch.graph import Node, trace_mode
from numbatorch.ops.families import all_ops
from numbatorch.ops.operands import CONST, as_node, const
from numbatorch.ops.registry import DEEP, Elementwise

OPERATORS = {op.name: op for op in all_ops() if isinstance(op, Elementwise)}
SHORT = {1: ("of_one",), 2: ("alike", "with_number", "with_number, first")}
DTYPES = [*dt.PLAIN, *dt.COMPLEX, dt.float8_e4m3fn, dt.bfloat16, dt.float16, dt.bool_]
SHAPES = [(), (1,), (3,), (2, 3), (1, 3), (0,), (2, 0, 3), (2, 1, 1, 3)]
NUMBERS = [0, 1, -3, 2.5, -0.0, 0.1, 1e300, float("nan"), float("-inf"), True, 2**14, 2**15, 2**70]
NUMBERS += [1j, -(2**63), dt.float32.numpy.type(2.0), dt.float64.numpy.type(2.0)]


@st.composite
def nodes(draw: Any, like: Node | None = None) -> Node:
    """An operand: like another in all, or in all but one thing."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(SHAPES))
    where = device(draw(st.sampled_from(["cpu", "numpy"])))
    if like is not None:
        other = draw(st.sampled_from(["none", "dtype", "shape", "device"]))
        dtype = dtype if other == "dtype" else like.dtype
        shape = shape if other == "shape" else like.shape
        where = where if other == "device" else like.device
    node = const(1, dtype, where, shape)
    for _ in range(draw(st.integers(0, 2))):
        node = Node(OPERATORS["relu"], (node,), {}, shape, dtype, where)
    node.requires_grad = dtype.kind in "fc" and draw(st.booleans())
    node.depth = draw(st.sampled_from([node.depth, node.depth, DEEP - 1, DEEP, DEEP + 1]))
    return node


def told(node: Node | None, operands: tuple[Node, ...]) -> Any:
    """All that is to be known of a node."""
    if node is None:
        return None
    if any(node is x for x in operands):
        return next(i for i, x in enumerate(operands) if node is x)
    inputs = tuple(told(x, operands) for x in node.inputs)
    attrs = {k: (type(v), repr(v)) for k, v in node.attrs.items()}
    place = node.shape, node.dtype, node.device, node.trace
    return node.op, attrs, *place, node.requires_grad, node.depth, inputs, node.buffer


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_node_that_is_made_in_a_short_way_is_what_the_long_one_makes(data: st.DataObject) -> None:
    names = [name for name, op in OPERATORS.items() if op.arity in SHORT]
    op = OPERATORS[data.draw(st.sampled_from(names))]
    way = data.draw(st.sampled_from(SHORT[op.arity]))
    a = data.draw(nodes())
    operands: tuple[Any, ...] = (a,)
    if way == "alike":
        operands = a, data.draw(st.one_of(st.just(a), nodes(like=a)))
    elif way != "of_one":
        number = data.draw(st.sampled_from(NUMBERS))
        operands = (number, a) if way.endswith("first") else (a, number)
    traced = trace_mode() if data.draw(st.booleans()) else nt.enable_grad()
    with traced, nt.set_grad_enabled(data.draw(st.booleans())):
        if way == "of_one":
            short = op.of_one(a)
        elif way == "alike":
            short = op.alike(*operands)
        else:
            short = op.with_number(a, number, first=way.endswith("first"))
        if short is None:
            return
        tensors = tuple(x for x in operands if isinstance(x, Node))
        assert told(short, tensors) == told(op.promoted(*operands), tensors)


def test_each_short_way_is_taken_where_it_is_meant_for() -> None:
    """So that the property above does not hold of nothing."""
    add, neg = OPERATORS["add"], OPERATORS["neg"]
    for dtype in (dt.float32, dt.float16, dt.bfloat16, dt.float64):
        x = const(1.0, dtype, device("cpu"), (2, 3))
        assert add.alike(x, x) is not None and neg.of_one(x) is not None
        found = add.with_number(x, 0.1, first=True)
        assert found is not None and found.inputs[0].op is CONST
        assert found.inputs[0].attrs == as_node(0.1, dtype, x.device).attrs


def test_what_nodes_share_does_not_change() -> None:
    x = const(1.0, dt.float32, device("cpu"), (2,))
    node = OPERATORS["neg"].of_one(x)
    assert node is not None
    with pytest.raises(TypeError, match="do not change"):
        node.attrs["dim"] = 1
    with pytest.raises(TypeError, match="do not change"):
        node.attrs |= {"dim": 1}
    assert not node.attrs and copy.deepcopy(node.attrs) == pickle.loads(pickle.dumps(node.attrs))
