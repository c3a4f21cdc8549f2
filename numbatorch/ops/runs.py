"""Values put together of runs of elements along each dimension, each part a view of the input."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from numbatorch.graph import Node
from numbatorch.ops import view as views
from numbatorch.ops.operands import expanded
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


class Run(NamedTuple):
    """Elements of a dimension that stand in a row in that of the result.

    Attributes:
        start: the first one.
        step: 1, -1, or 0 where they are one element.
        size: how many.
    """

    start: int
    step: int
    size: int


def runs_of(places: Array) -> list[Run]:
    """Numbers of elements, as few runs of them."""
    found = []
    first, count = 0, len(places)
    steps = np.diff(places)
    while first < count:
        size = 1
        if first + 1 < count and abs(steps[first]) <= 1:
            ends = np.flatnonzero(steps[first:] != steps[first])
            size = int(ends[0]) + 1 if ends.size else count - first
        step = int(steps[first]) if size > 1 else 1
        found.append(Run(int(places[first]), step, size))
        first += size
    return found


def written_in_runs(x: Node, shape: Shape, along: list[list[Run]]) -> Node:
    """The runs of each dimension with those of all others, each such part a view of x."""
    out = views.empty(shape, x.dtype, x)
    views.reject_blocks("slice", x)
    ones = (1,) * len(shape)
    placed = []  # (run, where it begins) of each dimension
    for runs in along:
        ends = itertools.accumulate([run.size for run in runs], initial=0)
        placed.append(list(zip(runs, ends, strict=False)))
    parts = []
    for chosen in itertools.product(*placed):
        parts.append((tuple([run.size for run, _start in chosen]), chosen))
    # The largest first, for to its gradient those of others are added; those of one shape together.
    parts.sort(key=lambda part: (-math.prod(part[0]), part[0]))
    for sizes, chosen in parts:
        taken = views.part(
            x,
            tuple([run.start for run, _start in chosen]),
            tuple([run.size if run.step else 1 for run, _start in chosen]),
            tuple([run.step or 1 for run, _start in chosen]),
        )
        starts = tuple([start for _run, start in chosen])
        out = views.written(out, expanded(taken, sizes), starts, ones)
    return out
