"""What a generated function (fast_call.py) does once it has looked: it runs, and makes results.

Its statements do what `Trace.replay` does, for one trace and thus without asking what there is to
do. Runs that change nothing and that one thread is soonest done with are written out in full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numbatorch.backends.cpu.native import DONE
from numbatorch.backends.cpu.program import CPUProgram
from numbatorch.backends.memory import Buffer
from numbatorch.backends.outcome import Outcome, Stale
from numbatorch.graph import Node
from numbatorch.ops.operands import BUFFER, COMPILED
from numbatorch.tensor.base import Handle, realize_nodes, running
from numbatorch.tensor.trace import Trace, owned, refuse_history
from numbatorch.tensor.traced import Changed
from numbatorch.tensor.views import Clock, share_memory
from numbatorch.variable import FloatVariable, Variable


class Scope:
    """The names that a generated function knows beside its arguments."""

    def __init__(self, **names: Any) -> None:
        self._names = names  # a dict of no other class, in which the interpreter is quick

    def update(self, **names: Any) -> None:
        """Know more."""
        self._names.update(names)

    def name(self, value: Any, stem: str) -> str:
        """A name for a value."""
        found = f"{stem}_{len(self._names)}"
        self._names[found] = value
        return found

    def function(self, name: str, text: str, file: str) -> Callable[..., Any]:
        """The function of this name in a text, which tracebacks show.

        Args:
            file: its name there.
        """
        self.update(__name__=file, __loader__=_Text(text))  # where linecache looks
        exec(compile(text, file, "exec"), self._names)
        # Else it would hold itself, and the trace, for a collector.
        found: Callable[..., Any] = self._names.pop(name)
        return found


class _Text:
    """What the modules of files have for their source."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_source(self, _name: str) -> str:
        """The text."""
        return self._text


@dataclass
class Arguments:
    """Expressions for what a call was given.

    Attributes:
        tensors: of each tensor, and of its node.
        numbers: of plan variables, by name.
    """

    tensors: list[tuple[str, str]] = field(default_factory=list)
    numbers: dict[str, str] = field(default_factory=dict)

    def given(self) -> str:
        """A tuple of the tensors."""
        return f"({''.join(f'{tensor}, ' for tensor, _node in self.tensors)})"

    def values(self) -> str:
        """A dict of the plan variables."""
        return f"{{{', '.join(f'{name!r}: {source}' for name, source in self.numbers.items())}}}"

    def number(self, variable: Variable | FloatVariable, real: bool, scope: Scope) -> str:
        """What compiled code gets for a plan variable.

        Args:
            real: whether it takes a float, as the bits of a word.
        """
        source = self.numbers.get(variable.name)
        if source is None or (isinstance(variable, FloatVariable) and variable.is_computed):
            found = f"{scope.name(variable, 'variable')}.at(values)"
        elif isinstance(variable, Variable) and variable.offset:
            found = f"{source} + {variable.offset}"
        else:
            found = source
        return f"WORD(float({found}))" if real else found


def statements(trace: Trace, scope: Scope, arguments: Arguments) -> list[str]:
    """What runs a trace, and returns what its function does."""
    scope.update(
        CLOCK=Clock,
        Changed=Changed,
        REALIZE=realize_nodes,
        RUNNING=running,
        SHARE=share_memory,
        TRACE=trace,
    )
    lines = []
    for _tensor, node in arguments.tensors:
        lines += [f"if {node}.buffer is None:", f"    REALIZE([{node}])"]
    program = trace.program
    native = isinstance(program, CPUProgram) and program.run_native is not None
    if not native or trace.gradients or trace.notes() or trace.differentiable is not None:
        lines.append(f"given = {arguments.given()}")
    if not native or trace.variables or trace.differentiable is not None:
        lines.append(f"values = {arguments.values()}")
    for handle, _kept in trace.updated:
        state = scope.name(handle, "state")
        for tensor, _node in arguments.tensors:
            shared = f"{tensor}._place is not None and SHARE({tensor}, {state})"
            lines += [f"if {tensor} is {state} or ({shared}):", "    return NotImplemented"]
    for gradient in trace.gradients:
        fits = f"{scope.name(gradient, 'gradient')}.fits(given)"
        lines += [f"if not {fits}:", "    return NotImplemented"]
    if not isinstance(program, CPUProgram) or not native:
        return [
            *lines,
            "try:",
            "    with RUNNING:",
            "        return TRACE.replay(given, values)",
            "except Changed:",
            "    return NotImplemented",
        ]
    if trace.differentiable is not None:  # else the trace would make another program
        asked = trace.differentiable.asked
        lines.append(f"if {scope.name(trace.differentiable, 'graph')}.asked is not {asked}:")
        lines.append("    return NotImplemented")
    return lines + _Run(trace, program, scope, arguments).lines()


