"""The text of docs/operators.md: every public function with its operator's record.

Written by `make surface` with the other files that are made from the registry.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.graph import Op
from numbatorch.ops import lowering
from numbatorch.ops.composed import Composed
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.registry import Elementwise, View
from numbatorch.ops.scan import Scan
from numbatorch.ops.structured import Structured

Function = Callable[..., Any]

HEAD = """# Operators

Written by `make surface` from the registry: every public function, where it is found, and how it
runs.

- **where**: `nt` is `nt.f`, `Tensor` is `x.f`, `F` is `nt.nn.functional.f`; the others are
  modules of `nt`.
- **dtypes**: those that an operand may have without being converted. *floats* are float64,
  float32, float16, bfloat16 and both float8; *integers* are signed and unsigned, of 8 to 64 bits;
  *numbers* are both; *all* are numbers and bool; *complex* are complex64 and complex128.
- **gradient**: *yes*, to any order; *none* where the result does not depend smoothly on an
  operand.
- **fuses**: whether it shares a launch with elementwise work beside it; *after it*: its kernels
  apply that to each finished tile; *its parts*: the operators that it is made of do.
- **as**: *view* moves nothing; *elementwise*, *reduction* and *scan* are printed from one body
  for every device; kernels of its own are for the CPU (*cpu*), for groups of threads on GPUs
  (*gpu*), or one text for all devices (*portable*); *composed* of other operators; *host* runs
  its NumPy or SciPy function between launches. On device "numpy" everything runs as its NumPy
  reference.

"""
GROUPS = {
    "all, complex": dt.PLAIN + dt.COMPLEX,
    "all": dt.PLAIN,
    "numbers, complex": dt.NUMBERS + dt.COMPLEX,
    "numbers": dt.NUMBERS,
    "floats, complex": dt.FLOATS + dt.COMPLEX,
    "floats": dt.FLOATS,
    "integers, bool": (*dt.INTEGERS, dt.bool_),
    "integers": dt.INTEGERS,
    "complex": dt.COMPLEX,
}
SHORT = {"nn.functional": "F"}
TARGETS = ("cpu", "cuda", "metal")


def shown_dtypes(dtypes: tuple[DType, ...]) -> str:
    """The name of a group of dtypes, or their own."""
    for name, group in GROUPS.items():
        if set(dtypes) == set(group):
            return name
    return ", ".join(dtype.name for dtype in dtypes)


def kernels_of(op: Structured) -> str:
    """Where the kernels of an operator stand for each device, or what runs in their stead."""
    found = {}
    dtype = dt.float32 if dt.float32 in op.dtypes else op.dtypes[0]
    for target in TARGETS:
        place = lowering.place_of(target, op, dtype)
        if place is None and op.emitted:
            place = "emitted"
        found[target] = place or ("composed" if op.decomposition is not None else "host")
    if len(set(found.values())) == 1:
        return found["cpu"]
    if found["cuda"] == found["metal"]:
        return f"{found['cpu']}; GPUs: {found['cuda']}"
    return "; ".join(f"{target}: {place}" for target, place in found.items())


def runs_as(op: Op) -> str:
    """How an operator becomes launches."""
    kinds: dict[type[Op], str] = {
        View: "view",
        Elementwise: "elementwise",
        Scan: "scan",
        Reduction: "reduction",
        Composed: "composed",
    }
    for kind, name in kinds.items():
        if isinstance(op, kind):
            return name
    return kernels_of(op) if isinstance(op, Structured) else "constant"


def fuses(op: Op) -> str:
    """With what an operator runs in one launch."""
    if isinstance(op, Structured):
        return "after it" if op.epilogue else "no"
    return "its parts" if isinstance(op, Composed) else "yes"


def gradient_of(op: Op) -> str:
    """Whether a gradient flows through an operator."""
    return "yes" if op.differentiable and shown_float(op) else "none"


def shown_float(op: Op) -> bool:
    """Whether any operand may be one that a gradient flows to."""
    return any(dtype.kind in "fc" for dtype in op.dtypes)


def records(operators: tuple[Op, ...]) -> dict[Any, Op]:
    """The record of each public function, by the function on nodes and by name."""
    found: dict[Any, Op] = {op.name: op for op in operators}
    found |= {op.function: op for op in operators if isinstance(op, Composed)}
    return found


def rows(places: dict[str, dict[str, Function]], operators: tuple[Op, ...]) -> Iterator[str]:
    """A line of the table for each function, with all its names and places."""
    known = records(operators)
    named: dict[Function, tuple[list[str], list[str]]] = {}
    for place, functions in places.items():
        for name, function in functions.items():
            names, where = named.setdefault(inspect.unwrap(function), ([], []))
            names += [] if name in names else [name]
            shown = SHORT.get(place, place)
            where += [] if shown in where else [shown]
    lines = []
    for function, (names, where) in named.items():
        op = known.get(function) or known.get(names[0])
        about = ["", "", "its parts", "composed"]
        if op is not None:
            about = [shown_dtypes(op.dtypes), gradient_of(op), fuses(op), runs_as(op)]
        title = ", ".join(f"`{name}`" for name in sorted(names))
        lines.append(f"| {title} | {', '.join(where)} | {' | '.join(about)} |")
    yield from sorted(lines)


def text(places: dict[str, dict[str, Function]], operators: tuple[Op, ...]) -> str:
    """The whole page."""
    head = ["| function | where | dtypes | gradient | fuses | as |", "|---|---|---|---|---|---|"]
    return HEAD + "\n".join([*head, *rows(places, operators), ""])
