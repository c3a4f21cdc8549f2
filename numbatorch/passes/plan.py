"""The plan: an ordered list of launches with the memories they use. A plan is data."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numbatorch.errors import OutOfRange
from numbatorch.graph import Node
from numbatorch.ops.caller import Caller, out_of_range, reported
from numbatorch.ops.lowering import Operand
from numbatorch.passes.groups import Group
from numbatorch.passes.memory import Memory
from numbatorch.variable import Variable


@dataclass(eq=False)
class Place:
    """A pointer argument: bytes into a memory, plus plan variables times numbers of bytes."""

    memory: Memory
    offset: int = 0
    moving: tuple[tuple[Variable, int], ...] = ()


class HostStep(NamedTuple):
    """What stands for the kernel of a launch that calls an operator's NumPy function on the host.

    Attributes:
        node: what it computes.
        operands, outs: where its operands lie, contiguous, and where its outputs go.
    """

    node: Node
    operands: tuple[Operand, ...]
    outs: tuple[Operand, ...]

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def name(self) -> str:
        """Of the step, as debug tools show it."""
        return f"host:{self.node.op.name}"

    def source(self) -> str:
        """Text of the NumPy function."""
        return inspect.getsource(self.node.op.reference)

    def path(self) -> str:
        """File of the NumPy function."""
        return inspect.getsourcefile(self.node.op.reference) or self.node.op.reference.__module__


@dataclass(eq=False)
class Launch:
    """One kernel of a plan, or a step on the host.

    Attributes:
        spec: the kernel, or a HostStep.
        arguments: Place, int, float or Variable per word.
        serial: whether one thread runs it.
        reads, writes: memories, for barriers and lifetimes.
        group: what it computes.
        nbytes, work: bytes of its operands and simple operations, for debugging.
        epilogue: launch whose kernel this one calls on finished tiles, or None.
        items: how many things the threads of a GPU share, or 0 for a kernel of groups.
        groups, threads: of a kernel of groups.
    """

    spec: Any
    arguments: list[Any]
    serial: bool
    reads: list[Memory]
    writes: list[Memory]
    group: Group
    nbytes: int = 0
    work: float = 0.0
    epilogue: Launch | None = None
    items: int = 0
    groups: int = 0
    threads: int = 0


@dataclass(eq=False)
class Status:
    """Two int64 words at `position` of the plan's status memory, and what they are about.

    Attributes:
        op, caller: what reports, and who called for it.
        bound, least: of the index that was met, which stands in the second word.
        problem, error: what the first says where it is not about an index, and its class.
    """

    position: int
    op: str
    caller: Caller | None
    bound: int
    least: int
    problem: str = ""
    error: type[Exception] = OutOfRange

    def raised(self, index: int) -> Exception:
        """The error; `index` is the second word."""
        if not self.problem:
            return out_of_range(self.op, self.caller, index, self.bound, self.least)
        return reported(self.error, self.op, self.caller, self.problem)


@dataclass(eq=False)
class Plan:
    """Launches in order, and the memories they use.

    Attributes:
        target: whose kernels they are.
    """

    target: str = "cpu"
    launches: list[Launch] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    leaves: list[Node] = field(default_factory=list)
    outputs: list[Memory] = field(default_factory=list)  # one per root
    arena: int = 0
    statuses: list[Status] = field(default_factory=list)
    variable_nodes: list[Node] = field(default_factory=list)
    parts: int = 1
    checkpoint: int = 0  # launches up to the last one that can fail; only others overwrite leaves
    host_steps: list[int] = field(default_factory=list)  # numbers of the launches on the host
    where: dict[Node, Memory] = field(default_factory=dict)

    def launch_count(self) -> int:
        """Number of fused kernels; a structured operator's helper launches count as one."""
        return len({id(launch.group) for launch in self.launches})


EPILOGUE = object()  # stands for the epilogue's words among those of a structured kernel