_LOOK = [
    "outside = TRACE.outside",
    "if outside.seen != CLOCK.last:",
    "    try:",
    "        outside = TRACE.now()",
    "    except Changed:",
    "        return NotImplemented",
]


class _Run:
    """Writes a run of one program."""

    def __init__(
        self, trace: Trace, program: CPUProgram, scope: Scope, arguments: Arguments
    ) -> None:
        self.trace = trace
        self.program = program
        self.scope = scope
        self.arguments = arguments
        scope.update(
            BUFFER=BUFFER,
            BUILD=trace.build,
            Buffer=Buffer,
            COMPILED=COMPILED,
            FRAMES=program.frames,
            NEW=object.__new__,
            OWNED=owned,
            REFUSE=refuse_history,
            Node=Node,
            Outcome=Outcome,
            POOL=program.pool,
            PROGRAM=program,
            RUN=program.run_native,
            Stale=Stale,
            Tensor=Handle._tensor,
            WORD=program.arguments.float_word,
            partial=partial,
        )

    def lines(self) -> list[str]:
        """All statements."""
        trace, lines = self.trace, []
        if trace.checks:
            key = f"({''.join(f'{self.arguments.numbers[name]}, ' for name in trace.variables)})"
            lines += [f"if {key} not in TRACE.allowed:", "    TRACE.check(values)"]
        if trace.before or trace.draws:
            lines += _LOOK
        lines += [f"{self.scope.name(call, 'before')}()" for call in trace.before]
        for draw, i in trace.draws:
            drawn = f"TRACE.drawn({self.scope.name(draw, 'draw')})"
            lines.append(f"d{i} = {drawn}" if i >= 0 else drawn)
        if trace.notes():
            run = ["while True:", *_indented(self._prepare() + self._settle())]
        elif self.program.way.short and not self.program.way.checked:
            return [*lines, *self._prepare(), *self._alone(), *self._results()]
        elif self.program.way.short:
            run = self._prepare() + self._checked()
        else:
            call = f"PROGRAM.with_frame(PROGRAM.call, [{self._words()}], [{self._held()}], outcome)"
            run = [*self._prepare(), "outcome = Outcome()", call]
        return [*lines, "with RUNNING:", *_indented(run), *self._results()]

    def _prepare(self) -> list[str]:
        """Statements that find leaves and take memory."""
        trace = self.trace
        states = [self.scope.name(handle, "state") for _i, handle in trace.states]
        lines = [
            *(f"if {state}._place is not None: {state}.let_views_go()" for state in states),
            *_LOOK,
        ]
        for i, number in trace.arguments:
            lines.append(f"l{i} = {self.arguments.tensors[number][1]}.buffer")
        drawn = {i for _draw, i in trace.draws}
        for i, _kind in trace.captured:
            lines.append(f"l{i} = d{i}" if i in drawn else f"l{i} = outside.buffers[{i}]")
        for (i, _handle), state in zip(trace.states, states, strict=True):
            lines.append(f"l{i} = OWNED({state})")
        for i, gradient in trace.sources:
            lines.append(f"l{i} = {self.scope.name(gradient, 'gradient')}.buffer(given)")
        for i, nbytes in enumerate(self.program.sizes()):
            lines += self._memory(i, nbytes)
        for i, (variable, real) in enumerate(self.program.way.variables):
            lines.append(f"w{i} = {self.arguments.number(variable, real, self.scope)}")
        return lines

    def _memory(self, i: int, nbytes: int) -> list[str]:
        """Statements that take memory from the pool."""
        size = self.program.pool.size_of(nbytes)
        return [
            "try:",
            f"    o{i} = {self.scope.name(self.program.pool.waiting(size), 'waiting')}.pop()",
            f"    POOL.held -= {size}",
            f"    m{i} = NEW(Buffer)",
            f"    m{i}.owner = o{i}",
            f"    m{i}.address = o{i}.address",
            f"    m{i}.nbytes = {nbytes}",
            f"    m{i}.pool = POOL",
            "except IndexError:",
            f"    m{i} = PROGRAM.memory({i})",
        ]

    def _words(self) -> str:
        """The addresses and numbers that compiled code gets."""
        words = [f"l{i}.address" for i in self.trace.order]
        words += [f"m{i}.address" for i in range(len(self.program.sizes()))]
        words += [f"w{i}" for i in range(len(self.program.way.variables))]
        return ", ".join(words)

    def _held(self) -> str:
        """What lies at these addresses."""
        made = [f"m{i}" for i in range(len(self.program.sizes()))]
        return ", ".join([*made, *(f"l{i}" for i in self.trace.order)])

    def _buffers(self) -> list[str]:
        """The memory of each result of the program."""
        order = self.trace.order
        return [f"m{i}" if new else f"l{order[i]}" for new, i in self.program.results]

    def _alone(self) -> list[str]:
        """A run of short launches that changes nothing but its results.

        It holds the interpreter's lock, and so needs no other unless a run without it lasts, which
        may be writing to what this one reads. No other code runs between that look and the run.
        """
        words = self._words()
        run = f"RUN(frame.headers[0], {words})" if words else "RUN(frame.headers[0])"
        return [
            "try:",
            "    frame = FRAMES.pop()",
            "except IndexError:",
            "    frame = PROGRAM.frame()",
            "if RUNS:",
            "    with RUNNING:",
            f"        {run}",
            "else:",
            f"    {run}",
            "FRAMES.append(frame)",
        ]

    def _checked(self) -> list[str]:
        """The same where launches can fail, whose statuses are looked at in between."""
        words = self._words()
        return [
            "frame = PROGRAM.taken()",
            "try:",
            "    first, last, _all = frame.headers",
            f"    if RUN(first, {words}) != {DONE}:",
            "        PROGRAM.check_status(frame)",
            "    RUN(last)",
            "except BaseException:",
            "    frame.unasked = True",
            "    raise",
            "finally:",
            "    FRAMES.append(frame)",
        ]

    def _settle(self) -> list[str]:
        """A run whose results are noted whatever comes in between, once more if it was stale."""
        held = []
        lines = []
        for i, (handle, _kept) in enumerate(self.trace.updated):
            held.append(f"h{i}")
            lines += [
                f"h{i} = {self.scope.name(handle, 'state')}.node",
                f"if h{i}.requires_grad and not h{i}.ends_gradient:",
                f"    REFUSE([h{i}])",
            ]
        clock = ", clock=CLOCK, seen=outside.seen" if held else ""
        call = f"PROGRAM.with_frame, PROGRAM.call, [{self._words()}], [{self._held()}], outcome"
        return [
            *lines,
            f"outcome = Outcome([{', '.join(self._buffers())}]{clock})",
            "try:",
            f"    note = partial(TRACE.note, given, [{', '.join(held)}], set())",
            f"    outcome.settle(note, partial({call}))",
            "    break",
            "except Stale:",
            "    pass",
        ]

    def _results(self) -> list[str]:
        """Statements that return what the function does."""
        trace = self.trace
        buffers = self._buffers()
        if trace.differentiable is not None:
            sources = (trace.arguments, trace.captured, trace.states, trace.sources)
            needed = {i for source in sources for i, _what in source}
            leaves = [f"l{i}" if i in needed else "None" for i in range(len(trace.outside.nodes))]
            given = f"given, outside, [{', '.join(leaves)}], [{', '.join(buffers)}], values"
            return [f"return BUILD(TRACE.returned({given}))"]
        lines = []
        for i, (result, buffer) in enumerate(zip(trace.results, buffers, strict=False)):
            if i < trace.count:
                lines += self._node(f"r{i}", buffer, *result)
        if trace.count == 0 and trace.build([]) is None:
            return ["return None"]
        if not trace.single:
            return [*lines, f"return BUILD([{', '.join(f'r{i}' for i in range(trace.count))}])"]
        slots = ("node = r0", "_grad = None", "_place = None")
        return [*lines, "t = NEW(Tensor)", *(f"t.{slot}" for slot in slots), "return t"]

    def _node(self, name: str, buffer: str, shape: Any, dtype: Any, required: bool) -> list[str]:
        """Statements that make what `buffer_node` does."""
        refusal = f"{{'refusal': {self.scope.name(self.trace.refusal, 'refusal')}}}"
        slots = {
            "op": "COMPILED" if required else "BUFFER",
            "inputs": "()",
            "attrs": refusal if required else "{}",
            "shape": self.scope.name(shape, "shape"),
            "dtype": self.scope.name(dtype, "dtype"),
            "device": "DEVICE",
            "buffer": buffer,
            "trace": "0",
            "requires_grad": str(required),
            "depth": "1",
        }
        return [f"{name} = NEW(Node)", *(f"{name}.{slot} = {v}" for slot, v in slots.items())]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
