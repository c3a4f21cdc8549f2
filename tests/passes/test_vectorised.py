"""Emitted kernels are vector code: their inner loops load, compute and store vectors of floats."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.nn import functional

PATTERNS: dict[str, Callable[[Any, Any], Any]] = {
    "chain": lambda x, b: (x * b + x).gelu(),
    "strided outer dimension": lambda x, b: x[:, :100].exp() + 1,
    "sum over rows": lambda x, b: (x * 2).exp().sum(-1),
    "sum over columns": lambda x, b: (x * 2).exp().sum(0),
    "sum over everything": lambda x, b: (x * 2).exp().sum(),
    "largest of rows": lambda x, b: (x * 2).amax(-1),
    "epilogue": lambda x, b: (functional.linear(x, x[:128, :]) * 3).gelu(),
    "epilogue with residual": lambda x, b: (
        functional.linear(x, x) * 0.3 + functional.linear(x, b[None])
    ),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_inner_loop_is_vector_code(name: str) -> None:
    from numbatorch.backends.cpu import compiler
    from numbatorch.language import processor

    x = nt.tensor(np.ones((512, 300), np.float32), device="cpu")
    bias = nt.tensor(np.ones(300, np.float32), device="cpu")
    emitted = debug.emitted(PATTERNS[name](x, bias))
    assert emitted
    for spec in emitted:
        text = str(compiler.module(spec, processor.host()))
        stored = re.findall(r"(?:store|fadd|call)\b.*<\d+ x float>", text)
        assert stored, f"{spec.name} is scalar code:\n{spec.source()}"


def test_donated_memory_is_written_by_vector_code() -> None:
    from numbatorch.backends.cpu import compiler
    from numbatorch.backends.planned import placeholder_graph
    from numbatorch.graph import toposort
    from numbatorch.language import processor
    from numbatorch.passes.planner import make_plan

    x = nt.tensor(np.ones(4096, np.float32), device="cpu")
    out = (x * 0.9 + 0.3).node
    copies, leaves = placeholder_graph(toposort([out]))
    plan = make_plan([copies[out]], "cpu", 2, frozenset(leaves))
    (launch,) = plan.launches
    assert plan.outputs[0].kind == "leaf"  # written in place
    assert "<" in str(compiler.module(launch.spec, processor.host())).partition("x float>")[0]
