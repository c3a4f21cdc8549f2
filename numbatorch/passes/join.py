"""Join: parts of one value that have one shape are written by one launch.

So `cat`, `stack` and `roll` wait once for what they read, and parts whose elements take turns in
memory become whole vectors: each cache line is written once and not once for every part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from numbatorch.graph import Node
from numbatorch.layout import Layout
from numbatorch.ops.slices import apart
from numbatorch.passes.groups import Group, Load

MOST = 4  # parts of a launch: each is a stream of memory, and their number is a kernel's own
MOST_OPERATORS = 128  # of all of them together, as in other groups


def join(groups: Sequence[Group], wanted: Collection[Node]) -> list[Group]:
    """The groups, of which some write what others before them would have written.

    Args:
        groups: in order of execution.
        wanted: nodes whose values are read from memory when all is done.
    """
    updates = {g.update: g for g in groups if g.update is not None and g.core is None}
    if len(updates) < 2:
        return list(groups)
    readers = Counter(node for group in groups for node in group.reads())
    gone = set()
    for group in updates.values():
        base = group.operands[0]
        before = updates.get(base.node)
        if before is None or before in gone or base.node in wanted or readers[base.node] != 1:
            continue
        if base.layout == Layout.contiguous(base.node.shape) and _fit(before, group):
            group.results = [*before.results, *group.results]
            group.earlier = [*before.earlier, base.node]
            group.operands = before.operands
            group.fused_count += before.fused_count
            gone.add(before)
    return [group for group in groups if group not in gone]


def _fit(before: Group, group: Group) -> bool:
    """Whether two groups' parts can be written in one walk, in any order of their elements."""
    assert group.update is not None
    assert before.update is not None
    parts = [*before.earlier, before.update]
    if len(parts) >= MOST or before.space != group.space:
        return False
    if before.fused_count + group.fused_count > MOST_OPERATORS:
        return False
    base = before.operands[0].node
    terms = (*before.terms(), *group.terms())
    if any(isinstance(term, Load) and term.node is base for term in terms):
        return False
    return all(apart(part, group.update) for part in parts)
