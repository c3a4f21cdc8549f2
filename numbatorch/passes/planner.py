"""Planning: groups become launches, every value gets its memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numbatorch.apart import import_module
from numbatorch.debugging import describe_graph, describe_groups, show_pass
from numbatorch.dtype import DType, int64, uint8
from numbatorch.errors import KernelError, OutOfRange, message
from numbatorch.graph import Node, TupleNode, toposort, verify
from numbatorch.layout import Layout
from numbatorch.ops.caller import applied, of_node
from numbatorch.ops.lowering import Operand, lowering
from numbatorch.ops.operands import BUFFER, EMPTY, refuse_too_large
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.registry import View
from numbatorch.ops.structured import Structured
from numbatorch.passes import emit
from numbatorch.passes.fuse import fuse, stored
from numbatorch.passes.gather import SMALL, gather
from numbatorch.passes.groups import Group, Load
from numbatorch.passes.memory import Memory, pack_arena
from numbatorch.passes.plan import EPILOGUE, HostStep, Launch, Place, Plan, Status
from numbatorch.passes.simplify import simplify
from numbatorch.passes.target import TARGETS, Grid, Target
from numbatorch.shape import numel
from numbatorch.variable import Variable, is_variable

SERIAL_WORK = 32768.0  # below this many simple operations a launch stays on one thread

# Launches for which small temporaries stay after their last use: what took their memory at once
# would have to wait until all threads are done with them.
LINGER = 4


class _Launcher:
    """What lowerings talk to: it adds launches to the plan for one group."""

    def __init__(self, planner: Planner, group: Group) -> None:
        self.planner = planner
        self.group = group
        self.parts = planner.parts
        self.epilogue: Any = EPILOGUE if planner.target.groups else (0, 0)
        self.called: Launch | None = None

    def launch(
        self,
        spec: Any,
        *arguments: Any,
        work: float,
        serial: bool = False,
        items: int | None = None,
        groups: int | None = None,
        threads: int = 0,
    ) -> None:
        """Add one launch."""
        if self.planner.target.groups and (items is None) == (groups is None):
            problem = "a launch for GPUs says how many items its threads share, or how many groups"
            found = f"items {items}, groups {groups}"
            raise KernelError(message(spec.name, problem, found, spec.path()))
        words: list[Any] = []
        touched: list[Memory] = []
        for argument in arguments:
            if isinstance(argument, Operand):
                words.append(_place(argument))
                touched.append(argument.buffer)
            else:
                words.append(argument)
        called = self.called if any(w is EPILOGUE for w in words) else None
        if called is not None:
            touched += called.reads
        writes = [self.planner.where[x] for x in self.group.outputs]
        writes += [m for m in touched if m not in writes and m in self.planner.scratches]
        launch = Launch(
            spec,
            words,
            serial or work < self.planner.serial_work,
            touched,
            writes,
            self.group,
            sum(m.nbytes for m in dict.fromkeys(touched)),
            work,
            called,
            items or 0,
            groups or 0,
            threads,
        )
        self.planner.add(launch)

    def scratch(self, nbytes: int) -> Operand:
        """Memory for this group's launches only."""
        memory = self.planner.new("temporary", max(nbytes, 1))
        self.planner.scratches.add(memory)
        return Operand(memory, Layout.contiguous((nbytes,)), uint8)

    def wanted(self, out: Operand) -> bool:
        """Whether anybody reads one of the outputs."""
        planner = self.planner
        return any(
            planner.where[node] is out.buffer and (node in planner.kept or node in planner.readers)
            for node in self.group.outputs
        )

    def status(
        self,
        bound: int = 0,
        least: int = 0,
        problem: str = "",
        error: type[Exception] = OutOfRange,
    ) -> Operand:
        """Words in which a kernel reports an index outside of [least, bound), or a problem."""
        planner, core = self.planner, self.group.core
        assert core is not None
        at = 2 * len(planner.plan.statuses)
        status = Status(at, core.op.name, of_node(core), bound, least, problem, error)
        planner.plan.statuses.append(status)
        layout = Layout((2,), (1,), status.position)
        return Operand(planner.status, layout, int64)


