"""Emit: print a group's kernel as Numba text, and list the arguments of its launch.

The key of a kernel holds operators, dtypes, ranks and stride classes, not sizes: new shapes do
not compile. The text is made only when the kernel pack lacks the key. Reductions are in
emit_reduce.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.language.kernel import EmittedKernel, KernelSpec
from numbatorch.layout import Layout
from numbatorch.passes.emit_program import Program, make_program
from numbatorch.passes.emit_text import fingerprint, header, indent, kernel_name
from numbatorch.passes.groups import Apply, Group, Load
from numbatorch.passes.target import Grid, Target
from numbatorch.passes.transposing import transposing
from numbatorch.shape import Shape, numel


def work_of(group: Group) -> float:
    """About how many simple operations the elementwise part does."""
    steps = sum(isinstance(t, Apply) for t in group.terms())
    return float(numel(group.space)) * (2 + 2 * steps)


def elementwise(
    target: Target,
    group: Group,
    operand: Callable[[Load], Any],
    writes: Sequence[tuple[Any, Layout, DType]],
    shared: dict[Node, int],
) -> tuple[KernelSpec, list[Any], Grid]:
    """Kernel, arguments and grid of a group without a core.

    Args:
        target: what the kernel is for.
        operand: the argument for what a load reads.
        writes: argument, layout over the space and dtype of each result.
        shared: nodes whose memory is that of a result, by its number.
    """
    program = make_program(target, "", group.results, group.space, operand, writes, shared, ())
    total = numel(group.space)
    found = None if target.groups else transposing(program)
    if found is not None:
        return *found, Grid(total)
    inner = program.sizes[-1]

    def text() -> str:
        if len(program.sizes) == 1:
            loop = [*program.row_lines("0", "lo"), "count = hi - lo", *element_loop(program)]
        else:
            loop = run_loop(program)
        start = _ITEM if target.groups else _SHARE
        return _kernel_text(program, ["total: int", "n: int"], [*start, *loop], group)

    spec = EmittedKernel(
        kernel_name(group),
        ("elementwise", target.name, fingerprint(), program.key()),
        [*program.signature(), "int", "int"],
        text,
    )
    return spec, [*program.arguments(), total, inner], Grid(total)


# A CPU thread takes whole blocks, of which the last elements are not worth a vector loop's rest.
_SHARE = [
    "blocks = (total + 63) // 64",
    "lo, hi = share(blocks, part, parts)",
    "lo = lo * 64",
    "hi = min(hi * 64, total)",
]
# Neighbouring threads of a GPU take neighbouring elements.
_ITEM = ["lo, hi = share(total, part, parts)"]


CHAIN = 64  # steps in integers of 32 bits, as random bits take, that are worth vectors of these
BLOCK = 1024  # elements that are looked through for what is rarely computed, before they are


def element_loop(program: Program) -> list[str]:
    """Compute and store `count` elements of a row.

    A block without any element that needs what is rarely computed does without it. Values are the
    same bits either way, so nothing depends on who else is in the block.
    """
    lines, results = program.body("i")
    step = [*lines, *program.stores("i", results)]
    usual = program.usual_body("i")
    if usual is None:
        narrow = not program.target.groups and sum("uint32(" in line for line in lines) >= CHAIN
        return ["for i in range(count):", *indent(["narrow_vectors()"] * narrow + step, 1)]
    usual_lines, usual_results, looks, condition = usual
    usual_step = [*usual_lines, *program.stores("i", usual_results)]
    return [
        f"for block in range(0, count, {BLOCK}):",
        f"    end = min(block + {BLOCK}, count)",
        "    rare = False",
        "    for i in range(block, end):",
        *indent([*looks, f"rare = rare | {condition}"], 2),
        "    if rare:",
        "        for i in range(block, end):",
        *indent(step, 3),
        "    else:",
        "        for i in range(block, end):",
        *indent(usual_step, 3),
    ]


def run_loop(program: Program) -> list[str]:
    """Walk the elements lo to hi of the row-major space, a row at a time."""
    return [
        "at = lo",
        "row = at // n",
        "start = at - row * n",
        *program.index_lines("row"),
        "while at < hi:",
        "    count = min(n - start, hi - at)",
        *indent(program.position_lines("start"), 1),
        *indent(element_loop(program), 1),
        "    at += count",
        "    start = 0",
        *indent(program.next_row_lines(), 1),
    ]


def _kernel_text(
    program: Program, extra: Sequence[str], body: Sequence[str], group: Group, tail: str = ""
) -> str:
    tail = tail or "part: int, parts: int"
    parameters = ", ".join([*program.parameters(), *extra, tail])
    lines = header(kernel_name(group), group)
    return "\n".join([*lines, f"def kernel({parameters}) -> None:", *indent(body, 1), ""])


def epilogue(
    target: Target,
    group: Group,
    operand: Callable[[Load], Any],
    writes: Sequence[tuple[Any, Layout, DType]],
    shape: Shape,
) -> tuple[EmittedKernel, list[Any]]:
    """Kernel and arguments of the elementwise work on finished tiles of a structured core.

    The kernel is called with the tile `batch, row0, row1, col0, col1` and works in place on the
    first result, where the core has written its values.

    Args:
        target: what the kernel is for.
        shape: of the core, (..., M, N).
    """
    assert group.core is not None
    whole = Layout.contiguous(group.space)
    program = make_program(
        target,
        "e",
        group.results,
        group.space,
        operand,
        [(argument, whole, dtype) for argument, _layout, dtype in writes],
        {group.core: 0},
        (),
    )

    def text() -> str:
        body = [
            "for line in range(row0, row1):",
            "    lo = (batch * M + line) * N + col0",
            "    hi = lo + col1 - col0",
            *indent(run_loop(program), 1),
        ]
        tail = "batch: int, row0: int, row1: int, col0: int, col1: int"
        return _kernel_text(program, ["M: int", "N: int", "n: int"], body, group, tail)

    spec = EmittedKernel(
        kernel_name(group) + "_epilogue",
        ("epilogue", target.name, fingerprint(), program.key()),
        [*program.signature(), "int", "int", "int"],
        text,
    )
    rows = shape[-2] if len(shape) > 1 else 1
    return spec, [*program.arguments(), rows, shape[-1], program.sizes[-1]]
