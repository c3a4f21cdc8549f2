"""Nests of values and counts of who holds a value."""

from typing import NamedTuple

import numbatorch as nt
from numbatorch.nest import map_leaves, structure
from numbatorch.references import outside_holders, owns_buffer, owns_node


class Pair(NamedTuple):
    first: object
    second: object


def test_named_tuples_keep_their_class() -> None:
    found = map_leaves(lambda x: x * 2, Pair([1], {"a": (2,)}))
    assert type(found) is Pair and found == Pair([2], {"a": (4,)})


def test_structures_tell_lists_from_tuples_and_names_from_names() -> None:
    forms = [[1], (1,), Pair(1, 2), (1, 2), {"a": 1}, {"b": 1}, 1]
    assert len({structure(type, form) for form in forms}) == len(forms)


def test_what_nobody_else_holds_has_no_holders() -> None:
    order = [nt.zeros(3).node]
    assert outside_holders(order) == [0]
    held = [order[0]]
    assert outside_holders(order) == [1]
    assert outside_holders(order, held) == [0]


def test_a_second_holder_of_a_buffer_or_node_is_seen() -> None:
    x = (nt.zeros(3) + 1).realize()
    assert owns_node(x) and owns_buffer(x.node)
    node = x.node
    assert not owns_node(x) and owns_buffer(node)
    buffer = node.buffer
    del node
    assert not owns_node(x) and not owns_buffer(x.node)
    assert buffer is x.node.buffer


def test_a_named_tuple_that_checks_what_it_is_made_of_is_made_of_other_leaves() -> None:
    class Checked(Pair):
        def __new__(cls, first: int, second: int) -> "Checked":
            if second != first + 1:
                raise ValueError("not the next one")
            return super().__new__(cls, first, second)

    found = map_leaves(str, Checked(1, 2))
    assert type(found) is Checked and found == ("1", "2")
