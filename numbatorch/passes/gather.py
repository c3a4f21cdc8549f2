"""Gather: small launches that need nothing new stand side by side.

Where one launch needs another, all threads meet in between, which takes as long as a small product.
So one whose operands are there already comes before what would have to wait: of a decoder's layer,
the queries, keys and values before the rotation of the queries.
"""

from __future__ import annotations

from collections.abc import Sequence

from numbatorch.ops.structured import Structured
from numbatorch.passes.groups import Group
from numbatorch.shape import numel

AHEAD = 8  # groups that one is moved past at most: its result takes memory for longer
SMALL = 1 << 16  # bytes of results for which waiting counts


def gather(groups: Sequence[Group]) -> list[Group]:
    """The groups in an order in which each still runs after those whose results it reads."""
    movable = {group for group in groups if _moves(group)}
    if len(movable) < 2:
        return list(groups)
    owners = {node: group for group in groups for node in group.outputs}
    needs = {g: {owners[node] for node in g.reads() if node in owners} for g in groups}
    waiting, order = list(groups), []
    before: set[Group] = set()  # the last barrier
    since: set[Group] = set()
    while waiting:
        group = waiting.pop(0)
        if not needs[group] <= before:
            before |= since
            since = set()
        beside = [g for g in waiting[:AHEAD] if g in movable and needs[g] <= before]
        waiting[:AHEAD] = [g for g in waiting[:AHEAD] if g not in beside]
        order += [group, *beside]
        since.update((group, *beside))
    return order


def _moves(group: Group) -> bool:
    """Whether a group may be moved: it overwrites nothing that others read."""
    core = group.core
    return (
        core is not None
        and isinstance(core.op, Structured)
        and core.op.inplace is None
        and group.update is None
        and sum(node.dtype.nbytes(numel(node.shape)) for node in group.outputs) <= SMALL
    )
