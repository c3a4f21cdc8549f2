"""Look inside: the graph of a tensor, the kernels it would launch, and a check of each launch.

None of these change what is computed; `kernels`, `plan`, `graph` and `dot` run nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numbatorch.backends.base import backend
from numbatorch.backends.cpu import threads
from numbatorch.backends.planned import PlanBackend, placeholder_graph
from numbatorch.debugging import describe_graph, describe_plan, fusing, no_fuse, validating
from numbatorch.errors import DeviceError, message
from numbatorch.graph import Node, toposort
from numbatorch.language.kernel import EmittedKernel
from numbatorch.ops.operands import describe
from numbatorch.passes.plan import HostStep, Launch, Plan
from numbatorch.passes.planner import make_plan
from numbatorch.passes.target import TARGETS

__all__ = [
    "Kernel",
    "PlanText",
    "compiled",
    "dot",
    "emitted",
    "graph",
    "kernels",
    "no_fuse",
    "plan",
    "validate",
]


@dataclass(frozen=True)
class Kernel:
    """One launch of a plan.

    Attributes:
        name: of the kernel.
        fused: operators that it computes.
        bytes: of memory that its arguments span.
        flops: about how many simple operations it does.
        spec: what the kernel pack knows it by.
    """

    name: str
    fused: tuple[str, ...]
    bytes: int
    flops: float
    spec: Any

    @property
    def source(self) -> str:
        """Text of the kernel."""
        return str(self.spec.source())


def _nodes(tensors: Any) -> list[Node]:
    """The nodes of a tensor, or of several."""
    found = tensors if isinstance(tensors, list | tuple) else [tensors]
    for tensor in found:
        if not isinstance(getattr(tensor, "node", None), Node):
            problem = f"takes a tensor or several, not {type(tensor).__name__}"
            raise TypeError(message("debug", problem))
    return [tensor.node for tensor in found]


def _roots(tensors: Any) -> list[Node]:
    nodes = _nodes(tensors)
    copies, _leaves = placeholder_graph(toposort(nodes))
    return [copies[node] for node in nodes if node.buffer is None]


def _plan(tensors: Any, target: str | None) -> Plan:
    roots = _roots(tensors)
    if not roots:
        return Plan()
    runner = backend(roots[0].device) if target is None else None
    if isinstance(runner, PlanBackend):
        return runner.plan(roots)
    if target is not None and target not in TARGETS:
        problem = f"there are no kernels for {target!r}"
        raise DeviceError(message("debug", problem, f"targets are {', '.join(TARGETS)}"))
    return make_plan(roots, target or "cpu", threads.num_threads(), frozenset(), fusing())


def kernels(tensors: Any, target: str | None = None) -> list[Kernel]:
    """The fused kernels that realizing a tensor, or several together, would launch.

    A structured operator that takes several launches counts as one kernel. One that has no kernel
    on the device appears as the operators of its fallback, or as `host:` and its name where its
    NumPy function runs on the host.

    Args:
        target: "cpu", "cuda" or "metal", to see the kernels of a device that is not at hand; by
            default those of the tensors' own device.

    >>> import numbatorch as nt
    >>> x = nt.tensor([1.0, 2.0])
    >>> [kernel.fused for kernel in kernels((x * 2 + 1).exp())]
    [('mul', 'add', 'exp')]
    """
    groups: dict[int, list[Launch]] = {}
    for launch in _plan(tensors, target).launches:
        groups.setdefault(id(launch.group), []).append(launch)
    return [
        Kernel(
            launches[-1].spec.name,
            tuple(node.op.name for node in launches[0].group.fused()),
            sum(launch.nbytes for launch in launches),
            sum(launch.work for launch in launches),
            launches[-1].spec,
        )
        for launches in groups.values()
    ]


def emitted(tensors: Any, target: str | None = None) -> list[Any]:
    """The kernels of which the text is generated, epilogues of products among them."""
    found = []
    for launch in _plan(tensors, target).launches:
        for part in (launch, launch.epilogue):
            if part is not None and isinstance(part.spec, EmittedKernel):
                found.append(part.spec)
    return found


def compiled(tensors: Any, target: str | None = None) -> list[str]:
    """The kernels as the device's own compiler gets or gives them, with their epilogues.

    On the CPU that is LLVM's IR for this processor, on CUDA PTX of compute capability 7.5, on Metal
    text of the Metal Shading Language. No GPU is needed. `kernels` shows what they are made from.

    Raises:
        BackendUnavailable: the packages that compile for CUDA are not installed.

    >>> import numbatorch as nt
    >>> (text,) = compiled(nt.tensor([1.0]) + 1, "metal")
    >>> "kernel void" in text
    True
    """
    found = _plan(tensors, target)
    show = _COMPILED[found.target]
    launches = [x for x in found.launches if not isinstance(x.spec, HostStep)]
    pairs = {(x.spec, x.epilogue.spec if x.epilogue else None): None for x in launches}
    return [show(spec, epilogue) for spec, epilogue in pairs]


def _llvm(spec: Any, epilogue: Any) -> str:
    from numbatorch.backends.cpu import compiler
    from numbatorch.language.processor import host

    texts = [str(compiler.module(x, host())) for x in (spec, epilogue) if x is not None]
    return "\n".join(texts)


def _ptx(spec: Any, epilogue: Any) -> str:
    from numbatorch.backends.cuda.compiler import compile_kernel
    from numbatorch.backends.cuda.packages import check_packages

    check_packages()
    return compile_kernel(spec, epilogue)


def _msl(spec: Any, epilogue: Any) -> str:
    from numbatorch.metal.printer import print_kernel

    return print_kernel(spec, epilogue).text


_COMPILED = {"cpu": _llvm, "cuda": _ptx, "metal": _msl}


class PlanText(str):
    """A plan as text, one line a launch; notebooks show it as a table."""

    __slots__ = ("_plan",)

    _plan: Plan

    def __new__(cls, plan: Plan) -> PlanText:
        """The text of `plan`."""
        text = super().__new__(cls, describe_plan(plan))
        text._plan = plan
        return text

    @property
    def arena(self) -> int:
        """Bytes of what is computed on the way."""
        return self._plan.arena

    def _repr_html_(self) -> str:
        from numbatorch.tensor.notebook import table

        plan = self._plan
        rows = [
            [
                str(number),
                launch.spec.name,
                ", ".join(node.op.name for node in launch.group.fused()) or "copy",
                ", ".join(f"{x.shape} {x.dtype.name}" for x in launch.group.outputs),
                f"{launch.nbytes:,}",
            ]
            for number, launch in enumerate(plan.launches)
        ]
        caption = (
            f"Plan for {plan.target}: {len(rows)} launches of {plan.launch_count()} kernels, "
            f"arena of {plan.arena:,} bytes"
        )
        header = ["", "kernel", "computes", "results", "bytes touched"]
        return table(caption, header, rows, align="left")


def plan(tensors: Any, target: str | None = None) -> PlanText:
    """The plan that realizing a tensor, or several together, would run, one line a launch.

    >>> str(plan(tensor([1.0]).exp() + 1)).splitlines()[0]
    'plan: 1 launches, 1 kernels, arena 0 bytes'
    """
    return PlanText(_plan(tensors, target))


def graph(tensors: Any) -> str:
    """The unrealized graph, one line a node, inputs before users.

    >>> print(graph(tensor([1.0]).exp() + 1))
    %0 = realized (1,) float32
    %1 = exp(%0) (1,) float32
    %2 = const() value=1 (1,) float32
    %3 = add(%1, %2) (1,) float32
    """
    return describe_graph(_nodes(tensors))


def dot(tensors: Any) -> str:
    """The unrealized graph in the DOT language of Graphviz.

    >>> dot(tensor([1.0]) + 1).splitlines()[0]
    'digraph {'
    """
    order = toposort(_nodes(tensors))
    number = {node: i for i, node in enumerate(order)}
    lines = ["digraph {", "  node [shape=box]"]
    for node, i in number.items():
        name = "realized" if node.buffer is not None else node.op.name
        lines.append(f'  n{i} [label="{name}\\n{describe(node)}"]')
        if node.buffer is None:
            lines += [f"  n{number[x]} -> n{i}" for x in node.inputs]
    return "\n".join([*lines, "}"])


@contextmanager
def validate(rtol: float = 1e-3, atol: float = 1e-4) -> Iterator[None]:
    """Within the block every launch is computed again on device "numpy" and compared.

    Raises:
        KernelError: the first launch that differs, with its kernel, its operators, the place of
            the largest difference and both values.

    >>> with validate():
    ...     tensor([1.0]).exp().realize()
    tensor([2.7183])
    """
    with validating(rtol, atol):
        yield