class Planner:
    """Turns groups into launches and gives every value its memory."""

    def __init__(
        self, target: Target, parts: int, donated: frozenset[Node], serial_work: float
    ) -> None:
        self.target = target
        self.parts = parts
        self.donated = donated
        self.serial_work = serial_work
        self.plan = Plan(target.name, parts=parts)
        self.where: dict[Node, Memory] = {}
        self.scratches: set[Memory] = set()
        self.status = self.new("zeroed", 0)
        self.readers: dict[Node, int] = {}

    def new(self, kind: str, nbytes: int) -> Memory:
        """A new memory of the plan."""
        memory = Memory(kind, nbytes)
        self.plan.memories.append(memory)
        return memory

    def add(self, launch: Launch) -> None:
        """Append a launch and extend the lifetimes of what it touches."""
        number = len(self.plan.launches)
        on_host = isinstance(launch.spec, HostStep)
        if on_host:
            self.plan.host_steps.append(number)
        if on_host or self.status in launch.reads:
            self.plan.checkpoint = number + 1
        for memory in (*launch.reads, *launch.writes):
            memory.touch(number)
        self.plan.launches.append(launch)

    def run(self, roots: Sequence[Node], groups: Sequence[Group]) -> Plan:
        """Plan `groups`, whose results include `roots`."""
        self.kept = set(map(stored, roots))
        for number, group in enumerate(groups):
            for node in group.reads():
                self.readers[node] = number
        for number, group in enumerate(groups):
            self._group(number, group)
        for root in roots:
            self.plan.outputs.append(self.memory(root))
        self.status.nbytes = 16 * len(self.plan.statuses)
        for memory in self.plan.memories:
            if self.parts > 1 and memory.kind == "temporary" and memory.nbytes <= SMALL:
                memory.last += LINGER
        self.plan.arena = pack_arena(self.plan.memories)
        self.plan.where = self.where
        return self.plan

    def memory(self, node: Node) -> Memory:
        """Where `node` lives."""
        found = self.where.get(node)
        if found is not None:
            return found
        if isinstance(node.op, View) and node.buffer is None:
            return self.memory(node.inputs[0])
        nbytes = node.dtype.nbytes(numel(node.shape))
        if node.op is EMPTY and node.buffer is None:
            found = self.new("output" if node in self.kept else "temporary", nbytes)
        else:
            assert node.buffer is not None or node.op is BUFFER, node
            found = self.new("leaf", nbytes)
            found.index = len(self.plan.leaves)
            self.plan.leaves.append(node)
        self.where[node] = found
        return found

    def operand(self, load: Load) -> Operand:
        """The memory of a node as it is read."""
        return Operand(self.memory(load.node), load.layout, load.dtype)

    def _group(self, number: int, group: Group) -> None:
        inplace = self._inplace_base(group)
        shared: dict[Node, int] = {}
        for i, node in enumerate(group.outputs):
            memory = None
            if inplace is not None and i == 0:
                memory = self._take_over(number, group, node, inplace)
                if memory is self.memory(inplace.node):
                    shared[inplace.node] = i
            elif group.core is None and group.update is None:
                leaf = self._donor(number, group, node)
                if leaf is not None:
                    memory = self.memory(leaf)
                    shared[leaf] = i
            if memory is None:
                kind = "output" if node in self.kept else "temporary"
                memory = self.new(kind, node.dtype.nbytes(numel(node.shape)))
            self.where[node] = memory
        self._emit(group, shared)

    def _inplace_base(self, group: Group) -> Load | None:
        """What a group overwrites a part of, or None."""
        if group.update is not None:
            return group.operands[0]
        if group.core is not None and isinstance(group.core.op, Structured):
            position = group.core.op.inplace
            return None if position is None else group.operands[position]
        return None

    def _take_over(self, number: int, group: Group, node: Node, base: Load) -> Memory:
        """The base's memory if nothing else needs it, otherwise a copy of it."""
        memory = self.memory(base.node)
        free = self.readers.get(base.node, number) <= number and base.node not in self.kept
        leaf = base.node.buffer is not None or base.node.op is BUFFER
        owned = base.node in self.donated or not leaf  # a computed value has taken the leaf over
        whole = Layout.contiguous(node.shape)
        if free and owned and base.layout == whole and self._reads_where_it_writes(group, base):
            if node in self.kept and memory.kind == "temporary":
                memory.kind = "output"
            return memory
        kind = "output" if node in self.kept else "temporary"
        copy = self.new(kind, node.dtype.nbytes(numel(node.shape)))
        if base.node.op is not EMPTY:
            source = Group([node], results=[Load(base.node, base.layout, base.dtype)])
            writes = [(Operand(copy, whole, node.dtype), whole, node.dtype)]
            spec, arguments, grid = emit.elementwise(self.target, source, self.operand, writes, {})
            self._launch(source, spec, arguments, [copy], float(numel(node.shape)), grid)
        return copy

    def _reads_where_it_writes(self, group: Group, base: Load) -> bool:
        """Whether each element of the base that a group reads is the one that it writes next."""
        loads = [t for t in group.terms() if isinstance(t, Load) and t.node is base.node]
        if group.update is None or group.core is not None:
            return not loads and [x.node for x in group.operands].count(base.node) == 1
        written, moving = _written(group.update)
        return not loads or (
            not moving and all(t.dtype is base.dtype and t.layout.same_walk(written) for t in loads)
        )

    def _donor(self, number: int, group: Group, node: Node) -> Node | None:
        """A leaf whose memory `node` may overwrite element by element."""
        if node not in self.kept:
            return None
        for term in group.terms():
            if not isinstance(term, Load) or term.node not in self.donated:
                continue
            leaf = term.node
            if leaf in self.kept:  # its old value is a result too
                continue
            loads = [t for t in group.terms() if isinstance(t, Load) and t.node is leaf]
            alike = leaf.shape == node.shape and leaf.dtype is node.dtype is term.dtype
            last = self.readers.get(leaf, number) <= number
            taken = self.memory(leaf) in self.where.values() and any(
                self.where[x] is self.memory(leaf) for x in self.where if x is not leaf
            )
            if alike and last and len(loads) == 1 and not taken:
                if term.layout == Layout.contiguous(node.shape):
                    return leaf
        return None

    def _writes(self, group: Group) -> list[tuple[Operand, Layout, DType]]:
        out = []
        if group.update is not None:
            memory = self.where[group.update]
            for node in (*group.earlier, group.update):
                written, moving = _written(node)
                buffer = _Moved(memory, moving) if moving else memory
                out.append((Operand(buffer, written, node.dtype), written, node.dtype))
            return out
        for node in group.outputs:
            layout = Layout.contiguous(node.shape)
            out.append((Operand(self.where[node], layout, node.dtype), layout, node.dtype))
        return out

    def _emit(self, group: Group, shared: dict[Node, int]) -> None:
        core = group.core
        memories = [self.where[node] for node in group.outputs]
        if core is None:
            spec, arguments, grid = emit.elementwise(
                self.target, group, self.operand, self._writes(group), shared
            )
            self._launch(group, spec, arguments, memories, emit.work_of(group), grid)
        elif isinstance(core.op, Reduction):
            scratches: list[Memory] = []

            def scratch(nbytes: int) -> Operand:
                memory = self.new("zeroed", nbytes)
                scratches.append(memory)
                return Operand(memory, Layout.contiguous((nbytes,)), uint8)

            writes = self._writes(group)
            kernels = _form(core.op)(self.target, group, self.operand, writes, self.parts, scratch)
            work = float(numel(core.inputs[0].shape)) * 3
            for spec, arguments, grid in kernels:
                self._launch(group, spec, arguments, [*memories, *scratches], work, grid)
        else:
            self._structured(group, core)

    def _structured(self, group: Group, core: Node) -> None:
        launcher = _Launcher(self, group)
        results = group.outputs if isinstance(core, TupleNode) else [core]
        outs = tuple(
            Operand(self.where[node], Layout.contiguous(result.shape), result.dtype)
            for node, result in zip(group.outputs, results, strict=False)
        )
        if group.results:
            spec, arguments = emit.epilogue(
                self.target, group, self.operand, self._writes(group), core.shape
            )
            words, touched = _words(arguments)
            launcher.called = Launch(spec, words, False, touched, [], group)
            if not self.target.groups:
                launcher.epilogue = (EPILOGUE, EPILOGUE)
        operands = [self.operand(load) for load in group.operands]
        lower = lowering(self.target.name, core.op, core.dtype)
        if lower is None:
            step = HostStep(core, tuple(operands), outs)
            reads, writes = ([x.buffer for x in found] for found in (operands, outs))
            nbytes = sum(m.nbytes for m in dict.fromkeys([*reads, *writes]))
            self.add(Launch(step, [], True, reads, writes, group, nbytes))
            return
        out = outs if isinstance(core, TupleNode) else outs[0]
        applied(lower, core, launcher, out, *operands)

    def _launch(
        self,
        group: Group,
        spec: Any,
        arguments: list[Any],
        writes: list[Memory],
        work: float,
        grid: Grid,
    ) -> None:
        words, touched = _words(arguments)
        nbytes = sum(m.nbytes for m in dict.fromkeys(touched))
        serial = work < self.serial_work
        launch = Launch(spec, words, serial, touched, writes, group, nbytes, work)
        launch.items, launch.groups, launch.threads = grid
        self.add(launch)


