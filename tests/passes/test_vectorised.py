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


RARE: dict[str, Callable[[Any], Any]] = {
    "sin": lambda x: x.sin() * 3 + 1,
    "tan of a value": lambda x: (x * 2 + 1).tan() + x,
    "remainder": lambda x: nt.remainder(x, 0.7) * x + 1,
    "pow": lambda x: nt.pow(x.abs(), x * 1e-3) * 3 + 1,
}


@pytest.mark.parametrize("name", RARE)
def test_elements_that_take_the_rare_way_change_no_bit_of_others(name: str) -> None:
    near = np.random.default_rng(0).uniform(-99, 99, (3, 3000)).astype(np.float32)
    far = near.copy()
    far[:, ::1024] = 3e38
    far[0] = near[0]
    mixed, alone = (RARE[name](nt.tensor(x, device="cpu")).numpy() for x in (far, near))
    wide = RARE[name](nt.tensor(far[1:].T, device="cpu").T).numpy()
    np.testing.assert_array_equal(mixed[near == far], alone[near == far])
    np.testing.assert_array_equal(mixed[1:], wide)


DRAWN: dict[str, Callable[[], Any]] = {
    "floats": lambda: nt.rand(3000, device="cpu"),
    "integers of 64 bits": lambda: nt.randint(0, 100, (3000,), device="cpu"),
    "compared": lambda: nt.rand(3000, device="cpu") < 0.3,
    "beside a division of integers": lambda: nt.randint(0, 2**40, (3000,), device="cpu") // 7,
}


@pytest.mark.parametrize("name", DRAWN)
def test_random_bits_fill_vectors_whatever_is_stored(name: str, capfd: Any) -> None:
    from numbatorch.backends.cpu import compiler
    from numbatorch.language import processor
    from numbatorch.language.simd import loops

    (spec,) = debug.emitted(DRAWN[name]())
    text = str(compiler.module(spec, processor.host()))
    widths = set(re.findall(r"= xor <(\d+) x i32>", text))
    assert widths == {str(loops.lanes())}, spec.source()
    assert loops.MARK not in text
    assert not capfd.readouterr().err  # LLVM tells of what it could not do
