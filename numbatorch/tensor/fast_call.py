"""A generated function for the calls of one trace: it looks at what the trace depends on, and runs.

It gives `NotImplemented` for any other call, which goes the long way, as do calls that debug tools
watch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any

from numbatorch.backends.cpu.program import CPUProgram
from numbatorch.backends.memory import Buffer
from numbatorch.backends.planned import PlanBackend
from numbatorch.backends.watched import is_watched
from numbatorch.graph import Node, thread_mode
from numbatorch.ops.operands import BUFFER
from numbatorch.tensor.base import Handle, is_tracing, realize_nodes, running
from numbatorch.tensor.guards import ABSENT, ATTRIBUTES, Place
from numbatorch.tensor.reachable import is_mutable
from numbatorch.tensor.tracked import Changes
from numbatorch.tensor.views import Clock
from numbatorch.variable import attribute_key

if TYPE_CHECKING:
    from numbatorch.tensor.trace import Trace

FastCall = Callable[..., Any]

_PLAIN = (bool, int, str, bytes, type(None))


def fast_call(
    trace: Trace,
    given: Sequence[tuple[str, Any]],
    dynamic: Sequence[str],
    runner: PlanBackend,
    grad: bool,
) -> FastCall | None:
    """The function of positional arguments like these; None where something is not foreseen.

    Args:
        given: names and values of the arguments.
        dynamic: names of those that may change.
        grad: whether gradients are recorded.
    """
    program = trace.program
    if not isinstance(program, CPUProgram) or program.run_native is None:
        return None
    writer = _Writer(trace, program, runner)
    for i, (name, value) in enumerate(given):
        if not writer.argument(i, value, name if name in dynamic else ""):
            return None
    if not all(map(writer.guard, trace.guards.places)):
        return None
    scope = writer.scope
    exec(compile(writer.text(len(given), grad), "<call of a trace>", "exec"), scope)
    found: FastCall = scope.pop("fast")  # which would hold itself, and the trace, for a collector
    return found


class _Writer:
    """Writes the function: what is looked at, then a run."""

    def __init__(self, trace: Trace, program: CPUProgram, runner: PlanBackend) -> None:
        self.trace = trace
        self.program = program
        self.head: list[str] = []
        self.checks: list[str] = []
        self.tensors: list[str] = []
        self.numbers: list[str] = []
        self.scope: dict[str, Any] = {
            "ABSENT": ABSENT,
            "TRACE": trace,
            "GUARDS": trace.guards,
            "DEVICE": trace.device,
            "BUFFERS": trace.buffers,
            "BUILD": trace.build,
            "RUNNER": runner,
            "STATE": runner.state(),
            "RUNNING": running,
            "REALIZE": realize_nodes,
            "MODE": thread_mode(),
            "CHANGES": Changes,
            "CLOCK": Clock,
            "POOL": program.pool,
            "FRAMES": program.frames,
            "RUN": program.run_native,
            "NEW": object.__new__,
            "Tensor": Handle._tensor,
            "Node": Node,
            "Buffer": Buffer,
            "BUFFER": BUFFER,
            "is_tracing": is_tracing,
            "is_watched": is_watched,
            "is_": is_,
            "key": attribute_key,
        }

    def name(self, value: Any, stem: str) -> str:
        """A name for a value."""
        found = f"{stem}{len(self.scope)}"
        self.scope[found] = value
        return found

    def argument(self, i: int, value: Any, dynamic: str) -> bool:
        """Look at one argument; False where its kind is not foreseen.

        Args:
            dynamic: its name if it may change.
        """
        kind: Any = type(value)
        if dynamic:
            self.checks.append(f"type(a{i}) is {kind.__name__}")
            self.numbers.append(f"{dynamic!r}: a{i}")
            return kind in (int, float)
        if kind is Handle._tensor:
            self._tensor(i, value.node)
        elif kind in _PLAIN:
            constant = self.name(value, "V")
            self.checks.append(f"type(a{i}) is type({constant}) and a{i} == {constant}")
        elif kind is float:
            constant = self.name(attribute_key(value), "V")
            self.checks.append(f"type(a{i}) is float and key(a{i}) == {constant}")
        elif is_mutable(kind) and not isinstance(value, Handle | list | tuple | dict):
            self.checks.append(f"a{i} is {self.name(value, 'V')}")
        else:
            return False
        return True

    def _tensor(self, i: int, node: Node) -> None:
        self.head += [
            f"if type(a{i}) is not Tensor:",
            "    return NotImplemented",
            f"n{i} = a{i}.node",
        ]
        self.checks += [
            f"n{i}.dtype is {self.name(node.dtype, 'D')}",
            f"n{i}.shape == {self.name(node.shape, 'S')}",
            f"(n{i}.device is DEVICE or n{i}.device == DEVICE)",
            f"n{i}.requires_grad is {node.requires_grad}",
            f"n{i}.ends_gradient is {node.ends_gradient}",
        ]
        self.tensors.append(f"a{i}")

    def guard(self, place: Place) -> bool:
        """Look at a place that the trace depends on; False where that would take long."""
        owner, expected = self.name(place.owner, "O"), self.name(place.expected, "E")
        by_key = f"{owner}.get({self.name(place.key, 'K')}, ABSENT)"
        read = {
            "variable": f"{owner}.cell_contents",
            "global": by_key,
            "entry": by_key,
            "attribute": f"{owner}.__dict__.get({self.name(place.key, 'K')}, ABSENT)",
        }
        if place.kind in read:
            self.checks.append(f"{read[place.kind]} is {expected}")
        elif place.kind == "elements":
            size = len(place.expected)
            self.checks.append(f"len({owner}) == {size} and all(map(is_, {owner}, {expected}))")
        elif place.kind == ATTRIBUTES and not place.key:
            self.checks.append(f"len({owner}.__dict__) == {place.expected}")
        else:
            self.checks.append(f"{self.name(place, 'P')}.holds()")
        return place.kind not in ("array", "value")

    def text(self, count: int, grad: bool) -> str:
        """The function of `count` arguments."""
        checks = [
            *self.checks,
            "CHANGES.last == GUARDS.seen",
            f"MODE.grad is {grad}",
            "not is_tracing()",
            "not is_watched()",
            "RUNNER.state() == STATE",
        ]
        given = f"({''.join(f'{tensor}, ' for tensor in self.tensors)})"
        alone = [f"    {line}" for line in self._alone()] if self._changes_nothing() else []
        late = [
            line
            for tensor in self.tensors
            for line in (f"if n{tensor[1:]}.buffer is None:", f"    REALIZE([n{tensor[1:]}])")
        ]
        moved = "" if self.trace.gradients else "CLOCK.last != TRACE.seen and "
        lines = [
            *self.head,
            "try:",
            f"    if not ({' and '.join(checks)}):",
            "        return NotImplemented",
            "except ValueError:  # a variable that holds nothing now",
            "    return NotImplemented",
            *late,
            *(["if CLOCK.last == TRACE.seen:", *alone] if alone else []),
            f"if {moved}TRACE.problem({given})[0]:",
            "    return NotImplemented",
            "with RUNNING:",
            f"    return TRACE.replay({given}, {{{', '.join(self.numbers)}}})",
        ]
        head = f"def fast({', '.join(f'a{i}' for i in range(count))}):"
        return "\n".join([head, *(f"    {line}" for line in lines), ""])

    def _changes_nothing(self) -> bool:
        """Whether a run is one short call that makes results, and nothing has to be noted."""
        trace, way = self.trace, self.program.way
        more = (
            *(trace.updated, trace.gradients, trace.draws, trace.before, trace.checks),
            *(trace.sources, trace.variables, trace.differentiable),
        )
        required = any(required for _shape, _dtype, required in trace.results)
        new = self.program.makes_all_results()
        return not any(more) and not required and way.short and not way.checked and new

    def _alone(self) -> list[str]:
        """Statements that run and return."""
        argument = dict(self.trace.arguments)
        words = [
            f"n{self.tensors[argument[i]][1:]}.buffer.address"
            if i in argument
            else f"BUFFERS[{i}].address"
            for i in self.trace.order
        ]
        sizes = self.program.sizes()
        words += [f"m{i}.address" for i in range(len(sizes))]
        lines = [
            "with RUNNING:",
            "    try:",
            "        frame = FRAMES.pop()",
            "    except IndexError:",
            "        frame = TRACE.program.frame()",
        ]
        for i, nbytes in enumerate(sizes):
            lines += [f"    {line}" for line in self._memory(i, nbytes)]
        lines += [f"    RUN(frame.headers[0], {', '.join(words)})", "    FRAMES.append(frame)"]
        for i, place in enumerate(self.program.result_numbers()):
            shape, dtype, _required = self.trace.results[i]
            lines += self._node(f"r{i}", self.name(shape, "S"), self.name(dtype, "D"), f"m{place}")
        if not self.trace.single:
            results = ", ".join(f"r{i}" for i in range(len(self.trace.results)))
            return [*lines, f"return BUILD([{results}])"]
        slots = ("node = r0", "_grad = None", "_place = None")
        return [*lines, "t = NEW(Tensor)", *(f"t.{slot}" for slot in slots), "return t"]

    def _memory(self, i: int, nbytes: int) -> list[str]:
        """Statements that take memory from the pool."""
        size = self.program.pool.size_of(nbytes)
        return [
            "try:",
            f"    o{i} = {self.name(self.program.pool.waiting(size), 'W')}.pop()",
            f"    POOL.held -= {size}",
            f"    m{i} = Buffer(o{i}, o{i}.address, {nbytes}, POOL)",
            "except IndexError:",
            f"    m{i} = POOL.allocate({nbytes})",
        ]

    def _node(self, name: str, shape: str, dtype: str, buffer: str) -> list[str]:
        """Statements that make what `buffer_node` does."""
        slots = {
            "op": "BUFFER",
            "inputs": "()",
            "attrs": "{}",
            "shape": shape,
            "dtype": dtype,
            "device": "DEVICE",
            "buffer": buffer,
            "trace": "0",
            "requires_grad": "False",
            "depth": "1",
        }
        return [f"{name} = NEW(Node)", *(f"{name}.{slot} = {v}" for slot, v in slots.items())]