def _form(op: Reduction) -> Callable[..., Any]:
    """What emits kernels of a reduction or a scan; loaded by the first."""
    if op.scans:
        import_module("numbatorch.passes.emit_scan")
        from numbatorch.passes.emit_scan import scan

        return scan
    import_module("numbatorch.passes.emit_reduce")
    from numbatorch.passes.emit_reduce import reduction

    return reduction


@dataclass(eq=False)
class _Moved:
    """A memory whose start moves with plan variables: (variable, elements) pairs."""

    memory: Memory
    moving: list[tuple[Variable, int]]


def _written(update: Node) -> tuple[Layout, list[tuple[Variable, int]]]:
    """What a slice_update node writes of its base, and the variables that move it."""
    whole = Layout.contiguous(update.shape)
    starts, steps = update.attrs["starts"], update.attrs["steps"]
    fixed = tuple(0 if is_variable(s) else s for s in starts)
    moving = [(s, whole.strides[i]) for i, s in enumerate(starts) if is_variable(s)]
    return whole.slice(fixed, update.inputs[1].shape, steps), moving


def _place(operand: Operand) -> Place:
    itemsize = operand.dtype.itemsize
    offset = operand.layout.offset * itemsize // operand.dtype.block
    if isinstance(operand.buffer, _Moved):
        moving = tuple((variable, n * itemsize) for variable, n in operand.buffer.moving)
        return Place(operand.buffer.memory, offset, moving)
    return Place(operand.buffer, offset)


def _words(arguments: list[Any]) -> tuple[list[Any], list[Memory]]:
    words = [_place(a) if isinstance(a, Operand) else a for a in arguments]
    return words, [w.memory for w in words if isinstance(w, Place)]


def runs(target: str, node: Node) -> bool:
    """Whether a structured node is a launch by itself, and not one of its fallback."""
    op = node.op
    assert isinstance(op, Structured)
    has_kernel = op.emitted or lowering(target, op, node.dtype) is not None
    return has_kernel or op.decomposition is None


def make_plan(
    roots: Sequence[Node],
    target: str,
    parts: int,
    donated: frozenset[Node] = frozenset(),
    fusing: bool = True,
    serial_work: float = SERIAL_WORK,
) -> Plan:
    """Simplify, fuse, emit, give memory: the plan that computes `roots`.

    Args:
        roots: nodes without a buffer.
        target: whose kernels to use: "cpu", "cuda" or "metal".
        parts: threads that will share each launch.
        donated: leaves whose memory may be overwritten.
        fusing: False gives every operator its own launch.
        serial_work: below this many simple operations a launch stays on one thread.
    """
    if __debug__:
        verify(roots)
    show_pass("tracing", lambda: describe_graph(roots))
    simple = simplify(roots, lambda node: runs(target, node))
    show_pass("simplify", lambda: describe_graph(simple))
    refuse_too_large(toposort(simple), simple)
    groups = _groups(simple, fusing, parts)
    show_pass("fuse", lambda: describe_groups(groups))
    planner = Planner(TARGETS[target], parts, donated, serial_work)
    plan = planner.run(simple, groups)
    if any(m.kind == "leaf" for step in plan.launches[: plan.checkpoint] for m in step.writes):
        # An index out of range, or an error on the host, must leave everything as it was.
        planner = Planner(TARGETS[target], parts, frozenset(), serial_work)
        plan = planner.run(simple, _groups(simple, fusing, parts))
    plan.variable_nodes = [
        node for node in toposort(simple) if any(map(is_variable, node.attrs.values()))
    ]
    return plan


def _groups(roots: Sequence[Node], fusing: bool, parts: int) -> list[Group]:
    """Groups in order of execution; one thread alone waits for nobody."""
    groups = fuse(roots, fusing)
    return gather(groups) if parts > 1 else groups
